// SPDX-License-Identifier: GPL-2.0

//! FIDs: the identity of every object in the file system (`spec/ondisk.md` 2, `spec/ost.md` 2.1).

use core::fmt;
use core::str::FromStr;
use zerocopy::{big_endian as be, little_endian as le};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Malformed;

/// Well-known sequences.
pub mod seq {
    /// Objects of MDT0000 on OSTs of the oldest format ("group 0"); directory `O/0`.
    pub const OST_MDT0: u64 = 0;
    /// Unnamed llogs.
    pub const LLOG: u64 = 1;
    /// Objects of the echo client.
    pub const ECHO: u64 = 2;
    /// Named llogs.
    pub const LLOG_NAME: u64 = 10;
    /// The last reserved one below IGIF.
    pub const RSVD: u64 = 11;
    /// IGIF: the sequence is an inode number.
    pub const IGIF: u64 = 12;
    /// The last of IGIF.
    pub const IGIF_MAX: u64 = 0xffff_ffff;
    /// IDIF: the sequence holds the OST's index and the upper bits of the object number.
    pub const IDIF: u64 = 0x1_0000_0000;
    /// The last of IDIF.
    pub const IDIF_MAX: u64 = 0x1_ffff_ffff;
    /// The lowest one that is neither IGIF nor IDIF.
    pub const START: u64 = 0x2_0000_0000;
    /// Local files with fixed numbers (`oid`).
    pub const LOCAL_FILE: u64 = 0x2_0000_0001;
    /// `.lustre` and what is in it.
    pub const DOT_LUSTRE: u64 = 0x2_0000_0002;
    /// Local files found by name.
    pub const LOCAL_NAME: u64 = 0x2_0000_0003;
    /// Locks without an object: the one for renames.
    pub const SPECIAL: u64 = 0x2_0000_0004;
    /// Quota indices of slaves.
    pub const QUOTA: u64 = 0x2_0000_0005;
    /// Global quota indices.
    pub const QUOTA_GLB: u64 = 0x2_0000_0006;
    /// The root of the file system.
    pub const ROOT: u64 = 0x2_0000_0007;
    /// Never on disk.
    pub const LAYOUT_RBTREE: u64 = 0x2_0000_0008;
    /// Update logs; the oid is an MDT's index.
    pub const UPDATE_LOG: u64 = 0x2_0000_0009;
    /// Directories of update logs; the oid is an MDT's index.
    pub const UPDATE_LOG_DIR: u64 = 0x2_0000_000a;
    /// The first that is handed out.
    pub const NORMAL: u64 = 0x2_0000_0400;
    /// Default layouts.
    pub const LOV_DEFAULT: u64 = u64::MAX;
}

/// Numbers in [`seq::LOCAL_FILE`] (`spec/ondisk.md` 2.2).
pub mod oid {
    /// `fld`.
    pub const FLD_INDEX: u32 = 3;
    /// `seq_ctl`.
    pub const SEQ_CTL: u32 = 4;
    /// `seq_srv`.
    pub const SEQ_SRV: u32 = 5;
    /// `lov_objid`.
    pub const LOV_OBJID: u32 = 8;
    /// `last_rcvd`.
    pub const LAST_RCVD: u32 = 11;
    /// The root directory of the backend (inode 2).
    pub const OSD_ROOT: u32 = 13;
    /// User quota accounting.
    pub const ACCT_USER: u32 = 15;
    /// Group quota accounting.
    pub const ACCT_GROUP: u32 = 16;
    /// The inode table as an index.
    pub const OTABLE_IT: u32 = 18;
    /// `lost+found` of the backend.
    pub const OSD_LOST_FOUND: u32 = 19;
    /// `reply_data`.
    pub const REPLY_DATA: u32 = 21;
    /// Project quota accounting.
    pub const ACCT_PROJECT: u32 = 22;
    /// `index_backup`.
    pub const INDEX_BACKUP: u32 = 4116;
    /// `LAST_GROUP`.
    pub const OFD_LAST_GROUP: u32 = 4117;
    /// `CATALOGS`.
    pub const LLOG_CATALOGS: u32 = 4118;
    /// `CONFIGS`.
    pub const MGS_CONFIGS: u32 = 4119;
    /// `health_check`.
    pub const OFD_HEALTH_CHECK: u32 = 4120;
    /// `lov_objseq`.
    pub const LOV_OBJSEQ: u32 = 4121;
    /// `REMOTE_PARENT_DIR`.
    pub const REMOTE_PARENT_DIR: u32 = 4123;
    /// `BATCHID`.
    pub const BATCHID: u32 = 4125;
    /// The failure domain of an OST.
    pub const OFD_FAILURE_DOMAIN: u32 = 4126;
}

