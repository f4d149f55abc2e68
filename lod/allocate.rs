// SPDX-License-Identifier: GPL-2.0

//! Reserves the objects of a new file (`ost.md` 19).

use crate::choose::{self, Effort, RoundRobin};
use crate::spec::Spec;
use kapi::prelude::*;
use osp::View;
use wire::lov::{LOV_ALL_STRIPES, LOV_OFFSET_DEFAULT};

/// Where objects come from: an OST.
pub(crate) trait Source {
    /// A reserved object.
    type Object;

    /// Index of the OST.
    fn index(&self) -> u32;

    /// What matters for a choice.
    fn view(&self) -> View;

    /// Reserves an object; see [`osp::Osp::reserve`].
    fn reserve(&self, patience: Duration) -> Result<Self::Object>;
}

/// What is remembered from choice to choice.
#[derive(Default)]
pub(crate) struct Balance {
    turns: RoundRobin,
    /// What each OST owes for having been chosen, bytes, by its place in the list.
    debts: KVec<u64>,
}

impl Balance {
    /// The OSTs are others now.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn resize(&mut self, osts: usize) -> Result {
        self.debts.clear();
        Ok(self.debts.resize(osts, 0, GFP_KERNEL)?)
    }

    fn debt(&self, ost: usize) -> u64 {
        self.debts.get(ost).copied().unwrap_or(0)
    }

    /// `ost` was chosen among `all`, of which `active` are in use.
    fn chosen(&mut self, ost: usize, all: &[Candidate], active: usize) {
        for c in all {
            let step = choose::penalty(c.view.free, active);
            let Some(debt) = self.debts.get_mut(c.ost) else {
                continue;
            };
            *debt = match c.ost == ost {
                true => (*debt / 2).saturating_add(step.saturating_mul(active as u64)),
                false => debt.saturating_sub(step),
            };
        }
    }
}

/// An OST that may be taken.
struct Candidate {
    /// Its place in the list.
    ost: usize,
    view: View,
}

/// Reserves objects, one on an OST.
pub(crate) struct Allocation<'a, S: Source> {
    /// All OSTs, by their indices.
    osts: &'a [S],
    /// Those that may be taken, in the order of turns.
    candidates: KVec<Candidate>,
    taken: KVec<(usize, S::Object)>,
    deadline: Instant,
    /// The latest failure that time may heal.
    later: bool,
}

