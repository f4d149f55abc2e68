// SPDX-License-Identifier: GPL-2.0

//! A node's connection to an MGS: targets register by it, and logs are read and followed
//! (`mgs-config.md` 6.1, 7, 8).
//!
//! Each log that is followed has a lock at the MGS, taken before the log is read. When the MGS
//! wants it back the log has grown: some seconds later it is read on from the last record.

use crate::logs;
use crate::text::Text;
use kapi::prelude::*;
use kapi::thread::JoinHandle;
use ldlm::client::{Answer, Cache, CacheConfig, CacheOps, CancelSender, ClientView, Held, Want};
use ldlm::core::{Desc, Mode, Policy, ResId};
use ldlm::msg::{self, LockMsg, ReplyMsg};
use ptlrpc::call::{CallOptions, Outcome};
use ptlrpc::export::ClientUuid;
use ptlrpc::import::{Import, ImportConfig, ImportEvents, State as ImportState};
use ptlrpc::message::Msg;
use ptlrpc::request::ServerRequest;
use target::server::LockClient;
use target::Server;
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::ldlm::{ConfigLock, LdlmResId};
use wire::mgs::MgsTargetInfo;
use wire::msg::{DLM_VERSION, MGS_VERSION};
use wire::nid::Nid;
use wire::opcode::{
    portal, LDLM_BL_CALLBACK, LDLM_CANCEL, LDLM_CP_CALLBACK, LDLM_ENQUEUE, MGS_CONNECT,
    MGS_DISCONNECT, MGS_TARGET_REG,
};

/// The release whose protocol this is.
pub(crate) const VERSION: u32 = wire::connect::version(2, 17, 0, 0);
/// The part of an MGC in `lm_secflvr` (`ptlrpc.md` 12.1).
const PART_MGC: u8 = 3;
/// How long after the MGS wants a lock back its log is read on.
const REQUEUE: Duration = Duration::from_secs(5);
/// How long until a log is tried again that could not be read.
const RETRY: Duration = Duration::from_secs(10);
/// How often is looked for work.
const TICK: Duration = Duration::from_secs(1);
/// How long an announcement may take, seconds.
const READY_TIME: u32 = 10;
/// How long the MGS may be writing to a log that is to be read.
const LOCK_TIME: Duration = Duration::from_secs(100);

/// Takes what a log says.
pub(crate) trait LogSink: Send + Sync {
    /// The payload of the next record.
    ///
    /// # Errors
    /// It cannot be followed: the log is read no further.
    fn record(&self, payload: &[u8]) -> Result;

    /// There are no more records now.
    fn caught_up(&self);
}

/// How far a log has been read.
struct Progress {
    last: u32,
    /// When to read on; `None` as long as the lock says that there is nothing new.
    due: Option<Instant>,
    closed: bool,
}

/// A log that is followed.
#[pin_data]
pub(crate) struct Watch {
    name: Text,
    res: ResId,
    sink: Arc<dyn LogSink>,
    #[pin]
    progress: Mutex<Progress>,
    /// One reads at a time.
    #[pin]
    reading: Mutex<()>,
}

/// What is known without the connection: the locks tell here that they go.
#[pin_data]
struct Watches {
    #[pin]
    all: Mutex<KVec<Arc<Watch>>>,
}

impl Watches {
    /// Logs, of one resource or all, are to be read on at `when`.
    fn due(&self, res: Option<&ResId>, when: Instant) {
        for w in self.all.lock().iter() {
            if res.is_none_or(|r| *r == w.res) {
                let mut p = w.progress.lock();
                p.due = Some(p.due.map_or(when, |d| d.min(when)));
            }
        }
    }

    /// One that is due.
    fn next(&self, now: Instant) -> Option<Arc<Watch>> {
        let all = self.all.lock();
        let is_due = |w: &&Arc<Watch>| w.progress.lock().due.is_some_and(|d| d <= now);
        all.iter().find(is_due).cloned()
    }
}

struct Ops(Arc<Watches>);

impl CacheOps for Ops {
    fn give_up(&self, lock: &ClientView, _: bool) {
        let more = Duration::from_millis(kapi::rand::u64() % 1000);
        self.0.due(Some(&lock.res), Instant::now() + REQUEUE + more);
    }

    fn glimpse(&self, _: &ClientView, _: &mut [u8; 64]) -> Option<usize> {
        None
    }

    fn granted(&self, _: &ClientView, _: &[u8]) {}

    fn droppable(&self, _: &ClientView) -> bool {
        true
    }
}

/// Sends cancels; it has the import once that is made.
#[pin_data]
struct Cancels {
    #[pin]
    import: SpinLock<Option<Arc<Import>>>,
}