/// Objects in a sequence of metadata.
pub const METADATA_SEQ_WIDTH: u64 = 0x2_0000;
/// Objects in a sequence of an OST.
pub const DATA_SEQ_WIDTH: u64 = 0x1ff_ffff;
/// Sequences in a super-sequence.
pub const SUPER_SEQ_WIDTH: u64 = 1 << 30;
/// The largest object number in [`seq::OST_MDT0`].
pub const IDIF_MAX_OID: u64 = (1 << 48) - 1;

/// A FID in the host's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fid {
    /// Sequence.
    pub seq: u64,
    /// Number in the sequence.
    pub oid: u32,
    /// Version: 0 on every object, a stripe index in the FID of an OST object's parent.
    pub ver: u32,
}

impl Fid {
    /// No object.
    pub const ZERO: Fid = Fid::new(0, 0);
    /// The root of the file system.
    pub const ROOT: Fid = Fid::new(seq::ROOT, 1);
    /// `.lustre`.
    pub const DOT_LUSTRE: Fid = Fid::new(seq::DOT_LUSTRE, 1);
    /// `.lustre/fid`.
    pub const OBF: Fid = Fid::new(seq::DOT_LUSTRE, 2);
    /// `.lustre/lost+found`.
    pub const LPF: Fid = Fid::new(seq::DOT_LUSTRE, 3);
    /// The lock that renames of directories take.
    pub const BFL: Fid = Fid::new(seq::SPECIAL, 1);

    /// The FID of version 0.
    pub const fn new(seq: u64, oid: u32) -> Fid {
        Fid { seq, oid, ver: 0 }
    }

    /// A local file with a fixed number ([`oid`]).
    pub const fn local(oid: u32) -> Fid {
        Fid::new(seq::LOCAL_FILE, oid)
    }

    /// The IGIF of an inode.
    pub const fn igif(ino: u32, generation: u32) -> Fid {
        Fid::new(ino as u64, generation)
    }

    /// The IDIF of object `id` of an OST; `None` if the id has more than 48 bits.
    pub const fn idif(ost_index: u16, id: u64) -> Option<Fid> {
        if id > IDIF_MAX_OID {
            return None;
        }
        Some(Fid::new(
            seq::IDIF | ((ost_index as u64) << 16) | (id >> 32),
            id as u32,
        ))
    }

    /// The object number of an IDIF.
    pub const fn idif_id(&self) -> u64 {
        ((self.ver as u64) << 48) | ((self.seq & 0xffff) << 32) | self.oid as u64
    }

    /// The OST index in an IDIF.
    pub const fn idif_ost_index(&self) -> u16 {
        (self.seq >> 16) as u16
    }

    /// All zero.
    pub const fn is_zero(&self) -> bool {
        self.seq == 0 && self.oid == 0 && self.ver == 0
    }

    /// From a sequence that a server handed out.
    pub const fn is_norm(&self) -> bool {
        seq_is_norm(self.seq)
    }

    /// An inode of a 1.x MDT, or a local file without FID of its own.
    pub const fn is_igif(&self) -> bool {
        seq_is_igif(self.seq)
    }

    /// An OST object of the oldest format.
    pub const fn is_idif(&self) -> bool {
        seq_is_idif(self.seq)
    }

    /// An llog or an object of the echo client.
    pub const fn is_rsvd(&self) -> bool {
        self.seq > 0 && self.seq <= seq::RSVD
    }

