// SPDX-License-Identifier: GPL-2.0

//! Whether a target keeps the invariants of `spec/ondisk.md`. Nothing is written.
//!
//! Memory is bounded by the number of inodes: one small record each, and no names. Passes: all inodes with
//! their xattrs; all names from the backend's root down; the object index; the server's own files.

use super::ext4::{Fs, Inode, ROOT_INO};
use super::{bad, dir, xattr, Disk, Error, Result};
use std::collections::HashMap;
use std::fmt::Display;
use wire::disk::linkea::{LinkEa, XATTR_NAME_LINK};
use wire::disk::lma::{LmaCompat, LmaIncompat};
use wire::disk::names::root as top;
use wire::fid::{seq, Fid};

mod iam;
mod inodes;
mod llog;
mod oi;
mod state;
mod tree;

/// What is remembered of an inode.
struct Rec {
    generation: u32,
    kind: u8,
    links: u16,
    /// From its LMA, if it has one.
    lma: Option<Lma>,
    /// Names in directories, those in `REMOTE_PARENT_DIR` not counted.
    names: u32,
    /// Names in `REMOTE_PARENT_DIR` or `PENDING`.
    special_names: u32,
    /// Directories in this directory.
    subdirs: u32,
    /// Records of its linkEA, and how many of them have a name.
    link_records: u16,
    link_hits: u16,
    /// Whether the object index has it.
    in_oi: bool,
    /// Whether a damage was told already that makes other checks pointless.
    broken: bool,
}

/// An inode's FID and flags.
#[derive(Clone, Copy)]
struct Lma {
    fid: Fid,
    compat: LmaCompat,
    incompat: LmaIncompat,
}

impl Rec {
    fn fid(&self) -> Option<Fid> {
        self.lma.map(|l| l.fid)
    }

    fn is_agent(&self) -> bool {
        self.lma
            .is_some_and(|l| l.incompat.contains(LmaIncompat::AGENT))
    }

    fn has_remote_parent(&self) -> bool {
        self.lma
            .is_some_and(|l| l.incompat.contains(LmaIncompat::REMOTE_PARENT))
    }
}

/// What was looked at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Inodes.
    pub inodes: u64,
    /// Names.
    pub names: u64,
    /// Entries of the object index.
    pub oi: u64,
    /// Objects in `O/`.
    pub objects: u64,
    /// What is wrong.
    pub problems: u64,
}

/// A check under way.
struct Check<'a, 'd> {
    fs: &'a Fs<'d>,
    recs: HashMap<u32, Rec>,
    /// Directories and logs by FID.
    fids: HashMap<Fid, u32>,
    /// The parent of every directory that was reached.
    parents: HashMap<u32, u32>,
    /// Subdirectories of a sequence in `O/`.
    subdirs: u16,
    sum: Summary,
    out: &'a mut dyn FnMut(&str),
}

/// Checks the target on `disk`; a line for each problem goes to `out`.
///
/// # Errors
/// The device failed, or there is nothing that could be checked.
pub fn check(disk: &dyn Disk, out: &mut dyn FnMut(&str)) -> Result<Summary> {
    let fs = Fs::open(disk)?;
    if fs.needs_recovery() {
        return bad("the journal has to be replayed first: run 'e2fsck -E journal_only'");
    }
    let mut c = Check {
        fs: &fs,
        recs: HashMap::new(),
        fids: HashMap::new(),
        parents: HashMap::new(),
        subdirs: wire::disk::last_rcvd::OBJ_SUBDIR_COUNT,
        sum: Summary::default(),
        out,
    };
    let root = fs.inode(ROOT_INO)?;
    if !root.is_dir() {
        return bad("the root inode is not a directory");
    }
    let target = c.mountdata(&root)?;
    if c.named(&root, top::OI_SCRUB)?.is_none() {
        // Formatted, but never mounted: there are no FIDs yet (spec 18.1).
        if c.named(&root, top::LAST_RCVD)?.is_some() {
            c.problem(
                ROOT_INO,
                "OI_scrub is missing: the next mount makes the object index anew, and nothing else was \
                 looked at",
            );
        }
        return Ok(c.sum);
    }
    c.last_rcvd(&root, &target)?;
    c.scan()?;
    c.walk(&root)?;
    c.object_index(&root)?;
    c.server_files(&root)?;
    c.counts()?;
    Ok(c.sum)
}

impl Check<'_, '_> {
    /// Tells a problem of an inode.
    fn problem(&mut self, ino: u32, what: impl Display) {
        let fid = self.recs.get(&ino).and_then(Rec::fid);
        let fid = fid.map_or_else(|| "-".to_string(), |f| f.to_string());
        let path = self.path(ino);
        self.line(&format!("{fid} inode {ino} {path}: {what}"));
    }

