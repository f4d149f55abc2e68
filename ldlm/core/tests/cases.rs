// SPDX-License-Identifier: GPL-2.0

//! Single cases: what the random ones do not reach, and what was observed of real systems.

use super::*;
use kapi::prelude::{EAGAIN, EPROTO};

fn extent(start: u64, end: u64) -> Policy {
    Policy::Extent(Extent::new(start, end))
}

fn bits(bits: u64) -> Policy {
    Policy::Ibits(Ibits {
        bits,
        ..Default::default()
    })
}

struct One {
    r: Resource,
    w: FlockWaits,
    n: u64,
}

impl One {
    fn new(kind: LockType) -> Self {
        One {
            r: Resource::new(ResId([9, 0, 0, 0]), kind),
            w: FlockWaits::new(),
            n: 0,
        }
    }
    fn lock(
        &mut self,
        export: u64,
        mode: Mode,
        p: Policy,
        f: u32,
    ) -> (LockIx, kapi::error::Result<Enqueued>) {
        self.n += 1;
        let mut new = new_lock(self.n, export, mode, p);
        new.flags = f;
        let ix = self.r.create(&new).unwrap();
        let mut env = Env {
            waits: Some(&mut self.w),
            quiet: false,
        };
        let e = self.r.enqueue(ix, f, &mut env);
        (ix, e)
    }
    fn cancel(&mut self, ix: LockIx) {
        let mut env = Env::default();
        let h = self.r.cancel(ix, &mut env);
        self.r.reprocess(h, &mut env);
    }
    fn drain(&mut self) -> Vec<Action> {
        drain(&mut self.r, &mut self.w)
    }
}

#[test]
fn writer_over_a_cached_read_lock() {
    let mut o = One::new(LockType::Extent);
    let (a, e) = o.lock(1, Mode::Pr, extent(0, Extent::EOF), 0);
    assert_eq!(e.unwrap().flags, 0);
    let (b, e) = o.lock(2, Mode::Pw, extent(0, Extent::EOF), 0);
    assert_eq!(e.unwrap().flags, flags::BLOCK_GRANTED | flags::NO_TIMEOUT);
    let acts = o.drain();
    let [Action::Blocking(bl)] = acts[..] else {
        panic!("{acts:?}")
    };
    assert_eq!((bl.to.cookie, bl.flags, bl.one_way), (1, 0, false));
    assert_eq!(bl.desc.req_mode, Mode::Pw);
    assert_eq!(bl.desc.policy, extent(0, 0));
    o.cancel(a);
    let acts = o.drain();
    assert!(matches!(acts[0], Action::Freed(f) if f.cookie == 1));
    let Action::Completion(cp) = acts[1] else {
        panic!("{acts:?}")
    };
    assert_eq!(cp.flags, 0);
    assert_eq!(cp.desc.granted, Some(Mode::Pw));
    assert!(o.r.find(b, 2).is_some());
}

#[test]
fn alone_it_gets_everything_and_among_others_what_is_free() {
    let mut o = One::new(LockType::Extent);
    let (_, e) = o.lock(1, Mode::Pw, extent(0x100000, 0x3fffff), 0);
    let e = e.unwrap();
    assert_eq!(e.flags, flags::LOCK_CHANGED);
    assert_eq!(e.desc.policy, extent(0, Extent::EOF));

    let mut o = One::new(LockType::Extent);
    o.lock(1, Mode::Pw, extent(0x800000, 0x8fffff), flags::NO_EXPANSION)
        .1
        .unwrap();
    let (_, e) = o.lock(2, Mode::Pw, extent(0x100000, 0x1fffff), 0);
    assert_eq!(e.unwrap().desc.policy, extent(0x100000, 0x7fffff));
    let (_, e) = o.lock(3, Mode::Pw, extent(0xa00000, 0xafffff), 0);
    assert_eq!(e.unwrap().desc.policy, extent(0xa00000, Extent::EOF));
}

#[test]
fn contended_writers_grow_no_further_than_the_cap() {
    let mut o = One::new(LockType::Extent);
    for i in 0..40u64 {
        let at = i * 0x10000;
        o.lock(i + 1, Mode::Pw, extent(at, at + 0xfff), flags::NO_EXPANSION)
            .1
            .unwrap();
    }
    let at = 0x1000_0000;
    let (_, e) = o.lock(99, Mode::Pw, extent(at, at + 0xfff), 0);
    assert_eq!(e.unwrap().desc.policy, extent(at, at + (32 << 20) - 1));
}

#[test]
fn discard_reaches_the_holder() {
    let mut o = One::new(LockType::Extent);
    o.lock(1, Mode::Pw, extent(0, Extent::EOF), 0).1.unwrap();
    o.lock(0, Mode::Pw, extent(0, Extent::EOF), flags::AST_DISCARD_DATA)
        .1
        .unwrap();
    let acts = o.drain();
    let [Action::Blocking(bl)] = acts[..] else {
        panic!("{acts:?}")
    };
    assert_eq!(bl.flags, flags::DISCARD_DATA);
}

