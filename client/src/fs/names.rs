// SPDX-License-Identifier: GPL-2.0

//! Names: looking them up, making and removing them.

use super::inode::{Inode, Known};
use super::striped::Striped;
use crate::attr::{Attr, S_IFMT, S_IFREG};
use crate::cred::Cred;
use crate::mdc::{Found, LookUp, Looked, NewNode, OpenWish};
use crate::mount::Mount;
use kapi::prelude::*;
use std::sync::Arc as StdArc;
use wire::fid::Fid;
use wire::mdt::OpenFlags;

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Make<'a> {
    /// Type and mode.
    pub mode: u32,
    /// Device number, major << 8 | minor.
    pub rdev: u32,
    /// The caller's umask.
    pub umask: u32,
    /// Target of a symlink.
    pub target: &'a [u8],
}

impl Mount {
    /// Enters what the MDT has found.
    pub(super) fn remember(
        &self,
        found: &Found,
        name: Option<(&StdArc<Inode>, &[u8])>,
    ) -> Result<(StdArc<Inode>, Known)> {
        self.inodes.remember(found, name, |before| {
            let osts = self.osts.read().unwrap_or_else(|e| e.into_inner());
            let a = &found.attr;
            Striped::new(&osts, a.fid, &found.layout, (a.uid, a.gid), before)
        })
    }

    /// Looks a name up. `None`: there is none.
    ///
    /// # Errors
    /// `EACCES`, `ENOTDIR`, `ESTALE`, `ENAMETOOLONG`.
    pub fn lookup(&self, parent: Fid, name: &[u8], cred: &Cred) -> Result<Option<Known>> {
        let dir = self.inodes.get(parent);
        if dir.known_absent(name) {
            return Ok(None);
        }
        if let Some(child) = dir.child(name) {
            // Its LOOKUP lock is held. The rest may have to be asked for.
            let known = self.known_attr(child, cred);
            match known {
                Ok(k) if dir.child(name) == Some(child) => {
                    return Ok(Some(Known {
                        name_locked: true,
                        ..k
                    }));
                }
                // The name has changed meanwhile.
                Ok(_) => {}
                Err(e) if e == ENOENT || e == ESTALE => {}
                Err(e) => return Err(e),
            }
        }
        let changes = dir.changes();
        match self
            .mdc
            .look_up((parent, dir.group()), name, Fid::ZERO, cred)?
        {
            Looked::Found(f) => {
                let (_, known) = self.remember(&f, Some((&dir, name)))?;
                Ok(Some(known))
            }
            Looked::Absent => {
                dir.note_absent(name, changes);
                Ok(None)
            }
        }
    }

    /// Looks many names up, with all attributes: what is not known is asked for at the same time.
    /// `None`: there is none, or it is not to be had now.
    pub fn lookup_many(&self, parent: Fid, names: &[&[u8]], cred: &Cred) -> Vec<Option<Known>> {
        let dir = self.inodes.get(parent);
        let at = (parent, dir.group());
        let mut known: Vec<_> = names.iter().map(|n| self.cached(&dir, n)).collect();
        let (mut asked, mut asked_for) = (Vec::new(), Vec::new());
        for (i, name) in names.iter().enumerate() {
            if known.get(i).is_some_and(Option::is_some) {
                continue;
            }
            if let Ok(l) = self.mdc.begin_look_up(at, name, Fid::ZERO, cred) {
                asked.push(l);
                asked_for.push(i);
            }
        }
        // As they are answered: each may bring a lock that somebody wants back who has what another
        // one waits for.
        while let Some(first) = LookUp::first_answered(&asked) {
            let (l, i) = (asked.remove(first), asked_for.remove(first));
            let (Some(k), Some(name)) = (known.get_mut(i), names.get(i)) else {
                continue;
            };
            if let Ok(Looked::Found(f)) = self.mdc.end_look_up(l) {
                let found = self.remember(&f, Some((&dir, *name)));
                *k = found.ok().map(|(_, k)| k);
            }
        }
        self.complete_many(known)
    }

    /// What a name stands for, if locks protect that and the attributes.
    fn cached(&self, dir: &Inode, name: &[u8]) -> Option<Known> {
        let child = dir.child(name)?;
        let attr = self.inodes.known(&child)?.attr()?;
        // Looked at once more: it may have changed in between.
        (dir.child(name) == Some(child)).then_some(Known {
            attr,
            attr_locked: true,
            name_locked: true,
        })
    }

