// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.

use crate::error::{code::*, Result};
use crate::ffi;
use crate::once::Once;
use core::fmt::{self, Write};
use core::ptr::NonNull;
use kernel::alloc::{flags::GFP_KERNEL, KBox};
use kernel::bindings;
use kernel::sync::atomic::{Acquire, Atomic, Release};
use kernel::sync::Arc;

#[path = "periodic.rs"]
mod periodic;
#[path = "threads.rs"]
mod threads;
pub use periodic::Periodic;
pub use threads::Threads;

/// What a thread is started with.
struct Start {
    f: KBox<dyn Once<()>>,
    finished: Arc<Atomic<bool>>,
}

/// A thread. Dropping this waits for its end, so that no code runs on when the module goes.
///
/// # Invariants
///
/// `task` is a thread that [`spawn`] started, with a reference to it that is ours.
pub struct JoinHandle {
    task: NonNull<bindings::task_struct>,
    finished: Arc<Atomic<bool>>,
}

// SAFETY: a task may be waited for from any thread.
unsafe impl Send for JoinHandle {}
// SAFETY: there is nothing in a shared handle that changes.
unsafe impl Sync for JoinHandle {}

impl JoinHandle {
    /// Waits for its end.
    pub fn join(self) {}

    /// Whether it has ended, or will before long: waiting for it takes no time.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Acquire)
    }
}

impl Drop for JoinHandle {
    fn drop(&mut self) {
        // SAFETY: the task is ours to wait for, and the reference ours to give up, by the type's
        // invariant; this is the only place that does.
        unsafe { ffi::lustre_kapi_thread_join(self.task.as_ptr()) }
    }
}

/// The name of a thread, cut off where the kernel does.
struct Name {
    bytes: [u8; 16],
    len: usize,
}

impl Write for Name {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // The last byte stays the terminator.
        let room = self.bytes.len() - 1 - self.len;
        let n = s.len().min(room);
        if let (Some(to), Some(from)) = (
            self.bytes.get_mut(self.len..self.len + n),
            s.as_bytes().get(..n),
        ) {
            to.copy_from_slice(from);
            self.len += n;
        }
        Ok(())
    }
}

unsafe extern "C" fn run(data: *mut kernel::ffi::c_void) -> kernel::ffi::c_int {
    // SAFETY: `spawn` made this pointer from such a box and gave it to this thread alone.
    let start = unsafe { KBox::<Start>::from_raw(data.cast()) };
    let Start { f, finished } = KBox::into_inner(start);
    f.call(());
    finished.store(true, Release);
    0
}

/// Starts a thread. The kernel shows the first 15 bytes of its name.
///
/// # Errors
/// `ENOMEM`, `EAGAIN`: no thread to be had.
pub fn spawn<F: FnOnce() + Send + 'static>(name: fmt::Arguments<'_>, f: F) -> Result<JoinHandle> {
    let mut n = Name {
        bytes: [0; 16],
        len: 0,
    };
    n.write_fmt(name).map_err(|_| EINVAL)?;
    let finished = Arc::new(Atomic::<bool>::new(false), GFP_KERNEL)?;
    let start = KBox::new(
        Start {
            f: KBox::new(move |()| f(), GFP_KERNEL)?,
            finished: finished.clone(),
        },
        GFP_KERNEL,
    )?;
    let data = KBox::into_raw(start);
    // SAFETY: `run` takes over `data`; the name is a C string, which is copied.
    let task =
        unsafe { ffi::lustre_kapi_thread_start(Some(run), data.cast(), n.bytes.as_ptr().cast()) };
    match NonNull::new(task) {
        // INVARIANT: the helper took a reference for us.
        Some(task) => Ok(JoinHandle { task, finished }),
        None => {
            // SAFETY: no thread was started, so the box is still ours.
            drop(unsafe { KBox::from_raw(data) });
            Err(EAGAIN)
        }
    }
}

/// Processors that are on: for sizing thread pools.
pub fn num_cpus() -> usize {
    // SAFETY: no conditions.
    unsafe { ffi::lustre_kapi_num_cpus() as usize }
}

/// Lets others run.
pub fn yield_now() {
    // SAFETY: no conditions but that sleeping is allowed.
    unsafe { ffi::lustre_kapi_yield() }
}
