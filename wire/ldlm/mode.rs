// SPDX-License-Identifier: GPL-2.0

//! Types and modes of locks (`spec/ldlm.md` 1.1 to 1.3).

use crate::error::Malformed;

/// What a resource holds locks of. A resource has one type only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum LockType {
    /// The mode alone decides: configuration and quota.
    Plain = 10,
    /// Ranges of bytes of an object.
    Extent = 11,
    /// `fcntl` and `flock` locks.
    Flock = 12,
    /// Bits of an inode.
    Ibits = 13,
}

impl TryFrom<u32> for LockType {
    type Error = Malformed;

    fn try_from(v: u32) -> Result<Self, Malformed> {
        Ok(match v {
            10 => LockType::Plain,
            11 => LockType::Extent,
            12 => LockType::Flock,
            13 => LockType::Ibits,
            _ => return Err(Malformed::Value),
        })
    }
}

/// The mode of a lock; one bit each. No mode is 0 on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum LockMode {
    /// Exclusive.
    Ex = 0x1,
    /// Protected write.
    Pw = 0x2,
    /// Protected read.
    Pr = 0x4,
    /// Concurrent write.
    Cw = 0x8,
    /// Concurrent read.
    Cr = 0x10,
    /// Null: in file locks, to unlock.
    Nl = 0x20,
    /// Shared by those with the same group id.
    Group = 0x40,
    /// Commit on sharing; within a server only.
    Cos = 0x80,
    /// Uncommitted transaction over several MDTs; within a server only.
    Txn = 0x100,
}

impl LockMode {
    /// Every mode.
    pub const ALL: [LockMode; 9] = [
        LockMode::Ex,
        LockMode::Pw,
        LockMode::Pr,
        LockMode::Cw,
        LockMode::Cr,
        LockMode::Nl,
        LockMode::Group,
        LockMode::Cos,
        LockMode::Txn,
    ];

    /// Its bit.
    pub const fn bits(self) -> u32 {
        self as u32
    }

    /// Bits of the modes that may be held beside it.
    pub const fn compatible(self) -> u32 {
        const NL: u32 = LockMode::Nl.bits();
        const CR: u32 = NL | LockMode::Cr.bits();
        const PR: u32 = LockMode::Pr.bits() | LockMode::Txn.bits();
        match self {
            LockMode::Ex => NL,
            LockMode::Pw => CR,
            LockMode::Pr | LockMode::Txn => CR | PR,
            LockMode::Cw => CR | LockMode::Cw.bits(),
            LockMode::Cr => CR | PR | LockMode::Pw.bits() | LockMode::Cw.bits(),
            LockMode::Nl => 0x1ff,
            LockMode::Group => NL | LockMode::Group.bits(),
            LockMode::Cos => NL | LockMode::Cos.bits(),
        }
    }

    /// Whether locks of both modes may be held of the same thing. Two GROUP locks may if their
    /// group ids are equal, which the caller compares.
    pub const fn is_compatible(self, other: LockMode) -> bool {
        self.compatible() & other.bits() != 0
    }

    /// Whether it may go over the wire: the others never leave a server.
    pub const fn is_wire(self) -> bool {
        !matches!(self, LockMode::Cos | LockMode::Txn)
    }
}

impl TryFrom<u32> for LockMode {
    type Error = Malformed;

    fn try_from(v: u32) -> Result<Self, Malformed> {
        LockMode::ALL
            .into_iter()
            .find(|m| m.bits() == v)
            .ok_or(Malformed::Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrix as the specification prints it.
    #[test]
    fn matrix() {
        let rows = [
            "000001000",
            "000011000",
            "001011001",
            "000111000",
            "011111001",
            "111111111",
            "000001100",
            "000001010",
            "001011001",
        ];
        for (a, row) in LockMode::ALL.into_iter().zip(rows) {
            for (b, c) in LockMode::ALL.into_iter().zip(row.chars()) {
                assert_eq!(a.is_compatible(b), c == '1', "{a:?} {b:?}");
                assert_eq!(a.is_compatible(b), b.is_compatible(a));
            }
        }
    }

    #[test]
    fn values() {
        for m in LockMode::ALL {
            assert_eq!(LockMode::try_from(m.bits()), Ok(m));
        }
        for bad in [0, 3, 257, 512, u32::MAX] {
            assert_eq!(LockMode::try_from(bad), Err(Malformed::Value));
        }
        assert!(LockType::try_from(9).is_err() && LockType::try_from(14).is_err());
        assert_eq!(LockType::try_from(12), Ok(LockType::Flock));
    }
}
