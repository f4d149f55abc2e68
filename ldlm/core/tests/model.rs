// SPDX-License-Identifier: GPL-2.0

//! A list of all locks, and brute force.

use super::*;

#[derive(Clone, Debug)]
pub(super) struct MLock {
    pub(super) ix: LockIx,
    pub(super) cookie: u64,
    pub(super) mode: Mode,
    pub(super) req: Policy,
    /// What is held; of no meaning while waiting.
    pub(super) held: Policy,
    pub(super) granted: bool,
    /// Told of a conflict.
    pub(super) told: bool,
}

#[derive(Default)]
pub(super) struct Model {
    /// Those that wait in the order of their queue, the others anyhow.
    pub(super) locks: Vec<MLock>,
}

fn gid(p: &Policy) -> u64 {
    p.gid()
}

fn meet(a: &Policy, b: &Policy) -> bool {
    match (a, b) {
        (Policy::Extent(a), Policy::Extent(b)) => a.start <= b.end && b.start <= a.end,
        (Policy::Ibits(a), Policy::Ibits(b)) => a.bits & b.bits != 0,
        _ => true,
    }
}

/// Whether a request must wait for a held lock.
pub(super) fn against_held(mode: Mode, req: &Policy, held: &MLock) -> bool {
    let extent = matches!(req, Policy::Extent(_));
    match (mode, held.mode) {
        (Mode::Group, Mode::Group) => gid(req) != gid(&held.req),
        (m, Mode::Group) | (Mode::Group, m) if extent => m != Mode::Nl,
        (a, b) => !a.compatible_with(b) && meet(req, &held.held),
    }
}

/// Whether a request must wait for one ahead of it.
pub(super) fn against_ahead(mode: Mode, req: &Policy, ahead: &MLock) -> bool {
    let extent = matches!(req, Policy::Extent(_));
    match (mode, ahead.mode) {
        (Mode::Group, Mode::Group) => gid(req) != gid(&ahead.req),
        (Mode::Group, _) => false,
        (m, Mode::Group) if extent => m != Mode::Nl,
        (a, b) => !a.compatible_with(b) && meet(req, &ahead.req),
    }
}

impl Model {
    pub(super) fn blocked(&self, mode: Mode, req: &Policy, ahead: usize) -> bool {
        self.locks.iter().enumerate().any(|(i, l)| match l.granted {
            true => against_held(mode, req, l),
            false => i < ahead && against_ahead(mode, req, l),
        })
    }

    /// Enters a waiting lock in its place.
    pub(super) fn wait(&mut self, l: MLock) {
        let mut at = self.locks.len();
        if l.mode == Mode::Group {
            let groups = |m: &MLock| !m.granted && m.mode == Mode::Group;
            let own = |m: &MLock| groups(m) && gid(&m.req) == gid(&l.req);
            at = match self.locks.iter().rposition(own) {
                Some(i) => i + 1,
                None => self.locks.iter().rposition(groups).map_or(0, |i| i + 1),
            };
        }
        self.locks.insert(at, l);
    }

    pub(super) fn by_cookie(&mut self, cookie: u64) -> Option<&mut MLock> {
        self.locks.iter_mut().find(|l| l.cookie == cookie)
    }

    /// What must hold whenever all actions have been carried out.
    pub(super) fn check(&self, r: &Resource) {
        let n = self.locks.iter().filter(|l| l.granted).count();
        assert_eq!(r.granted() as usize, n, "{:?}", self.locks);
        assert_eq!(r.waiting() as usize, self.locks.len() - n);
        for (i, l) in self.locks.iter().enumerate() {
            let v = r.find(l.ix, l.cookie).expect("a lock is lost");
            assert_eq!(v.granted.is_some(), l.granted, "{l:?}");
            if !l.granted {
                assert!(
                    self.blocked(l.mode, &l.req, i),
                    "nothing is in the way of {l:?}: {:?}",
                    self.locks
                );
                continue;
            }
            assert_eq!(v.policy, l.held, "{l:?}");
            if let (Policy::Extent(h), Policy::Extent(q)) = (&l.held, &l.req) {
                assert!(h.contains(q));
            }
            for o in &self.locks[..i] {
                let clash = o.granted
                    && match (o.mode, l.mode) {
                        (Mode::Group, Mode::Group) => gid(&o.req) != gid(&l.req),
                        (a, b) => !a.compatible_with(b) && meet(&o.held, &l.held),
                    };
                assert!(!clash, "both are held: {o:?} {l:?}");
            }
            let wanted = self.locks.iter().any(|w| {
                let whole = w.mode == Mode::Group && matches!(w.req, Policy::Extent(_));
                !w.granted && !w.mode.compatible_with(l.mode) && (whole || meet(&w.req, &l.held))
            });
            if wanted && l.mode != Mode::Group {
                assert!(l.told, "{l:?} has not been told: {:?}", self.locks);
            }
            assert_eq!(v.ast_sent, l.told, "{l:?}");
        }
    }
}
