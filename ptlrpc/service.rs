// SPDX-License-Identifier: GPL-2.0

//! Services: a portal, a bounded queue, and threads that work on it (spec `ptlrpc.md` §9, §13).

use crate::estimate::Estimate;
use crate::message::Msg;
use crate::node::Node;
use crate::queue::{Class, Queue};
use crate::request::{Peer, ServerRequest, Shared};
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use kapi::thread::Threads;
use lnet::fail::{self, point};
use lnet::MessageBuf;
use wire::msg::MsgFlags;
use wire::opcode as op;

/// High-priority requests served before one of the others, when both wait.
const HIGH_PRIORITY_RATIO: u32 = 10;
/// How long an idle service thread beyond the minimum lives.
const IDLE_LIFE: Duration = Duration::from_secs(30);

/// What a service is.
#[derive(Clone, Copy)]
pub struct ServiceConfig {
    /// The administrator's name ("mdt", "ost_io").
    pub name: &'static str,
    /// Where requests come in.
    pub request_portal: u32,
    /// Where replies go.
    pub reply_portal: u32,
    /// Largest request, bytes.
    pub max_request: u32,
    /// Threads that are always there.
    pub threads_min: u32,
    /// Threads at the most.
    pub threads_max: u32,
    /// Requests that may wait. Beyond that, new ones are dropped: their clients resend.
    pub queue_max: usize,
}

/// Does a service's work.
pub trait Handler: Send + Sync {
    /// Serves a request: replies to it, or keeps it to reply later, or drops it.
    fn handle(&self, req: KBox<ServerRequest>);

    /// Whether a request goes before others (spec `ptlrpc.md` §13.3). Called where nothing may
    /// sleep for long.
    fn is_high_priority(&self, req: &ServerRequest) -> bool {
        let _ = req;
        false
    }
}

/// What a finished request took, in seconds, for its reply.
pub(crate) struct Took {
    pub(crate) service_time: u32,
    pub(crate) estimate: u32,
}

struct State {
    waiting: Queue<KBox<ServerRequest>>,
    /// High-priority requests taken since the last normal one.
    high_run: u32,
    running: u32,
    idle: u32,
    /// Threads working on normal requests.
    busy_normal: u32,
    stopping: bool,
    estimate: Estimate,
    next_thread: u32,
}

impl State {
    /// Whether a thread works on a normal request next: one is always kept free for those of high
    /// priority, so that a lock can be given back while all others wait for it.
    fn may_normal(&self) -> bool {
        self.busy_normal + 1 < self.running
    }

    /// Whether more threads would get what waits done sooner: the one that is kept free is no help
    /// to normal requests.
    fn wants_thread(&self) -> bool {
        let normal = u64::from(self.busy_normal) + self.waiting.waiting(Class::Normal) as u64;
        self.idle == 0 || normal + 1 > u64::from(self.running)
    }
}

/// Counters of a service.
pub struct ServiceStats {
    /// Requests served.
    pub served: Atomic<u64>,
    /// Requests dropped: for want of room, or past their deadline.
    pub dropped: Atomic<u64>,
}

/// A running service.
#[pin_data]
pub struct Service {
    config: ServiceConfig,
    node: Arc<Node>,
    handler: Arc<dyn Handler>,
    /// Counters.
    pub stats: ServiceStats,
    #[pin]
    state: Mutex<State>,
    #[pin]
    work: CondVar,
    #[pin]
    threads: Mutex<Threads>,
}

