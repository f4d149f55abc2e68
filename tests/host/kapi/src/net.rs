// SPDX-License-Identifier: GPL-2.0

//! TCP sockets, and a poller that tells which of many are ready.

use crate::alloc::{flags::GFP_KERNEL, KVec};
use crate::error::{code::*, Error, Result};
use crate::pages::{Pages, PAGE_SIZE};
pub use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

mod poller;
pub use poller::{Event, Poller};

fn check(r: libc::c_int) -> Result<libc::c_int> {
    if r < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(r)
}

fn check_len(r: isize) -> Result<usize> {
    usize::try_from(r).map_err(|_| Error::from(io::Error::last_os_error()))
}

fn to_c(a: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: a.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*a.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn from_c(a: libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(
        Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr)),
        u16::from_be(a.sin_port),
    )
}

const ADDR_LEN: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

fn socket() -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe {
        libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        )
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_opt(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result {
    // SAFETY: `value` is valid for reads of the length given.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as u32,
        )
    })?;
    Ok(())
}

fn bind(fd: RawFd, a: SocketAddrV4) -> Result {
    let c = to_c(a);
    // SAFETY: `c` is a valid address of that length.
    check(unsafe { libc::bind(fd, (&raw const c).cast(), ADDR_LEN) })?;
    Ok(())
}

