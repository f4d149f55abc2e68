// SPDX-License-Identifier: GPL-2.0

//! A namespace: the locks of one target.

use super::export::{ExportLocks, ExportOptions};
use super::lvb::Lvb;
use super::memory::{Granted, LockMemory, LOCK_MEMORY};
use super::table::{LockRef, Node, NodeState, Place, Tables};
use super::traits::{AstSender, NamespaceOps};
use super::volume::Volume;
use crate::core::{Env, ExportId, FlockWaits, Hint, LockType, LockView, ResId, Resource};
use kapi::prelude::*;
use kapi::sync::atomic::{Acquire, Atomic, Relaxed, Release};

/// How a namespace behaves.
#[derive(Clone, Copy)]
pub struct NamespaceConfig {
    /// `ldlm_enqueue_min`: the least time a client has to give up a lock, seconds.
    pub enqueue_min: u32,
    /// `obd_timeout`: the first guess of it, seconds.
    pub obd_timeout: u32,
    /// The memory that its locks share with others.
    pub memory: &'static LockMemory,
}

impl Default for NamespaceConfig {
    fn default() -> Self {
        NamespaceConfig {
            enqueue_min: 100,
            obd_timeout: 100,
            memory: &LOCK_MEMORY,
        }
    }
}

/// What the administrator sees of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceStats {
    /// Resources.
    pub resources: u64,
    /// Locks, granted and waiting.
    pub locks: u64,
    /// Granted locks.
    pub granted: u64,
    /// Evictions for locks kept too long.
    pub timeouts: u64,
}

/// The locks of one target.
#[pin_data]
pub struct Namespace {
    pub(super) config: NamespaceConfig,
    pub(super) ops: Arc<dyn NamespaceOps>,
    pub(super) tables: Tables,
    #[pin]
    pub(super) exports: Mutex<RBTree<ExportId, Arc<ExportLocks>>>,
    #[pin]
    pub(super) waits: Mutex<FlockWaits>,
    granted: Granted,
    #[pin]
    volume: Mutex<Volume>,
    slv: Atomic<u64>,
    limit: u32,
    #[pin]
    pub(super) reclaim_at: Mutex<Place>,
    pub(super) timeouts: Atomic<u64>,
    pub(super) recovering: Atomic<bool>,
    pub(super) stopping: Atomic<bool>,
}

