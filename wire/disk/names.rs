// SPDX-License-Identifier: GPL-2.0

//! Names of files and directories of a target, and where its objects are (`spec/ondisk.md` 3, 4).

use core::fmt::{self, Write};

use crate::error::{Malformed, Result};
use crate::fid::{oid, seq, Fid};

/// Names in the root directory of the backend.
pub mod root {
    /// Objects by sequence.
    pub const OBJECTS: &str = "O";
    /// State of the object index.
    pub const OI_SCRUB: &str = "OI_scrub";
    /// Files of the object index are this and a decimal number.
    pub const OI_PREFIX: &str = "oi.16.";
    /// Copies of indices.
    pub const INDEX_BACKUP: &str = "index_backup";
    /// Objects with a parent on another MDT.
    pub const REMOTE_PARENT_DIR: &str = "REMOTE_PARENT_DIR";
    /// Configuration.
    pub const CONFIGS: &str = "CONFIGS";
    /// Quota of this target.
    pub const QUOTA_SLAVE: &str = "quota_slave";
    /// Quota of the file system.
    pub const QUOTA_MASTER: &str = "quota_master";
    /// Versions of the NID tables.
    pub const NIDTBL_VERSIONS: &str = "NIDTBL_VERSIONS";
    /// Traces of LFSCK.
    pub const LFSCK: &str = "LFSCK";
    /// State of LFSCK.
    pub const LFSCK_BOOKMARK: &str = "lfsck_bookmark";
    /// State of the layout check.
    pub const LFSCK_LAYOUT: &str = "lfsck_layout";
    /// State of the namespace check.
    pub const LFSCK_NAMESPACE: &str = "lfsck_namespace";
    /// Copy of the nodemap.
    pub const NODEMAP: &str = "nodemap";
    /// Target and clients.
    pub const LAST_RCVD: &str = "last_rcvd";
    /// Replies.
    pub const REPLY_DATA: &str = "reply_data";
    /// Sequences of this target.
    pub const SEQ_SRV: &str = "seq_srv";
    /// Sequences of the file system.
    pub const SEQ_CTL: &str = "seq_ctl";
    /// Who has which sequence.
    pub const FLD: &str = "fld";
    /// The namespace.
    pub const ROOT: &str = "ROOT";
    /// Orphans.
    pub const PENDING: &str = "PENDING";
    /// Last object used on each OST.
    pub const LOV_OBJID: &str = "lov_objid";
    /// Its sequence.
    pub const LOV_OBJSEQ: &str = "lov_objseq";
    /// Catalogs by OST.
    pub const CATALOGS: &str = "CATALOGS";
    /// Catalog of the changelog.
    pub const CHANGELOG_CATALOG: &str = "changelog_catalog";
    /// Users of the changelog.
    pub const CHANGELOG_USERS: &str = "changelog_users";
    /// Actions of the HSM.
    pub const HSM_ACTIONS: &str = "hsm_actions";
    /// Update logs by MDT.
    pub const UPDATE_LOG: &str = "update_log";
    /// The update logs.
    pub const UPDATE_LOG_DIR: &str = "update_log_dir";
    /// Last batch committed.
    pub const BATCHID: &str = "BATCHID";
    /// Written by the health check.
    pub const HEALTH_CHECK: &str = "health_check";
    /// Obsolete.
    pub const LAST_GROUP: &str = "LAST_GROUP";
    /// The backend's own.
    pub const LOST_FOUND: &str = "lost+found";
}

/// The file with the last number of a sequence.
pub const LAST_ID: &str = "LAST_ID";

/// The name in the root directory under which a fixed local file also stands.
pub const fn local_file_name(oid: u32) -> Option<&'static str> {
    Some(match oid {
        oid::FLD_INDEX => root::FLD,
        oid::SEQ_CTL => root::SEQ_CTL,
        oid::SEQ_SRV => root::SEQ_SRV,
        oid::LOV_OBJID => root::LOV_OBJID,
        oid::LAST_RCVD => root::LAST_RCVD,
        oid::OSD_LOST_FOUND => root::LOST_FOUND,
        oid::REPLY_DATA => root::REPLY_DATA,
        oid::INDEX_BACKUP => root::INDEX_BACKUP,
        oid::OFD_LAST_GROUP => root::LAST_GROUP,
        oid::LLOG_CATALOGS => root::CATALOGS,
        oid::MGS_CONFIGS => root::CONFIGS,
        oid::OFD_HEALTH_CHECK => root::HEALTH_CHECK,
        oid::LOV_OBJSEQ => root::LOV_OBJSEQ,
        oid::REMOTE_PARENT_DIR => root::REMOTE_PARENT_DIR,
        oid::BATCHID => root::BATCHID,
        _ => return None,
    })
}

