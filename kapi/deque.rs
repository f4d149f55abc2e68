// SPDX-License-Identifier: GPL-2.0

//! A double-ended queue in a ring. It grows by doubling and does not shrink.

use crate::alloc::{AllocError, Flags, KVVec};

/// A double-ended queue.
///
/// # Invariants
///
/// `len <= ring.len()`; the `len` slots from `head` on, modulo the ring, are `Some`, all others
/// are `None`. `ring.len()` is zero or a power of two.
pub struct Deque<T> {
    ring: KVVec<Option<T>>,
    head: usize,
    len: usize,
}

impl<T> Default for Deque<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deque<T> {
    /// An empty queue; allocates nothing.
    pub const fn new() -> Self {
        Deque {
            ring: KVVec::new(),
            head: 0,
            len: 0,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn slot(&self, i: usize) -> usize {
        self.head.wrapping_add(i) & self.ring.len().wrapping_sub(1)
    }

    /// Makes room for `n` more, so that as many pushes cannot fail.
    pub fn reserve(&mut self, n: usize, flags: Flags) -> Result<(), AllocError> {
        let want = self.len.checked_add(n).ok_or(AllocError)?;
        if want <= self.ring.len() {
            return Ok(());
        }
        let size = want.checked_next_power_of_two().ok_or(AllocError)?.max(8);
        let mut ring = KVVec::with_capacity(size, flags)?;
        for i in 0..self.len {
            let slot = self.slot(i);
            let t = self.ring.get_mut(slot).and_then(Option::take);
            ring.push(t, flags)?;
        }
        while ring.len() < size {
            ring.push(None, flags)?;
        }
        self.ring = ring;
        self.head = 0;
        Ok(())
    }

    /// Appends.
    pub fn push_back(&mut self, t: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        let slot = self.slot(self.len);
        if let Some(s) = self.ring.get_mut(slot) {
            *s = Some(t);
            self.len += 1;
        }
        Ok(())
    }

    /// Prepends.
    pub fn push_front(&mut self, t: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        let slot = self.head.wrapping_sub(1) & self.ring.len().wrapping_sub(1);
        if let Some(s) = self.ring.get_mut(slot) {
            *s = Some(t);
            self.head = slot;
            self.len += 1;
        }
        Ok(())
    }

    /// Takes the first.
    pub fn pop_front(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let head = self.head;
        self.head = self.slot(1);
        self.len -= 1;
        self.ring.get_mut(head).and_then(Option::take)
    }

    /// Takes the last.
    pub fn pop_back(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        let slot = self.slot(self.len);
        self.ring.get_mut(slot).and_then(Option::take)
    }

    /// The first.
    pub fn front(&self) -> Option<&T> {
        self.get(0)
    }

    /// The first.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        let head = self.head;
        self.ring.get_mut(head).and_then(Option::as_mut)
    }

    /// Element `i` from the front.
    pub fn get(&self, i: usize) -> Option<&T> {
        if i >= self.len {
            return None;
        }
        self.ring.get(self.slot(i)).and_then(Option::as_ref)
    }

    /// All, from the front.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(move |i| self.get(i))
    }

    /// Keeps what `f` says, in order.
    pub fn retain(&mut self, mut f: impl FnMut(&T) -> bool) {
        let mut kept = 0;
        for i in 0..self.len {
            let from = self.slot(i);
            let Some(t) = self.ring.get_mut(from).and_then(Option::take) else {
                continue;
            };
            if f(&t) {
                let to = self.slot(kept);
                if let Some(s) = self.ring.get_mut(to) {
                    *s = Some(t);
                }
                kept += 1;
            }
        }
        self.len = kept;
    }
}
