// SPDX-License-Identifier: GPL-2.0

//! What a mounted MDT or OST runs: registered with the MGS, set up as its log says, following what
//! the log says later (`mgs-config.md` 6).

use crate::config::{Config, Peer};
use crate::devices::{DeviceEntry, Devices};
use crate::link::{Ask, Link};
use crate::mgc::LogSink;
use crate::mgs_link::MgsLink;
use crate::node::{InUse, ServerNode, Up};
use crate::options::{Options, Role};
use crate::text::{Text, Why};
use core::fmt;
use kapi::prelude::*;
use mdt::{Desc, Mdt, MdtConfig};
use ofd::{Ofd, OfdConfig};
use osd::Device;
use ptlrpc::export::ClientUuid;
use wire::nid::Nid;

/// What an MDT and an OST share.
struct Common {
    svname: Text,
    fsname: Text,
    node: Arc<ServerNode>,
    rpc: Arc<ptlrpc::node::Node>,
    lnet: Arc<lnet::Lnet>,
}

impl Common {
    /// For each node where a target may be, the NID by which it is reached from here.
    fn reachable(&self, peer: &Peer) -> Result<KVec<Nid>> {
        let mut out = KVec::new();
        for node in peer.nodes.iter() {
            let ours = |n: &&Nid| self.lnet.is_local(n);
            let near = |n: &&Nid| self.lnet.nids().iter().any(|o| o.net() == n.net());
            if let Some(nid) = node.iter().find(ours).or_else(|| node.iter().find(near)) {
                out.push(*nid, GFP_KERNEL)?;
            }
        }
        Ok(out)
    }

    /// Time-outs that the log has.
    fn apply_timeouts(&self, c: &Config) {
        let (timeout, ldlm) = (c.timeout, c.ldlm_timeout);
        if timeout.is_none() && ldlm.is_none() {
            return;
        }
        self.node.set_limits(|l| {
            l.obd_timeout = timeout.unwrap_or(l.obd_timeout);
            l.ldlm_timeout = ldlm.unwrap_or(l.ldlm_timeout);
        });
    }
}

fn uuid_of(name: fmt::Arguments<'_>) -> Result<ClientUuid> {
    let text = Text::format(format_args!("{name}_UUID"))?;
    ClientUuid::new(text.as_str().as_bytes())
}

fn bytes(text: &str) -> Result<KVVec<u8>> {
    Text::copy(text)?.to_bytes()
}

/// An MDT and its log.
#[pin_data]
struct MdtSide {
    common: Common,
    devices: Arc<Devices>,
    #[pin]
    state: Mutex<MdtState>,
}

struct MdtState {
    config: Config,
    /// Parameters that were set.
    params_done: usize,
    mdt: Option<Arc<Mdt>>,
    osps: KVec<(u32, DeviceEntry)>,
}

impl LogSink for MdtSide {
    fn record(&self, payload: &[u8]) -> Result {
        self.state.lock().config.apply(payload)
    }

    fn caught_up(&self) {
        let mdt = self.state.lock().mdt.clone();
        if let Some(mdt) = mdt {
            if let Err(e) = self.apply(&mdt) {
                pr_err!("{}: the new configuration: {:?}\n", self.common.svname, e);
            }
        }
    }
}

impl MdtSide {
    /// Brings the MDT to what the log says.
    fn apply(&self, mdt: &Arc<Mdt>) -> Result {
        let mut state = self.state.lock();
        self.common.apply_timeouts(&state.config);
        if let Some(d) = &state.config.striping {
            mdt.lod().set_desc(Desc::from_wire(d));
        }
        for ost in state.config.osts()?.iter() {
            let nids = self.common.reachable(ost)?;
            if nids.is_empty() {
                pr_err!(
                    "{}: {} is on no network of this node\n",
                    self.common.svname,
                    ost.uuid
                );
                continue;
            }
            mdt.add_ost(ost.index, nids)?;
            mdt.lod().set_active(ost.index, !ost.inactive)?;
            if !state.osps.iter().any(|(i, _)| *i == ost.index) {
                let (fs, i) = (&self.common.fsname, ost.index);
                let svname = &self.common.svname;
                let entry = self.devices.add(
                    "osp",
                    format_args!("{fs}-OST{i:04x}-osc-MDT{:04x}", mdt.target().index()),
                    format_args!("{svname}-mdtlov_UUID"),
                )?;
                state.osps.push((i, entry), GFP_KERNEL)?;
            }
        }
        let from = state.params_done;
        state.params_done = state.config.params.len();
        for (device, param) in state.config.params.iter().skip(from) {
            let (device, param) = (device.as_str(), param.as_str());
            if device != self.common.svname.as_str() {
                continue;
            }
            let Some((name, value)) = param.split_once('=') else {
                continue;
            };
            let name = name.strip_prefix("mdt.").unwrap_or(name);
            if let Err(e) = mdt.set_param(name, value) {
                pr_warn!("{}: parameter {}: {:?}\n", self.common.svname, param, e);
            }
        }
        Ok(())
    }
}

