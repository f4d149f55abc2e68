// SPDX-License-Identifier: GPL-2.0

//! Caches against a real namespace in the same process.

use super::*;
use crate::core::*;
use crate::server::*;
use kapi::prelude::{Arc, Duration, EIO, ENOENT, GFP_KERNEL};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};
use std::vec::Vec;

/// Under its lock is what has to be written.
const DIRTY: ResId = ResId([40, 0, 0, 0]);

struct Target;

impl NamespaceOps for Target {
    fn read_lvb(&self, res: &ResId) -> kapi::error::Result<Lvb> {
        if res.0[0] == 0 {
            return Err(ENOENT);
        }
        Ok(Lvb::default())
    }
    fn lvb_class(&self, lock: &LockView) -> LvbClass {
        match lock.policy {
            Policy::Extent(_) => LvbClass::Ost,
            _ => LvbClass::None,
        }
    }
    fn local_blocked(&self, _: &ResId, _: u64) {}
    fn cancelling(&self, _: &ResId, _: &LockView) {}
}

/// One client: its cache, and the two ways of the wire.
struct Node {
    ns: Arc<Namespace>,
    cache: OnceLock<Cache>,
    export: OnceLock<Arc<ExportLocks>>,
    given_up: AtomicUsize,
    discarded: AtomicUsize,
    size: u64,
}

struct ToClient(std::sync::Arc<Node>);
struct ToServer(std::sync::Arc<Node>);

impl AstSender for ToClient {
    fn send_blocking(&self, ast: &BlockingAst, done: Option<AstDone>) {
        let c = self.0.cache.get().unwrap();
        let status = c.blocking(ast.to.client_handle, ast.to.cookie, ast.flags);
        if let Some(d) = done {
            d.complete(AstOutcome::Replied(status, &[]));
        }
    }
    fn send_completion(&self, ast: &CompletionAst, lvb: &[u8], done: Option<AstDone>) {
        let c = self.0.cache.get().unwrap();
        let to = ast.to;
        let status = c.completion(to.client_handle, to.cookie, &ast.desc, ast.flags, lvb);
        if let Some(d) = done {
            d.complete(AstOutcome::Replied(status, &[]));
        }
    }
    fn send_glimpse(&self, to: &AstTarget, _: &Desc, _: Option<&[u8; 64]>, done: AstDone) {
        let mut lvb = [0; 64];
        let (status, n) = self
            .0
            .cache
            .get()
            .unwrap()
            .glimpse(to.client_handle, &mut lvb);
        done.complete(AstOutcome::Replied(status, &lvb[..n]));
    }
    fn evict(&self, reason: &'static str) -> kapi::error::Result {
        panic!("{reason}");
    }
    fn is_busy(&self, _: u64) -> bool {
        false
    }
}

impl CancelSender for ToServer {
    fn cancel(&self, cookies: &[u64]) {
        let exp = self.0.export.get().unwrap();
        self.0.ns.cancel(exp, cookies.iter().copied());
    }
}

impl CacheOps for ToServer {
    fn give_up(&self, _: &ClientView, discard: bool) {
        self.0.given_up.fetch_add(1, SeqCst);
        self.0.discarded.fetch_add(usize::from(discard), SeqCst);
    }
    fn glimpse(&self, lock: &ClientView, lvb: &mut [u8; 64]) -> Option<usize> {
        if lock.mode != Mode::Pw {
            return None;
        }
        let l = Lvb {
            size: self.0.size,
            ..Default::default()
        };
        lvb[..56].copy_from_slice(&l.to_wire());
        Some(56)
    }
    fn granted(&self, _: &ClientView, _: &[u8]) {}
    fn droppable(&self, lock: &ClientView) -> bool {
        lock.res != DIRTY
    }
}

fn namespace() -> Arc<Namespace> {
    let ops: Arc<dyn NamespaceOps> = Arc::new(Target, GFP_KERNEL).unwrap();
    Namespace::new(NamespaceConfig::default(), ops).unwrap()
}

