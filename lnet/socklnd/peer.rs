// SPDX-License-Identifier: GPL-2.0

//! Peers: their connections, and the messages that wait for one (spec `lnet.md` §6, §8).

use super::conn::Conn;
use super::hello::Agreed;
use super::{wanted, PeerKey, Socklnd};
use crate::node::Outgoing;
use kapi::prelude::*;
use wire::nid::Nid;
use wire::socklnd::ConnType;

/// Messages that may wait for a connection.
const WAITING_MAX: usize = 4096;
/// The shortest and the longest wait after a failed connect.
const RECONNECT_MIN: Duration = Duration::from_secs(1);
const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// How often a peer may refuse a connection of one type before we live without it.
const REFUSALS_MAX: u32 = 3;
/// Connections of one type that a peer may open: more than anybody's `conns_per_peer`.
const SAME_TYPE_MAX: usize = 16;

/// What to answer to a HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Go on.
    Welcome,
    /// Try again later.
    NotNow,
}

struct Waiting {
    out: Outgoing,
    since: Instant,
}

struct Inner {
    conns: KVec<Arc<Conn>>,
    waiting: Deque<Waiting>,
    connecting: bool,
    version: u32,
    refusals: u32,
    backoff: Duration,
    not_before: Option<Instant>,
}

/// A peer, as reached from one of our NIDs.
#[pin_data]
pub(crate) struct Peer {
    ours: Nid,
    theirs: Nid,
    #[pin]
    inner: Mutex<Inner>,
}

impl Peer {
    pub(super) fn new(ours: Nid, theirs: Nid) -> Result<Arc<Peer>> {
        Arc::pin_init(
            pin_init!(Peer {
                ours,
                theirs,
                inner <- new_mutex!(Inner {
                    conns: KVec::new(),
                    waiting: Deque::new(),
                    connecting: false,
                    version: 3,
                    refusals: 0,
                    backoff: RECONNECT_MIN,
                    not_before: None,
                }),
            }),
            GFP_KERNEL,
        )
    }

    pub(super) fn key(&self) -> PeerKey {
        (self.ours, self.theirs)
    }

    pub(super) fn set_version(&self, version: u32) {
        self.inner.lock().version = version;
    }

    /// No connection is left.
    pub(super) fn is_gone(&self) -> bool {
        self.inner.lock().conns.is_empty()
    }

