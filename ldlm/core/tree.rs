// SPDX-License-Identifier: GPL-2.0

//! Interval trees over the locks of one resource.
//!
//! AVL trees ordered by the start of the range. The nodes are one array indexed like the locks, so
//! putting a lock into a tree allocates nothing; several trees (one a mode) share the array, and a
//! lock is in at most one of them. Each node also carries a number, `aux`, and knows the smallest
//! of its subtree: with it "overlapping and not yet called back" or "overlapping and ahead of me
//! in the queue" are found without walking over all the others.

use super::slab::NIL;
use kapi::prelude::*;

#[derive(Clone, Copy)]
struct Node {
    start: u64,
    end: u64,
    aux: u64,
    /// The greatest `end` of the subtree.
    max_end: u64,
    /// The smallest `aux` of the subtree.
    min_aux: u64,
    left: u32,
    right: u32,
    parent: u32,
    height: u8,
}

const EMPTY: Node = Node {
    start: 0,
    end: 0,
    aux: u64::MAX,
    max_end: 0,
    min_aux: u64::MAX,
    left: NIL,
    right: NIL,
    parent: NIL,
    height: 0,
};

/// The root of one tree and the number of locks in it.
#[derive(Clone, Copy, Default)]
pub(super) struct Root {
    node: u32,
    len: u32,
}

impl Root {
    pub(super) fn len(&self) -> u32 {
        self.len
    }
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What to look for: a range, and `aux` below a limit.
#[derive(Clone, Copy)]
pub(super) struct Query {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) below: u64,
}

impl Query {
    /// Everything that overlaps.
    pub(super) fn overlap((start, end): (u64, u64)) -> Self {
        Query {
            start,
            end,
            below: u64::MAX,
        }
    }
    /// What overlaps and has an `aux` smaller than `below`.
    pub(super) fn below(range: (u64, u64), below: u64) -> Self {
        Query {
            below,
            ..Self::overlap(range)
        }
    }
}

/// The nodes. Number 0 is no node; what is written to it is thrown away.
pub(super) struct Trees {
    nodes: KVVec<Node>,
    scratch: Node,
}

impl Trees {
    pub(super) fn new() -> Self {
        Trees {
            nodes: KVVec::new(),
            scratch: EMPTY,
        }
    }

    /// Makes room for locks up to number `ix`.
    pub(super) fn grow(&mut self, ix: u32) -> Result {
        while self.nodes.len() < ix as usize {
            self.nodes.push(EMPTY, GFP_KERNEL)?;
        }
        Ok(())
    }

    fn n(&self, ix: u32) -> &Node {
        (ix as usize)
            .checked_sub(1)
            .and_then(|i| self.nodes.get(i))
            .unwrap_or(&EMPTY)
    }

    fn m(&mut self, ix: u32) -> &mut Node {
        match (ix as usize).checked_sub(1) {
            Some(i) if i < self.nodes.len() => self.nodes.get_mut(i).unwrap_or(&mut self.scratch),
            _ => {
                self.scratch = EMPTY;
                &mut self.scratch
            }
        }
    }

    fn key(&self, ix: u32) -> (u64, u64, u32) {
        let n = self.n(ix);
        (n.start, n.end, ix)
    }

    fn update(&mut self, ix: u32) {
        let n = *self.n(ix);
        let (l, r) = (*self.n(n.left), *self.n(n.right));
        let m = self.m(ix);
        m.height = l.height.max(r.height) + 1;
        m.max_end = n.end.max(l.max_end).max(r.max_end);
        m.min_aux = n.aux.min(l.min_aux).min(r.min_aux);
    }

    /// Puts `new` where `old` hangs below `parent`.
    fn replace_child(&mut self, root: &mut Root, parent: u32, old: u32, new: u32) {
        if parent == NIL {
            root.node = new;
        } else if self.n(parent).left == old {
            self.m(parent).left = new;
        } else {
            self.m(parent).right = new;
        }
        if new != NIL {
            self.m(new).parent = parent;
        }
    }

    /// Rotates `x` down to the left (or right), returns what is in its place.
    fn rotate(&mut self, root: &mut Root, x: u32, left: bool) -> u32 {
        let n = *self.n(x);
        let y = if left { n.right } else { n.left };
        let inner = if left {
            self.n(y).left
        } else {
            self.n(y).right
        };
        self.replace_child(root, n.parent, x, y);
        if left {
            self.m(x).right = inner;
            self.m(y).left = x;
        } else {
            self.m(x).left = inner;
            self.m(y).right = x;
        }
        if inner != NIL {
            self.m(inner).parent = x;
        }
        self.m(x).parent = y;
        self.update(x);
        self.update(y);
        y
    }

