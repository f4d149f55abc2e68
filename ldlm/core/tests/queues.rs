// SPDX-License-Identifier: GPL-2.0

//! Extent, inode-bit and plain locks against the model.

use super::model::{MLock, Model};
use super::*;
use kapi::prelude::EAGAIN;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        export: u64,
        mode: Mode,
        policy: Policy,
        flags: u32,
    },
    /// Cancel the n-th lock.
    Cancel(usize),
    /// Cancel the n-th lock that has been told to go.
    Yield(usize),
    /// Give up bits of the n-th lock.
    Convert(usize, u64),
    /// Weaken the n-th lock.
    Downgrade(usize, Mode),
    /// Ask for a lock without waiting.
    Try {
        export: u64,
        mode: Mode,
        policy: Policy,
    },
}

struct World {
    r: Resource,
    m: Model,
    waits: FlockWaits,
    next: u64,
}

impl World {
    fn new(kind: LockType) -> Self {
        World {
            r: Resource::new(ResId([1, 2, 3, 4]), kind),
            m: Model::default(),
            waits: FlockWaits::new(),
            next: 1,
        }
    }

    fn env(&mut self) -> (&mut Resource, Env<'_>) {
        let env = Env {
            waits: Some(&mut self.waits),
            quiet: false,
        };
        (&mut self.r, env)
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Enqueue {
                export,
                mode,
                policy,
                flags,
            } => self.enqueue(*export, *mode, *policy, *flags, false),
            Op::Try {
                export,
                mode,
                policy,
            } => self.enqueue(*export, *mode, *policy, 0, true),
            Op::Cancel(n) => {
                if !self.m.locks.is_empty() {
                    let n = n % self.m.locks.len();
                    self.cancel(n);
                }
            }
            Op::Yield(n) => {
                let told: Vec<usize> = (0..self.m.locks.len())
                    .filter(|i| self.m.locks[*i].told)
                    .collect();
                if !told.is_empty() {
                    self.cancel(told[n % told.len()]);
                }
            }
            Op::Convert(n, keep) => self.convert(*n, *keep),
            Op::Downgrade(n, mode) => self.downgrade(*n, *mode),
        }
        self.settle();
        self.m.check(&self.r);
    }

    fn enqueue(&mut self, export: u64, mode: Mode, policy: Policy, f: u32, only_try: bool) {
        let cookie = self.next;
        self.next += 1;
        let mut new = new_lock(cookie, export, mode, policy);
        new.flags = f;
        let ix = self.r.create(&new).unwrap();
        let group = mode == Mode::Group;
        let ahead = self.m.locks.len();
        let mut expect = self.m.blocked(mode, &policy, ahead);
        let held_group = |l: &&MLock| l.granted && l.mode == Mode::Group && group;
        if self
            .m
            .locks
            .iter()
            .find(held_group)
            .is_some_and(|l| l.req.gid() == policy.gid())
        {
            expect = false;
        }
        // Wishes: what remains of them.
        let mut wish = policy.bits().1;
        for l in &self.m.locks {
            let p = if l.granted { l.held } else { l.req };
            let all = p.bits().0 | p.bits().1;
            if !mode.compatible_with(l.mode) {
                wish &= !all;
            }
        }
        let only_wishes = matches!(policy, Policy::Ibits(b) if b.bits == 0);
        expect |= only_wishes && wish == 0;
        let (r, mut env) = self.env();
        let done = if only_try {
            r.try_enqueue(ix, &mut env)
        } else {
            r.enqueue(ix, f, &mut env)
        };
        let lock = |held, granted| MLock {
            ix,
            cookie,
            mode,
            req: policy,
            held,
            granted,
            told: false,
        };
        match done {
            Ok(e) if e.status == Status::Granted => {
                assert!(!expect, "granted over a conflict: {:?}", self.m.locks);
                assert_eq!(e.flags & flags::BLOCK_GRANTED, 0);
                assert_eq!(e.flags & flags::LOCK_CHANGED != 0, e.desc.policy != policy);
                if let (Policy::Ibits(h), Policy::Ibits(q)) = (e.desc.policy, policy) {
                    assert_eq!(h.bits, q.bits | wish);
                    assert_eq!(h.try_bits, 0);
                }
                self.m.locks.push(lock(e.desc.policy, true));
                // The reply may tell of a conflict; it does so instead of a callback.
                let (r, mut env) = self.env();
                let reply = r.reply(ix, &mut env).unwrap();
                if reply.flags & flags::AST_SENT != 0 {
                    assert!(reply.start_timer);
                    self.m.by_cookie(cookie).unwrap().told = true;
                }
            }
            Ok(e) if e.status == Status::Waiting => {
                assert!(expect && !only_try);
                assert_ne!(e.flags & flags::BLOCK_GRANTED, 0);
                self.m.wait(lock(policy, false));
            }
            Ok(e) => {
                assert_eq!(e.status, Status::Aborted);
                assert!(only_wishes && wish == 0);
            }
            Err(e) => {
                assert_eq!(e, EAGAIN);
                assert!(expect);
                assert!(only_try || f & (flags::SPECULATIVE | flags::BLOCK_NOWAIT) != 0);
            }
        }
    }

    fn cancel(&mut self, n: usize) {
        let l = self.m.locks.remove(n);
        let (r, mut env) = self.env();
        let hint = r.cancel(l.ix, &mut env);
        r.reprocess(hint, &mut env);
        assert!(self.r.find(l.ix, l.cookie).is_none());
    }

    fn convert(&mut self, n: usize, keep: u64) {
        let held: Vec<usize> = (0..self.m.locks.len())
            .filter(|i| self.m.locks[*i].granted)
            .collect();
        let Some(i) = held.get(n % held.len().max(1)) else {
            return;
        };
        let l = self.m.locks[*i].clone();
        let (r, mut env) = self.env();
        let done = r.convert(l.ix, l.mode, keep, &mut env);
        let bits = l.held.bits().0;
        match done {
            Ok(b) => {
                assert_eq!(b.bits, bits & keep);
                let m = &mut self.m.locks[*i];
                if b.bits != bits {
                    m.told = false;
                }
                m.held = Policy::Ibits(b);
                m.req = m.held;
            }
            Err(_) => assert!(bits & keep == 0 || !matches!(l.held, Policy::Ibits(_))),
        }
    }

    fn downgrade(&mut self, n: usize, mode: Mode) {
        let held: Vec<usize> = (0..self.m.locks.len())
            .filter(|i| self.m.locks[*i].granted)
            .collect();
        let Some(i) = held.get(n % held.len().max(1)) else {
            return;
        };
        let l = self.m.locks[*i].clone();
        let (r, mut env) = self.env();
        if r.downgrade(l.ix, mode, None, &mut env).is_ok() {
            let m = &mut self.m.locks[*i];
            m.mode = mode;
            m.told = false;
            m.req = m.held;
        }
    }

    /// Carries the actions out.
    fn settle(&mut self) {
        for a in drain(&mut self.r, &mut self.waits) {
            match a {
                Action::Blocking(b) => {
                    let l = self.m.by_cookie(b.to.cookie).expect("told to go, but gone");
                    assert!(l.granted, "told before it is held");
                    assert!(!l.told, "told twice");
                    assert_ne!(l.mode, Mode::Group);
                    l.told = true;
                    assert_eq!(b.desc.granted, None);
                    let l = l.clone();
                    let known = self.m.locks.iter().any(|w| {
                        !w.granted && w.mode == b.desc.req_mode && !w.mode.compatible_with(l.mode)
                    });
                    assert!(known, "nobody waits for {l:?}");
                }
                Action::Completion(c) => {
                    let l = self.m.by_cookie(c.to.cookie).expect("completed, but gone");
                    assert!(!l.granted, "completed twice");
                    assert_eq!(c.desc.granted, Some(l.mode));
                    l.granted = true;
                    l.held = c.desc.policy;
                    l.told = c.flags & flags::AST_SENT != 0;
                    assert_eq!(c.start_timer, l.told);
                }
                Action::Freed(f) => assert!(self.m.by_cookie(f.cookie).is_none()),
                Action::LocalBlocked(_) | Action::WakeLocal => panic!("no local locks here"),
            }
        }
    }

    /// All holders give way again and again: everybody gets a turn.
    fn finish(&mut self) {
        let mut rounds = 0;
        while !self.m.locks.is_empty() {
            let i = self
                .m
                .locks
                .iter()
                .position(|l| l.granted)
                .expect("all wait");
            self.cancel(i);
            self.settle();
            self.m.check(&self.r);
            rounds += 1;
            assert!(rounds < 10_000);
        }
        assert!(self.r.is_empty());
    }
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        4 => Just(Mode::Pr), 4 => Just(Mode::Pw), 1 => Just(Mode::Ex), 1 => Just(Mode::Cr),
        1 => Just(Mode::Cw), 1 => Just(Mode::Nl), 1 => Just(Mode::Group),
    ]
}

