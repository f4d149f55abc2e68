// SPDX-License-Identifier: GPL-2.0

//! Widening an extent when it is granted (spec/ldlm.md 6.2).
//!
//! A client that is alone gets the whole object; among others it gets what lies before the next
//! lock. Under contention the growth of write locks is capped, so that writers that stride through
//! a file do not take each other's next block.

use super::flags;
use super::resource::Resource;
use super::tree::Root;
use super::types::{Extent, Mode, Policy};

/// Locks in conflict from which on write locks grow no more than [`CAP`].
const CONTENDED: u32 = 32;
/// How far a contended write lock reaches.
const CAP: u64 = 32 << 20;
/// Extents end on multiples of it: the page of this server.
const PAGE: u64 = 4096;

impl Resource {
    /// Widens the policy of `ix`, which is about to be granted. True if it changed.
    pub(super) fn expand(&mut self, ix: u32) -> bool {
        let Some(l) = self.slab.get(ix) else {
            return false;
        };
        let Policy::Extent(r) = l.req else {
            return false;
        };
        let (mode, exact) = (l.req_mode, l.flags & flags::NO_EXPANSION != 0);
        let group = mode == Mode::Group;
        if (l.export.is_local() && !group) || (r.start == 0 && r.end == Extent::EOF) {
            return false;
        }
        let mut n = r;
        if group {
            (n.start, n.end) = (0, Extent::EOF);
        } else if !exact {
            (n.start, n.end) = (0, Extent::EOF);
            let held = self.bound(self.granted_trees(), mode, &r, &mut n);
            let queued = self.bound(self.waiting_trees(), mode, &r, &mut n);
            let cap = r.start.saturating_add(CAP - 1);
            if held.max(queued) > CONTENDED && matches!(mode, Mode::Pw | Mode::Cw) && r.end < cap {
                n.end = n.end.min(cap);
            }
        }
        align(&mut n, &r);
        if n == r {
            return false;
        }
        if let Some(l) = self.slab.get_mut(ix) {
            l.policy = Policy::Extent(n);
        }
        true
    }

    /// Limits `n` by the locks of the given trees that conflict with `mode`; returns how many
    /// those are. Nothing grows downwards as soon as there is one: others come from there.
    fn bound<'a>(
        &self,
        trees: impl Iterator<Item = (Mode, &'a Root)>,
        mode: Mode,
        r: &Extent,
        n: &mut Extent,
    ) -> u32 {
        let mut conflicting = 0u32;
        for (_, t) in trees.filter(|(m, _)| !mode.compatible_with(*m)) {
            conflicting = conflicting.saturating_add(t.len());
            n.start = r.start;
            let above = r.end.checked_add(1);
            if let Some(s) = above.and_then(|a| self.trees.lowest_start(t, a)) {
                n.end = n.end.min(s - 1);
            }
        }
        conflicting
    }
}

/// Shrinks `n` to multiples of the page, or of something larger if the request suggests it, but
/// never below the request `r`.
fn align(n: &mut Extent, r: &Extent) {
    if n.start == 0 && n.end == Extent::EOF {
        return;
    }
    let a = r.end.wrapping_add(1) | r.start;
    let mut granule = PAGE;
    if a != 0 && a % PAGE == 0 {
        granule = 1 << a.trailing_zeros();
    }
    let start = n.start.checked_next_multiple_of(granule);
    n.start = start.map_or(r.start, |s| s.min(r.start));
    if let Some(after) = n.end.checked_add(1) {
        n.end = (after - after % granule).wrapping_sub(1);
        if after < granule || n.end < r.end {
            n.end = r.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn aligned_and_between(a in 0u64..1 << 40, l in 0u64..1 << 30, lo: u64, hi: u64) {
            let r = Extent::new(a, a + l);
            let wide = Extent::new(lo % (a + 1), (a + l).max(hi));
            let mut n = wide;
            align(&mut n, &r);
            prop_assert!(n.contains(&r) && wide.contains(&n));
            prop_assert!(n.start == r.start || n.start % PAGE == 0);
            prop_assert!(n.end == r.end || n.end.wrapping_add(1) % PAGE == 0);
        }
    }
}