impl Service {
    /// Starts one: from now on its portal takes requests.
    ///
    /// # Errors
    /// `EEXIST`: the portal has a service. `ENOMEM`, `EAGAIN`: no threads to be had.
    pub fn start(
        node: &Arc<Node>,
        config: ServiceConfig,
        handler: Arc<dyn Handler>,
    ) -> Result<Arc<Service>> {
        let waiting = Queue::new(config.queue_max, config.threads_max.max(2))?;
        let service = Arc::pin_init(
            try_pin_init!(Service {
                config,
                node: node.clone(),
                handler,
                stats: ServiceStats {
                    served: Atomic::<u64>::new(0),
                    dropped: Atomic::<u64>::new(0),
                },
                state <- new_mutex!(State {
                    waiting,
                    high_run: 0,
                    running: 0,
                    idle: 0,
                    busy_normal: 0,
                    stopping: false,
                    estimate: Estimate::new(),
                    next_thread: 0,
                }),
                work <- new_condvar!(),
                threads <- new_mutex!(Threads::new()),
            }),
            GFP_KERNEL,
        )?;
        for _ in 0..config.threads_min.min(config.threads_max).max(2) {
            if let Err(e) = service.spawn() {
                service.stop();
                return Err(e);
            }
        }
        if let Err(e) = node.attach(&service) {
            service.stop();
            return Err(e);
        }
        Ok(service)
    }

    /// What it is.
    pub fn config(&self) -> &ServiceConfig {
        &self.config
    }

    /// Threads that run, requests that wait.
    pub fn load(&self) -> (u32, usize) {
        let q = self.state.lock();
        (q.running, q.waiting.len())
    }

    /// Takes no more requests, drops what waits, ends the threads.
    pub fn stop(self: &Arc<Self>) {
        self.node.detach(self);
        let waiting = {
            let mut q = self.state.lock();
            q.stopping = true;
            q.waiting.clear()
        };
        drop(waiting);
        self.work.notify_all();
        let threads = core::mem::take(&mut *self.threads.lock());
        threads.join();
    }

    /// Another thread. The list of threads is locked all the time: one that [`Service::stop`] does
    /// not see is not started.
    fn spawn(self: &Arc<Self>) -> Result {
        let mut threads = self.threads.lock();
        // Those that had nothing to do have ended.
        threads.reap();
        let n = {
            let mut q = self.state.lock();
            if q.stopping {
                return Err(ESHUTDOWN);
            }
            if q.running >= self.config.threads_max.max(2) {
                return Err(EAGAIN);
            }
            q.running += 1;
            q.next_thread += 1;
            q.next_thread
        };
        let service = self.clone();
        threads
            .spawn(format_args!("{}_{n:03}", self.config.name), move || {
                service.run()
            })
            .inspect_err(|_| self.state.lock().running -= 1)
    }

    /// A message came for this service. Called from the network's threads: checks, and queues.
    pub(crate) fn incoming(self: &Arc<Self>, peer: Peer, xid: u64, buf: MessageBuf) {
        if buf.data.len() > self.config.max_request as usize {
            pr_debug!(
                "{}: {} bytes from {}\n",
                self.config.name,
                buf.data.len(),
                peer.nid
            );
            self.stats.dropped.add(1, Relaxed);
            return;
        }
        if let Err(e) = self.queue_message(peer, xid, buf) {
            self.stats.dropped.add(1, Relaxed);
            pr_debug!("{}: request from {}: {:?}\n", self.config.name, peer.nid, e);
        }
    }

    fn queue_message(self: &Arc<Self>, peer: Peer, xid: u64, buf: MessageBuf) -> Result {
        let (data, charge) = buf.into_parts();
        let msg = Msg::parse(data)?;
        msg.check_request()?;
        let mut req = ServerRequest::new(&self.node, self, peer, xid, msg, charge)?;
        if let Some(e) = req.export() {
            let mut inner = e.lock();
            if req.shared().conn_cnt < inner.conn_cnt {
                return Err(ESTALE);
            }
            inner.last_heard = req.shared().arrival;
        }
        if fail::check_value(point::PTLRPC_DROP_REQ_OPC, req.opc()) {
            return Ok(());
        }
        if !req.enter()? {
            return Ok(());
        }
        let high = self.handler.is_high_priority(&req);
        req.set_high_priority(high);
        self.node.early_replies().add(req.shared())?;
        let class = if high { Class::High } else { Class::Normal };
        let queued = {
            let mut q = self.state.lock();
            if q.stopping {
                Err((req, ESHUTDOWN))
            } else {
                q.waiting
                    .push(peer.nid, class, req)
                    .map(|()| q.wants_thread() && q.running < self.config.threads_max)
            }
        };
        let grow = queued.map_err(|(_, e)| e)?;
        self.work.notify_one();
        if grow {
            // More threads are welcome, not needed.
            let _ = self.spawn();
        }
        Ok(())
    }