/// An OST and the log of the clients, which tells where MDT0000 is.
#[pin_data]
struct OstSide {
    common: Common,
    devices: Arc<Devices>,
    link: Arc<Link>,
    #[pin]
    clients: Mutex<Config>,
}

impl LogSink for OstSide {
    fn record(&self, payload: &[u8]) -> Result {
        self.clients.lock().apply(payload)
    }

    fn caught_up(&self) {
        if let Err(e) = self.find_mdt() {
            pr_err!("{}: the way to MDT0000: {:?}\n", self.common.svname, e);
        }
    }
}

impl OstSide {
    fn find_mdt(&self) -> Result {
        let mdts = self.clients.lock().mdts()?;
        let Some(mdt) = mdts.iter().find(|m| m.index == 0) else {
            pr_info!("{}: MDT0000 has not registered yet\n", self.common.svname);
            return Ok(());
        };
        let nids = self.common.reachable(mdt)?;
        self.link.connect(&self.common.rpc, &self.devices, nids)
    }
}

/// The log of an OST itself.
#[pin_data]
struct OwnLog {
    common: Common,
    #[pin]
    config: Mutex<Config>,
}

impl LogSink for OwnLog {
    fn record(&self, payload: &[u8]) -> Result {
        self.config.lock().apply(payload)
    }

    fn caught_up(&self) {
        self.common.apply_timeouts(&self.config.lock());
    }
}

/// The service of a target.
enum Service {
    Mdt(Arc<Mdt>, Arc<MdtSide>),
    Ost(Arc<Ofd>, Arc<Link>),
}

/// A running service, and what it hangs on.
pub(crate) struct Running {
    server: Arc<target::Server>,
    service: Option<Service>,
    devices: KVec<DeviceEntry>,
}

impl Running {
    /// Starts the service of a target that is registered.
    pub(crate) fn start(
        up: &InUse,
        options: &Options,
        osd: &Arc<dyn Device>,
        mgs: &MgsLink,
        why: &mut Why,
    ) -> Result<Running> {
        let mut running = Running {
            server: up.server.clone(),
            service: None,
            devices: KVec::new(),
        };
        let started = match options.role {
            Role::Mdt(index) => running.begin_mdt(up, options, osd, mgs, index, why),
            Role::Ost(index) => running.begin_ost(up, options, osd, mgs, index, why),
            Role::Mgs => Err(EINVAL),
        };
        if let Err(e) = started {
            mgs.unfollow();
            return Err(e);
        }
        Ok(running)
    }

    /// Which life of the target this is.
    pub(crate) fn instance(&self) -> u32 {
        match &self.service {
            Some(Service::Mdt(m, _)) => m.target().instance(),
            Some(Service::Ost(o, _)) => o.target().map_or(1, |t| t.instance()),
            None => 1,
        }
    }

    fn common(up: &Up, node: &Arc<ServerNode>, options: &Options) -> Result<Common> {
        Ok(Common {
            svname: Text::copy(options.svname.as_str())?,
            fsname: Text::copy(options.fsname())?,
            node: node.clone(),
            rpc: up.rpc.clone(),
            lnet: up.lnet.clone(),
        })
    }

    fn device(
        &mut self,
        node: &ServerNode,
        kind: &'static str,
        name: fmt::Arguments<'_>,
        uuid: fmt::Arguments<'_>,
    ) -> Result {
        let d = node.devices.add(kind, name, uuid)?;
        Ok(self.devices.push(d, GFP_KERNEL)?)
    }

