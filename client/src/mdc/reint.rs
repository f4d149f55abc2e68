// SPDX-License-Identifier: GPL-2.0

//! Changes of names and inodes (spec `mdt.md` 8).

use super::Mdc;
use crate::attr::{now, Attr, S_IFDIR, S_IFLNK, S_IFMT};
use crate::cred::Cred;
use crate::rpc;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use ldlm::msg;
use wire::fid::Fid;
use wire::mdt::{MdtBody, OpenFlags};
use wire::msg::MDS_VERSION;
use wire::opcode::MDS_REINT;
use wire::reint::{
    MdsAttr, MdsBias, RecCreate, RecLink, RecRename, RecSetattr, RecUnlink, ReintOp,
};
use zerocopy::IntoBytes;

/// Bits that a change of an object takes away from others, data on the MDT apart.
const OBJECT_BITS: u64 = ibits::FULL & !ibits::DOM;

/// A directory, symlink or special file to be made.
pub struct NewNode<'a> {
    /// Where.
    pub parent: Fid,
    /// Name.
    pub name: &'a [u8],
    /// Type and mode.
    pub mode: u32,
    /// Device number, major << 8 | minor.
    pub rdev: u32,
    /// The caller's umask.
    pub umask: u32,
    /// Target of a symlink.
    pub target: &'a [u8],
    /// Group of the parent, if known.
    pub group: Option<u32>,
}

/// Attributes to be set.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size.
    pub size: Option<u64>,
    /// Access time: seconds, or now.
    pub atime: Option<Option<i64>>,
    /// Modification time: seconds, or now.
    pub mtime: Option<Option<i64>>,
    /// Flags of the inode.
    pub flags: Option<u32>,
    /// It is open for writing: who may do that was checked then, and the mode does not count any more.
    pub opened: bool,
}

/// The buffer with locks to cancel.
fn cancel_buf(cookies: &[u64]) -> Result<Vec<u8>> {
    let mut v = vec![0; msg::request_len(cookies.len())];
    msg::request(&mut v, 0, None, None, cookies)?;
    Ok(v)
}

fn check_name(n: &[u8]) -> Result {
    match n.len() {
        0 => Err(ENOENT),
        1..=255 => Ok(()),
        _ => Err(ENAMETOOLONG),
    }
}

impl Mdc {
    /// Makes a directory, symlink or special file. Its attributes.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `ENOTDIR`, `EACCES`, `ENOSPC`, `EMLINK`, `EROFS`.
    pub fn create(&self, n: &NewNode<'_>, cred: &Cred) -> Result<Attr> {
        check_name(n.name)?;
        let mut rec = RecCreate {
            head: cred.head(ReintOp::Create, n.group, None),
            ..RecCreate::default()
        };
        // The parent is not striped.
        rec.head.fsuid_h.set(1);
        rec.cr_fid1 = n.parent.into();
        rec.cr_fid2 = self.new_fid()?.into();
        rec.cr_time.set(now());
        rec.cr_rdev.set(n.rdev.into());
        rec.cr_mode.set(n.mode);
        let f = OpenFlags::DEFAULT_LMV;
        if n.mode & S_IFMT == S_IFDIR {
            rec.cr_flags_h
                .set(((f | OpenFlags::RESYNC).bits() >> 32) as u32);
        }
        rec.cr_umask.set(n.umask);
        let mut cookies = Vec::new();
        self.cancels(n.parent, Mode::Cw, ibits::UPDATE, &mut cookies);
        let (name, dlm) = (rpc::name(n.name), cancel_buf(&cookies)?);
        let target = rpc::name(n.target);
        let fourth: &[u8] = match n.mode & S_IFMT {
            S_IFLNK => &target,
            _ => &[],
        };
        let mut m = rpc::request(
            MDS_REINT,
            MDS_VERSION,
            &[rec.as_bytes(), &[], &name, fourth, &dlm, &[], &[], &[], &[]],
        )?;
        let r = self.modify(&mut m, cred, &[216, 0, 64])?;
        Ok(Attr::from_body(r.msg.get::<MdtBody>(1)?))
    }