    /// And nothing is going on.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.conns.is_empty() && inner.waiting.is_empty() && !inner.connecting
    }

    /// Whether to take a connection that the peer opens (spec `lnet.md` §6.2).
    pub(super) fn judge(&self, lnd: &Arc<Socklnd>, a: &Agreed) -> Verdict {
        let stale = {
            let inner = self.inner.lock();
            if inner.connecting && self.theirs < self.ours {
                // Both dial at once: the one with the higher NID goes on.
                return Verdict::NotNow;
            }
            let known = inner.conns.first();
            let reborn = known.is_some_and(|c| {
                c.agreed.incarnation != a.incarnation || c.agreed.version != a.version
            });
            let same = inner.conns.iter().filter(|c| c.agreed.ctype == a.ctype);
            if !reborn && same.count() >= SAME_TYPE_MAX {
                return Verdict::NotNow;
            }
            reborn
        };
        if stale {
            self.close(lnd, ECONNRESET);
            return Verdict::NotNow;
        }
        Verdict::Welcome
    }

    pub(super) fn add(&self, conn: &Arc<Conn>) -> Result {
        let mut inner = self.inner.lock();
        inner.conns.push(conn.clone(), GFP_KERNEL)?;
        inner.backoff = RECONNECT_MIN;
        inner.not_before = None;
        Ok(())
    }

    /// Whether it was there.
    pub(super) fn remove(&self, conn: &Arc<Conn>) -> bool {
        let mut inner = self.inner.lock();
        let before = inner.conns.len();
        inner.conns.retain(|c| !Arc::ptr_eq(c, conn));
        inner.conns.len() != before
    }

    /// The best connection for a message (spec `lnet.md` §6.4).
    fn choose(inner: &Inner, bulk: bool) -> Option<Arc<Conn>> {
        let rank = |c: &Conn| match (c.agreed.ctype, bulk) {
            (ConnType::BulkIn, _) => None,
            (ConnType::Control, false) | (ConnType::BulkOut, true) => Some(0),
            (ConnType::Control, true) | (ConnType::BulkOut, false) => Some(1),
        };
        inner
            .conns
            .iter()
            .filter_map(|c| Some(((rank(c)?, c.queued()), c)))
            .min_by_key(|(k, _)| *k)
            .map(|(_, c)| c.clone())
    }

    /// The connection for acknowledgments of zero-copy messages.
    pub(super) fn ack_conn(&self) -> Option<Arc<Conn>> {
        let inner = self.inner.lock();
        let of = |t| inner.conns.iter().find(|c| c.agreed.ctype == t).cloned();
        of(ConnType::BulkIn)
            .or_else(|| of(ConnType::Control))
            .or_else(|| of(ConnType::BulkOut))
    }

    pub(super) fn send(self: &Arc<Self>, lnd: &Arc<Socklnd>, out: Outgoing) -> Result {
        let bulk = out.payload.len() >= 1024;
        let mut dial = false;
        let conn = {
            let mut inner = self.inner.lock();
            let conn = Self::choose(&inner, bulk);
            if conn.is_none() {
                if let Some(t) = inner.not_before {
                    if Instant::now() < t {
                        return Err(EHOSTUNREACH);
                    }
                }
                if inner.waiting.len() >= WAITING_MAX {
                    return Err(ENOBUFS);
                }
                let w = Waiting {
                    out,
                    since: Instant::now(),
                };
                inner.waiting.push_back(w, GFP_KERNEL)?;
                if !inner.connecting {
                    inner.connecting = true;
                    dial = true;
                }
                drop(inner);
                if dial {
                    if let Err(e) = lnd.connect_later(self) {
                        self.connect_failed(lnd, e);
                    }
                }
                return Ok(());
            }
            conn
        };
        conn.ok_or(EHOSTUNREACH)?.enqueue(out)
    }

    /// What we have to dial next, and in which version; `None`: all is there.
    pub(super) fn next_missing(&self, conns_per_peer: u32) -> Option<(ConnType, u32)> {
        let inner = self.inner.lock();
        if inner.refusals >= REFUSALS_MAX {
            return None;
        }
        let count = |t| inner.conns.iter().filter(|c| c.agreed.ctype == t).count();
        let missing = wanted(conns_per_peer)
            .into_iter()
            .find(|(t, n)| count(*t) < *n)
            .map(|(t, _)| t)?;
        Some((missing, inner.version))
    }

    /// Sends what waited.
    pub(super) fn flush(self: &Arc<Self>, lnd: &Arc<Socklnd>) {
        loop {
            let (conn, out) = {
                let mut inner = self.inner.lock();
                let Some(w) = inner.waiting.front() else {
                    return;
                };
                let Some(conn) = Self::choose(&inner, w.out.payload.len() >= 1024) else {
                    return;
                };
                let Some(w) = inner.waiting.pop_front() else {
                    return;
                };
                (conn, w.out)
            };
            if let Err((out, e)) = conn.try_enqueue(out) {
                lnd.lnet.send_failed(out, e);
            }
        }
    }

    pub(super) fn connect_done(self: &Arc<Self>, lnd: &Arc<Socklnd>) {
        {
            let mut inner = self.inner.lock();
            inner.connecting = false;
            inner.refusals = 0;
        }
        self.flush(lnd);
    }

    /// A connect has failed. What waits fails too, unless there is another connection.
    pub(super) fn connect_failed(self: &Arc<Self>, lnd: &Arc<Socklnd>, e: Error) {
        let waiting = {
            let mut inner = self.inner.lock();
            inner.connecting = false;
            inner.refusals = 0;
            if !inner.conns.is_empty() {
                drop(inner);
                return self.flush(lnd);
            }
            inner.not_before = Some(Instant::now() + inner.backoff);
            inner.backoff = (inner.backoff * 2).min(RECONNECT_MAX);
            core::mem::take(&mut inner.waiting)
        };
        pr_debug!("cannot connect to {}: {:?}\n", self.theirs, e);
        self.fail_all(lnd, waiting, e);
        lnd.lnet.peer_down(self.theirs, e);
    }

    fn fail_all(&self, lnd: &Socklnd, mut waiting: Deque<Waiting>, e: Error) {
        while let Some(w) = waiting.pop_front() {
            lnd.lnet.send_failed(w.out, e);
        }
    }

    /// Closes all connections; what waits for one fails.
    pub(super) fn close(&self, lnd: &Socklnd, e: Error) {
        let (conns, waiting) = {
            let mut inner = self.inner.lock();
            let mut conns: KVec<Arc<Conn>> = KVec::new();
            for c in inner.conns.iter() {
                if conns.push(c.clone(), GFP_KERNEL).is_err() {
                    break;
                }
            }
            (conns, core::mem::take(&mut inner.waiting))
        };
        for c in conns {
            c.close(e);
        }
        self.fail_all(lnd, waiting, e);
    }

    /// Looks for what has waited too long.
    pub(super) fn sweep(&self, lnd: &Socklnd, timeout: Duration) {
        let now = Instant::now();
        let mut late: KVec<Arc<Conn>> = KVec::new();
        let mut expired = Deque::new();
        {
            let mut inner = self.inner.lock();
            for c in inner.conns.iter() {
                if c.is_stuck(now, timeout) && late.push(c.clone(), GFP_KERNEL).is_err() {
                    break;
                }
            }
            while inner
                .waiting
                .front()
                .is_some_and(|w| now.duration_since(w.since) > timeout)
            {
                let Some(w) = inner.waiting.pop_front() else {
                    break;
                };
                if let Err(e) = expired.push_back(w, GFP_KERNEL) {
                    pr_err!("a message is lost: {:?}\n", Error::from(e));
                }
            }
        }
        self.fail_all(lnd, expired, ETIMEDOUT);
        if !late.is_empty() {
            pr_warn!("{}: no progress for {:?}, closing\n", self.theirs, timeout);
            self.close(lnd, ETIMEDOUT);
        }
    }
}
