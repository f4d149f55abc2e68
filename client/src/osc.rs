// SPDX-License-Identifier: GPL-2.0

//! An OST as this client sees it: connection, grant, objects with what is cached of them, and the
//! thread that writes back.

mod attr;
pub mod grant;
mod lock;
mod object;
pub mod ranges;
mod read;
mod window;
mod write;

pub use lock::{Ask, Asked};
pub use object::{Object, ObjectAttr, Owner};
pub use window::WINDOW;

use crate::config::TargetConfig;
use crate::mdc::peers;
use crate::mgc::VERSION;
use crate::mount::MountOptions;
use crate::node::ClientNode;
use crate::rpc;
use crate::sync::{guard, Condition};
use crate::target::{Target, TargetEvents};
use grant::{Grant, Verdict};
use kapi::prelude::*;
use ldlm::client::{CacheOps, ClientView};
use ldlm::core::{Policy, ResId};
use ptlrpc::call::CallOptions;
use ptlrpc::export::ClientUuid;
use ptlrpc::import::ImportConfig;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc as StdArc, Mutex as StdMutex, OnceLock, Weak};
use wire::connect::{ChecksumTypes, ConnectData, ConnectFlags, ConnectFlags2};
use wire::msg::OST_VERSION;
use wire::obdo::CksumType;
use wire::opcode::{portal, OST_CONNECT, OST_DISCONNECT, OST_STATFS};
use wire::ost::ObdStatfs;
use zerocopy::FromBytes;

/// The largest bulk that we ask for.
const BRW_SIZE: u32 = 4 << 20;
/// Writes under way at most, and reads.
const IN_FLIGHT: usize = 8;
/// Dirty data are not kept longer than this.
const DIRTY_AGE: std::time::Duration = std::time::Duration::from_secs(1);

/// So many objects that were changed last are kept in mind.
const NEWEST: usize = 16;

/// Tickets for requests under way.
struct Tickets {
    left: StdMutex<usize>,
    back: Condition,
}

impl Tickets {
    fn new(n: usize) -> Tickets {
        Tickets {
            left: StdMutex::new(n),
            back: Condition::default(),
        }
    }

    fn take(&self) {
        let mut n = guard(&self.left);
        while *n == 0 {
            n = self.back.wait(n);
        }
        *n -= 1;
    }

    fn try_take(&self) -> bool {
        let mut n = guard(&self.left);
        if *n == 0 {
            return false;
        }
        *n -= 1;
        true
    }

    fn give(&self) {
        *guard(&self.left) += 1;
        self.back.notify_one();
    }
}

/// Memory for clean data, shared by all OSTs of a mount: the oldest goes first.
pub struct CleanCache {
    limit: usize,
    inner: StdMutex<Clean>,
}

#[derive(Default)]
struct Clean {
    bytes: usize,
    queue: VecDeque<(Weak<Object>, u64, usize)>,
}

impl CleanCache {
    /// With room for `limit` bytes.
    pub fn new(limit: usize) -> CleanCache {
        CleanCache {
            limit,
            inner: StdMutex::default(),
        }
    }

    /// Window `w` of an object has become clean. No object's state is locked.
    fn add(&self, o: &StdArc<Object>, w: u64, bytes: usize) {
        let mut victims = Vec::new();
        {
            let mut c = guard(&self.inner);
            c.bytes += bytes;
            c.queue.push_back((StdArc::downgrade(o), w, bytes));
            while c.bytes > self.limit {
                let Some((o, w, n)) = c.queue.pop_front() else {
                    break;
                };
                c.bytes -= n.min(c.bytes);
                victims.push((o, w));
            }
        }
        for (o, w) in victims {
            if let Some(o) = o.upgrade() {
                o.drop_clean(w);
            }
        }
    }
}

/// Whom to tell that data of a file are no longer protected.
pub type Tell = StdArc<dyn Fn(wire::fid::Fid) + Send + Sync>;

/// What waits to be written back.
#[derive(Default)]
struct Queue {
    /// To be written now.
    ready: VecDeque<StdArc<Object>>,
    /// Not before its time, or before there is need.
    later: Vec<(std::time::Instant, StdArc<Object>)>,
}

