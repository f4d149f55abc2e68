// SPDX-License-Identifier: GPL-2.0

//! The volume that tells clients how many locks to keep (spec/ldlm.md 21.2).

/// How many locks clients should keep, as one number: the server lock volume.
///
/// A client cancels a lock when its age (seconds) times the number of its locks exceeds the
/// volume. The volume shrinks while more locks are held than planned for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Volume {
    limit: u64,
    plan: u64,
    slv: u64,
}

impl Volume {
    const AGE: u64 = 36_000;

    /// For `limit` locks; the field's servers take 50 a MiB of memory.
    pub(super) fn new(limit: u64) -> Self {
        let limit = limit.clamp(1, u64::from(u32::MAX));
        Volume {
            limit,
            plan: limit * 3 / 10,
            slv: limit * Self::AGE,
        }
    }

    /// `pb_limit`.
    pub(super) fn limit(&self) -> u32 {
        u32::try_from(self.limit).unwrap_or(u32::MAX)
    }

    /// `pb_slv`.
    pub(super) fn slv(&self) -> u64 {
        self.slv
    }

    /// Once a second, with the number of granted locks.
    pub(super) fn tick(&mut self, granted: u64) {
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
