// SPDX-License-Identifier: GPL-2.0

//! Quota requests (`spec/ost.md` 11.2, `spec/mdt.md` 17) and index records (`spec/ondisk.md` 14).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `obd_dqinfo`.
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
pub struct ObdDqinfo {
    /// Grace for blocks, seconds.
    pub dqi_bgrace: U64,
    /// Grace for inodes, seconds.
    pub dqi_igrace: U64,
    /// 0.
    pub dqi_flags: U32,
    /// 0.
    pub dqi_valid: U32,
}
assert_layout!(ObdDqinfo, 24, dqi_igrace = 8, dqi_flags = 16);

/// `obd_dqblk`.
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
pub struct ObdDqblk {
    /// Hard limit of space, KiB.
    pub dqb_bhardlimit: U64,
    /// Soft limit of space, KiB.
    pub dqb_bsoftlimit: U64,
    /// Space used, bytes.
    pub dqb_curspace: U64,
    /// Hard limit of inodes.
    pub dqb_ihardlimit: U64,
    /// Soft limit of inodes.
    pub dqb_isoftlimit: U64,
    /// Inodes used.
    pub dqb_curinodes: U64,
    /// When the grace for space ends, seconds.
    pub dqb_btime: U64,
    /// When the grace for inodes ends, seconds.
    pub dqb_itime: U64,
    /// Which are valid: 1 limits and 2 usage of space, 4 and 8 of inodes.
    pub dqb_valid: U32,
    /// 0.
    pub dqb_padding: U32,
}
assert_layout!(ObdDqblk, 72, dqb_curspace = 16, dqb_valid = 64);

/// `obd_quotactl`; the name of a pool may follow.
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
pub struct ObdQuotactl {
    /// `Q_*`.
    pub qc_cmd: U32,
    /// [`quota_type`].
    pub qc_type: U32,
    /// User, group or project.
    pub qc_id: U32,
    /// Private to servers.
    pub qc_stat: U32,
    /// Grace.
    pub qc_dqinfo: ObdDqinfo,
    /// Limits and usage.
    pub qc_dqblk: ObdDqblk,
}
assert_layout!(
    ObdQuotactl,
    112,
    qc_type = 4,
    qc_id = 8,
    qc_dqinfo = 16,
    qc_dqblk = 40
);

/// Whose quota.
pub mod quota_type {
    /// A user's.
    pub const USER: u32 = 0;
    /// A group's.
    pub const GROUP: u32 = 1;
    /// A project's.
    pub const PROJECT: u32 = 2;
}

/// Record of a global index: the limits of an id. The key is the id, little endian.
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
pub struct LquotaGlbRec {
    /// Hard limit: inodes or KiB.
    pub qbr_hardlimit: U64,
    /// Soft limit.
    pub qbr_softlimit: U64,
    /// End of grace, seconds; flags in the upper 16 bits.
    pub qbr_time: U64,
    /// What slaves hold.
    pub qbr_granted: U64,
}
assert_layout!(LquotaGlbRec, 32, qbr_granted = 24);

/// Record of a slave's index.
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
pub struct LquotaSlvRec {
    /// What the slave holds.
    pub qsr_granted: U64,
}
assert_layout!(LquotaSlvRec, 8);
