// SPDX-License-Identifier: GPL-2.0

//! Pools: what may be done, and what stands in the logs.

mod common;

use common::*;
use kapi::prelude::*;
use mgs::PoolChange;

const NIDS: &[&str] = &["10.0.0.1@tcp"];
const UUID: &str = "lustre-OST0001_UUID";

fn registered(w: &World) -> Peer {
    let p = Peer::new(w, 2);
    p.must_register(&Reg::new(VIRGIN_MDT, 0, "lustre-MDT0000", NIDS));
    for (i, name) in ["lustre-OST0000", "lustre-OST0001"].iter().enumerate() {
        p.must_register(&Reg::new(VIRGIN_OST, i as u32, name, NIDS));
    }
    p
}

#[test]
fn life_of_a_pool() {
    let w = World::new(51);
    let _p = registered(&w);
    let (client, mdt) = ("lustre-client", "lustre-MDT0000");
    let change = |c| w.mgs.change_pool(b"lustre.fast", c);
    let ost = UUID.as_bytes();
    let n = [client, mdt].map(|l| w.text(l).len());
    let since = |log: &str, n: usize| w.text(log).split_off(n);
    // Nothing is done that makes no sense.
    assert_eq!(change(PoolChange::Add(ost)), Err(ENOMEDIUM));
    assert_eq!(change(PoolChange::Remove(ost)), Err(ENOMEDIUM));
    assert_eq!(change(PoolChange::Destroy), Err(ENOENT));
    assert_eq!([client, mdt].map(|l| w.text(l).len()), n);
    change(PoolChange::New).unwrap();
    assert_eq!(
        since(client, n[0]),
        [
            "marker 1 lustre-clilov \"new lustre.fast\"",
            "PoolNew lustre-clilov lustre fast",
            "marker 2 lustre-clilov \"new lustre.fast\"",
        ]
    );
    assert_eq!(
        since(mdt, n[1]),
        [
            "marker 1 lustre-MDT0000-mdtlov \"new lustre.fast\"",
            "PoolNew lustre-MDT0000-mdtlov lustre fast",
            "marker 2 lustre-MDT0000-mdtlov \"new lustre.fast\"",
        ]
    );
    assert_eq!(change(PoolChange::New), Err(EEXIST));
    assert_eq!(change(PoolChange::Remove(ost)), Err(ENOENT));
    change(PoolChange::Add(ost)).unwrap();
    assert_eq!(change(PoolChange::Add(ost)), Err(EEXIST));
    assert_eq!(change(PoolChange::Destroy), Err(ENOTEMPTY));
    assert_eq!(
        since(mdt, n[1] + 3)[1],
        "PoolAdd lustre-MDT0000-mdtlov lustre fast lustre-OST0001_UUID"
    );
    for (bad, e) in [
        (&b"lustre-OST0007_UUID"[..], ENODEV),
        (b"other-OST0001_UUID", EINVAL),
        (b"lustre-MDT0000_UUID", EINVAL),
        (b"lustre-OST0001", EINVAL),
        (b"", EINVAL),
    ] {
        assert_eq!(change(PoolChange::Add(bad)), Err(e));
    }
    // A section that is taken back does not count any more: flag 4.
    change(PoolChange::Remove(ost)).unwrap();
    let log = since(client, n[0] + 3);
    let uuid = "lustre-OST0001_UUID";
    assert_eq!(
        log[0],
        format!("marker 5 lustre-clilov \"add lustre.fast.{uuid}\"")
    );
    assert_eq!(
        log[2],
        format!("marker 6 lustre-clilov \"add lustre.fast.{uuid}\"")
    );
    assert_eq!(
        log[3..],
        [
            format!("marker 1 lustre-clilov \"rem lustre.fast.{uuid}\""),
            format!("PoolRem lustre-clilov lustre fast {uuid}"),
            format!("marker 2 lustre-clilov \"rem lustre.fast.{uuid}\""),
        ]
    );
    // All of it again, after it ended.
    for _ in 0..2 {
        change(PoolChange::Destroy).unwrap();
        assert_eq!(change(PoolChange::Destroy), Err(ENOENT));
        change(PoolChange::New).unwrap();
        change(PoolChange::Add(ost)).unwrap();
        change(PoolChange::Remove(ost)).unwrap();
    }
    // An MDT that comes later knows them.
    let p = Peer::new(&w, 3);
    w.mgs.change_pool(b"lustre.slow", PoolChange::New).unwrap();
    p.must_register(&Reg::new(VIRGIN_MDT, 1, "lustre-MDT0001", NIDS));
    let log = w.text("lustre-MDT0001");
    let slow = "PoolNew lustre-MDT0001-mdtlov lustre slow";
    assert_eq!(log.iter().filter(|l| **l == slow).count(), 1);
}

#[test]
fn names() {
    let w = World::new(52);
    let _p = registered(&w);
    for (pool, e) in [
        ("lustre", EINVAL),
        ("lustre.", EINVAL),
        (".p", EINVAL),
        ("other.p", EINVAL),
        ("lustre.a b", EINVAL),
        ("lustre.a/b", EINVAL),
        ("lustre.none", EINVAL),
        ("lustre.inherit", EINVAL),
        ("lustre.abcdefghijklmnop", ENAMETOOLONG),
        ("toolonganame.p", EINVAL),
    ] {
        let done = w.mgs.change_pool(pool.as_bytes(), PoolChange::New);
        assert_eq!(done, Err(e), "{pool}");
    }
    for pool in ["lustre.abcdefghijklmno", "lustre.a-b_c.d"] {
        w.mgs.change_pool(pool.as_bytes(), PoolChange::New).unwrap();
    }
}
