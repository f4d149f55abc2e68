// SPDX-License-Identifier: GPL-2.0

//! Every name, from the backend's root down.

use super::{Check, Rec};
use crate::offline::dir::{self, Entry};
use crate::offline::ext4::{Inode, ROOT_INO};
use crate::offline::{xattr, Error, Result};
use std::collections::{HashMap, VecDeque};
use wire::disk::linkea::{Link, LinkEa, XATTR_NAME_LINK};
use wire::disk::lma::{LmaCompat, LmaIncompat};
use wire::disk::names::{self, root as top, LAST_ID};
use wire::fid::{seq, Fid};

/// What a directory is for.
#[derive(Clone, PartialEq, Eq)]
enum Role {
    Backend,
    /// `O`
    Objects,
    /// `O/<seq>`
    Sequence(String),
    /// `O/<seq>/d<n>`
    Subdir(String, String),
    Namespace,
    Pending,
    RemoteParents,
    Lost,
    /// The server's own.
    Local,
}

impl Role {
    fn of_child(&self, name: &[u8]) -> Role {
        let text = || String::from_utf8_lossy(name).into_owned();
        match self {
            Role::Backend => match std::str::from_utf8(name) {
                Ok(top::OBJECTS) => Role::Objects,
                Ok(top::ROOT) => Role::Namespace,
                Ok(top::PENDING) => Role::Pending,
                Ok(top::REMOTE_PARENT_DIR) => Role::RemoteParents,
                Ok(top::LOST_FOUND) => Role::Lost,
                _ => Role::Local,
            },
            Role::Objects => Role::Sequence(text()),
            Role::Sequence(s) => Role::Subdir(s.clone(), text()),
            Role::Namespace | Role::Pending | Role::RemoteParents => Role::Namespace,
            Role::Subdir(..) | Role::Lost | Role::Local => Role::Local,
        }
    }
}

/// What `O/` says of the numbers of a sequence.
#[derive(Default)]
struct Numbers {
    dir: u32,
    last_id: Option<u64>,
    highest: u64,
}

impl Check<'_, '_> {
    /// Looks at all names.
    pub(super) fn walk(&mut self, root: &Inode) -> Result<()> {
        let mut numbers = HashMap::new();
        let mut queue = VecDeque::from([(root.ino, ROOT_INO, Role::Backend)]);
        while let Some((ino, parent, role)) = queue.pop_front() {
            let inode = self.fs.inode(ino)?;
            let mut children = Vec::new();
            // Entries are looked at block by block; a block's are copied, for the check goes on reading.
            let r = self.fs.file_blocks(&inode);
            let Some(blocks) = self.caught(ino, "directory", r)? else {
                continue;
            };
            let mut dots = [false; 2];
            for n in 0..blocks {
                let r = match self.fs.map(&inode, n) {
                    Ok(Some(p)) => self.fs.block(p),
                    Ok(None) => Err(Error::Bad("is missing".into())),
                    Err(e) => Err(e),
                };
                let Some(block) = self.caught(ino, &format!("directory block {n}"), r)? else {
                    break;
                };
                let r = dir::entries(&block);
                let Some(all) = self.caught(ino, &format!("directory block {n}"), r)? else {
                    continue;
                };
                for e in all {
                    match e.name {
                        b"." => {
                            dots[0] = true;
                            if e.ino != ino {
                                self.problem(ino, format!("'.' is inode {}", e.ino));
                            }
                        }
                        b".." => {
                            dots[1] = true;
                            if e.ino != parent {
                                self.problem(
                                    ino,
                                    format!("'..' is inode {}, should be {parent}", e.ino),
                                );
                            }
                        }
                        _ => {
                            self.entry(ino, &role, &e, &mut numbers)?;
                            if self.descends(ino, &e) {
                                children.push((e.ino, role.of_child(e.name)));
                            }
                        }
                    }
                }
            }
            if dots != [true; 2] {
                self.problem(ino, "has no '.' or no '..'");
            }
            queue.extend(children.into_iter().map(|(c, r)| (c, ino, r)));
        }
        self.last_ids(&numbers);
        Ok(())
    }

