// SPDX-License-Identifier: GPL-2.0

//! Peers: their connections, and the messages that wait for one (spec `lnet.md` §6, §8).

use super::conn::Conn;
use super::hello::Agreed;
use super::{wanted, PeerKey, Socklnd};
use crate::budget::Share;
use crate::node::Outgoing;
use kapi::prelude::*;
use wire::nid::Nid;
use wire::socklnd::{ConnType, KEEPALIVE};

/// Messages that may wait for a connection.
const WAITING_MAX: usize = 4096;
/// The shortest and the longest wait after a failed connect.
const RECONNECT_MIN: Duration = Duration::from_secs(1);
const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// How often a peer may put us off before we give up.
const REFUSALS_MAX: u32 = 3;
/// How long a peer may say nothing before we show it that we are still here, and how often.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// The smallest payload that goes over the connections for bulk, bytes.
const BULK_MIN: usize = 1024 - FRAME_AND_HEADER;
const FRAME_AND_HEADER: usize = size_of::<wire::socklnd::Frame>() + wire::lnet::HEADER4_SIZE;
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
    /// A connect has failed: no other before that.
    not_before: Option<Instant>,
    /// The peer has put us off: another attempt then, if something waits.
    retry_at: Option<Instant>,
    last_keepalive: Option<Instant>,
    /// Nobody finds it any more.
    retired: bool,
}

/// A peer, as reached from one of our NIDs.
#[pin_data]
pub(crate) struct Peer {
    ours: Nid,
    theirs: Nid,
    /// What of the node's memory holds what it has sent, and what it has not yet read.
    pub(super) received: Share,
    pub(super) unread: Share,
    #[pin]
    inner: Mutex<Inner>,
}

