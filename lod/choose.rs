// SPDX-License-Identifier: GPL-2.0

//! Which OSTs come first (`ost.md` 19.2, 19.3). No I/O here.

use kapi::prelude::*;
use wire::ost::OsState;

/// Two OSTs are in balance while the fuller one has more than this part of the other's free space,
/// percent (`qos_threshold_rr` is 17).
const BALANCED: u128 = 100 - 17;
/// How much free space counts against what was used lately, of 256 (`qos_prio_free` is 90 %).
const PRIO_WIDE: u64 = 256 - 230;

/// How hard to look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Effort {
    /// Objects that are ready, on OSTs that are well.
    Ready,
    /// OSTs that are well.
    Well,
    /// Whatever works, with waiting.
    Any,
}

impl Effort {
    pub(crate) const ALL: [Effort; 3] = [Effort::Ready, Effort::Well, Effort::Any];

    /// Whether an OST may be taken.
    pub(crate) fn takes(self, v: &osp::View) -> bool {
        let no = OsState::READONLY | OsState::NOCREATE | OsState::ENOSPC;
        if !v.active || v.state.intersects(no) {
            return false;
        }
        if v.state.contains(OsState::ENOINO) && v.ready == 0 {
            return false;
        }
        let degraded = v.state.contains(OsState::DEGRADED);
        match self {
            Effort::Ready => v.ready > 0 && !degraded,
            Effort::Well => !degraded,
            Effort::Any => true,
        }
    }
}

/// Takes turns.
#[derive(Debug, Default)]
pub(crate) struct RoundRobin {
    next: usize,
    offset: usize,
    /// Turns until chance decides where to go on, so that clients do not get into step.
    left: usize,
}

impl RoundRobin {
    /// Where the next file with `want` stripes over `total` OSTs begins.
    pub(crate) fn start(&mut self, total: usize, want: usize, random: u64) -> usize {
        if total == 0 {
            return 0;
        }
        if self.left == 0 {
            self.left = (2000 / total + 30) * total;
            self.next = usize::try_from(random % total as u64).unwrap_or(0);
            self.offset = 0;
        }
        self.left -= 1;
        let start = (self.next + self.offset) % total;
        self.next += want.max(1);
        if self.next >= total {
            self.next %= total;
            // Else files whose count divides the number of OSTs begin on the same ones for ever.
            if want > 1 && total % want != 1 {
                self.offset = (self.offset + 1) % total;
            }
        }
        start
    }
}

/// Spreads the OSTs of each server evenly: `servers[i]` is that of OST `i`; the result is in which
/// order to take them.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn spread<S: PartialEq>(servers: &[S]) -> Result<KVec<usize>> {
    let total = servers.len();
    let mut slots: KVec<Option<usize>> = KVec::from_elem(None, total, GFP_KERNEL)?;
    for (i, server) in servers.iter().enumerate() {
        let count = servers.iter().filter(|s| *s == server).count().max(1);
        let before = servers.iter().take(i).filter(|s| *s == server).count();
        let ideal = before * total / count;
        let mut free = (ideal..total).chain(0..ideal);
        if let Some(slot) = free
            .find(|n| slots.get(*n).is_some_and(Option::is_none))
            .and_then(|n| slots.get_mut(n))
        {
            *slot = Some(i);
        }
    }
    let mut order = KVec::with_capacity(total, GFP_KERNEL)?;
    for i in slots.iter().flatten() {
        order.push(*i, GFP_KERNEL)?;
    }
    Ok(order)
}

/// Whether free space is so uneven that chance is to prefer the emptier ones.
pub(crate) fn is_uneven(free: impl Iterator<Item = u64> + Clone) -> bool {
    let (Some(min), Some(max)) = (free.clone().min(), free.max()) else {
        return false;
    };
    u128::from(max) * BALANCED >= u128::from(min) * 100 && max > min
}

/// What an OST that was just taken owes, so that others come first.
pub(crate) fn penalty(free: u64, active: usize) -> u64 {
    let others = (active as u64).saturating_sub(1).max(1);
    // One server's worth of what the field divides in two: that of the OST and that of its server.
    (free / 512).saturating_mul(PRIO_WIDE) / others * 2
}