impl Cancels {
    fn send(&self, cookies: &[u64]) -> Result {
        let import = self.import.lock().clone().ok_or(ENOTCONN)?;
        let len = msg::request_len(cookies.len());
        let mut m = Msg::request(LDLM_CANCEL, DLM_VERSION, &[u32::try_from(len)?])?;
        msg::request(m.buf_mut(1).ok_or(EPROTO)?, 0, None, None, cookies)?;
        let mut o = CallOptions::new(&[])?;
        o.portal = Some(portal::LDLM_CANCEL_REQUEST);
        o.reply_portal = Some(portal::LDLM_CANCEL_REPLY);
        // The locks go with the connection.
        o.no_resend = true;
        o.no_delay = true;
        let done: KBox<dyn Once<Outcome>> = KBox::new(|_: Outcome| {}, GFP_KERNEL)?;
        import.call_async(m, o, None, done)
    }
}

impl CancelSender for Cancels {
    fn cancel(&self, cookies: &[u64]) {
        if let Err(e) = self.send(cookies) {
            pr_debug!("cancels are lost: {:?}\n", e);
        }
    }
}

/// Answers lock callbacks of the MGS.
struct Callbacks(Cache);

impl LockClient for Callbacks {
    fn callback(&self, mut req: KBox<ServerRequest>) {
        let status = self.work(&mut req).and_then(|s| {
            req.pack_reply(&[])?;
            Ok(s)
        });
        match status {
            Ok(s) => req.reply(s),
            Err(e) => req.error(e),
        }
    }
}

impl Callbacks {
    fn work(&self, req: &mut ServerRequest) -> Result<i32> {
        let m = req.msg();
        let lock = LockMsg::parse(m.buf(1).ok_or(EPROTO)?)?;
        let (handle, cookie, flags) = (lock.handle(0), lock.handle(1), lock.raw_flags());
        match req.opc() {
            LDLM_BL_CALLBACK => Ok(self.0.blocking(handle, cookie, flags)),
            LDLM_CP_CALLBACK => {
                let lvb = m.buf(2).unwrap_or(&[]);
                Ok(self.0.completion(handle, cookie, &lock.desc()?, flags, lvb))
            }
            _ => Err(EOPNOTSUPP),
        }
    }
}

/// What the connection tells.
#[pin_data]
struct Events {
    locks: Cache,
    watches: Arc<Watches>,
    /// The MGS does not know our targets' NIDs: it was started anew.
    #[pin]
    announce: SpinLock<bool>,
}

impl ImportEvents for Events {
    fn active(&self, _: &ConnectData) {
        *self.announce.lock() = true;
    }

    fn evicted(&self) {
        self.locks.invalidate();
        self.watches.due(None, Instant::now() + REQUEUE);
    }
}

struct Work {
    thread: Option<JoinHandle>,
    stopping: bool,
    /// What is announced again to an MGS that was started anew.
    ready: KVec<(u64, Arc<KVVec<u8>>)>,
    next_ready: u64,
}

/// A connection to an MGS.
#[pin_data]
pub(crate) struct Mgc {
    import: Arc<Import>,
    locks: Cache,
    server: Arc<Server>,
    watches: Arc<Watches>,
    cancels: Arc<Cancels>,
    events: Arc<Events>,
    #[pin]
    work: Mutex<Work>,
}

fn connect_data() -> ConnectData {
    let flags = ConnectFlags::VERSION
        | ConnectFlags::AT
        | ConnectFlags::FULL20
        | ConnectFlags::IMP_RECOV
        | ConnectFlags::BULK_MBITS
        | ConnectFlags::FLAGS2;
    let mut data = ConnectData::default();
    data.set_flags(flags, ConnectFlags2::REP_MBITS);
    data.ocd_version.set(VERSION);
    data
}

/// A random UUID, as text.
fn random_uuid() -> Result<ClientUuid> {
    let (a, b) = (kapi::rand::u64(), kapi::rand::u64());
    let text = Text::format(format_args!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 48) & 0x3fff,
        b & 0xffff_ffff_ffff
    ))?;
    ClientUuid::new(text.as_str().as_bytes())
}