/// Waits for `events` until `deadline`.
fn wait_fd(fd: RawFd, events: i16, deadline: Instant) -> Result {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut p = libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        // SAFETY: `p` is one valid entry.
        match check(unsafe { libc::poll(&mut p, 1, left.as_millis() as i32 + 1) }) {
            Ok(0) if left.is_zero() => return Err(ETIMEDOUT),
            Ok(0) | Err(EINTR) => continue,
            Ok(_) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// A TCP connection. Its operations need only a shared reference; two threads that send at once,
/// or receive at once, mix their data.
pub struct TcpStream {
    fd: OwnedFd,
}

impl TcpStream {
    /// Connects. `local` binds the near end: an address, a port, or both (zero means any).
    ///
    /// # Errors
    /// `ETIMEDOUT`, `ECONNREFUSED`, `EADDRINUSE` and what the network says.
    pub fn connect(
        local: Option<SocketAddrV4>,
        remote: SocketAddrV4,
        timeout: Duration,
    ) -> Result<TcpStream> {
        let deadline = Instant::now() + timeout;
        let s = TcpStream { fd: socket()? };
        if let Some(l) = local {
            set_opt(s.raw(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
            bind(s.raw(), l)?;
        }
        let c = to_c(remote);
        // SAFETY: `c` is a valid address of that length.
        match check(unsafe { libc::connect(s.raw(), (&raw const c).cast(), ADDR_LEN) }) {
            Ok(_) => return Ok(s),
            Err(EINPROGRESS) => {}
            Err(e) => return Err(e),
        }
        wait_fd(s.raw(), libc::POLLOUT, deadline)?;
        s.take_error()?;
        Ok(s)
    }
    fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
    /// The error that the connection has run into, once.
    pub fn take_error(&self) -> Result {
        let mut v: libc::c_int = 0;
        let mut len = size_of_val(&v) as u32;
        // SAFETY: `v` and `len` are valid places for the answer.
        check(unsafe {
            libc::getsockopt(
                self.raw(),
                libc::SOL_SOCKET,
                libc::SO_ERROR,
                (&raw mut v).cast(),
                &mut len,
            )
        })?;
        if v == 0 {
            Ok(())
        } else {
            Err(Error::from_errno(-v))
        }
    }
    /// The near end.
    pub fn local_addr(&self) -> Result<SocketAddrV4> {
        let mut a = to_c(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        let mut len = ADDR_LEN;
        // SAFETY: `a` and `len` are valid places for the answer.
        check(unsafe { libc::getsockname(self.raw(), (&raw mut a).cast(), &mut len) })?;
        Ok(from_c(a))
    }
    /// The far end.
    pub fn peer_addr(&self) -> Result<SocketAddrV4> {
        let mut a = to_c(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        let mut len = ADDR_LEN;
        // SAFETY: `a` and `len` are valid places for the answer.
        check(unsafe { libc::getpeername(self.raw(), (&raw mut a).cast(), &mut len) })?;
        Ok(from_c(a))
    }
    /// Sends small messages at once.
    pub fn set_nodelay(&self, on: bool) -> Result {
        set_opt(self.raw(), libc::IPPROTO_TCP, libc::TCP_NODELAY, on.into())
    }
    /// Probes a silent peer after `idle` seconds, `count` times every `interval` seconds.
    pub fn set_keepalive(&self, idle: u32, interval: u32, count: u32) -> Result {
        let c = |v: u32| libc::c_int::try_from(v).unwrap_or(libc::c_int::MAX);
        set_opt(self.raw(), libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
        set_opt(self.raw(), libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, c(idle))?;
        set_opt(
            self.raw(),
            libc::IPPROTO_TCP,
            libc::TCP_KEEPINTVL,
            c(interval),
        )?;
        set_opt(self.raw(), libc::IPPROTO_TCP, libc::TCP_KEEPCNT, c(count))
    }
    /// Fixes the buffers' sizes; zero leaves a size to the kernel.
    pub fn set_buffers(&self, send: u32, receive: u32) -> Result {
        for (name, v) in [(libc::SO_SNDBUF, send), (libc::SO_RCVBUF, receive)] {
            if v != 0 {
                set_opt(self.raw(), libc::SOL_SOCKET, name, v.try_into()?)?;
            }
        }
        Ok(())
    }

    /// Receives exactly `buf.len()` bytes, blocking.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `ECONNRESET` (also for an orderly end).
    pub fn recv_exact(&self, buf: &mut [u8], timeout: Duration) -> Result {
        let deadline = Instant::now() + timeout;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            match self.try_recv(rest) {
                Ok(0) => return Err(ECONNRESET),
                Ok(n) => done += n,
                Err(EAGAIN) => wait_fd(self.raw(), libc::POLLIN, deadline)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
    /// Sends all of `buf`, blocking.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `ECONNRESET`, `EPIPE`.
    pub fn send_all(&self, buf: &[u8], timeout: Duration) -> Result {
        let deadline = Instant::now() + timeout;
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|r| !r.is_empty()) {
            match self.try_send(rest, &[], false) {
                Ok(n) => done += n,
                Err(EAGAIN) => wait_fd(self.raw(), libc::POLLOUT, deadline)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Receives what is there; zero is the peer's orderly end.
    ///
    /// # Errors
    /// `EAGAIN`: nothing there; the poller will tell.
    pub fn try_recv(&self, buf: &mut [u8]) -> Result<usize> {
        // SAFETY: `buf` is valid for writes of its length.
        check_len(unsafe { libc::recv(self.raw(), buf.as_mut_ptr().cast(), buf.len(), 0) })
    }
    /// The same into pages, `len` bytes at most at byte offset `off`.
    ///
    /// # Errors
    /// As [`TcpStream::try_recv`]; `EINVAL` if the pages end before.
    pub fn try_recv_pages(&self, pages: &mut Pages, off: usize, len: usize) -> Result<usize> {
        if off.checked_add(len).is_none_or(|e| e > pages.len()) {
            return Err(EINVAL);
        }
        let mut iov = Vec::new();
        let (mut pos, end) = (off, off + len);
        while pos < end && iov.len() < 256 {
            let in_page = pos % PAGE_SIZE;
            let n = (PAGE_SIZE - in_page).min(end - pos);
            let p = pages.page_mut(pos / PAGE_SIZE).ok_or(EINVAL)?;
            iov.push(libc::iovec {
                iov_base: p[in_page..].as_mut_ptr().cast(),
                iov_len: n,
            });
            pos += n;
        }
        // SAFETY: each entry is a piece of a page of `pages`, which is borrowed mutably.
        check_len(unsafe { libc::readv(self.raw(), iov.as_ptr(), iov.len() as i32) })
    }
    /// Sends what fits of one buffer and then another. `more`: more will follow at once.
    ///
    /// # Errors
    /// `EAGAIN`: no room; the poller will tell.
    pub fn try_send(&self, head: &[u8], body: &[u8], more: bool) -> Result<usize> {
        let piece = |b: &[u8]| libc::iovec {
            iov_base: b.as_ptr().cast_mut().cast(),
            iov_len: b.len(),
        };
        self.send_pieces(&mut [piece(head), piece(body)], more)
    }
    fn send_pieces(&self, iov: &mut [libc::iovec], more: bool) -> Result<usize> {
        let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        // SAFETY: all-zero is a valid `msghdr`.
        let mut m: libc::msghdr = unsafe { core::mem::zeroed() };
        m.msg_iov = iov.as_mut_ptr();
        m.msg_iovlen = iov.len();
        // SAFETY: the callers make each entry of a slice that they have borrowed; it is only read.
        check_len(unsafe { libc::sendmsg(self.raw(), &m, flags) })
    }
    /// The same from pages, without a copy where the system can. Until the peer has acknowledged
    /// the data, the connection may hold references to the pages: what is written to them after
    /// this call may be sent.
    ///
    /// # Errors
    /// As [`TcpStream::try_send`]; `EINVAL` if the pages end before.
    pub fn try_send_pages(
        &self,
        pages: &Pages,
        off: usize,
        len: usize,
        more: bool,
    ) -> Result<usize> {
        if off.checked_add(len).is_none_or(|e| e > pages.len()) {
            return Err(EINVAL);
        }
        let mut iov: Vec<libc::iovec> = pages
            .chunks(off, len)
            .take(256)
            .map(|c| libc::iovec {
                iov_base: c.as_ptr().cast_mut().cast(),
                iov_len: c.len(),
            })
            .collect();
        let all: usize = iov.iter().map(|v| v.iov_len).sum();
        self.send_pieces(&mut iov, more || all < len)
    }
    /// Ends both directions; whoever waits on the connection wakes.
    pub fn shutdown(&self) {
        // SAFETY: no pointers.
        unsafe { libc::shutdown(self.raw(), libc::SHUT_RDWR) };
    }
}

/// A listening socket.
pub struct TcpListener {
    fd: OwnedFd,
}

impl TcpListener {
    /// Listens at `addr`.
    pub fn bind(addr: SocketAddrV4, backlog: u32) -> Result<TcpListener> {
        let fd = socket()?;
        set_opt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        bind(fd.as_raw_fd(), addr)?;
        // SAFETY: no pointers.
        check(unsafe { libc::listen(fd.as_raw_fd(), backlog.min(4096) as i32) })?;
        Ok(TcpListener { fd })
    }
    /// Where it listens; tells the port if zero was asked for.
    pub fn local_addr(&self) -> Result<SocketAddrV4> {
        let mut a = to_c(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        let mut len = ADDR_LEN;
        // SAFETY: `a` and `len` are valid places for the answer.
        check(unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut a).cast(), &mut len) })?;
        Ok(from_c(a))
    }
    /// Waits for a connection.
    ///
    /// # Errors
    /// `EAGAIN`: none came within `timeout`. `EINVAL`: [`TcpListener::shutdown`] was called.
    pub fn accept(&self, timeout: Duration) -> Result<(TcpStream, SocketAddrV4)> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut a = to_c(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
            let mut len = ADDR_LEN;
            // SAFETY: `a` and `len` are valid places for the answer.
            let r = check(unsafe {
                libc::accept4(
                    self.fd.as_raw_fd(),
                    (&raw mut a).cast(),
                    &mut len,
                    libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                )
            });
            match r {
                Ok(fd) => {
                    // SAFETY: a new descriptor that nobody else owns.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    return Ok((TcpStream { fd }, from_c(a)));
                }
                Err(EAGAIN) => match wait_fd(self.fd.as_raw_fd(), libc::POLLIN, deadline) {
                    Err(ETIMEDOUT) => return Err(EAGAIN),
                    r => r?,
                },
                Err(EINTR | ECONNABORTED) => {}
                Err(e) => return Err(e),
            }
        }
    }
    /// Stops listening: whoever waits in [`TcpListener::accept`] wakes with `EINVAL`.
    pub fn shutdown(&self) {
        // SAFETY: no pointers.
        unsafe { libc::shutdown(self.fd.as_raw_fd(), libc::SHUT_RDWR) };
    }
}

/// The first IPv4 address of a network interface ("eth0").
///
/// # Errors
/// `ENODEV`: no such interface. `EADDRNOTAVAIL`: it has no address.
pub fn interface_address(name: &str) -> Result<Ipv4Addr> {
    interfaces()?
        .into_iter()
        .find(|(n, _)| n == name)
        .map(|(_, a)| a)
        .ok_or(ENODEV)
}

/// The first interface that is up, has an IPv4 address and is no loopback: what a network gets
/// when the administrator names none.
pub fn default_address() -> Result<Ipv4Addr> {
    interfaces()?
        .into_iter()
        .map(|(_, a)| a)
        .find(|a| !a.is_loopback())
        .ok_or(ENODEV)
}

/// The IPv4 addresses of all interfaces that are up, without the loopback.
///
/// # Errors
/// `ENOMEM`.
pub fn local_addresses() -> Result<KVec<Ipv4Addr>> {
    let mut out = KVec::new();
    for (_, a) in interfaces()? {
        if !a.is_loopback() {
            out.push(a, GFP_KERNEL)?;
        }
    }
    Ok(out)
}

fn interfaces() -> Result<Vec<(String, Ipv4Addr)>> {
    let mut list = core::ptr::null_mut();
    // SAFETY: `list` is a valid place for the answer.
    check(unsafe { libc::getifaddrs(&mut list) })?;
    let mut out = Vec::new();
    let mut p = list;
    while !p.is_null() {
        // SAFETY: `p` is an entry of the list, which lives until `freeifaddrs`.
        let e = unsafe { &*p };
        // SAFETY: an address, if there is one, begins with its family; an AF_INET one is a
        // `sockaddr_in`. The name is a C string.
        unsafe {
            if !e.ifa_addr.is_null() && (*e.ifa_addr).sa_family == libc::AF_INET as u16 {
                let a = from_c(*e.ifa_addr.cast::<libc::sockaddr_in>());
                let n = std::ffi::CStr::from_ptr(e.ifa_name)
                    .to_string_lossy()
                    .into_owned();
                out.push((n, *a.ip()));
            }
        }
        p = e.ifa_next;
    }
    // SAFETY: `list` came from `getifaddrs`, and nothing of it is used any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(out)
}

impl TcpStream {
    pub(crate) fn as_raw(&self) -> RawFd {
        self.raw()
    }
}
