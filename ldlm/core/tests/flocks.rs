// SPDX-License-Identifier: GPL-2.0

//! File locks against a map of bytes.

use super::*;
use kapi::prelude::{EAGAIN, EDEADLK};
use proptest::prelude::*;
use std::collections::BTreeMap;

const BYTES: usize = 16;
type Owner = (u64, u64);

#[derive(Clone, Debug)]
struct Op {
    export: u64,
    owner: u64,
    mode: Mode,
    start: u64,
    len: u64,
    how: u32,
}

struct Waiter {
    cookie: u64,
    who: Owner,
    mode: Mode,
    range: (u64, u64),
}

#[derive(Default)]
struct Model {
    bytes: BTreeMap<Owner, [Option<Mode>; BYTES]>,
    waiting: Vec<Waiter>,
}

impl Model {
    fn conflict(&self, who: Owner, mode: Mode, (s, e): (u64, u64)) -> Vec<Owner> {
        let hit = |m: &[Option<Mode>; BYTES]| {
            m[s as usize..=e as usize]
                .iter()
                .flatten()
                .any(|h| !mode.compatible_with(*h))
        };
        let others = self.bytes.iter().filter(|(o, m)| **o != who && hit(m));
        others.map(|(o, _)| *o).collect()
    }

    fn paint(&mut self, who: Owner, mode: Mode, (s, e): (u64, u64)) {
        let m = self.bytes.entry(who).or_insert([None; BYTES]);
        let v = (mode != Mode::Nl).then_some(mode);
        m[s as usize..=e as usize].fill(v);
    }
}

struct World {
    r: Resource,
    waits: FlockWaits,
    m: Model,
    next: u64,
}

impl World {
    fn apply(&mut self, op: &Op) {
        let who = (op.export, op.owner);
        let range = (op.start, (op.start + op.len).min(BYTES as u64 - 1));
        let policy = Policy::Flock(Flock {
            start: range.0,
            end: range.1,
            owner: op.owner,
            pid: 7,
        });
        // A process waits for one lock at a time.
        let busy = self.m.waiting.iter().position(|w| w.who == who);
        if let Some(i) = busy {
            let w = &self.m.waiting[i];
            if op.mode != Mode::Nl || w.range != range {
                return;
            }
        }
        self.next += 1;
        let ix = self
            .r
            .create(&new_lock(self.next, op.export, op.mode, policy))
            .unwrap();
        let mut env = Env {
            waits: Some(&mut self.waits),
            quiet: false,
        };
        let done = self.r.enqueue(ix, op.how, &mut env);
        let conflict = self.m.conflict(who, op.mode, range);
        let test = op.how & flags::TEST_LOCK != 0 && op.mode != Mode::Nl;
        match done {
            Ok(e) if e.status == Status::Waiting => {
                assert!(!conflict.is_empty() && op.how == 0);
                self.m.waiting.push(Waiter {
                    cookie: self.next,
                    who,
                    mode: op.mode,
                    range,
                });
            }
            Ok(e) if test => {
                assert_eq!(e.status, Status::Done);
                assert_ne!(e.flags & flags::LOCK_CHANGED, 0);
                assert_eq!(e.desc.req_mode == Mode::Nl, conflict.is_empty());
            }
            Ok(e) => {
                assert!(conflict.is_empty());
                assert_eq!((e.desc.policy, e.desc.granted), (policy, Some(op.mode)));
                if op.mode == Mode::Nl {
                    assert_eq!(e.status, Status::Done);
                    if let Some(i) = busy {
                        self.m.waiting.remove(i);
                    }
                }
                self.m.paint(who, op.mode, range);
            }
            Err(e) if e == EAGAIN => {
                assert!(!conflict.is_empty() && op.how & flags::BLOCK_NOWAIT != 0);
            }
            Err(e) => {
                assert_eq!(e, EDEADLK);
                assert!(!conflict.is_empty());
                assert!(self.circle(who, &conflict), "no deadlock");
            }
        }
        self.settle();
        self.check();
    }

