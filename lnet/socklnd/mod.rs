// SPDX-License-Identifier: GPL-2.0

//! The TCP network driver (spec `lnet.md` §4 to §8).
//!
//! An acceptor and a few threads for handshakes; then every connection belongs to one scheduler
//! thread, which reads and writes without blocking. A peer has several connections, of types.

mod acceptor;
mod conn;
mod hello;
mod peer;
mod receive;
mod sched;
mod transmit;

use crate::node::{Lnet, Outgoing};
use crate::work::Pool;
use acceptor::Acceptor;
use conn::Conn;
use hello::Agreed;
use kapi::net::TcpStream;
use kapi::prelude::*;
use kapi::thread::JoinHandle;
use peer::Peer;
use sched::Scheduler;
use wire::nid::Nid;
use wire::socklnd::ConnType;

/// Threads that do handshakes, each way.
const HANDSHAKE_THREADS: usize = 4;
/// Handshakes that may wait.
const HANDSHAKES_MAX: usize = 256;
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
    schedulers: KVec<Arc<Scheduler>>,
    connectors: Arc<Pool>,
    handshakes: Arc<Pool>,
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

struct State {
    stopping: bool,
    connections: usize,
    next_token: u64,
}

impl Socklnd {
    pub(crate) fn start(lnet: &Arc<Lnet>) -> Result<Arc<Socklnd>> {
        let mut schedulers = KVec::new();
        for i in 0..kapi::thread::num_cpus().clamp(1, 8) {
            schedulers.push(Scheduler::start(i)?, GFP_KERNEL)?;
        }
        let s = Arc::pin_init(
            try_pin_init!(Socklnd {
                lnet: lnet.clone(),
                incarnation: u64::try_from(kapi::time::real().as_nanos()).unwrap_or(1),
                schedulers,
                connectors: Pool::start("socknal_cd", HANDSHAKE_THREADS, HANDSHAKES_MAX)?,
                handshakes: Pool::start("socknal_hs", HANDSHAKE_THREADS, HANDSHAKES_MAX)?,
                acceptors <- new_mutex!(KVec::new()),
                peers <- new_mutex!(RBTree::new()),
                state <- new_mutex!(State {
                    stopping: false,
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
            for nid in self.lnet.nids() {
                let a = Acceptor::start(self, *nid)?;
                self.acceptors.lock().push(a, GFP_KERNEL)?;
            }
        }
        let me = self.clone();
        let h = kapi::thread::spawn(format_args!("socknal_reaper"), move || me.sweep())?;
        *self.sweeper.lock() = Some(h);
        Ok(())
    }

    /// Ends it: nothing is accepted, connected, sent or received any more.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.tick.notify_all();
        let acceptors = core::mem::take(&mut *self.acceptors.lock());
        for a in acceptors {
            a.stop();
        }
        let sweeper = self.sweeper.lock().take();
        drop(sweeper);
        self.handshakes.stop();
        self.connectors.stop();
        let peers = core::mem::take(&mut *self.peers.lock());
        for p in peers.values() {
            p.close(self, ESHUTDOWN);
        }
        for s in self.schedulers.iter() {
            s.stop();
        }
    }

    fn is_stopping(&self) -> bool {
        self.state.lock().stopping
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

    pub(crate) fn send(self: &Arc<Self>, out: Outgoing) -> Result {
        if self.is_stopping() {
            return Err(ESHUTDOWN);
        }
        let peer = self.peer(out.header.src_nid, out.header.dest_nid)?;
        peer.send(self, out)
    }

    /// Has a connection to the peer made; the peer has noted that one is being made.
    fn connect_later(self: &Arc<Self>, peer: &Arc<Peer>) -> Result {
        let (me, peer) = (self.clone(), peer.clone());
        self.connectors.submit(move || me.connect(&peer))
    }

    /// Connects with every type that is missing.
    fn connect(self: &Arc<Self>, peer: &Arc<Peer>) {
        while let Some((ctype, version)) = peer.next_missing(self.lnet.config.conns_per_peer) {
            if self.is_stopping() {
                return peer.connect_failed(self, ESHUTDOWN);
            }
            let made = hello::dial(self, peer, ctype, version)
                .and_then(|(stream, agreed)| self.adopt(peer, stream, agreed, true));
            match made {
                Ok(()) => {}
                Err(EPROTONOSUPPORT) => {} // The peer has told its version: again, with that.
                Err(e) => return peer.connect_failed(self, e),
            }
        }
        peer.connect_done(self);
    }

    /// Takes a connection into use.
    fn adopt(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        stream: TcpStream,
        agreed: Agreed,
        active: bool,
    ) -> Result {
        let token = {
            let mut st = self.state.lock();
            if st.stopping {
                return Err(ESHUTDOWN);
            }
            if st.connections >= self.lnet.config.connections_max {
                return Err(EUSERS);
            }
            st.connections += 1;
            st.next_token += 1;
            st.next_token
        };
        let n = self.schedulers.len().max(1);
        let made = || -> Result<Arc<Conn>> {
            let sched = self.schedulers.get(token as usize % n).ok_or(ESHUTDOWN)?;
            stream.set_nodelay(true)?;
            stream.set_keepalive(30, 5, 5)?;
            let conn = Conn::new(self, peer, sched, stream, agreed, token, active)?;
            peer.add(&conn)?;
            if let Err(e) = sched.add(&conn) {
                peer.remove(&conn);
                return Err(e);
            }
            Ok(conn)
        };
        match made() {
            Ok(conn) => {
                peer.flush(self);
                conn.kick();
                Ok(())
            }
            Err(e) => {
                self.forget_one();
                Err(e)
            }
        }
    }

    fn forget_one(&self) {
        self.state.lock().connections -= 1;
    }

    /// A connection has ended.
    fn ended(&self, peer: &Arc<Peer>, error: Error) {
        self.forget_one();
        if peer.is_gone() {
            {
                let mut peers = self.peers.lock();
                let key = peer.key();
                let same = peers.get(&key).is_some_and(|p| Arc::ptr_eq(p, peer));
                if same && peer.is_idle() {
                    peers.remove(&key);
                }
            }
            self.lnet.peer_down(peer.key().1, error);
        }
    }

    fn sweep(&self) {
        loop {
            let st = self.state.lock();
            if st.stopping {
                return;
            }
            let (st, _) = self.tick.wait_timeout(st, SWEEP);
            if st.stopping {
                return;
            }
            drop(st);
            let mut all: KVec<Arc<Peer>> = KVec::new();
            {
                let peers = self.peers.lock();
                for p in peers.values() {
                    if all.push(p.clone(), GFP_KERNEL).is_err() {
                        break;
                    }
                }
            }
            for p in all {
                p.sweep(self, self.lnet.config.timeout);
            }
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
