// SPDX-License-Identifier: GPL-2.0

//! A budget of bytes, so that what peers send and nobody has served yet stays bounded.

use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Full, Relaxed};

struct Inner {
    used: Atomic<u64>,
    limit: u64,
    most: u64,
}

/// A budget.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

/// What one of those who share a budget has taken of it.
#[derive(Clone)]
pub struct Share(Arc<Atomic<u64>>);

/// Bytes taken from a budget; dropping it gives them back.
pub struct Charge {
    budget: Budget,
    share: Share,
    bytes: u64,
}

impl Share {
    /// Nothing.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Share> {
        Ok(Share(Arc::new(Atomic::<u64>::new(0), GFP_KERNEL)?))
    }
}

impl Budget {
    /// A budget of `limit` bytes, of which each share has `most` at the most.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(limit: u64, most: u64) -> Result<Budget> {
        Ok(Budget(Arc::new(
            Inner {
                used: Atomic::<u64>::new(0),
                limit,
                most,
            },
            GFP_KERNEL,
        )?))
    }

    /// Takes `bytes` for `share`, if there are so many left, and it has taken no more than that: one
    /// has half of all at the most, so that there is always something left for others. Something is
    /// always given when nothing is taken, so that one large message cannot wait for ever.
    pub fn charge(&self, share: &Share, bytes: u64) -> Option<Charge> {
        let before = self.0.used.fetch_add(bytes, Full);
        let own = share.0.fetch_add(bytes, Full).saturating_add(bytes);
        let charge = Charge {
            budget: self.clone(),
            share: share.clone(),
            bytes,
        };
        let left = self.0.limit.saturating_sub(before);
        (before == 0 || own <= left.min(self.0.most)).then_some(charge)
    }

    /// Bytes taken.
    pub fn used(&self) -> u64 {
        self.0.used.load(Relaxed)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Full);
        self.share.0.fetch_sub(self.bytes, Full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded() -> Result {
        let (b, one) = (Budget::new(100, 100)?, Share::new()?);
        let large = b.charge(&one, 1000).unwrap();
        assert!(b.charge(&one, 1).is_none());
        drop(large);
        let c = b.charge(&one, 30).unwrap();
        assert!(b.charge(&one, 60).is_none());
        let d = b.charge(&one, 20).unwrap();
        assert_eq!(b.used(), 50);
        assert!(b.charge(&one, 1).is_none());
        drop((c, d));
        assert_eq!(b.used(), 0);
        Ok(())
    }

    /// Whoever takes all it can get leaves something to others.
    #[test]
    fn shared() -> Result {
        let b = Budget::new(1000, 400)?;
        let shares = [Share::new()?, Share::new()?, Share::new()?];
        let mut taken = std::vec::Vec::new();
        for (share, most) in shares.iter().zip([400, 300, 150]) {
            let before = b.used();
            while let Some(c) = b.charge(share, 5) {
                taken.push(c);
            }
            assert_eq!(b.used() - before, most);
        }
        Ok(())
    }
}
