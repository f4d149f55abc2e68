// SPDX-License-Identifier: GPL-2.0

//! What is known of inodes, and the locks that it is known under (spec `ldlm.md` 6.3).
//!
//! What the MDT says about an inode is kept as long as a lock on it lasts: names and the binding
//! of a name to the inode under LOOKUP, size, times and the names in a directory under UPDATE,
//! mode, owner and ACL under PERM, the layout under LAYOUT, xattrs under XATTR. A lock is entered
//! while it is in use, so that it cannot go before that; when it goes, so does what only it
//! protects.

use super::striped::Striped;
use crate::attr::Attr;
use crate::mdc::{DirEntry, Found};
use crate::sync::guard;
use kapi::error::{Error, Result};
use ldlm::client::{CacheOps, ClientState, ClientView};
use ldlm::core::{ibits, Mode, Policy};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, RwLock, Weak};
use wire::fid::Fid;
use wire::ldlm::LdlmResId;

/// Inodes that are kept without need.
const INODES_MAX: usize = 100_000;
/// Directory entries that are kept in all.
const ENTRIES_MAX: usize = 1 << 20;
/// Names of a directory that are known to be absent.
const ABSENT_MAX: usize = 4096;

/// Who wants to hear that something kept is to be forgotten. Called before the lock is given
/// back, without locks held.
pub trait Watcher: Send + Sync {
    /// Attributes, unless by what this client asked for itself: the answer says what they are then.
    fn attr_gone(&self, fid: Fid);
    /// What the names of `fid`, each in its directory, stand for. `own`: by what this client asked
    /// for itself.
    fn names_gone(&self, fid: Fid, names: &[(Fid, Vec<u8>)], own: bool);
    /// Data, and the size.
    fn data_gone(&self, fid: Fid);
}

/// A run of a directory's entries: from the hash that it is stored under to the hash where the
/// next begins.
pub struct Run {
    /// The entries.
    pub entries: Vec<DirEntry>,
    /// Where to go on; `None`: nothing follows.
    pub next: Option<u64>,
}

#[derive(Default)]
pub(super) struct State {
    /// Locks: handle and bits.
    locks: Vec<(u64, u64)>,
    attr: Option<Attr>,
    /// The attributes that were heard of last, under whatever lock.
    recent: Option<Attr>,
    acl: Option<Vec<u8>>,
    /// This client has made the file, has it open for writing, and has not looked at its data.
    fresh: bool,
    /// The objects of a file; what they are is so while `layout_known`.
    striped: Option<Arc<Striped>>,
    layout_known: bool,
    /// Why the objects cannot be used.
    bad_layout: Option<Error>,
    /// Names in this directory, each so while its object's LOOKUP lasts.
    children: HashMap<Vec<u8>, Fid>,
    /// Names that are not there, while UPDATE lasts.
    absent: HashSet<Vec<u8>>,
    /// Entries, while UPDATE lasts.
    runs: BTreeMap<u64, Arc<Run>>,
    entries: usize,
    /// Names of this inode.
    names: Vec<(Fid, Vec<u8>)>,
    xattrs: Option<HashMap<Vec<u8>, Vec<u8>>>,
    /// Counts the times that UPDATE was lost.
    changes: u64,
}

impl State {
    fn bits(&self) -> u64 {
        self.locks.iter().fold(0, |b, (_, l)| b | l)
    }

    fn has(&self, bits: u64) -> bool {
        self.bits() & bits == bits
    }
}

/// An inode.
pub struct Inode {
    /// Its FID.
    pub fid: Fid,
    pub(super) state: Mutex<State>,
    /// Appends go one by one.
    pub(super) append: Mutex<()>,
    /// One fetches xattrs at a time.
    pub(super) xattr_fetch: Mutex<()>,
}

/// What is kept about attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// They.
    pub attr: Attr,
    /// A lock protects them.
    pub attr_locked: bool,
    /// A lock protects the name that they were looked up by.
    pub name_locked: bool,
}

impl Inode {
    fn new(fid: Fid) -> Inode {
        Inode {
            fid,
            state: Mutex::default(),
            append: Mutex::new(()),
            xattr_fetch: Mutex::new(()),
        }
    }

    /// The attributes, if a lock protects them.
    pub(super) fn attr(&self) -> Option<Attr> {
        let s = guard(&self.state);
        s.attr.filter(|_| s.has(ibits::UPDATE | ibits::PERM))
    }

    /// The attributes as they were last, for what does not need to be so any more.
    pub(super) fn last_attr(&self) -> Option<Attr> {
        let s = guard(&self.state);
        match s.has(ibits::UPDATE | ibits::PERM) {
            true => s.attr,
            false => s.recent.or(s.attr),
        }
    }

