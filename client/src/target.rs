// SPDX-License-Identifier: GPL-2.0

//! A target of the file system as this client sees it: the connection and the locks held there.

use crate::callback::Callbacks;
use crate::node::ClientNode;
use crate::rpc;
use kapi::prelude::*;
use ldlm::client::{Answer, Cache, CacheConfig, CacheOps, CancelSender, Held, Want};
use ldlm::core::{flags, Desc};
use ldlm::msg::{self, ReplyMsg};
use ptlrpc::call::{Call, CallOptions, Reply};
use ptlrpc::import::{Import, ImportConfig, ImportEvents};
use ptlrpc::message::Msg;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc as StdArc, Mutex as StdMutex, OnceLock};
use wire::connect::ConnectData;
use wire::msg::DLM_VERSION;
use wire::opcode::{portal, LDLM_CANCEL, LDLM_ENQUEUE};

/// `pb_status` of an enqueue that gives no lock.
const LOCK_ABORTED: i32 = 301;

/// Who is told what becomes of a connection, besides its locks.
pub trait TargetEvents: Send + Sync {
    /// It is there, for the first time or again.
    fn active(&self, connect: &ConnectData) {
        let _ = connect;
    }
    /// It is lost; it is made again when this returns.
    fn disconnected(&self) {}
    /// The target has forgotten us; the locks will go now.
    fn evicting(&self) {}
    /// The target has forgotten us; the locks are gone.
    fn evicted(&self) {}
}

/// A target.
pub struct Target {
    import: Arc<Import>,
    locks: Cache,
    callbacks: StdArc<Callbacks>,
    stopping: StdArc<AtomicBool>,
    threads: StdMutex<Vec<std::thread::JoinHandle<()>>>,
}

/// Sends cancels.
#[derive(Default)]
struct Cancels(StdArc<OnceLock<Arc<Import>>>);

impl CancelSender for Cancels {
    fn cancel(&self, cookies: &[u64]) {
        let Some(import) = self.0.get() else { return };
        let send = || -> Result {
            let mut buf = vec![0; msg::request_len(cookies.len())];
            msg::request(&mut buf, 0, None, None, cookies)?;
            let m = rpc::request(LDLM_CANCEL, DLM_VERSION, &[&buf])?;
            let mut o = CallOptions::new(&[])?;
            o.portal = Some(portal::LDLM_CANCEL_REQUEST);
            o.reply_portal = Some(portal::LDLM_CANCEL_REPLY);
            // If the connection is lost and comes back, the server still has the locks, and others
            // may wait for them: it is sent again then. With an eviction it ends.
            import.begin(m, o, None).map(|_| ())
        };
        if let Err(e) = send() {
            pr_debug!("cancels are lost: {:?}\n", e);
        }
    }
}

/// Has locks dropped when the target forgets us.
struct Events {
    locks: Cache,
    more: StdArc<dyn TargetEvents>,
}

impl ImportEvents for Events {
    fn active(&self, connect: &ConnectData) {
        self.more.active(connect);
    }
    fn disconnected(&self) {
        self.more.disconnected();
    }
    fn evicted(&self) {
        self.more.evicting();
        self.locks.invalidate();
        self.more.evicted();
    }
}

/// What an enqueue came to.
pub struct Enqueued {
    /// The lock, granted; `None` if the server gave none.
    pub lock: Option<Held>,
    /// The decoded lock reply.
    pub answer: ReplyMsg,
    /// The whole reply.
    pub reply: Reply,
}

/// An enqueue.
pub struct Enqueue<'a> {
    /// The lock.
    pub want: Want,
    /// Server handles of locks to cancel along with it.
    pub cancels: &'a [u64],
    /// Buffers behind the lock's: the intent.
    pub intent: &'a [&'a [u8]],
    /// Number of the reply's buffer that holds the value block, if it has one.
    pub lvb: Option<usize>,
    /// Room for the reply, and so on.
    pub options: CallOptions,
    /// Who asks.
    pub cred: &'a crate::cred::Cred,
}

