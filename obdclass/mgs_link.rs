// SPDX-License-Identifier: GPL-2.0

//! What a target has of its MGS: the connection, which it shares with the other targets of the
//! node, its registration, the logs that it follows.

use crate::devices::DeviceEntry;
use crate::node::{InUse, Up};
use crate::options::{Options, Role};
use crate::text::{Text, Why};
use core::fmt::Write;
use kapi::prelude::*;
use mgc::{Copies, Follow, Follower, Mgc, MgcConfig, Registration};
use wire::disk::mountdata::LddFlags;
use wire::nid::Nid;
use wire::svname::{SvKind, SvName};

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
        let mut config = MgcConfig::new(peers);
        // Who opens a link has waited for the MGS.
        config.patience = Duration::from_secs(1);
        let mgc = Mgc::start(&up.server, config)?;
        let added = up
            .node()
            .devices
            .add(
                "mgc",
                format_args!("{}", mgc.name()),
                format_args!("{}", mgc.import().config().client_uuid),
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
    name: SvName,
    flags: LddFlags,
    params: Text,
    /// The MGS could not be reached, and need not be.
    away: bool,
    follows: Pin<KBox<Mutex<KVec<Arc<Follow>>>>>,
}

/// The words of mountdata that the MGS gets.
fn params(options: &Options) -> Result<Text> {
    let mut text = Text::new();
    for p in options.params.iter() {
        write!(text, "{p} ").map_err(|_| ENOMEM)?;
    }
    Ok(text)
}

/// How long a connection that was lost is waited for.
const RECONNECT: Duration = Duration::from_secs(20);

/// A target with these flags has no copies of logs that it could start by.
const NO_COPIES: LddFlags =
    LddFlags::from_bits_retain(FRESH.bits() | LddFlags::NO_LOCAL_LOGS.bits());

/// A target with these flags is written to the logs by its registration.
const FRESH: LddFlags = LddFlags::from_bits_retain(
    LddFlags::VIRGIN.bits() | LddFlags::UPDATE.bits() | LddFlags::WRITECONF.bits(),
);

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
        let kind = match options.role {
            Role::Ost(_) => SvKind::Ost,
            _ => SvKind::Mdt,
        };
        let name = SvName::parse(options.svname.as_str().as_bytes()).map_err(|_| EINVAL)?;
        if name.kind != kind {
            return Err(EINVAL);
        }
        let follows = KBox::pin_init(new_mutex!(KVec::new()), GFP_KERNEL)?;
        let params = params(options)?;
        let table = up.node().mgcs.clone();
        let (key, mgc) = table.get(up, peers)?;
        let mut link = MgsLink {
            table,
            key,
            mgc,
            name,
            flags: options.flags,
            params,
            away: false,
            follows,
        };
        // Three attempts to connect, and time between them.
        let patience = Duration::from_secs(u64::from(up.rpc.limits().connect_timeout()));
        let mut connected = link.mgc.import().wait_full(patience);
        if connected.is_err() {
            pr_warn!("{}: waiting for the MGS at {}\n", name, first);
            connected = link.mgc.import().wait_full(patience * 2);
        }
        match connected {
            Ok(()) => Ok(link),
            // Beside its MGS a target has no copies of logs.
            Err(e) if !link.flags.intersects(NO_COPIES) && !up.lnet.is_local(&first) => {
                pr_warn!(
                    "{}: the MGS at {} does not answer ({:?}): starting by the copies of its logs\n",
                    name,
                    first,
                    e
                );
                link.away = true;
                Ok(link)
            }
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

    /// Registers the target.
    ///
    /// # Errors
    /// What the MGS says.
    pub(crate) fn register(&self, why: &mut Why) -> Result {
        if self.away {
            return Ok(());
        }
        let r = Registration {
            fs: self.name.fs,
            kind: self.name.kind,
            index: Some(self.name.index),
            flags: self.flags & (FRESH | LddFlags::NO_PRIMNODE),
            nids: KVec::new(),
            params: self.params.to_bytes()?,
        };
        let mut registered = self.mgc.register(&r);
        if registered.as_ref().is_err_and(|e| *e == EIO) {
            // An MGS that was started anew does not know the connection: there is another one soon.
            if self.mgc.import().wait_full(RECONNECT).is_ok() {
                registered = self.mgc.register(&r);
            }
        }
        match registered {
            Ok(_) => Ok(()),
            Err(e) => self.refused(e, why),
        }
    }

    fn refused(&self, e: Error, why: &mut Why) -> Result {
        let (name, fs) = (&self.name, &self.name.fs);
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
        if !self.flags.intersects(FRESH) && network.contains(&e) {
            // It was registered in an earlier life.
            pr_warn!("{}: the MGS did not hear of the start: {:?}\n", name, e);
            return Ok(());
        }
        why.fail(
            e,
            format_args!("the MGS does not register {name} ({e:?}): see dmesg of the MGS node"),
        )
    }

    /// Whether the MGS has heard of the target as the mount options have it.
    pub(crate) fn has_registered(&self) -> bool {
        !self.away
    }

    /// Reads a log, and follows it; `copies` serves while the MGS is away.
    ///
    /// # Errors
    /// Those of the connection, and of what the log says.
    pub(crate) fn follow(
        &self,
        log: &str,
        copies: &Option<Arc<Copies>>,
        follower: Arc<dyn Follower>,
        why: &mut Why,
    ) -> Result {
        let follow = match self.mgc.follow(log.as_bytes(), copies.clone(), follower) {
            Ok(f) => f,
            Err(e) => {
                return why.fail(
                    e,
                    format_args!(
                        "the log {log} cannot be read from the MGS, and there is no copy ({e:?}): \
                         see dmesg"
                    ),
                )
            }
        };
        let kept = self.follows.lock().push(follow.clone(), GFP_KERNEL);
        kept.map_err(|e| {
            self.mgc.unfollow(&follow);
            e.into()
        })
    }

    /// Follows the parameters for all nodes. Without them a target works all the same.
    pub(crate) fn follow_params(&self, copies: &Option<Arc<Copies>>, follower: Arc<dyn Follower>) {
        let followed = self.mgc.follow_params(copies.clone(), follower);
        let kept = followed.and_then(|f| {
            let kept = self.follows.lock().push(f.clone(), GFP_KERNEL);
            kept.map_err(|e| {
                self.mgc.unfollow(&f);
                e.into()
            })
        });
        if let Err(e) = kept {
            pr_warn!(
                "{}: parameters of all nodes are not followed: {:?}\n",
                self.name,
                e
            );
        }
    }

    /// Says that the target is up.
    pub(crate) fn ready(&self, instance: u32) {
        let no_primnode = self.flags.contains(LddFlags::NO_PRIMNODE);
        let told = self.mgc.ready(self.name, instance.max(1), &[], no_primnode);
        if let Err(e) = told {
            pr_info!("{}: the MGS will be told later: {:?}\n", self.name, e);
        }
    }

    /// Follows no log any more.
    pub(crate) fn unfollow(&self) {
        self.mgc.gone(&self.name);
        let follows = core::mem::take(&mut *self.follows.lock());
        for f in follows.iter() {
            self.mgc.unfollow(f);
        }
    }
}

impl Drop for MgsLink {
    fn drop(&mut self) {
        self.unfollow();
        self.table.put(&self.key);
    }
}
