// SPDX-License-Identifier: GPL-2.0

//! What logs say: that of an existing server, sections that do not count, garbage.

use crate::config::{Config, ConfigReader, Pool};
use kapi::prelude::*;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;
use wire::cfg::{CfgMarker, CfgSpec, CmFlags, LcfgCommand, LovDesc};
use zerocopy::{FromZeros, IntoBytes};

const NID: u64 = 0x0002_0000_c0a8_0102;

fn rec(command: LcfgCommand, nid: u64, bufs: &[&[u8]]) -> Vec<u8> {
    let spec = CfgSpec {
        nid,
        ..CfgSpec::new(command, bufs)
    };
    let mut out = vec![0; spec.size()];
    spec.write(&mut out).unwrap();
    out
}

fn marker(flags: CmFlags) -> Vec<u8> {
    let mut m = CfgMarker::new_zeroed();
    m.cm_flags.set(flags.bits());
    rec(LcfgCommand::Marker, 0, &[b"", m.as_bytes()])
}

fn ost(flags: CmFlags) -> Vec<Vec<u8>> {
    let (dev, uuid, node) = (
        &b"fs-OST0003-osc\0"[..],
        &b"fs-OST0003_UUID\0"[..],
        &b"n\0"[..],
    );
    vec![
        marker(flags | CmFlags::START),
        rec(LcfgCommand::AddUuid, NID, &[b"", node]),
        rec(LcfgCommand::Attach, 0, &[dev, b"osc\0", b"g\0"]),
        rec(LcfgCommand::Setup, 0, &[dev, uuid, node]),
        rec(LcfgCommand::LovAddObd, 0, &[b"lov\0", uuid, b"3\0", b"1\0"]),
        marker(flags | CmFlags::END),
    ]
}

fn read(records: &[Vec<u8>]) -> Result<Config> {
    let mut r = ConfigReader::default();
    for rec in records {
        r.apply(rec)?;
    }
    r.finish()
}

fn text(b: &[u8]) -> String {
    String::from_utf8_lossy(b).into_owned()
}

#[test]
fn sections() {
    let c = read(&ost(CmFlags::empty())).unwrap();
    assert_eq!(
        (c.osts.len(), c.osts[0].index, c.osts[0].inactive),
        (1, 3, false)
    );
    assert_eq!(text(&c.osts[0].uuid), "fs-OST0003_UUID");
    let nids: Vec<_> = c.osts[0].nids().map(|n| n.to_string()).collect();
    assert_eq!(nids, ["192.168.1.2@tcp"]);
    assert!(read(&ost(CmFlags::EXCLUDE)).unwrap().osts[0].inactive);
    assert!(read(&ost(CmFlags::SKIP)).unwrap().osts.is_empty());
    assert!(read(&ost(CmFlags::empty())[1..5]).unwrap().osts.is_empty());
    // Another node, and out of the list.
    let mut all = ost(CmFlags::empty());
    all.extend([
        marker(CmFlags::START),
        rec(LcfgCommand::AddUuid, NID + 1, &[b"", b"m\0"]),
        rec(LcfgCommand::AddConn, 0, &[b"fs-OST0003-osc\0", b"m\0"]),
        rec(
            LcfgCommand::SetParam,
            0,
            &[b"general\0", b"a=1\0", b"lctl\0"],
        ),
        marker(CmFlags::END),
    ]);
    let c = read(&all).unwrap();
    assert_eq!((c.osts[0].nodes.len(), c.osts[0].nids().count()), (2, 2));
    assert!(c.params[0].global && text(&c.params[0].text) == "a=1");
    all.extend([
        marker(CmFlags::START),
        rec(
            LcfgCommand::LovDelObd,
            0,
            &[b"lov\0", b"u\0", b"3\0", b"1\0"],
        ),
    ]);
    assert!(read(&all).unwrap().osts.is_empty());
}

#[test]
fn what_cannot_be_followed() {
    let one = |r: Vec<u8>| read(&[marker(CmFlags::START), r]).err();
    let bad = Some(EINVAL);
    assert_eq!(one(vec![1, 2, 3]), bad);
    assert_eq!(one(rec(LcfgCommand::Setup, 0, &[b"nobody\0"])), bad);
    assert_eq!(one(rec(LcfgCommand::AddUuid, NID, &[b""])), bad);
    assert_eq!(one(rec(LcfgCommand::Attach, 0, &[b"x\0"])), bad);
    assert_eq!(
        one(rec(
            LcfgCommand::LovAddObd,
            0,
            &[b"l\0", b"u\0", b"70000\0"]
        )),
        bad
    );
    assert_eq!(one(rec(LcfgCommand::Marker, 0, &[b"", b"short"])), bad);
    // A target on a node that nobody knows; striping without its magic number.
    let attach = rec(LcfgCommand::Attach, 0, &[b"o\0", b"osc\0", b"g\0"]);
    let setup = rec(LcfgCommand::Setup, 0, &[b"o\0", b"u\0", b"n\0"]);
    assert_eq!(read(&[marker(CmFlags::START), attach, setup]).err(), bad);
    let mut desc = LovDesc::new(b"l").unwrap();
    desc.ld_magic.set(0);
    let attach = rec(LcfgCommand::Attach, 0, &[b"l\0", b"lov\0", b"g\0"]);
    let setup = rec(LcfgCommand::Setup, 0, &[b"l\0", desc.as_bytes()]);
    assert_eq!(read(&[marker(CmFlags::START), attach, setup]).err(), bad);
    // Unknown: that matters only if it must succeed.
    let unknown = |n: u32| {
        let mut r = rec(LcfgCommand::Param, 0, &[b"x\0"]);
        r[4..8].copy_from_slice(&n.to_le_bytes());
        r
    };
    assert_eq!(one(unknown(0xcf0ff)), bad);
    assert_eq!(one(unknown(0xce0ff)), None);
}

