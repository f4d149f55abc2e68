// SPDX-License-Identifier: GPL-2.0

//! An OST: its parts, its beginning and its end, and who serves which request.

use crate::client::OfdClient;
use crate::groups::Groups;
use crate::lock;
use crate::params;
use crate::pool::PagePool;
use crate::space::Space;
use crate::stats::{op_of, Counter, Op, Stats};
use crate::{attr, brw, create, destroy, info, punch, read, write};
use kapi::params::ParamDir;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use ldlm::core::{LockType, LockView, ResId};
use ldlm::server::{Lvb, LvbClass};
use osd::Device;
use ptlrpc::export::{ClientState, ClientUuid, Export};
use ptlrpc::request::ServerRequest;
use target::fld::{Fld, RangeSource};
use target::seq::{SeqServer, SuperSource};
use target::server::Kind;
use target::{Request, Served, Server, Service, Target, TargetConfig};
use wire::connect::ConnectData;
use wire::opcode;
use wire::seq::range_type;

/// The largest transfer, unless it is set otherwise.
const BRW_SIZE: u32 = 4 << 20;
/// Writes in a row that ask for an early commit, after which one is begun.
const SOFT_SYNC_LIMIT: u32 = 16;

/// What an OST is.
pub struct OfdConfig {
    /// "lustre-OST0000"
    pub name: KVVec<u8>,
    /// "lustre-OST0000_UUID"
    pub uuid: ClientUuid,
    /// Its index.
    pub index: u16,
    /// Where super-sequences come from: MDT0000, over a light connection.
    pub sequences: Arc<dyn SuperSource>,
    /// Who knows which target has a sequence: MDT0000, too.
    pub ranges: Arc<dyn RangeSource>,
}

/// What can be set.
pub(crate) struct Tunables {
    pub(crate) brw_size: Atomic<u32>,
    pub(crate) degraded: Atomic<bool>,
    pub(crate) no_create: Atomic<bool>,
    pub(crate) sync_journal: Atomic<bool>,
    pub(crate) sync_on_cancel: Atomic<bool>,
    pub(crate) soft_sync_limit: Atomic<u32>,
    pub(crate) precreate_batch: Atomic<u32>,
}

/// An OST.
#[pin_data]
pub struct Ofd {
    index: u16,
    osd: Arc<dyn Device>,
    space: Arc<Space>,
    stats: Arc<Stats>,
    pool: Arc<PagePool>,
    sequences: Arc<SeqServer>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) tunables: Tunables,
    /// None before the start and after the end.
    #[pin]
    target: SpinLock<Option<Arc<Target>>>,
    #[pin]
    params: Mutex<Option<ParamDir>>,
}

