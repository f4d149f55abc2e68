// SPDX-License-Identifier: GPL-2.0

//! Transactions: what is declared, the running handle, and names that wait to be removed.

use crate::device::Device;
use crate::object::Retired;
use crate::Fid;
use kapi::ldiskfs::{Credits, Dquot, Handle, Ids, Node, QuotaKind};
use kapi::prelude::*;
use osd::Callback;

/// A name whose removal waits until it is known whether it moves; see `Documentation/osd.md`.
struct Removal {
    dir: Node,
    name: KVec<u8>,
    node: Node,
    // The link that the name stood for is not counted any more.
    uncounted: bool,
}

/// A new object that has not been inserted yet. It may have a name already: the one that it is
/// expected to get, or one in the nursery.
pub(crate) struct Nursed {
    /// What it is to be.
    pub(crate) fid: Fid,
    /// The directory, and the name in it.
    pub(crate) at: Option<(Node, KVec<u8>)>,
    /// Its inode.
    pub(crate) node: Node,
}

impl Nursed {
    fn is_at(&self, dir: &Node, name: &[u8]) -> bool {
        self.at
            .as_ref()
            .is_some_and(|(d, n)| d.same(dir) && n.as_slice() == name)
    }
}

/// What a transaction will need; all of it is acquired before it starts.
pub(crate) struct Plan {
    dev: Arc<Device>,
    credits: u32,
    nodes: KVec<Node>,
    dquots: KVec<Dquot>,
    nursery: Option<Node>,
    // Objects that will be made with the name that they are inserted with.
    named: usize,
}

impl Plan {
    /// A plan for nothing.
    pub(crate) fn new(dev: &Arc<Device>) -> Plan {
        Plan {
            dev: dev.clone(),
            // The superblock, for the list of orphans, and an inode.
            credits: 4,
            nodes: KVec::new(),
            dquots: KVec::new(),
            nursery: None,
            named: 0,
        }
    }

    /// An object will be made with its name.
    pub(crate) fn will_have_name(&mut self) {
        self.named += 1;
    }

    /// An object that is to be made will be inserted; whether that takes no more than making it.
    pub(crate) fn takes_name(&mut self) -> bool {
        let had = self.named > 0;
        self.named = self.named.saturating_sub(1);
        had
    }

    /// Adds journal credits.
    pub(crate) fn credits(&mut self, what: Credits, len: usize) {
        self.more(self.dev.mount().credits(what, len));
    }

    /// Adds a number of journal credits.
    pub(crate) fn more(&mut self, credits: u32) {
        self.credits = self.credits.saturating_add(credits);
    }

