// SPDX-License-Identifier: GPL-2.0

//! What may be written back later: the space that an OST has promised, and the memory that this
//! client spends (spec `ost.md` 6).

/// Dirty bytes of an OST at the most.
pub const DIRTY_MAX: u64 = 64 << 20;

/// Whether a write may be cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Yes; it is accounted for.
    Cached,
    /// Not before something else has been written.
    Wait,
    /// No: there is no promise of space. It goes to the server at once.
    Direct,
}

/// The account with one OST, in bytes.
#[derive(Debug)]
pub struct Grant {
    /// Dirty at the most.
    limit: u64,
    /// Promised and not used.
    avail: u64,
    /// Cached and not written, whatever is under way included.
    dirty: u64,
    /// Promised, and lost by dropping dirty data.
    dropped: u64,
}

impl Default for Grant {
    fn default() -> Self {
        Grant::new(DIRTY_MAX)
    }
}

impl Grant {
    /// An account without promises; `limit`: dirty bytes at the most.
    pub fn new(limit: u64) -> Grant {
        Grant {
            limit: limit.min(DIRTY_MAX),
            avail: 0,
            dirty: 0,
            dropped: 0,
        }
    }

    /// The connection is there, with so much granted in all.
    pub fn connected(&mut self, granted: u64) {
        self.avail = granted.saturating_sub(self.dirty);
        self.dropped = 0;
    }

    /// Wants to cache `bytes`.
    pub fn take(&mut self, bytes: u64) -> Verdict {
        if self.dirty > 0 && self.dirty + bytes > self.limit {
            return Verdict::Wait;
        }
        if self.avail >= bytes {
            self.avail -= bytes;
            self.dirty += bytes;
            return Verdict::Cached;
        }
        // Replies to what is being written bring more.
        if self.dirty > 0 {
            Verdict::Wait
        } else {
            Verdict::Direct
        }
    }

    /// Not so much was needed.
    pub fn give_back(&mut self, bytes: u64) {
        let n = bytes.min(self.dirty);
        self.dirty -= n;
        self.avail += n;
    }

    /// Cached data were dropped without being written.
    pub fn drop_dirty(&mut self, bytes: u64) {
        let n = bytes.min(self.dirty);
        self.dirty -= n;
        self.dropped += n;
    }

    /// A write is done.
    pub fn written(&mut self, bytes: u64) {
        self.dirty = self.dirty.saturating_sub(bytes);
    }

    /// A reply grants more.
    pub fn add(&mut self, bytes: u64) {
        self.avail = self.avail.saturating_add(bytes);
    }

    /// What a request tells: dirty, available, dropped (which is told once).
    pub fn announce(&mut self) -> (u64, u64, u32) {
        let dropped = u32::try_from(self.dropped).unwrap_or(u32::MAX >> 1);
        self.dropped -= u64::from(dropped);
        (self.dirty, self.avail, dropped)
    }

    /// Dirty bytes.
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Promised and not used, and dirty: what to ask for at a reconnect.
    pub fn held(&self) -> u64 {
        self.avail + self.dirty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life() {
        let mut g = Grant::default();
        assert_eq!(g.take(4096), Verdict::Direct);
        g.connected(3 * 4096);
        assert_eq!(g.take(2 * 4096), Verdict::Cached);
        assert_eq!(g.take(2 * 4096), Verdict::Wait);
        assert_eq!(g.announce(), (8192, 4096, 0));
        g.written(8192);
        assert_eq!(g.take(2 * 4096), Verdict::Direct);
        g.add(1 << 20);
        assert_eq!(g.take(2 * 4096), Verdict::Cached);
        g.drop_dirty(4096);
        assert_eq!(g.announce().2, 4096);
        assert_eq!(g.announce().2, 0);
        g.give_back(4096);
        assert_eq!(g.dirty(), 0);
        // Connected again while something is dirty: that is part of what was granted.
        assert_eq!(g.take(4096), Verdict::Cached);
        g.connected(8192);
        assert_eq!(g.announce(), (4096, 4096, 0));
    }

    #[test]
    fn memory_is_bounded() {
        let mut g = Grant::default();
        g.connected(u64::MAX / 2);
        assert_eq!(g.take(DIRTY_MAX + 1), Verdict::Cached);
        assert_eq!(g.take(1), Verdict::Wait);
    }
}