fn extent() -> impl Strategy<Value = Policy> {
    (0u64..12, 0u64..6, 1u64..3, 0u8..4).prop_map(|(s, l, gid, k)| {
        let e = match k {
            0 => Extent::WHOLE,
            _ => Extent::new(s << 12, ((s + l + 1) << 12) - 1),
        };
        Policy::Extent(Extent { gid, ..e })
    })
}

fn request_flags() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => Just(0), 1 => Just(flags::BLOCK_NOWAIT), 1 => Just(flags::NO_EXPANSION),
        1 => Just(flags::SPECULATIVE | flags::NO_EXPANSION),
    ]
}

fn extent_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u64..5, mode(), extent(), request_flags()).prop_map(
            |(export, mode, policy, flags)| Op::Enqueue { export, mode, policy: fix(mode, policy), flags }),
        1 => (1u64..5, mode(), extent()).prop_map(
            |(export, mode, policy)| Op::Try { export, mode, policy: fix(mode, policy) }),
        2 => any::<usize>().prop_map(Op::Cancel),
        4 => any::<usize>().prop_map(Op::Yield),
        1 => (any::<usize>(), mode()).prop_map(|(n, m)| Op::Downgrade(n, m)),
    ]
}

/// Group ids belong to GROUP locks.
fn fix(mode: Mode, policy: Policy) -> Policy {
    match policy {
        Policy::Extent(e) if mode != Mode::Group => Policy::Extent(Extent { gid: 0, ..e }),
        Policy::Ibits(b) if mode != Mode::Group => Policy::Ibits(Ibits { gid: 0, ..b }),
        Policy::Ibits(b) => Policy::Ibits(Ibits {
            bits: ibits::DOM,
            try_bits: 0,
            ..b
        }),
        p => p,
    }
}

