// SPDX-License-Identifier: GPL-2.0

//! Locks on the names of logs: while we have one, what we read is what there is.

use kapi::prelude::*;
use ldlm::client::{Answer, Cache, CacheConfig, CacheOps, CancelSender, ClientView, Held, Want};
use ldlm::core::{Desc, Mode, Policy, ResId};
use ldlm::msg::{self, LockMsg, ReplyMsg, REPLY_LEN};
use ptlrpc::call::{CallOptions, Outcome};
use ptlrpc::import::Import;
use ptlrpc::message::Msg;
use ptlrpc::request::ServerRequest;
use target::server::LockClient;
use wire::msg::DLM_VERSION;
use wire::opcode::{portal, LDLM_BL_CALLBACK, LDLM_CANCEL, LDLM_CP_CALLBACK, LDLM_ENQUEUE};

/// How long an enqueue may wait for another that changes the log.
const PATIENCE: Duration = Duration::from_secs(5);
/// Logs that are followed at the most.
const MAX_LOCKS: usize = 4096;
/// Locks that one request gives up.
const CANCELS_AT_ONCE: usize = 256;

/// Hears which locks are taken away.
pub(crate) trait Lost: Send + Sync {
    /// The lock on this resource is gone.
    fn lost(&self, res: &ResId);
}

struct Ops(Arc<dyn Lost>);

impl CacheOps for Ops {
    fn give_up(&self, lock: &ClientView, _: bool) {
        self.0.lost(&lock.res);
    }
    fn glimpse(&self, _: &ClientView, _: &mut [u8; 64]) -> Option<usize> {
        None
    }
    fn granted(&self, _: &ClientView, _: &[u8]) {}
    fn droppable(&self, _: &ClientView) -> bool {
        true
    }
}

/// Locks that the server may not know to be given up.
#[pin_data]
struct Unsure {
    #[pin]
    cookies: Mutex<KVec<u64>>,
}

/// Sends cancels. One that is lost with a connection that comes back is sent again: the server
/// still has the lock, and others wait for it.
#[pin_data]
struct Cancels {
    /// Set once, when it is there.
    #[pin]
    import: SpinLock<Option<Arc<Import>>>,
    unsure: Arc<Unsure>,
}

impl Cancels {
    fn send(&self, cookies: &[u64]) -> Result {
        let import = self.import.lock().clone().ok_or(ENOTCONN)?;
        let len = msg::request_len(cookies.len());
        let mut m = Msg::request(LDLM_CANCEL, DLM_VERSION, &[u32::try_from(len)?])?;
        let buf = m.buf_mut(1).ok_or(EPROTO)?;
        msg::request(buf, 0, None, None, cookies)?;
        let mut o = CallOptions::new(&[])?;
        o.portal = Some(portal::LDLM_CANCEL_REQUEST);
        o.reply_portal = Some(portal::LDLM_CANCEL_REPLY);
        o.no_resend = true;
        o.no_delay = true;
        let mut sent: KVec<u64> = KVec::new();
        sent.extend_from_slice(cookies, GFP_KERNEL)?;
        let unsure = self.unsure.clone();
        let done = move |outcome: Outcome| {
            if outcome.is_ok() {
                unsure.cookies.lock().retain(|c| !sent.contains(c));
            }
        };
        import.call_async(m, o, None, KBox::new(done, GFP_KERNEL)?)
    }

    /// The connection is back, and the server knows us.
    fn send_again(&self) {
        let mut all: KVec<u64> = KVec::new();
        if all
            .extend_from_slice(&self.unsure.cookies.lock(), GFP_KERNEL)
            .is_err()
        {
            return;
        }
        for some in all.chunks(CANCELS_AT_ONCE) {
            if let Err(e) = self.send(some) {
                pr_debug!("cancels wait: {:?}\n", e);
            }
        }
    }
}

impl CancelSender for Cancels {
    fn cancel(&self, cookies: &[u64]) {
        let noted = self
            .unsure
            .cookies
            .lock()
            .extend_from_slice(cookies, GFP_KERNEL);
        if let Err(e) = noted.map_err(Error::from).and_then(|()| self.send(cookies)) {
            pr_debug!("cancels wait: {:?}\n", e);
        }
    }
}

