// SPDX-License-Identifier: GPL-2.0

//! Where the object of a FID is to be found: in the object index, in the hierarchy `O/`, or at a
//! place of its own (`ondisk.md` 4.1).

use crate::Fid;
use core::fmt::{self, Write};

/// First sequence of inode-and-generation FIDs.
const SEQ_IGIF: u64 = 12;
const SEQ_IGIF_MAX: u64 = 0xffff_ffff;
const SEQ_IDIF: u64 = 0x1_0000_0000;
const SEQ_IDIF_MAX: u64 = 0x1_ffff_ffff;
/// Unnamed llogs.
pub(crate) const SEQ_LLOG: u64 = 1;
/// Named llogs.
pub(crate) const SEQ_LLOG_NAME: u64 = 10;
/// Last of the reserved small sequences.
const SEQ_RSVD: u64 = 11;
/// Local files with fixed numbers.
pub(crate) const SEQ_LOCAL_FILE: u64 = 0x2_0000_0001;
/// Local files that are found by name.
pub(crate) const SEQ_LOCAL_NAME: u64 = 0x2_0000_0003;
const SEQ_UPDATE_LOG: u64 = 0x2_0000_0009;
const SEQ_UPDATE_LOG_DIR: u64 = 0x2_0000_000a;
/// First sequence that targets and clients are given.
pub(crate) const SEQ_NORMAL: u64 = 0x2_0000_0400;

const OID_BACKEND_ROOT: u32 = 13;
const OID_ACCT_USER: u32 = 15;
const OID_ACCT_GROUP: u32 = 16;
const OID_ACCT_PROJECT: u32 = 22;

/// A short name, made without memory.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    buf: [u8; 64],
    len: usize,
}

impl Name {
    /// Formats a name; what does not fit is cut, which no name of this crate is.
    pub(crate) fn new(args: fmt::Arguments<'_>) -> Name {
        let mut n = Name {
            buf: [0; 64],
            len: 0,
        };
        let _ = n.write_fmt(args);
        n
    }

    /// Its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}

impl Write for Name {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.len + s.len();
        let out = self.buf.get_mut(self.len..end).ok_or(fmt::Error)?;
        out.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Where an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// `O/<seq>/LAST_ID`.
    LastId(u64),
    /// `O/<seq>/d<n>/<id>`; the sequence is that of the directory, 0 for all IDIFs.
    Hierarchy {
        /// Names the directory.
        seq: u64,
        /// The object's number in it.
        id: u64,
    },
    /// The root directory of the file system.
    Root,
    /// A quota file of ext4's, which is no object.
    Accounting,
    /// In the object index.
    Index,
}

/// Whether `fid` is made of an inode number and a generation.
pub(crate) fn is_igif(fid: &Fid) -> bool {
    (SEQ_IGIF..=SEQ_IGIF_MAX).contains(&fid.seq)
}

/// Whether `fid` is an OST object of before sequences.
pub(crate) fn is_idif(fid: &Fid) -> bool {
    (SEQ_IDIF..=SEQ_IDIF_MAX).contains(&fid.seq)
}

fn is_last_id(fid: &Fid) -> bool {
    fid.oid == 0
        && !is_igif(fid)
        && fid.seq != SEQ_UPDATE_LOG
        && fid.seq != SEQ_UPDATE_LOG_DIR
        && (!is_idif(fid) || fid.seq & 0xffff == 0)
}

/// The sequence by which the hierarchy knows that of `fid`.
fn hierarchy_seq(fid: &Fid) -> u64 {
    if is_idif(fid) {
        0
    } else {
        fid.seq
    }
}

/// The number of an IDIF object: 48 bits.
fn idif_id(fid: &Fid) -> u64 {
    u64::from(fid.ver) << 48 | (fid.seq & 0xffff) << 32 | u64::from(fid.oid)
}

/// Where the object of `fid` is, on an OST or elsewhere.
pub(crate) fn place(fid: &Fid, ost: bool) -> Place {
    if is_last_id(fid) {
        return Place::LastId(hierarchy_seq(fid));
    }
    let id = u64::from(fid.oid);
    if fid.seq == SEQ_LLOG || fid.seq == 0 || fid.seq == 2 {
        return Place::Hierarchy { seq: fid.seq, id };
    }
    if is_idif(fid) {
        return Place::Hierarchy {
            seq: 0,
            id: idif_id(fid),
        };
    }
    if ost && fid.seq >= SEQ_NORMAL {
        return Place::Hierarchy { seq: fid.seq, id };
    }
    match (fid.seq, fid.oid) {
        (SEQ_LOCAL_FILE, OID_BACKEND_ROOT) => Place::Root,
        (SEQ_LOCAL_FILE, OID_ACCT_USER | OID_ACCT_GROUP | OID_ACCT_PROJECT) => Place::Accounting,
        _ => Place::Index,
    }
}

/// Whether an object at this place has the flag "on an OST" in its LMA.
pub(crate) fn flagged_on_ost(fid: &Fid, place: &Place) -> bool {
    match place {
        Place::Hierarchy { .. } => fid.seq != SEQ_LLOG,
        // The counters of local sequences do not, that of llogs does.
        Place::LastId(seq) => {
            !matches!(*seq, SEQ_LLOG_NAME | SEQ_LOCAL_NAME) && (*seq <= 2 || *seq >= SEQ_NORMAL)
        }
        _ => false,
    }
}

/// The directory of a sequence in `O/`.
pub(crate) fn seq_name(seq: u64) -> Name {
    if seq <= SEQ_RSVD {
        Name::new(format_args!("{seq}"))
    } else {
        Name::new(format_args!("{seq:x}"))
    }
}

/// The file of an object below that.
pub(crate) fn object_name(seq: u64, id: u64) -> Name {
    if seq <= SEQ_RSVD {
        Name::new(format_args!("{id}"))
    } else {
        Name::new(format_args!("{id:x}"))
    }
}

/// The names of files with a fixed number that are in the root directory, too (`ondisk.md` 2.2).
pub(crate) const NAMED: &[(u32, &str)] = &[
    (3, "fld"),
    (4, "seq_ctl"),
    (5, "seq_srv"),
    (8, "lov_objid"),
    (11, "last_rcvd"),
    (19, "lost+found"),
    (21, "reply_data"),
    (4117, "LAST_GROUP"),
    (4118, "CATALOGS"),
    (4119, "CONFIGS"),
    (4120, "health_check"),
    (4121, "lov_objseq"),
    (4123, "REMOTE_PARENT_DIR"),
    (4125, "BATCHID"),
];

/// The name in the root directory of a file with a fixed number.
pub(crate) fn root_name(fid: &Fid) -> Option<&'static str> {
    if fid.seq != SEQ_LOCAL_FILE {
        return None;
    }
    let (_, name) = NAMED.iter().find(|(oid, _)| *oid == fid.oid)?;
    Some(name)
}