/// An enqueue that is under way. It has to be brought to its end: the server may have given a lock.
pub struct Begun {
    held: Held,
    call: Arc<Call>,
}

impl Begun {
    /// Whether the answer is there; it is waited for so long at the most.
    pub fn is_answered(&self, limit: Duration) -> bool {
        self.call.is_over(limit)
    }
}

/// Asked now and then while a lock is waited for: whether to give up.
pub type Enough<'a> = Option<&'a (dyn Fn() -> bool + Sync)>;

/// How often.
const ENOUGH_EVERY: Duration = Duration::from_millis(250);

impl Target {
    /// Begins to connect to a target.
    ///
    /// # Errors
    /// `ENOMEM`, `EAGAIN`; `EINVAL`: no NIDs.
    pub fn new(
        node: &ClientNode,
        config: ImportConfig,
        ops: Arc<dyn CacheOps>,
        events: StdArc<dyn TargetEvents>,
        threads: usize,
    ) -> Result<StdArc<Target>> {
        let slot = StdArc::new(OnceLock::new());
        let sender: Arc<dyn CancelSender> = Arc::new(Cancels(slot.clone()), GFP_KERNEL)?;
        let locks = Cache::new(CacheConfig::default(), ops, sender)?;
        let name = config.target_uuid;
        let more: Arc<dyn ImportEvents> = Arc::new(
            Events {
                locks: locks.clone(),
                more: events,
            },
            GFP_KERNEL,
        )?;
        let import = Import::new(node.node(), config, Some(more))?;
        // Set once: it is new.
        let _ = slot.set(import.clone());
        node.callbacks().add(import.own_cookie(), locks.clone());
        let stopping = StdArc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for _ in 0..threads {
            let (l, s) = (locks.clone(), stopping.clone());
            let b = std::thread::Builder::new().name(format!("ldlm_bl {name}"));
            workers.push(b.spawn(move || {
                while !s.load(Ordering::Acquire) {
                    l.work();
                    l.wait_for_work(Duration::from_secs(5));
                }
            })?);
        }
        Ok(StdArc::new(Target {
            import,
            locks,
            callbacks: node.callbacks().clone(),
            stopping,
            threads: StdMutex::new(workers),
        }))
    }

    /// The connection.
    pub fn import(&self) -> &Arc<Import> {
        &self.import
    }

    /// The locks.
    pub fn locks(&self) -> &Cache {
        &self.locks
    }

