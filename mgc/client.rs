// SPDX-License-Identifier: GPL-2.0

//! The connection to the MGS, and the threads that keep up with it.

use crate::copies::Copies;
use crate::follow::{Follow, Follower, Source};
use crate::locks::{Locks, Lost};
use crate::register::Ready;
use kapi::prelude::*;
use kapi::thread::Threads;
use ldlm::core::ResId;
use ptlrpc::export::ClientUuid;
use ptlrpc::import::{Import, ImportConfig, ImportEvents, State};
use target::Server;
use wire::connect::{version, ConnectData, ConnectFlags, ConnectFlags2};
use wire::mgs::MgsConfigType;
use wire::nid::Nid;
use wire::opcode::{portal, MGS_CONNECT, MGS_DISCONNECT};
use wire::svname::SvName;

/// The release whose protocol this is.
pub(crate) const VERSION: u32 = version(2, 17, 0, 0);
/// The part of an MGC (`ptlrpc.md` 12.1).
const PART: u8 = 3;
/// Logs that a node follows.
const MAX_FOLLOWED: usize = 4096;

/// How the MGS is reached.
pub struct MgcConfig {
    /// NIDs of the nodes that it may be on, in the order to try.
    pub mgs_nids: KVec<Nid>,
    /// How long after a change a log is read again: changes come in groups.
    pub requeue: Duration,
    /// How long to wait for the MGS before a copy is used.
    pub patience: Duration,
}

impl MgcConfig {
    /// The defaults, for an MGS at these NIDs.
    pub fn new(mgs_nids: KVec<Nid>) -> MgcConfig {
        MgcConfig {
            mgs_nids,
            requeue: Duration::from_secs(1),
            patience: Duration::from_secs(10),
        }
    }
}

struct Work {
    stopping: bool,
    /// Something may have to be read again.
    stale: bool,
    /// The connection is there anew: targets that are up say so again.
    announce: bool,
}

/// What the locks and the import tell.
#[pin_data]
pub(crate) struct News {
    #[pin]
    follows: Mutex<KVec<Arc<Follow>>>,
    #[pin]
    work: Mutex<Work>,
    #[pin]
    wake: CondVar,
}

impl News {
    fn all(&self) -> KVec<Arc<Follow>> {
        let mut out = KVec::new();
        let all = self.follows.lock();
        for f in all.iter() {
            if out.push(f.clone(), GFP_KERNEL).is_err() {
                break;
            }
        }
        out
    }

    fn tell(&self, change: impl FnOnce(&mut Work)) {
        change(&mut self.work.lock());
        self.wake.notify_all();
    }

    fn all_lost(&self) {
        for f in self.follows.lock().iter() {
            f.set_lost();
        }
    }
}

impl Lost for News {
    fn lost(&self, res: &ResId) {
        for f in self.follows.lock().iter().filter(|f| f.is_of(res)) {
            f.set_lost();
        }
        self.tell(|w| w.stale = true);
    }
}

struct Events {
    news: Arc<News>,
    locks: Locks,
}

impl ImportEvents for Events {
    fn active(&self, _: &ConnectData) {
        self.locks.connected();
        self.news.tell(|w| {
            w.stale = true;
            w.announce = true;
        });
    }

    fn evicted(&self) {
        self.locks.evicted();
        self.news.all_lost();
    }
}

/// A connection to an MGS.
#[pin_data]
pub struct Mgc {
    name: KVVec<u8>,
    server: Arc<Server>,
    import: Arc<Import>,
    locks: Locks,
    news: Arc<News>,
    config: MgcConfig,
    own_nids: KVec<Nid>,
    #[pin]
    ready: Mutex<KVec<Arc<Ready>>>,
    #[pin]
    threads: Mutex<Threads>,
}

fn wanted() -> ConnectData {
    let mut wanted = ConnectData::default();
    wanted.set_flags(
        ConnectFlags::VERSION
            | ConnectFlags::AT
            | ConnectFlags::FULL20
            | ConnectFlags::IMP_RECOV
            | ConnectFlags::BULK_MBITS
            | ConnectFlags::MGS_NIDLIST
            | ConnectFlags::FLAGS2,
        ConnectFlags2::REP_MBITS | ConnectFlags2::LARGE_NID,
    );
    wanted.ocd_version.set(VERSION);
    wanted
}

/// A random UUID, as text.
fn uuid() -> Result<ClientUuid> {
    let (a, b) = (kapi::rand::u64(), kapi::rand::u64());
    let text = wire::disk::names::Name::new(format_args!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    ));
    ClientUuid::new(text.map_err(|_| EINVAL)?.as_bytes())
}

