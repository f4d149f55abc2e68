// SPDX-License-Identifier: GPL-2.0

//! TCP sockets, and a poller that tells which of many are ready.

use crate::alloc::{flags::GFP_KERNEL, KVec};
use crate::error::{code::*, Error, Result};
use crate::ffi;
use crate::pages::Pages;
use crate::time::{to_jiffies, Instant};
use core::ffi::CStr;
use core::ptr::NonNull;
use core::time::Duration;

pub use core::net::{Ipv4Addr, SocketAddrV4};

#[path = "poller.rs"]
mod poller;
pub use poller::{Event, Poller};

pub(crate) fn check(rc: kernel::ffi::c_int) -> Result {
    kernel::error::to_result(rc)
}

fn check_len(rc: isize) -> Result<usize> {
    usize::try_from(rc).map_err(|_| Error::from_errno(i32::try_from(rc).unwrap_or(-22)))
}

fn to_c(a: SocketAddrV4) -> ffi::lustre_kapi_addr {
    ffi::lustre_kapi_addr {
        ip: u32::from(*a.ip()),
        port: a.port(),
    }
}

fn from_c(a: ffi::lustre_kapi_addr) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(a.ip), a.port)
}

/// A socket of any kind.
///
/// # Invariants
///
/// The pointer is to a socket that the helpers made for us, and which only we release.
struct Socket(NonNull<ffi::lustre_kapi_sock>);

// SAFETY: sockets belong to no thread.
unsafe impl Send for Socket {}
// SAFETY: a socket does its own locking.
unsafe impl Sync for Socket {}

