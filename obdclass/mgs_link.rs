// SPDX-License-Identifier: GPL-2.0

//! What a target has of its MGS: the connection, which it shares with the other targets of the
//! node, its registration, the logs that it follows.

use crate::devices::DeviceEntry;
use crate::mgc::{self, LogSink, Mgc, Watch};
use crate::node::{InUse, Up};
use crate::options::{Options, Role};
use crate::text::{Text, Why};
use core::fmt::Write;
use kapi::prelude::*;
use wire::disk::mountdata::LddFlags;
use wire::mgs::{MgsTargetInfo, MTI_NIDS_MAX};
use wire::nid::Nid;
use zerocopy::FromBytes;

/// How long a registration may take, seconds: that of a new target has to be written by the MGS,
/// and heard of by all clients.
const REGISTER_TIME: u32 = 60;
/// That of a target that the MGS knows.
const KNOWN_TIME: u32 = 10;

struct Shared {
    /// By which NID the MGS is known.
    key: Nid,
    mgc: Arc<Mgc>,
    users: u32,
    _device: DeviceEntry,
}

/// The connections to MGSs.
#[pin_data]
pub(crate) struct MgcTable {
    /// Held while a connection begins or ends.
    #[pin]
    all: Mutex<KVec<Shared>>,
}

impl MgcTable {
    /// None yet.
    pub(crate) fn new() -> Result<Arc<MgcTable>> {
        Arc::pin_init(
            pin_init!(MgcTable { all <- new_mutex!(KVec::new()) }),
            GFP_KERNEL,
        )
    }

    fn get(&self, up: &InUse, peers: KVec<Nid>) -> Result<(Nid, Arc<Mgc>)> {
        let key = *peers.first().ok_or(EINVAL)?;
        let mut all = self.all.lock();
        if let Some(s) = all.iter_mut().find(|s| s.key == key) {
            s.users += 1;
            return Ok((key, s.mgc.clone()));
        }
        let mgc = Mgc::start(&up.server, peers)?;
        let added = up
            .node()
            .devices
            .add(
                "mgc",
                format_args!("MGC{key}"),
                format_args!("{}", mgc.uuid()),
            )
            .and_then(|device| {
                let shared = Shared {
                    key,
                    mgc: mgc.clone(),
                    users: 1,
                    _device: device,
                };
                Ok(all.push(shared, GFP_KERNEL)?)
            });
        if let Err(e) = added {
            mgc.stop();
            return Err(e);
        }
        Ok((key, mgc))
    }

    fn put(&self, key: &Nid) {
        let mut all = self.all.lock();
        let Some(at) = all.iter().position(|s| s.key == *key) else {
            return;
        };
        if let Some(s) = all.get_mut(at) {
            s.users -= 1;
            if s.users > 0 {
                return;
            }
        }
        if let Ok(s) = all.remove(at) {
            s.mgc.stop();
        }
    }
}

/// Where the MGS may be: a NID for each node that has one we can reach.
fn peers(up: &Up, options: &Options) -> Result<KVec<Nid>> {
    let mut out = KVec::new();
    if options.mgs {
        if let Some(own) = up.lnet.nids().first() {
            out.push(*own, GFP_KERNEL)?;
        }
        return Ok(out);
    }
    for node in options.mgs_nodes.iter() {
        let ours = |n: &&Nid| up.lnet.is_local(n);
        let near = |n: &&Nid| up.lnet.nids().iter().any(|o| o.net() == n.net());
        if let Some(nid) = node.iter().find(ours).or_else(|| node.iter().find(near)) {
            out.push(*nid, GFP_KERNEL)?;
        }
    }
    Ok(out)
}

/// A target's part in a connection to its MGS. Dropped, that ends.
pub(crate) struct MgsLink {
    table: Arc<MgcTable>,
    key: Nid,
    mgc: Arc<Mgc>,
    fsname: Text,
    svname: Text,
    role: Role,
    flags: LddFlags,
    nids: KVec<Nid>,
    params: Text,
    state: Pin<KBox<Mutex<State>>>,
}