fn node(ns: &Arc<Namespace>, id: u64, config: CacheConfig) -> std::sync::Arc<Node> {
    let n = std::sync::Arc::new(Node {
        ns: ns.clone(),
        cache: OnceLock::new(),
        export: OnceLock::new(),
        given_up: AtomicUsize::new(0),
        discarded: AtomicUsize::new(0),
        size: id * 1000,
    });
    let ops: Arc<dyn CacheOps> = Arc::new(ToServer(n.clone()), GFP_KERNEL).unwrap();
    let sender: Arc<dyn CancelSender> = Arc::new(ToServer(n.clone()), GFP_KERNEL).unwrap();
    let _ = n.cache.set(Cache::new(config, ops, sender).unwrap());
    let options = ExportOptions {
        id: ExportId(id),
        peer: id,
        lvb_type: true,
        flock_dead: true,
        no_timer: false,
        max_locks: 10_000,
    };
    let link: Arc<dyn AstSender> = Arc::new(ToClient(n.clone()), GFP_KERNEL).unwrap();
    let _ = n.export.set(ns.attach(options, link).unwrap());
    n
}

impl Node {
    fn cache(&self) -> &Cache {
        self.cache.get().unwrap()
    }

    /// Asks for a lock and takes the answer; whether it is held yet.
    fn ask(&self, want: &Want) -> kapi::error::Result<(Held, bool)> {
        let held = self.cache().prepare(want)?;
        let req = EnqueueReq {
            flags: want.flags,
            res: want.res,
            mode: want.mode,
            policy: want.policy,
            client_handle: held.handle(),
            resent: false,
        };
        let r = self.ns.enqueue(self.export.get().unwrap(), &req, None)?;
        assert_eq!(r.status, 0);
        let mut lvb = [0; 56];
        r.lvb.write(&mut lvb).unwrap();
        let now = self.cache().answered(
            &held,
            &Answer {
                flags: r.flags,
                desc: r.desc.unwrap(),
                cookie: r.cookie,
                lvb: &lvb[..r.lvb.len()],
            },
        )?;
        Ok((held, now))
    }

    fn lock(&self, want: &Want) -> kapi::error::Result<Held> {
        let (held, now) = self.ask(want)?;
        if !now {
            self.cache().wait(&held, None)?;
        }
        Ok(held)
    }
}

fn want(mode: Mode, start: u64, end: u64) -> Want {
    Want {
        res: ResId([5, 0, 0, 0]),
        mode,
        policy: Policy::Extent(Extent::new(start, end)),
        flags: 0,
    }
}

const READ: u32 = Mode::Pr as u32 | Mode::Pw as u32;

#[test]
fn found_again_until_it_is_called_back() {
    let ns = namespace();
    let a = node(&ns, 1, CacheConfig::default());
    let b = node(&ns, 2, CacheConfig::default());
    let w = want(Mode::Pr, 0, 4095);
    let held = a.lock(&w).unwrap();
    let v = held.view().unwrap();
    assert_eq!(v.policy, Policy::Extent(Extent::WHOLE));
    drop(held);
    assert_eq!(a.cache().counts(), (1, 1));
    let again = a
        .cache()
        .find(&w.res, READ, &want(Mode::Pr, 9, 1 << 40).policy);
    assert_eq!(again.as_ref().unwrap().handle(), v.handle);
    assert!(a.cache().find(&w.res, Mode::Pw as u32, &w.policy).is_none());
    // Called back while in use: it goes when its user leaves.
    let (wb, now) = b.ask(&want(Mode::Pw, 0, 4095)).unwrap();
    assert!(!now);
    assert!(a.cache().find(&w.res, READ, &w.policy).is_none());
    assert_eq!(a.cache().work(), 0);
    drop(again);
    assert_eq!(a.cache().work(), 1);
    assert_eq!(a.given_up.load(SeqCst), 1);
    b.cache().wait(&wb, Some(Duration::from_secs(5))).unwrap();
    assert_eq!(wb.view().unwrap().state, ClientState::Granted);
    assert_eq!(a.cache().counts(), (0, 0));
    // A glimpse by A is answered from B's cache.
    let lvb = ns.glimpse_local(&w.res).unwrap().unwrap();
    assert_eq!(lvb.size, 2000);
}