    fn line(&mut self, text: &str) {
        self.sum.problems += 1;
        (self.out)(text);
    }

    /// Damage becomes a problem of the inode; a failed device ends the check.
    fn caught<T>(&mut self, ino: u32, what: &str, r: Result<T>) -> Result<Option<T>> {
        match r {
            Ok(v) => Ok(Some(v)),
            Err(Error::Bad(why)) => {
                self.problem(ino, format!("{what}: {why}"));
                if let Some(r) = self.recs.get_mut(&ino) {
                    r.broken = true;
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// A file of a directory of the server's own, if it is there.
    fn named(&mut self, dir: &Inode, name: &str) -> Result<Option<Inode>> {
        let r = dir::lookup(self.fs, dir, name.as_bytes());
        let Some(Some(ino)) = self.caught(dir.ino, "directory", r)? else {
            return Ok(None);
        };
        let r = self.fs.inode(ino);
        self.caught(dir.ino, name, r)
    }

    /// Where an inode is, as well as that can be told.
    fn path(&self, ino: u32) -> String {
        let mut parts = Vec::new();
        let mut at = ino;
        if !self.parents.contains_key(&ino) && ino != ROOT_INO {
            let Some((parent, name)) = self.by_link(ino) else {
                return "?".into();
            };
            parts.push(name);
            at = parent;
        }
        while at != ROOT_INO && parts.len() < 256 {
            let Some(parent) = self.parents.get(&at).copied() else {
                break;
            };
            parts.push(self.name_in(parent, at).unwrap_or_else(|| "?".into()));
            at = parent;
        }
        parts.reverse();
        format!("/{}", parts.join("/"))
    }

    fn by_link(&self, ino: u32) -> Option<(u32, String)> {
        let inode = self.fs.inode(ino).ok()?;
        let t = xattr::trusted(self.fs, &inode).ok()?;
        let link = LinkEa::parse(t.get(XATTR_NAME_LINK)?)
            .ok()?
            .links()
            .next()?;
        let parent = self.fids.get(&link.parent)?;
        Some((*parent, link.name.escape_ascii().to_string()))
    }

    fn name_in(&self, parent: u32, ino: u32) -> Option<String> {
        let d = self.fs.inode(parent).ok()?;
        let mut found = None;
        dir::blocks(self.fs, &d, |_, _, b| {
            let of = |e: &&dir::Entry<'_>| e.ino == ino && e.name != b"." && e.name != b"..";
            if found.is_none() {
                let all = dir::entries(b)?;
                found = all
                    .iter()
                    .find(of)
                    .map(|e| e.name.escape_ascii().to_string());
            }
            Ok(())
        })
        .ok()?;
        found
    }

    /// Links against names, linkEA against names, the index against inodes: when all was seen.
    fn counts(&mut self) -> Result<()> {
        let mut inos: Vec<u32> = self.recs.keys().copied().collect();
        inos.sort_unstable();
        for ino in inos {
            let Some(r) = self.recs.get(&ino) else {
                continue;
            };
            let Some(lma) = r.lma else {
                continue;
            };
            let (links, names, special) = (u32::from(r.links), r.names, r.special_names);
            let mut found: Vec<String> = Vec::new();
            if r.kind == 2 {
                let want = r.subdirs + 2;
                if links != want && links != 1 {
                    found.push(format!("has {links} links, should have {want}"));
                }
                if names + special != 1 && ino != ROOT_INO {
                    found.push(format!("a directory with {} names", names + special));
                }
            } else if oi::by_number_only(&lma) {
                // The failure domain has an entry of the index and no name.
            } else if names + special == 0 {
                found.push("has no name".into());
            } else if r.has_remote_parent() {
                // Names on other MDTs count as links, too.
                if names > links {
                    found.push(format!("has {links} links, but {names} names here"));
                }
            } else if links != names {
                found.push(format!("has {links} links, should have {names}"));
            }
            if !r.has_remote_parent() && special == 0 && r.link_records != r.link_hits && !r.broken
            {
                found.push(format!(
                    "linkEA has {} links, {} of them with a name",
                    r.link_records, r.link_hits
                ));
            }
            if !r.in_oi && oi::must_have(&lma, ino) {
                found.push("is not in the object index".into());
            }
            for f in found {
                self.problem(ino, f);
            }
        }
        Ok(())
    }

    /// Whether this target finds an object of this FID below `O/`.
    fn in_hierarchy(lma: &Lma) -> bool {
        lma.compat.contains(LmaCompat::FID_ON_OST)
            || lma.fid.is_last_id()
            || lma.fid.seq == seq::LLOG
    }
}
