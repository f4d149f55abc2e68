// SPDX-License-Identifier: GPL-2.0

//! Attributes: asking for them and changing them.

use super::inode::{Inode, Known};
use super::striped::Striped;
use crate::attr::{now, Attr};
use crate::cred::Cred;
use crate::mdc::{Looked, OpenWish, SetAttr};
use crate::mount::Mount;
use kapi::prelude::*;
use std::sync::Arc as StdArc;
use wire::fid::Fid;
use wire::mdt::OpenFlags;

/// Attributes to be changed.
pub type Change = SetAttr;

impl Mount {
    /// The MDT's attributes of an inode, from the cache or from there.
    pub(super) fn known_attr(&self, fid: Fid, cred: &Cred) -> Result<Known> {
        let inode = self.inodes.get(fid);
        if let Some(attr) = inode.attr() {
            return Ok(Known {
                attr,
                attr_locked: true,
                name_locked: false,
            });
        }
        self.fetch(fid, cred).map(|(_, k)| k)
    }

    /// Asks the MDT for attributes and layout.
    pub(super) fn fetch(&self, fid: Fid, cred: &Cred) -> Result<(StdArc<Inode>, Known)> {
        match self.mdc.look_up((fid, None), b"", fid, cred)? {
            Looked::Found(f) if f.attr.fid == fid => self.remember(&f, None),
            Looked::Found(_) => Err(EPROTO),
            Looked::Absent => Err(ENOENT),
        }
    }

    /// The objects of a file; `None`: it has none.
    ///
    /// # Errors
    /// Those of the MDT; `EOPNOTSUPP`: a layout of a form that this client does not know.
    pub(super) fn objects(&self, inode: &Inode) -> Result<Option<StdArc<Striped>>> {
        if let Some(known) = inode.striped() {
            return Ok(known);
        }
        let (i, k) = self.fetch(inode.fid, &Cred::root())?;
        if !k.attr.is_file() {
            return Err(EINVAL);
        }
        i.answered_striped()
    }

    /// The objects of a file, which are made if there are none.
    pub(super) fn objects_for_writing(&self, inode: &StdArc<Inode>) -> Result<StdArc<Striped>> {
        if let Some(s) = self.objects(inode)? {
            return Ok(s);
        }
        // An open for writing makes them. The caller has one already, or may change the size.
        let wish = OpenWish {
            parent: inode.fid,
            name: b"",
            fid: inode.fid,
            flags: OpenFlags::FMODE_WRITE | OpenFlags::BY_FID,
            mode: 0,
            umask: 0,
            layout: &[],
            group: None,
        };
        let o = self.mdc.open(&wish, &Cred::root())?;
        if let Some(h) = o.handle {
            self.mdc.close(h, None, &inode.fid);
        }
        let (i, _) = self.remember(&o.found, None)?;
        i.answered_striped()?.ok_or(EIO)
    }

    /// All attributes of an inode; with size and times as they are now, wherever the newest data
    /// are.
    ///
    /// # Errors
    /// `ENOENT`, `ESTALE`, those of the OSTs.
    pub fn stat(&self, fid: Fid, cred: &Cred) -> Result<Known> {
        let known = self.known_attr(fid, cred)?;
        self.complete(known)
    }

    /// Adds what the OSTs know to what the MDT says.
    ///
    /// # Errors
    /// Those of the OSTs.
    pub fn complete(&self, mut known: Known) -> Result<Known> {
        if !known.attr.is_file() || known.attr.size_valid {
            return Ok(known);
        }
        let inode = self.inodes.get(known.attr.fid);
        let s = match self.objects(&inode) {
            Ok(Some(s)) => s,
            Ok(None) => return Ok(known),
            Err(e) if e == EOPNOTSUPP => {
                // The MDT's idea of the size has to do.
                known.attr_locked = false;
                return Ok(known);
            }
            Err(e) => return Err(e),
        };
        if inode.take_fresh() {
            // It will be written to: the locks for that tell the size as well.
            s.own()?;
        }
        s.glimpse()?.merge(&mut known.attr);
        known.attr_locked &= s.is_locked();
        Ok(known)
    }