    fn balance(&self, ix: u32) -> i32 {
        let n = self.n(ix);
        i32::from(self.n(n.left).height) - i32::from(self.n(n.right).height)
    }

    /// Restores balance and summaries from `ix` up to the root.
    fn retrace(&mut self, root: &mut Root, mut ix: u32) {
        while ix != NIL {
            self.update(ix);
            let mut top = ix;
            match self.balance(ix) {
                2.. => {
                    let l = self.n(ix).left;
                    if self.balance(l) < 0 {
                        self.rotate(root, l, true);
                    }
                    top = self.rotate(root, ix, false);
                }
                ..=-2 => {
                    let r = self.n(ix).right;
                    if self.balance(r) > 0 {
                        self.rotate(root, r, false);
                    }
                    top = self.rotate(root, ix, true);
                }
                _ => {}
            }
            ix = self.n(top).parent;
        }
    }

    /// Inserts lock `ix`, which is in no tree.
    pub(super) fn insert(&mut self, root: &mut Root, ix: u32, range: (u64, u64), aux: u64) {
        *self.m(ix) = Node {
            start: range.0,
            end: range.1,
            aux,
            max_end: range.1,
            min_aux: aux,
            height: 1,
            ..EMPTY
        };
        let key = self.key(ix);
        let (mut parent, mut at) = (NIL, root.node);
        let mut left = false;
        while at != NIL {
            parent = at;
            left = key < self.key(at);
            at = if left {
                self.n(at).left
            } else {
                self.n(at).right
            };
        }
        self.m(ix).parent = parent;
        if parent == NIL {
            root.node = ix;
        } else if left {
            self.m(parent).left = ix;
        } else {
            self.m(parent).right = ix;
        }
        root.len += 1;
        self.retrace(root, parent);
    }

    /// Takes lock `ix` out of the tree it is in.
    pub(super) fn remove(&mut self, root: &mut Root, ix: u32) {
        let n = *self.n(ix);
        let from;
        if n.left != NIL && n.right != NIL {
            // The successor takes its place.
            let mut s = n.right;
            while self.n(s).left != NIL {
                s = self.n(s).left;
            }
            let (sp, sr) = (self.n(s).parent, self.n(s).right);
            if sp == ix {
                from = s;
            } else {
                self.replace_child(root, sp, s, sr);
                self.m(s).right = n.right;
                self.m(n.right).parent = s;
                from = sp;
            }
            self.replace_child(root, n.parent, ix, s);
            self.m(s).left = n.left;
            self.m(n.left).parent = s;
        } else {
            let child = if n.left != NIL { n.left } else { n.right };
            self.replace_child(root, n.parent, ix, child);
            from = n.parent;
        }
        *self.m(ix) = EMPTY;
        root.len = root.len.saturating_sub(1);
        self.retrace(root, from);
    }

    /// Changes the `aux` of a lock that is in a tree.
    pub(super) fn set_aux(&mut self, ix: u32, aux: u64) {
        self.m(ix).aux = aux;
        let mut at = ix;
        while at != NIL {
            self.update(at);
            at = self.n(at).parent;
        }
    }

    fn admissible(&self, ix: u32, q: &Query) -> bool {
        let n = self.n(ix);
        ix != NIL && n.max_end >= q.start && n.min_aux < q.below
    }

    /// The first in order of the subtree at `ix` that may lead to a match.
    fn descend(&self, mut ix: u32, q: &Query) -> u32 {
        while self.admissible(self.n(ix).left, q) {
            ix = self.n(ix).left;
        }
        ix
    }

    fn step(&self, ix: u32, q: &Query) -> u32 {
        let right = self.n(ix).right;
        if self.admissible(right, q) {
            return self.descend(right, q);
        }
        self.climb(ix)
    }

    fn climb(&self, mut ix: u32) -> u32 {
        loop {
            let p = self.n(ix).parent;
            if p == NIL || self.n(p).left == ix {
                return p;
            }
            ix = p;
        }
    }

    fn matching_from(&self, mut ix: u32, q: &Query) -> Option<u32> {
        while ix != NIL {
            let n = self.n(ix);
            if n.start > q.end {
                return None;
            }
            if n.end >= q.start && n.aux < q.below {
                return Some(ix);
            }
            ix = self.step(ix, q);
        }
        None
    }

    /// The first match in order of start.
    pub(super) fn first(&self, root: &Root, q: &Query) -> Option<u32> {
        if !self.admissible(root.node, q) {
            return None;
        }
        self.matching_from(self.descend(root.node, q), q)
    }

    /// The next match after `ix`.
    pub(super) fn next(&self, ix: u32, q: &Query) -> Option<u32> {
        self.matching_from(self.step(ix, q), q)
    }

