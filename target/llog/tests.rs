// SPDX-License-Identifier: GPL-2.0

//! Logs on a store in memory, against a list of records.

use super::*;
use crate::local;
use kapi::prelude::*;
use osd::{Create, Device, ObjectRef, Walk};
use osd_memory::{Config, MemoryDevice};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;
use wire::fid::{seq, Fid};
use wire::llog::{rec_size, rec_type, LlogFlags, LlogLogHdr, Records, LLOG_MIN_CHUNK_SIZE};

fn store() -> Arc<dyn Device> {
    MemoryDevice::new()
}

fn file(osd: &Arc<dyn Device>, name: &[u8]) -> ObjectRef {
    let root = local::root(osd).unwrap();
    local::find_or_create(osd, &root, name, &Create::file(0o644), seq::LLOG_NAME).unwrap()
}

fn append(osd: &Arc<dyn Device>, log: &Log, payload: &[u8]) -> Result<u32> {
    let mut rec = vec![0; rec_size(payload.len())];
    rec[16..16 + payload.len()].copy_from_slice(payload);
    let mut plan = osd.plan()?;
    log.plan_append(&mut plan, rec.len())?;
    let mut tx = plan.start()?;
    let done = log.append(&mut tx, rec_type::OBD_CFG, &mut rec);
    tx.stop()?;
    done
}

fn cancel(osd: &Arc<dyn Device>, log: &Log, index: u32) -> Result<u32> {
    let mut plan = osd.plan()?;
    log.plan_cancel(&mut plan)?;
    let mut tx = plan.start()?;
    let done = log.cancel(&mut tx, &[index]);
    tx.stop()?;
    done.map(|()| log.count())
}

fn all(log: &Log, from: u32) -> BTreeMap<u32, Vec<u8>> {
    let mut out = BTreeMap::new();
    log.for_each(from, &mut |f| {
        out.insert(f.rec.index(), f.rec.payload.to_vec());
        Ok(Walk::Next)
    })
    .unwrap();
    out
}

/// Reads a log as a client does: header, then chunks.
fn by_chunks(file: &ObjectRef) -> BTreeMap<u32, Vec<u8>> {
    let reader = Reader::new(file.clone());
    let head = reader.header(LlogFlags::IS_PLAIN).unwrap();
    let head = LlogLogHdr::parse(&head).unwrap();
    let mut out = BTreeMap::new();
    let mut next = 1;
    loop {
        let Search::Found(c) = reader.find(next, LlogFlags::IS_PLAIN).unwrap() else {
            return out;
        };
        assert!(c.at % LLOG_MIN_CHUNK_SIZE as u64 == 0 && c.bytes.len() == LLOG_MIN_CHUNK_SIZE);
        let recs: Vec<_> = Records::new(&c.bytes).map(|r| r.unwrap()).collect();
        assert!(recs[0].index() <= next && next <= c.last);
        for r in recs {
            if head.is_set(r.index()) {
                out.insert(r.index(), r.payload.to_vec());
            }
        }
        next = c.last + 1;
    }
}

#[test]
fn numbers_and_names() {
    let osd = store();
    let a = file(&osd, b"a");
    let b = file(&osd, b"b");
    assert_eq!((*a.fid(), *b.fid()), (Fid::new(10, 2), Fid::new(10, 3)));
    assert_eq!(*file(&osd, b"a").fid(), *a.fid());
    let root = local::root(&osd).unwrap();
    local::rename(&osd, &root, b"a", b"b").unwrap();
    assert_eq!(*file(&osd, b"b").fid(), *a.fid());
    assert!(!b.exists());
    local::remove(&osd, &root, b"b").unwrap();
    assert_eq!(local::remove(&osd, &root, b"b").err(), Some(ENOENT));
    // A new file gets a new number, so that nobody takes it for the old one.
    assert_eq!(*file(&osd, b"b").fid(), Fid::new(10, 4));
    let dir = local::find_or_create(&osd, &root, b"d", &Create::dir(0o755), seq::LOCAL_NAME);
    assert_eq!(dir.unwrap().lookup(b"..").unwrap(), *root.fid());
}

#[test]
fn many_at_once_get_numbers_of_their_own() {
    let osd = store();
    let make = |n: u8| {
        let osd = osd.clone();
        std::thread::spawn(move || {
            let names = (0..20).map(|i| [b'a' + n, b'0' + i]);
            names
                .map(|name| file(&osd, &name).fid().oid)
                .collect::<Vec<_>>()
        })
    };
    let threads: Vec<_> = (0..4).map(make).collect();
    let mut got: Vec<u32> = threads
        .into_iter()
        .flat_map(|t| t.join().unwrap())
        .collect();
    got.sort_unstable();
    got.dedup();
    assert_eq!(got.len(), 80);
}

