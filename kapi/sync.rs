// SPDX-License-Identifier: GPL-2.0

//! Locks, reference counts, atomics, and a condition variable whose waits are idle waits.

use core::marker::PhantomPinned;
use core::time::Duration;
use kernel::bindings;
use kernel::str::CStr;
use kernel::sync::lock::{Backend, Guard};
use kernel::sync::LockClassKey;
use kernel::types::Opaque;
use pin_init::{pin_data, pin_init, PinInit};

pub use kernel::sync::atomic;
pub use kernel::sync::{Arc, Mutex, MutexGuard, SpinLock, SpinLockGuard};

/// A condition to wait for. Made in place by [`new_condvar!`](crate::new_condvar).
///
/// Unlike the kernel crate's, it waits in `TASK_IDLE`: threads that wait for work do not count as
/// load, are not taken for hung, and are not woken by signals. Waits may end without cause, so the
/// condition is checked in a loop.
///
/// # Invariants
///
/// `queue` is an initialised wait queue head.
#[pin_data]
pub struct CondVar {
    #[pin]
    queue: Opaque<bindings::wait_queue_head>,
    /// The head has a list that points to itself.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: a wait queue head may be used from any thread.
unsafe impl Send for CondVar {}
// SAFETY: it does its own locking.
unsafe impl Sync for CondVar {}

impl CondVar {
    #[doc(hidden)]
    pub fn __init(
        name: &'static CStr,
        key: core::pin::Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(CondVar {
            // SAFETY: the slot is valid; the name and the key live for ever.
            queue <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, kernel::str::CStrExt::as_char_ptr(name), key.as_ptr())
            }),
            _pin: PhantomPinned,
        })
    }

    fn sleep<'a, T: ?Sized, B: Backend>(
        &self,
        guard: Guard<'a, T, B>,
        jiffies: kernel::ffi::c_long,
    ) -> (Guard<'a, T, B>, bool) {
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` is memory for one entry.
        unsafe { bindings::init_wait(entry.get()) };
        // SAFETY: the head is initialised by the type's invariant, the entry was just now; it
        // stays where it is until `finish_wait` below has taken it off the queue.
        unsafe {
            bindings::prepare_to_wait_exclusive(
                self.queue.get(),
                entry.get(),
                bindings::TASK_IDLE as kernel::ffi::c_int,
            )
        };
        let lock = guard.lock_ref();
        drop(guard);
        // SAFETY: sleeping is allowed: only sleeping locks and spin locks have guards here, and
        // the one of them that was held has been given up.
        let left = unsafe { bindings::schedule_timeout(jiffies) };
        // SAFETY: both are initialised.
        unsafe { bindings::finish_wait(self.queue.get(), entry.get()) };
        (lock.lock(), left == 0)
    }

    /// Gives up the lock, waits for a notification, takes the lock again.
    #[must_use]
    pub fn wait<'a, T: ?Sized, B: Backend>(&self, guard: Guard<'a, T, B>) -> Guard<'a, T, B> {
        self.sleep(guard, kernel::ffi::c_long::MAX).0
    }

    /// The same for at most `timeout`; the second value is true if the time ran out.
    #[must_use]
    pub fn wait_timeout<'a, T: ?Sized, B: Backend>(
        &self,
        guard: Guard<'a, T, B>,
        timeout: Duration,
    ) -> (Guard<'a, T, B>, bool) {
        self.sleep(guard, crate::time::to_jiffies(timeout))
    }

    fn notify(&self, count: kernel::ffi::c_int) {
        // SAFETY: the head is initialised by the type's invariant.
        unsafe {
            bindings::__wake_up(
                self.queue.get(),
                bindings::TASK_NORMAL,
                count,
                core::ptr::null_mut(),
            )
        };
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.notify(1)
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.notify(0)
    }
}

/// Initialiser of a [`Mutex`].
#[macro_export]
macro_rules! new_mutex {
    ($($args:tt)*) => { $crate::__kernel::sync::new_mutex!($($args)*) };
}
/// Initialiser of a [`SpinLock`].
#[macro_export]
macro_rules! new_spinlock {
    ($($args:tt)*) => { $crate::__kernel::sync::new_spinlock!($($args)*) };
}
/// Initialiser of a [`CondVar`].
#[macro_export]
macro_rules! new_condvar {
    ($($name:literal)?) => {
        $crate::sync::CondVar::__init(
            $crate::__kernel::optional_name!($($name)?),
            $crate::__kernel::static_lock_class!(),
        )
    };
}
