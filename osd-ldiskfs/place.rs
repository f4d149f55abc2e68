// SPDX-License-Identifier: GPL-2.0

//! Where the object of a FID is to be found: in the object index, in the hierarchy `O/`, or at a
//! place of its own (`ondisk.md` 4.1).

use crate::Fid;
use core::fmt::{self, Write};
use wire::fid::{oid, seq};

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

/// The sequence by which the hierarchy knows that of `fid`.
fn hierarchy_seq(fid: &Fid) -> u64 {
    if fid.is_idif() {
        seq::OST_MDT0
    } else {
        fid.seq
    }
}

/// Where the object of `fid` is, on an OST or elsewhere.
pub(crate) fn place(fid: &Fid, ost: bool) -> Place {
    if fid.is_last_id() {
        return Place::LastId(hierarchy_seq(fid));
    }
    let id = u64::from(fid.oid);
    if matches!(fid.seq, seq::LLOG | seq::OST_MDT0 | seq::ECHO) {
        return Place::Hierarchy { seq: fid.seq, id };
    }
    if fid.is_idif() {
        return Place::Hierarchy {
            seq: seq::OST_MDT0,
            id: fid.idif_id(),
        };
    }
    if ost && fid.is_norm() {
        return Place::Hierarchy { seq: fid.seq, id };
    }
    match (fid.seq, fid.oid) {
        (seq::LOCAL_FILE, oid::OSD_ROOT) => Place::Root,
        _ if fid.is_acct() => Place::Accounting,
        _ => Place::Index,
    }
}

/// Whether an object at this place has the flag "on an OST" in its LMA.
pub(crate) fn flagged_on_ost(fid: &Fid, place: &Place) -> bool {
    match place {
        Place::Hierarchy { .. } => fid.seq != seq::LLOG,
        // The counters of local sequences do not, that of llogs does.
        Place::LastId(s) => *s <= seq::ECHO || *s >= seq::NORMAL,
        _ => false,
    }
}

/// The directory of a sequence in `O/`.
pub(crate) fn seq_name(s: u64) -> Name {
    if s <= seq::RSVD {
        Name::new(format_args!("{s}"))
    } else {
        Name::new(format_args!("{s:x}"))
    }
}

/// The file of an object below that.
pub(crate) fn object_name(s: u64, id: u64) -> Name {
    if s <= seq::RSVD {
        Name::new(format_args!("{id}"))
    } else {
        Name::new(format_args!("{id:x}"))
    }
}

/// The names of files with a fixed number that are in the root directory, too (`ondisk.md` 2.2).
pub(crate) const NAMED: &[(u32, &str)] = &[
    (oid::FLD_INDEX, "fld"),
    (oid::SEQ_CTL, "seq_ctl"),
    (oid::SEQ_SRV, "seq_srv"),
    (oid::LOV_OBJID, "lov_objid"),
    (oid::LAST_RCVD, "last_rcvd"),
    (oid::OSD_LOST_FOUND, "lost+found"),
    (oid::REPLY_DATA, "reply_data"),
    (oid::OFD_LAST_GROUP, "LAST_GROUP"),
    (oid::LLOG_CATALOGS, "CATALOGS"),
    (oid::MGS_CONFIGS, "CONFIGS"),
    (oid::OFD_HEALTH_CHECK, "health_check"),
    (oid::LOV_OBJSEQ, "lov_objseq"),
    (oid::REMOTE_PARENT_DIR, "REMOTE_PARENT_DIR"),
    (oid::BATCHID, "BATCHID"),
];

/// The name in the root directory of a file with a fixed number.
pub(crate) fn root_name(fid: &Fid) -> Option<&'static str> {
    if !fid.is_local_file() {
        return None;
    }
    let (_, name) = NAMED.iter().find(|(n, _)| *n == fid.oid)?;
    Some(name)
}
