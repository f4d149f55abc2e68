// SPDX-License-Identifier: GPL-2.0

//! The objects that an OST has ready for this MDT (`ost.md` 13.3). No I/O here.

use wire::fid::{seq, seq_is_idif, Fid, DATA_SEQ_WIDTH};

/// Objects asked for at once, at the least and at first.
pub(crate) const MIN_CREATE: u64 = 32;
/// Objects that an OST may have ready.
pub(crate) const MAX_CREATE: u32 = 20000;
/// The most by which the pool may be short before it counts as low.
const MAX_SHORT: u64 = 1024;

/// Why there is no object to be reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Empty {
    /// There will be some.
    ForNow,
    /// The administrator wants none to be made on this OST.
    Disabled,
}

/// What the pool needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Nothing now.
    Nothing,
    /// Objects up to this number.
    Create(u64),
    /// Another sequence.
    Sequence,
}

/// The pool of one OST.
///
/// # Invariants
///
/// `used + reserved <= created`.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    ost_index: u16,
    seq: u64,
    /// Last number handed out.
    used: u64,
    /// Last number that exists.
    created: u64,
    /// Promised and not handed out yet.
    reserved: u64,
    /// How many to ask for.
    create_count: u64,
    max_create_count: u64,
    /// Last number of a sequence.
    width: u64,
    /// Asked for beyond `create_count`, once.
    extra: u64,
    /// The OST made fewer than asked for, or took long.
    slow: bool,
    /// `create_count` has grown since objects were made.
    doubled: bool,
    /// The OST and we agree on what exists.
    ready: bool,
}

impl Pool {
    /// One whose last object was number `used` in `seq`; a zero sequence if there is none yet.
    pub(crate) fn new(ost_index: u16, seq: u64, used: u64) -> Pool {
        Pool {
            ost_index,
            seq,
            used,
            created: used,
            reserved: 0,
            create_count: MIN_CREATE,
            max_create_count: MAX_CREATE.into(),
            width: DATA_SEQ_WIDTH,
            extra: 0,
            slow: false,
            doubled: false,
            ready: false,
        }
    }

    /// The FID of a number of the current sequence.
    pub(crate) fn fid(&self, id: u64) -> Option<Fid> {
        if seq_is_idif(self.seq) {
            return Fid::idif(self.ost_index, id);
        }
        Some(Fid::new(self.seq, u32::try_from(id).ok()?))
    }

    /// The number of a FID, if it is one of the current sequence.
    pub(crate) fn id_of(&self, fid: &Fid) -> Option<u64> {
        if seq_is_idif(self.seq) {
            return fid.is_idif().then(|| fid.idif_id());
        }
        (fid.seq == self.seq && fid.ver == 0).then_some(u64::from(fid.oid))
    }

    /// The sequence; zero if there is none yet.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// The last number handed out.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// Objects that can be reserved.
    pub(crate) fn available(&self) -> u64 {
        self.created - self.used - self.reserved
    }

    /// Whether the OST and we agree on what exists.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether objects are promised.
    pub(crate) fn has_reserved(&self) -> bool {
        self.reserved > 0
    }

    /// Whether no objects are to be made on this OST.
    pub(crate) fn is_disabled(&self) -> bool {
        self.max_create_count == 0
    }

    /// How many objects may be ready; none: no objects are to be made.
    pub(crate) fn set_max(&mut self, max: u32) {
        self.max_create_count = u64::from(max.min(MAX_CREATE));
        let min = MIN_CREATE.min(self.max_create_count.max(1));
        self.create_count = self.create_count.clamp(min, self.max_create_count.max(min));
    }

    /// Promises an object.
    pub(crate) fn reserve(&mut self) -> Result<(), Empty> {
        if self.is_disabled() {
            return Err(Empty::Disabled);
        }
        if !self.ready {
            return Err(Empty::ForNow);
        }
        // Demand outruns the OST: more at once, from the next request on.
        let demand = self.created - self.used <= self.create_count / 4 + 1;
        if demand && !self.slow && !self.doubled {
            self.create_count = (self.create_count * 2).min(self.max_create_count);
            self.doubled = true;
        }
        if self.available() == 0 {
            return Err(Empty::ForNow);
        }
        self.reserved += 1;
        Ok(())
    }

    /// Takes a promise back.
    pub(crate) fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Hands a promised object out.
    pub(crate) fn take(&mut self) -> Option<Fid> {
        if self.reserved == 0 || self.used >= self.created {
            return None;
        }
        self.used += 1;
        self.reserved -= 1;
        self.fid(self.used)
    }