    /// The same for many, all of whose objects are asked at the same time. Those whose objects
    /// cannot be asked are `None` then.
    pub(super) fn complete_many(&self, mut all: Vec<Option<Known>>) -> Vec<Option<Known>> {
        let striped: Vec<_> = all
            .iter()
            .map(|k| {
                let a = &k.as_ref()?.attr;
                let wanted = a.is_file() && !a.size_valid;
                let inode = wanted.then(|| self.inodes.get(a.fid))?;
                inode.striped().flatten().filter(|_| !inode.is_fresh())
            })
            .collect();
        let asked: Vec<_> = striped
            .iter()
            .map(|s| s.as_ref().map(|s| (s, s.begin_glimpse())))
            .collect();
        for (known, asked) in all.iter_mut().zip(asked) {
            let answer = asked.map(|(s, g)| s.end_glimpse(g).map(|e| (s.is_locked(), e)));
            let Some(k) = known else { continue };
            *known = match answer {
                Some(Ok((locked, e))) => {
                    e.merge(&mut k.attr);
                    k.attr_locked &= locked;
                    Some(*k)
                }
                Some(Err(_)) => None,
                None => self.complete(*k).ok(),
            };
        }
        all
    }

    /// The attributes that were heard of last; they may be old.
    pub fn last_attr(&self, fid: Fid) -> Option<Attr> {
        self.inodes.known(&fid)?.last_attr()
    }

    /// Changes attributes. All of them as they are then.
    ///
    /// # Errors
    /// `EPERM`, `EACCES`, `EROFS`, `EINVAL`, those of the OSTs.
    pub fn setattr(&self, fid: Fid, c: &Change, cred: &Cred) -> Result<Attr> {
        let inode = self.inodes.get(fid);
        let group = inode.group();
        // Read before: afterwards the lock on the layout may be gone for nothing.
        let times = c.mtime.is_some() || c.atime.is_some();
        let before = match c.size.is_some() || (times && inode.last_striped().is_none()) {
            true => {
                let k = self.known_attr(fid, cred)?;
                match (k.attr.is_file(), c.size) {
                    (true, Some(n)) if n > 0 => Some(self.objects_for_writing(&inode)?),
                    (true, _) => self.objects(&inode)?,
                    (false, Some(_)) if k.attr.is_dir() => return Err(EISDIR),
                    (false, Some(_)) => return Err(EINVAL),
                    (false, None) => None,
                }
            }
            false => inode.last_striped(),
        };
        let mut attr = self
            .inodes
            .own_change(|| self.mdc.setattr(fid, c, &[], group, cred))?;
        if attr.fid != fid {
            // The answer need not have them.
            attr = self.known_attr(fid, cred)?.attr;
        }
        inode.note_attr(&attr);
        if !attr.is_file() {
            return Ok(attr);
        }
        let Some(s) = before else {
            // It has no objects, or they are not known yet.
            let k = Known {
                attr,
                attr_locked: false,
                name_locked: false,
            };
            return self.complete(k).map(|k| k.attr);
        };
        if c.uid.is_some() || c.gid.is_some() {
            s.set_owner(attr.uid, attr.gid);
        }
        if let Some(n) = c.size {
            s.punch(n)?;
        }
        let set = |t: Option<Option<i64>>| t.map(|t| t.unwrap_or_else(now));
        if c.mtime.is_some() || c.atime.is_some() {
            let (a, m) = (set(c.atime), set(c.mtime));
            match s.set_times(a, m, now()) {
                // It had other objects before.
                Err(e) if e == ENOENT => {
                    if let Some(s) = self.objects(&inode)? {
                        s.set_times(a, m, now())?;
                    }
                }
                r => r?,
            }
        }
        s.glimpse()?.merge(&mut attr);
        if let Some(Some(t)) = c.mtime {
            attr.mtime = t;
        }
        Ok(attr)
    }
}