impl Namespace {
    /// A namespace without locks.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(config: NamespaceConfig, ops: Arc<dyn NamespaceOps>) -> Result<Arc<Self>> {
        let tables = Tables::new()?;
        let granted = Granted::new(config.memory);
        let volume = Volume::new(config.memory.plan());
        Arc::pin_init(
            pin_init!(Namespace {
                config,
                ops,
                tables,
                exports <- new_mutex!(RBTree::new()),
                waits <- new_mutex!(FlockWaits::new()),
                granted,
                slv: Atomic::<u64>::new(volume.slv()),
                limit: volume.limit(),
                volume <- new_mutex!(volume),
                reclaim_at <- new_mutex!(Place::default()),
                timeouts: Atomic::<u64>::new(0),
                recovering: Atomic::<bool>::new(false),
                stopping: Atomic::<bool>::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes an export known. Its locks go with [`Namespace::detach`].
    ///
    /// # Errors
    /// `EINVAL`: id 0. `EEXIST`: there is one with this id. `ENOMEM`.
    pub fn attach(
        &self,
        options: ExportOptions,
        sender: Arc<dyn AstSender>,
    ) -> Result<Arc<ExportLocks>> {
        if options.id.is_local() {
            return Err(EINVAL);
        }
        let estimate = u64::from(self.config.obd_timeout) * 1000;
        let exp = ExportLocks::new(options, self.memory(), sender, estimate)?;
        let node = RBTreeNode::new(options.id, exp.clone(), GFP_KERNEL)?;
        let mut map = self.exports.lock();
        if map.get(&options.id).is_some() {
            return Err(EEXIST);
        }
        map.insert(node);
        Ok(exp)
    }

    /// Cancels all locks of an export, those that others wait for first, and forgets it: at
    /// disconnect and eviction (spec/ldlm.md 15.5). Enqueues still running for it end with
    /// `ENOTCONN`.
    pub fn detach(self: &Arc<Self>, exp: &Arc<ExportLocks>) {
        exp.close();
        let mut at = None;
        while let Some(key) = exp.next_blocked(at) {
            self.drop_lock(exp, key);
            at = Some(key);
        }
        while let Some(key) = exp.any() {
            self.drop_lock(exp, key);
        }
        let gone = self.exports.lock().remove(&exp.id());
        drop(gone);
    }

    fn drop_lock(self: &Arc<Self>, exp: &Arc<ExportLocks>, (client_handle, cookie): (u64, u64)) {
        if let Some(r) = self.tables.handle(cookie) {
            self.cancel_ref(&r, cookie, exp.id());
        }
        // Normally gone by now; a lock that never came to be is not.
        exp.remove(client_handle, cookie);
    }

    /// Stops: no lock is granted any more, the server's own waiters end with `ESHUTDOWN`. Exports
    /// are detached by their owner.
    pub fn stop(&self) {
        self.stopping.store(true, Release);
        self.tables.for_each(|n| n.granted.notify_all());
    }

    /// Enters recovery: holders are not told of conflicts until [`Namespace::recovered`].
    pub fn start_recovery(&self) {
        self.recovering.store(true, Release);
    }

    /// Recovery has ended: grants what waits, calls back what is in the way (spec/ldlm.md 17.8).
    pub fn recovered(self: &Arc<Self>) {
        self.recovering.store(false, Release);
        self.tables.for_each(|n| {
            let mut st = n.state.lock();
            self.with(&mut st, |r, env| r.recovered(env));
            drop(st);
            self.run(n);
        });
    }

    /// Whether the namespace is in recovery.
    pub fn is_recovering(&self) -> bool {
        self.recovering.load(Acquire)
    }

    /// Granted locks.
    pub fn granted(&self) -> u64 {
        self.granted.count()
    }

    pub(super) fn memory(&self) -> &'static LockMemory {
        self.config.memory
    }

    /// `pb_slv` and `pb_limit` of replies to clients that keep as many locks as these allow.
    pub fn volume(&self) -> (u64, u32) {
        (self.slv.load(Relaxed), self.limit)
    }

    /// Once a second: the volume follows the number of locks.
    pub(super) fn measure(&self) {
        let mut v = self.volume.lock();
        v.tick(self.granted());
        self.slv.store(v.slv(), Relaxed);
    }

    /// Counts everything: walks over all resources.
    pub fn stats(&self) -> NamespaceStats {
        let mut s = NamespaceStats {
            granted: self.granted(),
            timeouts: self.timeouts.load(Relaxed),
            ..Default::default()
        };
        self.tables.for_each(|n| {
            s.resources += 1;
            s.locks += u64::from(n.state.lock().core.len());
        });
        s
    }

    /// Calls `f` for every lock of every resource, for dumps. The resource is locked meanwhile.
    pub fn for_each_lock(&self, mut f: impl FnMut(&ResId, LockType, &LockView)) {
        self.tables.for_each(|n| {
            let st = n.state.lock();
            st.core.for_each(|_, v| f(&n.name, n.kind, v));
        });
    }

    /// A look at the lock with this handle, and the name of its resource.
    pub fn find(&self, cookie: u64) -> Option<(ResId, LockView)> {
        let r = self.tables.handle(cookie)?;
        let v = r.node.state.lock().core.find(r.ix, cookie)?;
        Some((r.node.name, v))
    }

    /// Whether the lock with this handle has been called back: requests that name it are urgent
    /// (spec/ldlm.md 11.4).
    pub fn is_called_back(&self, cookie: u64) -> bool {
        self.find(cookie).is_some_and(|(_, v)| v.ast_sent)
    }

    /// Sets the value block of a resource that is in use: after truncate or setattr.
    pub fn set_lvb(&self, name: &ResId, lvb: Lvb) {
        if let Some(n) = self.tables.get(name) {
            n.lvb.lock().set(lvb);
        }
    }

    /// Lets the value block of a resource that is in use grow: after a write.
    pub fn grow_lvb(&self, name: &ResId, lvb: &Lvb) {
        if let Some(n) = self.tables.get(name) {
            n.lvb.lock().grow(lvb);
        }
    }

    /// The value block of a resource that is in use and has one.
    pub fn lvb(&self, name: &ResId) -> Option<Lvb> {
        self.tables.get(name)?.lvb.lock().get()
    }

    pub(super) fn export(&self, id: ExportId) -> Option<Arc<ExportLocks>> {
        if id.is_local() {
            return None;
        }
        self.exports.lock().get(&id).cloned()
    }

    /// How long a client has to give up a lock, ms (spec/ldlm.md 15.1).
    pub(super) fn bl_timeout(&self, exp: &ExportLocks) -> u64 {
        let e = exp.estimate();
        (e + e / 2).max(u64::from(self.config.enqueue_min) * 1000)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    /// Lets the core of a resource handle one event.
    pub(super) fn with<R>(
        &self,
        st: &mut NodeState,
        f: impl FnOnce(&mut Resource, &mut Env<'_>) -> R,
    ) -> R {
        let quiet = self.is_recovering() || self.is_stopping();
        let before = i64::from(st.core.granted());
        let r = if st.core.lock_type() == LockType::Flock {
            let mut waits = self.waits.lock();
            let waits = Some(&mut *waits);
            f(&mut st.core, &mut Env { waits, quiet })
        } else {
            f(&mut st.core, &mut Env { waits: None, quiet })
        };
        let delta = i64::from(st.core.granted()) - before;
        let counts = matches!(st.core.lock_type(), LockType::Extent | LockType::Ibits);
        if delta != 0 && counts {
            self.granted.add(delta);
        }
        r
    }

    /// Reprocesses a resource and does what follows from it.
    pub(super) fn reprocess(self: &Arc<Self>, node: &Arc<Node>, hint: Hint) {
        if !self.is_stopping() {
            let mut st = node.state.lock();
            self.with(&mut st, |r, env| r.reprocess(hint, env));
        }
        self.run(node);
    }

    /// Cancels one lock if it is the export's, and all that follows. True if it was there.
    pub(super) fn cancel_ref(self: &Arc<Self>, r: &LockRef, cookie: u64, of: ExportId) -> bool {
        match self.cancel_one(r, cookie, of) {
            Some(hint) => {
                self.reprocess(&r.node, hint);
                true
            }
            None => false,
        }
    }
}
