// SPDX-License-Identifier: GPL-2.0

//! A budget of bytes, so that what peers send and nobody has served yet stays bounded.

use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Full, Relaxed};

struct Inner {
    used: Atomic<u64>,
    limit: u64,
}

/// A budget.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

/// Bytes taken from a budget; dropping it gives them back.
pub struct Charge {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `limit` bytes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(limit: u64) -> Result<Budget> {
        Ok(Budget(Arc::new(
            Inner {
                used: Atomic::<u64>::new(0),
                limit,
            },
            GFP_KERNEL,
        )?))
    }

    /// Takes `bytes`, if there are so many left. Something is always given when nothing is taken,
    /// so that one large message cannot wait for ever.
    pub fn charge(&self, bytes: u64) -> Option<Charge> {
        let before = self.0.used.fetch_add(bytes, Full);
        if before != 0 && before.saturating_add(bytes) > self.0.limit {
            self.0.used.fetch_sub(bytes, Full);
            return None;
        }
        Some(Charge {
            budget: self.clone(),
            bytes,
        })
    }

    /// Bytes taken.
    pub fn used(&self) -> u64 {
        self.0.used.load(Relaxed)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded() -> Result {
        let b = Budget::new(100)?;
        let large = b.charge(1000).unwrap();
        assert!(b.charge(1).is_none());
        drop(large);
        let c = b.charge(60).unwrap();
        assert!(b.charge(60).is_none());
        let d = b.charge(40).unwrap();
        assert_eq!(b.used(), 100);
        drop((c, d));
        assert_eq!(b.used(), 0);
        Ok(())
    }
}