impl Ofd {
    /// Starts an OST on its store: clients can connect to it when this returns.
    ///
    /// # Errors
    /// `EINVAL`: what is on the store is not this target's; the log says what. `EEXIST`: there is
    /// a target of that name. `ENOMEM`, `EAGAIN`, `EIO`, `ENOSPC`.
    pub fn start(
        server: &Arc<Server>,
        osd: Arc<dyn Device>,
        config: OfdConfig,
    ) -> Result<Arc<Ofd>> {
        let fld = Fld::open(&osd, Some(config.ranges))?;
        let index = u32::from(config.index);
        let kind = range_type::OST;
        let sequences = SeqServer::open(&osd, index, kind, config.sequences, &fld)?;
        let (space, stats, pool) = (Space::new(&osd)?, Stats::new()?, PagePool::new()?);
        let groups = Groups::new(&osd, config.index)?;
        let store = osd.clone();
        let ofd: Arc<Ofd> = Arc::pin_init(
            pin_init!(Ofd {
                index: config.index,
                osd: store,
                space,
                stats,
                pool,
                sequences,
                groups,
                tunables: Tunables {
                    brw_size: Atomic::<u32>::new(BRW_SIZE),
                    degraded: Atomic::<bool>::new(false),
                    no_create: Atomic::<bool>::new(false),
                    sync_journal: Atomic::<bool>::new(false),
                    sync_on_cancel: Atomic::<bool>::new(true),
                    soft_sync_limit: Atomic::<u32>::new(SOFT_SYNC_LIMIT),
                    precreate_batch: Atomic::<u32>::new(create::BATCH),
                },
                target <- new_spinlock!(None),
                params <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        let target_config = TargetConfig {
            name: config.name,
            uuid: config.uuid,
            index,
            osd,
            recorded: true,
            is_mdt: false,
            max_locks: u32::MAX,
        };
        let target = Target::new(server.node(), target_config, ofd.clone())?;
        *ofd.target.lock() = Some(target.clone());
        let begun = params::make(&ofd, &target).and_then(|p| {
            *ofd.params.lock() = Some(p);
            server.add(Kind::Ost, &target)
        });
        if let Err(e) = begun {
            ofd.forget();
            return Err(e);
        }
        Ok(ofd)
    }

    /// Ends it: no request reaches it any more, everything is on disk when this returns.
    pub fn stop(&self, server: &Arc<Server>) {
        if let Some(t) = self.target() {
            server.remove(&t);
        }
        self.forget();
    }

    /// Undoes what refers to the OST in circles.
    fn forget(&self) {
        let params = self.params.lock().take();
        drop(params);
        let target = self.target.lock().take();
        drop(target);
        self.groups.forget();
    }

    /// The target; none after the end.
    pub fn target(&self) -> Option<Arc<Target>> {
        self.target.lock().clone()
    }

    /// Samples of one kind.
    pub fn counter(&self, op: Op) -> Counter {
        self.stats.get(op)
    }

    /// Grant that clients have, dirty data that they announced, data being written; bytes.
    pub fn grants(&self) -> (u64, u64, u64) {
        let t = self.space.totals();
        (t.granted, t.dirty, t.pending)
    }

    /// Its index.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Sets whether objects are made for MDTs.
    pub fn set_no_create(&self, on: bool) {
        self.tunables.no_create.store(on, Relaxed);
    }

    pub(crate) fn osd(&self) -> &Arc<dyn Device> {
        &self.osd
    }

    pub(crate) fn space(&self) -> &Arc<Space> {
        &self.space
    }

    pub(crate) fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    pub(crate) fn pool(&self) -> &Arc<PagePool> {
        &self.pool
    }

    pub(crate) fn brw_size(&self) -> u32 {
        self.tunables.brw_size.load(Relaxed)
    }

    pub(crate) fn syncs_on_cancel(&self) -> bool {
        self.tunables.sync_on_cancel.load(Relaxed) && !self.tunables.sync_journal.load(Relaxed)
    }

    fn dispatch(&self, req: &mut Request<'_>) -> Result<Served> {
        match req.rpc.opc() {
            opcode::OST_READ => read::serve(self, req),
            opcode::OST_WRITE => write::serve(self, req),
            opcode::OST_GETATTR => attr::get(self, req),
            opcode::OST_SETATTR => attr::set(self, req),
            opcode::OST_SYNC => attr::sync(self, req),
            opcode::OST_SEEK => attr::seek(self, req),
            opcode::OST_STATFS => attr::statfs(self, req),
            opcode::OST_PUNCH => punch::punch(self, req),
            opcode::OST_FALLOCATE => punch::fallocate(self, req),
            opcode::OST_CREATE => create::serve(self, req),
            opcode::OST_DESTROY => destroy::serve(self, req),
            opcode::OST_GET_INFO => info::get(self, req),
            opcode::OST_SET_INFO => info::set(self, req),
            opcode::OST_QUOTACTL => target::quota::serve(req, false),
            opcode::SEQ_QUERY => target::seq::serve(req, Some(&self.sequences), None),
            _ => Err(EOPNOTSUPP),
        }
    }
}

impl Service for Ofd {
    fn negotiate(
        &self,
        _: &Arc<Target>,
        client: Option<&Arc<Export>>,
        wanted: &ConnectData,
        data: &mut ConnectData,
    ) -> Result {
        self.agree(client, wanted, data)
    }

    fn connected(
        &self,
        _: &Arc<Target>,
        export: &Arc<Export>,
        is_new: bool,
        wanted: &ConnectData,
        data: &mut ConnectData,
    ) -> Result {
        self.admit(export, is_new, wanted, data)
    }

    fn client_state(&self) -> Result<Arc<dyn ClientState>> {
        Ok(OfdClient::new()?)
    }

    fn serve(&self, req: &mut Request<'_>) -> Result<Served> {
        let begun = Instant::now();
        let served = self.dispatch(req);
        if let Some(op) = op_of(req.rpc.opc()) {
            let time = begun.elapsed().as_micros();
            self.stats.add(op, u64::try_from(time).unwrap_or(u64::MAX));
        }
        match served {
            // The OST stops: the client is to ask the next life of it.
            Err(e) if e == ESHUTDOWN => Ok(Served::Drop),
            other => other,
        }
    }

    fn is_high_priority(&self, target: &Arc<Target>, req: &ServerRequest) -> bool {
        brw::has_lock(req.opc()) && lock::is_urgent(target, req, self.index)
    }

    fn client_gone(&self, _: &Arc<Target>, export: &Arc<Export>) {
        if let Ok(c) = crate::client::of(export) {
            self.space.close(c);
        }
    }

    fn read_lvb(&self, res: &ResId) -> Result<Lvb> {
        self.lvb_of(res)
    }

    fn lvb_class(&self, lock: &LockView) -> LvbClass {
        match lock.policy.lock_type() {
            LockType::Extent => LvbClass::Ost,
            _ => LvbClass::None,
        }
    }

    fn cancelling(&self, res: &ResId, lock: &LockView) {
        self.lock_goes(res, lock);
    }
}