/// An OST.
pub struct Ost {
    /// Its index.
    pub index: u32,
    /// Its UUID.
    pub uuid: String,
    target: OnceLock<StdArc<Target>>,
    objects: StdMutex<HashMap<[u64; 4], Weak<Object>>>,
    grant: StdMutex<Grant>,
    /// Signalled when grant or memory has become free.
    freed: Condition,
    queue: StdMutex<Queue>,
    work: Condition,
    writes: Tickets,
    reads: Tickets,
    clean: StdArc<CleanCache>,
    /// Hears of files whose data and size are no longer protected.
    tell: Tell,
    checksums: bool,
    /// The OST has forgotten us, and all locks go.
    evicting: AtomicBool,
    /// Objects that were changed last, the last one at the end.
    newest: StdMutex<VecDeque<StdArc<Object>>>,
    stopping: AtomicBool,
    thread: StdMutex<Option<std::thread::JoinHandle<()>>>,
}

/// The lock cache's way to the objects, and the connection's way to the grant.
struct Link(Weak<Ost>);

impl CacheOps for Link {
    fn give_up(&self, lock: &ClientView, discard: bool) {
        let (Some(ost), Policy::Extent(e)) = (self.0.upgrade(), lock.policy) else {
            return;
        };
        if let Some(o) = ost.known(&lock.res) {
            o.give_up(lock.handle, &e, discard);
        }
    }

    fn glimpse(&self, lock: &ClientView, lvb: &mut [u8; 64]) -> Option<usize> {
        let o = self.0.upgrade()?.known(&lock.res)?;
        Some(o.value_block(lvb))
    }

    fn granted(&self, _: &ClientView, _: &[u8]) {}

    fn droppable(&self, lock: &ClientView) -> bool {
        let o = self.0.upgrade().and_then(|o| o.known(&lock.res));
        o.is_none_or(|o| !o.is_dirty())
    }
}

impl TargetEvents for Link {
    fn active(&self, connect: &ConnectData) {
        let Some(ost) = self.0.upgrade() else { return };
        let granted = match connect.flags().contains(ConnectFlags::GRANT) {
            true => u64::from(connect.ocd_grant.get()),
            false => 0,
        };
        guard(&ost.grant).connected(granted);
        ost.freed.notify_all();
    }

    fn evicting(&self) {
        if let Some(ost) = self.0.upgrade() {
            ost.evicting.store(true, Ordering::Release);
            // Its numbers begin anew, perhaps.
            let before = std::mem::take(&mut *guard(&ost.newest));
            drop(before);
        }
    }

    fn evicted(&self) {
        if let Some(ost) = self.0.upgrade() {
            ost.evicting.store(false, Ordering::Release);
        }
    }
}

impl Ost {
    /// Begins to connect.
    ///
    /// # Errors
    /// `EINVAL`: no NIDs that can be reached. `ENOMEM`, `EAGAIN`.
    pub fn new(
        node: &ClientNode,
        config: &TargetConfig,
        uuid: &str,
        clean: &StdArc<CleanCache>,
        tell: Tell,
        options: &MountOptions,
    ) -> Result<StdArc<Ost>> {
        let mut f = ConnectFlags::GRANT
            | ConnectFlags::VERSION
            | ConnectFlags::BRW_SIZE
            | ConnectFlags::CANCELSET
            | ConnectFlags::FID
            | ConnectFlags::AT
            | ConnectFlags::VBR
            | ConnectFlags::FULL20
            | ConnectFlags::HASH64
            | ConnectFlags::MAXBYTES
            | ConnectFlags::EINPROGRESS
            | ConnectFlags::LVB_TYPE
            | ConnectFlags::LAYOUTLOCK
            | ConnectFlags::BULK_MBITS
            | ConnectFlags::SHORTIO
            | ConnectFlags::HPREQ_CHECK1
            | ConnectFlags::FLAGS2;
        f.set(ConnectFlags::CKSUM, options.checksums);
        let mut wanted = ConnectData::default();
        wanted.set_flags(
            f,
            ConnectFlags2::INC_XID | ConnectFlags2::LSEEK | ConnectFlags2::REP_MBITS,
        );
        wanted.ocd_version.set(VERSION);
        wanted.ocd_brw_size.set(BRW_SIZE);
        wanted.ocd_grant.set(2 * BRW_SIZE);
        wanted.ocd_grant_blkbits = 12;
        let sums = ChecksumTypes::CRC32C | ChecksumTypes::ADLER;
        wanted.ocd_cksum_types.set(sums.bits());
        let import = ImportConfig {
            target_uuid: ClientUuid::new(config.uuid.as_bytes())?,
            client_uuid: ClientUuid::new(uuid.as_bytes())?,
            peers: peers(config, node.node().lnet().nids())?,
            request_portal: portal::OST_REQUEST,
            reply_portal: portal::OSC_REPLY,
            connect_opc: OST_CONNECT,
            disconnect_opc: OST_DISCONNECT,
            wanted,
            max_modify: 1,
            part: 0,
        };
        let ost = StdArc::new(Ost {
            index: config.index,
            uuid: config.uuid.clone(),
            target: OnceLock::new(),
            objects: StdMutex::default(),
            grant: StdMutex::new(Grant::new(options.dirty)),
            freed: Condition::default(),
            queue: StdMutex::default(),
            work: Condition::default(),
            writes: Tickets::new(IN_FLIGHT),
            reads: Tickets::new(IN_FLIGHT),
            clean: clean.clone(),
            tell,
            checksums: options.checksums,
            evicting: AtomicBool::new(false),
            newest: StdMutex::default(),
            stopping: AtomicBool::new(false),
            thread: StdMutex::new(None),
        });
        let weak = StdArc::downgrade(&ost);
        let ops: Arc<dyn CacheOps> = Arc::new(Link(weak.clone()), GFP_KERNEL)?;
        let events: StdArc<dyn TargetEvents> = StdArc::new(Link(weak.clone()));
        let target = Target::new(node, import, ops, events, 2)?;
        // Set once: it is new.
        let _ = ost.target.set(target);
        let b = std::thread::Builder::new().name(format!("flush-OST{:04x}", ost.index));
        *guard(&ost.thread) = Some(b.spawn(move || write_back(&weak))?);
        Ok(ost)
    }