    /// The access ACL, if a lock protects it; empty: none.
    pub(super) fn acl(&self) -> Option<Vec<u8>> {
        let s = guard(&self.state);
        s.acl.clone().filter(|_| s.has(ibits::PERM))
    }

    /// The objects, if a lock protects the layout. `Some(None)`: it has none.
    pub(super) fn striped(&self) -> Option<Option<Arc<Striped>>> {
        let s = guard(&self.state);
        s.layout_known.then(|| s.striped.clone())
    }

    /// The objects that were known last.
    pub(super) fn last_striped(&self) -> Option<Arc<Striped>> {
        guard(&self.state).striped.clone()
    }

    /// The objects, as they were in the last answer.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub(super) fn answered_striped(&self) -> Result<Option<Arc<Striped>>> {
        let s = guard(&self.state);
        match s.bad_layout {
            Some(e) => Err(e),
            None => Ok(s.striped.clone()),
        }
    }

    /// Whether the names in it are known to be what they are said to be.
    pub(super) fn dir_locked(&self) -> bool {
        guard(&self.state).has(ibits::UPDATE)
    }

    pub(super) fn changes(&self) -> u64 {
        guard(&self.state).changes
    }

    /// The group, for the MDT to know that the caller is in it.
    pub(super) fn group(&self) -> Option<u32> {
        self.last_attr().map(|a| a.gid)
    }

    /// The MDT has said what the attributes are now, in answer to a change.
    pub(super) fn note_attr(&self, attr: &Attr) {
        guard(&self.state).recent = Some(*attr);
    }

    /// The file was made by this client just now, for writing.
    pub(super) fn set_fresh(&self) {
        guard(&self.state).fresh = true;
    }

    pub(super) fn is_fresh(&self) -> bool {
        guard(&self.state).fresh
    }

    /// Whether it was, for the first to ask.
    pub(super) fn take_fresh(&self) -> bool {
        std::mem::take(&mut guard(&self.state).fresh)
    }

    pub(super) fn known_absent(&self, name: &[u8]) -> bool {
        let s = guard(&self.state);
        s.has(ibits::UPDATE) && s.absent.contains(name)
    }

    /// `name` was not there at a time when UPDATE had been lost `changes` times.
    pub(super) fn note_absent(&self, name: &[u8], changes: u64) {
        let mut s = guard(&self.state);
        if s.has(ibits::UPDATE) && s.changes == changes && s.absent.len() < ABSENT_MAX {
            s.absent.insert(name.to_vec());
        }
    }

    pub(super) fn child(&self, name: &[u8]) -> Option<Fid> {
        guard(&self.state).children.get(name).copied()
    }

    /// `name` no longer stands for what it did.
    pub(super) fn forget_child(&self, name: &[u8]) {
        guard(&self.state).children.remove(name);
    }

    /// The cached run that begins at `hash`.
    pub(super) fn run(&self, hash: u64) -> Option<Arc<Run>> {
        let s = guard(&self.state);
        s.runs.get(&hash).filter(|_| s.has(ibits::UPDATE)).cloned()
    }

    /// A cached xattr. `Some(None)`: there is none of that name.
    pub(super) fn xattr(&self, name: &[u8]) -> Option<Option<Vec<u8>>> {
        let s = guard(&self.state);
        let all = s.xattrs.as_ref().filter(|_| s.has(ibits::XATTR))?;
        Some(all.get(name).cloned())
    }

    /// The names of all xattrs.
    pub(super) fn xattr_names(&self) -> Option<Vec<Vec<u8>>> {
        let s = guard(&self.state);
        let all = s.xattrs.as_ref().filter(|_| s.has(ibits::XATTR))?;
        Some(all.keys().cloned().collect())
    }

    pub(super) fn drop_xattrs(&self) {
        guard(&self.state).xattrs = None;
    }

    fn is_idle(&self) -> bool {
        let s = guard(&self.state);
        s.locks.is_empty() && s.striped.as_ref().is_none_or(|d| !d.is_dirty())
    }
}

/// What a lock keeps others from changing: those who change the rest do so under CW or PW, which
/// go with CR.
fn protected(view: &ClientView) -> u64 {
    let Policy::Ibits(b) = view.policy else {
        return 0;
    };
    match view.mode {
        Mode::Pr | Mode::Pw | Mode::Ex => b.bits,
        Mode::Cr => b.bits & (ibits::LOOKUP | ibits::LAYOUT | ibits::OPEN),
        _ => 0,
    }
}