    /// Whether some of `blockers` wait, in the end, for `who`.
    fn circle(&self, who: Owner, blockers: &[Owner]) -> bool {
        let mut seen: Vec<Owner> = blockers.to_vec();
        let mut i = 0;
        while i < seen.len() {
            let at = seen[i];
            if at == who {
                return true;
            }
            for w in self.m.waiting.iter().filter(|w| w.who == at) {
                for o in self.m.conflict(w.who, w.mode, w.range) {
                    if !seen.contains(&o) {
                        seen.push(o);
                    }
                }
            }
            i += 1;
        }
        false
    }

    fn settle(&mut self) {
        for a in drain(&mut self.r, &mut self.waits) {
            let Action::Completion(c) = a else {
                assert!(matches!(a, Action::Freed(_)), "{a:?}");
                continue;
            };
            let at = self.m.waiting.iter().position(|w| w.cookie == c.to.cookie);
            if c.desc.granted.is_none() {
                // The wait was given up: by an unlock (gone already), or because of a deadlock.
                assert_ne!(c.flags & flags::AST_SENT, 0);
                if let Some(i) = at {
                    assert_ne!(c.flags & flags::FLOCK_DEADLOCK, 0);
                    self.m.waiting.remove(i);
                }
                continue;
            }
            let w = self.m.waiting.remove(at.expect("it did not wait"));
            assert_eq!(c.desc.granted, Some(w.mode));
            let Policy::Flock(f) = c.desc.policy else {
                panic!()
            };
            assert_eq!((f.start, f.end), w.range);
            assert!(self.m.conflict(w.who, w.mode, w.range).is_empty());
            self.m.paint(w.who, w.mode, w.range);
        }
    }

    fn check(&self) {
        for w in &self.m.waiting {
            assert!(
                !self.m.conflict(w.who, w.mode, w.range).is_empty(),
                "nothing in the way"
            );
        }
        let mut painted: BTreeMap<Owner, [Option<Mode>; BYTES]> = BTreeMap::new();
        let mut spans: Vec<(Owner, Mode, u64, u64)> = Vec::new();
        self.r.for_each(|_, v| {
            let (Some(mode), Policy::Flock(f)) = (v.granted, v.policy) else {
                return;
            };
            let who = (v.export.0, f.owner);
            spans.push((who, mode, f.start, f.end));
            let m = painted.entry(who).or_insert([None; BYTES]);
            for b in &mut m[f.start as usize..=f.end as usize] {
                assert!(b.is_none(), "an owner holds a byte twice");
                *b = Some(mode);
            }
        });
        for (who, m) in &self.m.bytes {
            let have = painted.get(who).copied().unwrap_or([None; BYTES]);
            assert_eq!(have, *m, "{who:?}");
        }
        // Neighbours of one owner and mode have been merged.
        for a in &spans {
            assert!(!spans
                .iter()
                .any(|b| b.0 == a.0 && b.1 == a.1 && b.2 == a.3 + 1));
        }
        assert_eq!(self.waits.len(), self.m.waiting.len());
    }
}

fn op() -> impl Strategy<Value = Op> {
    let mode = prop_oneof![3 => Just(Mode::Pr), 3 => Just(Mode::Pw), 4 => Just(Mode::Nl)];
    let how = prop_oneof![
        6 => Just(0u32), 2 => Just(flags::BLOCK_NOWAIT), 1 => Just(flags::TEST_LOCK)
    ];
    (1u64..3, 1u64..4, mode, 0u64..16, 0u64..16, how).prop_map(
        |(export, owner, mode, start, len, how)| Op {
            export,
            owner,
            mode,
            start,
            len,
            how: if mode == Mode::Nl { 0 } else { how },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]
    #[test]
    fn like_bytes(ops in prop::collection::vec(op(), 1..80)) {
        let mut w = World {
            r: Resource::new(ResId([1, 2, 0, 12]), LockType::Flock),
            waits: FlockWaits::new(),
            m: Model::default(),
            next: 0,
        };
        for op in &ops {
            w.apply(op);
        }
        // Everybody unlocks everything: all that wait get their locks.
        for _ in 0..20 {
            for export in 1..3 {
                for owner in 1..4 {
                    w.apply(&Op { export, owner, mode: Mode::Nl, start: 0, len: 15, how: 0 });
                }
            }
        }
        prop_assert!(w.m.waiting.is_empty());
        prop_assert!(w.r.is_empty());
    }
}