#[test]
fn an_empty_file_is_an_empty_log() {
    let osd = store();
    let f = file(&osd, b"params");
    let reader = Reader::new(f.clone());
    let head = reader.header(LlogFlags::IS_PLAIN).unwrap();
    let h = LlogLogHdr::parse(&head).unwrap();
    assert_eq!(
        (h.llh_count.get(), h.llh_flags.get(), h.llh_size.get()),
        (1, 4, 0)
    );
    assert_eq!((h.llh_tgtuuid, h.last_index()), ([0; 40], 0));
    assert!(h.is_set(0) && f.attr().unwrap().size == 0);
    let found = reader.find(1, LlogFlags::IS_PLAIN).unwrap();
    assert!(matches!(found, Search::PastEnd(0, 0)));
    assert!(Log::open(&f, LogKind::CONFIG).unwrap().is_empty());
}

#[test]
fn what_is_no_log_is_refused() {
    let osd = store();
    let f = file(&osd, b"x");
    let log = Log::open(&f, LogKind::CONFIG).unwrap();
    append(&osd, &log, b"payload").unwrap();
    let spoil = |at: u64, bytes: &[u8]| {
        let mut plan = osd.plan().unwrap();
        plan.write(&f, at, bytes.len()).unwrap();
        let mut tx = plan.start().unwrap();
        tx.write(&f, at, bytes).unwrap();
        tx.stop().unwrap();
    };
    let opened = |kind| Log::open(&f, kind).err();
    assert_eq!(opened(LogKind::CONFIG), None);
    let cat = LogKind {
        flags: LlogFlags::IS_CAT,
        uuid: b"",
        slot: 0,
    };
    assert_eq!(opened(cat), Some(EINVAL));
    let other = LogKind {
        uuid: b"somebody else",
        ..LogKind::CONFIG
    };
    assert_eq!(opened(other), Some(EINVAL));
    let asked = Reader::new(f.clone()).header(LlogFlags::IS_CAT);
    assert_eq!(asked.err(), Some(EINVAL));
    // A record whose length leads nowhere.
    spoil(8192, &[7]);
    assert_eq!(log.for_each(1, &mut |_| Ok(Walk::Next)).err(), Some(EIO));
    let found = Reader::new(f.clone()).find(1, LlogFlags::IS_PLAIN);
    assert_eq!(found.err(), Some(EIO));
    for (at, byte) in [(8, 0), (88, 0), (24, 0), (36, 6)] {
        let mut old = [0; 1];
        f.read(at, &mut old).unwrap();
        spoil(at, &[byte]);
        if at == 24 {
            spoil(24, &[0; 4]);
        }
        assert_eq!(opened(LogKind::CONFIG), Some(EINVAL), "byte {at}");
        spoil(at, &old);
    }
    assert_eq!(opened(LogKind::CONFIG), None);
}

#[test]
fn lengths_that_no_record_has() {
    let osd = store();
    let log = Log::open(&file(&osd, b"x"), LogKind::CONFIG).unwrap();
    for len in [0, 16, 25, 8176, 8184, 8200] {
        let mut plan = osd.plan().unwrap();
        log.plan_append(&mut plan, 8192).unwrap();
        let mut tx = plan.start().unwrap();
        let done = log.append(&mut tx, rec_type::OBD_CFG, &mut vec![0; len]);
        assert_eq!(done, Err(EINVAL), "{len}");
        tx.stop().unwrap();
    }
    assert!(log.is_empty());
    assert_eq!(append(&osd, &log, b"x"), Ok(1));
    assert!(log.plan_append(&mut osd.plan().unwrap(), 1 << 20).is_err());
}

