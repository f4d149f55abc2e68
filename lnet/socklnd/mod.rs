// SPDX-License-Identifier: GPL-2.0

//! The TCP network driver (spec `lnet.md` §4 to §8).
//!
//! An acceptor, a lobby and a few threads for handshakes; then every connection belongs to one
//! scheduler thread, which reads and writes without blocking. A peer has several connections, of types.

mod acceptor;
mod conn;
mod hello;
mod lobby;
mod peer;
mod receive;
mod sched;
mod transmit;

use crate::budget::Budget;
use crate::node::{Lnet, Outgoing};
use crate::work::Pool;
use acceptor::Acceptor;
use conn::Conn;
use hello::Agreed;
use kapi::net::TcpStream;
use kapi::prelude::*;
use kapi::sync::atomic::{Acquire, Atomic, Full};
use kapi::thread::JoinHandle;
use lobby::{Guest, Lobby};
use peer::Peer;
use sched::Scheduler;
use wire::nid::Nid;
use wire::socklnd::ConnType;

/// Threads that connect, which may take long, and threads that answer handshakes.
const CONNECT_THREADS: usize = 8;
const HANDSHAKE_THREADS: usize = 2;
/// Handshakes that may wait.
const HANDSHAKES_MAX: usize = 256;
/// Bytes of messages that wait to be sent, to all peers and to one. Bulk data do not count: they have
/// owners that wait for them.
const UNSENT_MAX: u64 = 128 << 20;
const UNSENT_MAX_OF_PEER: u64 = 16 << 20;
/// How often connections are looked at for time-outs.
const SWEEP: Duration = Duration::from_secs(1);

/// Peers by our NID and theirs.
type PeerKey = (Nid, Nid);

/// The driver of an instance.
#[pin_data]
pub(crate) struct Socklnd {
    pub(crate) lnet: Arc<Lnet>,
    /// Tells this life from an earlier one.
    pub(crate) incarnation: u64,
    stopping: Atomic<bool>,
    workers: Workers,
    unsent: Budget,
    #[pin]
    lobby: Mutex<Option<Arc<Lobby>>>,
    #[pin]
    acceptors: Mutex<KVec<Arc<Acceptor>>>,
    #[pin]
    peers: Mutex<RBTree<PeerKey, Arc<Peer>>>,
    #[pin]
    state: Mutex<State>,
    #[pin]
    tick: CondVar,
    #[pin]
    sweeper: Mutex<Option<JoinHandle>>,
}

/// The threads that serve connections and make them. Dropped, they end.
struct Workers {
    schedulers: KVec<Arc<Scheduler>>,
    /// For connections that we open, and for those that peers open.
    connectors: Option<Arc<Pool>>,
    handshakes: Option<Arc<Pool>>,
}

impl Workers {
    fn start() -> Result<Workers> {
        let mut w = Workers {
            schedulers: KVec::new(),
            connectors: None,
            handshakes: None,
        };
        for i in 0..kapi::thread::num_cpus().clamp(1, 8) {
            w.schedulers.reserve(1, GFP_KERNEL)?;
            w.schedulers.push(Scheduler::start(i)?, GFP_KERNEL)?;
        }
        w.connectors = Some(Pool::start("socknal_cd", CONNECT_THREADS, HANDSHAKES_MAX)?);
        w.handshakes = Some(Pool::start(
            "socknal_hs",
            HANDSHAKE_THREADS,
            HANDSHAKES_MAX,
        )?);
        Ok(w)
    }

    /// Has `f` called by one of those that open connections.
    ///
    /// # Errors
    /// As [`Pool::submit`].
    fn connector(&self, f: impl FnOnce() + Send + 'static) -> Result {
        self.connectors.as_ref().ok_or(ESHUTDOWN)?.submit(f)
    }

    /// Has `f` called by one of those that answer handshakes.
    ///
    /// # Errors
    /// As [`Pool::submit`].
    fn handshake(&self, f: impl FnOnce() + Send + 'static) -> Result {
        self.handshakes.as_ref().ok_or(ESHUTDOWN)?.submit(f)
    }

    /// No connection comes any more.
    fn stop_pools(&self) {
        for p in self.handshakes.iter().chain(&self.connectors) {
            p.stop();
        }
    }