impl Mgc {
    /// Begins to connect to the MGS at one of `peers`.
    ///
    /// # Errors
    /// `EINVAL`: no peers. `ENOMEM`, `EAGAIN`.
    pub(crate) fn start(server: &Arc<Server>, peers: KVec<Nid>) -> Result<Arc<Mgc>> {
        let watches = Arc::pin_init(
            pin_init!(Watches { all <- new_mutex!(KVec::new()) }),
            GFP_KERNEL,
        )?;
        let cancels = Arc::pin_init(
            pin_init!(Cancels { import <- new_spinlock!(None) }),
            GFP_KERNEL,
        )?;
        let ops: Arc<dyn CacheOps> = Arc::new(Ops(watches.clone()), GFP_KERNEL)?;
        let config = CacheConfig {
            // Without a lock nobody tells that a log has grown.
            max_age: Duration::from_secs(u32::MAX.into()),
            ..CacheConfig::default()
        };
        let locks = Cache::new(config, ops, cancels.clone())?;
        let (its_locks, its_watches) = (locks.clone(), watches.clone());
        let events = Arc::pin_init(
            pin_init!(Events {
                locks: its_locks,
                watches: its_watches,
                announce <- new_spinlock!(false),
            }),
            GFP_KERNEL,
        )?;
        let callbacks = Arc::new(Callbacks(locks.clone()), GFP_KERNEL)?;
        let import_config = ImportConfig {
            target_uuid: ClientUuid::new(b"MGS")?,
            client_uuid: random_uuid()?,
            peers,
            request_portal: portal::MGS_REQUEST,
            reply_portal: portal::MGC_REPLY,
            connect_opc: MGS_CONNECT,
            disconnect_opc: MGS_DISCONNECT,
            wanted: connect_data(),
            max_modify: 1,
            part: PART_MGC,
        };
        let import = Import::new(server.node(), import_config, Some(events.clone()))?;
        let to_close = import.clone();
        let made = server
            .add_client(import.own_cookie(), callbacks)
            .and_then(|()| {
                *cancels.import.lock() = Some(import.clone());
                Arc::pin_init(
                    pin_init!(Mgc {
                        import,
                        locks,
                        server: server.clone(),
                        watches,
                        cancels,
                        events,
                        work <- new_mutex!(Work {
                            thread: None,
                            stopping: false,
                            ready: KVec::new(),
                            next_ready: 0,
                        }),
                    }),
                    GFP_KERNEL,
                )
            });
        let mgc: Arc<Mgc> = match made {
            Ok(m) => m,
            Err(e) => {
                server.remove_client(to_close.own_cookie());
                to_close.close(ESHUTDOWN);
                return Err(e);
            }
        };
        let worker = mgc.clone();
        match kapi::thread::spawn(format_args!("ll_cfg_requeue"), move || worker.run()) {
            Ok(h) => mgc.work.lock().thread = Some(h),
            Err(e) => {
                mgc.stop();
                return Err(e);
            }
        }
        Ok(mgc)
    }

    /// Ends it. Nobody follows a log any more.
    pub(crate) fn stop(&self) {
        let thread = {
            let mut work = self.work.lock();
            work.stopping = true;
            work.thread.take()
        };
        if self.import.state() == ImportState::Full {
            self.locks.clear();
            self.locks.work();
        }
        // Wakes the thread, and waits for it.
        self.locks.clear();
        drop(thread);
        self.import.disconnect();
        self.server.remove_client(self.import.own_cookie());
        // They know each other.
        let import = self.cancels.import.lock().take();
        drop(import);
    }

    /// The client's UUID, for the list of devices.
    pub(crate) fn uuid(&self) -> &ClientUuid {
        &self.import.config().client_uuid
    }

    /// Waits until it is connected.
    ///
    /// # Errors
    /// `ETIMEDOUT`, or why the MGS refuses.
    pub(crate) fn wait_connected(&self, timeout: Duration) -> Result {
        self.import.wait_full(timeout)
    }

    fn is_stopping(&self) -> bool {
        self.work.lock().stopping
    }

    /// Registers a target, by a [`MgsTargetInfo`]; the MGS' answer to it, which is one, too.
    ///
    /// # Errors
    /// `EADDRINUSE`: the index is taken. `ENOENT`: the MGS does not know the target. Others that
    /// the MGS or the connection has.
    pub(crate) fn register(&self, info: &[u8], timeout: u32) -> Result<KVVec<u8>> {
        let len = u32::try_from(info.len())?;
        let mut m = Msg::request(MGS_TARGET_REG, MGS_VERSION, &[len])?;
        m.buf_mut(1).ok_or(EPROTO)?.copy_from_slice(info);
        let mut o = CallOptions::new(&[len])?;
        o.timeout = Some(timeout);
        let r = self.import.call(m, o, None)?.check()?;
        let answer = r.msg.buf(1).ok_or(EPROTO)?;
        if answer.len() < size_of::<MgsTargetInfo>() {
            return Err(EPROTO);
        }
        let mut out = KVVec::new();
        out.extend_from_slice(answer, GFP_KERNEL)?;
        Ok(out)
    }

