// SPDX-License-Identifier: GPL-2.0

//! Readiness of many connections.

use super::{check, TcpStream};
use crate::error::{code::*, Result};
use crate::ffi;
use crate::time::to_jiffies;
use core::ptr::NonNull;
use core::time::Duration;

/// What became of a connection.
#[derive(Clone, Copy, Default, Debug)]
pub struct Event {
    /// The number the connection was registered with.
    pub token: u64,
    /// There may be something to receive, or the end.
    pub readable: bool,
    /// There may be room to send.
    pub writable: bool,
    /// The connection has an error or was ended by the peer.
    pub closed: bool,
}

/// Events that one wait takes at most; they pass through the stack.
const BATCH: usize = 16;

/// Tells which of many connections are ready, by edges: an event comes when readiness comes, and
/// not again until an operation has returned `EAGAIN`, or less than was asked for. Several threads
/// may share one poller; an event goes to one of them.
///
/// # Invariants
///
/// The pointer is to a poller of which we have a reference.
pub struct Poller(NonNull<ffi::lustre_kapi_poller>);

// SAFETY: pollers belong to no thread.
unsafe impl Send for Poller {}
// SAFETY: a poller does its own locking.
unsafe impl Sync for Poller {}

impl Poller {
    /// A new one.
    pub fn new() -> Result<Poller> {
        // SAFETY: no conditions but that sleeping is allowed.
        let raw = unsafe { ffi::lustre_kapi_poller_create() };
        // INVARIANT: a new one's reference is its maker's.
        NonNull::new(raw).map(Poller).ok_or(ENOMEM)
    }
    /// Watches `s`; the first event reports what is so now. `token` is not `u64::MAX`.
    ///
    /// # Errors
    /// `EINVAL`: such a token. `EEXIST`: a poller watches it already.
    pub fn register(&self, s: &TcpStream, token: u64) -> Result {
        if token == u64::MAX {
            return Err(EINVAL);
        }
        // SAFETY: both are live. The socket takes a reference to the poller, and leaves it when it
        // is released.
        check(unsafe { ffi::lustre_kapi_poller_add(self.0.as_ptr(), s.raw(), token) })
    }
    /// Watches `s` no more. An event that another thread has taken already may still arrive there.
    pub fn unregister(&self, s: &TcpStream) {
        // SAFETY: both are live.
        unsafe { ffi::lustre_kapi_poller_remove(self.0.as_ptr(), s.raw()) }
    }
    /// Waits for events; returns how many of `events` are filled, which may be none: at the
    /// time-out, or after [`Poller::wake`].
    pub fn wait(&self, events: &mut [Event], timeout: Option<Duration>) -> Result<usize> {
        let mut raw = [const {
            ffi::lustre_kapi_event {
                token: 0,
                events: 0,
            }
        }; BATCH];
        let timeout = match timeout {
            None => kernel::ffi::c_long::MAX,
            Some(t) if t.is_zero() => 0,
            Some(t) => to_jiffies(t),
        };
        let max = events.len().min(BATCH) as i32;
        // SAFETY: the poller is live; `raw` has room for `max` events.
        let n = unsafe {
            ffi::lustre_kapi_poller_wait(self.0.as_ptr(), raw.as_mut_ptr(), max, timeout)
        };
        let n = usize::try_from(n).unwrap_or(0);
        for (to, from) in events.iter_mut().zip(raw.iter().take(n)) {
            *to = Event {
                token: from.token,
                readable: from.events & ffi::LUSTRE_KAPI_READABLE != 0,
                writable: from.events & ffi::LUSTRE_KAPI_WRITABLE != 0,
                closed: from.events & ffi::LUSTRE_KAPI_CLOSED != 0,
            };
        }
        Ok(n)
    }
    /// Makes one waiting thread, or the next to wait, return.
    pub fn wake(&self) {
        // SAFETY: the poller is live.
        unsafe { ffi::lustre_kapi_poller_wake(self.0.as_ptr()) }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // SAFETY: gives up our reference; connections that are still watched have their own.
        unsafe { ffi::lustre_kapi_poller_put(self.0.as_ptr()) }
    }
}