/// Text in a buffer of its own, long enough for any of these names.
#[derive(Clone, Copy)]
pub struct Name {
    buf: [u8; 80],
    len: usize,
}

impl Name {
    /// The text of `args`.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`]: longer than 80 bytes.
    pub fn new(args: fmt::Arguments<'_>) -> Result<Name> {
        let mut name = Name {
            buf: [0; 80],
            len: 0,
        };
        name.write_fmt(args).map_err(|_| Malformed::NoRoom)?;
        Ok(name)
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or(&[])
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl Write for Name {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.len + s.len();
        self.buf
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Whether names in the directory of a sequence are decimal.
const fn is_decimal(s: u64) -> bool {
    s <= seq::RSVD
}

/// The directory of a sequence in `O/`.
///
/// # Errors
/// None with any sequence.
pub fn seq_dir(s: u64) -> Result<Name> {
    let s = if crate::fid::seq_is_idif(s) {
        seq::OST_MDT0
    } else {
        s
    };
    if is_decimal(s) {
        Name::new(format_args!("{s}"))
    } else {
        Name::new(format_args!("{s:x}"))
    }
}

/// The number of an object in its sequence.
pub const fn object_id(fid: &Fid) -> u64 {
    if fid.is_idif() {
        fid.idif_id()
    } else {
        fid.oid as u64
    }
}

/// The directory of an object in the directory of its sequence, one of `subdirs` (not 0).
///
/// # Errors
/// [`Malformed::Value`]: no directories.
pub fn object_subdir(fid: &Fid, subdirs: u16) -> Result<Name> {
    let n = object_id(fid)
        .checked_rem(u64::from(subdirs))
        .ok_or(Malformed::Value)?;
    Name::new(format_args!("d{n}"))
}

/// The name of an object in its directory.
///
/// # Errors
/// None with any FID.
pub fn object_name(fid: &Fid) -> Result<Name> {
    let id = object_id(fid);
    if fid.is_idif() || is_decimal(fid.seq) {
        Name::new(format_args!("{id}"))
    } else {
        Name::new(format_args!("{id:x}"))
    }
}

/// The name of an orphan in `PENDING`, and of a file in `REMOTE_PARENT_DIR`.
///
/// # Errors
/// None with any FID.
pub fn fid_name(fid: &Fid) -> Result<Name> {
    Name::new(format_args!("{}", fid.no_brace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of `spec/ondisk.md` 4.4.
    #[test]
    fn objects() {
        let path = |fid: &Fid| {
            std::format!(
                "{}/{}/{}",
                seq_dir(fid.seq).unwrap().as_str(),
                object_subdir(fid, 32).unwrap().as_str(),
                object_name(fid).unwrap().as_str()
            )
        };
        assert_eq!(path(&Fid::new(0x2_8000_0401, 0x1f)), "280000401/d31/1f");
        assert_eq!(path(&Fid::idif(7, 31).unwrap()), "0/d31/31");
        assert_eq!(path(&Fid::new(1, 42)), "1/d10/42");
        assert_eq!(seq_dir(seq::LLOG_NAME).unwrap().as_str(), "10");
        assert_eq!(seq_dir(seq::LOCAL_NAME).unwrap().as_str(), "200000003");
        assert!(object_subdir(&Fid::new(1, 1), 0).is_err());
        let long = Fid {
            seq: u64::MAX,
            oid: u32::MAX,
            ver: u32::MAX,
        };
        assert_eq!(
            fid_name(&long).unwrap().as_str(),
            "0xffffffffffffffff:0xffffffff:0xffffffff"
        );
        assert_eq!(local_file_name(oid::REPLY_DATA), Some("reply_data"));
    }
}