#[test]
fn conflict_before_the_completion_rides_in_it() {
    let mut o = One::new(LockType::Extent);
    let (a, _) = o.lock(1, Mode::Pw, extent(0, Extent::EOF), 0);
    o.lock(2, Mode::Pw, extent(0, Extent::EOF), 0).1.unwrap();
    o.lock(3, Mode::Pw, extent(0, Extent::EOF), 0).1.unwrap();
    o.drain();
    o.cancel(a);
    let acts: Vec<_> = o
        .drain()
        .into_iter()
        .filter(|a| !matches!(a, Action::Freed(_)))
        .collect();
    let [Action::Completion(cp)] = acts[..] else {
        panic!("{acts:?}")
    };
    assert_eq!((cp.to.cookie, cp.flags), (2, flags::AST_SENT));
    assert!(cp.start_timer);
}

#[test]
fn cancel_on_block_goes_by_itself() {
    let mut o = One::new(LockType::Extent);
    o.lock(1, Mode::Pr, extent(0, Extent::EOF), flags::CANCEL_ON_BLOCK)
        .1
        .unwrap();
    let (b, _) = o.lock(2, Mode::Pw, extent(0, Extent::EOF), 0);
    let acts = o.drain();
    assert!(matches!(acts[0], Action::Blocking(b) if b.one_way));
    assert!(acts
        .iter()
        .any(|a| matches!(a, Action::Completion(c) if c.to.cookie == 2)));
    assert_eq!(o.r.find(b, 2).unwrap().state, State::Granted);
    assert_eq!(o.r.len(), 1);
}

#[test]
fn group_is_never_called_back() {
    let g = |gid| {
        Policy::Extent(Extent {
            gid,
            ..Extent::WHOLE
        })
    };
    let mut o = One::new(LockType::Extent);
    let (a, _) = o.lock(1, Mode::Group, g(5), 0);
    o.lock(2, Mode::Group, g(5), 0).1.unwrap();
    assert_eq!(
        o.lock(3, Mode::Pw, extent(0, 9), flags::BLOCK_NOWAIT).1,
        Err(EAGAIN)
    );
    let (p, e) = o.lock(3, Mode::Pw, extent(0, 9), 0);
    assert_eq!(e.unwrap().status, Status::Waiting);
    assert_eq!(
        o.lock(4, Mode::Group, g(6), flags::BLOCK_NOWAIT).1,
        Err(EAGAIN)
    );
    let (g6, e) = o.lock(4, Mode::Group, g(6), 0);
    assert_eq!(e.unwrap().status, Status::Waiting);
    assert!(o.drain().iter().all(|a| matches!(a, Action::Freed(_))));
    // Who has the id joins, whatever waits.
    let (c, e) = o.lock(5, Mode::Group, g(5), flags::BLOCK_NOWAIT);
    assert_eq!(e.unwrap().status, Status::Granted);
    o.cancel(a);
    o.cancel(c);
    assert_eq!(o.r.view(p).unwrap().state, State::Waiting);
    o.cancel(LockIx(2));
    // The other id goes before the writer.
    assert_eq!(o.r.view(g6).unwrap().state, State::Granted);
    assert_eq!(o.r.view(p).unwrap().state, State::Waiting);
    o.cancel(g6);
    assert_eq!(o.r.view(p).unwrap().state, State::Granted);
}

#[test]
fn convert_keeps_what_nobody_wants() {
    let mut o = One::new(LockType::Ibits);
    let (a, _) = o.lock(1, Mode::Pr, bits(0x5b), 0);
    o.lock(2, Mode::Ex, bits(0xa), 0).1.unwrap();
    let acts = o.drain();
    let [Action::Blocking(bl)] = acts[..] else {
        panic!("{acts:?}")
    };
    assert_eq!(bl.desc.cancel_bits, 0xa);
    let mut env = Env::default();
    assert_eq!(o.r.convert(a, Mode::Pw, 0x51, &mut env), Err(EPROTO));
    assert_eq!(o.r.convert(a, Mode::Pr, 0x51, &mut env).unwrap().bits, 0x51);
    let acts = o.drain();
    assert!(matches!(acts[..], [Action::Completion(c)] if c.to.cookie == 2));
    assert!(!o.r.view(a).unwrap().ast_sent);
}

#[test]
fn group_on_other_bits_is_refused() {
    let mut o = One::new(LockType::Ibits);
    assert_eq!(
        o.lock(1, Mode::Group, bits(ibits::UPDATE), 0).1,
        Err(EPROTO)
    );
    o.lock(1, Mode::Group, bits(ibits::DOM), 0).1.unwrap();
}

#[test]
fn type_clash_is_refused() {
    let mut o = One::new(LockType::Ibits);
    let n = new_lock(1, 1, Mode::Pr, Policy::Plain);
    assert_eq!(o.r.create(&n), Err(EPROTO));
    assert!(o.r.is_empty());
}

