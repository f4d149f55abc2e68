// SPDX-License-Identifier: GPL-2.0

//! How much memory the locks of a node may take (spec/ldlm.md 21.3).

use kapi::pages::total_ram;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};

const MIB: u64 = 1 << 20;
/// About what a lock takes that is the only one of its resource, bytes.
pub(super) const PER_LOCK: u64 = 1024;
/// Shares of the node's memory, percent.
const RECLAIM: u64 = 20;
const LIMIT: u64 = 30;
/// A limit that nobody has set.
const UNSET: u64 = u64::MAX;

/// The memory of all locks of all namespaces that share it.
pub struct LockMemory {
    total: Atomic<u64>,
    /// Clients' locks of any kind, granted and waiting: what takes memory.
    held: Atomic<i64>,
    /// Granted inode-bit and extent locks: those that clients keep when they do not need them.
    granted: Atomic<i64>,
    reclaim_mb: Atomic<u64>,
    limit_mb: Atomic<u64>,
}

/// That of the targets of this node.
pub static LOCK_MEMORY: LockMemory = LockMemory::new(UNSET);

impl LockMemory {
    /// For a node with so much memory.
    pub(super) const fn new(total: u64) -> Self {
        LockMemory {
            total: Atomic::<u64>::new(total),
            held: Atomic::<i64>::new(0),
            granted: Atomic::<i64>::new(0),
            reclaim_mb: Atomic::<u64>::new(UNSET),
            limit_mb: Atomic::<u64>::new(UNSET),
        }
    }

    fn total_mb(&self) -> u64 {
        let total = match self.total.load(Relaxed) {
            UNSET => total_ram(),
            n => n,
        };
        total / MIB
    }

    /// `lock_granted_count`.
    pub fn granted(&self) -> u64 {
        u64::try_from(self.granted.load(Relaxed)).unwrap_or(0)
    }

    /// `lock_reclaim_threshold_mb`: old locks are taken back from here on; 0 for never.
    pub fn reclaim_mb(&self) -> u64 {
        match self.reclaim_mb.load(Relaxed) {
            UNSET => self.total_mb() * RECLAIM / 100,
            n => n,
        }
    }

    /// `lock_limit_mb`: no more locks from here on; 0 for no limit.
    pub fn limit_mb(&self) -> u64 {
        match self.limit_mb.load(Relaxed) {
            UNSET => self.total_mb() * LIMIT / 100,
            n => n,
        }
    }

    /// Sets `lock_reclaim_threshold_mb`.
    ///
    /// # Errors
    /// `EINVAL`: not below the limit. `ERANGE`: more than there is.
    pub fn set_reclaim_mb(&self, mb: u64) -> Result {
        let limit = self.limit_mb();
        if limit != 0 && mb >= limit {
            return Err(EINVAL);
        }
        self.check(mb)?;
        self.reclaim_mb.store(mb, Relaxed);
        Ok(())
    }

    /// Sets `lock_limit_mb`.
    ///
    /// # Errors
    /// `EINVAL`: not above the threshold. `ERANGE`: more than there is.
    pub fn set_limit_mb(&self, mb: u64) -> Result {
        if mb != 0 && mb <= self.reclaim_mb() {
            return Err(EINVAL);
        }
        self.check(mb)?;
        self.limit_mb.store(mb, Relaxed);
        Ok(())
    }

    fn check(&self, mb: u64) -> Result {
        if mb > self.total_mb() {
            return Err(ERANGE);
        }
        Ok(())
    }

    /// Locks that fit into so many MiB.
    pub fn count(mb: u64) -> u64 {
        mb.saturating_mul(MIB / PER_LOCK)
    }

    /// Locks that clients should keep in one namespace, at most (spec/ldlm.md 21.2).
    pub(super) fn plan(&self) -> u64 {
        self.total_mb().saturating_mul(50)
    }

    /// Locks of any kind that one client may have in one namespace: half of all.
    pub(super) fn share(&self) -> u64 {
        match Self::count(self.limit_mb()) {
            0 => u64::MAX,
            n => n / 2,
        }
    }

    /// Locks that are too many, so that old ones are to be taken back.
    pub(super) fn excess(&self) -> u64 {
        match Self::count(self.reclaim_mb()) {
            0 => 0,
            most => self.granted().saturating_sub(most),
        }
    }

    /// Clients have so many locks more, or less.
    pub(super) fn hold(&self, delta: i64) {
        self.held.fetch_add(delta, Relaxed);
    }

    /// Whether there is no room for another lock.
    pub(super) fn is_full(&self) -> bool {
        let most = Self::count(self.limit_mb());
        most != 0 && u64::try_from(self.held.load(Relaxed)).is_ok_and(|n| n >= most)
    }
}

/// The granted locks of one namespace, which count in its node's memory.
pub(super) struct Granted {
    own: Atomic<i64>,
    pub(super) memory: &'static LockMemory,
}

impl Granted {
    pub(super) fn new(memory: &'static LockMemory) -> Self {
        Granted {
            own: Atomic::<i64>::new(0),
            memory,
        }
    }

    pub(super) fn add(&self, delta: i64) {
        self.own.fetch_add(delta, Relaxed);
        self.memory.granted.fetch_add(delta, Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.own.load(Relaxed)).unwrap_or(0)
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        let left = self.own.load(Relaxed);
        self.memory.granted.fetch_add(-left, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let m = LockMemory::new(1000 * MIB);
        assert_eq!((m.reclaim_mb(), m.limit_mb()), (200, 300));
        assert_eq!((m.plan(), m.share()), (50_000, 300 * 512));
        assert_eq!(m.set_reclaim_mb(300), Err(EINVAL));
        assert_eq!(m.set_limit_mb(200), Err(EINVAL));
        assert_eq!(m.set_limit_mb(1001), Err(ERANGE));
        m.set_reclaim_mb(1).unwrap();
        m.set_limit_mb(2).unwrap();
        let n = Granted::new(Box::leak(Box::new(m)));
        let m = n.memory;
        n.add(1024);
        assert!(m.excess() == 0 && !m.is_full());
        n.add(1);
        assert!(m.excess() == 1 && !m.is_full());
        m.hold(2047);
        assert!(!m.is_full());
        m.hold(1);
        assert!(m.is_full());
        m.set_limit_mb(0).unwrap();
        m.set_reclaim_mb(0).unwrap();
        assert!(m.excess() == 0 && !m.is_full());
        assert_eq!(m.share(), u64::MAX);
        drop(n);
        assert_eq!(m.granted(), 0);
    }
}
