// SPDX-License-Identifier: GPL-2.0

//! Errors are errno values.

use std::fmt;
use std::num::NonZeroI32;

/// A negative errno.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroI32);

/// The result type of the layers.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

impl Error {
    /// From a negative errno; what is no errno becomes `EINVAL`.
    pub fn from_errno(errno: i32) -> Error {
        match NonZeroI32::new(errno) {
            Some(n) if (-4095..0).contains(&errno) => Error(n),
            _ => code::EINVAL,
        }
    }
    /// The negative errno.
    pub fn to_errno(self) -> i32 {
        self.0.get()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in code::NAMES {
            if *n == -self.0.get() {
                return f.write_str(name);
            }
        }
        write!(f, "Error({})", self.0)
    }
}

impl From<crate::alloc::AllocError> for Error {
    fn from(_: crate::alloc::AllocError) -> Error {
        code::ENOMEM
    }
}
impl From<core::convert::Infallible> for Error {
    fn from(e: core::convert::Infallible) -> Error {
        match e {}
    }
}
impl From<fmt::Error> for Error {
    fn from(_: fmt::Error) -> Error {
        code::EINVAL
    }
}
impl From<core::num::TryFromIntError> for Error {
    fn from(_: core::num::TryFromIntError) -> Error {
        code::EINVAL
    }
}
impl From<core::str::Utf8Error> for Error {
    fn from(_: core::str::Utf8Error) -> Error {
        code::EINVAL
    }
}
impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        Error::from_errno(-e.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// The codes.
pub mod code {
    use super::Error;
    use std::num::NonZeroI32;
    macro_rules! codes {
        ($($name:ident = $n:literal),* $(,)?) => {
            $(#[allow(missing_docs)] pub const $name: Error = match NonZeroI32::new(-$n) {
                Some(n) => Error(n),
                None => panic!("errno 0"),
            };)*
            pub(super) const NAMES: &[(i32, &str)] = &[$(($n, stringify!($name))),*];
        }
    }
    codes! {
        EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, ENXIO = 6, E2BIG = 7, ENOEXEC = 8,
        EBADF = 9, ECHILD = 10, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, ENOTBLK = 15,
        EBUSY = 16, EEXIST = 17, EXDEV = 18, ENODEV = 19, ENOTDIR = 20, EISDIR = 21, EINVAL = 22,
        ENFILE = 23, EMFILE = 24, ENOTTY = 25, ETXTBSY = 26, EFBIG = 27, ENOSPC = 28, ESPIPE = 29,
        EROFS = 30, EMLINK = 31, EPIPE = 32, EDOM = 33, ERANGE = 34, EDEADLK = 35,
        ENAMETOOLONG = 36, ENOLCK = 37, ENOSYS = 38, ENOTEMPTY = 39, ELOOP = 40, ENOMSG = 42,
        EIDRM = 43, EBADE = 52, EBADR = 53, EBADRQC = 56, EBADSLT = 57, ENODATA = 61, ETIME = 62,
        ENOLINK = 67, ECOMM = 70, EPROTO = 71, EBADMSG = 74, EOVERFLOW = 75, ENOTUNIQ = 76,
        EBADFD = 77, EREMCHG = 78, EILSEQ = 84, EUSERS = 87, ENOTSOCK = 88, EDESTADDRREQ = 89,
        EMSGSIZE = 90, ENOPROTOOPT = 92, EPROTONOSUPPORT = 93, EOPNOTSUPP = 95,
        EPFNOSUPPORT = 96, EAFNOSUPPORT = 97, EADDRINUSE = 98, EADDRNOTAVAIL = 99, ENETDOWN = 100,
        ENETUNREACH = 101, ENETRESET = 102, ECONNABORTED = 103, ECONNRESET = 104, ENOBUFS = 105,
        EISCONN = 106, ENOTCONN = 107, ESHUTDOWN = 108, ETIMEDOUT = 110, ECONNREFUSED = 111,
        EHOSTDOWN = 112, EHOSTUNREACH = 113, EALREADY = 114, EINPROGRESS = 115, ESTALE = 116,
        EUCLEAN = 117, EREMOTEIO = 121, EDQUOT = 122, ENOMEDIUM = 123, EMEDIUMTYPE = 124,
        ECANCELED = 125, EKEYREJECTED = 129, EOWNERDEAD = 130, ENOTRECOVERABLE = 131,
    }
}