impl<'a, S: Source> Allocation<'a, S> {
    /// `order`: places of OSTs in `osts`, in the order of turns; `deadline`: until when to wait for
    /// objects where there are too few.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(
        osts: &'a [S],
        order: &[usize],
        deadline: Instant,
    ) -> Result<Allocation<'a, S>> {
        let mut candidates = KVec::with_capacity(order.len(), GFP_KERNEL)?;
        for i in order {
            if let Some(s) = osts.get(*i) {
                let view = s.view();
                candidates.push(Candidate { ost: *i, view }, GFP_KERNEL)?;
            }
        }
        Ok(Allocation {
            osts,
            candidates,
            taken: KVec::new(),
            deadline,
            later: false,
        })
    }

    fn active(&self) -> usize {
        self.candidates.iter().filter(|c| c.view.active).count()
    }

    fn is_taken(&self, ost: usize) -> bool {
        self.taken.iter().any(|t| t.0 == ost)
    }

    /// Takes an object of a candidate, if that can be had with `effort`.
    fn take(&mut self, candidate: usize, effort: Effort) -> Result {
        let Some(c) = self.candidates.get(candidate) else {
            return Ok(());
        };
        if self.is_taken(c.ost) || !effort.takes(&c.view) {
            return Ok(());
        }
        let patience = match effort {
            Effort::Any => self.deadline.duration_since(Instant::now()),
            _ => Duration::ZERO,
        };
        let Some(source) = self.osts.get(c.ost) else {
            return Ok(());
        };
        // Room for it comes first: what is reserved is not to be lost.
        self.taken.reserve(1, GFP_KERNEL)?;
        match source.reserve(patience) {
            Ok(o) => self.taken.push((c.ost, o), GFP_KERNEL)?,
            Err(e) if e == ENOMEM => return Err(e),
            Err(e) => self.later |= e == ETIMEDOUT || e == ENOBUFS,
        }
        Ok(())
    }

    /// Goes through candidates until `want` objects are reserved, harder from pass to pass.
    fn passes(&mut self, order: impl Iterator<Item = usize> + Clone, want: usize) -> Result {
        for effort in Effort::ALL {
            self.later = false;
            for i in order.clone() {
                if self.taken.len() >= want {
                    return Ok(());
                }
                self.take(i, effort)?;
            }
        }
        Ok(())
    }

    /// Why there is nothing.
    fn none(&self) -> Error {
        // One that is away may have space: it will say so itself, or the administrator that it is
        // not to be waited for.
        if self.later || self.candidates.iter().any(|c| c.view.starting) {
            EINPROGRESS
        } else {
            ENOSPC
        }
    }

    /// Reserves what `spec` wants, at most `max` objects.
    ///
    /// # Errors
    /// `EINVAL`: an OST that is not there. `ENOSPC`; `EFBIG`: from the wished-for OST on there are
    /// too few that can be used. `EINPROGRESS`: later there may be some. `ENOMEM`.
    pub(crate) fn run(
        mut self,
        spec: &Spec,
        max: usize,
        balance: &Mutex<Balance>,
    ) -> Result<KVec<(usize, S::Object)>> {
        if !spec.osts.is_empty() {
            return self.listed(&spec.osts, max);
        }
        let active = self.active();
        let all = spec.stripe_count == LOV_ALL_STRIPES;
        let count = if all {
            active
        } else {
            usize::from(spec.stripe_count)
        };
        let want = count.min(active).min(max).max(1);
        if spec.offset != LOV_OFFSET_DEFAULT {
            self.from(u32::from(spec.offset), want)?;
            let few = self.taken.len() < want && !all;
            if few && !self.taken.is_empty() {
                return Err(EFBIG);
            }
        } else {
            self.weighted(want, balance)?;
            self.turns(want, balance)?;
        }
        if self.taken.is_empty() {
            return Err(self.none());
        }
        let mut balance = balance.lock();
        for (ost, _) in &self.taken {
            balance.chosen(*ost, &self.candidates, active);
        }
        drop(balance);
        Ok(self.taken)
    }

    /// By chance and free space, if that is uneven.
    fn weighted(&mut self, want: usize, balance: &Mutex<Balance>) -> Result {
        let ready = |c: &&Candidate| Effort::Ready.takes(&c.view);
        let free = self.candidates.iter().filter(ready).map(|c| c.view.free);
        if !choose::is_uneven(free) {
            return Ok(());
        }
        let mut weights = KVec::with_capacity(self.candidates.len(), GFP_KERNEL)?;
        {
            let balance = balance.lock();
            for c in &self.candidates {
                let weight = match ready(&c) {
                    true => c.view.free.saturating_sub(balance.debt(c.ost)),
                    false => 0,
                };
                // There was room for all.
                weights.push_within_capacity(weight)?;
            }
        }
        for i in choose::by_weight(&mut weights, kapi::rand::u64)? {
            if self.taken.len() >= want {
                break;
            }
            self.take(i, Effort::Ready)?;
        }
        Ok(())
    }

    /// In turn.
    fn turns(&mut self, want: usize, balance: &Mutex<Balance>) -> Result {
        let total = self.candidates.len();
        if self.taken.len() >= want || total == 0 {
            return Ok(());
        }
        let random = kapi::rand::u64();
        let start = balance.lock().turns.start(total, want, random);
        self.passes((start..total).chain(0..start), want)
    }

    /// From an OST on, by their indices.
    fn from(&mut self, index: u32, want: usize) -> Result {
        let index_of = |c: &Candidate| self.osts.get(c.ost).map(Source::index);
        // By the places of the OSTs, which are sorted by their indices.
        let mut sorted = KVec::with_capacity(self.candidates.len(), GFP_KERNEL)?;
        for place in 0..self.osts.len() {
            if let Some(i) = self.candidates.iter().position(|c| c.ost == place) {
                sorted.push(i, GFP_KERNEL)?;
            }
        }
        let is_first = |i: &usize| self.candidates.get(*i).and_then(index_of) == Some(index);
        let start = sorted.iter().position(is_first).ok_or(EINVAL)?;
        let (before, after) = sorted.split_at_checked(start).ok_or(EINVAL)?;
        self.passes(after.iter().chain(before).copied(), want)
    }

    /// Exactly these.
    fn listed(mut self, list: &[u16], max: usize) -> Result<KVec<(usize, S::Object)>> {
        if list.len() > max {
            return Err(EINVAL);
        }
        for index in list {
            let index = u32::from(*index);
            let is_it = |c: &Candidate| self.osts.get(c.ost).map(Source::index) == Some(index);
            let i = self.candidates.iter().position(is_it).ok_or(EINVAL)?;
            let before = self.taken.len();
            self.take(i, Effort::Any)?;
            if self.taken.len() == before {
                let view = self.candidates.get(i).map(|c| c.view);
                let soon = self.later || view.is_some_and(|v| v.starting);
                return Err(if soon { EINPROGRESS } else { ENOSPC });
            }
        }
        Ok(self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::rc::Rc;
    use wire::ost::OsState;

    /// An OST with some objects.
    struct Ost {
        index: u32,
        view: View,
        left: Rc<Cell<u64>>,
    }

    /// One of its objects.
    struct Object(Rc<Cell<u64>>);

    impl Drop for Object {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    impl Source for Ost {
        type Object = Object;

        fn index(&self) -> u32 {
            self.index
        }

        fn view(&self) -> View {
            View {
                ready: self.left.get(),
                ..self.view
            }
        }

        fn reserve(&self, patience: Duration) -> Result<Object> {
            if !self.view.active {
                return Err(ENODEV);
            }
            match self.left.get() {
                0 if patience.is_zero() => Err(ENOBUFS),
                0 => Err(ETIMEDOUT),
                n => {
                    self.left.set(n - 1);
                    Ok(Object(self.left.clone()))
                }
            }
        }
    }

    const GOOD: View = View {
        active: true,
        starting: false,
        state: OsState::empty(),
        ready: 0,
        free: 1 << 30,
    };

    fn ost(index: u32, left: u64, view: View) -> Ost {
        Ost {
            index,
            view,
            left: Rc::new(Cell::new(left)),
        }
    }

    fn four() -> Vec<Ost> {
        [0, 1, 5, 9].map(|i| ost(i, 1000, GOOD)).into()
    }

    fn spec(stripe_count: u16, offset: u16, osts: &[u16]) -> Spec {
        let mut list = KVec::new();
        list.extend_from_slice(osts, GFP_KERNEL).unwrap();
        Spec {
            stripe_size: 1 << 20,
            stripe_count,
            offset,
            osts: list,
            pool: None,
        }
    }

    fn any(stripe_count: u16) -> Spec {
        spec(stripe_count, LOV_OFFSET_DEFAULT, &[])
    }

    struct Chooser(Arc<Mutex<Balance>>);

    impl Chooser {
        fn new(osts: usize) -> Chooser {
            let mut b = Balance::default();
            b.resize(osts).unwrap();
            Chooser(Arc::pin_init(new_mutex!(b), GFP_KERNEL).unwrap())
        }

        fn run(&self, osts: &[Ost], spec: &Spec) -> Result<Vec<u32>> {
            let order: Vec<_> = (0..osts.len()).collect();
            let taken = Allocation::new(osts, &order, Instant::now())?.run(spec, 160, &self.0)?;
            let indices = taken.into_iter().map(|(i, o)| {
                // It is used.
                std::mem::forget(o);
                osts[i].index
            });
            Ok(indices.collect())
        }
    }

    fn run(osts: &[Ost], spec: &Spec) -> Result<Vec<u32>> {
        Chooser::new(osts.len()).run(osts, spec)
    }

    fn sorted(mut v: Vec<u32>) -> Vec<u32> {
        v.sort();
        v
    }

    #[test]
    fn counts() {
        let mut osts = four();
        assert_eq!(run(&osts, &any(1)).unwrap().len(), 1);
        assert_eq!(
            sorted(run(&osts, &any(LOV_ALL_STRIPES)).unwrap()),
            [0, 1, 5, 9]
        );
        assert_eq!(run(&osts, &any(7)).unwrap().len(), 4);
        osts[1].view.active = false;
        assert_eq!(
            sorted(run(&osts, &any(LOV_ALL_STRIPES)).unwrap()),
            [0, 5, 9]
        );
        let order: Vec<_> = (0..4).collect();
        let c = Chooser::new(4);
        let few = Allocation::new(&osts, &order, Instant::now())
            .unwrap()
            .run(&any(4), 2, &c.0);
        assert_eq!(few.unwrap().len(), 2);
    }

    #[test]
    fn all_have_their_turn() {
        let osts = four();
        let c = Chooser::new(4);
        for _ in 0..100 {
            c.run(&osts, &any(1)).unwrap();
        }
        let used: Vec<_> = osts.iter().map(|o| 1000 - o.left.get()).collect();
        assert_eq!(used, [25; 4]);
    }

    #[test]
    fn from_an_ost_on() {
        let mut osts = four();
        assert_eq!(run(&osts, &spec(3, 5, &[])).unwrap(), [5, 9, 0]);
        assert_eq!(run(&osts, &spec(1, 7, &[])).err(), Some(EINVAL));
        osts[3].view.state = OsState::ENOSPC;
        assert_eq!(run(&osts, &spec(3, 5, &[])).unwrap(), [5, 0, 1]);
        let left = osts[0].left.get();
        assert_eq!(run(&osts, &spec(4, 5, &[])).err(), Some(EFBIG));
        assert_eq!(osts[0].left.get(), left);
        assert_eq!(
            run(&osts, &spec(LOV_ALL_STRIPES, 5, &[])).unwrap(),
            [5, 0, 1]
        );
    }

    #[test]
    fn listed_ones() {
        let mut osts = four();
        assert_eq!(run(&osts, &spec(2, 9, &[9, 1])).unwrap(), [9, 1]);
        assert_eq!(run(&osts, &spec(2, 9, &[9, 2])).err(), Some(EINVAL));
        osts[1].view.state = OsState::READONLY;
        assert_eq!(run(&osts, &spec(2, 9, &[9, 1])).err(), Some(ENOSPC));
        osts[1].view = View {
            active: false,
            starting: true,
            ..GOOD
        };
        assert_eq!(run(&osts, &spec(2, 9, &[9, 1])).err(), Some(EINPROGRESS));
        osts[1].view = GOOD;
        osts[1].left.set(0);
        assert_eq!(run(&osts, &spec(2, 9, &[9, 1])).err(), Some(EINPROGRESS));
    }

    #[test]
    fn why_there_is_none() {
        assert_eq!(run(&[], &any(1)).err(), Some(ENOSPC));
        let full = View {
            state: OsState::ENOSPC,
            ..GOOD
        };
        let away = View {
            active: false,
            starting: true,
            ..GOOD
        };
        let off = View {
            active: false,
            ..GOOD
        };
        let none = |views: &[View]| {
            let osts: Vec<_> = views.iter().map(|v| ost(0, 0, *v)).collect();
            run(&osts, &any(1)).err()
        };
        assert_eq!(none(&[full]), Some(ENOSPC));
        assert_eq!(none(&[away]), Some(EINPROGRESS));
        // It may have space, whatever others say.
        assert_eq!(none(&[away, full]), Some(EINPROGRESS));
        assert_eq!(none(&[off, full]), Some(ENOSPC));
        assert_eq!(none(&[off]), Some(ENOSPC));
        // Its objects are being made.
        assert_eq!(none(&[GOOD]), Some(EINPROGRESS));
    }

    #[test]
    fn the_better_ones_first() {
        let mut osts = four();
        osts[0].view.state = OsState::DEGRADED;
        osts[2].left.set(0);
        for _ in 0..20 {
            let two = sorted(run(&osts, &any(2)).unwrap());
            assert_eq!(two, [1, 9]);
        }
        assert_eq!(sorted(run(&osts, &any(4)).unwrap()), [0, 1, 9]);
    }

    #[test]
    fn space_counts() {
        let mut osts = four();
        for o in &osts {
            o.left.set(1 << 20);
        }
        osts[3].view.free = 1 << 36;
        let c = Chooser::new(4);
        for _ in 0..2000 {
            c.run(&osts, &any(1)).unwrap();
        }
        let used: Vec<_> = osts.iter().map(|o| (1 << 20) - o.left.get()).collect();
        assert!(used[3] > 1600, "{used:?}");
        // A full stripe takes them all the same.
        assert_eq!(c.run(&osts, &any(4)).unwrap().len(), 4);
    }

    fn view() -> impl Strategy<Value = View> {
        let states = prop_oneof![
            4 => Just(OsState::empty()),
            1 => Just(OsState::DEGRADED),
            1 => Just(OsState::ENOSPC),
            1 => Just(OsState::READONLY),
        ];
        (any_bool(), any_bool(), states, 0..4u64).prop_map(|(away, starting, state, free)| View {
            active: !away,
            starting,
            state,
            ready: 0,
            free: free << 30,
        })
    }

    fn any_bool() -> impl Strategy<Value = bool> {
        prop::bool::weighted(0.2)
    }

    proptest! {
        /// Whatever is asked for: different OSTs, as many as can be, only usable ones, and nothing
        /// is lost on the way.
        #[test]
        fn sound(
            views in prop::collection::vec((view(), 0..3u64), 0..12),
            count in prop_oneof![1..14u16, Just(LOV_ALL_STRIPES)],
            offset in prop_oneof![3 => Just(LOV_OFFSET_DEFAULT), 1 => 0..12u16],
        ) {
            let osts: Vec<_> = (0..).zip(&views).map(|(i, v)| ost(i, v.1, v.0)).collect();
            let usable = |o: &Ost| Effort::Any.takes(&o.view()) && o.left.get() > 0;
            let could: Vec<u32> = osts.iter().filter(|o| usable(o)).map(|o| o.index).collect();
            let before: u64 = views.iter().map(|v| v.1).sum();
            let active = views.iter().filter(|v| v.0.active).count();
            let r = run(&osts, &spec(count, offset, &[]));
            let after: u64 = osts.iter().map(|o| o.left.get()).sum();
            match r {
                Ok(got) => {
                    let want = usize::from(count).min(active);
                    prop_assert_eq!(got.len(), want.min(could.len()));
                    prop_assert!(got.iter().all(|i| could.contains(i)));
                    let different: std::collections::BTreeSet<_> = got.iter().collect();
                    prop_assert_eq!(different.len(), got.len());
                    prop_assert_eq!(after, before - got.len() as u64);
                }
                Err(e) => {
                    prop_assert_eq!(after, before);
                    if e == EINVAL {
                        prop_assert!(usize::from(offset) >= osts.len());
                    } else if e == EFBIG {
                        prop_assert!(offset != LOV_OFFSET_DEFAULT && !could.is_empty());
                    } else {
                        prop_assert!(could.is_empty(), "{:?}", e);
                    }
                }
            }
        }
    }
}