    /// The match with the smallest `aux`.
    pub(super) fn min_aux(&self, root: &Root, mut q: Query) -> Option<(u32, u64)> {
        // The smallest of all, found by walking down: mostly it is a match.
        let (mut at, min) = (root.node, self.n(root.node).min_aux);
        while at != NIL && self.n(at).aux != min {
            let left = self.n(at).left;
            at = if self.n(left).min_aux == min {
                left
            } else {
                self.n(at).right
            };
        }
        let n = self.n(at);
        if at != NIL && n.start <= q.end && n.end >= q.start && n.aux < q.below {
            return Some((at, n.aux));
        }
        let mut best = None;
        let mut at = self.first(root, &q);
        while let Some(ix) = at {
            q.below = self.n(ix).aux;
            best = Some((ix, q.below));
            at = self.next(ix, &q);
        }
        best
    }

    /// The lowest start of a range at or above `pos`.
    pub(super) fn lowest_start(&self, root: &Root, pos: u64) -> Option<u64> {
        let (mut at, mut best) = (root.node, None);
        while at != NIL {
            let n = self.n(at);
            if n.start >= pos {
                best = Some(n.start);
                at = n.left;
            } else {
                at = n.right;
            }
        }
        best
    }

    /// The lock with the highest start.
    pub(super) fn last(&self, root: &Root) -> Option<u32> {
        let mut at = root.node;
        while self.n(at).right != NIL {
            at = self.n(at).right;
        }
        (at != NIL).then_some(at)
    }

    /// The one before `ix` in order of start.
    pub(super) fn prev(&self, mut ix: u32) -> Option<u32> {
        let mut at = self.n(ix).left;
        if at != NIL {
            while self.n(at).right != NIL {
                at = self.n(at).right;
            }
            return Some(at);
        }
        loop {
            let p = self.n(ix).parent;
            if p == NIL {
                return None;
            }
            if self.n(p).right == ix {
                return Some(p);
            }
            ix = p;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(t: &Trees, ix: u32, parent: u32) -> (u8, u64, u64, u32) {
        if ix == NIL {
            return (0, 0, u64::MAX, 0);
        }
        let n = *t.n(ix);
        assert_eq!(n.parent, parent);
        let l = check(t, n.left, ix);
        let r = check(t, n.right, ix);
        assert!(l.0.abs_diff(r.0) <= 1);
        assert_eq!(n.height, l.0.max(r.0) + 1);
        assert_eq!(n.max_end, n.end.max(l.1).max(r.1));
        assert_eq!(n.min_aux, n.aux.min(l.2).min(r.2));
        (n.height, n.max_end, n.min_aux, l.3 + r.3 + 1)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn like_a_list(ops in prop::collection::vec((0u32..40, 0u64..60, 0u64..20, 0u64..8, 0u8..4), 1..120)) {
            let mut t = Trees::new();
            t.grow(40).unwrap();
            let mut root = Root::default();
            let mut model: std::vec::Vec<(u32, u64, u64, u64)> = std::vec::Vec::new();
            for (ix, start, len, aux, op) in ops {
                let ix = ix + 1;
                let end = start + len;
                let there = model.iter().position(|m| m.0 == ix);
                match (there, op) {
                    (None, _) => {
                        t.insert(&mut root, ix, (start, end), aux);
                        model.push((ix, start, end, aux));
                    }
                    (Some(i), 0 | 1) => {
                        t.remove(&mut root, ix);
                        model.remove(i);
                    }
                    (Some(i), _) => {
                        t.set_aux(ix, aux);
                        model[i].3 = aux;
                    }
                }
                prop_assert_eq!(check(&t, root.node, NIL).3, root.len());
                model.sort_by_key(|m| (m.1, m.2, m.0));
                let q = Query::below((start, end), aux);
                let hit = |m: &&(u32, u64, u64, u64)| m.1 <= end && m.2 >= start && m.3 < aux;
                let want: std::vec::Vec<u32> = model.iter().filter(hit).map(|m| m.0).collect();
                let mut got = std::vec::Vec::new();
                let mut at = t.first(&root, &q);
                while let Some(i) = at {
                    got.push(i);
                    at = t.next(i, &q);
                }
                prop_assert_eq!(got, want);
                prop_assert_eq!(
                    t.min_aux(&root, q).map(|m| m.1),
                    model.iter().filter(hit).map(|m| m.3).min()
                );
                prop_assert_eq!(
                    t.lowest_start(&root, start),
                    model.iter().map(|m| m.1).filter(|s| *s >= start).min()
                );
                let mut back = std::vec::Vec::new();
                let mut at = t.last(&root);
                while let Some(i) = at {
                    back.push(i);
                    at = t.prev(i);
                }
                back.reverse();
                prop_assert_eq!(back, model.iter().map(|m| m.0).collect::<std::vec::Vec<_>>());
            }
        }
    }
}