    /// A local file with a fixed number.
    pub const fn is_local_file(&self) -> bool {
        self.seq == seq::LOCAL_FILE
    }

    /// A llog, named or not.
    pub const fn is_llog(&self) -> bool {
        self.seq == seq::LLOG || self.seq == seq::LLOG_NAME
    }

    /// An index of the quota slave or master.
    pub const fn is_quota(&self) -> bool {
        self.seq == seq::QUOTA || self.seq == seq::QUOTA_GLB
    }

    /// One of the backend's own quota files, which have no entry in the object index.
    pub const fn is_acct(&self) -> bool {
        self.seq == seq::LOCAL_FILE
            && matches!(
                self.oid,
                oid::ACCT_USER | oid::ACCT_GROUP | oid::ACCT_PROJECT
            )
    }

    /// In an update log's sequence.
    pub const fn is_update_log(&self) -> bool {
        self.seq == seq::UPDATE_LOG || self.seq == seq::UPDATE_LOG_DIR
    }

    /// The root of the file system.
    pub const fn is_root(&self) -> bool {
        self.seq == seq::ROOT && self.oid == 1
    }

    /// Not something that no peer should ever send.
    pub const fn is_sane(&self) -> bool {
        (self.seq >= seq::START && self.ver == 0)
            || self.is_igif()
            || self.is_idif()
            || self.is_rsvd()
    }

    /// May stand in the namespace that clients see.
    pub const fn is_namespace_visible(&self) -> bool {
        ((self.is_norm() || self.is_igif()) && self.oid != 0)
            || self.is_root()
            || self.seq == seq::DOT_LUSTRE
    }

    /// The `LAST_ID` file of a sequence.
    pub const fn is_last_id(&self) -> bool {
        self.oid == 0
            && !self.is_igif()
            && !self.is_update_log()
            && (!self.is_idif() || self.seq & 0xffff == 0)
    }

    /// Whether the FLDB knows which target its sequence is on.
    pub const fn is_in_fldb(&self) -> bool {
        seq_is_in_fldb(self.seq)
    }

    /// Whether an OST can have the object (`spec/ost.md` 2.1).
    pub const fn is_on_ost(&self) -> bool {
        self.is_idif() || self.is_norm() || self.seq == seq::OST_MDT0 || self.seq == seq::ECHO
    }

    /// The inode number that a client shows.
    pub const fn flatten(&self) -> u64 {
        if self.is_igif() {
            return self.seq;
        }
        let ino = (self.seq << 24)
            .wrapping_add((self.seq >> 24) & 0xff_ffff_0000)
            .wrapping_add(self.oid as u64);
        if ino == 0 {
            self.oid as u64
        } else {
            ino
        }
    }

    /// The name of the lock resource of an MDT object.
    pub const fn to_res_name(&self) -> [u64; 4] {
        [self.seq, ((self.ver as u64) << 32) | self.oid as u64, 0, 0]
    }

    /// The FID that a resource name of an MDT stands for; the last words are not looked at.
    pub const fn from_res_name(name: &[u64; 4]) -> Fid {
        Fid {
            seq: name[0],
            oid: name[1] as u32,
            ver: (name[1] >> 32) as u32,
        }
    }

    /// The name of the lock resource of an OST object.
    pub const fn to_ost_res_name(&self) -> [u64; 4] {
        if self.is_idif() {
            [self.idif_id(), 0, 0, 0]
        } else if self.seq == seq::OST_MDT0 {
            [self.oid as u64, 0, 0, 0]
        } else {
            self.to_res_name()
        }
    }

    /// The FID that a resource name of an OST stands for; `None` if the number is too large.
    pub const fn from_ost_res_name(name: &[u64; 4], ost_index: u16) -> Option<Fid> {
        if name[1] == 0 {
            Fid::idif(ost_index, name[0])
        } else {
            Some(Fid::from_res_name(name))
        }
    }

    /// The FID without brackets, as in file names.
    pub const fn no_brace(&self) -> NoBrace {
        NoBrace(*self)
    }
}

