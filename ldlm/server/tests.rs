// SPDX-License-Identifier: GPL-2.0

//! A namespace with clients that answer callbacks from threads of their own.

mod threads;

use super::*;
use crate::core::*;
use kapi::prelude::{
    Arc, Duration, EAGAIN, EINPROGRESS, EINVAL, ENOENT, ENOMEM, ENOTCONN, GFP_KERNEL,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Mutex;
use std::vec::Vec;

struct Ops {
    disk: Mutex<BTreeMap<ResId, Lvb>>,
    blocked: Mutex<Vec<u64>>,
}

impl NamespaceOps for Ops {
    fn read_lvb(&self, res: &ResId) -> kapi::error::Result<Lvb> {
        self.disk.lock().unwrap().get(res).copied().ok_or(ENOENT)
    }
    fn lvb_class(&self, lock: &LockView) -> LvbClass {
        match lock.policy {
            Policy::Extent(_) => LvbClass::Ost,
            _ => LvbClass::None,
        }
    }
    fn local_blocked(&self, _res: &ResId, cookie: u64) {
        self.blocked.lock().unwrap().push(cookie);
    }
    fn cancelling(&self, _res: &ResId, _lock: &LockView) {}
}

enum Msg {
    Blocking(BlockingAst, Option<AstDone>),
    Completion(CompletionAst, Vec<u8>, Option<AstDone>),
    Glimpse(AstTarget, AstDone),
    Evict(&'static str),
}

struct Link(Mutex<Sender<Msg>>, AtomicBool);

impl Link {
    fn send(&self, m: Msg) {
        // A client that is gone drops what it is sent, which reports a failure.
        let _ = self.0.lock().unwrap().send(m);
    }
}

impl AstSender for Link {
    fn send_blocking(&self, ast: &BlockingAst, done: Option<AstDone>) {
        self.send(Msg::Blocking(*ast, done));
    }
    fn send_completion(&self, ast: &CompletionAst, lvb: &[u8], done: Option<AstDone>) {
        self.send(Msg::Completion(*ast, lvb.to_vec(), done));
    }
    fn send_glimpse(&self, to: &AstTarget, _: &Desc, _: Option<&[u8; 64]>, done: AstDone) {
        self.send(Msg::Glimpse(*to, done));
    }
    fn evict(&self, reason: &'static str) -> kapi::error::Result {
        if self.1.swap(false, Ordering::Relaxed) {
            return Err(ENOMEM);
        }
        self.send(Msg::Evict(reason));
        Ok(())
    }
    fn is_busy(&self, _cookie: u64) -> bool {
        false
    }
}

const OBJ: ResId = ResId([77, 0, 0, 0]);

fn namespace() -> (Arc<Namespace>, Arc<Ops>) {
    namespace_with(NamespaceConfig::default())
}

fn namespace_with(config: NamespaceConfig) -> (Arc<Namespace>, Arc<Ops>) {
    let ops = Arc::new(
        Ops {
            disk: Mutex::default(),
            blocked: Mutex::default(),
        },
        GFP_KERNEL,
    )
    .unwrap();
    for i in 0..8 {
        let size = Lvb {
            size: 100,
            ..Default::default()
        };
        ops.disk
            .lock()
            .unwrap()
            .insert(ResId([77 + i, 0, 0, 0]), size);
    }
    let dynamic: Arc<dyn NamespaceOps> = ops.clone();
    (Namespace::new(config, dynamic).unwrap(), ops)
}

fn client(ns: &Arc<Namespace>, id: u64) -> (Arc<ExportLocks>, Receiver<Msg>) {
    client_with(ns, id, false)
}

/// A client; `lasting`: there is no memory for the first attempt to evict it.
fn client_with(ns: &Arc<Namespace>, id: u64, lasting: bool) -> (Arc<ExportLocks>, Receiver<Msg>) {
    let (tx, rx) = channel();
    let link = Link(Mutex::new(tx), AtomicBool::new(lasting));
    let link: Arc<dyn AstSender> = Arc::new(link, GFP_KERNEL).unwrap();
    let options = ExportOptions {
        id: ExportId(id),
        peer: id,
        lvb_type: true,
        flock_dead: true,
        no_timer: false,
        max_locks: 1000,
    };
    (ns.attach(options, link).unwrap(), rx)
}

fn req(handle: u64, mode: Mode, policy: Policy) -> EnqueueReq {
    EnqueueReq {
        flags: 0,
        res: OBJ,
        mode,
        policy,
        client_handle: handle,
        resent: false,
    }
}

const WHOLE: Policy = Policy::Extent(Extent::WHOLE);

fn ok(done: Option<AstDone>) {
    done.unwrap().complete(AstOutcome::Replied(0, &[]));
}

#[test]
fn blocking_cancel_completion() {
    let (ns, _) = namespace();
    let (a, arx) = client(&ns, 1);
    let (b, brx) = client(&ns, 2);
    let ra = ns.enqueue(&a, &req(10, Mode::Pr, WHOLE), None).unwrap();
    assert_eq!((ra.status, ra.flags, ra.lvb.len()), (0, 0, 56));
    assert_eq!(ra.lvb.value().unwrap().size, 100);
    let rb = ns.enqueue(&b, &req(20, Mode::Pw, WHOLE), None).unwrap();
    assert_eq!(rb.flags, flags::BLOCK_GRANTED | flags::NO_TIMEOUT);
    assert_eq!(rb.desc.unwrap().granted, None);
    let Ok(Msg::Blocking(bl, done)) = arx.try_recv() else {
        panic!()
    };
    assert_eq!((bl.to.client_handle, bl.to.cookie), (10, ra.cookie));
    ok(done);
    assert!(ns.is_called_back(ra.cookie));
    // A stranger cannot cancel it.
    assert_eq!(ns.cancel(&b, [ra.cookie].into_iter()), 0);
    assert_eq!(ns.cancel(&a, [ra.cookie].into_iter()), 1);
    assert_eq!(ns.cancel(&a, [ra.cookie].into_iter()), 0);
    let Ok(Msg::Completion(cp, lvb, done)) = brx.try_recv() else {
        panic!()
    };
    assert_eq!((cp.to.client_handle, cp.to.cookie), (20, rb.cookie));
    assert_eq!(lvb.len(), 56);
    ok(done);
    assert_eq!(ns.granted(), 1);
    ns.detach(&b);
    assert_eq!(ns.stats(), NamespaceStats::default());
}

#[test]
fn an_unknown_lock_is_given_up() {
    let (ns, _) = namespace();
    let (a, arx) = client(&ns, 1);
    let (b, brx) = client(&ns, 2);
    ns.enqueue(&a, &req(10, Mode::Pw, WHOLE), None).unwrap();
    ns.enqueue(&b, &req(20, Mode::Pw, WHOLE), None).unwrap();
    let Ok(Msg::Blocking(_, Some(done))) = arx.try_recv() else {
        panic!()
    };
    done.complete(AstOutcome::Replied(EINVAL.to_errno(), &[]));
    assert!(matches!(brx.try_recv(), Ok(Msg::Completion(..))));
    assert_eq!(a.count(), 0);
}

#[test]
fn who_keeps_a_lock_is_evicted() {
    let (ns, _) = namespace();
    let (a, arx) = client(&ns, 1);
    let (b, brx) = client(&ns, 2);
    ns.enqueue(&a, &req(10, Mode::Pw, WHOLE), None).unwrap();
    ns.enqueue(&b, &req(20, Mode::Pw, WHOLE), None).unwrap();
    let Ok(Msg::Blocking(_, done)) = arx.try_recv() else {
        panic!()
    };
    ok(done);
    let now = kapi::time::Instant::now().as_nanos() / 1_000_000;
    ns.tick(now + 60_000);
    assert!(arx.try_recv().is_err());
    // Its I/O gives it more time.
    let cover = ns.prolong(&a, &OBJ, (0, 4095), true, None, Duration::from_secs(400));
    assert_eq!((cover.locks, cover.called_back), (1, 1));
    ns.tick(now + 300_000);
    assert!(arx.try_recv().is_err());
    ns.tick(now + 500_000);
    assert!(matches!(arx.try_recv(), Ok(Msg::Evict(_))));
    assert_eq!(ns.stats().timeouts, 1);
    ns.detach(&a);
    assert!(matches!(brx.try_recv(), Ok(Msg::Completion(..))));
    let late = ns.enqueue(&a, &req(11, Mode::Pr, WHOLE), None);
    assert_eq!(late, Err(ENOTCONN));
    let cover = ns.prolong(&a, &OBJ, (0, 4095), true, None, Duration::from_secs(1));
    assert_eq!(cover.locks, 0);
}

#[test]
fn from_buffer_to_buffer() {
    let (ns, _) = namespace();
    let (a, arx) = client(&ns, 1);
    let (b, _brx) = client(&ns, 2);
    let desc = |mode| Desc {
        res: OBJ,
        req_mode: mode,
        granted: None,
        policy: WHOLE,
        cancel_bits: 0,
    };
    let mut buf = [0; 200];
    let n = crate::msg::request(&mut buf, 0, Some(&desc(Mode::Pr)), Some(10), &[]).unwrap();
    let r = ns.serve_enqueue(&a, &buf[..n], false, false, None).unwrap();
    let bytes = crate::msg::reply(&r);
    let back = crate::msg::ReplyMsg::parse(&bytes).unwrap();
    assert_eq!(back.desc.unwrap().granted, Some(Mode::Pr));
    let mut lvb = [0; 64];
    r.lvb.write(&mut lvb).unwrap();
    assert_eq!(lvb[..8], 100u64.to_le_bytes());
    // The same client wants to write, and gives its old lock up with the request.
    let cancels = [back.cookie];
    let n = crate::msg::request(&mut buf, 0, Some(&desc(Mode::Pw)), Some(11), &cancels).unwrap();
    let r = ns.serve_enqueue(&a, &buf[..n], false, false, None).unwrap();
    assert_eq!((r.flags, a.count()), (0, 1));
    assert!(arx.try_recv().is_err());
    let n = crate::msg::request(&mut buf, 0, None, None, &[r.cookie, back.cookie]).unwrap();
    assert!(!ns.is_urgent(&buf[..n]));
    let want = crate::msg::request(&mut lvb, 0, None, None, &[]);
    assert!(want.is_err());
    ns.enqueue(&b, &req(20, Mode::Pw, WHOLE), None).unwrap();
    assert!(ns.is_urgent(&buf[..n]));
    assert_eq!(ns.serve_cancel(&b, &buf[..n]), Ok(116));
    assert_eq!(ns.serve_cancel(&a, &buf[..n]), Ok(0));
    assert_eq!(ns.serve_cancel(&a, &buf[..n]), Ok(116));
    assert_eq!(ns.serve_cancel(&a, &buf[..20]), Err(kapi::prelude::EPROTO));
}

#[test]
fn the_timers_end_when_dropped() {
    let (ns, _) = namespace();
    let t = start_timers(&ns).unwrap();
    drop(t);
}

#[test]
fn an_unanswered_callback_evicts() {
    let (ns, _) = namespace();
    let (a, arx) = client(&ns, 1);
    let (b, _brx) = client(&ns, 2);
    ns.enqueue(&a, &req(10, Mode::Pw, WHOLE), None).unwrap();
    ns.enqueue(&b, &req(20, Mode::Pw, WHOLE), None).unwrap();
    let Ok(Msg::Blocking(_, done)) = arx.try_recv() else {
        panic!()
    };
    drop(done);
    assert!(matches!(arx.try_recv(), Ok(Msg::Evict(_))));
}

/// Who cannot be evicted for want of memory is evicted later.
#[test]
fn an_eviction_that_fails_is_tried_again() {
    let now = || kapi::time::Instant::now().as_nanos() / 1_000_000;
    // A callback that is not answered, and a lock that is kept too long.
    for answered in [false, true] {
        let (ns, _) = namespace();
        let (a, arx) = client_with(&ns, 1, true);
        let (b, _brx) = client(&ns, 2);
        ns.enqueue(&a, &req(10, Mode::Pw, WHOLE), None).unwrap();
        ns.enqueue(&b, &req(20, Mode::Pw, WHOLE), None).unwrap();
        let Ok(Msg::Blocking(_, done)) = arx.try_recv() else {
            panic!()
        };
        if answered {
            ok(done);
            ns.tick(now() + 500_000);
        } else {
            drop(done);
        }
        assert!(arx.try_recv().is_err());
        assert_eq!((ns.stats().timeouts, a.is_closed()), (0, false));
        ns.tick(now() + 500_000);
        assert!(matches!(arx.try_recv(), Ok(Msg::Evict(_))));
        assert_eq!((ns.stats().timeouts, a.is_closed()), (1, true));
    }
    // A completion has no timer of its own.
    let (ns, _) = namespace();
    let (a, _arx) = client(&ns, 1);
    let (b, brx) = client_with(&ns, 2, true);
    let held = ns.enqueue(&a, &req(10, Mode::Pw, WHOLE), None).unwrap();
    ns.enqueue(&b, &req(20, Mode::Pw, WHOLE), None).unwrap();
    ns.cancel(&a, [held.cookie].into_iter());
    let Ok(Msg::Completion(_, _, done)) = brx.try_recv() else {
        panic!()
    };
    drop(done);
    assert!(brx.try_recv().is_err());
    ns.tick(now() + 1000);
    assert!(matches!(brx.try_recv(), Ok(Msg::Evict(_))));
}

/// A convert answers a callback only if it gives something up.
#[test]
fn who_converts_and_keeps_all_is_evicted() {
    const BOTH: u64 = ibits::LOOKUP | ibits::UPDATE;
    let bits = |bits| {
        Policy::Ibits(Ibits {
            bits,
            ..Ibits::default()
        })
    };
    for (mode, keep, evicted) in [
        (Mode::Pr, BOTH, true),
        (Mode::Pr, 0, true),
        (Mode::Pw, ibits::UPDATE, true),
        (Mode::Pr, ibits::UPDATE, false),
    ] {
        let (ns, _) = namespace();
        let (a, arx) = client(&ns, 1);
        let (b, _brx) = client(&ns, 2);
        let held = ns.enqueue(&a, &req(10, Mode::Pr, bits(BOTH)), None);
        let wanted = req(20, Mode::Ex, bits(ibits::LOOKUP));
        ns.enqueue(&b, &wanted, None).unwrap();
        let Ok(Msg::Blocking(_, done)) = arx.try_recv() else {
            panic!()
        };
        ok(done);
        let _ = ns.convert(&a, held.unwrap().cookie, mode, keep);
        ns.tick(kapi::time::Instant::now().as_nanos() / 1_000_000 + 500_000);
        let told = matches!(arx.try_recv(), Ok(Msg::Evict(_)));
        assert_eq!(told, evicted, "{mode:?} {keep:#x}");
    }
}

#[test]
fn glimpse_asks_the_writer() {
    let (ns, _) = namespace();
    let (a, arx) = client(&ns, 1);
    let (b, _brx) = client(&ns, 2);
    let mut g = req(20, Mode::Pr, WHOLE);
    g.flags = flags::HAS_INTENT;
    // Nobody there: the lock is granted.
    let r = ns.enqueue(&b, &g, None).unwrap();
    assert_eq!(
        (r.status, r.flags),
        (0, flags::HAS_INTENT | flags::LOCK_CHANGED)
    );
    ns.cancel(&b, [r.cookie].into_iter());
    ns.enqueue(&a, &req(10, Mode::Pw, WHOLE), None).unwrap();
    let answer = std::thread::spawn(move || {
        let Ok(Msg::Glimpse(to, done)) = arx.recv() else {
            panic!()
        };
        assert_eq!(to.client_handle, 10);
        let l = Lvb {
            size: 4242,
            mtime: 7,
            ..Default::default()
        };
        done.complete(AstOutcome::Replied(0, &l.to_wire()));
        arx
    });
    let r = ns.enqueue(&b, &g, None).unwrap();
    let arx = answer.join().unwrap();
    assert_eq!((r.status, r.flags, r.cookie, r.desc), (301, 0, 0, None));
    assert_eq!(r.lvb.value().unwrap().size, 4242);
    // Not asked: what the server knows.
    g.flags |= flags::BLOCK_NOWAIT;
    let r = ns.enqueue(&b, &g, None).unwrap();
    assert_eq!((r.status, r.lvb.value().unwrap().size), (301, 4242));
    assert!(arx.try_recv().is_err());
    assert_eq!(b.count(), 0);
}

#[test]
fn glimpse_of_what_is_being_destroyed() {
    let (ns, _) = namespace();
    let (b, _brx) = client(&ns, 2);
    let options = LocalOptions {
        flags: flags::AST_DISCARD_DATA | flags::BLOCK_NOWAIT,
        glimpse: false,
        ..Default::default()
    };
    let lock = ns.lock_local(&OBJ, Mode::Pw, WHOLE, options).unwrap();
    let mut g = req(20, Mode::Pr, WHOLE);
    g.flags = flags::HAS_INTENT;
    let r = ns.enqueue(&b, &g, None).unwrap();
    assert_eq!((r.status, r.res1 as i64), (301, -2));
    drop(lock);
    assert_eq!(ns.stats().resources, 0);
}

#[test]
fn no_object_no_lock() {
    let (ns, _) = namespace();
    let (a, _arx) = client(&ns, 1);
    let mut r = req(1, Mode::Pr, WHOLE);
    r.res = ResId([1, 2, 3, 4]);
    assert_eq!(ns.enqueue(&a, &r, None), Err(ENOENT));
    r.flags = flags::HAS_INTENT;
    assert_eq!(ns.enqueue(&a, &r, None), Err(ENOENT));
    assert_eq!((a.count(), ns.stats()), (0, NamespaceStats::default()));
}

#[test]
fn resent_and_replayed() {
    let (ns, _) = namespace();
    let (a, _arx) = client(&ns, 1);
    let (b, brx) = client(&ns, 2);
    let first = ns.enqueue(&a, &req(10, Mode::Pw, WHOLE), None).unwrap();
    let mut again = req(10, Mode::Pw, WHOLE);
    again.resent = true;
    let r = ns.enqueue(&a, &again, None).unwrap();
    assert_eq!((r.cookie, r.flags), (first.cookie, flags::LOCK_CHANGED));
    assert_eq!(a.count(), 1);
    ns.detach(&a);

    ns.start_recovery();
    let mut held = req(20, Mode::Pw, WHOLE);
    held.flags = flags::REPLAY | flags::BLOCK_GRANTED;
    let (c, _crx) = client(&ns, 3);
    let r = ns.enqueue(&b, &held, None).unwrap();
    assert_eq!((r.flags, r.lvb.len()), (0x102, 0));
    assert_eq!(r.desc.unwrap().granted, Some(Mode::Pw));
    let mut waited = req(30, Mode::Pw, WHOLE);
    waited.flags = flags::REPLAY | flags::BLOCK_WAIT;
    ns.enqueue(&c, &waited, None).unwrap();
    assert!(brx.try_recv().is_err());
    ns.recovered();
    assert!(matches!(brx.try_recv(), Ok(Msg::Blocking(..))));
}

#[test]
fn names_of_a_directory_are_apart() {
    let (ns, _) = namespace();
    let (a, arx) = client(&ns, 1);
    let dir = ResId([9, 9, 0, 0]);
    let name =
        |hash, write| ns.lock_name(&dir, hash, write, ibits::UPDATE, LocalOptions::default());
    let one = name(5, true).unwrap();
    let two = name(6, true).unwrap();
    // A client that caches the directory waits for both.
    let mut r = req(
        10,
        Mode::Pr,
        Policy::Ibits(Ibits {
            bits: ibits::UPDATE,
            ..Default::default()
        }),
    );
    r.res = dir;
    let e = ns.enqueue(&a, &r, None).unwrap();
    assert_eq!(e.flags, flags::BLOCK_GRANTED);
    drop(one);
    assert!(arx.try_recv().is_err());
    drop(two);
    let Ok(Msg::Completion(_, _, done)) = arx.try_recv() else {
        panic!()
    };
    ok(done);
    // A lookup by the server does not disturb it, a change does.
    drop(name(5, false).unwrap());
    assert!(arx.try_recv().is_err());
    let change = {
        let ns = ns.clone();
        std::thread::spawn(move || {
            ns.lock_name(&dir, 0, true, ibits::UPDATE, LocalOptions::default())
                .map(drop)
        })
    };
    let Ok(Msg::Blocking(bl, done)) = arx.recv() else {
        panic!()
    };
    ok(done);
    assert_eq!(bl.desc.req_mode, Mode::Cw);
    ns.cancel(&a, [bl.to.cookie].into_iter());
    change.join().unwrap().unwrap();
    assert_eq!(ns.stats(), NamespaceStats::default());
}

#[test]
fn old_locks_are_taken_back() {
    let (ns, _) = namespace();
    let (a, arx) = client(&ns, 1);
    for i in 0..5 {
        let p = Policy::Ibits(Ibits {
            bits: 3,
            ..Default::default()
        });
        let mut r = req(i, Mode::Pr, p);
        r.res = ResId([i, 1, 0, 0]);
        ns.enqueue(&a, &r, None).unwrap();
    }
    assert_eq!(ns.reclaim_older(300, 512), 0);
    assert_eq!(ns.reclaim_older(0, 3), 3);
    assert_eq!(ns.reclaim_older(0, 100), 2);
    assert_eq!(ns.reclaim_older(0, 100), 0);
    for _ in 0..5 {
        let Ok(Msg::Blocking(bl, done)) = arx.try_recv() else {
            panic!()
        };
        assert_eq!((bl.desc.req_mode, bl.desc.cancel_bits), (Mode::Ex, 0));
        ok(done);
        ns.cancel(&a, [bl.to.cookie].into_iter());
    }
    assert_eq!(ns.stats(), NamespaceStats::default());
}

/// Many locks of a client, each of another object; which one was refused.
fn crowd(ns: &Arc<Namespace>, exp: &Arc<ExportLocks>, many: std::ops::Range<u64>) -> Option<u64> {
    many.into_iter().find(|i| {
        let p = Policy::Ibits(Ibits {
            bits: 3,
            ..Default::default()
        });
        let mut r = req(*i, Mode::Pr, p);
        r.res = ResId([*i, exp.id().0, 1, 0]);
        match ns.enqueue(exp, &r, None) {
            Ok(_) => false,
            Err(e) => e == EINPROGRESS || panic!("{e:?}"),
        }
    })
}

/// Gives up what was asked for; how many.
fn give_up(ns: &Arc<Namespace>, exp: &Arc<ExportLocks>, rx: &Receiver<Msg>) -> usize {
    let mut n = 0;
    while let Ok(Msg::Blocking(bl, done)) = rx.try_recv() {
        ok(done);
        ns.cancel(exp, [bl.to.cookie].into_iter());
        n += 1;
    }
    n
}

#[test]
fn no_memory_is_left() {
    let memory = Box::leak(Box::new(LockMemory::new(10 << 20)));
    memory.set_reclaim_mb(1).unwrap();
    memory.set_limit_mb(2).unwrap();
    let config = NamespaceConfig {
        memory,
        ..NamespaceConfig::default()
    };
    let (ns, _) = namespace_with(config);
    let ((a, arx), (b, brx), (c, _crx)) = (client(&ns, 1), client(&ns, 2), client(&ns, 3));
    // New locks are not taken back while there is room.
    assert_eq!(crowd(&ns, &a, 0..1000), None);
    assert_eq!(crowd(&ns, &b, 0..1000), None);
    ns.relieve();
    assert_eq!(give_up(&ns, &a, &arx) + give_up(&ns, &b, &brx), 0);
    assert_eq!(crowd(&ns, &c, 0..100), Some(48));
    assert_eq!(memory.granted(), 2048);
    assert_eq!(
        ns.enqueue(&c, &req(1, Mode::Pr, WHOLE), None),
        Err(EINPROGRESS)
    );
    // All but what is below the threshold are asked for, from whomever.
    ns.relieve();
    let (of_a, of_b) = (give_up(&ns, &a, &arx), give_up(&ns, &b, &brx));
    assert!(of_a > 300 && of_b > 300 && (976..=1024).contains(&(of_a + of_b)));
    assert_eq!(crowd(&ns, &c, 48..100), None);
    for exp in [&a, &b, &c] {
        ns.detach(exp);
    }
    assert_eq!((memory.granted(), ns.stats().locks), (0, 0));
}

/// One that has its share is asked for some of them, and hurts nobody else.
#[test]
fn one_has_too_many() {
    let (ns, _) = namespace();
    let ((a, arx), (b, brx)) = (client(&ns, 1), client(&ns, 2));
    assert_eq!(crowd(&ns, &b, 0..10), None);
    assert_eq!(crowd(&ns, &a, 0..1100), Some(1000));
    ns.relieve();
    assert_eq!(give_up(&ns, &a, &arx), 512);
    assert_eq!(crowd(&ns, &a, 1000..1100), None);
    ns.relieve();
    assert_eq!(give_up(&ns, &a, &arx) + give_up(&ns, &b, &brx), 0);
    // Each in its turn.
    assert_eq!(crowd(&ns, &a, 1100..1600), Some(1512));
    ns.relieve();
    assert_eq!(give_up(&ns, &a, &arx), 512);
    assert_eq!(ns.granted(), 10 + 1000 - 512);
    assert_eq!(crowd(&ns, &a, 1512..2100), Some(2024));
    // What gives up something finds room.
    let mut unlock = req(1, Mode::Nl, Policy::Flock(Flock::default()));
    unlock.res = ResId([1, 2, 0, 0]);
    assert!(ns.enqueue(&a, &unlock, None).is_ok());
    unlock.mode = Mode::Pr;
    assert_eq!(ns.enqueue(&a, &unlock, None), Err(EINPROGRESS));
    ns.detach(&a);
    ns.detach(&b);
    assert_eq!(ns.stats(), NamespaceStats::default());
}

/// A lock is not larger than what is reckoned with, nor much smaller.
#[test]
fn size_of_a_lock() {
    // Links and colour of an entry of a tree.
    const LINKS: usize = 24;
    let size = size_of::<super::table::Node>()
        + crate::core::SIZE_OF_LOCK
        + LINKS
        + size_of::<(ResId, Arc<super::table::Node>)>()
        + LINKS
        + size_of::<(u64, super::table::LockRef)>()
        + LINKS
        + size_of::<((u64, u64), super::export::Entry)>();
    let per_lock = super::memory::PER_LOCK as usize;
    assert!((per_lock / 2..=per_lock).contains(&size), "{size}");
}

struct Lookup {
    bits: u64,
    lock: bool,
}

impl IntentPolicy for Lookup {
    fn execute(
        &mut self,
        ns: &Arc<Namespace>,
        _exp: &Arc<ExportLocks>,
        _req: &EnqueueReq,
    ) -> kapi::error::Result<Intent> {
        if !self.lock {
            return Ok(Intent::NoLock(7, 0));
        }
        let child = ResId([5, 6, 0, 0]);
        let p = Policy::Ibits(Ibits {
            bits: self.bits,
            try_bits: 8,
            ..Default::default()
        });
        let l = ns.lock_local(&child, Mode::Pr, p, LocalOptions::default())?;
        Ok(Intent::Lock(l, 0xb, 0))
    }

    fn again(
        &mut self,
        _: &Arc<Namespace>,
        _: &EnqueueReq,
        lock: &EnqueueReply,
    ) -> kapi::error::Result<(u64, i32)> {
        assert_eq!(lock.desc.unwrap().res, ResId([5, 6, 0, 0]));
        Ok((0x1b, -7))
    }
}

#[test]
fn an_intent_returns_its_own_lock() {
    let (ns, _) = namespace();
    let (a, arx) = client(&ns, 1);
    let mut r = req(
        10,
        Mode::Cr,
        Policy::Ibits(Ibits {
            bits: 2,
            ..Default::default()
        }),
    );
    r.flags = flags::HAS_INTENT;
    let mut none = Lookup {
        bits: 0,
        lock: false,
    };
    let e = ns.enqueue(&a, &r, Some(&mut none)).unwrap();
    assert_eq!((e.status, e.res1, e.desc, e.cookie), (301, 7, None, 0));
    let mut some = Lookup {
        bits: 0x13,
        lock: true,
    };
    let e = ns.enqueue(&a, &r, Some(&mut some)).unwrap();
    assert_eq!((e.status, e.flags, e.res1), (0, 0x1001, 0xb));
    let d = e.desc.unwrap();
    assert_eq!(d.res, ResId([5, 6, 0, 0]));
    assert_eq!((d.req_mode, d.granted), (Mode::Pr, Some(Mode::Pr)));
    assert!(matches!(d.policy, Policy::Ibits(b) if b.bits == 0x1b && b.try_bits == 0));
    // It is found when the request comes again.
    r.resent = true;
    let again = ns.enqueue(&a, &r, Some(&mut none)).unwrap();
    assert_eq!(again.cookie, e.cookie);
    assert_eq!((again.res1, again.res2), (0x1b, -7_i64 as u64));
    // The server's own request calls it back and waits for it.
    let helper = {
        let (ns, a) = (ns.clone(), a.clone());
        std::thread::spawn(move || {
            let Ok(Msg::Blocking(bl, done)) = arx.recv() else {
                panic!()
            };
            ok(done);
            assert_eq!(bl.desc.cancel_bits, 2);
            assert_eq!(ns.cancel(&a, [bl.to.cookie].into_iter()), 1);
        })
    };
    let p = Policy::Ibits(Ibits {
        bits: 2,
        ..Default::default()
    });
    let own = ns
        .lock_local(&d.res, Mode::Ex, p, LocalOptions::default())
        .unwrap();
    helper.join().unwrap();
    drop(own);
    assert_eq!(ns.stats(), NamespaceStats::default());
}

#[test]
fn own_locks_are_reported_and_wait_for_no_one_at_the_end() {
    let (ns, ops) = namespace();
    let one = ns
        .lock_local(&OBJ, Mode::Pw, WHOLE, LocalOptions::default())
        .unwrap();
    let other = {
        let ns = ns.clone();
        std::thread::spawn(move || {
            ns.lock_local(&OBJ, Mode::Pw, WHOLE, LocalOptions::default())
                .map(drop)
        })
    };
    while ops.blocked.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(*ops.blocked.lock().unwrap(), [one.cookie()]);
    ns.stop();
    assert_eq!(other.join().unwrap(), Err(kapi::prelude::ESHUTDOWN));
    drop(one);
    assert_eq!(ns.stats(), NamespaceStats::default());
}
