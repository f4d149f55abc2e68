// SPDX-License-Identifier: GPL-2.0

//! Names of file systems and their targets (`spec/mgs-config.md` 1).

use core::fmt;

use crate::error::{Malformed, Result};

/// Longest name of a file system.
pub const FSNAME_MAX: usize = 8;
/// The largest index of a target.
pub const INDEX_MAX: u16 = 0xfffe;

/// The name of a file system.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FsName {
    bytes: [u8; FSNAME_MAX],
}

impl FsName {
    /// From its text.
    ///
    /// # Errors
    /// [`Malformed::Value`]: empty, longer than 8 bytes, or other than letters, digits, `_`, `-`.
    pub fn new(text: &[u8]) -> Result<FsName> {
        let good = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if text.is_empty() || !text.iter().all(good) {
            return Err(Malformed::Value);
        }
        let mut bytes = [0; FSNAME_MAX];
        bytes
            .get_mut(..text.len())
            .ok_or(Malformed::Value)?
            .copy_from_slice(text);
        Ok(FsName { bytes })
    }

    /// That of a log: what stands before the last `-` of its name.
    ///
    /// # Errors
    /// [`Malformed::Value`]: nothing that could be one.
    pub fn of_log(log: &[u8]) -> Result<FsName> {
        let n = log.iter().rposition(|b| *b == b'-');
        FsName::new(n.and_then(|n| log.get(..n)).unwrap_or(&[]))
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        crate::text::get(&self.bytes)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl fmt::Display for FsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for FsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kinds of targets that have an index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SvKind {
    /// A metadata target.
    Mdt,
    /// An object storage target.
    Ost,
}

impl SvKind {
    /// "MDT", "OST".
    pub const fn as_str(self) -> &'static str {
        match self {
            SvKind::Mdt => "MDT",
            SvKind::Ost => "OST",
        }
    }
}

/// The name of a target: "lustre-OST0000".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SvName {
    /// Its file system.
    pub fs: FsName,
    /// Its kind.
    pub kind: SvKind,
    /// Its index, at most [`INDEX_MAX`].
    pub index: u16,
}

impl SvName {
    /// From its parts.
    ///
    /// # Errors
    /// [`Malformed::Value`]: the index is too large.
    pub fn new(fs: FsName, kind: SvKind, index: u32) -> Result<SvName> {
        match u16::try_from(index) {
            Ok(index) if index <= INDEX_MAX => Ok(SvName { fs, kind, index }),
            _ => Err(Malformed::Value),
        }
    }

    /// Reads "lustre-OST0000".
    ///
    /// # Errors
    /// [`Malformed::Value`]
    pub fn parse(text: &[u8]) -> Result<SvName> {
        let split = text.len().checked_sub(8).ok_or(Malformed::Value)?;
        let (fs, rest) = text.split_at_checked(split).ok_or(Malformed::Value)?;
        let (kind, digits) = match rest {
            [b'-', b'M', b'D', b'T', d @ ..] => (SvKind::Mdt, d),
            [b'-', b'O', b'S', b'T', d @ ..] => (SvKind::Ost, d),
            _ => return Err(Malformed::Value),
        };
        let mut index = 0;
        for d in digits {
            let d = (*d as char).to_digit(16).ok_or(Malformed::Value)?;
            index = index * 16 + d;
        }
        SvName::new(FsName::new(fs)?, kind, index)
    }
}

impl fmt::Display for SvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}{:04x}", self.fs, self.kind.as_str(), self.index)
    }
}

impl fmt::Debug for SvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn names() {
        let n = SvName::parse(b"my-fs-OST001f").unwrap();
        assert_eq!(
            (n.fs.as_bytes(), n.kind, n.index),
            (&b"my-fs"[..], SvKind::Ost, 31)
        );
        assert_eq!(n.to_string(), "my-fs-OST001f");
        assert_eq!(SvName::parse(b"lustre-MDT0000").unwrap().kind, SvKind::Mdt);
        for bad in [
            &b""[..],
            b"-MDT0000",
            b"lustre-MDT000",
            b"lustre:OST0000",
            b"lustre-OSTffff",
            b"lustre-OST00g0",
            b"lustre-OST+001",
            b"toolongname-OST0000",
            b"lu.tre-OST0000",
            b"MGS",
        ] {
            assert_eq!(SvName::parse(bad), Err(Malformed::Value), "{bad:?}");
        }
        assert_eq!(FsName::of_log(b"a-b-client").unwrap().as_str(), "a-b");
        for bad in [&b"params"[..], b"-client", b"client", b"123456789-client"] {
            assert!(FsName::of_log(bad).is_err(), "{bad:?}");
        }
        assert!(SvName::new(n.fs, n.kind, 0x1_0000).is_err());
    }
}
