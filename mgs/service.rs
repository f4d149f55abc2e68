// SPDX-License-Identifier: GPL-2.0

//! The service: its clients, its file systems, its requests.

use crate::client::MgsClient;
use crate::configs::Configs;
use crate::fs::Fs;
use crate::nidtbl::NidTable;
use crate::revoke::Revoker;
use crate::versions::Versions;
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;
use osd::Device;
use ptlrpc::export::{ClientState, ClientUuid, Export};
use target::server::Kind;
use target::{Request, Served, Server, Service, Target, TargetConfig};
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::opcode as op;
use wire::svname::FsName;

/// Its name, and its UUID.
const NAME: &[u8] = b"MGS";
/// Locks of a client: a few for each file system, and for each target of a node.
const MAX_LOCKS: u32 = 1 << 16;
/// File systems at the most.
const MAX_FS: usize = 1024;

/// A running MGS.
#[pin_data]
pub struct Mgs {
    pub(crate) configs: Configs,
    pub(crate) versions: Versions,
    pub(crate) revoker: Arc<Revoker>,
    pub(crate) started: Instant,
    server: Arc<Server>,
    #[pin]
    fss: Mutex<RBTree<FsName, Arc<Fs>>>,
    /// Serialises what makes file systems known, which reads from disk.
    #[pin]
    loading: Mutex<()>,
    #[pin]
    target: Mutex<Option<Arc<Target>>>,
}

impl Mgs {
    /// Starts the MGS of a node on its store. Clients may connect when this returns.
    ///
    /// # Errors
    /// `EEXIST`: the node has one. `EINVAL`: what is on the store makes no sense. `ENOSPC`,
    /// `EIO`, `ENOMEM`, `EAGAIN`.
    pub fn start(server: &Arc<Server>, osd: &Arc<dyn Device>) -> Result<Arc<Mgs>> {
        let (configs, versions) = (Configs::open(osd)?, Versions::open(osd)?);
        let revoker = Revoker::new()?;
        let mgs = Arc::pin_init(
            pin_init!(Mgs {
                configs,
                versions,
                revoker,
                started: Instant::now(),
                server: server.clone(),
                fss <- new_mutex!(RBTree::new()),
                loading <- new_mutex!(()),
                target <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        let mut name = KVVec::new();
        name.extend_from_slice(NAME, GFP_KERNEL)?;
        let config = TargetConfig {
            name,
            uuid: ClientUuid::new(NAME)?,
            index: 0,
            osd: osd.clone(),
            recorded: false,
            is_mdt: false,
            max_locks: MAX_LOCKS,
        };
        let target = Target::new(server.node(), config, mgs.clone())?;
        mgs.revoker.start(target.namespace())?;
        if let Err(e) = server.add(Kind::Mgs, &target) {
            target.namespace().stop();
            mgs.revoker.stop();
            return Err(e);
        }
        *mgs.target.lock() = Some(target);
        Ok(mgs)
    }

    /// Ends it.
    pub fn stop(&self) {
        let target = self.target.lock().take();
        if let Some(t) = target {
            self.server.remove(&t);
            self.revoker.stop();
        }
    }

    /// The target, while it runs.
    ///
    /// # Errors
    /// `ENODEV`: it has been stopped.
    pub fn target(&self) -> Result<Arc<Target>> {
        self.target.lock().clone().ok_or(ENODEV)
    }

    /// A file system, if the MGS has a log of its clients.
    ///
    /// # Errors
    /// `ENOENT`: it has none. `EINVAL`: the log cannot be read. `EIO`, `ENOMEM`.
    pub(crate) fn fs(&self, name: FsName) -> Result<Arc<Fs>> {
        self.fs_or(name, false)
    }

    /// A file system, which may be new.
    ///
    /// # Errors
    /// `ENOSPC`: there are too many. `EINVAL`: its log cannot be read. `EIO`, `ENOMEM`.
    pub(crate) fn fs_or_new(&self, name: FsName) -> Result<Arc<Fs>> {
        self.fs_or(name, true)
    }

    fn known(&self, name: &FsName) -> Option<Arc<Fs>> {
        self.fss.lock().get(name).cloned()
    }

    fn fs_or(&self, name: FsName, new: bool) -> Result<Arc<Fs>> {
        if let Some(fs) = self.known(&name) {
            return Ok(fs);
        }
        let _loading = self.loading.lock();
        if let Some(fs) = self.known(&name) {
            return Ok(fs);
        }
        let log = crate::fs::client_log(name)?;
        if !new && self.configs.find(log.as_bytes())?.is_none() {
            return Err(ENOENT);
        }
        if self.fss.lock().iter().count() >= MAX_FS {
            return Err(ENOSPC);
        }
        let nids = NidTable::new(self.versions.load(name)?);
        let fs = Fs::load(&self.configs, name, nids)?;
        let place = RBTreeNode::new(name, fs.clone(), GFP_KERNEL)?;
        self.fss.lock().insert(place);
        Ok(fs)
    }

    /// Calls `f` for every file system that was asked for since the start.
    pub(crate) fn for_each_known(&self, f: &mut dyn FnMut(&Arc<Fs>)) {
        let all = self.fss.lock();
        for fs in all.values() {
            f(fs);
        }
    }
}

impl Service for Mgs {
    fn negotiate(
        &self,
        _: &Arc<Target>,
        _: Option<&Arc<Export>>,
        wanted: &ConnectData,
        data: &mut ConnectData,
    ) -> Result {
        let flags = ConnectFlags::VERSION
            | ConnectFlags::AT
            | ConnectFlags::FULL20
            | ConnectFlags::IMP_RECOV
            | ConnectFlags::BULK_MBITS
            | ConnectFlags::MGS_NIDLIST
            | ConnectFlags::FLAGS2;
        let flags2 = ConnectFlags2::REP_MBITS | ConnectFlags2::LARGE_NID;
        data.set_flags(wanted.flags() & flags, wanted.flags2() & flags2);
        Ok(())
    }

    fn client_state(&self) -> Result<Arc<dyn ClientState>> {
        let client: Arc<dyn ClientState> = MgsClient::new()?;
        Ok(client)
    }

    fn serve(&self, req: &mut Request<'_>) -> Result<Served> {
        match req.rpc.opc() {
            op::MGS_TARGET_REG => self.target_reg(req),
            op::MGS_SET_INFO => self.set_info(req),
            op::MGS_CONFIG_READ => self.config_read(req),
            op::LLOG_ORIGIN_HANDLE_CREATE => self.llog_open(req),
            op::LLOG_ORIGIN_HANDLE_READ_HEADER => self.llog_header(req),
            op::LLOG_ORIGIN_HANDLE_NEXT_BLOCK => self.llog_block(req, true),
            op::LLOG_ORIGIN_HANDLE_PREV_BLOCK => self.llog_block(req, false),
            _ => Err(EOPNOTSUPP),
        }
    }

    fn client_gone(&self, _: &Arc<Target>, export: &Arc<Export>) {
        let Ok(client) = target::Client::of(export) else {
            return;
        };
        let Ok(client) = client.own::<MgsClient>() else {
            return;
        };
        for name in client.take() {
            if let Some(fs) = self.known(&name) {
                fs.deaf_clients.fetch_sub(1, Relaxed);
            }
        }
    }
}