    /// The next request.
    fn next(&self) -> Option<KBox<ServerRequest>> {
        let mut q = self.state.lock();
        loop {
            if q.stopping {
                q.running -= 1;
                return None;
            }
            let may_normal = q.may_normal();
            // Those of high priority first, but for one now and then.
            let order = match may_normal && q.high_run >= HIGH_PRIORITY_RATIO {
                true => [Class::Normal, Class::High],
                false => [Class::High, Class::Normal],
            };
            for class in order {
                if class == Class::Normal && !may_normal {
                    continue;
                }
                let Some(r) = q.waiting.pop(class) else {
                    continue;
                };
                match class {
                    Class::High => q.high_run = q.high_run.saturating_add(1),
                    Class::Normal => {
                        q.high_run = 0;
                        q.busy_normal += 1;
                    }
                }
                return Some(r);
            }
            q.idle += 1;
            let (guard, timed_out) = self.work.wait_timeout(q, IDLE_LIFE);
            q = guard;
            q.idle -= 1;
            if timed_out && q.running > self.config.threads_min.max(2) {
                q.running -= 1;
                return None;
            }
        }
    }

    fn run(self: Arc<Self>) {
        while let Some(req) = self.next() {
            let (normal, from) = (!req.is_high_priority(), req.peer().nid);
            self.serve(req);
            let waiting = {
                let mut q = self.state.lock();
                q.busy_normal -= u32::from(normal);
                q.waiting.done(&from);
                q.waiting.len()
            };
            // What had to wait for this one may be for another thread.
            if waiting > 0 {
                self.work.notify_one();
            }
        }
    }

    fn serve(&self, req: KBox<ServerRequest>) {
        let late = req.time_left().is_zero() && req.opc() != wire::opcode::LDLM_CANCEL;
        let old = req
            .export()
            .is_some_and(|e| req.shared().conn_cnt < e.lock().conn_cnt);
        if late || old {
            self.stats.dropped.add(1, Relaxed);
            req.discard();
            return;
        }
        self.stats.served.add(1, Relaxed);
        if !matches!(
            req.opc(),
            op::OBD_PING | op::OST_STATFS | op::MDS_STATFS | op::OST_CREATE | op::OST_DISCONNECT
        ) {
            fail::pause(point::PTLRPC_PAUSE_REQ, |ms| {
                Duration::from_millis(ms.into())
            });
        }
        self.handler.handle(req);
    }

    /// Measures a request that is about to be answered.
    pub(crate) fn finished(&self, s: &Shared, flags: &MsgFlags, is_error: bool) -> Took {
        let limits = self.node.limits();
        let secs = s.arrival.elapsed().as_secs();
        let service_time = u32::try_from(secs).unwrap_or(u32::MAX).max(1);
        let now = Instant::now().as_nanos() / 1_000_000_000;
        let mut q = self.state.lock();
        let again = MsgFlags::RESENT | MsgFlags::REPLAY | MsgFlags::REQ_REPLAY_DONE;
        if !is_error && !flags.intersects(again) {
            q.estimate.add(service_time, now, &limits.at);
        }
        Took {
            service_time,
            estimate: q.estimate.get(now, &limits.at),
        }
    }

    /// Raises the estimate for a request that takes `seconds` already; returns the estimate.
    pub(crate) fn note_duration(&self, seconds: u32) -> u32 {
        let limits = self.node.limits();
        let now = Instant::now().as_nanos() / 1_000_000_000;
        let mut q = self.state.lock();
        q.estimate.add(seconds, now, &limits.at);
        q.estimate.get(now, &limits.at)
    }
}