    /// The connection is another: what exists is to be found out.
    pub(crate) fn forget(&mut self) {
        self.ready = false;
    }

    /// Before the OST and we agree: the OST knows that `id` was used, which we did not.
    pub(crate) fn learn_used(&mut self, id: u64) {
        if !self.ready && self.reserved == 0 && id > self.used {
            self.used = id;
            self.created = id;
        }
    }

    /// The OST destroyed what was never used; `last` is its last number now.
    pub(crate) fn agreed(&mut self, last: u64, width: u64) {
        self.set_width(width);
        self.extra = self.used.saturating_sub(last);
        // Numbers are never used twice, not those of destroyed objects either.
        self.used = self.used.max(last);
        self.created = self.used;
        self.ready = true;
    }

    /// Another sequence, whose first object does not exist (`ost.md` 7.1).
    pub(crate) fn start_sequence(&mut self, seq: u64) {
        self.seq = seq;
        self.used = 1;
        self.created = 1;
        self.extra = 0;
    }

    fn set_width(&mut self, width: u64) {
        if width != 0 {
            self.width = width.min(DATA_SEQ_WIDTH);
        }
    }

    /// IDIF is left at once; other sequences when they are used up.
    fn is_used_up(&self) -> bool {
        seq_is_idif(self.seq) || self.seq == seq::OST_MDT0 || self.created >= self.width
    }

    /// What is to be done for the pool.
    pub(crate) fn need(&self) -> Need {
        if !self.ready || self.is_disabled() {
            return Need::Nothing;
        }
        if self.is_used_up() {
            return match self.created == self.used {
                true => Need::Sequence,
                false => Need::Nothing,
            };
        }
        let fraction = if self.create_count > 1024 { 4 } else { 2 };
        let short = self.create_count.saturating_sub(self.available());
        if short <= (self.create_count / fraction).min(MAX_SHORT) && self.extra == 0 {
            return Need::Nothing;
        }
        Need::Create(self.target())
    }

    fn target(&self) -> u64 {
        let most = (self.max_create_count / 2).max(1);
        let grow = self.create_count.min(most) + self.extra;
        self.created.saturating_add(grow).min(self.width)
    }

    /// The OST has objects up to `last` now, `asked` was asked for. False if it cannot be right:
    /// then what exists is to be found out again.
    pub(crate) fn grown(&mut self, asked: u64, last: u64, width: u64, slow: bool) -> bool {
        self.set_width(width);
        self.extra = 0;
        if last > asked || last <= self.used || last < self.created {
            self.ready = false;
            return false;
        }
        self.slow = slow;
        self.doubled = false;
        if last < asked {
            self.create_count = (last - self.created).max(MIN_CREATE.min(self.create_count));
            self.slow = true;
        }
        self.created = last;
        true
    }