    /// Whether the entry is a directory that is seen for the first time.
    fn descends(&mut self, dir: u32, e: &Entry<'_>) -> bool {
        let Some(child) = self.recs.get(&e.ino).filter(|r| r.kind == 2) else {
            return false;
        };
        let _ = child;
        if e.ino == ROOT_INO || self.parents.contains_key(&e.ino) {
            return false;
        }
        self.parents.insert(e.ino, dir);
        true
    }

    fn entry(
        &mut self,
        dir: u32,
        role: &Role,
        e: &Entry<'_>,
        numbers: &mut HashMap<String, Numbers>,
    ) -> Result<()> {
        self.sum.names += 1;
        let name = e.name.escape_ascii();
        let Some(child) = self.recs.get_mut(&e.ino) else {
            let own = e.ino < 11 || e.ino == self.fs.project_quota_ino();
            let what = if own { "ext4's own" } else { "not in use" };
            self.problem(dir, format!("'{name}' is inode {}, which is {what}", e.ino));
            return Ok(());
        };
        if matches!(role, Role::Pending | Role::RemoteParents) {
            child.special_names += 1;
            // An orphan's only link is this name; a remote parent's is on the other MDT.
            if *role == Role::Pending {
                child.names += 1;
            }
        } else {
            child.names += 1;
        }
        let (kind, lma, broken) = (child.kind, child.lma, child.broken);
        if kind == 2 {
            if *role == Role::Pending {
                child.names -= 1;
            }
            if let Some(d) = self.recs.get_mut(&dir) {
                d.subdirs += 1;
            }
        }
        if e.kind != kind {
            self.problem(
                dir,
                format!("'{name}' has type {}, its inode {kind}", e.kind),
            );
        }
        let Some(lma) = lma else {
            if !broken && !self.may_lack_lma(dir, role, e.name) {
                self.problem(e.ino, format!("'{name}' in inode {dir} has no trusted.lma"));
            }
            return Ok(());
        };
        if let Some(fid) = e
            .fid
            .filter(|f| *f != lma.fid && *role != Role::RemoteParents)
        {
            self.problem(
                dir,
                format!("'{name}' has the FID {fid}, its inode {}", lma.fid),
            );
        }
        match role {
            Role::Namespace => self.namespace(dir, e, lma.fid)?,
            Role::Pending | Role::RemoteParents => {
                let text = String::from_utf8_lossy(e.name);
                if text.parse::<Fid>().is_ok_and(|f| f != lma.fid) {
                    self.problem(e.ino, format!("its name in inode {dir} is '{name}'"));
                }
            }
            Role::Sequence(s) => {
                let n = numbers.entry(s.clone()).or_default();
                n.dir = dir;
                if e.name == LAST_ID.as_bytes() {
                    n.last_id = self.last_id(e.ino)?;
                    let right = lma.fid.is_last_id()
                        && names::seq_dir(lma.fid.seq).is_ok_and(|d| d.as_str() == s);
                    if !right {
                        self.problem(e.ino, format!("is the LAST_ID of the sequence {s}"));
                    }
                }
            }
            Role::Subdir(s, d) => {
                self.sum.objects += 1;
                let fid = lma.fid;
                let right = names::seq_dir(fid.seq).is_ok_and(|n| n.as_str() == s)
                    && names::object_subdir(&fid, self.subdirs).is_ok_and(|n| n.as_str() == d)
                    && names::object_name(&fid).is_ok_and(|n| n.as_bytes() == e.name);
                if !right {
                    let want = names::object_subdir(&fid, self.subdirs).ok();
                    let want = want
                        .zip(names::object_name(&fid).ok())
                        .zip(names::seq_dir(fid.seq).ok());
                    let want = want.map_or_else(
                        || "elsewhere".into(),
                        |((d, n), s)| format!("O/{}/{}/{}", s.as_str(), d.as_str(), n.as_str()),
                    );
                    self.problem(
                        e.ino,
                        format!("is at O/{s}/{d}/{name}, should be at {want}"),
                    );
                }
                if fid.seq != seq::LLOG && !lma.compat.contains(LmaCompat::FID_ON_OST) {
                    self.problem(e.ino, "its LMA does not say that it is an object of an OST");
                }
                let n = numbers.entry(s.clone()).or_default();
                n.highest = n.highest.max(names::object_id(&fid));
            }
            Role::Backend | Role::Objects | Role::Lost | Role::Local => {}
        }
        Ok(())
    }