/// The locks.
#[derive(Clone)]
pub(crate) struct Locks {
    cache: Cache,
    sender: Arc<Cancels>,
}

impl Locks {
    pub(crate) fn new(lost: Arc<dyn Lost>) -> Result<Locks> {
        let unsure = Arc::pin_init(
            pin_init!(Unsure {
                cookies <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )?;
        let sender = Arc::pin_init(
            pin_init!(Cancels {
                import <- new_spinlock!(None),
                unsure,
            }),
            GFP_KERNEL,
        )?;
        // They stay until the MGS wants them back.
        let config = CacheConfig {
            max_locks: MAX_LOCKS,
            max_unused: MAX_LOCKS,
            max_age: Duration::from_secs(u64::from(u32::MAX)),
            ..CacheConfig::default()
        };
        let ops = Arc::new(Ops(lost), GFP_KERNEL)?;
        let cache = Cache::new(config, ops, sender.clone())?;
        Ok(Locks { cache, sender })
    }

    pub(crate) fn set_import(&self, import: Option<Arc<Import>>) {
        *self.sender.import.lock() = import;
    }

    /// The connection is back, and our locks with it.
    pub(crate) fn connected(&self) {
        self.sender.send_again();
    }

    /// The MGS has forgotten us.
    pub(crate) fn evicted(&self) {
        self.sender.unsure.cookies.lock().clear();
        self.cache.invalidate();
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// A lock on a resource: the one we have, or a new one.
    ///
    /// # Errors
    /// Those of the connection and of the MGS; `ETIMEDOUT`.
    pub(crate) fn take(&self, import: &Arc<Import>, res: &ResId) -> Result<Held> {
        if let Some(held) = self.cache.find(res, Mode::Cr as u32, &Policy::Plain) {
            return Ok(held);
        }
        let want = Want {
            res: *res,
            mode: Mode::Cr,
            policy: Policy::Plain,
            flags: 0,
        };
        let held = self.cache.prepare(&want)?;
        let desc = Desc {
            res: want.res,
            req_mode: want.mode,
            granted: None,
            policy: want.policy,
            cancel_bits: 0,
        };
        let len = msg::request_len(1);
        let mut m = Msg::request(LDLM_ENQUEUE, DLM_VERSION, &[u32::try_from(len)?])?;
        let buf = m.buf_mut(1).ok_or(EPROTO)?;
        msg::request(buf, 0, Some(&desc), Some(held.handle()), &[])?;
        let mut options = CallOptions::new(&[REPLY_LEN as u32, 0])?;
        options.no_delay = true;
        options.no_resend = true;
        let reply = import.call(m, options, None)?.check()?;
        let answer = ReplyMsg::parse(reply.msg.buf(1).ok_or(EPROTO)?)?;
        let a = Answer {
            flags: answer.flags,
            desc: answer.desc.ok_or(EPROTO)?,
            cookie: answer.cookie,
            lvb: &[],
        };
        if !self.cache.answered(&held, &a)? {
            self.cache.wait(&held, Some(PATIENCE))?;
        }
        Ok(held)
    }

    fn answer(&self, req: &ServerRequest) -> Result<i32> {
        let m = LockMsg::parse(req.msg().buf(1).ok_or(EPROTO)?)?;
        let (handle, cookie, flags) = (m.handle(0), m.handle(1), m.raw_flags());
        match req.opc() {
            LDLM_BL_CALLBACK => Ok(self.cache.blocking(handle, cookie, flags)),
            LDLM_CP_CALLBACK => Ok(self
                .cache
                .completion(handle, cookie, &m.desc()?, flags, &[])),
            // There is nothing to be looked at.
            _ => Err(EINVAL),
        }
    }
}

impl LockClient for Locks {
    fn callback(&self, mut req: KBox<ServerRequest>) {
        let done = self.answer(&req).and_then(|status| {
            req.pack_reply(&[])?;
            Ok(status)
        });
        match done {
            Ok(status) => req.reply(status),
            Err(e) => req.error(e),
        }
    }
}
