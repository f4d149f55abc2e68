// SPDX-License-Identifier: GPL-2.0

//! Records of logs, and the bodies of requests for them.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{LlogRecHdr, LlogRecTail};
use crate::fid::LuFid;
use crate::ostid::{LlogLogid, OstId};

/// `llog_logid_rec`: a log in a catalog.
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
pub struct LlogLogidRec {
    /// Head.
    pub lid_hdr: LlogRecHdr,
    /// The log.
    pub lid_id: LlogLogid,
    /// 0.
    pub lid_padding1: U32,
    /// 0.
    pub lid_padding2: U64,
    /// 0.
    pub lid_padding3: U64,
    /// Tail.
    pub lid_tail: LlogRecTail,
}
assert_layout!(LlogLogidRec, 64, lid_id = 16, lid_tail = 56);

/// `llog_catid`: a catalog, in `CATALOGS` and `update_log`.
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
pub struct LlogCatid {
    /// The catalog; zero: there is none yet.
    pub lci_logid: LlogLogid,
    /// 0.
    pub lci_padding: [U32; 3],
}
assert_layout!(LlogCatid, 32, lci_padding = 20);

/// `llog_unlink64_rec`: objects to destroy.
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
pub struct LlogUnlink64Rec {
    /// Head.
    pub lur_hdr: LlogRecHdr,
    /// The first object.
    pub lur_fid: LuFid,
    /// How many in a row.
    pub lur_count: U32,
    /// 0.
    pub lur_padding1: U32,
    /// 0.
    pub lur_padding2: U64,
    /// 0.
    pub lur_padding3: U64,
    /// Tail.
    pub lur_tail: LlogRecTail,
}
assert_layout!(
    LlogUnlink64Rec,
    64,
    lur_fid = 16,
    lur_count = 32,
    lur_tail = 56
);

/// `llog_unlink_rec`: the form of 1.8.
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
pub struct LlogUnlinkRec {
    /// Head.
    pub lur_hdr: LlogRecHdr,
    /// Object.
    pub lur_oid: U64,
    /// Sequence.
    pub lur_oseq: U32,
    /// How many in a row.
    pub lur_count: U32,
    /// Tail.
    pub lur_tail: LlogRecTail,
}
assert_layout!(
    LlogUnlinkRec,
    40,
    lur_oid = 16,
    lur_oseq = 24,
    lur_tail = 32
);

/// `llog_setattr64_rec`: owner of an object, old form.
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
pub struct LlogSetattr64Rec {
    /// Head.
    pub lsr_hdr: LlogRecHdr,
    /// Object.
    pub lsr_oi: OstId,
    /// Owner.
    pub lsr_uid: U32,
    /// 0.
    pub lsr_uid_h: U32,
    /// Group.
    pub lsr_gid: U32,
    /// 0.
    pub lsr_gid_h: U32,
    /// [`ObdMd`](crate::obdo::ObdMd); 0: owner and group.
    pub lsr_valid: U64,
    /// Tail.
    pub lsr_tail: LlogRecTail,
}
assert_layout!(
    LlogSetattr64Rec,
    64,
    lsr_oi = 16,
    lsr_uid = 32,
    lsr_gid = 40,
    lsr_valid = 48,
    lsr_tail = 56
);

/// `llog_setattr64_rec_v2`: owner, project and layout version of an object.
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
pub struct LlogSetattr64RecV2 {
    /// Head.
    pub lsr_hdr: LlogRecHdr,
    /// Object.
    pub lsr_oi: OstId,
    /// Owner.
    pub lsr_uid: U32,
    /// 0.
    pub lsr_uid_h: U32,
    /// Group.
    pub lsr_gid: U32,
    /// 0.
    pub lsr_gid_h: U32,
    /// [`ObdMd`](crate::obdo::ObdMd); 0: owner and group.
    pub lsr_valid: U64,
    /// Project.
    pub lsr_projid: U32,
    /// Layout version.
    pub lsr_layout_version: U32,
    /// 0.
    pub lsr_padding1: U64,
    /// 0.
    pub lsr_padding2: U64,
    /// Tail.
    pub lsr_tail: LlogRecTail,
}
assert_layout!(
    LlogSetattr64RecV2,
    88,
    lsr_valid = 48,
    lsr_projid = 56,
    lsr_layout_version = 60,
    lsr_tail = 80
);

