// SPDX-License-Identifier: GPL-2.0

//! Locks, reference counts, atomics.

use crate::alloc::{AllocError, Flags, InPlaceInit};
use core::marker::CoercePointee;
use core::ops::{Deref, DerefMut};
use core::time::Duration;
use pin_init::PinInit;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

pub mod atomic;

/// A reference-counted value. There are no weak references, as in the kernel.
#[derive(CoercePointee)]
#[repr(transparent)]
pub struct Arc<T: ?Sized>(std::sync::Arc<T>);

impl<T> Arc<T> {
    /// Moves `t` to the heap.
    pub fn new(t: T, _flags: Flags) -> Result<Self, AllocError> {
        Ok(Arc(std::sync::Arc::new(t)))
    }
    /// The value, if nobody else refers to it.
    pub(crate) fn try_unwrap(self) -> Option<T> {
        std::sync::Arc::try_unwrap(self.0).ok()
    }
}
impl<T: ?Sized> Arc<T> {
    /// Whether both are the same object.
    pub fn ptr_eq(a: &Self, b: &Self) -> bool {
        std::sync::Arc::ptr_eq(&a.0, &b.0)
    }
    /// The address, as an identity.
    pub fn as_ptr(this: &Self) -> *const T {
        std::sync::Arc::as_ptr(&this.0)
    }
}
impl<T: ?Sized> Clone for Arc<T> {
    fn clone(&self) -> Self {
        Arc(self.0.clone())
    }
}
impl<T: ?Sized> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
impl<T: ?Sized> AsRef<T> for Arc<T> {
    fn as_ref(&self) -> &T {
        &self.0
    }
}
impl<T: ?Sized + fmt::Debug> fmt::Debug for Arc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl<T> InPlaceInit<T> for Arc<T> {
    type PinnedSelf = Self;
    fn pin_init<E>(init: impl PinInit<T, E>, _flags: Flags) -> crate::error::Result<Self>
    where
        crate::error::Error: From<E>,
    {
        let mut a = std::sync::Arc::<T>::new_uninit();
        let slot = std::sync::Arc::get_mut(&mut a).map(|s| s.as_mut_ptr());
        // SAFETY: the memory is fresh and ours alone, never moves, and counts as initialised only
        // on success.
        unsafe {
            pin_init::raw_try_init(slot.ok_or(crate::error::code::ENOMEM)?, init)?;
            Ok(Arc(a.assume_init()))
        }
    }
}

/// A sleeping lock. Made in place by [`new_mutex!`](crate::new_mutex).
pub struct Mutex<T: ?Sized> {
    _pin: core::marker::PhantomPinned,
    inner: std::sync::Mutex<T>,
}

/// A spinning lock: its holder may not sleep. Made in place by
/// [`new_spinlock!`](crate::new_spinlock).
pub struct SpinLock<T: ?Sized> {
    _pin: core::marker::PhantomPinned,
    inner: std::sync::Mutex<T>,
}

/// A held [`Mutex`].
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    g: std::sync::MutexGuard<'a, T>,
}
/// A held [`SpinLock`].
pub struct SpinLockGuard<'a, T: ?Sized> {
    lock: &'a SpinLock<T>,
    g: std::sync::MutexGuard<'a, T>,
}