#[test]
fn the_cache_is_bounded() {
    let ns = namespace();
    let config = CacheConfig {
        max_locks: 20,
        max_unused: 5,
        max_age: Duration::from_secs(600),
        ..CacheConfig::default()
    };
    let a = node(&ns, 1, config);
    let res = |i| Want {
        res: ResId([i, 0, 0, 0]),
        ..want(Mode::Pr, 0, 10)
    };
    for i in 1..=10 {
        drop(a.lock(&res(i)).unwrap());
    }
    assert_eq!(a.cache().work(), 5);
    assert_eq!(a.cache().counts(), (5, 5));
    // The longest unused went.
    assert!(a.cache().find(&res(5).res, READ, &res(5).policy).is_none());
    assert!(a.cache().find(&res(6).res, READ, &res(6).policy).is_some());
    assert_eq!(ns.granted(), 5);
    let many: Vec<_> = (11..26).map(|i| a.lock(&res(i)).unwrap()).collect();
    assert!(a.lock(&res(99)).is_err());
    drop(many);
    a.cache().clear();
    a.cache().work();
    assert_eq!((a.cache().counts(), ns.granted()), ((0, 0), 0));
    assert_eq!(ns.stats().resources, 0);
}

#[test]
fn neighbours_follow_when_many_are_wanted() {
    let ns = namespace();
    let a = node(&ns, 1, CacheConfig::default());
    let b = node(&ns, 2, CacheConfig::default());
    let of = |i, mode| Want {
        res: ResId([i, 0, 0, 0]),
        ..want(mode, 0, u64::MAX)
    };
    for i in 1..=60 {
        drop(a.lock(&of(i, Mode::Pw)).unwrap());
    }
    drop(a.lock(&of(61, Mode::Pr)).unwrap());
    // How many more go with each that is wanted.
    let mut went = Vec::new();
    for i in 1..=60 {
        let (held, now) = b.ask(&of(i, Mode::Pr)).unwrap();
        if now {
            continue;
        }
        went.push(a.cache().work() - 1);
        b.cache().wait(&held, Some(Duration::from_secs(5))).unwrap();
    }
    // The first bring none; the one that is dirty stays until it is wanted itself; one for
    // reading is in nobody's way.
    assert_eq!(went, [0, 0, 0, 0, 4, 8, 12, 15, 12]);
    assert_eq!(a.cache().counts(), (1, 1));
}

#[test]
fn who_looks_gets_what_is_long_unused() {
    let ns = namespace();
    let config = |ms| CacheConfig {
        dirty_age: Duration::from_millis(ms),
        ..CacheConfig::default()
    };
    let w = want(Mode::Pw, 0, u64::MAX);
    for (id, age, used, left) in [(1, 600_000, false, 1), (2, 0, true, 1), (3, 0, false, 0)] {
        let a = node(&ns, id, config(age));
        let held = a.lock(&w).unwrap();
        let held = used.then_some(held);
        let lvb = ns.glimpse_local(&w.res).unwrap().unwrap();
        assert_eq!(lvb.size, id * 1000);
        a.cache().work();
        assert_eq!(a.cache().counts().0, left);
        drop(held);
        a.cache().clear();
        a.cache().work();
    }
}

#[test]
fn early_cancels_take_what_is_in_the_way() {
    let ns = namespace();
    let a = node(&ns, 1, CacheConfig::default());
    let dir = ResId([1, 2, 0, 0]);
    let bits = |bits| {
        Policy::Ibits(Ibits {
            bits,
            ..Default::default()
        })
    };
    let w = |p| Want {
        res: dir,
        mode: Mode::Pr,
        policy: p,
        flags: 0,
    };
    drop(a.lock(&w(bits(0x13))).unwrap());
    drop(a.lock(&w(bits(0x20))).unwrap());
    let used = a.lock(&w(bits(2))).unwrap();
    let go = a.cache().early(&dir, Mode::Ex, &bits(2), 8).unwrap();
    assert_eq!(go.len(), 1);
    assert_eq!(a.cache().counts(), (2, 1));
    let exp = a.export.get().unwrap();
    assert_eq!(ns.cancel(exp, go.iter().copied()), 1);
    drop(used);
}