    /// Gives `fid` another name.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM`, `EMLINK`, `EXDEV`.
    pub fn link(
        &self,
        fid: Fid,
        parent: Fid,
        name: &[u8],
        groups: (Option<u32>, Option<u32>),
        cred: &Cred,
    ) -> Result {
        check_name(name)?;
        let mut rec = RecLink {
            head: cred.head(ReintOp::Link, groups.0, groups.1),
            ..RecLink::default()
        };
        rec.lk_fid1 = fid.into();
        rec.lk_fid2 = parent.into();
        rec.lk_time.set(now());
        let mut cookies = Vec::new();
        self.cancels(fid, Mode::Ex, ibits::UPDATE | ibits::XATTR, &mut cookies);
        self.cancels(parent, Mode::Cw, ibits::UPDATE, &mut cookies);
        let (name, dlm) = (rpc::name(name), cancel_buf(&cookies)?);
        let mut m = rpc::request(
            MDS_REINT,
            MDS_VERSION,
            &[rec.as_bytes(), &[], &[], &name, &dlm, &[]],
        )?;
        self.modify(&mut m, cred, &[216])?;
        Ok(())
    }

    /// Removes a name; `dir`: of a directory. The object as it is left, if the server tells.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTEMPTY`, `EISDIR`, `ENOTDIR`, `EACCES`, `EPERM`.
    pub fn unlink(
        &self,
        parent: Fid,
        name: &[u8],
        child: Fid,
        dir: bool,
        group: Option<u32>,
        cred: &Cred,
    ) -> Result<Option<Attr>> {
        check_name(name)?;
        let mut rec = RecUnlink {
            head: cred.head(ReintOp::Unlink, group, None),
            ..RecUnlink::default()
        };
        rec.ul_fid1 = parent.into();
        rec.ul_fid2 = child.into();
        rec.ul_time.set(now());
        rec.ul_mode.set(if dir { S_IFDIR } else { 0 });
        let mut cookies = Vec::new();
        self.cancels(parent, Mode::Cw, ibits::UPDATE, &mut cookies);
        if !child.is_zero() {
            self.cancels(child, Mode::Ex, OBJECT_BITS, &mut cookies);
        }
        let (name, dlm) = (rpc::name(name), cancel_buf(&cookies)?);
        let mut m = rpc::request(
            MDS_REINT,
            MDS_VERSION,
            &[rec.as_bytes(), &[], &name, &dlm, &[]],
        )?;
        let r = self.modify(&mut m, cred, &[216, 0, 0, 0, 0])?;
        left(r.msg.get::<MdtBody>(1)?)
    }

