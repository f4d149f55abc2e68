// SPDX-License-Identifier: GPL-2.0

//! A target: a store, a service, clients.

use crate::client::Client;
use crate::drops;
use crate::last_rcvd::LastRcvd;
use crate::replies::Saved;
use crate::seats::Seats;
use crate::service::{Request, Served, Service};
use core::any::Any;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use kapi::thread::Periodic;
use ldlm::core::{LockView, ResId};
use ldlm::server::{start_timers, Lvb, LvbClass, Namespace, NamespaceConfig, NamespaceOps};
use lnet::fail::{self, point};
use osd::Device;
use ptlrpc::export::{ClientUuid, Export, TargetDevice};
use ptlrpc::node::Node;
use ptlrpc::request::ServerRequest;
use wire::connect::ConnectFlags;
use wire::msg::MsgFlags;
use wire::opcode as op;

/// What a target is.
pub struct TargetConfig {
    /// "lustre-OST0000", "MGS".
    pub name: KVVec<u8>,
    /// "lustre-OST0000_UUID", "MGS".
    pub uuid: ClientUuid,
    /// Its index among its kind.
    pub index: u32,
    /// Where it keeps everything.
    pub osd: Arc<dyn Device>,
    /// Whether clients have slots in `last_rcvd`: all targets but the MGS.
    pub recorded: bool,
    /// Whether it is an MDT (which matters to `last_rcvd` only).
    pub is_mdt: bool,
    /// Locks that one client may have, within its share of the memory.
    pub max_locks: u32,
}

/// Transactions that are on disk.
pub(crate) struct Commits {
    last: Atomic<u64>,
}

