// SPDX-License-Identifier: GPL-2.0

//! Connecting: the request, and what its answer means (spec `ptlrpc.md` §11.3).

use crate::call::{Birth, Call, CallOptions, Outcome, Phase};
use crate::import::{Import, State};
use crate::message::Msg;
use kapi::prelude::*;
use wire::connect::ConnectData;
use wire::msg::ConnectOpFlags;

/// How long after a failed attempt the next one comes.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// What a target's answer makes of an import.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Connected for the first time.
    Fresh,
    /// Connected again: what is in flight is sent again.
    Resumed,
    /// The target has forgotten us.
    Evicted,
    /// The target granted what was not asked for.
    Nonsense,
}

/// Reads a positive answer. `was_full`: we were connected before; `same`: the server's cookie is
/// the one that we know.
pub(crate) fn interpret(
    wanted: &ConnectData,
    granted: &ConnectData,
    op_flags: ConnectOpFlags,
    was_full: bool,
    same: bool,
) -> Verdict {
    if !granted.is_subset_of(wanted) {
        return Verdict::Nonsense;
    }
    if !was_full {
        return Verdict::Fresh;
    }
    if op_flags.contains(ConnectOpFlags::RECONNECT) && same {
        return Verdict::Resumed;
    }
    Verdict::Evicted
}

impl Import {
    /// Begins to connect, unless that is under way.
    pub(crate) fn connect(self: Arc<Self>) {
        if self.reverse {
            return;
        }
        let (conn_cnt, cookie, initial) = {
            let mut inner = self.inner.lock();
            if inner.state != State::Disconnected || inner.leaving {
                return;
            }
            inner.state = State::Connecting;
            inner.conn_cnt = inner.conn_cnt.wrapping_add(1);
            (inner.conn_cnt, inner.remote_cookie, !inner.was_full)
        };
        if let Err(e) = self.send_connect(conn_cnt, cookie, initial) {
            self.connect_failed(conn_cnt, e);
        }
    }

    fn send_connect(self: &Arc<Self>, conn_cnt: u32, cookie: u64, initial: bool) -> Result {
        let c = self.config();
        let mut msg = Msg::request(
            c.connect_opc,
            wire::msg::OBD_VERSION,
            &[39, 39, 8, size_of::<ConnectData>() as u32, 0],
        )?;
        msg.set_part(c.part);
        for (i, uuid) in [(1, &c.target_uuid), (2, &c.client_uuid)] {
            let text = uuid.padded().get(..39).ok_or(EINVAL)?;
            msg.buf_mut(i).ok_or(EPROTO)?.copy_from_slice(text);
        }
        msg.buf_mut(3)
            .ok_or(EPROTO)?
            .copy_from_slice(&self.own_cookie().to_le_bytes());
        *msg.get_mut::<ConnectData>(4)? = c.wanted;
        let body = msg.body_mut()?;
        body.pb_handle.set(cookie);
        let mut op = ConnectOpFlags::from_bits_retain(0);
        if initial {
            op.insert(ConnectOpFlags::INITIAL);
        }
        body.pb_op_flags.set(op.bits());
        let mut options = CallOptions::new(&[size_of::<ConnectData>() as u32 + 128])?;
        options.no_resend = true;
        options.timeout = Some(self.node().limits().connect_timeout());
        let import = self.clone();
        let done: KBox<dyn Once<Outcome>> = KBox::new(
            move |o: Outcome| import.connect_done(conn_cnt, o),
            GFP_KERNEL,
        )?;
        let birth = Birth {
            xid: self.node().next_xid(),
            tag: 0,
            now: Instant::now(),
        };
        let (xid, now) = (birth.xid, birth.now);
        let call = Call::new(self, birth, msg, options, None, Some(done))?;
        let node = RBTreeNode::new(xid, call.clone(), GFP_KERNEL)?;
        {
            let mut inner = self.inner.lock();
            if inner.state != State::Connecting || inner.conn_cnt != conn_cnt {
                // Closed meanwhile: nobody would end the call, which keeps the import.
                return Err(ENOTCONN);
            }
            inner.calls.insert(node);
        }
        if let Err(e) = call.send(now) {
            self.complete(&call, Err(e));
        }
        Ok(())
    }

    fn connect_done(self: &Arc<Self>, conn_cnt: u32, outcome: Outcome) {
        let result = outcome.and_then(|r| r.check()).and_then(|r| {
            let body = r.msg.body();
            let op = ConnectOpFlags::from_bits_retain(body.pb_op_flags.get());
            let granted = *r.msg.get::<ConnectData>(1)?;
            Ok((body.pb_handle.get(), op, granted))
        });
        match result {
            Ok((cookie, op, granted)) => self.connected(conn_cnt, cookie, op, granted),
            Err(e) => self.connect_failed(conn_cnt, e),
        }
    }

