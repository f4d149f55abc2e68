// SPDX-License-Identifier: GPL-2.0

//! What a mounted MDT or OST runs: registered with the MGS, set up as its log says, following what
//! the log says later (`mgs-config.md` 6).

use crate::devices::{DeviceEntry, Devices, Entries};
use crate::link::{Ask, Link};
use crate::mgs_link::MgsLink;
use crate::node::{InUse, ServerNode};
use crate::options::{Options, Role};
use crate::pools::LogPools;
use crate::settings::{Global, Own};
use crate::target_params;
use crate::text::{Text, Why};
use core::fmt;
use kapi::params::ParamDir;
use kapi::prelude::*;
use mdt::{Desc, Mdt, MdtConfig};
use mgc::{Config, Copies, Follower, Peer};
use ofd::{Ofd, OfdConfig};
use osd::Device;
use ptlrpc::export::ClientUuid;
use wire::disk::mountdata::LddFlags;
use wire::nid::Nid;

/// What an MDT and an OST share.
struct Common {
    svname: Text,
    fsname: Text,
    node: Arc<ServerNode>,
    rpc: Arc<ptlrpc::node::Node>,
    lnet: Arc<lnet::Lnet>,
    /// The parameters of all nodes.
    global: Arc<Global>,
}

impl Common {
    /// For each node where a target may be, the NID by which it is reached from here.
    fn reachable(&self, peer: &Peer) -> Result<KVec<Nid>> {
        let mut out = KVec::new();
        for node in peer.nodes.iter() {
            let nids = &node.nids;
            let ours = |n: &&Nid| self.lnet.is_local(n);
            let near = |n: &&Nid| self.lnet.nids().iter().any(|o| o.net() == n.net());
            if let Some(nid) = nids.iter().find(ours).or_else(|| nids.iter().find(near)) {
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
            l.obd_timeout = timeout.unwrap_or(l.obd_timeout).max(1);
            l.ldlm_timeout = ldlm.unwrap_or(l.ldlm_timeout).max(1);
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

/// Whether the log sets the target up as a device of this type.
fn sets_up(config: &Config, kind: &[u8]) -> bool {
    config.own.as_ref().is_some_and(|o| *o.kind == *kind)
}

/// An MDT, and what its log says.
#[pin_data]
struct MdtSide {
    common: Common,
    devices: Arc<Devices>,
    #[pin]
    state: Mutex<MdtState>,
}

/// An OST as an MDT is told of it.
struct Ost {
    index: u32,
    nids: KVec<Nid>,
    inactive: bool,
}

struct MdtState {
    /// What the log said last.
    sets_up: bool,
    desc: Desc,
    osts: KVec<Ost>,
    pools: LogPools,
    params: Own,
    /// While it runs.
    mdt: Option<Arc<Mdt>>,
    osps: KVec<(u32, DeviceEntry, ParamDir)>,
}

impl Follower for MdtSide {
    fn changed(&self, config: &Config) -> Result {
        self.common.apply_timeouts(config);
        let mut osts = KVec::new();
        for peer in config.osts.iter() {
            let nids = self.common.reachable(peer)?;
            if nids.is_empty() {
                let (me, i) = (&self.common.svname, peer.index);
                pr_err!("{}: OST{:04x} is on no network of this node\n", me, i);
                continue;
            }
            let (index, inactive) = (peer.index.into(), peer.inactive);
            let ost = Ost {
                index,
                nids,
                inactive,
            };
            osts.push(ost, GFP_KERNEL)?;
        }
        let mut state = self.state.lock();
        state.sets_up = sets_up(config, b"mdt");
        if let Some(d) = &config.striping {
            state.desc = Desc::from_wire(d);
        }
        state.osts = osts;
        state.pools.take(&config.pools)?;
        state.params.take(&config.params)?;
        // The lock is kept, so that an MDT that stops gets no new OSTs.
        self.apply(&mut state)
    }
}

impl MdtSide {
    /// Brings the MDT to what the log says.
    fn apply(&self, state: &mut MdtState) -> Result {
        let Some(mdt) = state.mdt.clone() else {
            return Ok(());
        };
        let (me, fs) = (&self.common.svname, &self.common.fsname);
        mdt.lod().set_desc(state.desc);
        for ost in state.osts.iter() {
            let mut nids = KVec::new();
            nids.extend_from_slice(&ost.nids, GFP_KERNEL)?;
            mdt.add_ost(ost.index, nids)?;
            mdt.lod().set_active(ost.index, !ost.inactive)?;
            let i = ost.index;
            if !state.osps.iter().any(|(known, ..)| *known == i) {
                let entry = self.devices.add(
                    "osp",
                    format_args!("{fs}-OST{i:04x}-osc-MDT{:04x}", mdt.target().index()),
                    format_args!("{me}-mdtlov_UUID"),
                )?;
                let osts = mdt.lod().osts()?;
                let osp = osts.iter().find(|o| o.index() == i).ok_or(EINVAL)?;
                let params = target_params::osp(osp)?;
                state.osps.push((i, entry, params), GFP_KERNEL)?;
                let dir = Text::format(format_args!("osp/{}", osp.name()))?;
                self.common.global.apply_below(dir.as_str())?;
            }
        }
        state.pools.apply(&mdt)?;
        state.params.apply()
    }
}

/// An OST, and what the log of the clients says, where MDT0000 is.
struct OstSide {
    common: Common,
    devices: Arc<Devices>,
    link: Arc<Link>,
}

impl Follower for OstSide {
    fn changed(&self, config: &Config) -> Result {
        let Some(mdt) = config.mdts.iter().find(|m| m.index == 0) else {
            pr_info!("{}: MDT0000 has not registered yet\n", self.common.svname);
            return Ok(());
        };
        let nids = self.common.reachable(mdt)?;
        if nids.is_empty() {
            let me = &self.common.svname;
            pr_err!("{}: MDT0000 is on no network of this node\n", me);
            return Ok(());
        }
        self.link.connect(&self.common.rpc, &self.devices, nids)
    }
}

/// The log of an OST itself.
#[pin_data]
struct OwnLog {
    common: Common,
    #[pin]
    state: Mutex<OwnState>,
}

#[derive(Default)]
struct OwnState {
    sets_up: bool,
    params: Own,
    /// The OST is there.
    started: bool,
}

impl Follower for OwnLog {
    fn changed(&self, config: &Config) -> Result {
        self.common.apply_timeouts(config);
        let mut state = self.state.lock();
        state.sets_up = sets_up(config, b"obdfilter");
        state.params.take(&config.params)?;
        match state.started {
            true => state.params.apply(),
            false => Ok(()),
        }
    }
}

impl OwnLog {
    fn started(&self) -> Result {
        let mut state = self.state.lock();
        state.started = true;
        state.params.apply()
    }
}

/// What the service of either kind begins with.
struct Start<'a> {
    up: &'a InUse,
    options: &'a Options,
    osd: &'a Arc<dyn Device>,
    mgs: &'a MgsLink,
    /// Copies of the logs; a target beside its MGS needs none, and is to have none.
    copies: Option<Arc<Copies>>,
    global: Arc<Global>,
}

impl<'a> Start<'a> {
    fn new(
        up: &'a InUse,
        options: &'a Options,
        osd: &'a Arc<dyn Device>,
        mgs: &'a MgsLink,
    ) -> Result<Start<'a>> {
        let copies = match options.mgs || options.flags.contains(LddFlags::NO_LOCAL_LOGS) {
            true => None,
            false => Some(Copies::open(osd)?),
        };
        Ok(Start {
            up,
            options,
            osd,
            mgs,
            copies,
            global: Global::new()?,
        })
    }

    /// The target's name.
    fn name(&self) -> &'a str {
        self.options.svname.as_str()
    }

    fn node(&self) -> &'a Arc<ServerNode> {
        self.up.node()
    }