    /// The connection and its locks.
    ///
    /// # Errors
    /// `ENOTCONN`: it is being made.
    pub fn target(&self) -> Result<&StdArc<Target>> {
        self.target.get().ok_or(ENOTCONN)
    }

    /// What the OST granted at the connect.
    fn granted(&self) -> ConnectData {
        self.target
            .get()
            .map_or_else(ConnectData::default, |t| t.connect_data())
    }

    /// The largest bulk: memory descriptors of a MiB.
    fn bulk_max(&self) -> usize {
        let c = self.granted();
        match c.flags().contains(ConnectFlags::BRW_SIZE) {
            // The server derives the first one's number from a power of two.
            true => {
                let n = (c.ocd_brw_size.get() >> 20).clamp(1, BRW_SIZE >> 20);
                1 << n.ilog2()
            }
            false => 1,
        }
    }

    /// The checksum that both ends know best.
    fn checksum(&self) -> Option<CksumType> {
        let c = self.granted();
        if !self.checksums {
            return None;
        }
        let types = ChecksumTypes::from_bits_retain(c.ocd_cksum_types.get());
        if !c.flags().contains(ConnectFlags::CKSUM) {
            Some(CksumType::Adler)
        } else if types.contains(ChecksumTypes::CRC32C) {
            Some(CksumType::Crc32c)
        } else {
            Some(CksumType::Adler)
        }
    }

    /// Whether data may stand in the messages.
    fn has_short_io(&self) -> bool {
        self.granted().flags().contains(ConnectFlags::SHORTIO)
    }

    fn known(&self, res: &ResId) -> Option<StdArc<Object>> {
        guard(&self.objects).get(&res.0)?.upgrade()
    }

    /// The object of that name; `make` makes it if nothing is known of it yet.
    pub fn object(&self, res: ResId, make: impl FnOnce() -> Object) -> StdArc<Object> {
        let mut all = guard(&self.objects);
        if let Some(o) = all.get(&res.0).and_then(Weak::upgrade) {
            return o;
        }
        // Now and then, what is gone is swept out.
        if all.len() % 1024 == 1023 {
            all.retain(|_, o| o.strong_count() > 0);
        }
        let o = StdArc::new(make());
        all.insert(res.0, StdArc::downgrade(&o));
        o
    }

    /// Its state.
    ///
    /// # Errors
    /// Those of the connection; at once if there is none.
    pub fn statfs(&self) -> Result<ObdStatfs> {
        let m = rpc::request(OST_STATFS, OST_VERSION, &[])?;
        let mut o = CallOptions::new(&[144])?;
        o.portal = Some(portal::OST_CREATE);
        o.no_delay = true;
        let r = self.target()?.call(&m, o)?;
        ObdStatfs::read_from_prefix(r.msg.buf(1).ok_or(EPROTO)?)
            .map(|(s, _)| s)
            .map_err(|_| EPROTO)
    }