impl Mgc {
    /// Begins to connect. The MGS may be away: what can be done without it is done.
    ///
    /// # Errors
    /// `EINVAL`: no NIDs. `ENOMEM`, `EAGAIN`: no threads to be had.
    pub fn start(server: &Arc<Server>, config: MgcConfig) -> Result<Arc<Mgc>> {
        let lnet = server.node().lnet();
        let first = config.mgs_nids.first().ok_or(EINVAL)?;
        let name = wire::disk::names::Name::new(format_args!("MGC{first}"));
        let name = name.map_err(|_| EINVAL)?;
        let mut bytes = KVVec::new();
        bytes.extend_from_slice(name.as_bytes(), GFP_KERNEL)?;
        let mut own_nids = KVec::new();
        own_nids.extend_from_slice(lnet.nids(), GFP_KERNEL)?;
        own_nids.retain(|n| *n != Nid::LO);
        let mut peers: KVec<Nid> = KVec::new();
        for nid in &config.mgs_nids {
            // An MGS of this node is not reached over a network.
            let nid = match lnet.is_local(nid) {
                true => Nid::LO,
                false => *nid,
            };
            if !peers.contains(&nid) {
                peers.push(nid, GFP_KERNEL)?;
            }
        }
        let news = Arc::pin_init(
            pin_init!(News {
                follows <- new_mutex!(KVec::new()),
                work <- new_mutex!(Work {
                    stopping: false,
                    stale: false,
                    announce: false,
                }),
                wake <- new_condvar!(),
            }),
            GFP_KERNEL,
        )?;
        let locks = Locks::new(news.clone())?;
        let events = Events {
            news: news.clone(),
            locks: locks.clone(),
        };
        let import_config = ImportConfig {
            target_uuid: ClientUuid::new(b"MGS")?,
            client_uuid: uuid()?,
            peers,
            request_portal: portal::MGS_REQUEST,
            reply_portal: portal::MGC_REPLY,
            connect_opc: MGS_CONNECT,
            disconnect_opc: MGS_DISCONNECT,
            wanted: wanted(),
            max_modify: 1,
            part: PART,
        };
        let events = Arc::new(events, GFP_KERNEL)?;
        let import = Import::new(server.node(), import_config, Some(events))?;
        locks.set_import(Some(import.clone()));
        let connection = import.clone();
        let made = Arc::pin_init(
            pin_init!(Mgc {
                name: bytes,
                server: server.clone(),
                import: connection,
                locks,
                news,
                config,
                own_nids,
                ready <- new_mutex!(KVec::new()),
                threads <- new_mutex!(Threads::new()),
            }),
            GFP_KERNEL,
        );
        let mgc = match made {
            Ok(m) => m,
            Err(e) => {
                import.close(ESHUTDOWN);
                return Err(e);
            }
        };
        if let Err(e) = mgc.begin() {
            mgc.stop();
            return Err(e);
        }
        Ok(mgc)
    }

    fn begin(self: &Arc<Self>) -> Result {
        let client = Arc::new(self.locks.clone(), GFP_KERNEL)?;
        self.server.add_client(self.import.own_cookie(), client)?;
        let mut threads = self.threads.lock();
        let me = self.clone();
        threads.spawn(format_args!("mgc_cancel"), move || me.run_cancels())?;
        let me = self.clone();
        threads.spawn(format_args!("mgc_requeue"), move || me.run_requeue())
    }

    /// "MGC192.168.1.1@tcp"
    pub fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// The connection.
    pub fn import(&self) -> &Arc<Import> {
        &self.import
    }

    pub(crate) fn own_nids(&self) -> &[Nid] {
        &self.own_nids
    }

    /// Follows the log of a target or of the clients of a file system: reads it, tells
    /// `follower`, and goes on so whenever it changes, until [`Mgc::unfollow`]. If the MGS cannot
    /// be asked, the copy in `copies` serves until it can; with an MGS on this node there are none.
    ///
    /// # Errors
    /// `ENOENT`: there is no such log, or no copy. `EINVAL`: it cannot be read. Those of the
    /// connection and of the follower.
    pub fn follow(
        &self,
        name: &[u8],
        copies: Option<Arc<Copies>>,
        follower: Arc<dyn Follower>,
    ) -> Result<Arc<Follow>> {
        let copies = self.useful(copies);
        let f = Follow::new(name, MgsConfigType::Config, false, copies, follower)?;
        self.begin_to_follow(f)
    }

    /// Follows the parameters for all nodes, which may be none.
    ///
    /// # Errors
    /// As [`Mgc::follow`].
    pub fn follow_params(
        &self,
        copies: Option<Arc<Copies>>,
        follower: Arc<dyn Follower>,
    ) -> Result<Arc<Follow>> {
        let copies = self.useful(copies);
        let f = Follow::new(b"params", MgsConfigType::Params, true, copies, follower)?;
        self.begin_to_follow(f)
    }

