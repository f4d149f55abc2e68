// SPDX-License-Identifier: GPL-2.0

//! A mounted file system: its configuration, the connections to its targets, and what is known of
//! its inodes.

use crate::config::{FsConfig, TargetConfig};
use crate::error::MountError;
use crate::fs::{Inodes, Link, Watcher};
use crate::mdc::Mdc;
use crate::mgc::Mgc;
use crate::node::ClientNode;
use crate::osc::{CleanCache, Ost, Tell};
use crate::spec::MountSpec;
use crate::sync::{guard, Condition};
use crate::target::TargetEvents;
use kapi::prelude::*;
use ldlm::client::CacheOps;
use std::collections::BTreeMap;
use std::sync::{Arc as StdArc, Mutex as StdMutex, RwLock as StdRwLock, Weak};
use wire::fid::Fid;

/// How a file system is mounted.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Nothing is changed.
    pub read_only: bool,
    /// Data carry checksums.
    pub checksums: bool,
    /// Bytes of clean data that are kept.
    pub cache: usize,
    /// Bytes of each OST that are dirty at the most.
    pub dirty: u64,
    /// How long servers may take to answer the first time.
    pub timeout: Duration,
    /// File locks are the file system's, not this host's alone.
    pub flock: bool,
}

impl Default for MountOptions {
    fn default() -> Self {
        MountOptions {
            read_only: false,
            checksums: true,
            cache: (memory() / 8).clamp(32 << 20, 256 << 20) as usize,
            dirty: (memory() / 32).clamp(8 << 20, 64 << 20),
            timeout: Duration::from_secs(60),
            flock: true,
        }
    }
}

/// Bytes of memory that this host has.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or(1 << 30, |k| k.saturating_mul(1024))
}

struct NoEvents;
impl TargetEvents for NoEvents {}

/// A mounted file system.
pub struct Mount {
    pub(crate) node: StdArc<ClientNode>,
    pub(crate) options: MountOptions,
    uuid: String,
    mgc: Option<Mgc>,
    config: StdMutex<FsConfig>,
    pub(crate) mdc: Mdc,
    pub(crate) osts: StdRwLock<BTreeMap<u32, StdArc<Ost>>>,
    pub(crate) inodes: StdArc<Inodes>,
    clean: StdArc<CleanCache>,
    root: Fid,
    stopping: StdMutex<bool>,
    stopped: Condition,
    thread: StdMutex<Option<std::thread::JoinHandle<()>>>,
}

/// A UUID of our own: random, in the usual form.
fn new_uuid() -> String {
    let (a, b) = (kapi::rand::u64(), kapi::rand::u64());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        ((b >> 48) & 0x3fff) | 0x8000,
        b & 0xffff_ffff_ffff
    )
}

/// How often is looked whether the configuration has changed.
const NEWS: std::time::Duration = std::time::Duration::from_secs(5);