    /// Wants to cache `bytes`: waits for what is being written if need be. `false`: they are to
    /// go to the server at once.
    fn reserve(&self, bytes: u64) -> bool {
        let mut g = guard(&self.grant);
        loop {
            match g.take(bytes) {
                Verdict::Cached => return true,
                Verdict::Direct => return false,
                Verdict::Wait => {
                    drop(g);
                    self.hurry();
                    g = guard(&self.grant);
                    // It may have been freed meanwhile; a time-out stands for that.
                    let short = std::time::Duration::from_millis(50);
                    g = self.freed.wait_for(g, short);
                }
            }
        }
    }

    /// Changes the account, and wakes who waits for it.
    fn account<T>(&self, f: impl FnOnce(&mut Grant) -> T) -> T {
        let r = f(&mut guard(&self.grant));
        self.freed.notify_all();
        r
    }

    /// Everything dirty is to be written now.
    fn hurry(&self) {
        let mut q = guard(&self.queue);
        let later = std::mem::take(&mut q.later);
        for (_, o) in later {
            o.urge();
            q.ready.push_back(o);
        }
        drop(q);
        self.work.notify_one();
    }

    /// An object is to be written back: now, or when it is old enough.
    fn queue(&self, o: &StdArc<Object>, now: bool) {
        let mut q = guard(&self.queue);
        if now {
            q.ready.push_back(o.clone());
            drop(q);
            self.work.notify_one();
        } else {
            q.later.push((std::time::Instant::now(), o.clone()));
        }
    }

    /// The next object to write back; waits a while for one. Whether it is for its age, or
    /// because somebody wants it, that partly filled windows go too.
    fn next_dirty(&self) -> Option<StdArc<Object>> {
        let mut q = guard(&self.queue);
        if q.ready.is_empty() {
            let wait = DIRTY_AGE / 2;
            q = self.work.wait_for(q, wait);
        }
        if let Some(o) = q.ready.pop_front() {
            return Some(o);
        }
        let q = &mut *q;
        let old = |t: &std::time::Instant| t.elapsed() >= DIRTY_AGE;
        for (_, o) in q.later.iter().filter(|(t, _)| old(t)) {
            o.urge();
            q.ready.push_back(o.clone());
        }
        q.later.retain(|(t, _)| !old(t));
        q.ready.pop_front()
    }

    /// Objects that something is known of.
    pub fn objects(&self) -> Vec<StdArc<Object>> {
        let all = guard(&self.objects);
        all.values().filter_map(Weak::upgrade).collect()
    }

    /// Has everything on disk that this client has changed: objects are written back, and one is
    /// synced that was changed last, with which all before it is on disk.
    ///
    /// # Errors
    /// Why it is not. Objects that are gone need not be.
    pub fn sync_all(&self) -> Result {
        let gone_is_fine = |r: Result| match r {
            Err(e) if e == ENOENT => Ok(()),
            r => r,
        };
        let mut all = self.objects();
        let mut done = Ok(());
        for o in &all {
            done = done.and(gone_is_fine(o.flush()));
        }
        all.extend(guard(&self.newest).iter().cloned());
        all.sort_by_key(|o| std::cmp::Reverse(o.transno()));
        // Once one is on disk the others ask for nothing.
        for o in &all {
            done = done.and(gone_is_fine(o.sync()));
        }
        done
    }

    /// An object was changed by a transaction.
    fn note_change(&self, o: &StdArc<Object>) {
        let mut n = guard(&self.newest);
        if n.back().is_some_and(|last| StdArc::ptr_eq(last, o)) {
            return;
        }
        n.push_back(o.clone());
        let old = match n.len() > NEWEST {
            true => n.pop_front(),
            false => None,
        };
        drop(n);
        drop(old);
    }

    /// Writes back all there is, gives the locks back and ends the connection.
    pub fn stop(&self) {
        let connected = self
            .target()
            .is_ok_and(|t| t.import().state() == ptlrpc::import::State::Full);
        for o in self.objects() {
            if connected {
                if let Err(e) = o.flush() {
                    pr_err!("{}: data are lost: {:?}\n", self.uuid, e);
                }
            }
        }
        self.stopping.store(true, Ordering::Release);
        if let Some(t) = self.target.get() {
            t.stop();
        }
        let thread = guard(&self.thread).take();
        if let Some(t) = thread {
            while !t.is_finished() {
                // Wakes it, unless it is about to sleep.
                self.work.notify_all();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            if t.join().is_err() {
                pr_err!("a flush thread ended by panic\n");
            }
        }
    }
}

/// The thread that writes back.
fn write_back(ost: &Weak<Ost>) {
    while let Some(ost) = ost.upgrade() {
        if ost.stopping.load(Ordering::Acquire) {
            return;
        }
        if let Some(o) = ost.next_dirty() {
            o.write_back();
        }
    }
}