    /// Renames. What was at the target before, as it is left.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn rename(
        &self,
        from: (Fid, &[u8], Option<Attr>),
        to: (Fid, &[u8], Option<Fid>),
        groups: (Option<u32>, Option<u32>),
        cred: &Cred,
    ) -> Result<Option<Attr>> {
        check_name(from.1)?;
        check_name(to.1)?;
        let mut rec = RecRename {
            head: cred.head(ReintOp::Rename, groups.0, groups.1),
            ..RecRename::default()
        };
        rec.rn_fid1 = from.0.into();
        rec.rn_fid2 = to.0.into();
        rec.rn_time.set(now());
        let mut cookies = Vec::new();
        self.cancels(from.0, Mode::Cw, ibits::UPDATE, &mut cookies);
        if to.0 != from.0 {
            self.cancels(to.0, Mode::Cw, ibits::UPDATE, &mut cookies);
        }
        if let Some(a) = from.2 {
            rec.rn_mode.set(a.mode);
            self.cancels(a.fid, Mode::Ex, ibits::LOOKUP | ibits::XATTR, &mut cookies);
        }
        if let Some(fid) = to.2 {
            self.cancels(fid, Mode::Ex, OBJECT_BITS, &mut cookies);
        }
        let (old, new) = (rpc::name(from.1), rpc::name(to.1));
        let dlm = cancel_buf(&cookies)?;
        let mut m = rpc::request(
            MDS_REINT,
            MDS_VERSION,
            &[rec.as_bytes(), &[], &[], &old, &new, &dlm, &[]],
        )?;
        let r = self.modify(&mut m, cred, &[216, 0, 0, 0, 0])?;
        left(r.msg.get::<MdtBody>(1)?)
    }

    /// Sets attributes, or (with a layout and nothing else) the default layout of a directory.
    /// The new attributes.
    ///
    /// # Errors
    /// `EPERM`, `EACCES`, `EROFS`, `EINVAL`.
    pub fn setattr(
        &self,
        fid: Fid,
        s: &SetAttr,
        layout: &[u8],
        group: Option<u32>,
        cred: &Cred,
    ) -> Result<Attr> {
        // Who gives a file to another of his groups has to be in that one.
        let given = s.gid.filter(|g| cred.groups.contains(g));
        let mut rec = RecSetattr {
            head: cred.head(ReintOp::Setattr, given.or(group), None),
            ..RecSetattr::default()
        };
        rec.sa_fid = fid.into();
        let now = now();
        let mut valid = MdsAttr::empty();
        let mut lock_bits = ibits::UPDATE;
        if let Some(m) = s.mode {
            valid.insert(MdsAttr::MODE);
            rec.sa_mode.set(m);
        }
        if let Some(u) = s.uid {
            valid.insert(MdsAttr::UID);
            rec.sa_uid.set(u);
        }
        if let Some(g) = s.gid {
            valid.insert(MdsAttr::GID);
            rec.sa_gid.set(g);
        }
        if s.mode.is_some() || s.uid.is_some() || s.gid.is_some() {
            lock_bits |= ibits::PERM;
        }
        if let Some(n) = s.size {
            valid.insert(MdsAttr::SIZE | MdsAttr::MTIME | MdsAttr::CTIME);
            rec.sa_size.set(n);
            rec.sa_mtime.set(now);
            rec.sa_bias.set(MdsBias::DATA_MODIFIED.bits());
            valid.set(MdsAttr::FORCE, s.opened);
        }
        if let Some(t) = s.atime {
            valid.insert(MdsAttr::ATIME);
            valid.set(MdsAttr::ATIME_SET, t.is_some());
            rec.sa_atime.set(t.unwrap_or(now));
        }
        if let Some(t) = s.mtime {
            valid.insert(MdsAttr::MTIME);
            valid.set(MdsAttr::MTIME_SET, t.is_some());
            rec.sa_mtime.set(t.unwrap_or(now));
        }
        if let Some(f) = s.flags {
            valid.insert(MdsAttr::ATTR_FLAG);
            rec.sa_attr_flags.set(f);
        }
        if !valid.is_empty() {
            valid.insert(MdsAttr::CTIME | MdsAttr::CTIME_SET);
            rec.sa_ctime.set(now);
        } else if !layout.is_empty() {
            lock_bits |= ibits::LAYOUT;
        }
        rec.sa_valid.set(valid.bits());
        let mut cookies = Vec::new();
        self.cancels(fid, Mode::Pw, lock_bits, &mut cookies);
        let dlm = cancel_buf(&cookies)?;
        let mut m = rpc::request(
            MDS_REINT,
            MDS_VERSION,
            &[rec.as_bytes(), &[], &[], layout, &[], &dlm],
        )?;
        let r = self.modify(&mut m, cred, &[216, 0, 260, 0, 0])?;
        Ok(Attr::from_body(r.msg.get::<MdtBody>(1)?))
    }
}

/// What a reply says about an object that lost a name.
fn left(b: &MdtBody) -> Result<Option<Attr>> {
    let a = Attr::from_body(b);
    Ok((!a.fid.is_zero()).then_some(a))
}