impl Mount {
    /// Mounts.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn new(
        node: &StdArc<ClientNode>,
        spec: &MountSpec,
        options: MountOptions,
    ) -> Result<StdArc<Mount>, MountError> {
        let uuid = new_uuid();
        let mgc = Mgc::connect(node, spec, &uuid, options.timeout)?;
        let made = read_config(&mgc)
            .and_then(|c| Self::connect(node, c, spec.fileset.as_deref(), options, uuid));
        let mut m = match made {
            Ok(m) => m,
            Err(e) => {
                mgc.stop();
                return Err(e);
            }
        };
        m.mgc = Some(mgc);
        let m = StdArc::new(m);
        let weak = StdArc::downgrade(&m);
        let b = std::thread::Builder::new().name("config".into());
        match b.spawn(move || follow(&weak)) {
            Ok(t) => *guard(&m.thread) = Some(t),
            Err(e) => {
                m.stop();
                return Err(MountError::Other("no thread", e.into()));
            }
        }
        Ok(m)
    }

    /// Mounts what a configuration describes, which does not change.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn configured(
        node: &StdArc<ClientNode>,
        config: FsConfig,
        options: MountOptions,
    ) -> Result<StdArc<Mount>, MountError> {
        let m = Self::connect(node, config, None, options, new_uuid())?;
        Ok(StdArc::new(m))
    }

    fn connect(
        node: &StdArc<ClientNode>,
        config: FsConfig,
        fileset: Option<&str>,
        options: MountOptions,
        uuid: String,
    ) -> Result<Mount, MountError> {
        let inodes = StdArc::new(Inodes::default());
        let mdts: Vec<TargetConfig> = config.mdts().into_iter().filter(|m| !m.inactive).collect();
        let [mdt] = &mdts[..] else {
            return Err(MountError::Config(format!(
                "it has {} MDTs, and this client can use one only",
                mdts.len()
            )));
        };
        let failed = |e| MountError::Mdt(mdt.uuid.trim_end_matches("_UUID").into(), e);
        let ops: Arc<dyn CacheOps> =
            Arc::new(Link(StdArc::downgrade(&inodes)), GFP_KERNEL).map_err(|e| failed(e.into()))?;
        let events = StdArc::new(NoEvents);
        let mdc = Mdc::new(node, mdt, &uuid, options.read_only, ops, events).map_err(failed)?;
        let up = mdc.target().import().wait_full(options.timeout);
        let root = up.and_then(|()| mdc.root(fileset));
        let root = match (root, fileset) {
            (Ok(r), _) => r,
            (Err(e), Some(dir)) if e == ENOENT || e == ENOTDIR => {
                mdc.target().stop();
                return Err(MountError::Spec(format!(
                    "there is no directory '{dir}' in the file system"
                )));
            }
            (Err(e), _) => {
                mdc.target().stop();
                return Err(failed(e));
            }
        };
        let clean = StdArc::new(CleanCache::new(options.cache));
        let mut osts = BTreeMap::new();
        for t in config.osts().iter().filter(|t| !t.inactive) {
            match Ost::new(node, t, &uuid, &clean, tell(&inodes), &options) {
                Ok(o) => {
                    osts.insert(t.index, o);
                }
                Err(e) => pr_err!("{}: cannot be used: {:?}\n", t.uuid, e),
            }
        }
        // Those that are up are up soon. The others will be used when they come.
        let start = Instant::now();
        for o in osts.values() {
            let left = Duration::from_secs(5)
                .checked_sub(start.elapsed())
                .unwrap_or_default();
            let up = o.target().and_then(|t| t.import().wait_full(left));
            if let Err(e) = up {
                pr_warn!("{}: not connected yet: {:?}\n", o.uuid, e);
            }
        }
        Ok(Mount {
            node: node.clone(),
            options,
            uuid,
            mgc: None,
            config: StdMutex::new(config),
            mdc,
            osts: StdRwLock::new(osts),
            inodes,
            clean,
            root,
            stopping: StdMutex::new(false),
            stopped: Condition::default(),
            thread: StdMutex::new(None),
        })
    }

    /// The directory that is mounted.
    pub fn root(&self) -> Fid {
        self.root
    }

    /// Whether nothing is changed.
    pub fn is_read_only(&self) -> bool {
        self.options.read_only
    }

    /// Whether file locks are asked for at the MDT.
    pub fn has_flock(&self) -> bool {
        self.options.flock
    }

    /// Our UUID at the targets.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Tells `w` what is to be forgotten.
    pub fn watch(&self, w: StdArc<dyn Watcher>) {
        self.inodes.watch(Some(w));
    }

    /// The MDT.
    pub fn mdc(&self) -> &Mdc {
        &self.mdc
    }

    /// The OSTs.
    pub fn osts(&self) -> Vec<StdArc<Ost>> {
        let all = self.osts.read().unwrap_or_else(|e| e.into_inner());
        all.values().cloned().collect()
    }

    /// Takes over what has changed in the configuration.
    fn refresh(&self) -> Result {
        let Some(mgc) = &self.mgc else { return Ok(()) };
        let news = mgc.news()?;
        if news.is_empty() {
            return Ok(());
        }
        let targets = {
            let mut c = guard(&self.config);
            for r in &news {
                if let Err(e) = c.apply(&r.payload) {
                    pr_warn!("configuration: {}\n", e);
                }
            }
            c.osts()
        };
        for t in targets.iter().filter(|t| !t.inactive) {
            let known = {
                let all = self.osts.read().unwrap_or_else(|e| e.into_inner());
                all.contains_key(&t.index)
            };
            if known {
                continue;
            }
            let tell = tell(&self.inodes);
            let (node, clean) = (&self.node, &self.clean);
            let ost = Ost::new(node, t, &self.uuid, clean, tell, &self.options)?;
            let mut all = self.osts.write().unwrap_or_else(|e| e.into_inner());
            all.insert(t.index, ost);
        }
        Ok(())
    }

    /// Gives back all locks that are not in use, and with them what is cached.
    pub fn drop_caches(&self) {
        let drop = |t: &crate::target::Target| {
            t.locks().clear();
            t.locks().work();
        };
        drop(self.mdc.target());
        for o in self.osts() {
            if let Ok(t) = o.target() {
                drop(t);
            }
        }
    }

    /// Writes back all data and ends the connections.
    pub fn stop(&self) {
        *guard(&self.stopping) = true;
        self.stopped.notify_all();
        self.inodes.watch(None);
        let thread = guard(&self.thread).take();
        if let Some(t) = thread {
            if t.join().is_err() {
                pr_err!("the configuration's thread ended by panic\n");
            }
        }
        let osts = self.osts();
        std::thread::scope(|s| {
            for o in &osts {
                s.spawn(|| o.stop());
            }
        });
        self.mdc.target().stop();
        if let Some(m) = &self.mgc {
            m.stop();
        }
    }
}

/// The configuration, as the MGS has it.
fn read_config(mgc: &Mgc) -> Result<FsConfig, MountError> {
    let mut config = FsConfig::default();
    for r in mgc.log()? {
        config
            .apply(&r.payload)
            .map_err(|e| MountError::Config(e.to_string()))?;
    }
    match config.is_complete() {
        true => Ok(config),
        false => Err(MountError::Config("the log is not complete".into())),
    }
}

fn tell(inodes: &StdArc<Inodes>) -> Tell {
    let weak = StdArc::downgrade(inodes);
    StdArc::new(move |fid| {
        if let Some(w) = weak.upgrade().and_then(|i| i.watcher()) {
            w.data_gone(fid);
        }
    })
}

/// Follows changes of the configuration.
fn follow(mount: &Weak<Mount>) {
    loop {
        let Some(m) = mount.upgrade() else { return };
        if let Err(e) = m.refresh() {
            pr_debug!("configuration: {:?}\n", e);
        }
        let s = guard(&m.stopping);
        if *s {
            return;
        }
        let s = m.stopped.wait_for(s, NEWS);
        if *s {
            return;
        }
    }
}