macro_rules! lock {
    ($lock:ident, $guard:ident) => {
        impl<T> $lock<T> {
            #[doc(hidden)]
            pub fn __init(t: T) -> impl PinInit<Self> {
                // SAFETY: a plain value is written to the slot whole.
                unsafe {
                    pin_init::pin_init_from_closure(move |slot: *mut Self| {
                        slot.write($lock {
                            _pin: core::marker::PhantomPinned,
                            inner: std::sync::Mutex::new(t),
                        });
                        Ok::<(), core::convert::Infallible>(())
                    })
                }
            }
        }
        impl<T: ?Sized> $lock<T> {
            /// Takes the lock, waiting for it.
            pub fn lock(&self) -> $guard<'_, T> {
                let g = self.inner.lock().unwrap_or_else(|e| e.into_inner());
                $guard { lock: self, g }
            }
            /// Takes the lock if it is free.
            pub fn try_lock(&self) -> Option<$guard<'_, T>> {
                match self.inner.try_lock() {
                    Ok(g) => Some($guard { lock: self, g }),
                    Err(std::sync::TryLockError::Poisoned(e)) => Some($guard {
                        lock: self,
                        g: e.into_inner(),
                    }),
                    Err(std::sync::TryLockError::WouldBlock) => None,
                }
            }
        }
        impl<'a, T: ?Sized> Deref for $guard<'a, T> {
            type Target = T;
            fn deref(&self) -> &T {
                &self.g
            }
        }
        impl<'a, T: ?Sized + Unpin> DerefMut for $guard<'a, T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.g
            }
        }
        impl<'a, T> WaitGuard for $guard<'a, T> {
            fn __wait(self, c: &CondVar, t: Option<Duration>) -> (Self, bool) {
                let lock = self.lock;
                // Before the lock is given up: who changes something under it sees this.
                c.waiters.fetch_add(1, SeqCst);
                let (g, late) = match t {
                    None => {
                        let g = c.c.wait(self.g).unwrap_or_else(|e| e.into_inner());
                        (g, false)
                    }
                    Some(t) => {
                        let r = c.c.wait_timeout(self.g, t);
                        let (g, r) = r.unwrap_or_else(|e| e.into_inner());
                        (g, r.timed_out())
                    }
                };
                c.waiters.fetch_sub(1, SeqCst);
                ($guard { lock, g }, late)
            }
        }
    };
}
lock!(Mutex, MutexGuard);
lock!(SpinLock, SpinLockGuard);

/// A guard that can be given up while waiting on a [`CondVar`].
pub trait WaitGuard: Sized {
    #[doc(hidden)]
    fn __wait(self, c: &CondVar, t: Option<Duration>) -> (Self, bool);
}

/// A condition to wait for. Made in place by [`new_condvar!`](crate::new_condvar).
///
/// Waits are idle waits: they do not count as load, are not interrupted by signals, and may end
/// without cause, so the condition is checked in a loop.
pub struct CondVar {
    _pin: core::marker::PhantomPinned,
    c: std::sync::Condvar,
    /// Who waits: to wake nobody is a system call, too.
    waiters: AtomicUsize,
}
impl CondVar {
    #[doc(hidden)]
    pub fn __init() -> impl PinInit<Self> {
        // SAFETY: a plain value is written to the slot whole.
        unsafe {
            pin_init::pin_init_from_closure(|slot: *mut Self| {
                slot.write(CondVar {
                    _pin: core::marker::PhantomPinned,
                    c: std::sync::Condvar::new(),
                    waiters: AtomicUsize::new(0),
                });
                Ok::<(), core::convert::Infallible>(())
            })
        }
    }
    /// Gives up the lock, waits for a notification, takes the lock again.
    #[must_use]
    pub fn wait<G: WaitGuard>(&self, guard: G) -> G {
        guard.__wait(self, None).0
    }
    /// The same for at most `timeout`; the second value is true if the time ran out.
    #[must_use]
    pub fn wait_timeout<G: WaitGuard>(&self, guard: G, timeout: Duration) -> (G, bool) {
        guard.__wait(self, Some(timeout))
    }
    /// Wakes one waiter.
    pub fn notify_one(&self) {
        if self.waiters.load(SeqCst) != 0 {
            self.c.notify_one()
        }
    }
    /// Wakes all waiters.
    pub fn notify_all(&self) {
        if self.waiters.load(SeqCst) != 0 {
            self.c.notify_all()
        }
    }
}

/// Initialiser of a [`Mutex`].
#[macro_export]
macro_rules! new_mutex {
    ($v:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::Mutex::__init($v)
    };
}
/// Initialiser of a [`SpinLock`].
#[macro_export]
macro_rules! new_spinlock {
    ($v:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::SpinLock::__init($v)
    };
}
/// Initialiser of a [`CondVar`].
#[macro_export]
macro_rules! new_condvar {
    ($($name:literal)?) => {
        $crate::sync::CondVar::__init()
    };
}