impl Socket {
    fn new() -> Result<Socket> {
        let mut raw = core::ptr::null_mut();
        // SAFETY: `raw` is a valid place for the answer.
        check(unsafe { ffi::lustre_kapi_sock_create(&mut raw) })?;
        // INVARIANT: the helper made it for us.
        NonNull::new(raw).map(Socket).ok_or(ENOMEM)
    }
    fn raw(&self) -> *mut ffi::lustre_kapi_sock {
        self.0.as_ptr()
    }
    fn bind(&self, a: SocketAddrV4) -> Result {
        // SAFETY: the socket is live by the type's invariant; the address is copied.
        check(unsafe { ffi::lustre_kapi_sock_bind(self.raw(), &to_c(a)) })
    }
    fn name(&self, peer: bool) -> Result<SocketAddrV4> {
        let mut a = ffi::lustre_kapi_addr { ip: 0, port: 0 };
        // SAFETY: the socket is live by the type's invariant; `a` is a valid place for the answer.
        check(unsafe { ffi::lustre_kapi_sock_name(self.raw(), peer, &mut a) })?;
        Ok(from_c(a))
    }
    fn shutdown(&self) {
        // SAFETY: the socket is live by the type's invariant.
        unsafe { ffi::lustre_kapi_sock_shutdown(self.raw()) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant it is ours to release; nobody uses it any more.
        unsafe { ffi::lustre_kapi_sock_release(self.raw()) }
    }
}

/// The time left until `deadline`, in jiffies.
fn left(deadline: Instant) -> Result<kernel::ffi::c_long> {
    let left = deadline.duration_since(Instant::now());
    if left.is_zero() {
        return Err(ETIMEDOUT);
    }
    Ok(to_jiffies(left))
}

/// A TCP connection. Its operations need only a shared reference; two threads that send at once,
/// or receive at once, mix their data.
pub struct TcpStream(Socket);

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
        let s = Socket::new()?;
        if let Some(l) = local {
            s.bind(l)?;
        }
        // SAFETY: the socket is live; the address is copied.
        check(unsafe {
            ffi::lustre_kapi_sock_connect(s.raw(), &to_c(remote), to_jiffies(timeout))
        })?;
        Ok(TcpStream(s))
    }
    pub(crate) fn raw(&self) -> *mut ffi::lustre_kapi_sock {
        self.0.raw()
    }
    /// The error that the connection has run into, once.
    pub fn take_error(&self) -> Result {
        // SAFETY: the socket is live.
        check(unsafe { ffi::lustre_kapi_sock_error(self.raw()) })
    }
    /// The near end.
    pub fn local_addr(&self) -> Result<SocketAddrV4> {
        self.0.name(false)
    }
    /// The far end.
    pub fn peer_addr(&self) -> Result<SocketAddrV4> {
        self.0.name(true)
    }
    /// Sends small messages at once.
    pub fn set_nodelay(&self, on: bool) -> Result {
        // SAFETY: the socket is live.
        check(unsafe { ffi::lustre_kapi_sock_nodelay(self.raw(), on) })
    }
    /// Probes a silent peer after `idle` seconds, `count` times every `interval` seconds.
    pub fn set_keepalive(&self, idle: u32, interval: u32, count: u32) -> Result {
        let c = |v: u32| i32::try_from(v).unwrap_or(i32::MAX);
        // SAFETY: the socket is live.
        check(unsafe {
            ffi::lustre_kapi_sock_keepalive(self.raw(), c(idle), c(interval), c(count))
        })
    }
    /// Fixes the buffers' sizes; zero leaves a size to the kernel.
    pub fn set_buffers(&self, send: u32, receive: u32) -> Result {
        let (send, receive) = (i32::try_from(send)?, i32::try_from(receive)?);
        // SAFETY: the socket is live.
        check(unsafe { ffi::lustre_kapi_sock_buffers(self.raw(), send, receive) })
    }

    /// Receives exactly `buf.len()` bytes, blocking.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `ECONNRESET` (also for an orderly end), `EINTR` in a process that has a signal.
    pub fn recv_exact(&self, buf: &mut [u8], timeout: Duration) -> Result {
        let deadline = Instant::now() + timeout;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let t = left(deadline)?;
            // SAFETY: the socket is live; `rest` is valid for writes of its length.
            let rc = unsafe {
                ffi::lustre_kapi_sock_recv(self.raw(), rest.as_mut_ptr().cast(), rest.len(), t)
            };
            match check_len(rc) {
                Ok(0) => return Err(ECONNRESET),
                Ok(n) => done += n,
                Err(EAGAIN) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
    /// Sends all of `buf`, blocking.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `ECONNRESET`, `EPIPE`, `EINTR` in a process that has a signal.
    pub fn send_all(&self, buf: &[u8], timeout: Duration) -> Result {
        let deadline = Instant::now() + timeout;
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|r| !r.is_empty()) {
            let t = left(deadline)?;
            // SAFETY: the socket is live; `rest` is valid for reads of its length.
            let rc = unsafe {
                ffi::lustre_kapi_sock_send(self.raw(), rest.as_ptr().cast(), rest.len(), t)
            };
            match check_len(rc) {
                Ok(n) => done += n,
                Err(EAGAIN) => {}
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
        // SAFETY: the socket is live; `buf` is valid for writes of its length.
        check_len(unsafe {
            ffi::lustre_kapi_sock_recv(self.raw(), buf.as_mut_ptr().cast(), buf.len(), 0)
        })
    }
    /// The same into pages, `len` bytes at most at byte offset `off`.
    ///
    /// # Errors
    /// As [`TcpStream::try_recv`]; `EINVAL` if the pages end before.
    pub fn try_recv_pages(&self, pages: &mut Pages, off: usize, len: usize) -> Result<usize> {
        if off.checked_add(len).is_none_or(|e| e > pages.len()) {
            return Err(EINVAL);
        }
        let bv = pages.raw();
        // SAFETY: the socket is live; the range is within the pages, which are borrowed mutably.
        check_len(unsafe {
            ffi::lustre_kapi_sock_recv_pages(self.raw(), bv.as_ptr(), bv.len(), off, len)
        })
    }
    /// Sends what fits of one buffer and then another. `more`: more will follow at once.
    ///
    /// # Errors
    /// `EAGAIN`: no room; the poller will tell.
    pub fn try_send(&self, head: &[u8], body: &[u8], more: bool) -> Result<usize> {
        // SAFETY: the socket is live; both buffers are valid for reads of their lengths.
        check_len(unsafe {
            ffi::lustre_kapi_sock_try_send(
                self.raw(),
                head.as_ptr().cast(),
                head.len(),
                body.as_ptr().cast(),
                body.len(),
                more,
            )
        })
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
        let bv = pages.raw();
        // SAFETY: the socket is live; the range is within the pages, which are only read, and
        // which the socket takes references to.
        check_len(unsafe {
            ffi::lustre_kapi_sock_send_pages(self.raw(), bv.as_ptr(), bv.len(), off, len, more)
        })
    }
    /// Ends both directions; whoever waits on the connection wakes.
    pub fn shutdown(&self) {
        self.0.shutdown()
    }
}

/// A listening socket.
pub struct TcpListener(Socket);

impl TcpListener {
    /// Listens at `addr`.
    pub fn bind(addr: SocketAddrV4, backlog: u32) -> Result<TcpListener> {
        let s = Socket::new()?;
        s.bind(addr)?;
        // SAFETY: the socket is live.
        check(unsafe { ffi::lustre_kapi_sock_listen(s.raw(), backlog.min(4096) as i32) })?;
        Ok(TcpListener(s))
    }
    /// Where it listens; tells the port if zero was asked for.
    pub fn local_addr(&self) -> Result<SocketAddrV4> {
        self.0.name(false)
    }
    /// Waits for a connection.
    ///
    /// # Errors
    /// `EAGAIN`: none came within `timeout`. `EINVAL`: [`TcpListener::shutdown`] was called.
    pub fn accept(&self, timeout: Duration) -> Result<(TcpStream, SocketAddrV4)> {
        let mut raw = core::ptr::null_mut();
        // SAFETY: the socket is live; `raw` is a valid place for the answer.
        check(unsafe {
            ffi::lustre_kapi_sock_accept(self.0.raw(), to_jiffies(timeout), &mut raw)
        })?;
        // INVARIANT: the helper made it for us.
        let s = Socket(NonNull::new(raw).ok_or(ENOMEM)?);
        let peer = s.name(true)?;
        Ok((TcpStream(s), peer))
    }
    /// Stops listening: whoever waits in [`TcpListener::accept`] wakes with `EINVAL`.
    pub fn shutdown(&self) {
        self.0.shutdown()
    }
}

fn interface(name: Option<&CStr>) -> Result<Ipv4Addr> {
    let name = name.map_or(core::ptr::null(), CStr::as_ptr);
    let mut ip = 0;
    // SAFETY: the name is null or a C string; `ip` is a valid place for the answer.
    check(unsafe { ffi::lustre_kapi_interface_address(name.cast(), &mut ip) })?;
    Ok(Ipv4Addr::from(ip))
}

/// The first IPv4 address of a network interface ("eth0").
///
/// # Errors
/// `ENODEV`: no such interface. `EADDRNOTAVAIL`: it has no address.
pub fn interface_address(name: &str) -> Result<Ipv4Addr> {
    // IFNAMSIZ, with the terminator.
    let mut c = [0u8; 16];
    let to = c.get_mut(..name.len()).filter(|t| t.len() < 16);
    to.ok_or(ENODEV)?.copy_from_slice(name.as_bytes());
    interface(Some(CStr::from_bytes_until_nul(&c).map_err(|_| ENODEV)?))
}

/// The first interface that is up, has an IPv4 address and is no loopback: what a network gets
/// when the administrator names none.
///
/// # Errors
/// `ENODEV`: there is none.
pub fn default_address() -> Result<Ipv4Addr> {
    interface(None)
}

/// Addresses that [`local_addresses`] tells at the most.
const ADDRESSES_MAX: usize = 256;

/// The IPv4 addresses of all interfaces that are up, without the loopback.
///
/// # Errors
/// `ENOMEM`.
pub fn local_addresses() -> Result<KVec<Ipv4Addr>> {
    let mut ips: KVec<u32> = KVec::new();
    ips.resize(ADDRESSES_MAX, 0, GFP_KERNEL)?;
    // SAFETY: the vector has so many elements, all of which may be written to.
    let n = unsafe { ffi::lustre_kapi_addresses(ips.as_mut_ptr(), ips.len()) };
    let mut out = KVec::new();
    for ip in ips.iter().take(n) {
        out.push(Ipv4Addr::from(*ip), GFP_KERNEL)?;
    }
    Ok(out)
}