    /// Makes a directory, symlink or special file; or a regular file without layout.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `ENOTDIR`, `EACCES`, `ENOSPC`, `EROFS`.
    pub fn make(&self, parent: Fid, name: &[u8], m: &Make<'_>, cred: &Cred) -> Result<Known> {
        let dir = self.inodes.get(parent);
        let group = dir.group();
        if m.mode & S_IFMT == S_IFREG || m.mode & S_IFMT == 0 {
            let wish = OpenWish {
                parent,
                name,
                fid: self.mdc.new_fid()?,
                flags: OpenFlags::FMODE_WRITE
                    | OpenFlags::CREAT
                    | OpenFlags::EXCL
                    | OpenFlags::DELAY_CREATE,
                mode: (m.mode & !S_IFMT) | S_IFREG,
                umask: m.umask,
                layout: &[],
                group,
            };
            let o = self.inodes.own_change(|| self.mdc.open(&wish, cred))?;
            if let Some(h) = o.handle {
                self.mdc.close(h, None, &o.found.attr.fid);
            }
            let (_, known) = self.remember(&o.found, Some((&dir, name)))?;
            return Ok(known);
        }
        let node = NewNode {
            parent,
            name,
            mode: m.mode,
            rdev: m.rdev,
            umask: m.umask,
            target: m.target,
            group,
        };
        let attr = self.inodes.own_change(|| self.mdc.create(&node, cred))?;
        Ok(Known {
            attr,
            attr_locked: false,
            name_locked: false,
        })
    }

    /// Gives an inode another name.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM`, `EMLINK`.
    pub fn link(&self, fid: Fid, parent: Fid, name: &[u8], cred: &Cred) -> Result<Known> {
        let (i, dir) = (self.inodes.get(fid), self.inodes.get(parent));
        let groups = (i.group(), dir.group());
        self.inodes
            .own_change(|| self.mdc.link(fid, parent, name, groups, cred))?;
        self.known_attr(fid, cred)
    }

    /// Removes a name; `is_dir`: of a directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTEMPTY`, `EISDIR`, `ENOTDIR`, `EACCES`, `EPERM`.
    pub fn remove(&self, parent: Fid, name: &[u8], is_dir: bool, cred: &Cred) -> Result {
        let dir = self.inodes.get(parent);
        let child = dir.child(name);
        let (fid, group) = (child.unwrap_or(Fid::ZERO), dir.group());
        let left = self
            .inodes
            .own_change(|| self.mdc.unlink(parent, name, fid, is_dir, group, cred))?;
        dir.forget_child(name);
        if let Some(a) = left.or_else(|| child.and_then(|f| self.gone_attr(f))) {
            self.note_left(&a);
        }
        Ok(())
    }

    /// What was known of an inode that lost a name, if the MDT does not say what is left.
    fn gone_attr(&self, fid: Fid) -> Option<Attr> {
        let a = self.inodes.known(&fid)?.last_attr()?;
        (a.nlink <= 1).then_some(Attr { nlink: 0, ..a })
    }

    /// An inode without names: what is cached of its data need not be written, unless it is open.
    fn note_left(&self, a: &Attr) {
        if let Some(i) = self.inodes.known(&a.fid) {
            i.note_attr(a);
        }
    }

    /// Renames.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn rename(&self, from: (Fid, &[u8]), to: (Fid, &[u8]), cred: &Cred) -> Result {
        let (a, b) = (self.inodes.get(from.0), self.inodes.get(to.0));
        let source = match a.child(from.1) {
            Some(f) => self.inodes.known(&f).and_then(|i| i.last_attr()),
            None => None,
        };
        // The MDT wants to know what kind of thing is moved.
        let source = match source {
            Some(s) => s,
            None => {
                let k = self.lookup(from.0, from.1, cred)?;
                k.ok_or(ENOENT)?.attr
            }
        };
        let victim = b.child(to.1);
        let groups = (a.group(), b.group());
        let left = self.inodes.own_change(|| {
            self.mdc.rename(
                (from.0, from.1, Some(source)),
                (to.0, to.1, victim),
                groups,
                cred,
            )
        })?;
        a.forget_child(from.1);
        b.forget_child(to.1);
        if let Some(l) = left {
            self.note_left(&l);
        }
        Ok(())
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// `EINVAL`: it is none.
    pub fn readlink(&self, fid: Fid, cred: &Cred) -> Result<Vec<u8>> {
        use wire::obdo::ObdMd;
        let size = self.known_attr(fid, cred)?.attr.size;
        let room = u32::try_from(size).unwrap_or(u32::MAX).clamp(1, 65535) + 1;
        let got = self.mdc.getattr(fid, ObdMd::LINKNAME, room, cred)?;
        if !got.valid.contains(ObdMd::LINKNAME) {
            return Err(EINVAL);
        }
        let mut t = got.ea;
        while t.last() == Some(&0) {
            t.pop();
        }
        Ok(t)
    }
}