struct State {
    watches: KVec<Arc<Watch>>,
    ready: Option<u64>,
}

/// The words of mountdata that the MGS gets.
fn params(options: &Options) -> Result<Text> {
    let mut text = Text::new();
    for p in options.params.iter() {
        write!(text, "{p} ").map_err(|_| ENOMEM)?;
    }
    Ok(text)
}

impl MgsLink {
    /// Connects to the MGS, and waits for it.
    ///
    /// # Errors
    /// `EIO`: it cannot be reached. `EINVAL`: it is on no network of this node. `ENOMEM`.
    pub(crate) fn open(up: &InUse, options: &Options, why: &mut Why) -> Result<MgsLink> {
        let peers = peers(up, options)?;
        let Some(first) = peers.first().copied() else {
            return why.fail(
                EINVAL,
                format_args!(
                    "the MGS is on no network of this node: compare 'lctl list_nids' with the \
                     mgsnode of 'tunefs.lustre --dryrun {}'",
                    options.device
                ),
            );
        };
        let mut nids = KVec::new();
        nids.extend_from_slice(up.lnet.nids(), GFP_KERNEL)?;
        let state = KBox::pin_init(
            new_mutex!(State {
                watches: KVec::new(),
                ready: None,
            }),
            GFP_KERNEL,
        )?;
        let (fsname, svname) = (
            Text::copy(options.fsname())?,
            Text::copy(options.svname.as_str())?,
        );
        let params = params(options)?;
        let table = up.node().mgcs.clone();
        let (key, mgc) = table.get(up, peers)?;
        let link = MgsLink {
            table,
            key,
            mgc,
            fsname,
            svname,
            role: options.role,
            flags: options.flags,
            nids,
            params,
            state,
        };
        // Three attempts to connect, and time between them.
        let patience = Duration::from_secs(u64::from(up.rpc.limits().connect_timeout()) * 6);
        let mut connected = link.mgc.wait_connected(patience / 6);
        if connected.is_err() {
            pr_warn!("{}: waiting for the MGS at {}\n", link.svname, first);
            connected = link.mgc.wait_connected(patience);
        }
        match connected {
            Ok(()) => Ok(link),
            Err(e) => why.fail(
                EIO,
                format_args!(
                    "the MGS at {first} does not answer ({e:?}): is it mounted, does 'lctl ping \
                     {first}' reach it? Nothing was changed on {}; mount it again when the MGS \
                     is there",
                    options.device
                ),
            ),
        }
    }

    /// What the MGS is told of the target.
    fn info(&self, flags: LddFlags, instance: u32) -> Result<KVVec<u8>> {
        let mut bytes = KVVec::new();
        bytes.resize(size_of::<MgsTargetInfo>(), 0u8, GFP_KERNEL)?;
        let info = MgsTargetInfo::mut_from_bytes(&mut bytes).map_err(|_| EINVAL)?;
        let (kind, index) = match self.role {
            Role::Mdt(i) => (LddFlags::SV_TYPE_MDT, i),
            Role::Ost(i) => (LddFlags::SV_TYPE_OST, i),
            Role::Mgs => return Err(EINVAL),
        };
        info.mti_lustre_ver.set(mgc::VERSION);
        info.mti_stripe_index.set(index);
        info.set_flags(flags | kind);
        info.mti_instance.set(instance);
        for (to, from) in [
            (&mut info.mti_fsname[..], &self.fsname),
            (&mut info.mti_svname[..], &self.svname),
            (&mut info.mti_params[..], &self.params),
        ] {
            let from = from.as_str().as_bytes();
            // One byte stays for the terminator.
            if from.len() >= to.len() {
                return Err(E2BIG);
            }
            to.get_mut(..from.len()).ok_or(E2BIG)?.copy_from_slice(from);
        }
        let mut n = 0;
        let nids = self.nids.iter().filter_map(|n| n.to_nid4());
        for (to, nid) in info.mti_nids.iter_mut().zip(nids).take(MTI_NIDS_MAX) {
            to.set(nid);
            n += 1;
        }
        info.mti_nid_count.set(n);
        Ok(bytes)
    }

