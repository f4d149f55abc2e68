// SPDX-License-Identifier: GPL-2.0
//! File identifiers as this crate uses them.

use core::fmt;

/// The identity of an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Fid {
    /// Sequence.
    pub seq: u64,
    /// Number in the sequence.
    pub oid: u32,
    /// Version.
    pub ver: u32,
}

impl Fid {
    /// A FID of version 0.
    pub const fn new(seq: u64, oid: u32) -> Fid {
        Fid { seq, oid, ver: 0 }
    }
}

impl fmt::Display for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}:{:#x}:{:#x}]", self.seq, self.oid, self.ver)
    }
}

impl fmt::Debug for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
