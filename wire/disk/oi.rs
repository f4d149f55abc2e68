// SPDX-License-Identifier: GPL-2.0

//! Records of the object index: FID to inode (`spec/ondisk.md` 4.2).

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::fid::{Fid, LuFidBe};

/// `osd_inode_id` as stored.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct OsdInodeId {
    /// Inode number.
    pub oii_ino: U32,
    /// Its generation.
    pub oii_gen: U32,
}
assert_layout!(OsdInodeId, 8, oii_gen = 4);

/// Bytes of a key.
pub const OI_KEY_SIZE: usize = size_of::<LuFidBe>();
/// Bytes of a record.
pub const OI_REC_SIZE: usize = size_of::<OsdInodeId>();

/// Which of `count` (a power of two) files of the index has the FID.
pub const fn container(fid: &Fid, count: u16) -> u16 {
    (fid.seq & (count as u64).wrapping_sub(1)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_bits_of_the_sequence() {
        assert_eq!(container(&Fid::new(0x2_0000_0bd1, 5), 64), 17);
        assert_eq!(container(&Fid::new(0x2_0000_0bd1, 5), 1), 0);
    }
}