    fn stop_schedulers(&self) {
        for s in self.schedulers.iter() {
            s.stop();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop_pools();
        self.stop_schedulers();
    }
}

struct State {
    connections: usize,
    next_token: u64,
}

impl Socklnd {
    pub(crate) fn start(lnet: &Arc<Lnet>) -> Result<Arc<Socklnd>> {
        let workers = Workers::start()?;
        let unsent = Budget::new(UNSENT_MAX, UNSENT_MAX_OF_PEER)?;
        let s = Arc::pin_init(
            pin_init!(Socklnd {
                lnet: lnet.clone(),
                incarnation: u64::try_from(kapi::time::real().as_nanos()).unwrap_or(1),
                workers,
                unsent,
                lobby <- new_mutex!(None),
                acceptors <- new_mutex!(KVec::new()),
                peers <- new_mutex!(RBTree::new()),
                stopping: Atomic::<bool>::new(false),
                state <- new_mutex!(State {
                    connections: 0,
                    next_token: 1,
                }),
                tick <- new_condvar!(),
                sweeper <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        if let Err(e) = s.open() {
            s.stop();
            return Err(e);
        }
        Ok(s)
    }

    fn open(self: &Arc<Self>) -> Result {
        if self.lnet.config.accept != crate::config::Accept::None {
            let lobby = Lobby::start(self)?;
            *self.lobby.lock() = Some(lobby.clone());
            for nid in self.lnet.nids() {
                let mut acceptors = self.acceptors.lock();
                acceptors.reserve(1, GFP_KERNEL)?;
                acceptors.push(Acceptor::start(self, &lobby, *nid)?, GFP_KERNEL)?;
            }
        }
        let me = self.clone();
        let h = kapi::thread::spawn(format_args!("socknal_reaper"), move || me.sweep())?;
        *self.sweeper.lock() = Some(h);
        Ok(())
    }

    /// Ends it: nothing is accepted, connected, sent or received any more.
    pub(crate) fn stop(&self) {
        self.stopping.xchg(true, Full);
        drop(self.state.lock());
        self.tick.notify_all();
        let acceptors = core::mem::take(&mut *self.acceptors.lock());
        for a in acceptors {
            a.stop();
        }
        let lobby = self.lobby.lock().take();
        if let Some(l) = lobby {
            l.stop();
        }
        let sweeper = self.sweeper.lock().take();
        drop(sweeper);
        self.workers.stop_pools();
        let peers = core::mem::take(&mut *self.peers.lock());
        for p in peers.values() {
            p.close(self, ESHUTDOWN);
        }
        self.workers.stop_schedulers();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    /// The peer, made if it is not known.
    fn peer(&self, ours: Nid, theirs: Nid) -> Result<Arc<Peer>> {
        let key = (ours, theirs);
        if let Some(p) = self.peers.lock().get(&key) {
            return Ok(p.clone());
        }
        let peer = Peer::new(ours, theirs)?;
        let node = RBTreeNode::new(key, peer.clone(), GFP_KERNEL)?;
        let mut peers = self.peers.lock();
        if let Some(p) = peers.get(&key) {
            let p = p.clone();
            drop(peers);
            return Ok(p);
        }
        peers.insert(node);
        Ok(peer)
    }

    /// Sends a message; gives it back if that fails.
    ///
    /// # Errors
    /// `ESHUTDOWN`, and as [`Peer::send`].
    pub(crate) fn send(self: &Arc<Self>, mut out: Outgoing) -> Result<(), (Outgoing, Error)> {
        loop {
            if self.is_stopping() {
                return Err((out, ESHUTDOWN));
            }
            let sent = match self.peer(out.header.src_nid, out.header.dest_nid) {
                Ok(peer) => peer.send(self, out),
                Err(e) => Err((out, e)),
            };
            match sent {
                // The peer was forgotten just now: there is a new one.
                Err((o, ESTALE)) => out = o,
                r => return r,
            }
        }
    }

    /// Has a connection to the peer made; the peer has noted that one is being made.
    fn connect_later(self: &Arc<Self>, peer: &Arc<Peer>) -> Result {
        let (me, peer) = (self.clone(), peer.clone());
        self.workers.connector(move || me.connect(&peer))
    }

    /// Connects with every type that is missing.
    fn connect(self: &Arc<Self>, peer: &Arc<Peer>) {
        let conns_per_peer = self.lnet.config.conns_per_peer;
        // A peer that takes connections and closes them again, or changes its version each time,
        // does not keep us here.
        let attempts = wanted(conns_per_peer).iter().map(|w| w.1).sum::<usize>() + 2;
        for _ in 0..attempts {
            let Some((ctype, version)) = peer.next_missing(conns_per_peer) else {
                return peer.connect_done(self);
            };
            if self.is_stopping() {
                return peer.connect_failed(self, ESHUTDOWN);
            }
            let made = hello::dial(self, peer, ctype, version)
                .and_then(|(stream, agreed)| self.adopt(peer, stream, agreed));
            match made {
                // Or the peer has told its version: again, with that.
                Ok(()) | Err(EPROTONOSUPPORT) => {}
                Err(EALREADY) => return peer.refused(self),
                Err(e) => return peer.connect_failed(self, e),
            }
        }
        if peer.next_missing(conns_per_peer).is_some() {
            return peer.connect_failed(self, ECONNRESET);
        }
        peer.connect_done(self);
    }

    /// A peer has said who it is.
    fn welcome(self: &Arc<Self>, guest: Guest) {
        let from = guest.from;
        let done = hello::answer(self, &guest)
            .and_then(|(peer, agreed)| self.adopt(&peer, guest.stream, agreed));
        if let Err(e) = done {
            pr_debug!("connection from {}: {:?}\n", from, e);
        }
    }

    /// Takes a connection into use.
    fn adopt(self: &Arc<Self>, peer: &Arc<Peer>, stream: TcpStream, agreed: Agreed) -> Result {
        let token = {
            let mut st = self.state.lock();
            if st.connections >= self.lnet.config.connections_max {
                return Err(EUSERS);
            }
            st.connections += 1;
            st.next_token += 1;
            st.next_token
        };
        let schedulers = &self.workers.schedulers;
        let n = schedulers.len().max(1);
        let made = || -> Result<(Arc<Conn>, &Arc<Scheduler>)> {
            let sched = schedulers.get(token as usize % n).ok_or(ESHUTDOWN)?;
            stream.set_nodelay(true)?;
            stream.set_keepalive(30, 5, 5)?;
            let conn = Conn::new(self, peer, sched, stream, agreed, token)?;
            peer.add(&conn)?;
            Ok((conn, sched))
        };
        let (conn, sched) = made().inspect_err(|_| self.forget_one())?;
        // From here on the connection's end is what undoes all this.
        if let Err(e) = sched.add(&conn) {
            conn.close(e);
            return Err(e);
        }
        if self.is_stopping() {
            conn.close(ESHUTDOWN);
            return Err(ESHUTDOWN);
        }
        peer.flush(self);
        conn.kick();
        Ok(())
    }

    /// A connection has ended.
    fn forget_one(&self) {
        self.state.lock().connections -= 1;
    }

    /// Forgets peers with which nothing is going on.
    fn retire_idle(&self, all: &[Arc<Peer>]) {
        for p in all {
            let mut peers = self.peers.lock();
            if p.retire() {
                let gone = peers.remove(&p.key());
                drop(peers);
                drop(gone);
            }
        }
    }

    fn sweep(self: &Arc<Self>) {
        loop {
            let st = self.state.lock();
            if self.is_stopping() {
                return;
            }
            drop(self.tick.wait_timeout(st, SWEEP));
            if self.is_stopping() {
                return;
            }
            let mut all: KVec<Arc<Peer>> = KVec::new();
            {
                let peers = self.peers.lock();
                for p in peers.values() {
                    if all.push(p.clone(), GFP_KERNEL).is_err() {
                        break;
                    }
                }
            }
            for p in all.iter() {
                p.sweep(self, self.lnet.config.timeout);
            }
            self.retire_idle(&all);
        }
    }
}

/// The types that a peer needs, and how many of each.
fn wanted(conns_per_peer: u32) -> [(ConnType, usize); 3] {
    let n = conns_per_peer.clamp(1, 8) as usize;
    [
        (ConnType::Control, 1),
        (ConnType::BulkIn, n),
        (ConnType::BulkOut, n),
    ]
}