#[test]
fn a_restart_is_survived() {
    let ns = namespace();
    let a = node(&ns, 1, CacheConfig::default());
    let held = a.lock(&want(Mode::Pw, 0, 4095)).unwrap();
    let mut other = want(Mode::Pr, 0, 4095);
    other.res = ResId([6, 0, 0, 0]);
    drop(a.lock(&other).unwrap());
    assert_eq!(a.cache().drop_before_replay(), 1);
    let replays = a.cache().replays().unwrap();
    assert_eq!(replays.len(), 1);
    let r = &replays[0];
    assert_eq!(r.flags, flags::REPLAY | flags::BLOCK_GRANTED);
    // The new server.
    let ns2 = namespace();
    ns2.start_recovery();
    let b = node(&ns2, 1, CacheConfig::default());
    let req = EnqueueReq {
        flags: r.flags,
        res: r.desc.res,
        mode: r.desc.req_mode,
        policy: r.desc.policy,
        client_handle: r.handle,
        resent: false,
    };
    let e = ns2.enqueue(b.export.get().unwrap(), &req, None).unwrap();
    a.cache().replayed(r.handle, e.cookie);
    assert_eq!(held.view().unwrap().cookie, e.cookie);
    // And eviction is, too.
    a.cache().invalidate();
    assert_eq!(held.view().unwrap().state, ClientState::Failed);
    assert_eq!(a.cache().wait(&held, None), Err(EIO));
    assert_eq!(a.discarded.load(SeqCst), 1);
    drop(held);
    assert_eq!(a.cache().counts(), (0, 0));
}

#[test]
fn file_locks_wait_and_are_told() {
    let ns = namespace();
    let a = node(&ns, 1, CacheConfig::default());
    let b = node(&ns, 2, CacheConfig::default());
    let w = |mode, owner| Want {
        res: ResId([5, 6, 0, 12]),
        mode,
        policy: Policy::Flock(Flock {
            start: 0,
            end: i64::MAX as u64,
            owner,
            pid: 1,
        }),
        flags: 0,
    };
    drop(a.lock(&w(Mode::Pw, 1)).unwrap());
    let (held, now) = b.ask(&w(Mode::Pw, 1)).unwrap();
    assert!(!now);
    drop(a.lock(&w(Mode::Nl, 1)).unwrap());
    b.cache().wait(&held, Some(Duration::from_secs(5))).unwrap();
    drop(held);
    assert_eq!(ns.stats().locks, 1);
}

/// Locks exclude: at no time do two nodes use the same bytes against each other.
#[test]
fn exclusion_among_threads() {
    const NODES: u64 = 3;
    const BLOCKS: usize = 4;
    let ns = namespace();
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    // Readers count up, a writer sets it far below zero.
    let state: std::sync::Arc<Vec<AtomicI32>> =
        std::sync::Arc::new((0..BLOCKS).map(|_| AtomicI32::new(0)).collect());
    let errors = std::sync::Arc::new(Mutex::new(0));
    let mut users = Vec::new();
    let mut workers = Vec::new();
    for id in 1..=NODES {
        let n = node(&ns, id, CacheConfig::default());
        let (cache, done) = (n.cache().clone(), stop.clone());
        workers.push(std::thread::spawn(move || {
            while !done.load(SeqCst) {
                cache.wait_for_work(Duration::from_millis(1));
                cache.work();
            }
        }));
        for thread in 0..2u64 {
            let (n, state, errors) = (n.clone(), state.clone(), errors.clone());
            users.push(std::thread::spawn(move || {
                let mut x = id * 31 + thread * 17;
                for _ in 0..400 {
                    x = x
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let block = (x >> 33) as usize % BLOCKS;
                    let write = (x >> 50) % 4 == 0;
                    let mode = if write { Mode::Pw } else { Mode::Pr };
                    let at = block as u64 * 4096;
                    let w = want(mode, at, at + 4095);
                    let modes = if write { Mode::Pw as u32 } else { READ };
                    let held = match n.cache().find(&w.res, modes, &w.policy) {
                        Some(h) => h,
                        None => match n.lock(&w) {
                            Ok(h) => h,
                            // Given back before its reply: ask again.
                            Err(_) => continue,
                        },
                    };
                    // Threads of one node share its locks, so they count as one.
                    let weight = if write { -1_000_000 } else { 1 };
                    let node_only = held.view().map(|v| v.mode);
                    if node_only == Some(mode) && !write {
                        if state[block].fetch_add(weight, SeqCst) < 0 {
                            *errors.lock().unwrap() += 1;
                        }
                        std::thread::yield_now();
                        state[block].fetch_sub(weight, SeqCst);
                    } else if write && thread == 0 {
                        if state[block].fetch_add(weight, SeqCst) > 0 {
                            *errors.lock().unwrap() += 1;
                        }
                        std::thread::yield_now();
                        state[block].fetch_sub(weight, SeqCst);
                    }
                    drop(held);
                }
            }));
        }
    }
    for u in users {
        u.join().unwrap();
    }
    stop.store(true, SeqCst);
    for w in workers {
        w.join().unwrap();
    }
    assert_eq!(*errors.lock().unwrap(), 0);
}
