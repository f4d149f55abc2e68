// SPDX-License-Identifier: GPL-2.0

//! Grants: free space that is promised to clients for data that they have not written yet
//! (`ost.md` 6). Nothing here does I/O; all numbers are bytes.

/// The largest wish that makes sense.
const MAX_WISH: u64 = 0x7fff_ffff;

/// What of the store matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bytes in a block, a power of two.
    pub(crate) block: u64,
    /// Most blocks in an extent.
    pub(crate) extent_blocks: u64,
    /// What a new extent may cost besides its blocks.
    pub(crate) tax: u64,
}

impl Shape {
    /// What data at `pos` may cost.
    pub(crate) fn need(&self, pos: u64, len: u64, taxed: bool) -> u64 {
        let start = pos & !(self.block - 1);
        let end = pos.saturating_add(len).saturating_add(self.block - 1) & !(self.block - 1);
        let bytes = end.saturating_sub(start);
        if !taxed {
            return bytes;
        }
        let extents = bytes.div_ceil((self.block * self.extent_blocks).max(1));
        bytes.saturating_add(extents.saturating_mul(self.tax))
    }

    /// How much is granted at a time to a client with transfers of this size.
    pub(crate) fn chunk(&self, brw_size: u64, taxed: bool) -> u64 {
        2 * self.need(0, brw_size, taxed)
    }
}

/// What is promised to one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ClientGrant {
    /// Promised and not used.
    pub(crate) granted: u64,
    /// What it says it has in its cache.
    pub(crate) dirty: u64,
    /// Of writes under way.
    pub(crate) pending: u64,
    /// It has left: it gets nothing any more.
    pub(crate) closed: bool,
}

/// The sums over all clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    /// Promised, and of writes under way.
    pub(crate) granted: u64,
    /// In the clients' caches, as they say.
    pub(crate) dirty: u64,
    /// Of writes under way.
    pub(crate) pending: u64,
}

/// What a client says of itself with a transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Announcement {
    /// Bytes in its cache.
    pub(crate) dirty: u64,
    /// Grant that it lost.
    pub(crate) dropped: u64,
    /// Grant that it believes to have.
    pub(crate) has: u64,
    /// How much it wants in all.
    pub(crate) wants: u64,
}

/// What of a write needs space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// What it may cost.
    pub(crate) need: u64,
    /// The client paid for it with its grant.
    pub(crate) from_grant: bool,
    /// There is space for it.
    pub(crate) granted: bool,
}

/// One client's grant and the sums, to be changed together.
pub(crate) struct Books<'a> {
    pub(crate) client: &'a mut ClientGrant,
    pub(crate) totals: &'a mut Totals,
    pub(crate) shape: Shape,
    /// Free space of the store.
    pub(crate) available: u64,
    /// See [`Shape::chunk`].
    pub(crate) chunk: u64,
}

impl Books<'_> {
    /// Free space that nobody was promised, whole blocks.
    pub(crate) fn left(&self) -> u64 {
        self.available.saturating_sub(self.totals.granted) & !(self.shape.block - 1)
    }

    /// A client connects, anew or again, and wants so much in all; what it has then.
    pub(crate) fn connect(&mut self, want: u64, is_new: bool) -> u64 {
        let has = self.client.granted;
        self.allocate(has, want, is_new);
        self.set_dirty(0);
        self.client.granted
    }

    fn set_dirty(&mut self, dirty: u64) {
        self.totals.dirty = self.totals.dirty.saturating_sub(self.client.dirty);
        self.totals.dirty = self.totals.dirty.saturating_add(dirty);
        self.client.dirty = dirty;
    }

    /// Takes note of what the client says.
    pub(crate) fn announce(&mut self, a: &Announcement) {
        let most = self
            .client
            .granted
            .saturating_add(self.chunk.saturating_mul(4));
        if a.dropped <= self.client.granted {
            self.client.granted -= a.dropped;
            self.totals.granted -= a.dropped;
        }
        self.set_dirty(a.dirty.min(most));
    }

    /// Finds space for what is written. `used`: grant that the client counted for all of it
    /// together. Returns what [`Books::done`] is to be told.
    pub(crate) fn take(&mut self, items: &mut [Item], used: u64, free_ride: bool) -> u64 {
        let (mut granted, mut ungranted) = (0u64, 0u64);
        let mut paid = free_ride;
        let left = self.left();
        if !paid && used > 0 {
            let more = used.saturating_sub(self.client.granted);
            if more <= left {
                granted = used - more;
                ungranted = more;
                paid = true;
            }
        }
        let mut left = left - ungranted;
        for i in items.iter_mut() {
            if i.from_grant && paid {
                i.granted = true;
            } else if i.from_grant && self.client.granted - granted >= i.need {
                granted += i.need;
                i.granted = true;
            } else if left > i.need {
                left -= i.need;
                ungranted += i.need;
                i.granted = true;
            } else {
                i.granted = false;
            }
        }
        let total = granted + ungranted;
        self.client.granted -= granted;
        self.client.pending += total;
        self.totals.granted += ungranted;
        self.totals.pending += total;
        self.set_dirty(self.client.dirty - granted.min(self.client.dirty));
        total
    }

    /// A write that was given `total` is over; the blocks that it has are not free any more.
    pub(crate) fn done(&mut self, total: u64) {
        let total = total.min(self.client.pending);
        self.client.pending -= total;
        self.totals.pending -= total;
        self.totals.granted -= total;
    }

    /// Grants more to a client that has `has` and wants `want`; how much more.
    pub(crate) fn allocate(&mut self, has: u64, want: u64, conservative: bool) -> u64 {
        let mut left = self.left();
        let c = &mut *self.client;
        let much = c.granted.saturating_add(self.chunk);
        if left == 0 || c.closed || want > MAX_WISH || has >= want || has >= much {
            return 0;
        }
        if conservative {
            left /= 8;
        }
        let mut g = (want - has).min(left).next_multiple_of(self.shape.block);
        if conservative {
            g = g.min(self.chunk);
        }
        let most = want.saturating_add(self.chunk);
        g = g.min(most.saturating_sub(c.granted));
        c.granted += g;
        self.totals.granted += g;
        g
    }

    /// Takes back what was granted by a reply that is not sent.
    pub(crate) fn take_back(&mut self, granted: u64) {
        let g = granted.min(self.client.granted);
        self.client.granted -= g;
        self.totals.granted -= g;
    }

    /// The client gives back `offered`; what it keeps of it.
    pub(crate) fn shrink(&mut self, offered: u64) -> u64 {
        if self.totals.granted.saturating_mul(4) < self.left() {
            return offered;
        }
        self.take_back(offered);
        0
    }

    /// The client has left. What its writes have goes with them.
    pub(crate) fn close(&mut self) {
        self.take_back(self.client.granted);
        self.set_dirty(0);
        self.client.closed = true;
    }
}

#[cfg(test)]
mod tests;
