// SPDX-License-Identifier: GPL-2.0

//! Threads.

use crate::error::Result;
use core::fmt;

#[path = "../../../../kapi/periodic.rs"]
mod periodic;
#[path = "../../../../kapi/threads.rs"]
mod threads;
pub use periodic::Periodic;
pub use threads::Threads;

/// A thread. Dropping this waits for its end: no thread outlives what started it.
pub struct JoinHandle(Option<std::thread::JoinHandle<()>>);

impl JoinHandle {
    /// Waits for its end.
    pub fn join(self) {}

    /// Whether it has ended: waiting for it takes no time.
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(|h| h.is_finished())
    }
}

impl Drop for JoinHandle {
    fn drop(&mut self) {
        if self.0.take().is_some_and(|h| h.join().is_err()) {
            crate::pr_err!("a thread ended by panic\n");
        }
    }
}

/// Starts a thread. The kernel shows the first 15 bytes of its name.
///
/// # Errors
/// `ENOMEM`, `EAGAIN`: no thread to be had.
pub fn spawn<F: FnOnce() + Send + 'static>(name: fmt::Arguments<'_>, f: F) -> Result<JoinHandle> {
    let b = std::thread::Builder::new().name(name.to_string());
    Ok(JoinHandle(Some(b.spawn(f)?)))
}

/// Processors that are on: for sizing thread pools.
pub fn num_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Lets others run.
pub fn yield_now() {
    std::thread::yield_now()
}
