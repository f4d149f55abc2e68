// SPDX-License-Identifier: GPL-2.0

//! Waiting for others.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A lock that a panic elsewhere does not spoil further.
pub(crate) fn guard<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// A condition to wait for. Whoever changes what is waited for does so under the mutex that
/// waiters give up meanwhile. To wake nobody costs no system call.
#[derive(Default)]
pub(crate) struct Condition {
    changed: Condvar,
    waiters: AtomicUsize,
}

impl Condition {
    /// Gives up the lock, waits, takes the lock again. May end without cause.
    pub(crate) fn wait<'a, T>(&self, g: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.waiters.fetch_add(1, SeqCst);
        let g = self.changed.wait(g).unwrap_or_else(|e| e.into_inner());
        self.waiters.fetch_sub(1, SeqCst);
        g
    }

    /// The same for at most `limit`.
    pub(crate) fn wait_for<'a, T>(
        &self,
        g: MutexGuard<'a, T>,
        limit: Duration,
    ) -> MutexGuard<'a, T> {
        self.waiters.fetch_add(1, SeqCst);
        let g = match self.changed.wait_timeout(g, limit) {
            Ok((g, _)) => g,
            Err(e) => e.into_inner().0,
        };
        self.waiters.fetch_sub(1, SeqCst);
        g
    }

    /// Wakes one who waits.
    pub(crate) fn notify_one(&self) {
        if self.waiters.load(SeqCst) != 0 {
            self.changed.notify_one();
        }
    }

    /// Wakes all who wait.
    pub(crate) fn notify_all(&self) {
        if self.waiters.load(SeqCst) != 0 {
            self.changed.notify_all();
        }
    }
}