    fn common(&self) -> Result<Common> {
        Ok(Common {
            svname: Text::copy(self.name())?,
            fsname: Text::copy(self.options.fsname())?,
            node: self.node().clone(),
            rpc: self.up.rpc.clone(),
            lnet: self.up.lnet.clone(),
            global: self.global.clone(),
        })
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
    devices: Entries,
    params: KVec<ParamDir>,
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
            devices: Entries::new(),
            params: KVec::new(),
        };
        let started = Start::new(up, options, osd, mgs).and_then(|s| match options.role {
            Role::Mdt(index) => running.begin_mdt(&s, index, why),
            Role::Ost(index) => running.begin_ost(&s, index, why),
            Role::Mgs => Err(EINVAL),
        });
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

    #[inline(never)]
    fn begin_mdt(&mut self, s: &Start<'_>, index: u32, why: &mut Why) -> Result {
        let (node, name, fs) = (s.node(), s.name(), s.options.fsname());
        let common = s.common()?;
        let side = Arc::pin_init(
            pin_init!(MdtSide {
                common,
                devices: node.devices.clone(),
                state <- new_mutex!(MdtState {
                    sets_up: false,
                    desc: Desc::default(),
                    osts: KVec::new(),
                    pools: LogPools::default(),
                    params: Own::default(),
                    mdt: None,
                    osps: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )?;
        s.mgs.follow(name, &s.copies, side.clone(), why)?;
        let desc = {
            let state = side.state.lock();
            if !state.sets_up {
                return no_setup(name, why);
            }
            state.desc
        };
        let config = MdtConfig {
            name: bytes(name)?,
            uuid: uuid_of(format_args!("{name}"))?,
            fsname: bytes(fs)?,
            index,
            desc,
        };
        let mdt = match Mdt::start(&s.up.server, s.osd.clone(), config) {
            Ok(m) => m,
            Err(e) => return why.fail(e, format_args!("{name} does not start ({e:?}): see dmesg")),
        };
        self.service = Some(Service::Mdt(mdt.clone(), side.clone()));
        self.devices.add(
            &node.devices,
            "mds",
            format_args!("MDS"),
            format_args!("MDS_uuid"),
        )?;
        self.devices.add(
            &node.devices,
            "lod",
            format_args!("{name}-mdtlov"),
            format_args!("{name}-mdtlov_UUID"),
        )?;
        self.devices.add(
            &node.devices,
            "mdt",
            format_args!("{name}"),
            format_args!("{name}_UUID"),
        )?;
        self.devices.add(
            &node.devices,
            "mdd",
            format_args!("{fs}-MDD{index:04x}"),
            format_args!("{fs}-MDD{index:04x}_UUID"),
        )?;
        target_params::mdt(&mdt)?;
        self.params.push(target_params::lod(&mdt)?, GFP_KERNEL)?;
        let locks = target_params::namespace(mdt.target(), format_args!("mdt-{name}_UUID"))?;
        self.params.push(locks, GFP_KERNEL)?;
        {
            let mut state = side.state.lock();
            state.mdt = Some(mdt.clone());
            side.apply(&mut state)?;
        }
        s.mgs.follow_params(&s.copies, s.global.clone());
        match mdt.serve() {
            Ok(()) => Ok(()),
            Err(e) => why.fail(e, format_args!("{name} does not serve ({e:?}): see dmesg")),
        }
    }

    #[inline(never)]
    fn begin_ost(&mut self, s: &Start<'_>, index: u32, why: &mut Why) -> Result {
        let (node, name, fs) = (s.node(), s.name(), s.options.fsname());
        let common = s.common()?;
        let own = Arc::pin_init(
            pin_init!(OwnLog {
                common,
                state <- new_mutex!(OwnState::default()),
            }),
            GFP_KERNEL,
        )?;
        s.mgs.follow(name, &s.copies, own.clone(), why)?;
        if !own.state.lock().sets_up {
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
        let ofd = match Ofd::start(&s.up.server, s.osd.clone(), config) {
            Ok(o) => o,
            Err(e) => return why.fail(e, format_args!("{name} does not start ({e:?}): see dmesg")),
        };
        ofd.set_no_create(s.options.no_create);
        if let Some(t) = ofd.target() {
            let locks = target_params::namespace(&t, format_args!("filter-{name}_UUID"))?;
            self.params.push(locks, GFP_KERNEL)?;
        }
        self.service = Some(Service::Ost(ofd, link.clone()));
        self.devices.add(
            &node.devices,
            "ost",
            format_args!("OSS"),
            format_args!("OSS_uuid"),
        )?;
        self.devices.add(
            &node.devices,
            "obdfilter",
            format_args!("{name}"),
            format_args!("{name}_UUID"),
        )?;
        let side = Arc::new(
            OstSide {
                common: s.common()?,
                devices: node.devices.clone(),
                link,
            },
            GFP_KERNEL,
        )?;
        let log = Text::format(format_args!("{fs}-client"))?;
        s.mgs.follow(log.as_str(), &s.copies, side, why)?;
        own.started()?;
        s.mgs.follow_params(&s.copies, s.global.clone());
        Ok(())
    }
}

impl Drop for Running {
    /// Ends the service: its clients are let go, what it has of others is given back.
    fn drop(&mut self) {
        self.devices.stopping();
        self.params.clear();
        match self.service.take() {
            Some(Service::Mdt(mdt, side)) => {
                // Whatever the log says from now on does not reach it.
                let mut state = side.state.lock();
                state.mdt = None;
                state.pools.end();
                let osps = core::mem::take(&mut state.osps);
                drop(state);
                // Their parameters hold the connections.
                drop(osps);
                mdt.stop();
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
