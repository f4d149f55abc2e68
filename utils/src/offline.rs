// SPDX-License-Identifier: GPL-2.0

//! Targets that are not mounted, read (and for one conversion written) without the kernel.
//!
//! The reader of ext4 is our own, and small. The crate `ext4-view` gives no xattrs, no inode table and no
//! directory entry as it is stored, and refuses features that it does not know, `dirdata` among them.
//! libext2fs would be C code, behind `unsafe`, on bytes that nobody vouches for. What is needed here is a
//! few hundred lines in which every number from the disk is looked at before it is used. What ext4 itself
//! promises (bitmaps, counts of blocks, checksums) is for `e2fsck` to check.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub mod dir;
pub mod ext4;
pub mod fsck;
pub mod strip;
pub mod xattr;

/// Why something could not be read.
#[derive(Debug)]
pub enum Error {
    /// The device failed.
    Io(io::Error),
    /// What is there cannot be.
    Bad(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(e) => write!(f, "{e}"),
            Error::Bad(s) => f.write_str(s),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        Error::Io(e)
    }
}

/// The result of reading.
pub type Result<T> = std::result::Result<T, Error>;

/// Something that cannot be.
pub fn bad<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::Bad(text.into()))
}

/// What a target is on.
pub trait Disk {
    /// Fills `buf` from byte `at`; what is beyond the end is [`Error::Bad`].
    fn read(&self, at: u64, buf: &mut [u8]) -> Result<()>;
    /// Writes at byte `at`.
    fn write(&self, at: u64, buf: &[u8]) -> Result<()>;
    /// Everything written so far is safe.
    fn flush(&self) -> Result<()>;
}

impl Disk for File {
    fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        match self.read_exact_at(buf, at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                bad(format!("byte {at} is beyond the end of the device"))
            }
            other => Ok(other?),
        }
    }

    fn write(&self, at: u64, buf: &[u8]) -> Result<()> {
        Ok(self.write_all_at(buf, at)?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.sync_all()?)
    }
}

/// A number at `at` of bytes; 0 beyond their end.
pub(crate) fn le16(b: &[u8], at: usize) -> u16 {
    b.get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u16::from_le_bytes(*b))
}

/// The same of four bytes.
pub(crate) fn le32(b: &[u8], at: usize) -> u32 {
    b.get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}