/// All inodes of a mount.
#[derive(Default)]
pub struct Inodes {
    all: Mutex<Table>,
    watcher: RwLock<Option<Arc<dyn Watcher>>>,
    /// Directory entries kept in all.
    entries: Mutex<usize>,
}

#[derive(Default)]
struct Table {
    map: HashMap<Fid, Arc<Inode>>,
    sweep_at: usize,
}

thread_local! {
    /// This thread asks for a change, and locks that it gives up are in the way of that: those
    /// whose attributes were under them.
    static OWN: RefCell<Option<Vec<Fid>>> = const { RefCell::new(None) };
}

impl Inodes {
    /// Runs `f`, during which locks go because of what the caller asks for. Who asked knows that
    /// the attributes change, and is not told unless it fails.
    ///
    /// # Errors
    /// Those of `f`.
    pub(super) fn own_change<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = OWN.replace(Some(Vec::new()));
        let r = f();
        let lost = OWN.replace(before).unwrap_or_default();
        if let (Some(w), Err(_)) = (self.watcher(), &r) {
            for fid in lost {
                w.attr_gone(fid);
            }
        }
        r
    }

    /// Tells `w` from now on.
    pub(crate) fn watch(&self, w: Option<Arc<dyn Watcher>>) {
        *self.watcher.write().unwrap_or_else(|e| e.into_inner()) = w;
    }

    pub(crate) fn watcher(&self) -> Option<Arc<dyn Watcher>> {
        let w = self.watcher.read().unwrap_or_else(|e| e.into_inner());
        w.clone()
    }

    /// The inode of that FID, if anything is known of it.
    pub(super) fn known(&self, fid: &Fid) -> Option<Arc<Inode>> {
        guard(&self.all).map.get(fid).cloned()
    }

    /// The inode of that FID.
    pub(super) fn get(&self, fid: Fid) -> Arc<Inode> {
        let mut gone = Vec::new();
        let mut t = guard(&self.all);
        if let Some(i) = t.map.get(&fid) {
            return i.clone();
        }
        if t.map.len() >= t.sweep_at.max(INODES_MAX) {
            t.map.retain(|_, i| {
                let keep = Arc::strong_count(i) > 1 || !i.is_idle();
                if !keep {
                    gone.push(i.clone());
                }
                keep
            });
            t.sweep_at = t.map.len() * 2;
        }
        let i = Arc::new(Inode::new(fid));
        t.map.insert(fid, i.clone());
        drop(t);
        // Their objects give up their locks: not under the table's lock.
        drop(gone);
        i
    }

    /// Enters what the MDT has found, while its lock is in use. `name`: by what name.
    pub(super) fn remember(
        &self,
        found: &Found,
        name: Option<(&Arc<Inode>, &[u8])>,
        striped: impl FnOnce(Option<Arc<Striped>>) -> Result<Option<Arc<Striped>>>,
    ) -> Result<(Arc<Inode>, Known)> {
        let inode = self.get(found.attr.fid);
        let before = inode.last_striped();
        // A layout that cannot be used does not keep one from seeing the file.
        let (data, bad) = match found.attr.is_file().then(|| striped(before)) {
            Some(Ok(d)) => (d, None),
            Some(Err(e)) => (None, Some(e)),
            None => (None, None),
        };
        let view = found.lock.as_ref().and_then(|l| l.view());
        let mut s = guard(&inode.state);
        let mut bits = 0;
        if let Some(v) = view.filter(|v| v.state == ClientState::Granted) {
            bits = protected(&v);
            s.locks.push((v.handle, bits));
        }
        s.recent = Some(found.attr);
        // An answer that came under a lock, or is all there is.
        if bits & ibits::UPDATE != 0 || !s.has(ibits::UPDATE) {
            s.attr = Some(found.attr);
            s.acl = found.acl.clone();
        }
        if found.attr.is_file() && (bits & ibits::LAYOUT != 0 || !s.layout_known) {
            s.striped = data;
            s.layout_known = bits & ibits::LAYOUT != 0 && bad.is_none();
            s.bad_layout = bad;
        }
        let known = Known {
            attr: s.attr.unwrap_or(found.attr),
            attr_locked: s.has(ibits::UPDATE | ibits::PERM),
            name_locked: s.has(ibits::LOOKUP),
        };
        let named = match name {
            Some((p, n)) if bits & ibits::LOOKUP != 0 => {
                if !s.names.iter().any(|(f, x)| *f == p.fid && x == n) {
                    s.names.push((p.fid, n.to_vec()));
                }
                Some((p, n))
            }
            _ => None,
        };
        drop(s);
        if let Some((p, n)) = named {
            let mut d = guard(&p.state);
            d.children.insert(n.to_vec(), found.attr.fid);
            d.absent.remove(n);
        }
        // The connection may have been lost in between.
        if let Some(v) = view {
            let lost = found
                .lock
                .as_ref()
                .and_then(|l| l.view())
                .is_none_or(|v| v.state == ClientState::Failed);
            if lost {
                self.lose(&inode, v.handle);
            }
        }
        Ok((inode, known))
    }

    /// Enters a lock on a directory or inode that came without attributes.
    pub(super) fn remember_lock(&self, inode: &Arc<Inode>, view: &ClientView) {
        if view.state == ClientState::Granted {
            let mut s = guard(&inode.state);
            s.locks.push((view.handle, protected(view)));
        }
    }

    /// Keeps a run of entries, if the directory's lock was held all the time.
    pub(super) fn remember_run(&self, inode: &Inode, hash: u64, run: &Arc<Run>, changes: u64) {
        let n = run.entries.len();
        {
            let mut all = guard(&self.entries);
            if *all + n > ENTRIES_MAX {
                return;
            }
            *all += n;
        }
        let mut s = guard(&inode.state);
        let keep = s.has(ibits::UPDATE) && s.changes == changes && !s.runs.contains_key(&hash);
        if keep {
            s.runs.insert(hash, run.clone());
            s.entries += n;
        }
        drop(s);
        if !keep {
            let mut all = guard(&self.entries);
            *all = all.saturating_sub(n);
        }
    }

    /// Keeps all xattrs, while the lock of that handle lasts.
    pub(super) fn remember_xattrs(
        &self,
        inode: &Arc<Inode>,
        view: &ClientView,
        all: HashMap<Vec<u8>, Vec<u8>>,
    ) {
        let mut s = guard(&inode.state);
        let bits = protected(view);
        if view.state == ClientState::Granted && bits & ibits::XATTR != 0 {
            s.locks.push((view.handle, bits));
            s.xattrs = Some(all);
        }
    }

    /// A lock is gone: what only it protected is forgotten.
    pub(super) fn lose(&self, inode: &Arc<Inode>, handle: u64) {
        let mut s = guard(&inode.state);
        let before = s.bits();
        s.locks.retain(|(h, _)| *h != handle);
        let lost = before & !s.bits();
        let mut names = Vec::new();
        let mut entries = 0;
        if lost & ibits::UPDATE != 0 {
            s.changes += 1;
            s.absent.clear();
            s.runs.clear();
            entries = std::mem::take(&mut s.entries);
        }
        if lost & ibits::LOOKUP != 0 {
            names = std::mem::take(&mut s.names);
        }
        if lost & ibits::LAYOUT != 0 {
            s.layout_known = false;
        }
        if lost & ibits::XATTR != 0 {
            s.xattrs = None;
        }
        if lost & ibits::PERM != 0 {
            s.acl = None;
        }
        drop(s);
        if entries > 0 {
            let mut all = guard(&self.entries);
            *all = all.saturating_sub(entries);
        }
        let watcher = self.watcher();
        let own = OWN.with_borrow(|o| o.is_some());
        for (parent, name) in &names {
            if let Some(p) = self.known(parent) {
                let mut d = guard(&p.state);
                if d.children.get(name) == Some(&inode.fid) {
                    d.children.remove(name);
                }
            }
        }
        if let (Some(w), false) = (&watcher, names.is_empty()) {
            w.names_gone(inode.fid, &names, own);
        }
        if lost & (ibits::UPDATE | ibits::PERM) != 0 {
            let later = OWN.with_borrow_mut(|o| o.as_mut().map(|l| l.push(inode.fid)));
            if let (Some(w), None) = (&watcher, later) {
                w.attr_gone(inode.fid);
            }
        }
    }

    /// Everything that is known.
    pub(super) fn list(&self) -> Vec<Arc<Inode>> {
        guard(&self.all).map.values().cloned().collect()
    }
}

/// The MDT's lock cache tells what goes.
pub(crate) struct Link(pub(crate) Weak<Inodes>);

impl CacheOps for Link {
    fn give_up(&self, lock: &ClientView, _discard: bool) {
        let fid = LdlmResId::from_words(lock.res.0).fid();
        let Some(all) = self.0.upgrade() else { return };
        let Some(inode) = all.known(&fid) else { return };
        all.lose(&inode, lock.handle);
    }

    fn glimpse(&self, _: &ClientView, _: &mut [u8; 64]) -> Option<usize> {
        None
    }

    fn granted(&self, _: &ClientView, _: &[u8]) {}

    fn droppable(&self, _: &ClientView) -> bool {
        true
    }
}

#[cfg(test)]
#[path = "inode_tests.rs"]
mod tests;
