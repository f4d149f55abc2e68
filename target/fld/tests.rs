// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn range(start: u64, end: u64, index: u32, flags: u32) -> SeqRange {
    SeqRange {
        start,
        end,
        index,
        flags,
    }
}

fn open(osd: &Arc<dyn Device>) -> Arc<Fld> {
    Fld::open(osd, None).unwrap()
}

#[test]
fn fixed_ranges_and_merging() {
    let osd = osd_memory::device();
    let fld = open(&osd);
    let root = fld.lookup(seq::ROOT, range_type::MDT).unwrap();
    assert_eq!(root, range(seq::ROOT, seq::ROOT + 1, 0, range_type::MDT));
    assert_eq!(fld.lookup(seq::ROOT, range_type::OST), Err(EIO));
    assert_eq!(fld.lookup(12, range_type::ANY).unwrap().end, 1 << 32);
    assert_eq!(fld.lookup(seq::NORMAL, range_type::ANY), Err(ENOENT));
    fld.insert(range(0x1000_0000_0000, 0x1000_0000_1000, 2, 0))
        .unwrap();
    fld.insert(range(0x1000_0000_1000, 0x1000_0000_2000, 2, 0))
        .unwrap();
    // Of another owner: not merged.
    fld.insert(range(0x1000_0000_2000, 0x1000_0000_3000, 2, 1))
        .unwrap();
    let all = range(0x1000_0000_0000, 0x1000_0000_2000, 2, 0);
    assert_eq!(fld.lookup(0x1000_0000_1fff, 0), Ok(all));
    // It is there already.
    fld.insert(range(0x1000_0000_0800, 0x1000_0000_0900, 2, 0))
        .unwrap();
    for bad in [
        range(0x1000_0000_0800, 0x1000_0000_0900, 3, 0),
        range(0x0fff_ffff_ff00, 0x1000_0000_0001, 2, 0),
        range(0x1000_0000_1fff, 0x1000_0000_2001, 2, 0),
    ] {
        assert_eq!(fld.insert(bad), Err(EEXIST));
    }
    assert_eq!(fld.insert(range(7, 7, 2, 0)), Err(EINVAL));
    // All of it survives.
    drop(fld);
    let fld = open(&osd);
    assert_eq!(fld.lookup(0x1000_0000_1fff, 0), Ok(all));
    let mut rec = [0; REC];
    let index = osd.object(&Fid::local(oid::FLD_INDEX)).unwrap();
    assert!(index.index_get(&seq::IGIF.to_be_bytes(), &mut rec).unwrap());
    assert_eq!(rec[7], 12);
}

#[test]
fn lists_go_on_where_they_ended() {
    let osd = osd_memory::device();
    let fld = open(&osd);
    let mine = |i: u64| range((i + 1) << 40, ((i + 1) << 40) + 5, 7, range_type::OST);
    for i in 0..400 {
        fld.insert(mine(i)).unwrap();
    }
    let mut asked = range(0, 0, 7, range_type::OST);
    let (mut seen, mut rounds) = (0, 0);
    loop {
        let mut out = [0u8; FLD_READ_SIZE];
        let more = fld.list(&asked, &mut out).unwrap();
        let (head, body) = LuSeqRangeArray::read_from_prefix(&out).unwrap();
        for b in body.chunks_exact(24).take(head.lsra_count.get() as usize) {
            asked = LuSeqRange::read_from_bytes(b).unwrap().get();
            assert_eq!(asked, mine(seen));
            seen += 1;
        }
        rounds += 1;
        if !more {
            break;
        }
    }
    assert_eq!((seen, rounds), (400, 3));
    assert!(fld.list(&asked, &mut [0; 7]).is_err());
}

#[test]
fn others_ask_and_remember() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = asked.clone();
    let source = move |seq: u64, kind: u32| {
        assert_eq!(kind, range_type::ANY);
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        match seq {
            0x3_0000_0000 => Err(ENOENT),
            // Not what was asked for.
            0x4_0000_0000 => Ok(range(1, 2, 0, 0)),
            s => Ok(range(s & !0xff, (s & !0xff) + 0x100, 0, range_type::MDT)),
        }
    };
    let source: Arc<dyn RangeSource> = Arc::new(source, GFP_KERNEL).unwrap();
    let fld = Fld::open(&osd_memory::device(), Some(source)).unwrap();
    let calls = || asked.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        fld.lookup(0x5_0000_0001, range_type::MDT).unwrap().start,
        0x5_0000_0000
    );
    assert_eq!(fld.lookup(0x5_0000_00ff, range_type::OST), Err(EIO));
    assert_eq!(calls(), 1);
    assert_eq!(fld.lookup(0x3_0000_0000, 0), Err(ENOENT));
    assert_eq!(fld.lookup(0x4_0000_0000, 0), Err(EPROTO));
    for i in 0..CACHED as u64 + 10 {
        fld.lookup(0x6_0000_0000 + (i << 8), 0).unwrap();
    }
    assert!(fld.heard.lock().len <= CACHED);
}

proptest! {
    /// Against a map of single sequences.
    #[test]
    fn as_a_map(steps in proptest::collection::vec((0u64..60, 1u64..12, 0u32..2), 1..40)) {
        let fld = open(&osd_memory::device());
        let base = seq::NORMAL;
        let mut model: BTreeMap<u64, u32> = BTreeMap::new();
        for (at, len, owner) in steps {
            let all: Vec<_> = (at..at + len).map(|s| model.get(&s).copied()).collect();
            let r = fld.insert(range(base + at, base + at + len, owner, range_type::OST));
            if all.iter().all(|o| o.is_none()) {
                prop_assert_eq!(r, Ok(()));
                model.extend((at..at + len).map(|s| (s, owner)));
            } else if all.iter().any(|o| o.is_some_and(|o| o != owner)) {
                prop_assert_eq!(r, Err(EEXIST));
            }
            for s in 0..80 {
                let found = fld.lookup(base + s, range_type::ANY).ok().map(|r| r.index);
                prop_assert_eq!(found, model.get(&s).copied());
            }
        }
    }
}
