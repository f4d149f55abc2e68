// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

const SHAPE: Shape = Shape {
    block: 4096,
    extent_blocks: 16384,
    tax: 24 << 10,
};

fn books<'a>(c: &'a mut ClientGrant, t: &'a mut Totals, available: u64) -> Books<'a> {
    Books {
        client: c,
        totals: t,
        shape: SHAPE,
        available,
        chunk: SHAPE.chunk(4 << 20, true),
    }
}

/// The numbers of `ost.md` 23.2.
#[test]
fn as_observed() {
    let own = 68 * 4096;
    for (blocks, granted) in [(16356u64, 0x7f4000), (15331, 0x774000)] {
        let mut c = ClientGrant::default();
        let mut t = Totals {
            granted: own,
            ..Totals::default()
        };
        let got = books(&mut c, &mut t, blocks * 4096).connect(0x800_0000, true);
        assert_eq!(got, granted);
    }
    // A client that asks for what it has in its cache gets that.
    let (mut c, mut t) = Default::default();
    assert_eq!(
        books(&mut c, &mut t, 64 << 20).connect(0xa000, false),
        0xa000
    );
    assert_eq!(SHAPE.chunk(4 << 20, true), 2 * ((4 << 20) + (24 << 10)));
    assert_eq!(SHAPE.chunk(4 << 20, false), 8 << 20);
    assert_eq!(SHAPE.need(4095, 2, false), 8192);
    assert_eq!(SHAPE.need(0, 65 << 20, true), (65 << 20) + 2 * (24 << 10));
}

#[test]
fn granted_data_find_space() {
    let (mut c, mut t) = Default::default();
    let mut b = books(&mut c, &mut t, 10 << 20);
    let has = b.connect(4 << 20, false);
    assert_eq!(has, 4 << 20);
    // All the rest is taken by others.
    b.totals.granted = 10 << 20;
    let mut items = [Item {
        need: 1 << 20,
        from_grant: true,
        granted: false,
    }; 2];
    let total = b.take(&mut items, (2 << 20) + 100, false);
    assert_eq!(total, (2 << 20) + 100);
    assert!(items.iter().all(|i| i.granted));
    // Without grant there is none.
    let mut one = [Item {
        need: 4096,
        from_grant: false,
        granted: true,
    }];
    assert_eq!(b.take(&mut one, 0, false), 0);
    assert!(!one[0].granted);
    b.done(total);
    assert_eq!(b.client.pending, 0);
    // Sent again: the client has counted it before.
    let before = *b.client;
    assert_eq!(b.take(&mut items, 2 << 20, true), 0);
    assert_eq!(*b.client, before);
}

#[derive(Clone, Debug)]
enum Step {
    Connect(usize, u64, bool),
    Announce(usize, u64, u64),
    Write(usize, Vec<(u64, bool)>, u64, bool),
    Done(usize),
    Allocate(usize, u64, u64, bool),
    Shrink(usize, u64),
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let c = 0usize..3;
    let n = prop_oneof![0u64..50 << 20, any::<u64>()];
    prop_oneof![
        (c.clone(), n.clone(), any::<bool>()).prop_map(|(c, n, x)| Step::Connect(c, n, x)),
        (c.clone(), n.clone(), n.clone()).prop_map(|(c, n, m)| Step::Announce(c, n, m)),
        (
            c.clone(),
            proptest::collection::vec((0u64..4 << 20, any::<bool>()), 1..4),
            n.clone(),
            any::<bool>()
        )
            .prop_map(|(c, v, n, x)| Step::Write(c, v, n, x)),
        c.clone().prop_map(Step::Done),
        (c.clone(), n.clone(), n.clone(), any::<bool>())
            .prop_map(|(c, n, m, x)| Step::Allocate(c, n, m, x)),
        (c.clone(), n).prop_map(|(c, n)| Step::Shrink(c, n)),
        c.prop_map(Step::Close),
    ]
}

proptest! {
    /// The sums are right, and no more is promised than there is.
    #[test]
    fn never_lies(steps in proptest::collection::vec(step(), 1..60)) {
        let mut clients = [ClientGrant::default(); 3];
        let mut writes: [Vec<u64>; 3] = Default::default();
        let mut t = Totals::default();
        let mut available = 64u64 << 20;
        for s in steps {
            let (Step::Connect(c, ..) | Step::Announce(c, ..) | Step::Write(c, ..) | Step::Done(c)
                | Step::Allocate(c, ..) | Step::Shrink(c, _) | Step::Close(c)) = s;
            let mut b = books(&mut clients[c], &mut t, available);
            match s {
                Step::Connect(_, n, is_new) => {
                    let got = b.connect(n, is_new);
                    prop_assert_eq!(got, b.client.granted);
                }
                Step::Announce(_, dirty, dropped) => b.announce(&Announcement {
                    dirty,
                    dropped,
                    ..Default::default()
                }),
                Step::Write(_, v, used, free_ride) => {
                    let mut items: Vec<Item> = v
                        .iter()
                        .map(|(len, from_grant)| Item {
                            need: SHAPE.need(0, *len, true),
                            from_grant: *from_grant,
                            granted: false,
                        })
                        .collect();
                    let covered = b.client.granted;
                    let asked: u64 = items.iter().filter(|i| i.from_grant).map(|i| i.need).sum();
                    let total = b.take(&mut items, used, free_ride);
                    if asked <= covered {
                        prop_assert!(items.iter().all(|i| i.granted || !i.from_grant));
                    }
                    writes[c].push(total);
                }
                Step::Done(_) => {
                    if let Some(total) = writes[c].pop() {
                        b.done(total);
                        available -= total.min(available);
                    }
                }
                Step::Allocate(_, has, want, x) => {
                    let (before, g) = (b.client.granted, b.allocate(has, want, x));
                    prop_assert_eq!(b.client.granted, before + g);
                }
                Step::Shrink(_, n) => {
                    let kept = b.shrink(n);
                    prop_assert!(kept == 0 || kept == n);
                }
                Step::Close(_) => b.close(),
            }
            let sum: u64 = clients.iter().map(|c| c.granted + c.pending).sum();
            let pending: u64 = clients.iter().map(|c| c.pending).sum();
            let dirty: u64 = clients.iter().map(|c| c.dirty).sum();
            prop_assert_eq!((t.granted, t.pending, t.dirty), (sum, pending, dirty));
            prop_assert!(t.granted <= available, "{} of {} promised", t.granted, available);
        }
    }
}