    fn begin_mdt(
        &mut self,
        up: &InUse,
        options: &Options,
        osd: &Arc<dyn Device>,
        mgs: &MgsLink,
        index: u32,
        why: &mut Why,
    ) -> Result {
        let (node, name) = (up.node(), options.svname.as_str());
        let fs = options.fsname();
        let (common, config) = (Self::common(up, node, options)?, Config::new(name)?);
        let side = Arc::pin_init(
            pin_init!(MdtSide {
                common,
                devices: node.devices.clone(),
                state <- new_mutex!(MdtState {
                    config,
                    params_done: 0,
                    mdt: None,
                    osps: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )?;
        mgs.follow(name, side.clone(), why)?;
        let desc = {
            let state = side.state.lock();
            if !state.config.sets_up("mdt") {
                return no_setup(name, why);
            }
            state.config.striping.as_ref().map(Desc::from_wire)
        };
        let config = MdtConfig {
            name: bytes(name)?,
            uuid: uuid_of(format_args!("{name}"))?,
            fsname: bytes(fs)?,
            index,
            desc: desc.unwrap_or_default(),
        };
        let mdt = match Mdt::start(&up.server, osd.clone(), config) {
            Ok(m) => m,
            Err(e) => return why.fail(e, format_args!("{name} does not start ({e:?}): see dmesg")),
        };
        self.service = Some(Service::Mdt(mdt.clone(), side.clone()));
        self.device(node, "mds", format_args!("MDS"), format_args!("MDS_uuid"))?;
        self.device(
            node,
            "lod",
            format_args!("{name}-mdtlov"),
            format_args!("{name}-mdtlov_UUID"),
        )?;
        self.device(
            node,
            "mdt",
            format_args!("{name}"),
            format_args!("{name}_UUID"),
        )?;
        self.device(
            node,
            "mdd",
            format_args!("{fs}-MDD{index:04x}"),
            format_args!("{fs}-MDD{index:04x}_UUID"),
        )?;
        side.apply(&mdt)?;
        side.state.lock().mdt = Some(mdt.clone());
        // What the log said in between.
        side.apply(&mdt)?;
        match mdt.serve() {
            Ok(()) => Ok(()),
            Err(e) => why.fail(e, format_args!("{name} does not serve ({e:?}): see dmesg")),
        }
    }

    fn begin_ost(
        &mut self,
        up: &InUse,
        options: &Options,
        osd: &Arc<dyn Device>,
        mgs: &MgsLink,
        index: u32,
        why: &mut Why,
    ) -> Result {
        let (node, name) = (up.node(), options.svname.as_str());
        let fs = options.fsname();
        let (common, config) = (Self::common(up, node, options)?, Config::new(name)?);
        let own = Arc::pin_init(
            pin_init!(OwnLog {
                common,
                config <- new_mutex!(config),
            }),
            GFP_KERNEL,
        )?;
        mgs.follow(name, own.clone(), why)?;
        if !own.config.lock().sets_up("obdfilter") {
            return no_setup(name, why);
        }
        let link = Link::new(fs, index)?;
        let ask = Arc::new(Ask(link.clone()), GFP_KERNEL)?;
        let config = OfdConfig {
            name: bytes(name)?,
            uuid: uuid_of(format_args!("{name}"))?,
            index: u16::try_from(index)?,
            sequences: ask.clone(),
            ranges: ask,
        };
        let ofd = match Ofd::start(&up.server, osd.clone(), config) {
            Ok(o) => o,
            Err(e) => return why.fail(e, format_args!("{name} does not start ({e:?}): see dmesg")),
        };
        ofd.set_no_create(options.no_create);
        self.service = Some(Service::Ost(ofd, link.clone()));
        self.device(node, "ost", format_args!("OSS"), format_args!("OSS_uuid"))?;
        self.device(
            node,
            "obdfilter",
            format_args!("{name}"),
            format_args!("{name}_UUID"),
        )?;
        let (common, config) = (Self::common(up, node, options)?, Config::new(name)?);
        let side = Arc::pin_init(
            pin_init!(OstSide {
                common,
                devices: node.devices.clone(),
                link,
                clients <- new_mutex!(config),
            }),
            GFP_KERNEL,
        )?;
        let log = Text::format(format_args!("{fs}-client"))?;
        mgs.follow(log.as_str(), side, why)
    }
}

impl Drop for Running {
    /// Ends the service: its clients are let go, what it has of others is given back.
    fn drop(&mut self) {
        for d in self.devices.iter() {
            d.stopping();
        }
        match self.service.take() {
            Some(Service::Mdt(mdt, side)) => {
                mdt.stop();
                let mut state = side.state.lock();
                state.mdt = None;
                state.osps.clear();
            }
            Some(Service::Ost(ofd, link)) => {
                link.close();
                ofd.stop(&self.server);
            }
            None => {}
        }
        self.devices.clear();
    }
}

fn no_setup(name: &str, why: &mut Why) -> Result {
    why.fail(
        ENXIO,
        format_args!(
            "the configuration log {name} of the MGS does not set the target up: run \
             'tunefs.lustre --writeconf' on all targets of the file system, and mount them again"
        ),
    )
}