/// Whether a sequence is one that a server handed out.
pub const fn seq_is_norm(s: u64) -> bool {
    s >= seq::NORMAL
}

/// Whether a sequence is an inode number.
pub const fn seq_is_igif(s: u64) -> bool {
    s >= seq::IGIF && s <= seq::IGIF_MAX
}

/// Whether a sequence is one of the OST objects of the oldest format.
pub const fn seq_is_idif(s: u64) -> bool {
    s >= seq::IDIF && s <= seq::IDIF_MAX
}

/// Whether the FLDB knows which target a sequence is on.
pub const fn seq_is_in_fldb(s: u64) -> bool {
    seq_is_igif(s) || seq_is_norm(s) || s == seq::ROOT || s == seq::DOT_LUSTRE
}

impl fmt::Display for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", NoBrace(*self))
    }
}

impl fmt::Debug for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows a FID without brackets.
#[derive(Clone, Copy)]
pub struct NoBrace(Fid);

impl fmt::Display for NoBrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}:{:#x}:{:#x}", self.0.seq, self.0.oid, self.0.ver)
    }
}

/// Reads `[0xSEQ:0xOID:0xVER]`, also without brackets or the prefix of a number.
impl FromStr for Fid {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Fid, Malformed> {
        fn number(part: Option<&str>) -> Result<u64, Malformed> {
            let part = part.ok_or(Malformed::Value)?;
            let digits = part
                .strip_prefix("0x")
                .or_else(|| part.strip_prefix("0X"))
                .unwrap_or(part);
            if digits.starts_with('+') {
                return Err(Malformed::Value);
            }
            u64::from_str_radix(digits, 16).map_err(|_| Malformed::Value)
        }
        let inner = match s.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or(Malformed::Value)?,
            None => s,
        };
        let mut parts = inner.split(':');
        let fid = Fid {
            seq: number(parts.next())?,
            oid: u32::try_from(number(parts.next())?).map_err(|_| Malformed::Value)?,
            ver: u32::try_from(number(parts.next())?).map_err(|_| Malformed::Value)?,
        };
        match parts.next() {
            None => Ok(fid),
            Some(_) => Err(Malformed::Value),
        }
    }
}

/// A FID on the wire and in most xattrs.
#[derive(
    Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LuFid {
    /// Sequence.
    pub f_seq: le::U64,
    /// Number in the sequence.
    pub f_oid: le::U32,
    /// Version.
    pub f_ver: le::U32,
}
assert_layout!(LuFid, 16, f_seq = 0, f_oid = 8, f_ver = 12);

/// A FID in directory entries, the linkEA and keys of indices: big endian, so that bytes sort as
/// numbers do.
#[derive(
    Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LuFidBe {
    /// Sequence.
    pub f_seq: be::U64,
    /// Number in the sequence.
    pub f_oid: be::U32,
    /// Version.
    pub f_ver: be::U32,
}
assert_layout!(LuFidBe, 16, f_seq = 0, f_oid = 8, f_ver = 12);

