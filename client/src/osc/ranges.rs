// SPDX-License-Identifier: GPL-2.0

//! Sets of byte ranges.

/// A set of bytes, kept as ranges that neither overlap nor touch, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Adds the bytes from `start` to before `end`.
    pub fn add(&mut self, start: u32, end: u32) {
        if start >= end {
            return;
        }
        // Those that touch the new one become part of it.
        let first = self.0.partition_point(|r| r.1 < start);
        let behind = self.0.partition_point(|r| r.0 <= end);
        let (mut a, mut b) = (start, end);
        if let Some(r) = self.0.get(first).filter(|_| first < behind) {
            a = a.min(r.0);
        }
        if let Some(r) = behind.checked_sub(1).and_then(|i| self.0.get(i)) {
            if first < behind {
                b = b.max(r.1);
            }
        }
        self.0.splice(first..behind, [(a, b)]);
    }

    /// Takes the bytes from `start` to before `end` out.
    pub fn remove(&mut self, start: u32, end: u32) {
        if start >= end {
            return;
        }
        let mut out = Vec::with_capacity(self.0.len() + 1);
        for &(a, b) in &self.0 {
            if b <= start || a >= end {
                out.push((a, b));
                continue;
            }
            if a < start {
                out.push((a, start));
            }
            if b > end {
                out.push((end, b));
            }
        }
        self.0 = out;
    }

    /// Whether all bytes from `start` to before `end` are in it.
    pub fn contains(&self, start: u32, end: u32) -> bool {
        start >= end || self.0.iter().any(|r| r.0 <= start && end <= r.1)
    }

    /// The ranges between `start` and `end` that are not in it.
    pub fn gaps(&self, start: u32, end: u32) -> Vec<(u32, u32)> {
        let mut out = Vec::new();
        let mut at = start;
        for &(a, b) in &self.0 {
            if b <= at {
                continue;
            }
            if a >= end {
                break;
            }
            if a > at {
                out.push((at, a));
            }
            at = b;
        }
        if at < end {
            out.push((at, end));
        }
        out
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// The range, if it is just one.
    pub fn single(&self) -> Option<(u32, u32)> {
        match *self.0 {
            [r] => Some(r),
            _ => None,
        }
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many units of `unit` bytes have a byte of it.
    pub fn units(&self, unit: u32) -> u32 {
        let mut n = 0;
        let mut last = None;
        for &(a, b) in &self.0 {
            let (mut first, end) = (a / unit, (b - 1) / unit);
            if last == Some(first) {
                first += 1;
            }
            n += (end + 1).saturating_sub(first);
            last = Some(end);
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model(r: &Ranges) -> Vec<bool> {
        let mut m = vec![false; 120];
        for (a, b) in r.iter() {
            m[a as usize..b as usize].fill(true);
        }
        m
    }

    proptest! {
        #[test]
        fn against_a_bitmap(ops in proptest::collection::vec((any::<bool>(), 0_u32..100, 0_u32..20), 0..40), q in 0_u32..100, n in 0_u32..20) {
            let mut r = Ranges::default();
            let mut m = vec![false; 120];
            for (add, start, len) in ops {
                let range = start as usize..(start + len) as usize;
                if add {
                    r.add(start, start + len);
                } else {
                    r.remove(start, start + len);
                }
                m[range].fill(add);
                prop_assert_eq!(&model(&r), &m);
                let ends: Vec<_> = r.iter().collect();
                prop_assert!(ends.windows(2).all(|w| w[0].1 < w[1].0));
            }
            let asked = &m[q as usize..(q + n) as usize];
            prop_assert_eq!(r.contains(q, q + n), asked.iter().all(|b| *b));
            let gaps: u32 = r.gaps(q, q + n).iter().map(|(a, b)| b - a).sum();
            prop_assert_eq!(gaps as usize, asked.iter().filter(|b| !**b).count());
            let units = m.chunks(10).filter(|c| c.iter().any(|b| *b)).count();
            prop_assert_eq!(r.units(10) as usize, units);
        }
    }
}
