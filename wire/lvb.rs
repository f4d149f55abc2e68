// SPDX-License-Identifier: GPL-2.0

//! Lock value blocks: what a lock says about its resource (`spec/ldlm.md` 13). That of a layout
//! lock is the layout itself.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};

/// The upper half of `lvb_blocks` when it holds an error.
const ERROR: u64 = 0xffba_dbad_0000_0000;
/// What is added to an error, so that it does not borrow from the upper half.
const ERROR_BASE: u64 = 0xffba_dbad_8000_0000;

/// `ost_lvb_v1`: without nanoseconds, for peers without `LVB_TYPE`.
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
pub struct OstLvbV1 {
    /// Bytes.
    pub lvb_size: U64,
    /// Seconds.
    pub lvb_mtime: I64,
    /// Seconds.
    pub lvb_atime: I64,
    /// Seconds.
    pub lvb_ctime: I64,
    /// Of 512 bytes; or an error.
    pub lvb_blocks: U64,
}
assert_layout!(OstLvbV1, 40, lvb_mtime = 8, lvb_blocks = 32);

/// `ost_lvb`: attributes of an object, or of data on an MDT.
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
pub struct OstLvb {
    /// Bytes.
    pub lvb_size: U64,
    /// Seconds.
    pub lvb_mtime: I64,
    /// Seconds.
    pub lvb_atime: I64,
    /// Seconds.
    pub lvb_ctime: I64,
    /// Of 512 bytes; or an error.
    pub lvb_blocks: U64,
    /// Nanoseconds.
    pub lvb_mtime_ns: U32,
    /// Nanoseconds.
    pub lvb_atime_ns: U32,
    /// Nanoseconds.
    pub lvb_ctime_ns: U32,
    /// Zero.
    pub lvb_padding: U32,
}
assert_layout!(
    OstLvb,
    56,
    lvb_ctime = 24,
    lvb_blocks = 32,
    lvb_mtime_ns = 40
);

impl OstLvb {
    /// Reads either form; none at all is [`Malformed::Short`].
    ///
    /// # Errors
    /// [`Malformed::Short`], [`Malformed::Value`]: of neither size.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        match bytes.len() {
            56 => Self::read_from_bytes(bytes).map_err(|_| Malformed::Value),
            40 => Ok(OstLvbV1::read_from_bytes(bytes)
                .map_err(|_| Malformed::Value)?
                .into()),
            n if n < 40 => Err(Malformed::Short),
            _ => Err(Malformed::Value),
        }
    }

    /// The form without nanoseconds.
    pub fn to_v1(self) -> OstLvbV1 {
        OstLvbV1 {
            lvb_size: self.lvb_size,
            lvb_mtime: self.lvb_mtime,
            lvb_atime: self.lvb_atime,
            lvb_ctime: self.lvb_ctime,
            lvb_blocks: self.lvb_blocks,
        }
    }

    /// One that says only that the attributes could not be read; `errno` is negative.
    pub fn error(errno: i32) -> Self {
        OstLvb {
            lvb_blocks: ERROR_BASE.wrapping_add_signed(i64::from(errno)).into(),
            ..Default::default()
        }
    }

    /// The error in place of the attributes, a negative errno.
    pub fn errno(&self) -> Option<i32> {
        let v = self.lvb_blocks.get();
        if v & ERROR != ERROR {
            return None;
        }
        i32::try_from(v.wrapping_sub(ERROR_BASE) as i64).ok()
    }
}

impl From<OstLvbV1> for OstLvb {
    fn from(v: OstLvbV1) -> Self {
        OstLvb {
            lvb_size: v.lvb_size,
            lvb_mtime: v.lvb_mtime,
            lvb_atime: v.lvb_atime,
            lvb_ctime: v.lvb_ctime,
            lvb_blocks: v.lvb_blocks,
            ..Default::default()
        }
    }
}

/// `lvb_flags` of a [`LquotaLvb`]: out of quota.
pub const LQUOTA_FL_EDQUOT: u64 = 1;

/// `lquota_lvb`: of quota locks.
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
pub struct LquotaLvb {
    /// [`LQUOTA_FL_EDQUOT`]
    pub lvb_flags: U64,
    /// Space that may be given back; of the global lock, the version of the index.
    pub lvb_id_may_rel: U64,
    /// Space that was given back.
    pub lvb_id_rel: U64,
    /// The unit.
    pub lvb_id_qunit: U64,
    /// Zero.
    pub lvb_pad1: U64,
}
assert_layout!(LquotaLvb, 40, lvb_id_may_rel = 8, lvb_id_qunit = 24);

/// `barrier_lvb`: the answer to a glimpse of the barrier lock.
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
pub struct BarrierLvb {
    /// State of the barrier at the MDT.
    pub lvb_status: U32,
    /// Index of the MDT.
    pub lvb_index: U32,
    /// Zero.
    pub lvb_padding: U64,
}
assert_layout!(BarrierLvb, 16, lvb_index = 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let l = OstLvb {
            lvb_size: 7.into(),
            lvb_blocks: 8.into(),
            ..Default::default()
        };
        assert_eq!(OstLvb::parse(l.as_bytes()), Ok(l));
        assert_eq!(OstLvb::parse(l.to_v1().as_bytes()), Ok(l));
        assert_eq!(OstLvb::parse(&[]), Err(Malformed::Short));
        assert_eq!(OstLvb::parse(&[0; 48]), Err(Malformed::Value));
    }

    #[test]
    fn errors() {
        for e in [-1, -2, -5, -116, -4095] {
            let l = OstLvb::error(e);
            assert_eq!(l.lvb_blocks.get() >> 32, ERROR >> 32);
            assert_eq!(l.errno(), Some(e));
        }
        assert_eq!(OstLvb::default().errno(), None);
    }
}