    /// Says that a target is up, soon and whenever the MGS was started anew. Returns a number to
    /// end that by.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn announce(&self, info: KVVec<u8>) -> Result<u64> {
        let info = Arc::new(info, GFP_KERNEL)?;
        let mut work = self.work.lock();
        let id = work.next_ready;
        work.next_ready += 1;
        work.ready.push((id, info), GFP_KERNEL)?;
        drop(work);
        *self.events.announce.lock() = true;
        Ok(id)
    }

    /// It is not up any more.
    pub(crate) fn unannounce(&self, id: u64) {
        self.work.lock().ready.retain(|(i, _)| *i != id);
    }

    /// Reads a log, and follows it from then on.
    ///
    /// # Errors
    /// `ENOENT`: there is no such log. Those of the connection and of `sink`.
    pub(crate) fn follow(
        &self,
        name: &str,
        fsname: &str,
        sink: Arc<dyn LogSink>,
    ) -> Result<Arc<Watch>> {
        let res = LdlmResId::config(fsname.as_bytes(), ConfigLock::Config).map_err(|_| EINVAL)?;
        let name = Text::copy(name)?;
        let watch = Arc::pin_init(
            pin_init!(Watch {
                name,
                res: ResId(res.words()),
                sink,
                progress <- new_mutex!(Progress {
                    last: 0,
                    due: None,
                    closed: false,
                }),
                reading <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )?;
        self.watches.all.lock().push(watch.clone(), GFP_KERNEL)?;
        if let Err(e) = self.read(&watch) {
            self.unfollow(&watch);
            return Err(e);
        }
        Ok(watch)
    }

    /// Follows a log no longer: its sink is not called any more when this returns.
    pub(crate) fn unfollow(&self, watch: &Arc<Watch>) {
        self.watches.all.lock().retain(|w| !Arc::ptr_eq(w, watch));
        watch.progress.lock().closed = true;
        let _reading = watch.reading.lock();
    }

    /// Reads on.
    fn read(&self, watch: &Watch) -> Result {
        let _reading = watch.reading.lock();
        let after = {
            let mut p = watch.progress.lock();
            if p.closed {
                return Err(ESHUTDOWN);
            }
            // What changes from here on is told.
            p.due = None;
            p.last
        };
        let lock = self.lock(&watch.res)?;
        let read = logs::read(
            &self.import,
            watch.name.as_str(),
            after,
            &mut |i, payload| {
                watch.sink.record(payload)?;
                watch.progress.lock().last = i;
                Ok(())
            },
        );
        drop(lock);
        read?;
        watch.sink.caught_up();
        Ok(())
    }

    /// The lock of a log: one that is here, or a new one.
    fn lock(&self, res: &ResId) -> Result<Held> {
        if let Some(held) = self.locks.find(res, Mode::Cr as u32, &Policy::Plain) {
            return Ok(held);
        }
        let want = Want {
            res: *res,
            mode: Mode::Cr,
            policy: Policy::Plain,
            flags: 0,
        };
        let held = self.locks.prepare(&want)?;
        let desc = Desc {
            res: *res,
            req_mode: Mode::Cr,
            granted: None,
            policy: Policy::Plain,
            cancel_bits: 0,
        };
        let len = msg::request_len(1);
        let mut m = Msg::request(LDLM_ENQUEUE, DLM_VERSION, &[u32::try_from(len)?])?;
        let to = m.buf_mut(1).ok_or(EPROTO)?;
        msg::request(to, 0, Some(&desc), Some(held.handle()), &[])?;
        let mut o = CallOptions::new(&[msg::REPLY_LEN as u32, 0])?;
        o.no_resend = true;
        o.no_delay = true;
        let r = self.import.call(m, o, None)?.check()?;
        let answer = ReplyMsg::parse(r.msg.buf(1).ok_or(EPROTO)?)?;
        let answer = Answer {
            flags: answer.flags,
            desc: answer.desc.ok_or(EPROTO)?,
            cookie: answer.cookie,
            lvb: &[],
        };
        if !self.locks.answered(&held, &answer)? {
            self.locks.wait(&held, Some(LOCK_TIME))?;
        }
        Ok(held)
    }

    fn run(&self) {
        while !self.is_stopping() {
            self.locks.work();
            if self.import.state() == ImportState::Full {
                if core::mem::take(&mut *self.events.announce.lock()) {
                    self.send_ready();
                }
                self.read_due();
            }
            self.locks.wait_for_work(TICK);
        }
    }

    fn read_due(&self) {
        while let Some(w) = self.watches.next(Instant::now()) {
            if self.is_stopping() {
                return;
            }
            if let Err(e) = self.read(&w) {
                if e != ESHUTDOWN {
                    pr_debug!("log {}: {:?}, trying again\n", w.name, e);
                }
                w.progress.lock().due = Some(Instant::now() + RETRY);
            }
        }
    }

    fn send_ready(&self) {
        let mut at = 0;
        loop {
            let Some(info) = self.work.lock().ready.get(at).map(|(_, i)| i.clone()) else {
                return;
            };
            at += 1;
            // The MGS works without; it tells clients where targets went, to speed recovery up.
            if let Err(e) = self.register(&info, READY_TIME) {
                pr_debug!("MGS: a target is not announced: {:?}\n", e);
            }
        }
    }
}
