// SPDX-License-Identifier: GPL-2.0

//! The target: all its layers, put together.

use crate::answer::MaxSize;
use crate::connect::MAX_EASIZE;
use crate::params::{self, Params};
use crate::stats::Stats;
use kapi::params::ParamDir;
use kapi::prelude::*;
use lod::{Desc, Lod, LodConfig};
use mdd::Mdd;
use osd::Device;
use ptlrpc::export::ClientUuid;
use target::fld::Fld;
use target::seq::{Controller, SeqServer};
use target::server::Kind;
use target::{Server, Target, TargetConfig};
use wire::nid::Nid;
use wire::seq::range_type;

/// Which MDT.
pub struct MdtConfig {
    /// "lustre-MDT0000"
    pub name: KVVec<u8>,
    /// "lustre-MDT0000_UUID"
    pub uuid: ClientUuid,
    /// "lustre"
    pub fsname: KVVec<u8>,
    /// Its index: 0.
    pub index: u32,
    /// What files are like where nobody says anything else.
    pub desc: Desc,
}

/// What serves requests. It does not know its [`Target`], which has it.
#[pin_data]
pub(crate) struct Core {
    pub(crate) index: u32,
    pub(crate) mdd: Arc<Mdd>,
    pub(crate) lod: Arc<Lod>,
    pub(crate) fld: Arc<Fld>,
    pub(crate) controller: Arc<Controller>,
    pub(crate) seq: Arc<SeqServer>,
    /// Size of the largest layout.
    pub(crate) max_mdsize: MaxSize,
    pub(crate) stats: Stats,
    #[pin]
    pub(crate) params: Params,
}

/// A metadata target.
pub struct Mdt {
    core: Arc<Core>,
    server: Arc<Server>,
    target: Arc<Target>,
    params: ParamDir,
}

impl Core {
    fn assemble(
        server: &Arc<Server>,
        osd: &Arc<dyn Device>,
        config: &mut MdtConfig,
    ) -> Result<Arc<Core>> {
        let lod = Lod::new(
            server.node(),
            LodConfig {
                fsname: core::mem::take(&mut config.fsname),
                mdt_index: config.index,
                osd: osd.clone(),
                desc: config.desc,
                max_ea: MAX_EASIZE,
            },
        )?;
        let made = Core::on(osd, config, &lod);
        if made.is_err() {
            lod.stop();
        }
        made
    }

    fn on(osd: &Arc<dyn Device>, config: &MdtConfig, lod: &Arc<Lod>) -> Result<Arc<Core>> {
        let mdd = Mdd::open(osd.clone(), lod.clone())?;
        let fld = Fld::open(osd, None)?;
        let controller = Controller::open(osd, &fld)?;
        let kind = range_type::MDT;
        let source = controller.source(config.index, kind)?;
        let seq = SeqServer::open(osd, config.index, kind, source, &fld)?;
        if fld
            .lookup(wire::fid::seq::NORMAL, kind)
            .is_err_and(|e| e == ENOENT)
        {
            // The first sequences are MDT0000's, the very first is for its own use.
            seq.alloc()?;
        }
        let index = config.index;
        let lod = lod.clone();
        Arc::pin_init(
            pin_init!(Core {
                index,
                mdd,
                lod,
                fld,
                controller,
                seq,
                max_mdsize: MaxSize::new(),
                stats: Stats::new(),
                params <- Params::new(),
            }),
            GFP_KERNEL,
        )
    }
}

impl Mdt {
    /// Sets one up on its store, which is made ready if it is fresh. It serves nobody before
    /// [`Mdt::serve`].
    ///
    /// # Errors
    /// `EOPNOTSUPP`: another index than 0. `EINVAL`: what is on the store is not this target's, or
    /// damaged. `ENOMEM`, `EAGAIN`, `EIO`, `ENOSPC`, `EROFS`.
    pub fn start(
        server: &Arc<Server>,
        osd: Arc<dyn Device>,
        mut config: MdtConfig,
    ) -> Result<Arc<Mdt>> {
        if config.index != 0 {
            pr_err!("MDT{:04x}: only MDT0000 is supported\n", config.index);
            return Err(EOPNOTSUPP);
        }
        let core = Core::assemble(server, &osd, &mut config)?;
        let made = Self::with(server, osd, config, &core);
        if made.is_err() {
            core.lod.stop();
        }
        made
    }

    fn with(
        server: &Arc<Server>,
        osd: Arc<dyn Device>,
        config: MdtConfig,
        core: &Arc<Core>,
    ) -> Result<Arc<Mdt>> {
        let target = Target::new(
            server.node(),
            TargetConfig {
                name: config.name,
                uuid: config.uuid,
                index: config.index,
                osd,
                recorded: true,
                is_mdt: true,
                max_locks: u32::MAX,
            },
            core.clone(),
        )?;
        let params = params::publish(core, target.name())?;
        Ok(Arc::new(
            Mdt {
                core: core.clone(),
                server: server.clone(),
                target,
                params,
            },
            GFP_KERNEL,
        )?)
    }

    /// From now on clients connect. What was unlinked and open in the last life is destroyed: the
    /// OSTs that are known should have been added before.
    ///
    /// # Errors
    /// `EEXIST`: there is a target of this name. `ENOMEM`, `EAGAIN`, `EIO`.
    pub fn serve(&self) -> Result {
        // What is an orphan is told from what clients have open, so before there are any.
        let n = self.core.mdd.clean_orphans()?;
        if n > 0 {
            pr_info!("{}: {} orphans destroyed\n", self.name(), n);
        }
        self.server.add(Kind::Mdt, &self.target)
    }

    /// Adds an OST, or says where it is besides: a NID for each node where it may be, in the
    /// order to try.
    ///
    /// # Errors
    /// `EINVAL`: no NIDs, or no such index. `ENOMEM`, `EAGAIN`, `EIO`.
    pub fn add_ost(&self, index: u32, nids: KVec<Nid>) -> Result {
        self.core.lod.add_ost(index, nids)
    }

    /// The OSTs, and what new files are like.
    pub fn lod(&self) -> &Arc<Lod> {
        &self.core.lod
    }

    /// The name space.
    pub fn mdd(&self) -> &Arc<Mdd> {
        &self.core.mdd
    }

    /// Where sequences come from, for a target of the same node.
    pub fn controller(&self) -> &Arc<Controller> {
        &self.core.controller
    }

    /// Which target has which sequence.
    pub fn fld(&self) -> &Arc<Fld> {
        &self.core.fld
    }

    /// The target.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.target.name()
    }

    /// Sets a parameter by its name ("root_squash").
    ///
    /// # Errors
    /// `ENOENT`: there is no such one. `EINVAL`: no such value. `EPERM`: it cannot be set.
    pub fn set_param(&self, name: &str, value: &str) -> Result {
        self.core.set_param_by_name(name, value)
    }

    /// Its directory of parameters, `mdt/NAME`.
    pub fn params(&self) -> &ParamDir {
        &self.params
    }

    /// Calls `f` with the names of operations and how often each was done.
    pub fn for_each_stat(&self, f: &mut dyn FnMut(&'static str, u64)) {
        self.core.stats.for_each(f);
    }

    /// Ends it: clients are let go, what is queued for OSTs is sent if they take it soon.
    pub fn stop(&self) {
        self.server.remove(&self.target);
        self.core.lod.stop();
    }
}