    /// The transaction will lock this inode.
    pub(crate) fn lock(&mut self, node: &Node) -> Result {
        if !self.nodes.iter().any(|n| n.same(node)) {
            self.nodes.push(node.clone(), GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Objects will be made before their place is known: `dir` is where their names wait.
    pub(crate) fn nursery(&mut self, dir: &Node) -> Result {
        self.lock(dir)?;
        self.credits(Credits::Rename, 0);
        self.nursery = Some(dir.clone());
        Ok(())
    }

    /// Objects will belong to these ids.
    pub(crate) fn ids(&mut self, ids: &Ids) -> Result {
        self.credits(Credits::Attr, 0);
        for (kind, id) in [
            (QuotaKind::User, ids.uid),
            (QuotaKind::Group, ids.gid),
            (QuotaKind::Project, ids.projid),
        ] {
            if let Some(id) = id.filter(|id| *id != 0) {
                if let Some(d) = self.dev.mount().dquot(kind, id)? {
                    self.dquots.push(d, GFP_KERNEL)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the locks and starts.
    ///
    /// # Errors
    /// As [`Handle::start`].
    pub(crate) fn start(self) -> Result<Running> {
        let handle = Handle::start(self.dev.mount(), self.nodes, self.credits)?;
        Ok(Running {
            dev: self.dev,
            handle: Some(handle),
            nursery: self.nursery,
            removals: KVec::new(),
            nursed: KVec::new(),
            uncounted: KVec::new(),
            retired: KVec::new(),
            sync: false,
            _dquots: self.dquots,
        })
    }
}

/// A transaction that runs.
pub(crate) struct Running {
    dev: Arc<Device>,
    handle: Option<Handle>,
    nursery: Option<Node>,
    removals: KVec<Removal>,
    nursed: KVec<Nursed>,
    // Links that were dropped before their names were removed.
    uncounted: KVec<Node>,
    retired: KVec<Retired>,
    sync: bool,
    _dquots: KVec<Dquot>,
}

fn bytes(name: &[u8]) -> Result<KVec<u8>> {
    let mut v = KVec::new();
    v.extend_from_slice(name, GFP_NOFS)?;
    Ok(v)
}

impl Running {
    /// The handle.
    ///
    /// # Errors
    /// `EINVAL` after the stop.
    pub(crate) fn handle(&mut self) -> Result<&mut Handle> {
        self.handle.as_mut().ok_or(EINVAL)
    }

    /// Where the names of objects without a place wait.
    ///
    /// # Errors
    /// `EINVAL`: no such object was declared.
    pub(crate) fn nursery(&self) -> Result<Node> {
        self.nursery.clone().ok_or(EINVAL)
    }

    /// The end waits until the transaction is on disk.
    pub(crate) fn set_sync(&mut self) {
        self.sync = true;
    }

    /// Calls `call` when the transaction is on disk. It cannot get there before the handle stops.
    pub(crate) fn on_commit(&mut self, call: Callback) -> Result {
        let tid = self.handle()?.tid();
        self.dev.commits().add(tid, call)
    }

    /// A new object, and the name that it has until it is inserted.
    pub(crate) fn nurse(&mut self, fid: &Fid, at: Option<(&Node, &[u8])>, node: &Node) -> Result {
        let n = Nursed {
            fid: *fid,
            at: match at {
                Some((dir, name)) => Some((dir.clone(), bytes(name)?)),
                None => None,
            },
            node: node.clone(),
        };
        Ok(self.nursed.push(n, GFP_NOFS)?)
    }

    /// A new object that was not inserted.
    pub(crate) fn lost(&mut self) -> Option<Nursed> {
        self.nursed.pop()
    }

    /// The object is complete, and the name it has is the right one.
    pub(crate) fn settle(&mut self, node: &Node) {
        self.nursed.retain(|n| !n.node.same(node));
    }

    /// Keeps what an object had open until the transaction has stopped.
    pub(crate) fn retire(&mut self, old: Retired) {
        // Without memory it goes now, which is safe, if not swift.
        if self.retired.reserve(1, GFP_NOFS).is_ok() {
            let _ = self.retired.push_within_capacity(old);
        }
    }

    /// Whether a name is that of a new object which is to be inserted.
    pub(crate) fn is_nursed(&self, dir: &Node, name: &[u8], node: &Node) -> bool {
        self.nursed
            .iter()
            .any(|n| n.is_at(dir, name) && n.node.same(node))
    }

    /// An entry of that name that is on its way out goes first.
    pub(crate) fn make_way(&mut self, dir: &Node, name: &[u8]) -> Result {
        let mut removals = self.removals.iter();
        match removals.position(|r| r.dir.same(dir) && r.name.as_slice() == name) {
            Some(i) => self.remove_now(i, true),
            None => Ok(()),
        }
    }

    /// Gives an object a name in a directory: a rename if it is being moved, an added name
    /// otherwise. Link counts stay.
    pub(crate) fn insert_name(&mut self, dir: &Node, name: &[u8], node: &Node) -> Result {
        self.make_way(dir, name)?;
        if let Some(i) = self.nursed.iter().position(|n| n.node.same(node)) {
            let n = self.nursed.get(i).ok_or(EINVAL)?;
            if !n.is_at(dir, name) {
                let h = self.handle.as_mut().ok_or(EINVAL)?;
                match &n.at {
                    Some((d, old)) => h.rename(d, old, node, dir, name)?,
                    None => h.link(dir, name, node)?,
                }
            }
            // Not before it has its name: should that fail, it is taken back.
            self.nursed.remove(i)?;
            return Ok(());
        }
        if let Some(i) = self.removals.iter().position(|r| r.node.same(node)) {
            let r = self.removals.remove(i)?;
            return self.handle()?.rename(&r.dir, &r.name, node, dir, name);
        }
        self.handle()?.link(dir, name, node)
    }

    /// Takes a name away, at the latest when the transaction stops.
    pub(crate) fn remove_name(&mut self, dir: &Node, name: &[u8], node: &Node) -> Result {
        let before = self.uncounted.iter().position(|n| n.same(node));
        let r = Removal {
            dir: dir.clone(),
            name: bytes(name)?,
            node: node.clone(),
            uncounted: before.is_some(),
        };
        self.removals.push(r, GFP_NOFS)?;
        if let Some(i) = before {
            self.uncounted.remove(i)?;
        }
        Ok(())
    }

    /// A link of an object is not counted any more, that of a name which is on its way out or
    /// will be.
    pub(crate) fn uncount(&mut self, node: &Node) -> Result {
        let mut removals = self.removals.iter_mut();
        match removals.find(|r| r.node.same(node) && !r.uncounted) {
            Some(r) => r.uncounted = true,
            None => self.uncounted.push(node.clone(), GFP_NOFS)?,
        }
        Ok(())
    }

    /// Whether a name is on its way out.
    pub(crate) fn is_removed(&self, dir: &Node, name: &[u8]) -> bool {
        self.removals
            .iter()
            .any(|r| r.dir.same(dir) && r.name.as_slice() == name)
    }

    /// `replaced`: the name goes to another object, and the caller may drop the link later.
    fn remove_now(&mut self, i: usize, replaced: bool) -> Result {
        let r = self.removals.remove(i)?;
        let h = self.handle()?;
        let links = h.attr_mut(&r.node)?.nlink;
        // Whether the inode is to be freed, also if the machine stops before that is done.
        let last = links == 0 || replaced && (r.node.is_dir() || links == 1 && !r.uncounted);
        h.unlink(&r.dir, &r.name, &r.node, last)
    }

    fn finish(&mut self) -> Result {
        let mut result = Ok(());
        while !self.removals.is_empty() {
            result = result.and(self.remove_now(0, false));
        }
        result
    }

    /// Ends the transaction.
    ///
    /// # Errors
    /// `EIO`, `EROFS`: nothing of the transaction may be relied on; callbacks hear of it, too.
    pub(crate) fn stop(mut self) -> Result {
        self.end()
    }

    fn end(&mut self) -> Result {
        let result = self.finish();
        let Some(handle) = self.handle.take() else {
            return Err(EINVAL);
        };
        let tid = handle.tid();
        let result = result.and(handle.stop());
        if self.sync {
            // Here, not in the stop: others get the locks meanwhile.
            return result.and(self.dev.mount().wait_commit(tid));
        }
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.handle.is_none() {
            return;
        }
        // Dropped on an error: what was done stays done, so the names have to be right.
        if let Err(e) = self.end() {
            pr_err!("osd-ldiskfs: a transaction ended with {:?}\n", e);
        }
    }
}
