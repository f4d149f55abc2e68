// SPDX-License-Identifier: GPL-2.0

//! `trusted.lma`: the FID of an inode, and flags (`ondisk.md` 7.2).

use crate::Fid;
use core::ffi::CStr;
use kapi::ldiskfs::Node;
use kapi::prelude::*;

/// The name of the xattr.
pub(crate) const NAME: &CStr = c"trusted.lma";
/// Length of what is written; 64 bytes are read, too.
pub(crate) const LEN: usize = 24;

/// The object is not in the object index.
pub(crate) const NOT_IN_OI: u32 = 0x4;
/// The object is, or belongs, in the hierarchy `O/`.
pub(crate) const FID_ON_OST: u32 = 0x8;

/// A stand-in for an object of another target.
pub(crate) const AGENT: u32 = 0x2;
/// Flags that this code knows: agent, remote parent, striped, orphan, encrypted.
const KNOWN_INCOMPAT: u32 = 0x3e;

/// The content of the xattr.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lma {
    /// Flags that an old server may ignore.
    pub compat: u32,
    /// Flags that it may not.
    pub incompat: u32,
    /// The inode's FID.
    pub fid: Fid,
}

fn le32(b: &[u8], at: usize) -> Result<u32> {
    let b = b.get(at..).and_then(|b| b.first_chunk()).ok_or(EINVAL)?;
    Ok(u32::from_le_bytes(*b))
}

impl Lma {
    /// Reads the bytes of the xattr.
    ///
    /// # Errors
    /// `EINVAL`: too short. `EOPNOTSUPP`: an unknown flag.
    pub fn parse(b: &[u8]) -> Result<Lma> {
        let seq = b.get(8..).and_then(|b| b.first_chunk()).ok_or(EINVAL)?;
        let lma = Lma {
            compat: le32(b, 0)?,
            incompat: le32(b, 4)?,
            fid: Fid {
                seq: u64::from_le_bytes(*seq),
                oid: le32(b, 16)?,
                ver: le32(b, 20)?,
            },
        };
        if lma.incompat & !KNOWN_INCOMPAT != 0 {
            return Err(EOPNOTSUPP);
        }
        Ok(lma)
    }

    /// The bytes of the xattr.
    pub fn bytes(&self) -> [u8; LEN] {
        let mut b = [0; LEN];
        let parts: [&[u8]; 5] = [
            &self.compat.to_le_bytes(),
            &self.incompat.to_le_bytes(),
            &self.fid.seq.to_le_bytes(),
            &self.fid.oid.to_le_bytes(),
            &self.fid.ver.to_le_bytes(),
        ];
        let from = parts.iter().flat_map(|p| p.iter());
        for (to, from) in b.iter_mut().zip(from) {
            *to = *from;
        }
        b
    }

    /// The LMA of an inode; none if it has none.
    ///
    /// # Errors
    /// As [`Lma::parse`], and those of reading.
    pub fn read(node: &Node) -> Result<Option<Lma>> {
        let mut b = [0; 64];
        match node.xattr(NAME, &mut b) {
            Ok(n) => Lma::parse(b.get(..n).unwrap_or_default()).map(Some),
            Err(e) if e == ENODATA => Ok(None),
            Err(e) => Err(e),
        }
    }
}
