// SPDX-License-Identifier: GPL-2.0

//! Ranges of sequences: who has which (FLD) and what is left to give (SEQ); `spec/ost.md` 16, 17,
//! `spec/ondisk.md` 10.

use zerocopy::{big_endian as be, little_endian as le};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Operations of `SEQ_QUERY`.
pub mod seq_op {
    /// A super-sequence, asked of MDT0000 by servers.
    pub const ALLOC_SUPER: u32 = 0;
    /// A sequence.
    pub const ALLOC_META: u32 = 1;
}

/// Operations of `FLD_QUERY`.
pub mod fld_op {
    /// Not used.
    pub const CREATE: u32 = 0;
    /// Not used.
    pub const DELETE: u32 = 1;
    /// Who has this sequence?
    pub const LOOKUP: u32 = 2;
}

/// Kinds of a range's owner (`lsr_flags`).
pub mod range_type {
    /// An MDT.
    pub const MDT: u32 = 0;
    /// An OST.
    pub const OST: u32 = 1;
    /// Either, in questions.
    pub const ANY: u32 = 3;
    /// The bits of the kind.
    pub const MASK: u32 = 3;
}

/// A range in the host's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SeqRange {
    /// First sequence.
    pub start: u64,
    /// The one after the last.
    pub end: u64,
    /// Index of the owner.
    pub index: u32,
    /// [`range_type`] of the owner.
    pub flags: u32,
}

impl SeqRange {
    /// How many sequences it has; 0 if the bounds are crossed.
    pub const fn width(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether the bounds are in order.
    pub const fn is_sane(&self) -> bool {
        self.start <= self.end
    }

    /// Whether `seq` is one of them.
    pub const fn contains(&self, seq: u64) -> bool {
        seq >= self.start && seq < self.end
    }

    /// Whether the owner is an MDT.
    pub const fn is_mdt(&self) -> bool {
        self.flags & range_type::MASK == range_type::MDT
    }

    /// Whether the owner is an OST.
    pub const fn is_ost(&self) -> bool {
        self.flags & range_type::MASK == range_type::OST
    }
}

/// `lu_seq_range` on the wire, in `seq_ctl` and `seq_srv`.
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
pub struct LuSeqRange {
    /// First sequence.
    pub lsr_start: le::U64,
    /// The one after the last.
    pub lsr_end: le::U64,
    /// Index of the owner.
    pub lsr_index: le::U32,
    /// [`range_type`].
    pub lsr_flags: le::U32,
}
assert_layout!(LuSeqRange, 24, lsr_end = 8, lsr_index = 16, lsr_flags = 20);

/// `lu_seq_range` in the index `fld`, whose key is the start, big endian.
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
pub struct LuSeqRangeBe {
    /// First sequence.
    pub lsr_start: be::U64,
    /// The one after the last.
    pub lsr_end: be::U64,
    /// Index of the owner.
    pub lsr_index: be::U32,
    /// [`range_type`].
    pub lsr_flags: be::U32,
}
assert_layout!(
    LuSeqRangeBe,
    24,
    lsr_end = 8,
    lsr_index = 16,
    lsr_flags = 20
);

macro_rules! range_bytes {
    ($t:ident) => {
        impl $t {
            /// The range in the host's order.
            pub fn get(&self) -> SeqRange {
                SeqRange {
                    start: self.lsr_start.get(),
                    end: self.lsr_end.get(),
                    index: self.lsr_index.get(),
                    flags: self.lsr_flags.get(),
                }
            }
        }

        impl From<SeqRange> for $t {
            fn from(r: SeqRange) -> Self {
                $t {
                    lsr_start: r.start.into(),
                    lsr_end: r.end.into(),
                    lsr_index: r.index.into(),
                    lsr_flags: r.flags.into(),
                }
            }
        }
    };
}
range_bytes!(LuSeqRange);
range_bytes!(LuSeqRangeBe);

/// `lu_seq_range_array`: the head of a reply to `FLD_READ`, ranges follow.
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
pub struct LuSeqRangeArray {
    /// How many follow.
    pub lsra_count: le::U32,
    /// 0.
    pub lsra_padding: le::U32,
}
assert_layout!(LuSeqRangeArray, 8);

/// Bytes of a reply to `FLD_READ`.
pub const FLD_READ_SIZE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let r = SeqRange {
            start: 0x2_0000_0400,
            end: 0x2_4000_0400,
            index: 1,
            flags: range_type::OST,
        };
        assert_eq!(r.width(), crate::fid::SUPER_SEQ_WIDTH);
        assert!(r.contains(r.start) && !r.contains(r.end) && r.is_ost() && !r.is_mdt());
        assert_eq!(LuSeqRange::from(r).get(), r);
        assert_eq!(LuSeqRangeBe::from(r).get(), r);
        let crossed = SeqRange {
            start: 2,
            end: 1,
            ..r
        };
        assert!(crossed.is_empty() && !crossed.is_sane() && crossed.width() == 0);
    }

    /// The first record of the `fld` index of a real MDT (`spec/ondisk.md` 20.3).
    #[test]
    fn fld_record() {
        let igif = SeqRange {
            start: 0xc,
            end: 0x1_0000_0000,
            index: 0,
            flags: range_type::MDT,
        };
        let mut want = [0; 24];
        want[7] = 0xc;
        want[11] = 1;
        assert_eq!(LuSeqRangeBe::from(igif).as_bytes(), want);
    }
}
