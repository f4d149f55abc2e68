// SPDX-License-Identifier: GPL-2.0

//! The system calls that mount, in the form in which the kernel says why it fails: `fsopen`,
//! `fsconfig`, `fsmount`, `move_mount`; and the label of what is mounted.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// From `linux/mount.h`.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
/// Bytes that the kernel takes as one value, with a NUL.
const VALUE_MAX: usize = 256;

/// `_IOW(0x94, 50, char[256])`
const FS_IOC_SETFSLABEL: libc::c_ulong = 0x4100_9432;
/// Bytes of a label, with a NUL.
const LABEL_MAX: usize = 256;

/// A mount that failed.
#[derive(Debug)]
pub struct MountError {
    /// The errno.
    pub errno: i32,
    /// What the kernel says about it; may be empty.
    pub why: String,
}

impl From<io::Error> for MountError {
    fn from(e: io::Error) -> MountError {
        MountError {
            errno: e.raw_os_error().unwrap_or(libc::EIO),
            why: String::new(),
        }
    }
}

fn c(s: &str) -> io::Result<CString> {
    CString::new(s).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// The result of a system call.
fn done(rc: libc::c_long) -> io::Result<libc::c_int> {
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(rc).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// A new descriptor.
fn new_fd(rc: libc::c_long) -> io::Result<OwnedFd> {
    let fd = done(rc)?;
    // SAFETY: the system call made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn fsconfig(
    fs: &File,
    command: libc::c_uint,
    key: Option<&str>,
    value: Option<&str>,
) -> io::Result<()> {
    let (key, value) = (key.map(c).transpose()?, value.map(c).transpose()?);
    let pointer = |s: &Option<CString>| s.as_ref().map_or(std::ptr::null(), |s| s.as_ptr());
    // SAFETY: both are null or NUL-terminated strings.
    done(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs.as_raw_fd(),
            command,
            pointer(&key),
            pointer(&value),
            0,
        )
    })?;
    Ok(())
}

/// What the kernel had to say: its messages, the errors among them if there are any.
fn messages(mut fs: &File) -> String {
    let mut errors = Vec::new();
    let mut buf = [0; 4096];
    // One message at a time; an error at the end of them.
    while let Ok(n) = fs.read(&mut buf) {
        if n == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&buf[..n]);
        if let Some(e) = text.strip_prefix("e ") {
            errors.push(e.trim_end().to_string());
        }
    }
    errors.join("; ")
}

/// Mounts a file system of type `kind` at `dir`, with the options `words` and `MOUNT_ATTR_*`
/// flags.
///
/// # Errors
/// That of the call that failed, with what the kernel says.
pub fn mount(
    kind: &str,
    device: &str,
    dir: &str,
    attributes: u64,
    words: &[String],
) -> Result<(), MountError> {
    let name = c(kind)?;
    // SAFETY: the name is a NUL-terminated string.
    let fs = new_fd(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) })?;
    let fs = File::from(fs);
    let configured = (|| {
        fsconfig(&fs, FSCONFIG_SET_STRING, Some("source"), Some(device))?;
        for word in words {
            match word.split_once('=') {
                Some((_, v)) if v.len() >= VALUE_MAX => {
                    return Err(io::Error::from_raw_os_error(libc::E2BIG));
                }
                Some((k, v)) => fsconfig(&fs, FSCONFIG_SET_STRING, Some(k), Some(v))?,
                None => fsconfig(&fs, FSCONFIG_SET_FLAG, Some(word), None)?,
            }
        }
        fsconfig(&fs, FSCONFIG_CMD_CREATE, None, None)
    })();
    if let Err(e) = configured {
        return Err(MountError {
            why: messages(&fs),
            ..e.into()
        });
    }
    // SAFETY: no pointers.
    let mount = new_fd(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            fs.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attributes,
        )
    })?;
    let dir = c(dir)?;
    // SAFETY: both paths are NUL-terminated strings.
    done(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            dir.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// Changes the label of the device below what is mounted at `dir`.
///
/// # Errors
/// `EINVAL`: too long. Those of the ioctl.
pub fn set_label(dir: &str, label: &str) -> io::Result<()> {
    let mut text = [0u8; LABEL_MAX];
    text.get_mut(..label.len())
        .filter(|t| t.len() < LABEL_MAX)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?
        .copy_from_slice(label.as_bytes());
    let dir = File::open(dir)?;
    // SAFETY: the ioctl reads so many bytes from there.
    done(unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_SETFSLABEL, text.as_ptr()) }.into())?;
    Ok(())
}