impl Peer {
    pub(super) fn new(ours: Nid, theirs: Nid) -> Result<Arc<Peer>> {
        let (received, unread) = (Share::new()?, Share::new()?);
        Arc::pin_init(
            pin_init!(Peer {
                ours,
                theirs,
                received,
                unread,
                inner <- new_mutex!(Inner {
                    conns: KVec::new(),
                    waiting: Deque::new(),
                    connecting: false,
                    version: 3,
                    refusals: 0,
                    backoff: RECONNECT_MIN,
                    not_before: None,
                    retry_at: None,
                    last_keepalive: None,
                    retired: false,
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

    /// Takes it out of use if nothing is going on. Called with the table of peers locked.
    pub(super) fn retire(&self) -> bool {
        let mut inner = self.inner.lock();
        let waits = inner.not_before.is_some_and(|t| Instant::now() < t);
        let idle = inner.conns.is_empty() && inner.waiting.is_empty() && !inner.connecting;
        inner.retired = idle && !waits;
        inner.retired
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
            self.inner.lock().version = 3;
            return Verdict::NotNow;
        }
        Verdict::Welcome
    }

    /// A connection is there.
    ///
    /// # Errors
    /// `ESTALE`: the peer is out of use. `ENOMEM`.
    pub(super) fn add(&self, conn: &Arc<Conn>) -> Result {
        let mut inner = self.inner.lock();
        if inner.retired {
            return Err(ESTALE);
        }
        inner.conns.push(conn.clone(), GFP_KERNEL)?;
        inner.backoff = RECONNECT_MIN;
        inner.not_before = None;
        inner.retry_at = None;
        Ok(())
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

    /// Sends a message, or keeps it until there is a connection; gives it back if that fails.
    ///
    /// # Errors
    /// `ESTALE`: this peer is out of use, look again. `EHOSTUNREACH`: it could not be reached a
    /// moment ago. `ENOBUFS`: too much waits. `ECONNRESET`, `ENOMEM`.
    pub(super) fn send(
        self: &Arc<Self>,
        lnd: &Arc<Socklnd>,
        out: Outgoing,
    ) -> Result<(), (Outgoing, Error)> {
        let conn = {
            let mut inner = self.inner.lock();
            if inner.retired {
                return Err((out, ESTALE));
            }
            match Self::choose(&inner, out.payload.len() >= BULK_MIN) {
                Some(conn) => conn,
                None => {
                    if inner.not_before.is_some_and(|t| Instant::now() < t) {
                        return Err((out, EHOSTUNREACH));
                    }
                    if inner.waiting.len() >= WAITING_MAX {
                        return Err((out, ENOBUFS));
                    }
                    if inner.waiting.reserve(1, GFP_KERNEL).is_err() {
                        return Err((out, ENOMEM));
                    }
                    let since = Instant::now();
                    let kept = inner.waiting.push_back(Waiting { out, since }, GFP_KERNEL);
                    debug_assert!(kept.is_ok());
                    if inner.connecting || inner.retry_at.is_some() {
                        return Ok(());
                    }
                    inner.connecting = true;
                    drop(inner);
                    if let Err(e) = lnd.connect_later(self) {
                        // No thread for it now: the sweep tries again.
                        pr_debug!("connect to {} put off: {:?}\n", self.theirs, e);
                        self.put_off();
                    }
                    return Ok(());
                }
            }
        };
        conn.enqueue(out)
    }

    fn put_off(&self) {
        let mut inner = self.inner.lock();
        inner.connecting = false;
        inner.retry_at = Some(Instant::now() + RECONNECT_MIN);
    }

    /// What we have to dial next, and in which version; `None`: all is there.
    pub(super) fn next_missing(&self, conns_per_peer: u32) -> Option<(ConnType, u32)> {
        let inner = self.inner.lock();
        let count = |t| inner.conns.iter().filter(|c| c.agreed.ctype == t).count();
        let missing = wanted(conns_per_peer)
            .into_iter()
            .find(|(t, n)| count(*t) < *n)
            .map(|(t, _)| t)?;
        Some((missing, inner.version))
    }

    /// Sends what waited.
    pub(super) fn flush(&self, lnd: &Arc<Socklnd>) {
        loop {
            let (conn, out) = {
                let mut inner = self.inner.lock();
                let Some(w) = inner.waiting.front() else {
                    return;
                };
                let Some(conn) = Self::choose(&inner, w.out.payload.len() >= BULK_MIN) else {
                    return;
                };
                let Some(w) = inner.waiting.pop_front() else {
                    return;
                };
                (conn, w.out)
            };
            if let Err((out, e)) = conn.enqueue(out) {
                lnd.lnet.send_failed(out, e);
            }
        }
    }

    pub(super) fn connect_done(&self, lnd: &Arc<Socklnd>) {
        {
            let mut inner = self.inner.lock();
            inner.connecting = false;
            inner.refusals = 0;
        }
        self.flush(lnd);
    }

    /// The peer has put us off: it dials us just now, or has still to forget our earlier life.
    pub(super) fn refused(&self, lnd: &Arc<Socklnd>) {
        let give_up = {
            let mut inner = self.inner.lock();
            inner.refusals += 1;
            inner.conns.is_empty() && inner.refusals >= REFUSALS_MAX
        };
        if give_up {
            return self.connect_failed(lnd, EHOSTUNREACH);
        }
        self.put_off();
        self.flush(lnd);
    }

    /// A connect has failed. What waits fails too, unless there is another connection.
    pub(super) fn connect_failed(&self, lnd: &Arc<Socklnd>, e: Error) {
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
        fail_all(lnd, waiting, e);
        lnd.lnet.peer_down(self.theirs, e);
    }

    /// Closes all connections; what waits for one fails.
    pub(super) fn close(&self, lnd: &Socklnd, e: Error) {
        let (conns, waiting) = {
            let mut inner = self.inner.lock();
            (
                core::mem::take(&mut inner.conns),
                core::mem::take(&mut inner.waiting),
            )
        };
        for c in conns.iter() {
            c.end(e);
        }
        fail_all(lnd, waiting, e);
        if !conns.is_empty() {
            lnd.lnet.peer_down(self.theirs, e);
        }
    }

    /// Looks for what has waited too long, and for what is to be done by the clock.
    pub(super) fn sweep(self: &Arc<Self>, lnd: &Arc<Socklnd>, timeout: Duration) {
        let now = Instant::now();
        let mut expired = Deque::new();
        let (stuck, dial, quiet) = {
            let mut inner = self.inner.lock();
            while let Some(w) = inner.waiting.front() {
                if now.duration_since(w.since) <= timeout || expired.reserve(1, GFP_KERNEL).is_err()
                {
                    break;
                }
                let kept = inner
                    .waiting
                    .pop_front()
                    .map(|w| expired.push_back(w, GFP_KERNEL));
                debug_assert!(matches!(kept, Some(Ok(()))));
            }
            let due = inner.retry_at.is_some_and(|t| now >= t);
            let dial = due && !inner.connecting && !inner.waiting.is_empty();
            if due {
                inner.retry_at = None;
            }
            inner.connecting |= dial;
            let stuck = inner.conns.iter().any(|c| c.is_stuck(now, timeout));
            (stuck, dial, inner.quiet_conn(now))
        };
        fail_all(lnd, expired, ETIMEDOUT);
        if stuck {
            pr_warn!("{}: no progress for {:?}, closing\n", self.theirs, timeout);
            return self.close(lnd, ETIMEDOUT);
        }
        if dial && lnd.connect_later(self).is_err() {
            self.put_off();
        }
        if let Some(c) = quiet {
            c.enqueue_noop(KEEPALIVE);
        }
    }
}

impl Inner {
    /// The connection to send a keepalive on, if it is time for one.
    fn quiet_conn(&mut self, now: Instant) -> Option<Arc<Conn>> {
        let asked = self
            .last_keepalive
            .is_some_and(|t| now.duration_since(t) < KEEPALIVE_EVERY);
        if asked || self.conns.iter().any(|c| c.silence(now) < KEEPALIVE_IDLE) {
            return None;
        }
        let of_type = |c: &&Arc<Conn>| c.agreed.ctype == ConnType::BulkIn && c.queued() == 0;
        let conn = self.conns.iter().find(of_type)?.clone();
        self.last_keepalive = Some(now);
        Some(conn)
    }
}

fn fail_all(lnd: &Socklnd, mut waiting: Deque<Waiting>, e: Error) {
    while let Some(w) = waiting.pop_front() {
        lnd.lnet.send_failed(w.out, e);
    }
}
