// SPDX-License-Identifier: GPL-2.0

//! Modes, types, names and policies (spec/ldlm.md 1 to 3).

use kapi::prelude::*;

/// What kind of locks a resource holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum LockType {
    /// The mode alone decides.
    Plain = 10,
    /// Byte ranges.
    Extent = 11,
    /// POSIX and BSD file locks.
    Flock = 12,
    /// Bits of an inode.
    Ibits = 13,
}

impl TryFrom<u32> for LockType {
    type Error = Error;
    fn try_from(v: u32) -> Result<Self> {
        Ok(match v {
            10 => LockType::Plain,
            11 => LockType::Extent,
            12 => LockType::Flock,
            13 => LockType::Ibits,
            _ => return Err(EFAULT),
        })
    }
}

/// A lock mode. The values are those on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Mode {
    /// Exclusive.
    Ex = 1,
    /// Protected write.
    Pw = 2,
    /// Protected read.
    Pr = 4,
    /// Concurrent write.
    Cw = 8,
    /// Concurrent read.
    Cr = 16,
    /// Null.
    Nl = 32,
    /// Group: shared among holders of the same group id.
    Group = 64,
    /// Commit on sharing, server-internal.
    Cos = 128,
    /// Uncommitted cross-MDT transaction, server-internal.
    Txn = 256,
}

/// How many modes there are.
pub(super) const MODES: usize = 9;

/// All modes, by index.
pub(super) const ALL_MODES: [Mode; MODES] = [
    Mode::Ex,
    Mode::Pw,
    Mode::Pr,
    Mode::Cw,
    Mode::Cr,
    Mode::Nl,
    Mode::Group,
    Mode::Cos,
    Mode::Txn,
];

impl Mode {
    /// Its place in tables by mode.
    pub(super) const fn index(self) -> usize {
        (self as u32).trailing_zeros() as usize
    }

    /// The modes that may be held together with this one, as a mask (spec/ldlm.md 1.3).
    pub const fn compatible(self) -> u32 {
        const NL: u32 = Mode::Nl as u32;
        const CR: u32 = NL | Mode::Cr as u32;
        match self {
            Mode::Ex => NL,
            Mode::Pw => CR,
            Mode::Pr => CR | Mode::Pr as u32 | Mode::Txn as u32,
            Mode::Cw => CR | Mode::Cw as u32,
            Mode::Cr => CR | Mode::Pw as u32 | Mode::Pr as u32 | Mode::Cw as u32 | Mode::Txn as u32,
            Mode::Nl => 0x1ff,
            Mode::Group => NL | Mode::Group as u32,
            Mode::Cos => NL | Mode::Cos as u32,
            Mode::Txn => CR | Mode::Pr as u32 | Mode::Txn as u32,
        }
    }

    /// Whether both may be held at once; for GROUP with GROUP the group ids decide further.
    pub const fn compatible_with(self, other: Mode) -> bool {
        self.compatible() & other as u32 != 0
    }

    /// Whether a client may ask for it.
    pub const fn from_client(self) -> bool {
        !matches!(self, Mode::Cos | Mode::Txn)
    }
}

impl TryFrom<u32> for Mode {
    type Error = Error;
    fn try_from(v: u32) -> Result<Self> {
        ALL_MODES.into_iter().find(|m| *m as u32 == v).ok_or(EFAULT)
    }
}

/// The name of a resource.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct ResId(pub [u64; 4]);

/// Identifies the export a lock belongs to; an export's cookie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ExportId(pub u64);

impl ExportId {
    /// The server itself.
    pub const LOCAL: ExportId = ExportId(0);

    /// Whether this is the server itself.
    pub fn is_local(self) -> bool {
        self == Self::LOCAL
    }
}

/// Bits of an inode lock (spec/ldlm.md 6.3).
pub mod ibits {
    /// Name to inode binding.
    pub const LOOKUP: u64 = 0x01;
    /// Size, link count, times; directory contents.
    pub const UPDATE: u64 = 0x02;
    /// Cached open handle.
    pub const OPEN: u64 = 0x04;
    /// Layout.
    pub const LAYOUT: u64 = 0x08;
    /// Mode, owner, ACL.
    pub const PERM: u64 = 0x10;
    /// Other extended attributes.
    pub const XATTR: u64 = 0x20;
    /// Data of a Data-on-MDT file.
    pub const DOM: u64 = 0x40;
    /// All of them.
    pub const FULL: u64 = 0x7f;
}

/// A byte range, both ends inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// Group id of a GROUP lock, otherwise 0.
    pub gid: u64,
}

impl Extent {
    /// The end of an extent that reaches to the end of any file.
    pub const EOF: u64 = u64::MAX;
    /// The whole object.
    pub const WHOLE: Extent = Extent::new(0, Self::EOF);

    /// From `start` to `end`, both inclusive.
    pub const fn new(start: u64, end: u64) -> Self {
        Extent { start, end, gid: 0 }
    }

    /// Whether they share a byte.
    pub const fn overlaps(&self, o: &Extent) -> bool {
        self.start <= o.end && o.start <= self.end
    }

    /// Whether all of `o` is in it.
    pub const fn contains(&self, o: &Extent) -> bool {
        self.start <= o.start && o.end <= self.end
    }
}

/// What an inode lock covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ibits {
    /// The bits needed, or held.
    pub bits: u64,
    /// Bits wished for, granted if free; 0 once granted.
    pub try_bits: u64,
    /// Group id of a GROUP lock on DOM, otherwise 0.
    pub gid: u64,
    /// Index of the MDT that initiated it.
    pub initiator: u32,
}

/// A range of a file lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flock {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// Who holds it, unique within one export.
    pub owner: u64,
    /// Process id, for F_GETLK.
    pub pid: u32,
}

/// What a lock covers, by type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// All of the resource.
    Plain,
    /// A byte range.
    Extent(Extent),
    /// Inode bits.
    Ibits(Ibits),
    /// A file lock.
    Flock(Flock),
}

impl Policy {
    /// The type of lock it is for.
    pub fn lock_type(&self) -> LockType {
        match self {
            Policy::Plain => LockType::Plain,
            Policy::Extent(_) => LockType::Extent,
            Policy::Ibits(_) => LockType::Ibits,
            Policy::Flock(_) => LockType::Flock,
        }
    }

    /// The range of an extent or file lock; everything for the others.
    pub(super) fn range(&self) -> (u64, u64) {
        match self {
            Policy::Extent(e) => (e.start, e.end),
            Policy::Flock(f) => (f.start, f.end),
            Policy::Plain | Policy::Ibits(_) => (0, u64::MAX),
        }
    }

    /// Bits held and bits wished for. A plain lock is one on a single bit.
    pub(super) fn bits(&self) -> (u64, u64) {
        match self {
            Policy::Ibits(b) => (b.bits, b.try_bits),
            _ => (1, 0),
        }
    }

    /// The group id.
    pub(super) fn gid(&self) -> u64 {
        match self {
            Policy::Extent(e) => e.gid,
            Policy::Ibits(b) => b.gid,
            _ => 0,
        }
    }
}

/// What travels about a lock: `ldlm_lock_desc` in decoded form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Desc {
    /// The resource.
    pub res: ResId,
    /// The mode asked for.
    pub req_mode: Mode,
    /// The mode held, `None` while waiting.
    pub granted: Option<Mode>,
    /// What it covers.
    pub policy: Policy,
    /// For a blocking notice on inode bits: the bits to give up, 0 for all.
    pub cancel_bits: u64,
}