    /// What mkfs and tunefs write through plain ext4 gets its LMA at the next mount (spec 15.4). What
    /// e2fsck found stays as it was.
    fn may_lack_lma(&self, dir: u32, role: &Role, name: &[u8]) -> bool {
        match role {
            Role::Backend => name == top::CONFIGS.as_bytes() || name == top::LOST_FOUND.as_bytes(),
            Role::Lost => true,
            Role::Local => {
                name == b"mountdata"
                    && self.parents.get(&dir) == Some(&ROOT_INO)
                    && self.name_in(ROOT_INO, dir).as_deref() == Some(top::CONFIGS)
            }
            _ => false,
        }
    }

    /// A name of the namespace: the child has to know it.
    fn namespace(&mut self, dir: u32, e: &Entry<'_>, fid: Fid) -> Result<()> {
        let Some(parent) = self.recs.get(&dir).and_then(Rec::fid) else {
            return Ok(());
        };
        let skip = self
            .recs
            .get(&e.ino)
            .is_none_or(|r| r.broken || r.is_agent());
        if skip || fid == Fid::OBF {
            return Ok(());
        }
        let inode = self.fs.inode(e.ino)?;
        let r = xattr::trusted(self.fs, &inode);
        let Some(x) = self.caught(e.ino, "xattrs", r)? else {
            return Ok(());
        };
        let link = Link {
            parent,
            name: e.name,
        };
        let name = e.name.escape_ascii();
        match x.get(XATTR_NAME_LINK).map(LinkEa::parse) {
            Some(Ok(ea)) if ea.contains(&link) => {
                if let Some(r) = self.recs.get_mut(&e.ino) {
                    r.link_hits = r.link_hits.saturating_add(1);
                }
            }
            Some(Ok(ea)) if ea.overflow_time() != 0 => {}
            Some(Ok(_)) => {
                self.problem(e.ino, format!("linkEA lacks the name '{name}' in {parent}"))
            }
            Some(Err(_)) => {}
            None => self.problem(
                e.ino,
                format!("has no linkEA, should have '{name}' in {parent}"),
            ),
        }
        Ok(())
    }

    fn last_id(&mut self, ino: u32) -> Result<Option<u64>> {
        let r = self.fs.inode(ino).and_then(|i| {
            let bytes = self.fs.read(&i, 0, 8)?;
            Ok((i.size(), bytes))
        });
        let Some((size, bytes)) = self.caught(ino, "LAST_ID", r)? else {
            return Ok(None);
        };
        match (size, bytes.first_chunk()) {
            (0, _) => Ok(Some(0)),
            (8, Some(b)) => Ok(Some(u64::from_le_bytes(*b))),
            _ => {
                self.problem(ino, format!("LAST_ID has {size} bytes, should have 8"));
                Ok(None)
            }
        }
    }

    fn last_ids(&mut self, numbers: &HashMap<String, Numbers>) {
        let mut all: Vec<_> = numbers.iter().collect();
        all.sort_by_key(|(s, _)| s.as_str());
        for (_, n) in all {
            match n.last_id {
                Some(last) if last < n.highest => {
                    let high = n.highest;
                    self.problem(
                        n.dir,
                        format!("LAST_ID is {last}, should be at least {high}"),
                    );
                }
                None if n.highest > 0 => self.problem(n.dir, "has objects, but no LAST_ID"),
                _ => {}
            }
        }
        let agents = self.recs.iter().filter(|(_, r)| {
            let on = |l: super::Lma| l.incompat.contains(LmaIncompat::AGENT);
            r.lma
                .is_some_and(|l| on(l) && l.compat.contains(LmaCompat::FID_ON_OST))
        });
        let agents: Vec<u32> = agents.map(|(i, _)| *i).collect();
        for ino in agents {
            self.problem(
                ino,
                "stands in for another MDT's object and is an object of an OST",
            );
        }
    }
}
