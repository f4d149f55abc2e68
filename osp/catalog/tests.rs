// SPDX-License-Identifier: GPL-2.0

//! Catalogs on a store in memory.

use super::*;
use crate::changes::Op;
use osd_memory::MemoryDevice;

fn store() -> Arc<dyn Device> {
    MemoryDevice::new()
}

fn object(n: u32) -> Fid {
    Fid::new(0x2_c000_0401, n + 1)
}

/// Records that the objects `range` end.
fn add(osd: &Arc<dyn Device>, room: &Room, range: core::ops::Range<u32>) -> Chain {
    let mut chain = Chain::new();
    for n in range {
        let mut link = Link::new(object(n), Op::Destroy).unwrap();
        let mut plan = osd.plan().unwrap();
        room.plan(&mut plan, 1).unwrap();
        let mut tx = plan.start().unwrap();
        room.add(&mut tx, &mut link).unwrap();
        tx.stop().unwrap();
        chain.push(link);
    }
    chain
}

fn waiting(catalog: &Catalog) -> Vec<u32> {
    let mut logs = catalog.old().unwrap();
    let mut all = Vec::new();
    while let Some(log) = logs.pop() {
        let mut chain = catalog.load(&log).unwrap();
        while let Some(l) = chain.pop() {
            all.push(l.change.fid.oid - 1);
        }
    }
    all
}

fn catid(osd: &Arc<dyn Device>, index: u16) -> Fid {
    let file = osd.object(&Fid::local(oid::LLOG_CATALOGS)).unwrap();
    let mut raw = [0; ENTRY];
    assert_eq!(
        file.read(u64::from(index) * ENTRY as u64, &mut raw)
            .unwrap(),
        ENTRY
    );
    let id = LlogCatid::read_from_bytes(&raw).unwrap().lci_logid;
    id.to_fid().unwrap()
}

#[test]
fn the_next_life_finds_what_waits_in_order() {
    let osd = store();
    for (life, from) in [0, 10, 20].into_iter().enumerate() {
        let c = Catalog::open(&osd, 3).unwrap();
        assert_eq!(waiting(&c).len(), life * 9);
        let room = c.room().unwrap();
        let mut chain = add(&osd, &room, from..from + 10);
        // The last one is over.
        let mut over = Chain::new();
        over.push(chain.pop().unwrap());
        c.cancel(&mut over);
        drop(room);
        c.close();
    }
    let c = Catalog::open(&osd, 3).unwrap();
    let want: Vec<u32> = (0..30).filter(|n| n % 10 != 9).collect();
    assert_eq!(waiting(&c), want);
    assert!(waiting(&Catalog::open(&osd, 4).unwrap()).is_empty());
}

#[test]
fn a_full_log_goes_when_it_is_empty() {
    let osd = store();
    let c = Catalog::open(&osd, 0).unwrap();
    let first = c.room().unwrap();
    let file = first.0.log.file().clone();
    let n = LLOG_MAX_INDEX - SLACK + 1;
    let chain = add(&osd, &first, 0..n);
    let second = c.room().unwrap();
    assert!(!Arc::ptr_eq(&first.0, &second.0));
    // There is room for who had found some.
    let mut last = add(&osd, &first, n..n + 100);
    let mut over = Chain::new();
    over.push_all(chain);
    c.cancel(&mut over);
    assert!(file.exists());
    c.cancel(&mut last);
    // Somebody may still add to it.
    assert!(file.exists());
    drop(first);
    c.cancel(&mut Chain::new());
    assert!(!file.exists());
    assert!(second.0.log.file().exists());
    drop(second);
    c.close();
    assert!(entries(&c.log).unwrap().is_empty());
}

/// Catalogs of other servers: used up, and begun anew at the front.
#[test]
fn a_catalog_is_made_anew() {
    let osd = store();
    let c = Catalog::open(&osd, 1).unwrap();
    let chain = add(&osd, &c.room().unwrap(), 0..5);
    let before = catid(&osd, 1);
    drop((chain, c));
    for round in 0..2 {
        let old = osd.object(&catid(&osd, 1)).unwrap();
        let log = Log::open(&old, CATALOG).unwrap();
        let found = entries(&log).unwrap();
        assert_eq!(found.len(), 1 + round);
        // The header says so.
        let last: u32 = [60000, 0][round];
        let mut plan = osd.plan().unwrap();
        plan.write(&old, 8188, 4).unwrap();
        let mut tx = plan.start().unwrap();
        tx.write(&old, 8188, &last.to_le_bytes()).unwrap();
        tx.stop().unwrap();
        let c = Catalog::open(&osd, 1).unwrap();
        assert!(!old.exists());
        assert!(catid(&osd, 1) != before);
        assert_eq!(waiting(&c).len(), 5 * (1 + round));
        drop(add(&osd, &c.room().unwrap(), 5..10));
        assert_eq!(
            waiting(&c),
            (0..5 * (2 + round as u32))
                .map(|n| if n >= 10 { n - 5 } else { n })
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn damage_is_not_the_end() {
    let osd = store();
    let c = Catalog::open(&osd, 0).unwrap();
    drop(add(&osd, &c.room().unwrap(), 0..500));
    let log = osd.object(&entries(&c.log).unwrap()[0].1).unwrap();
    let spoil = |o: &ObjectRef, at: u64| {
        let mut plan = osd.plan().unwrap();
        plan.write(o, at, 4).unwrap();
        let mut tx = plan.start().unwrap();
        tx.write(o, at, &[7; 4]).unwrap();
        tx.stop().unwrap();
    };
    // In the second chunk of records: those before it count.
    spoil(&log, 16384);
    let n = waiting(&c).len();
    assert!(n > 0 && n < 500, "{n}");
    // The catalog itself.
    spoil(&osd.object(&catid(&osd, 0)).unwrap(), 8);
    let c = Catalog::open(&osd, 0).unwrap();
    assert!(waiting(&c).is_empty());
    drop(add(&osd, &c.room().unwrap(), 0..1));
    assert_eq!(waiting(&c), [0]);
}