    /// Registers the target.
    ///
    /// # Errors
    /// What the MGS says.
    pub(crate) fn register(&self, why: &mut Why) -> Result {
        let fresh = LddFlags::VIRGIN | LddFlags::UPDATE | LddFlags::WRITECONF;
        let is_fresh = self.flags.intersects(fresh);
        let keep = fresh | LddFlags::NO_PRIMNODE;
        let info = self.info((self.flags & keep) | LddFlags::OPC_REG, 0)?;
        let time = if is_fresh { REGISTER_TIME } else { KNOWN_TIME };
        let answer = match self.mgc.register(&info, time) {
            Ok(a) => a,
            Err(e) => return self.refused(e, is_fresh, why),
        };
        let (info, _) = MgsTargetInfo::ref_from_prefix(&answer).map_err(|_| EPROTO)?;
        if info.flags().contains(LddFlags::ERROR) {
            return self.refused(EIO, true, why);
        }
        Ok(())
    }

    fn refused(&self, e: Error, is_fresh: bool, why: &mut Why) -> Result {
        let (name, fs) = (&self.svname, &self.fsname);
        if e == EADDRINUSE {
            return why.fail(
                e,
                format_args!(
                    "the file system {fs} has a {name} already: format this one with another \
                     --index, or with --replace if it takes the place of a lost one"
                ),
            );
        }
        if e == ENOENT {
            return why.fail(
                e,
                format_args!(
                    "the MGS does not know {name}: is it the right MGS? If its logs were lost, run \
                     'tunefs.lustre --writeconf' on all targets of {fs}"
                ),
            );
        }
        let network = [ETIMEDOUT, ENOTCONN, ESHUTDOWN, EHOSTUNREACH, ECONNREFUSED];
        if !is_fresh && network.contains(&e) {
            // It was registered in an earlier life.
            pr_warn!("{}: the MGS did not hear of the start: {:?}\n", name, e);
            return Ok(());
        }
        why.fail(
            e,
            format_args!("the MGS does not register {name} ({e:?}): see dmesg of the MGS node"),
        )
    }

    /// Reads a log, and follows it.
    ///
    /// # Errors
    /// Those of the connection, and of what the log says.
    pub(crate) fn follow(&self, log: &str, sink: Arc<dyn LogSink>, why: &mut Why) -> Result {
        let watch = match self.mgc.follow(log, self.fsname.as_str(), sink) {
            Ok(w) => w,
            Err(e) => {
                return why.fail(
                    e,
                    format_args!("the log {log} cannot be read from the MGS ({e:?}): see dmesg"),
                )
            }
        };
        let kept = self.state.lock().watches.push(watch.clone(), GFP_KERNEL);
        kept.map_err(|e| {
            self.mgc.unfollow(&watch);
            e.into()
        })
    }

    /// Says that the target is up.
    pub(crate) fn ready(&self, instance: u32) {
        let info = self.info(LddFlags::OPC_READY, instance.max(1));
        match info.and_then(|i| self.mgc.announce(i)) {
            Ok(id) => self.state.lock().ready = Some(id),
            Err(e) => pr_warn!("{}: not announced: {:?}\n", self.svname, e),
        }
    }

    /// Follows no log any more: no sink is called from now on.
    pub(crate) fn unfollow(&self) {
        let (watches, ready) = {
            let mut s = self.state.lock();
            (core::mem::take(&mut s.watches), s.ready.take())
        };
        if let Some(id) = ready {
            self.mgc.unannounce(id);
        }
        for w in watches.iter() {
            self.mgc.unfollow(w);
        }
    }
}

impl Drop for MgsLink {
    fn drop(&mut self) {
        self.unfollow();
        self.table.put(&self.key);
    }
}
