// SPDX-License-Identifier: GPL-2.0

//! Taking back old locks when there are too many (spec/ldlm.md 21.3), and the volume that tells
//! clients how many to keep (21.2).

use super::namespace::Namespace;
use super::run::now_s;
use crate::core::{LockType, State};
use kapi::prelude::*;

/// Locks taken back in one round.
const ROUND: usize = 512;
/// How old a lock must be, seconds; if there are too few, down to the second figure.
const AGE: (u32, u32) = (450, 300);

impl Namespace {
    /// Asks clients to give up old locks, up to 512 in a round. Returns how many were asked for.
    /// One round at a time is enough: the caller sees to that.
    pub fn reclaim(self: &Arc<Self>) -> usize {
        let mut age = AGE.0;
        loop {
            let n = self.reclaim_older(age, ROUND);
            if n != 0 || age <= AGE.1 {
                return n;
            }
            age = (age / 2).max(AGE.1);
        }
    }

    /// One round if there are more locks than the configuration likes.
    pub(super) fn reclaim_if_crowded(self: &Arc<Self>) {
        let above = self.config.reclaim_above;
        if above != 0 && self.granted() > above && !self.is_recovering() {
            self.reclaim();
        }
    }

    /// Asks for up to `max` locks made more than `age` seconds ago.
    pub fn reclaim_older(self: &Arc<Self>, age: u32, max: usize) -> usize {
        let now = now_s();
        let mut asked = 0;
        self.tables.for_each(|node| {
            if asked >= max || !matches!(node.kind, LockType::Extent | LockType::Ibits) {
                return;
            }
            let mut st = node.state.lock();
            let mut from = None;
            while let Some((ix, v)) = st.core.next_lock(from) {
                from = Some(ix);
                let old = now.saturating_sub(v.made) >= age;
                if old && v.state == State::Granted && asked < max {
                    asked += usize::from(self.with(&mut st, |c, env| c.revoke(ix, env)));
                }
            }
            drop(st);
            self.run(node);
        });
        asked
    }
}

/// How many locks clients should keep, as one number: the server lock volume.
///
/// A client cancels a lock when its age (seconds) times the number of its locks exceeds the
/// volume. The volume shrinks while more locks are held than planned for.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    limit: u64,
    plan: u64,
    slv: u64,
}

impl Volume {
    const AGE: u64 = 36_000;

    /// For `limit` locks; the field's servers take 50 a MiB of memory.
    pub fn new(limit: u64) -> Self {
        let limit = limit.clamp(1, u64::from(u32::MAX));
        Volume {
            limit,
            plan: limit * 3 / 10,
            slv: limit * Self::AGE,
        }
    }

    /// `pb_limit`.
    pub fn limit(&self) -> u32 {
        u32::try_from(self.limit).unwrap_or(u32::MAX)
    }

    /// `pb_slv`.
    pub fn slv(&self) -> u64 {
        self.slv
    }

    /// Once a second, with the number of granted locks.
    pub fn tick(&mut self, granted: u64) {
        let over = granted.saturating_sub(self.plan);
        let under = self.plan.saturating_sub(granted);
        let usage = (self.limit + under).saturating_sub(over).max(1);
        let factor = usage.saturating_mul(1024) / self.limit;
        let mut slv = u128::from(self.slv) * u128::from(factor);
        if granted < self.limit {
            slv += 1023;
        }
        let max = u128::from(self.limit * Self::AGE);
        self.slv = u64::try_from((slv / 1024).clamp(1, max)).unwrap_or(1);
        let free = self.limit.saturating_sub(granted);
        self.plan = (granted + free / 100).min(self.limit + self.limit / 4);
    }

    /// Memory is short: `n` locks should go.
    pub fn shrink(&mut self, n: u64) {
        self.slv = self.slv.saturating_sub(n).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_follows_the_load() {
        let mut v = Volume::new(1000);
        assert_eq!((v.limit(), v.slv()), (1000, 36_000_000));
        // Few locks: all may be kept.
        for _ in 0..100 {
            v.tick(10);
        }
        assert_eq!(v.slv(), 36_000_000);
        // A flood: clients have to drop theirs.
        let mut granted = 10;
        for _ in 0..60 {
            granted += 100;
            v.tick(granted);
        }
        assert!(v.slv() < 36_000_000 / 100);
        // It is over.
        for _ in 0..3000 {
            granted = granted.saturating_sub(50);
            v.tick(granted);
        }
        assert!(v.slv() > 36_000_000 / 2);
    }
}