macro_rules! fid_bytes {
    ($t:ident) => {
        impl $t {
            /// The FID in the host's order.
            pub fn get(&self) -> Fid {
                Fid {
                    seq: self.f_seq.get(),
                    oid: self.f_oid.get(),
                    ver: self.f_ver.get(),
                }
            }
        }

        impl From<Fid> for $t {
            fn from(fid: Fid) -> Self {
                $t {
                    f_seq: fid.seq.into(),
                    f_oid: fid.oid.into(),
                    f_ver: fid.ver.into(),
                }
            }
        }

        impl From<$t> for Fid {
            fn from(fid: $t) -> Fid {
                fid.get()
            }
        }

        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.get(), f)
            }
        }
    };
}
fid_bytes!(LuFid);
fid_bytes!(LuFidBe);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn classes() {
        assert!(Fid::ROOT.is_root() && Fid::ROOT.is_sane() && Fid::ROOT.is_namespace_visible());
        assert!(Fid::ROOT.is_in_fldb() && !Fid::ROOT.is_norm());
        assert!(Fid::new(0x2_0000_0400, 1).is_norm());
        assert!(!Fid::new(0x2_0000_03ff, 1).is_norm());
        assert!(Fid::igif(12, 0).is_igif() && !Fid::new(11, 1).is_igif());
        assert!(Fid::new(0xffff_ffff, 1).is_igif() && !Fid::new(0x1_0000_0000, 1).is_igif());
        assert!(!Fid::ZERO.is_sane() && Fid::ZERO.is_zero());
        assert!(Fid::new(1, 3).is_llog() && Fid::new(1, 3).is_sane());
        assert!(Fid::local(oid::ACCT_PROJECT).is_acct());
        assert!(Fid::new(0x2_8000_0400, 0).is_last_id());
        assert!(!Fid::new(seq::UPDATE_LOG, 0).is_last_id());
        assert!(!Fid::new(seq::IDIF | 1, 0).is_last_id());
        assert!(Fid::new(seq::IDIF | 0x7_0000, 0).is_last_id());
        let versioned = Fid {
            ver: 1,
            ..Fid::ROOT
        };
        assert!(!versioned.is_sane());
    }

    #[test]
    fn idif() {
        let fid = Fid::idif(3, 0xabcd_1234_5678).unwrap();
        assert_eq!(fid, Fid::new(0x1_0003_abcd, 0x1234_5678));
        assert_eq!(fid.idif_id(), 0xabcd_1234_5678);
        assert_eq!(fid.idif_ost_index(), 3);
        assert_eq!(Fid::idif(0, 1 << 48), None);
        assert_eq!(fid.to_ost_res_name(), [0xabcd_1234_5678, 0, 0, 0]);
        assert_eq!(Fid::from_ost_res_name(&fid.to_ost_res_name(), 3), Some(fid));
    }

    #[test]
    fn text() {
        assert_eq!(Fid::ROOT.to_string(), "[0x200000007:0x1:0x0]");
        assert_eq!(Fid::ROOT.no_brace().to_string(), "0x200000007:0x1:0x0");
        for bad in [
            "",
            "[]",
            "[1:2]",
            "[1:2:3",
            "1:2:3]",
            "1:2:3:4",
            "1:2:100000000",
            "x:1:2",
            "+1:2:3",
            "1:-2:3",
            "0x:0x1:0x2",
            "1::2",
        ] {
            assert_eq!(bad.parse::<Fid>(), Err(Malformed::Value), "{bad}");
        }
    }

    #[test]
    fn bytes() {
        let fid = Fid::new(0x2_0000_0bd1, 2);
        let le = LuFid::from(fid);
        assert_eq!(
            le.as_bytes(),
            [0xd1, 0x0b, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
        );
        let be = LuFidBe::from(fid);
        assert_eq!(
            be.as_bytes(),
            [0, 0, 0, 2, 0, 0, 0x0b, 0xd1, 0, 0, 0, 2, 0, 0, 0, 0]
        );
    }

    proptest! {
        #[test]
        fn round_trips(seq: u64, oid: u32, ver: u32) {
            let fid = Fid { seq, oid, ver };
            prop_assert_eq!(fid.to_string().parse(), Ok(fid));
            prop_assert_eq!(fid.no_brace().to_string().parse(), Ok(fid));
            prop_assert_eq!(LuFid::from(fid).get(), fid);
            prop_assert_eq!(LuFidBe::from(fid).get(), fid);
            prop_assert_eq!(Fid::from_res_name(&fid.to_res_name()), fid);
        }

        #[test]
        fn big_endian_bytes_sort_as_fids(a: (u64, u32, u32), b: (u64, u32, u32)) {
            let a = Fid { seq: a.0, oid: a.1, ver: a.2 };
            let b = Fid { seq: b.0, oid: b.1, ver: b.2 };
            prop_assert_eq!(
                a.cmp(&b),
                LuFidBe::from(a).as_bytes().cmp(LuFidBe::from(b).as_bytes())
            );
        }
    }
}