    /// What the target granted at the connect.
    pub fn connect_data(&self) -> ConnectData {
        self.import.connect_data()
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// Those of the connection, and what the target answers.
    pub fn call(&self, msg: &Msg, options: CallOptions) -> Result<Reply> {
        rpc::call(&self.import, msg, options)
    }

    /// Asks for a lock and waits until it is granted.
    ///
    /// # Errors
    /// Those of the connection, what the target answers, and `EPROTO`.
    pub fn enqueue(&self, e: &Enqueue<'_>) -> Result<Enqueued> {
        self.enqueue_until(e, None)
    }

    /// The same, until it is enough.
    ///
    /// # Errors
    /// As [`Target::enqueue`], and `EINTR`. A lock that is granted after that goes back.
    pub fn enqueue_until(&self, e: &Enqueue<'_>, enough: Enough<'_>) -> Result<Enqueued> {
        self.finish(e, self.begin(e)?, enough)
    }

    /// Asks for a lock.
    ///
    /// # Errors
    /// `ENOMEM`, `ESHUTDOWN`.
    pub fn begin(&self, e: &Enqueue<'_>) -> Result<Begun> {
        let held = self.locks.prepare(&e.want)?;
        let desc = Desc {
            res: e.want.res,
            req_mode: e.want.mode,
            granted: None,
            policy: e.want.policy,
            cancel_bits: 0,
        };
        let mut req = vec![0; msg::request_len(1 + e.cancels.len())];
        msg::request(
            &mut req,
            e.want.flags,
            Some(&desc),
            Some(held.handle()),
            e.cancels,
        )?;
        let mut bufs: Vec<&[u8]> = Vec::with_capacity(1 + e.intent.len());
        bufs.push(&req);
        bufs.extend_from_slice(e.intent);
        let mut m = rpc::request(LDLM_ENQUEUE, DLM_VERSION, &bufs)?;
        rpc::sign(&mut m, e.cred)?;
        let call = self.import.begin(m, e.options, None)?;
        Ok(Begun { held, call })
    }

    /// Waits for the end of what was begun.
    ///
    /// # Errors
    /// As [`Target::enqueue_until`].
    pub fn finish(&self, e: &Enqueue<'_>, b: Begun, enough: Enough<'_>) -> Result<Enqueued> {
        let mut begun = b;
        loop {
            let Begun { held, call } = begun;
            let reply = call.wait()?;
            if reply.status == EINPROGRESS.to_errno() {
                drop(held);
                std::thread::sleep(Duration::from_secs(1));
                begun = self.begin(e)?;
                continue;
            }
            let reply = reply.check()?;
            let answer = ReplyMsg::parse(reply.msg.buf(1).ok_or(EPROTO)?)?;
            // Of an intent, that may be what became of the operation.
            let later = i64::from(EINPROGRESS.to_errno()) as u64;
            if e.want.flags & flags::HAS_INTENT != 0 && answer.res2 == later {
                drop(held);
                std::thread::sleep(Duration::from_secs(1));
                begun = self.begin(e)?;
                continue;
            }
            let none = reply.status == LOCK_ABORTED
                || answer.cookie == 0
                || e.want.flags & flags::INTENT_ONLY != 0;
            if none {
                return Ok(Enqueued {
                    lock: None,
                    answer,
                    reply,
                });
            }
            let lvb = e.lvb.and_then(|i| reply.msg.buf(i)).unwrap_or(&[]);
            let a = Answer {
                flags: answer.flags,
                desc: answer.desc.ok_or(EPROTO)?,
                cookie: answer.cookie,
                lvb,
            };
            let granted = match self.locks.answered(&held, &a) {
                // The target had forgotten us meanwhile. A lock alone can be asked for again; an
                // operation that came with it may have been done.
                Err(x) if x == ENOTCONN && e.intent.is_empty() => {
                    drop(held);
                    begun = self.begin(e)?;
                    continue;
                }
                r => r?,
            };
            if !granted {
                self.wait(&held, enough)?;
            }
            return Ok(Enqueued {
                lock: Some(held),
                answer,
                reply,
            });
        }
    }

    fn wait(&self, held: &Held, enough: Enough<'_>) -> Result {
        let Some(enough) = enough else {
            return self.locks.wait(held, None);
        };
        loop {
            match self.locks.wait(held, Some(ENOUGH_EVERY)) {
                Err(e) if e == ETIMEDOUT && enough() => return Err(EINTR),
                Err(e) if e == ETIMEDOUT => {}
                r => return r,
            }
        }
    }

    /// Gives back all unused locks, says good-bye and ends the threads.
    pub fn stop(&self) {
        if self.import.state() == ptlrpc::import::State::Full {
            self.locks.clear();
            self.locks.work();
        }
        self.stopping.store(true, Ordering::Release);
        let threads = self
            .threads
            .lock()
            .map_or_else(|_| Vec::new(), |mut t| std::mem::take(&mut *t));
        for t in threads {
            while !t.is_finished() {
                // Wakes it, unless it is about to sleep.
                self.locks.clear();
                std::thread::sleep(Duration::from_millis(1));
            }
            if t.join().is_err() {
                pr_err!("a lock thread ended by panic\n");
            }
        }
        self.import.disconnect();
        self.callbacks.remove(self.import.own_cookie());
    }
}