/// A store that fills up: the log is as good as before when there is room again.
#[test]
fn a_full_store() {
    let config = Config {
        blocks: 40,
        ..Config::default()
    };
    for len in 6..30 {
        let osd: Arc<dyn Device> = MemoryDevice::with(config);
        let log = Log::open(&file(&osd, b"log"), LogKind::CONFIG).unwrap();
        let payload = vec![1; 200];
        append(&osd, &log, &payload).unwrap();
        let fill = file(&osd, b"fill");
        let size = |from: usize, n: usize| {
            let mut plan = osd.plan().unwrap();
            plan.write(&fill, from as u64 * 4096, n).unwrap();
            let mut tx = plan.start().unwrap();
            tx.write(&fill, from as u64 * 4096, &vec![0; n]).unwrap();
            tx.stop().unwrap();
        };
        size(0, len * 4096);
        let mut kept = 1;
        let full = loop {
            match append(&osd, &log, &payload) {
                Ok(_) => kept += 1,
                Err(e) => break e,
            }
        };
        assert_eq!((full, log.is_broken()), (ENOSPC, false));
        let root = local::root(&osd).unwrap();
        local::remove(&osd, &root, b"fill").unwrap();
        osd.sync().unwrap();
        for _ in 0..50 {
            append(&osd, &log, &payload).unwrap();
        }
        assert_eq!(all(&log, 0).len(), kept + 50);
        assert_eq!(by_chunks(log.file()).len(), kept + 50);
        let again = Log::open(log.file(), LogKind::CONFIG).unwrap();
        assert_eq!(again.count() as usize, kept + 50);
    }
}

/// The pad that `spec/mgs-config.md` 21.4 tells of.
#[test]
fn a_pad() {
    let osd = store();
    let log = Log::open(&file(&osd, b"x"), LogKind::CONFIG).unwrap();
    for _ in 0..45 {
        append(&osd, &log, &[1; 152]).unwrap();
    }
    append(&osd, &log, &[1; 128]).unwrap();
    // 8192 + 45 * 176 + 152 = 16264
    assert_eq!(append(&osd, &log, &[2; 104]), Ok(48));
    assert_eq!((log.count(), log.last_index()), (47, 48));
    assert_eq!(log.file().attr().unwrap().size, 16384 + 128);
    let Search::Found(c) = Reader::new(log.file().clone())
        .find(47, LlogFlags::IS_PLAIN)
        .unwrap()
    else {
        panic!("no chunk");
    };
    let pad = Records::new(&c.bytes).last().unwrap().unwrap();
    assert!(pad.is_pad() && pad.index() == 47 && pad.offset == 8072 && pad.bytes.len() == 120);
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, u8),
    Cancel(usize),
    Rewrite(usize, u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..1019, any::<u8>()).prop_map(|(n, b)| Step::Append(n * 8, b)),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(n, b)| Step::Rewrite(n, b)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn against_a_list(steps in proptest::collection::vec(step(), 1..80)) {
        let osd = store();
        let f = file(&osd, b"log");
        let mut log = Log::open(&f, LogKind::CONFIG).unwrap();
        let mut model: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for s in steps {
            let nth = |n: usize| model.keys().nth(n % model.len().max(1)).copied();
            match s {
                Step::Append(n, b) => {
                    let payload = vec![b; n];
                    let index = append(&osd, &log, &payload).unwrap();
                    prop_assert!(model.keys().last().is_none_or(|l| *l < index));
                    model.insert(index, payload);
                }
                Step::Cancel(n) => match nth(n) {
                    Some(i) => {
                        model.remove(&i);
                        prop_assert_eq!(cancel(&osd, &log, i), Ok(model.len() as u32));
                        prop_assert_eq!(cancel(&osd, &log, i), Ok(model.len() as u32));
                    }
                    None => prop_assert_eq!(cancel(&osd, &log, 1), Ok(0)),
                },
                Step::Rewrite(n, b) => {
                    let Some(i) = nth(n) else { continue };
                    let new = vec![b; model[&i].len()];
                    let mut plan = osd.plan().unwrap();
                    let mut at = 0;
                    log.for_each(i, &mut |f| {
                        at = f.at;
                        log.plan_rewrite(&mut plan, f.at, f.rec.payload.len())?;
                        Ok(Walk::Stop)
                    }).unwrap();
                    let mut tx = plan.start().unwrap();
                    log.rewrite(&mut tx, at, &new).unwrap();
                    tx.stop().unwrap();
                    model.insert(i, new);
                }
                Step::Reopen => log = Log::open(&f, LogKind::CONFIG).unwrap(),
            }
        }
        prop_assert_eq!(log.count() as usize, model.len());
        prop_assert_eq!(all(&log, 0), model.clone());
        if let Some((i, _)) = model.iter().nth(model.len() / 2) {
            let rest: BTreeMap<_, _> = model.range(i..).map(|(k, v)| (*k, v.clone())).collect();
            prop_assert_eq!(all(&log, *i), rest);
        }
        prop_assert_eq!(by_chunks(&f), model);
    }
}