impl Commits {
    /// A transaction is on disk, and so are all before it.
    pub(crate) fn done(&self, transno: u64) {
        let mut seen = self.last.load(Relaxed);
        while seen < transno {
            match self.last.cmpxchg(seen, transno, kapi::sync::atomic::Full) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

/// A target.
#[pin_data]
pub struct Target {
    config: TargetConfig,
    name: KVVec<u8>,
    node: Arc<Node>,
    service: Arc<dyn Service>,
    namespace: Arc<Namespace>,
    pub(crate) last_rcvd: Option<Arc<LastRcvd>>,
    pub(crate) transno: Atomic<u64>,
    pub(crate) commits: Arc<Commits>,
    stopping: Atomic<bool>,
    pub(crate) seats: Arc<Seats>,
    /// Since when there are clients that are silent while others are not.
    #[pin]
    pub(crate) silent_since: SpinLock<Option<Instant>>,
    #[pin]
    pub(crate) exports: Mutex<RBTree<ClientUuid, Arc<Export>>>,
    #[pin]
    timers: Mutex<Option<Periodic>>,
}

/// The lock manager's way to the service.
struct LockOps {
    service: Arc<dyn Service>,
    osd: Arc<dyn Device>,
}

impl NamespaceOps for LockOps {
    fn read_lvb(&self, res: &ResId) -> Result<Lvb> {
        self.service.read_lvb(res)
    }

    fn lvb_class(&self, lock: &LockView) -> LvbClass {
        self.service.lvb_class(lock)
    }

    fn local_blocked(&self, _: &ResId, _: u64) {
        self.osd.start_commit();
    }

    fn cancelling(&self, res: &ResId, lock: &LockView) {
        self.service.cancelling(res, lock);
    }
}

impl TargetDevice for Target {
    fn name(&self) -> &str {
        Target::name(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whether the answer to a request is kept for when it is here again. A transfer is made again:
/// who asks for it a second time waits for the data to go, too.
fn is_kept(opc: u32) -> bool {
    !matches!(opc, op::OST_READ | op::OST_WRITE)
}

impl Target {
    /// Sets one up on its store. It serves nobody until [`crate::Server::add`].
    ///
    /// # Errors
    /// `EINVAL`: what is on the store is not this target's. `ENOMEM`, `EIO`, `ENOSPC`.
    pub fn new(
        node: &Arc<Node>,
        config: TargetConfig,
        service: Arc<dyn Service>,
    ) -> Result<Arc<Target>> {
        let ops = Arc::new(
            LockOps {
                service: service.clone(),
                osd: config.osd.clone(),
            },
            GFP_KERNEL,
        )?;
        let limits = node.limits();
        let namespace = Namespace::new(
            NamespaceConfig {
                obd_timeout: limits.obd_timeout,
                enqueue_min: limits.enqueue_min,
                ..NamespaceConfig::default()
            },
            ops,
        )?;
        let mut name = KVVec::new();
        name.extend_from_slice(&config.name, GFP_KERNEL)?;
        let last_rcvd = if config.recorded {
            let text = core::str::from_utf8(&name).map_err(|_| EINVAL)?;
            Some(LastRcvd::open(
                &config.osd,
                text,
                config.uuid,
                config.index,
                config.is_mdt,
            )?)
        } else {
            None
        };
        let first = last_rcvd.as_ref().map_or(0, |l| l.last_transno);
        let commits = Arc::new(
            Commits {
                last: Atomic::<u64>::new(first),
            },
            GFP_KERNEL,
        )?;
        let seats = Seats::new()?;
        let timers = start_timers(&namespace)?;
        let target = Arc::pin_init(
            pin_init!(Target {
                config,
                name,
                node: node.clone(),
                service,
                namespace,
                last_rcvd,
                transno: Atomic::<u64>::new(first),
                commits,
                stopping: Atomic::<bool>::new(false),
                seats,
                silent_since <- new_spinlock!(None),
                exports <- new_mutex!(RBTree::new()),
                timers <- new_mutex!(Some(timers)),
            }),
            GFP_KERNEL,
        )?;
        if let Some(l) = &target.last_rcvd {
            if l.forgotten > 0 {
                pr_info!(
                    "{}: {} clients of before the restart will have to connect anew\n",
                    target.name(),
                    l.forgotten
                );
            }
        }
        Ok(target)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// Its UUID.
    pub fn uuid(&self) -> &ClientUuid {
        &self.config.uuid
    }

    /// Its index.
    pub fn index(&self) -> u32 {
        self.config.index
    }

    /// Locks that one client may have.
    pub(crate) fn max_locks(&self) -> u32 {
        self.config.max_locks
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The store.
    pub fn osd(&self) -> &Arc<dyn Device> {
        &self.config.osd
    }

    /// The service.
    pub fn service(&self) -> &Arc<dyn Service> {
        &self.service
    }

    /// The locks of all clients.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Highest transaction number that is on disk with all before it.
    pub fn last_committed(&self) -> u64 {
        self.commits.last.load(Relaxed)
    }

    /// Highest transaction number.
    pub fn last_transno(&self) -> u64 {
        self.transno.load(Relaxed)
    }

    /// Which life of the target this is: how often it was mounted.
    pub fn instance(&self) -> u32 {
        let count = self.last_rcvd.as_ref().map_or(1, |l| l.mount_count);
        (count & 0xffff_ffff) as u32
    }

    /// Whether it takes no more requests.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Number of clients.
    pub fn num_exports(&self) -> usize {
        self.exports.lock().values().count()
    }

    /// Calls `f` for every client.
    pub fn for_each_export(&self, f: &mut dyn FnMut(&Arc<Export>)) {
        // Without the lock, as what is done with them may take long; and without a list, for which
        // there may be no memory: at its end a target has to find all of them.
        let mut last: Option<ClientUuid> = None;
        loop {
            let next = {
                let exports = self.exports.lock();
                let cursor = match &last {
                    Some(uuid) => exports.cursor_lower_bound(uuid),
                    None => exports.cursor_front(),
                };
                cursor.and_then(|c| match c.current() {
                    (uuid, _) if Some(uuid) == last.as_ref() => c.peek_next().map(|n| n.1.clone()),
                    (_, e) => Some(e.clone()),
                })
            };
            let Some(e) = next else { return };
            f(&e);
            last = Some(e.client_uuid);
        }
    }

    /// Serves a request of one of its clients.
    pub(crate) fn handle(self: &Arc<Self>, mut rpc: KBox<ServerRequest>) {
        if drops::request(&rpc) {
            return rpc.discard();
        }
        let result = self.work(&mut rpc);
        self.fill_reply(&mut rpc);
        if drops::reply(&rpc) {
            return rpc.discard();
        }
        match result {
            Ok(Served::Reply(status)) => rpc.reply(status),
            Ok(Served::Drop) => rpc.discard(),
            Err(e) => rpc.error(e),
        }
    }

    /// What every reply says.
    pub(crate) fn fill_reply(&self, rpc: &mut ServerRequest) {
        rpc.last_committed = self.last_committed();
        if let Ok(export) = rpc.connected() {
            if export.has(ConnectFlags::LRU_RESIZE) {
                rpc.lock_volume = self.namespace.volume();
            }
        }
    }

    fn work(self: &Arc<Self>, rpc: &mut ServerRequest) -> Result<Served> {
        let export = rpc.connected()?;
        if self.is_stopping() {
            return Err(ENODEV);
        }
        match rpc.opc() {
            op::OBD_PING => {
                rpc.pack_reply(&[])?;
                return Ok(Served::Reply(0));
            }
            opc if op::is_disconnect(opc) => {
                fail::pause(point::OST_DISCONNECT_DELAY, fail::seconds);
                let transno = self.end_client(&export);
                rpc.transno = transno;
                rpc.pack_reply(&[])?;
                return Ok(Served::Reply(0));
            }
            _ => {}
        }
        let flags = rpc.flags();
        let replayed = MsgFlags::REPLAY | MsgFlags::REQ_REPLAY_DONE;
        if flags.intersects(replayed) || rpc.body().pb_transno.get() != 0 {
            // The client believes that it can replay; it cannot, and must know.
            self.evict(&export, "it replays, and there is no recovery");
            return Err(ENODEV);
        }
        let client = Client::of(&export)?;
        if flags.contains(MsgFlags::RESENT)
            && is_kept(rpc.opc())
            && self.answer_again(client, rpc)?
        {
            let status = rpc.saved_status();
            return match rpc.opc() {
                op::LDLM_ENQUEUE => self.enqueued_before(rpc, status),
                _ => Ok(Served::Reply(status)),
            };
        }
        let locks = client.locks()?;
        let mut req = Request {
            rpc,
            target: self,
            export: export.clone(),
            locks,
        };
        let served = match req.rpc.opc() {
            op::LDLM_ENQUEUE => self.enqueue(&mut req),
            op::LDLM_CONVERT => self.convert(&mut req),
            op::LDLM_CANCEL => self.cancel(&mut req),
            _ => self.service.serve(&mut req),
        };
        if req.rpc.transno != 0 && is_kept(req.rpc.opc()) {
            // What was done is told all the same: only a client that misses it asks again.
            if let Err(e) = self.keep_answer(client, req.rpc, &served) {
                pr_debug!("{}: an answer is not kept: {:?}\n", self.name(), e);
            }
        }
        served
    }

    /// Keeps the answer to a request that changed something.
    fn keep_answer(
        &self,
        client: &Client,
        rpc: &mut ServerRequest,
        served: &Result<Served>,
    ) -> Result {
        let (status, msg) = match served {
            Ok(Served::Reply(s)) if rpc.has_reply() => (*s, Some(rpc.reply_mut()?.try_clone()?)),
            Ok(Served::Reply(s)) => (*s, None),
            Ok(Served::Drop) => return Ok(()),
            Err(e) => (e.to_errno(), None),
        };
        let (tag, last_xid) = (rpc.body().pb_tag.get(), rpc.body().pb_last_xid.get());
        let saved = Saved::new(rpc.xid(), tag, status, rpc.transno, rpc.pre_versions, msg);
        client.replies.lock().add(saved, last_xid)
    }

    /// Answers a request that is here again as it was answered before; false if it was not.
    fn answer_again(&self, client: &Client, rpc: &mut ServerRequest) -> Result<bool> {
        let replies = client.replies.lock();
        let Some(s) = replies.find(rpc.xid()) else {
            return Ok(false);
        };
        let msg = match &s.msg {
            Some(m) => Some(m.try_clone()?),
            None => None,
        };
        rpc.transno = s.transno;
        rpc.pre_versions = s.pre_versions;
        rpc.set_saved(msg, s.status);
        Ok(true)
    }

    /// Stops: clients are let go, the end is written down. No request must be running.
    pub(crate) fn stop(self: &Arc<Self>) {
        self.stopping.store(true, Relaxed);
        self.namespace.stop();
        self.service.stopping(self);
        self.for_each_export(&mut |e| {
            self.end_client(e);
        });
        // Joins its thread.
        let timers = self.timers.lock().take();
        drop(timers);
        if let Some(l) = &self.last_rcvd {
            if let Err(e) = l.close(self.osd(), self.last_transno()) {
                pr_err!("{}: last_rcvd: {:?}\n", self.name(), e);
            }
        }
        if let Err(e) = self.osd().sync() {
            pr_err!("{}: sync at the end: {:?}\n", self.name(), e);
        }
    }

    /// Takes no more requests from now on.
    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Relaxed);
        // Who waits for a lock in a service thread goes on.
        self.namespace.stop();
    }
}
