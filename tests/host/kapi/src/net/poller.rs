// SPDX-License-Identifier: GPL-2.0

//! Readiness of many connections.

use super::{check, TcpStream};
use crate::error::{code::*, Result};
use core::time::Duration;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

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

const WAKE: u64 = u64::MAX;

/// Tells which of many connections are ready, by edges: an event comes when readiness comes, and
/// not again until an operation has returned `EAGAIN`, or less than was asked for. Several threads may share one poller; an
/// event goes to one of them.
pub struct Poller {
    epoll: OwnedFd,
    wake: OwnedFd,
}

impl Poller {
    /// A new one.
    pub fn new() -> Result<Poller> {
        // SAFETY: no pointers; the descriptors are new and owned by nobody else.
        let (epoll, wake) = unsafe {
            (
                OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?),
                OwnedFd::from_raw_fd(check(libc::eventfd(
                    0,
                    libc::EFD_NONBLOCK | libc::EFD_CLOEXEC,
                ))?),
            )
        };
        let mut e = libc::epoll_event {
            events: (libc::EPOLLIN) as u32,
            u64: WAKE,
        };
        // SAFETY: `e` is valid; both descriptors are open.
        check(unsafe {
            libc::epoll_ctl(
                epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                wake.as_raw_fd(),
                &mut e,
            )
        })?;
        Ok(Poller { epoll, wake })
    }
    /// Watches `s`; the first event reports what is so now. `token` is not `u64::MAX`.
    pub fn register(&self, s: &TcpStream, token: u64) -> Result {
        if token == WAKE {
            return Err(EINVAL);
        }
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        let mut e = libc::epoll_event { events, u64: token };
        // SAFETY: `e` is valid; both descriptors are open.
        check(unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                s.as_raw(),
                &mut e,
            )
        })?;
        Ok(())
    }
    /// Watches `s` no more. An event that another thread has taken already may still arrive there.
    pub fn unregister(&self, s: &TcpStream) {
        // SAFETY: both descriptors are open; the event is not used.
        unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                s.as_raw(),
                core::ptr::null_mut(),
            )
        };
    }
    /// Waits for events; returns how many of `events` are filled, which may be none: at the
    /// time-out, or after [`Poller::wake`].
    pub fn wait(&self, events: &mut [Event], timeout: Option<Duration>) -> Result<usize> {
        let mut buf = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let max = events.len().min(buf.len()) as i32;
        let ms = timeout.map_or(-1, |t| t.as_nanos().div_ceil(1_000_000).min(1 << 30) as i32);
        // SAFETY: `buf` has room for `max` events.
        let r =
            check(unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), buf.as_mut_ptr(), max, ms) });
        let n = match r {
            Ok(n) => n as usize,
            Err(EINTR) => 0,
            Err(e) => return Err(e),
        };
        let mut filled = 0;
        for e in &buf[..n] {
            let (token, bits) = (e.u64, e.events as i32);
            if token == WAKE {
                let mut b = [0u8; 8];
                // SAFETY: `b` is valid for writes of 8 bytes.
                unsafe { libc::read(self.wake.as_raw_fd(), b.as_mut_ptr().cast(), 8) };
                continue;
            }
            let closed = bits & (libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLRDHUP) != 0;
            events[filled] = Event {
                token,
                readable: closed || bits & libc::EPOLLIN != 0,
                writable: closed || bits & libc::EPOLLOUT != 0,
                closed,
            };
            filled += 1;
        }
        Ok(filled)
    }
    /// Makes one waiting thread, or the next to wait, return.
    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: `one` is valid for reads of 8 bytes.
        unsafe { libc::write(self.wake.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}