    /// Copies are for an MGS that may be away. That of this node may be on the very same store,
    /// where the copy of a log would take the place of the log itself.
    fn useful(&self, copies: Option<Arc<Copies>>) -> Option<Arc<Copies>> {
        copies.filter(|_| !self.import.config().peers.contains(&Nid::LO))
    }

    fn begin_to_follow(&self, f: Arc<Follow>) -> Result<Arc<Follow>> {
        if self.import.state() != State::Full {
            // Who waits in vain is served by a copy.
            let _ = self.import.wait_full(self.config.patience);
        }
        {
            // Before it is read, so that nothing is missed.
            let mut follows = self.news.follows.lock();
            if follows.len() >= MAX_FOLLOWED {
                return Err(ENOSPC);
            }
            follows.push(f.clone(), GFP_KERNEL)?;
        }
        match f.read(&self.import, &self.locks, true) {
            Ok(Source::Mgs) => Ok(f),
            Ok(Source::Copy) => {
                // The connection may have come back in the meantime.
                self.news.tell(|w| w.stale = true);
                Ok(f)
            }
            Err(e) => {
                self.unfollow(&f);
                Err(e)
            }
        }
    }

    /// Follows a log no longer: its follower is not being told, and will not be, when this
    /// returns.
    pub fn unfollow(&self, f: &Arc<Follow>) {
        self.news.follows.lock().retain(|x| !Arc::ptr_eq(x, f));
        f.close();
    }

    pub(crate) fn set_ready(&self, name: &SvName, ready: Option<Arc<Ready>>) -> Result {
        let mut all = self.ready.lock();
        all.retain(|r| r.name != *name);
        match ready {
            Some(r) => Ok(all.push(r, GFP_KERNEL)?),
            None => Ok(()),
        }
    }

    fn run_cancels(&self) {
        while !self.news.work.lock().stopping {
            self.locks.cache().work();
            self.locks.cache().wait_for_work(Duration::from_secs(1));
        }
    }

    fn run_requeue(&self) {
        loop {
            let announce = {
                let mut w = self.news.work.lock();
                while !w.stopping && !w.stale && !w.announce {
                    w = self.news.wake.wait(w);
                }
                if w.stopping {
                    return;
                }
                core::mem::take(&mut w.announce)
            };
            if announce {
                self.announce();
            }
            // A change seldom comes alone.
            self.pause(self.config.requeue);
            let again = {
                let mut w = self.news.work.lock();
                if w.stopping {
                    return;
                }
                core::mem::take(&mut w.stale)
            };
            if again && !self.read_stale() {
                self.pause(self.config.requeue * 5);
                self.news.work.lock().stale = true;
            }
        }
    }

    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut w = self.news.work.lock();
        loop {
            let left = until.duration_since(Instant::now());
            if w.stopping || left.is_zero() {
                return;
            }
            w = self.news.wake.wait_timeout(w, left).0;
        }
    }

    /// Targets that are up say so again.
    fn announce(&self) {
        let mut all = KVec::new();
        for r in self.ready.lock().iter() {
            if all.push(r.clone(), GFP_KERNEL).is_err() {
                break;
            }
        }
        for r in all {
            if let Err(e) = self.send_ready(&r, true) {
                pr_debug!("{}: {} is not announced: {:?}\n", self.name(), r.name, e);
            }
        }
    }

    /// Reads again what may have changed; false: not all could be read.
    fn read_stale(&self) -> bool {
        if self.import.state() != State::Full {
            // It is heard when the connection is back.
            return true;
        }
        let mut all = true;
        for f in self.news.all().iter().filter(|f| f.is_stale()) {
            if let Err(e) = f.read(&self.import, &self.locks, false) {
                pr_warn!("{}: {} is not read again: {:?}\n", self.name(), f.name(), e);
                all = false;
            }
        }
        all
    }

    /// Ends it: locks are given back, the MGS hears that we go. What still waits for an answer of
    /// the MGS waits no longer: it may never come.
    pub fn stop(&self) {
        self.news.tell(|w| w.stopping = true);
        self.locks.cache().clear();
        if self.import.state() == State::Full {
            self.locks.cache().work();
        }
        self.import.leave();
        let threads = core::mem::take(&mut *self.threads.lock());
        threads.join();
        self.news.follows.lock().clear();
        self.server.remove_client(self.import.own_cookie());
        // It knows the locks, and they know it.
        self.locks.set_import(None);
    }
}