    /// A sequence that follows the current one.
    pub(crate) fn follows(&self, seq: u64) -> bool {
        seq > self.seq && !seq_is_idif(seq) && wire::fid::seq_is_norm(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SEQ: u64 = 0x2_4000_0400;

    fn ready() -> Pool {
        let mut p = Pool::new(0, SEQ, 1);
        p.agreed(1, 0);
        p
    }

    #[test]
    fn first_start() {
        let mut p = Pool::new(1, Fid::idif(1, 1).unwrap().seq, 1);
        assert_eq!(p.need(), Need::Nothing);
        assert_eq!(p.reserve(), Err(Empty::ForNow));
        // OST0001 of the recorded system: object 1 of group 0 exists, then a sequence is asked for.
        p.agreed(1, 0x1ff_ffff);
        assert_eq!(p.need(), Need::Sequence);
        assert!(p.follows(0x2_8000_0400) && !p.follows(p.seq()) && !p.follows(5));
        p.start_sequence(0x2_8000_0400);
        // Its first precreate was up to 0x21, later ones 32 further each.
        assert_eq!(p.need(), Need::Create(0x21));
        assert!(p.grown(0x21, 0x21, 0x1ff_ffff, false));
        assert_eq!(p.available(), 32);
        assert_eq!(p.need(), Need::Nothing);
        for _ in 0..17 {
            p.reserve().unwrap();
        }
        assert_eq!(p.take(), Some(Fid::new(0x2_8000_0400, 2)));
        assert_eq!(p.need(), Need::Create(0x41));
    }

    #[test]
    fn lost_objects_are_asked_for() {
        let mut p = Pool::new(0, SEQ, 100);
        p.agreed(60, 0);
        assert_eq!(p.used(), 100);
        assert_eq!(p.need(), Need::Create(100 + 32 + 40));
        assert!(p.grown(172, 172, 0, false));
        assert_eq!(p.extra, 0);
    }

    #[test]
    fn orphans_are_not_used_again() {
        let mut p = Pool::new(0, SEQ, 0xd2);
        p.agreed(0x101, 0);
        p.grown(0x121, 0x121, 0, false);
        p.reserve().unwrap();
        assert_eq!(p.take(), Some(Fid::new(SEQ, 0x102)));
    }

    #[test]
    fn ends_of_sequences() {
        let mut p = Pool::new(0, SEQ, 1);
        p.agreed(1, 10);
        assert_eq!(p.need(), Need::Create(10));
        assert!(p.grown(10, 10, 10, false));
        for i in 2..=10 {
            assert_eq!(p.need(), Need::Nothing);
            p.reserve().unwrap();
            assert_eq!(p.take(), Some(Fid::new(SEQ, i)));
        }
        assert_eq!(p.reserve(), Err(Empty::ForNow));
        assert_eq!(p.need(), Need::Sequence);
    }

    #[test]
    fn a_promise_outlives_the_connection() {
        let mut p = ready();
        p.grown(33, 33, 0, false);
        p.reserve().unwrap();
        p.forget();
        assert_eq!(p.reserve(), Err(Empty::ForNow));
        assert!(p.has_reserved());
        assert_eq!(p.take(), Some(Fid::new(SEQ, 2)));
        p.agreed(33, 0);
        assert_eq!((p.used(), p.available()), (33, 0));
    }

    #[test]
    fn none_wanted() {
        let mut p = ready();
        p.set_max(0);
        assert_eq!(p.need(), Need::Nothing);
        assert_eq!(p.reserve(), Err(Empty::Disabled));
        p.set_max(20000);
        assert!(matches!(p.need(), Need::Create(_)));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Reserve,
        Release,
        Take,
        /// The OST makes so many percent of what is asked for.
        Work(u8),
        Reconnect,
        SetMax(u32),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            8 => Just(Event::Reserve),
            2 => Just(Event::Release),
            7 => Just(Event::Take),
            3 => (0..=100u8).prop_map(Event::Work),
            1 => Just(Event::Reconnect),
            1 => (0..100u32).prop_map(Event::SetMax),
        ]
    }

    proptest! {
        /// Against an OST that destroys orphans: no number is handed out twice, and each one that
        /// is handed out exists.
        #[test]
        fn objects_exist_and_are_used_once(
            events in prop::collection::vec(event(), 1..400),
            width in 20u64..400,
        ) {
            let mut p = Pool::new(0, SEQ, 1);
            let (mut seq, mut last) = (SEQ, 1u64);
            let mut objects: BTreeSet<(u64, u64)> = BTreeSet::new();
            let mut used = BTreeSet::new();
            let mut reserved = 0;
            for e in events {
                match e {
                    Event::Reserve => if p.reserve().is_ok() { reserved += 1 },
                    Event::Release => if reserved > 0 { reserved -= 1; p.release() },
                    Event::Take => if reserved > 0 {
                        reserved -= 1;
                        let f = p.take().unwrap();
                        prop_assert!(used.insert((f.seq, f.oid)));
                        prop_assert!(objects.contains(&(f.seq, u64::from(f.oid))));
                        prop_assert!(u64::from(f.oid) <= width);
                    } else {
                        prop_assert_eq!(p.take(), None);
                    },
                    Event::Work(percent) => {
                        if !p.ready {
                            if p.has_reserved() { continue }
                            objects.retain(|o| o.0 != seq || o.1 <= p.used());
                            p.agreed(last, width);
                            continue;
                        }
                        match p.need() {
                            Need::Nothing => {}
                            Need::Create(to) => {
                                prop_assert!(to > last && to <= width);
                                let made = ((to - last) * u64::from(percent)).div_ceil(100).max(1);
                                for i in last + 1..=last + made { objects.insert((seq, i)); }
                                last += made;
                                prop_assert!(p.grown(to, last, width, false));
                            }
                            Need::Sequence => {
                                seq += 1;
                                last = 1;
                                prop_assert!(p.follows(seq));
                                p.start_sequence(seq);
                            }
                        }
                    }
                    Event::Reconnect => p.forget(),
                    Event::SetMax(n) => p.set_max(n),
                }
                prop_assert!(p.used + p.reserved <= p.created);
                prop_assert_eq!(p.reserved, reserved);
            }
        }
    }
}