/// `llog_gen_rec`: a service started.
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
pub struct LlogGenRec {
    /// Head.
    pub lgr_hdr: LlogRecHdr,
    /// How often the target was mounted.
    pub lgr_mnt_cnt: U64,
    /// How often it was connected since.
    pub lgr_conn_cnt: U64,
    /// 0.
    pub lgr_padding: [U64; 3],
    /// Tail.
    pub lgr_tail: LlogRecTail,
}
assert_layout!(
    LlogGenRec,
    64,
    lgr_mnt_cnt = 16,
    lgr_conn_cnt = 24,
    lgr_tail = 56
);

/// `llog_changelog_user_rec`.
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
pub struct LlogChangelogUserRec {
    /// Head.
    pub cur_hdr: LlogRecHdr,
    /// User.
    pub cur_id: U32,
    /// When it was last there, seconds.
    pub cur_time: U32,
    /// The last record it is done with.
    pub cur_endrec: U64,
    /// Tail.
    pub cur_tail: LlogRecTail,
}
assert_layout!(
    LlogChangelogUserRec,
    40,
    cur_id = 16,
    cur_endrec = 24,
    cur_tail = 32
);

/// `llog_changelog_user_rec2`.
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
pub struct LlogChangelogUserRec2 {
    /// Head.
    pub cur_hdr: LlogRecHdr,
    /// User.
    pub cur_id: U32,
    /// When it was last there, seconds.
    pub cur_time: U32,
    /// The last record it is done with.
    pub cur_endrec: U64,
    /// Types it wants.
    pub cur_mask: U32,
    /// 0.
    pub cur_padding1: U32,
    /// Name.
    pub cur_name: [u8; 16],
    /// 0.
    pub cur_padding2: U64,
    /// 0.
    pub cur_padding3: U64,
    /// Tail.
    pub cur_tail: LlogRecTail,
}
assert_layout!(
    LlogChangelogUserRec2,
    80,
    cur_mask = 32,
    cur_name = 40,
    cur_tail = 72
);

/// `llogd_body`: asks for a log or a part of one.
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
pub struct LlogdBody {
    /// The log.
    pub lgd_logid: LlogLogid,
    /// [`LlogCtxt`].
    pub lgd_ctxt_idx: U32,
    /// [`LlogFlags`].
    pub lgd_llh_flags: U32,
    /// The record wanted.
    pub lgd_index: U32,
    /// The last record before; in replies the last in the chunk.
    pub lgd_saved_index: U32,
    /// Bytes wanted.
    pub lgd_len: U32,
    /// Where to read; in replies where the reading ended.
    pub lgd_cur_offset: U64,
}
assert_layout!(
    LlogdBody,
    48,
    lgd_ctxt_idx = 20,
    lgd_llh_flags = 24,
    lgd_index = 28,
    lgd_saved_index = 32,
    lgd_len = 36,
    lgd_cur_offset = 40
);

/// `llogd_conn_body`.
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
pub struct LlogdConnBody {
    /// Start of the service.
    pub lgdc_mnt_cnt: U64,
    /// Connection.
    pub lgdc_conn_cnt: U64,
    /// The log.
    pub lgdc_logid: LlogLogid,
    /// [`LlogCtxt`].
    pub lgdc_ctxt_idx: U32,
}
assert_layout!(LlogdConnBody, 40, lgdc_logid = 16, lgdc_ctxt_idx = 36);
