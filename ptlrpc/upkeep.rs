// SPDX-License-Identifier: GPL-2.0

//! What keeps an import going: the timer's visits, and what becomes of its calls when the connection
//! is lost (spec `recovery.md`).

use crate::call::{Call, CallOptions, Phase};
use crate::connect::RETRY;
use crate::import::{Import, State};
use crate::message::Msg;
use kapi::prelude::*;

impl Import {
    /// The network has lost the reply's or the request's way: everything sent in connection
    /// `conn_cnt` is to be sent again.
    pub(crate) fn lost(self: &Arc<Self>, conn_cnt: u32) {
        self.lost_until(conn_cnt, Instant::now());
    }

    /// The same; the connection is made anew at `next_try`, if that is in the future.
    fn lost_until(self: &Arc<Self>, conn_cnt: u32, next_try: Instant) {
        {
            let mut inner = self.inner.lock();
            if inner.state != State::Full || inner.conn_cnt != conn_cnt {
                return;
            }
            if !self.reverse {
                inner.state = State::Disconnected;
                inner.next_try = next_try;
            }
            for call in inner.calls.values() {
                let mut c = call.lock();
                if c.phase == Phase::Sent {
                    c.phase = Phase::Waiting;
                }
                c.doomed |= call.options.no_resend || call.options.no_delay || self.reverse;
            }
        }
        self.end_doomed();
        if self.reverse {
            return;
        }
        if let Some(e) = self.events() {
            e.disconnected();
        }
        if next_try <= Instant::now() {
            self.clone().connect();
        }
    }

    /// Ends the calls that are not to be sent again, one by one: that takes no memory.
    fn end_doomed(&self) {
        let mut from = 0;
        while let Some(call) = self.next_doomed(from) {
            self.complete(&call, Err(ETIMEDOUT));
            from = call.xid;
        }
    }

    fn next_doomed(&self, mut from: u64) -> Option<Arc<Call>> {
        let inner = self.inner.lock();
        loop {
            let cursor = inner.calls.cursor_lower_bound(&from)?;
            let (xid, call) = cursor.current();
            if call.lock().doomed {
                return Some(call.clone());
            }
            from = xid.checked_add(1)?;
        }
    }

    /// The last connection to the target's node has broken: what was sent may not have arrived.
    /// Nobody has to wait for an answer until its time is up.
    pub(crate) fn broken(self: &Arc<Self>) {
        // The way back to a client is the client's to make anew.
        if self.reverse {
            return;
        }
        let mut connect = None;
        let (state, conn_cnt, waits, since) = {
            let inner = self.inner.lock();
            let mut waits = false;
            for call in inner.calls.values() {
                if call.lock().phase == Phase::Sent {
                    waits = true;
                    if wire::opcode::is_connect(call.opc) {
                        connect = Some(call.clone());
                    }
                }
            }
            (inner.state, inner.conn_cnt, waits, inner.full_since)
        };
        match (state, connect) {
            // What breaks the connection may be what is sent: not as fast as can be.
            (State::Full, _) if waits => {
                let next = since.map(|t| t + RETRY);
                self.lost_until(conn_cnt, next.unwrap_or(Instant::now()));
            }
            (State::Connecting, Some(call)) => self.complete(&call, Err(ETIMEDOUT)),
            _ => {}
        }
    }

    /// The timer's visit, once a second: calls whose time is up, connects that are due, pings.
    pub(crate) fn tick(self: &Arc<Self>) {
        let now = Instant::now();
        let mut late: Option<u32> = None;
        let (state, next_try, idle) = {
            let inner = self.inner.lock();
            for call in inner.calls.values() {
                let mut c = call.lock();
                if c.phase == Phase::Sent && c.deadline <= now {
                    late = Some(c.conn_cnt);
                    c.doomed |= call.options.no_resend || self.reverse;
                }
            }
            (
                inner.state,
                inner.next_try,
                now.duration_since(inner.last_sent),
            )
        };
        if late.is_some() {
            self.end_doomed();
        }
        if let (Some(conn_cnt), false) = (late, self.reverse) {
            // That a server that never answered still does not is known to who waits for it.
            if let (State::Full, Some(peer)) = (state, self.peer()) {
                pr_info!(
                    "{}: no answer from {}, connecting again\n",
                    self.config().target_uuid,
                    peer
                );
            }
            return self.lost(conn_cnt);
        }
        match state {
            State::Disconnected if next_try <= now => self.clone().connect(),
            State::Full if !self.reverse => {
                let interval = Duration::from_secs(self.node().limits().ping_interval().into());
                if idle >= interval {
                    self.ping();
                }
            }
            _ => {}
        }
    }

    fn ping(self: &Arc<Self>) {
        let send = || -> Result {
            let msg = Msg::request(wire::opcode::OBD_PING, wire::msg::OBD_VERSION, &[])?;
            let mut options = CallOptions::new(&[])?;
            options.no_resend = true;
            options.no_delay = true;
            self.call_async(msg, options, None, KBox::new(|_| {}, GFP_KERNEL)?)
        };
        if let Err(e) = send() {
            pr_debug!("ping to {}: {:?}\n", self.config().target_uuid, e);
        }
    }
}