/// Puts OSTs into an order by chance, those with more weight rather first. Without weight: last.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn by_weight(
    weights: &mut [u64],
    mut random: impl FnMut() -> u64,
) -> Result<KVec<usize>> {
    let mut order = KVec::with_capacity(weights.len(), GFP_KERNEL)?;
    let mut total: u128 = weights.iter().map(|w| u128::from(*w)).sum();
    while total > 0 {
        // 48 bits of chance, so that the product has room: there are no 2^16 OSTs.
        let mut at = (u128::from(random() >> 16) * total) >> 48;
        let chosen = weights.iter().position(|w| {
            let w = u128::from(*w);
            if at < w {
                return true;
            }
            at -= w;
            false
        });
        let Some((i, w)) = chosen.and_then(|i| Some((i, weights.get_mut(i)?))) else {
            break;
        };
        total -= u128::from(*w);
        *w = 0;
        order.push(i, GFP_KERNEL)?;
    }
    for i in 0..weights.len() {
        if !order.contains(&i) {
            order.push(i, GFP_KERNEL)?;
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all_once(order: &[usize], n: usize) -> bool {
        let mut o = order.to_vec();
        o.sort();
        o == (0..n).collect::<Vec<_>>()
    }

    #[test]
    fn servers_alternate() {
        assert_eq!(&spread(&[1, 1, 2, 2]).unwrap()[..], &[0, 2, 1, 3]);
        assert_eq!(&spread(&[1, 1, 1]).unwrap()[..], &[0, 1, 2]);
        assert!(spread::<u8>(&[]).unwrap().is_empty());
    }

    #[test]
    fn turns() {
        let mut r = RoundRobin::default();
        let seen: Vec<_> = (0..6).map(|_| r.start(3, 1, 1)).collect();
        assert_eq!(seen, [1, 2, 0, 1, 2, 0]);
        // Two stripes over four OSTs: the pairs change from pass to pass.
        let mut r = RoundRobin::default();
        let seen: Vec<_> = (0..6).map(|_| r.start(4, 2, 0)).collect();
        assert_eq!(seen, [0, 2, 1, 3, 2, 0]);
        assert_eq!(RoundRobin::default().start(0, 1, 5), 0);
    }

    #[test]
    fn balance() {
        assert!(!is_uneven([].into_iter()));
        assert!(!is_uneven([5].into_iter()));
        assert!(!is_uneven([100, 84].into_iter()));
        assert!(is_uneven([100, 83].into_iter()));
        assert!(!is_uneven([0, 0].into_iter()));
        assert!(is_uneven([u64::MAX, 1].into_iter()));
    }

    #[test]
    fn efforts() {
        let well = osp::View {
            active: true,
            starting: false,
            state: OsState::empty(),
            ready: 1,
            free: 1,
        };
        let takes = |v: osp::View| Effort::ALL.map(|e| e.takes(&v));
        let state = |s| osp::View { state: s, ..well };
        assert_eq!(takes(well), [true; 3]);
        assert_eq!(takes(osp::View { ready: 0, ..well }), [false, true, true]);
        assert_eq!(takes(state(OsState::DEGRADED)), [false, false, true]);
        for s in [OsState::READONLY, OsState::NOCREATE, OsState::ENOSPC] {
            assert_eq!(takes(state(s)), [false; 3]);
        }
        assert_eq!(takes(state(OsState::ENOINO)), [true; 3]);
        let active = false;
        assert_eq!(takes(osp::View { active, ..well }), [false; 3]);
    }

    /// Files go where the space is, about in proportion.
    #[test]
    fn weights_count() {
        let mut seed = 1u64;
        let mut random = || {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            seed
        };
        let mut first = [0; 3];
        for _ in 0..10_000 {
            first[by_weight(&mut [700, 300, 0], &mut random).unwrap()[0]] += 1;
        }
        assert!((6500..7500).contains(&first[0]), "{first:?}");
        assert_eq!(first[2], 0);
    }

    proptest! {
        #[test]
        fn spread_is_an_order(servers in prop::collection::vec(0..5u8, 0..40)) {
            prop_assert!(all_once(&spread(&servers).unwrap(), servers.len()));
        }

        #[test]
        fn chance_is_an_order(
            mut weights in prop::collection::vec(any::<u64>(), 0..40),
            seeds in prop::collection::vec(any::<u64>(), 40),
        ) {
            let n = weights.len();
            let mut seeds = seeds.into_iter().cycle();
            let order = by_weight(&mut weights, || seeds.next().unwrap()).unwrap();
            prop_assert!(all_once(&order, n));
        }

        /// No OST is left out, whatever the counts.
        #[test]
        fn turns_are_fair(total in 1..20usize, want in 1..20usize, random: u64) {
            let want = want.min(total);
            let mut r = RoundRobin::default();
            let mut starts = vec![0usize; total];
            for _ in 0..total * total * 4 {
                starts[r.start(total, want, random)] += 1;
            }
            prop_assert!(starts.iter().all(|n| *n > 0) || total % want == 1, "{:?}", starts);
        }
    }
}