fn bits() -> impl Strategy<Value = Policy> {
    let one = prop_oneof![
        Just(1u64),
        Just(2),
        Just(3),
        Just(0x13),
        Just(0x1b),
        Just(0x40),
        Just(8),
        Just(0)
    ];
    (
        one,
        prop_oneof![4 => Just(0u64), 1 => Just(0x28), 1 => Just(0x08)],
        1u64..3,
    )
        .prop_map(|(bits, t, gid)| {
            Policy::Ibits(Ibits {
                bits,
                try_bits: if bits == 0 { t | 0x20 } else { t & !bits },
                gid,
                initiator: 0,
            })
        })
}

fn bits_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u64..5, mode(), bits()).prop_map(
            |(export, mode, policy)| Op::Enqueue { export, mode, policy: fix(mode, policy), flags: 0 }),
        1 => (1u64..5, mode(), bits()).prop_map(
            |(export, mode, policy)| Op::Try { export, mode, policy: fix(mode, policy) }),
        2 => any::<usize>().prop_map(Op::Cancel),
        4 => any::<usize>().prop_map(Op::Yield),
        2 => (any::<usize>(), 0u64..0x80).prop_map(|(n, k)| Op::Convert(n, k)),
        1 => (any::<usize>(), mode()).prop_map(|(n, m)| Op::Downgrade(n, m)),
    ]
}

fn plain_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u64..5, mode()).prop_map(
            |(export, mode)| Op::Enqueue { export, mode, policy: Policy::Plain, flags: 0 }),
        2 => any::<usize>().prop_map(Op::Cancel),
        4 => any::<usize>().prop_map(Op::Yield),
    ]
}

fn run(kind: LockType, ops: &[Op]) {
    let mut w = World::new(kind);
    for op in ops {
        w.apply(op);
    }
    w.finish();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn extents(ops in prop::collection::vec(extent_op(), 1..60)) {
        run(LockType::Extent, &ops);
    }
    #[test]
    fn inode_bits(ops in prop::collection::vec(bits_op(), 1..60)) {
        run(LockType::Ibits, &ops);
    }
    #[test]
    fn plain(ops in prop::collection::vec(plain_op(), 1..60)) {
        run(LockType::Plain, &ops);
    }
}