    fn connect_failed(self: &Arc<Self>, conn_cnt: u32, e: Error) {
        {
            let mut inner = self.inner.lock();
            if inner.state != State::Connecting || inner.conn_cnt != conn_cnt {
                return;
            }
            inner.state = State::Disconnected;
            inner.last_error = Some(e);
            inner.next_try = Instant::now() + RETRY;
            let retry_here = e == EBUSY || e == EAGAIN || e == EALREADY;
            if !retry_here {
                inner.peer = (inner.peer + 1) % self.config().peers.len();
            }
        }
        pr_debug!("connect to {}: {:?}\n", self.config().target_uuid, e);
        self.notify();
    }

    fn connected(
        self: &Arc<Self>,
        conn_cnt: u32,
        cookie: u64,
        op: ConnectOpFlags,
        granted: ConnectData,
    ) {
        let mut gone: KVec<Arc<Call>> = KVec::new();
        let verdict = {
            let mut inner = self.inner.lock();
            if inner.state != State::Connecting || inner.conn_cnt != conn_cnt {
                return;
            }
            let same = inner.remote_cookie == cookie;
            let v = interpret(&self.config().wanted, &granted, op, inner.was_full, same);
            if v == Verdict::Nonsense {
                drop(inner);
                pr_err!(
                    "{}: the target granted what was not asked for\n",
                    self.config().target_uuid
                );
                return self.connect_failed(conn_cnt, EPROTO);
            }
            if v == Verdict::Evicted {
                for call in inner.calls.values() {
                    // What was never sent has nothing to do with the old connection.
                    if call.lock().attempts > 0 && gone.push(call.clone(), GFP_KERNEL).is_err() {
                        break;
                    }
                }
            }
            inner.state = State::Full;
            inner.remote_cookie = cookie;
            inner.granted = granted;
            inner.was_full = true;
            inner.last_error = None;
            inner.last_sent = Instant::now();
            inner.full_since = Some(inner.last_sent);
            v
        };
        self.slots.limit(granted.max_mod_rpcs().unwrap_or(1));
        if verdict == Verdict::Evicted {
            pr_err!(
                "this client was evicted by {}; in-progress operations using this service will fail\n",
                self.config().target_uuid
            );
            for call in gone {
                self.complete(&call, Err(EIO));
            }
            if let Some(e) = self.events() {
                e.evicted();
            }
        }
        if let Some(e) = self.events() {
            e.active(&granted);
        }
        self.notify();
        self.send_waiting();
    }

    /// Sends what waited for the connection.
    fn send_waiting(self: &Arc<Self>) {
        let mut waiting: KVec<Arc<Call>> = KVec::new();
        {
            let inner = self.inner.lock();
            for call in inner.calls.values() {
                let is_waiting = call.lock().phase == Phase::Waiting;
                if is_waiting && waiting.push(call.clone(), GFP_KERNEL).is_err() {
                    break;
                }
            }
        }
        for call in waiting {
            self.transmit(&call, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::ClientUuid;
    use crate::import::ImportConfig;
    use crate::limits::Limits;
    use crate::node::Node;
    use kapi::net::Ipv4Addr;
    use lnet::Lnet;
    use wire::nid::{Net, Nid};

    #[test]
    fn verdicts() {
        let wanted = ConnectData::default();
        let v = |op, was_full, same| interpret(&wanted, &wanted, op, was_full, same);
        let none = ConnectOpFlags::from_bits_retain(0);
        let again = ConnectOpFlags::RECONNECT;
        assert_eq!(v(none, false, false), Verdict::Fresh);
        assert_eq!(v(again, true, true), Verdict::Resumed);
        assert_eq!(v(again, true, false), Verdict::Evicted);
        assert_eq!(v(none, true, false), Verdict::Evicted);
    }

    /// Nothing is left of an import that was closed at the worst moment.
    #[test]
    fn closed_while_it_begins() {
        let nid = |n| Nid::v4(Net::TCP, Ipv4Addr::new(127, 11, 0, n));
        let one = |n| {
            let mut v = KVec::new();
            v.push(nid(n), GFP_KERNEL).unwrap();
            v
        };
        let mut c = lnet::Config::new(one(1));
        c.port = 29988;
        c.privileged = false;
        let node = Node::start(&Lnet::start(c).unwrap(), Limits::DEFAULT).unwrap();
        let config = ImportConfig {
            target_uuid: ClientUuid::new(b"test-OST0000_UUID").unwrap(),
            client_uuid: ClientUuid::new(b"a-client").unwrap(),
            peers: one(2),
            request_portal: 1,
            reply_portal: 2,
            connect_opc: 8,
            disconnect_opc: 9,
            wanted: ConnectData::default(),
            max_modify: 1,
            part: 0,
        };
        let import = Import::new(&node, config, None).unwrap();
        let conn_cnt = import.inner.lock().conn_cnt;
        import.close(ESHUTDOWN);
        assert_eq!(import.send_connect(conn_cnt, 0, true), Err(ENOTCONN));
        assert_eq!(import.inner.lock().calls.values().count(), 0);
        node.stop();
        node.lnet().stop();
    }
}