/// The log that an existing MGS sent to a real client.
#[test]
fn recorded_log() {
    let Some(files) = pcap_reader::captures() else {
        return;
    };
    let named = |p: &&std::path::PathBuf| p.to_string_lossy().contains("02-client-mount");
    let file = files.iter().find(named).unwrap();
    let items = pcap_reader::Capture::open(file).unwrap().items().unwrap();
    let chunk = items.iter().find_map(|i| {
        let pcap_reader::Kind::Lnet(l) = &i.kind else {
            return None;
        };
        let m = wire::msg::Message::parse(&l.payload).ok()?;
        let opc = m.body().ok()?.pb_opc.get();
        let block = opc == wire::opcode::LLOG_ORIGIN_HANDLE_NEXT_BLOCK && m.count() == 3;
        block.then(|| m.buf(2).unwrap().to_vec())
    });
    let mut r = ConfigReader::default();
    for rec in wire::llog::Records::new(&chunk.unwrap()) {
        r.apply(rec.unwrap().payload).unwrap();
    }
    let c = r.finish().unwrap();
    assert_eq!((c.mdts.len(), c.osts.len()), (1, 2));
    assert_eq!(text(&c.mdts[0].device), "lustre-MDT0000-mdc");
    assert_eq!(
        c.osts[1].nids().next().unwrap().to_string(),
        "192.168.77.3@tcp"
    );
    assert_eq!(c.striping.unwrap().ld_default_stripe_size.get(), 4 << 20);
}

proptest! {
    #[test]
    fn garbage(cuts in proptest::collection::vec((0_usize..6, 0_usize..300, any::<u8>()), 0..40)) {
        let good = ost(CmFlags::empty());
        let mut r = ConfigReader::default();
        for (i, at, byte) in cuts {
            let mut rec = good[i].clone();
            if let Some(b) = rec.get_mut(at) {
                *b = byte;
            }
            // Whatever it says, the next one is read.
            let _ = r.apply(&rec);
        }
        let c = r.finish().unwrap();
        prop_assert!(c.osts.windows(2).all(|w| w[0].index < w[1].index));
    }
}

/// A pool lives between its records; sections that do not count any more are as if they were not there.
#[test]
fn pools() {
    let pool = |command, skipped: bool, ost: Option<&[u8]>| {
        let flags = match skipped {
            true => CmFlags::SKIP,
            false => CmFlags::empty(),
        };
        let mut bufs: Vec<&[u8]> = vec![b"fs-MDT0000-mdtlov\0", b"fs\0", b"fast\0"];
        bufs.extend(ost);
        vec![
            marker(flags | CmFlags::START),
            rec(command, 0, &bufs),
            marker(flags | CmFlags::END),
        ]
    };
    let (a, b) = (
        Some(&b"fs-OST0000_UUID\0"[..]),
        Some(&b"fs-OST0001_UUID\0"[..]),
    );
    let shown = |records: &[Vec<u8>]| {
        let c = read(records).unwrap();
        let of = |p: &Pool| (text(&p.name), p.osts.iter().map(|o| text(o)).collect());
        c.pools
            .iter()
            .map(of)
            .collect::<Vec<(String, Vec<String>)>>()
    };
    use LcfgCommand::{PoolAdd, PoolDel, PoolNew, PoolRem};
    let mut all = pool(PoolNew, false, None);
    all.extend(pool(PoolAdd, true, a));
    all.extend(pool(PoolRem, false, a));
    all.extend(pool(PoolAdd, false, b));
    // A second time is no more than once.
    all.extend(pool(PoolAdd, false, b));
    let fast = |osts: &[&str]| {
        let osts = osts.iter().map(|o| o.to_string()).collect();
        vec![("fast".to_string(), osts)]
    };
    assert_eq!(shown(&all), fast(&["fs-OST0001_UUID"]));
    all.extend(pool(PoolRem, false, b));
    assert_eq!(shown(&all), fast(&[]));
    all.extend(pool(PoolDel, false, None));
    assert!(shown(&all).is_empty());
    // Of one that is not there.
    all.extend(pool(PoolAdd, false, a));
    all.extend(pool(PoolDel, false, None));
    assert!(shown(&all).is_empty());
}
