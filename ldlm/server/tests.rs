// SPDX-License-Identifier: GPL-2.0

//! A namespace with clients that answer callbacks from threads of their own.

use super::*;
use crate::core::*;
use kapi::prelude::{Arc, Duration, EAGAIN, EINVAL, ENOENT, ENOMEM, ENOTCONN, GFP_KERNEL};
use std::collections::BTreeMap;
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

struct Link(Mutex<Sender<Msg>>);

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
    fn evict(&self, reason: &'static str) {
        self.send(Msg::Evict(reason));
    }
    fn is_busy(&self, _cookie: u64) -> bool {
        false
    }
}

const OBJ: ResId = ResId([77, 0, 0, 0]);

fn namespace() -> (Arc<Namespace>, Arc<Ops>) {
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
    (
        Namespace::new(NamespaceConfig::default(), dynamic).unwrap(),
        ops,
    )
}

fn client(ns: &Arc<Namespace>, id: u64) -> (Arc<ExportLocks>, Receiver<Msg>) {
    let (tx, rx) = channel();
    let link: Arc<dyn AstSender> = Arc::new(Link(Mutex::new(tx)), GFP_KERNEL).unwrap();
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
fn too_many_locks_are_the_clients_problem() {
    let (ns, _) = namespace();
    let (a, _arx) = client(&ns, 1);
    for i in 0..1000 {
        ns.enqueue(&a, &req(i, Mode::Pr, WHOLE), None).unwrap();
    }
    let more = ns.enqueue(&a, &req(1000, Mode::Pr, WHOLE), None);
    assert_eq!(more, Err(ENOMEM));
    assert_eq!(ns.granted(), 1000);
    ns.detach(&a);
    assert_eq!(ns.stats(), NamespaceStats::default());
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

/// Clients and the server itself fight over a few objects; everybody gets everything in the end.
#[test]
fn many_threads() {
    let (ns, _) = namespace();
    const CLIENTS: u64 = 4;
    const ROUNDS: u64 = 300;
    let mut threads = Vec::new();
    for id in 1..=CLIENTS {
        let (exp, rx) = client(&ns, id);
        let (done_tx, done_rx) = channel::<u64>();
        // Gives up what is called back, tells of what is granted.
        let cb = {
            let (ns, exp) = (ns.clone(), exp.clone());
            std::thread::spawn(move || {
                for m in rx {
                    match m {
                        Msg::Blocking(bl, done) => {
                            ok(done);
                            ns.cancel(&exp, [bl.to.cookie].into_iter());
                        }
                        Msg::Completion(cp, _, done) => {
                            ok(done);
                            if cp.flags & flags::AST_SENT != 0 {
                                ns.cancel(&exp, [cp.to.cookie].into_iter());
                            }
                            let _ = done_tx.send(cp.to.client_handle);
                        }
                        Msg::Glimpse(_, done) => done.complete(AstOutcome::Replied(-303, &[])),
                        Msg::Evict(why) => {
                            assert_eq!(why, "the end");
                            return;
                        }
                    }
                }
            })
        };
        let ns2 = ns.clone();
        let main = std::thread::spawn(move || {
            for i in 0..ROUNDS {
                let h = (id << 32) | i;
                let mode = if (i + id) % 3 == 0 {
                    Mode::Pw
                } else {
                    Mode::Pr
                };
                let at = (i * 7 + id) % 5 * 4096;
                let mut r = req(h, mode, Policy::Extent(Extent::new(at, at + 4095)));
                r.res = ResId([77 + i % 3, 0, 0, 0]);
                if i % 11 == 0 {
                    r.flags = flags::HAS_INTENT;
                }
                match ns2.enqueue(&exp, &r, None) {
                    Ok(e) if e.flags & flags::BLOCK_GRANTED != 0 => {
                        while done_rx.recv().unwrap() != h {}
                    }
                    Ok(e) if e.flags & flags::AST_SENT != 0 => {
                        ns2.cancel(&exp, [e.cookie].into_iter());
                    }
                    Ok(_) => {}
                    // Called back and given up before the reply was made.
                    Err(e) => assert_eq!(e, EAGAIN),
                }
            }
            exp
        });
        threads.push((main, cb));
    }
    for i in 0..ROUNDS {
        let res = ResId([77 + i % 3, 0, 0, 0]);
        let l = ns
            .lock_local(&res, Mode::Pw, WHOLE, LocalOptions::default())
            .unwrap();
        drop(l);
    }
    let mut cbs = Vec::new();
    for (main, cb) in threads {
        let exp = main.join().unwrap();
        ns.detach(&exp);
        exp.sender.evict("the end");
        cbs.push(cb);
    }
    for cb in cbs {
        cb.join().unwrap();
    }
    assert_eq!(ns.stats(), NamespaceStats::default());
}

/// Clients that answer at random, or not at all, are evicted and come back; nothing is lost, and
/// nobody waits for ever.
#[test]
fn chaos() {
    let (ns, _) = namespace();
    const CLIENTS: u64 = 4;
    let mut threads = Vec::new();
    for c in 1..=CLIENTS {
        let ns = ns.clone();
        threads.push(std::thread::spawn(move || {
            let mut x = c * 977;
            let mut rnd = move |n: u64| {
                x = x
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (x >> 33) % n
            };
            for life in 0..20u64 {
                let (exp, rx) = client(&ns, c * 1000 + life);
                let mut held: Vec<u64> = Vec::new();
                let mut evicted = false;
                for i in 0..60 {
                    let at = rnd(5) * 4096;
                    let mode = if rnd(3) == 0 { Mode::Pw } else { Mode::Pr };
                    let mut r = req(i + 1, mode, Policy::Extent(Extent::new(at, at + 4095)));
                    r.res = ResId([77 + rnd(3), 0, 0, 0]);
                    if let Ok(e) = ns.enqueue(&exp, &r, None) {
                        held.push(e.cookie);
                    }
                    if rnd(4) == 0 && !held.is_empty() {
                        let n = rnd(held.len() as u64) as usize;
                        ns.cancel(&exp, [held.swap_remove(n)].into_iter());
                    }
                    while let Ok(m) = rx.try_recv() {
                        match m {
                            Msg::Blocking(bl, done) => match rnd(40) {
                                0 => drop(done),
                                1..=3 => done
                                    .unwrap()
                                    .complete(AstOutcome::Replied(EINVAL.to_errno(), &[])),
                                _ => {
                                    ok(done);
                                    ns.cancel(&exp, [bl.to.cookie].into_iter());
                                }
                            },
                            Msg::Completion(cp, _, done) => match rnd(20) {
                                0 => drop(done),
                                _ => {
                                    ok(done);
                                    if cp.flags & flags::AST_SENT != 0 {
                                        ns.cancel(&exp, [cp.to.cookie].into_iter());
                                    }
                                }
                            },
                            Msg::Glimpse(_, done) => done.complete(AstOutcome::Replied(-303, &[])),
                            Msg::Evict(_) => evicted = true,
                        }
                    }
                    if evicted {
                        break;
                    }
                }
                ns.detach(&exp);
                assert_eq!(exp.count(), 0);
            }
        }));
    }
    for t in threads {
        t.join().unwrap();
    }
    let left = ns.stats();
    assert_eq!((left.resources, left.locks, left.granted), (0, 0, 0));
    assert!(left.timeouts > 0);
}

/// How fast the shell is. Run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn bench_enqueue_cancel() {
    let (ns, ops) = namespace();
    const N: u64 = 100_000;
    for i in 0..N {
        let l = Lvb::default();
        ops.disk.lock().unwrap().insert(ResId([i, 0, 0, 0]), l);
    }
    for threads in [1u64, 2] {
        let start = std::time::Instant::now();
        let mut all = Vec::new();
        for t in 0..threads {
            let ns = ns.clone();
            all.push(std::thread::spawn(move || {
                let (exp, _rx) = client(&ns, 10 * threads + t);
                for i in (t..N).step_by(threads as usize) {
                    let mut r = req(i, Mode::Pw, WHOLE);
                    r.res = ResId([i, 0, 0, 0]);
                    let e = match ns.enqueue(&exp, &r, None) {
                        Ok(e) => e,
                        Err(e) => panic!("{e:?}"),
                    };
                    assert_eq!(ns.cancel(&exp, [e.cookie].into_iter()), 1);
                }
                ns.detach(&exp);
            }));
        }
        for t in all {
            t.join().unwrap();
        }
        let each = start.elapsed().as_nanos() as u64 / N;
        std::println!("{threads} threads: {each} ns for an enqueue and its cancel");
    }
}