#[test]
fn layout_lock_is_weakened_and_handed_over() {
    let mut o = One::new(LockType::Ibits);
    let (a, _) = o.lock(0, Mode::Ex, bits(ibits::LAYOUT | ibits::UPDATE), 0);
    let (b, _) = o.lock(2, Mode::Pr, bits(ibits::UPDATE), 0);
    assert!(matches!(o.drain()[..], [Action::LocalBlocked(1)]));
    let mut env = Env::default();
    o.r.downgrade(a, Mode::Cr, Some(ibits::LAYOUT), &mut env)
        .unwrap();
    assert_eq!(o.r.view(b).unwrap().state, State::Granted);
    let mut to = new_lock(1, 7, Mode::Cr, bits(ibits::LAYOUT));
    to.client_handle = 77;
    o.r.hand_over(a, &to).unwrap();
    let v = o.r.find(a, 1).unwrap();
    assert_eq!((v.export, v.client_handle), (ExportId(7), 77));
    // From now on it is called back like any other.
    o.drain();
    o.lock(3, Mode::Ex, bits(ibits::LAYOUT), 0).1.unwrap();
    let acts = o.drain();
    assert!(matches!(acts[..], [Action::Blocking(b)] if b.to.client_handle == 77));
}

#[test]
fn recovery_tells_and_grants_at_its_end() {
    let mut o = One::new(LockType::Extent);
    for (i, granted) in [(1, true), (2, false), (3, false)] {
        let p = if i == 3 {
            extent(0x10000, 0x1ffff)
        } else {
            extent(0, 0xfff)
        };
        let ix = o.r.create(&new_lock(i, i, Mode::Pw, p)).unwrap();
        o.r.replay(ix, granted).unwrap();
    }
    assert!(o.drain().is_empty());
    o.r.recovered(&mut Env::default());
    let acts = o.drain();
    assert_eq!(acts.len(), 2, "{acts:?}");
    assert!(matches!(acts[0], Action::Completion(c) if c.to.cookie == 3));
    assert!(matches!(acts[1], Action::Blocking(b) if b.to.cookie == 1));
}

#[test]
fn cos_lets_its_own_client_through() {
    let mut o = One::new(LockType::Ibits);
    let mut n = new_lock(50, 0, Mode::Pw, bits(ibits::UPDATE));
    n.client_cookie = 5;
    let ix = o.r.create(&n).unwrap();
    let mut env = Env::default();
    o.r.enqueue(ix, 0, &mut env).unwrap();
    o.r.downgrade(ix, Mode::Cos, None, &mut env).unwrap();
    // The tests' locks carry their export as the client.
    assert_eq!(
        o.lock(5, Mode::Pr, bits(ibits::UPDATE), 0)
            .1
            .unwrap()
            .status,
        Status::Granted
    );
    assert_eq!(
        o.lock(6, Mode::Pr, bits(ibits::UPDATE), 0)
            .1
            .unwrap()
            .status,
        Status::Waiting
    );
    assert!(matches!(o.drain()[..], [Action::LocalBlocked(50)]));
}

#[test]
fn glimpse_asks_the_highest_writer() {
    let mut o = One::new(LockType::Extent);
    let f = flags::NO_EXPANSION;
    o.lock(1, Mode::Pw, extent(0, 0xfff), f).1.unwrap();
    o.lock(2, Mode::Pw, extent(0x5000, 0x5fff), f).1.unwrap();
    o.lock(2, Mode::Pw, extent(0x8000, 0x8fff), f).1.unwrap();
    o.lock(3, Mode::Pr, extent(0x9000, 0x9fff), f).1.unwrap();
    let s = o.r.glimpse_extents(0x4000).unwrap();
    let who: Vec<u64> = s.targets.iter().map(|t| t.0.export.0).collect();
    assert_eq!(who, [2]);
    assert!(!s.destroying);
    assert_eq!(o.r.glimpse_extents(0).unwrap().targets.len(), 2);
}

#[test]
fn flock_keeps_ranges_at_the_end_of_file_apart() {
    let all = |owner| {
        Policy::Flock(Flock {
            start: 0,
            end: u64::MAX,
            owner,
            pid: 1,
        })
    };
    let mut o = One::new(LockType::Flock);
    o.lock(1, Mode::Pw, all(1), 0).1.unwrap();
    let cut = Policy::Flock(Flock {
        start: 10,
        end: 19,
        owner: 1,
        pid: 1,
    });
    o.lock(1, Mode::Nl, cut, 0).1.unwrap();
    o.drain();
    let mut have = Vec::new();
    o.r.for_each(|_, v| {
        if let Policy::Flock(f) = v.policy {
            have.push((f.start, f.end));
        }
    });
    have.sort_unstable();
    assert_eq!(have, [(0, 9), (20, u64::MAX)]);
}
