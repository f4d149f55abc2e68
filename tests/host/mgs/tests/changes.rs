// SPDX-License-Identifier: GPL-2.0

//! Logs that change: parameters, other nodes, more MDTs, logs made anew, restarts of the MGS.

mod common;

use common::*;
use kapi::prelude::*;
use osd::Device;
use osd_memory::MemoryDevice;

const A: &[&str] = &["10.0.0.1@tcp"];
const B: &[&str] = &["10.0.0.2@tcp"];
const WRITECONF: u32 = 0x100;

fn one_of_each(w: &World) -> Peer {
    let p = Peer::new(w, 2);
    p.must_register(&Reg::new(VIRGIN_MDT, 0, "lustre-MDT0000", A));
    p.must_register(&Reg::new(VIRGIN_OST, 0, "lustre-OST0000", B));
    p
}

/// What was added to a log since it had `n` records.
fn since(w: &World, log: &str, n: usize) -> Vec<String> {
    w.text(log).split_off(n)
}

#[test]
fn parameters() {
    let w = World::new(31);
    let _p = one_of_each(&w);
    let set =
        |device: &str, param: &str| w.mgs.conf_param(device.as_bytes(), param.as_bytes(), false);
    let (client, mdt, ost) = ("lustre-client", "lustre-MDT0000", "lustre-OST0000");
    let (n, m, o) = (w.text(client).len(), w.text(mdt).len(), w.text(ost).len());
    set(ost, "osc.max_dirty_mb=64").unwrap();
    assert_eq!(
        since(&w, client, n),
        [
            "marker 1 lustre-OST0000-osc \"osc.max_dirty_mb\"",
            "Param lustre-OST0000-osc osc.max_dirty_mb=64",
            "marker 2 lustre-OST0000-osc \"osc.max_dirty_mb\"",
        ]
    );
    assert_eq!(
        since(&w, mdt, m)[1],
        "Param lustre-OST0000-osc-MDT0000 osc.max_dirty_mb=64"
    );
    assert_eq!(w.text(ost).len(), o);
    // The same again is nothing new; another value takes its place.
    set(ost, "osc.max_dirty_mb=64").unwrap();
    assert_eq!(since(&w, client, n).len(), 3);
    set(ost, "osc.max_dirty_mb=32").unwrap();
    let log = since(&w, client, n);
    assert_eq!(log[0], "marker 5 lustre-OST0000-osc \"osc.max_dirty_mb\"");
    assert_eq!(log[2], "marker 6 lustre-OST0000-osc \"osc.max_dirty_mb\"");
    assert_eq!(
        log[3..],
        [
            "marker 1 lustre-OST0000-osc \"osc.max_dirty_mb\"",
            "Param lustre-OST0000-osc osc.max_dirty_mb=32",
            "marker 2 lustre-OST0000-osc \"osc.max_dirty_mb\"",
        ]
    );
    assert_eq!(
        w.mgs.conf_param(ost.as_bytes(), b"osc.max_dirty_mb", true),
        Ok(())
    );
    assert_eq!(
        since(&w, client, n)[3],
        "marker 5 lustre-OST0000-osc \"osc.max_dirty_mb\""
    );
    assert_eq!(
        w.mgs.conf_param(ost.as_bytes(), b"osc.max_dirty_mb", true),
        Err(ENOENT)
    );

    // All logs, one log, the logs of servers.
    let counts = |w: &World| [client, mdt, ost].map(|l| w.text(l).len());
    let [c0, m0, o0] = counts(&w);
    set("lustre", "sys.timeout=20").unwrap();
    assert_eq!(
        since(&w, ost, o0),
        [
            "marker 1 lustre \"sys.timeout\"",
            "SetTimeout  sys.timeout=20",
            "marker 2 lustre \"sys.timeout\"",
        ]
    );
    assert_eq!(counts(&w), [c0 + 3, m0 + 3, o0 + 3]);
    set("lustre", "sys.jobid_var=procname_uid").unwrap();
    assert_eq!(
        since(&w, ost, o0 + 3)[1],
        "Param  sys.jobid_var=procname_uid procname_uid"
    );
    set("lustre", "quota.ost=ug").unwrap();
    assert_eq!(counts(&w), [c0 + 6, m0 + 9, o0 + 9]);
    set(ost, "ost.sync_on_lock_cancel=never").unwrap();
    assert_eq!(counts(&w), [c0 + 6, m0 + 9, o0 + 12]);
    set("lustre", "llite.max_read_ahead_mb=7").unwrap();
    assert_eq!(
        since(&w, client, c0 + 6)[1],
        "Param lustre-client llite.max_read_ahead_mb=7"
    );
    set(mdt, "lov.stripesize=1048576").unwrap();
    assert_eq!(
        since(&w, client, c0 + 9)[1],
        "Param lustre-clilov lov.stripesize=1048576"
    );
    assert_eq!(
        since(&w, mdt, m0 + 9)[1],
        "Param lustre-MDT0000-mdtlov lov.stripesize=1048576"
    );
    set("lustre", "mdt.root_squash=99:99").unwrap();
    assert_eq!(
        since(&w, mdt, m0 + 12)[1],
        "Param lustre-MDT0000 mdt.root_squash=99:99"
    );
    assert_eq!(
        since(&w, client, c0 + 12)[1],
        "Param lustre-client llite.root_squash=99:99"
    );
    set(ost, "failover.node=10.0.0.3@tcp,10.0.1.3@tcp:10.0.0.4@tcp").unwrap();
    assert_eq!(
        since(&w, client, c0 + 15),
        [
            "marker 1 lustre-OST0000 \"add failnid\"",
            "AddUuid  10.0.0.3@tcp",
            "AddUuid  10.0.0.3@tcp",
            "AddConn lustre-OST0000-osc 10.0.0.3@tcp",
            "AddUuid  10.0.0.4@tcp",
            "AddConn lustre-OST0000-osc 10.0.0.4@tcp",
            "marker 2 lustre-OST0000 \"add failnid\"",
        ]
    );
    let before = counts(&w);
    for (device, param, want) in [
        ("lustre", "sys.nothing=1", EINVAL),
        ("lustre", "sys.timeout=x", EINVAL),
        ("lustre", "quota.ost=x", EINVAL),
        ("lustre", "osc.a=1", EINVAL),
        ("lustre", "llite.root_squash=1:1", EINVAL),
        (ost, "llite.a=1", EINVAL),
        (mdt, "mdt.root_squash=1:1", EINVAL),
        (ost, "failover.mode=failout", EPERM),
        (mdt, "mdc.active=0", EPERM),
        (ost, "failover.node=nobody", EINVAL),
        (ost, "srpc.flavor=x", EINVAL),
        ("lustre-OST0001", "osc.a=1", ENOENT),
        ("other", "sys.timeout=1", EINVAL),
        ("bad/name", "sys.timeout=1", EINVAL),
        (ost, "", EINVAL),
    ] {
        assert_eq!(set(device, param), Err(want), "{device} {param}");
    }
    set("lustre", "unheard.of=1").unwrap();
    assert_eq!(counts(&w), before);

    // Parameters of all nodes are in a log of their own.
    let global = |p: &str| w.mgs.set_param(p.as_bytes(), false);
    global("osc.*.max_dirty_mb=64").unwrap();
    global("mdt.lustre-MDT0000.x=1").unwrap();
    assert_eq!(
        w.text("params"),
        [
            "marker 1 general \"osc.*.max_dirty_mb\"",
            "SetParam general osc.*.max_dirty_mb=64 lctl",
            "marker 2 general \"osc.*.max_dirty_mb\"",
            "marker 1 lustre \"mdt.lustre-MDT0000.x\"",
            "SetParam lustre mdt.lustre-MDT0000.x=1 lctl",
            "marker 2 lustre \"mdt.lustre-MDT0000.x\"",
        ]
    );
    w.mgs.set_param(b"osc.*.max_dirty_mb", true).unwrap();
    assert_eq!(
        w.text("params")[0],
        "marker 5 general \"osc.*.max_dirty_mb\""
    );
    assert_eq!(w.mgs.set_param(b"osc.*.max_dirty_mb", true), Err(ENOENT));
    for (p, want) in [
        ("failover.mode=x", EPERM),
        ("llite.*.root_squash=1:1", EINVAL),
        ("=1", EINVAL),
    ] {
        assert_eq!(global(p), Err(want), "{p}");
    }
}

#[test]
fn other_nodes_and_parameters_at_once() {
    let w = World::new(32);
    let p = one_of_each(&w);
    let r = Reg {
        params: "mgsnode=10.0.0.9@tcp failover.node=10.0.0.5@tcp:10.0.0.6@tcp sys.timeout=30 ",
        ..Reg::new(
            VIRGIN_OST,
            1,
            "lustre-OST0001",
            &["10.0.0.7@tcp", "10.1.0.7@tcp1"],
        )
    };
    let n = w.text("lustre-client").len();
    p.must_register(&r);
    assert_eq!(
        since(&w, "lustre-client", n),
        [
            "marker 1 lustre-OST0001 \"add osc\"",
            "AddUuid  10.0.0.7@tcp",
            "AddUuid  10.0.0.7@tcp",
            "Attach lustre-OST0001-osc osc lustre-clilov_UUID",
            "Setup lustre-OST0001-osc lustre-OST0001_UUID 10.0.0.7@tcp",
            "AddUuid  10.0.0.5@tcp",
            "AddConn lustre-OST0001-osc 10.0.0.5@tcp",
            "AddUuid  10.0.0.6@tcp",
            "AddConn lustre-OST0001-osc 10.0.0.6@tcp",
            "LovAddObd lustre-clilov lustre-OST0001_UUID 1 1",
            "marker 2 lustre-OST0001 \"add osc\"",
            "marker 1 lustre \"sys.timeout\"",
            "SetTimeout  sys.timeout=30",
            "marker 2 lustre \"sys.timeout\"",
        ]
    );
    assert!(w
        .text("lustre-OST0001")
        .contains(&"SetTimeout  sys.timeout=30".into()));
    assert!(w
        .text("lustre-OST0000")
        .contains(&"SetTimeout  sys.timeout=30".into()));
}

/// `spec/mgs-config.md` 11.7.
#[test]
fn more_mdts() {
    let w = World::new(33);
    let p = one_of_each(&w);
    w.mgs
        .conf_param(b"lustre", b"mdt.identity_upcall=NONE", false)
        .unwrap();
    let (n, c) = (
        w.text("lustre-MDT0000").len(),
        w.text("lustre-client").len(),
    );
    p.must_register(&Reg::new(
        VIRGIN_MDT,
        1,
        "lustre-MDT0001",
        &["10.0.0.8@tcp"],
    ));
    assert_eq!(
        w.text("lustre-MDT0001"),
        [
            "marker 1 lustre-MDT0001-mdtlov \"lov setup\"",
            "Attach lustre-MDT0001-mdtlov lov lustre-MDT0001-mdtlov_UUID",
            "Setup lustre-MDT0001-mdtlov ",
            "marker 2 lustre-MDT0001-mdtlov \"lov setup\"",
            "marker 1 lustre-MDT0001 \"add mdt\"",
            "Attach lustre-MDT0001 mdt lustre-MDT0001_UUID",
            "MountOpt  lustre-MDT0001 lustre-MDT0001-mdtlov",
            "Setup lustre-MDT0001 lustre-MDT0001_UUID 1 lustre-MDT0001-mdtlov f",
            "marker 2 lustre-MDT0001 \"add mdt\"",
            "marker 1 lustre-MDT0000 \"add osp\"",
            "AddUuid  10.0.0.1@tcp",
            "Attach lustre-MDT0000-osp-MDT0001 osp lustre-MDT0001-mdtlov_UUID",
            "Setup lustre-MDT0000-osp-MDT0001 lustre-MDT0000_UUID 10.0.0.1@tcp",
            "AddMdc lustre-MDT0001-mdtlov lustre-MDT0000_UUID 0 1 lustre-MDT0000-mdc_UUID",
            "marker 2 lustre-MDT0000 \"add osp\"",
            "marker 1 lustre-OST0000 \"add osc\"",
            "AddUuid  10.0.0.2@tcp",
            "Attach lustre-OST0000-osc-MDT0001 osc lustre-MDT0001-mdtlov_UUID",
            "Setup lustre-OST0000-osc-MDT0001 lustre-OST0000_UUID 10.0.0.2@tcp",
            "LovAddObd lustre-MDT0001-mdtlov lustre-OST0000_UUID 0 1",
            "marker 2 lustre-OST0000 \"add osc\"",
            "marker 1 lustre-MDT0001 \"mdt.identity_upcall\"",
            "Param lustre-MDT0001 mdt.identity_upcall=NONE",
            "marker 2 lustre-MDT0001 \"mdt.identity_upcall\"",
        ]
    );
    assert_eq!(
        since(&w, "lustre-MDT0000", n),
        [
            "marker 1 lustre-MDT0001 \"add osp\"",
            "AddUuid  10.0.0.8@tcp",
            "Attach lustre-MDT0001-osp-MDT0000 osp lustre-MDT0000-mdtlov_UUID",
            "Setup lustre-MDT0001-osp-MDT0000 lustre-MDT0001_UUID 10.0.0.8@tcp",
            "AddMdc lustre-MDT0000-mdtlov lustre-MDT0001_UUID 1 1",
            "marker 2 lustre-MDT0001 \"add osp\"",
        ]
    );
    assert_eq!(since(&w, "lustre-client", c).len(), 6);
    // An OST that comes now goes to both; one that came before the MDTs went nowhere else.
    p.must_register(&Reg::new(VIRGIN_OST, 5, "lustre-OST0005", B));
    for mdt in ["MDT0000", "MDT0001"] {
        let attach = format!("Attach lustre-OST0005-osc-{mdt} osc lustre-{mdt}-mdtlov_UUID");
        assert!(w.text(&format!("lustre-{mdt}")).contains(&attach));
    }
}

#[test]
fn an_ost_before_its_mdt() {
    let w = World::new(34);
    let p = Peer::new(&w, 2);
    p.must_register(&Reg::new(VIRGIN_OST, 0, "lustre-OST0000", B));
    assert!(w.file("lustre-MDT0000").is_none());
    p.must_register(&Reg::new(VIRGIN_MDT, 0, "lustre-MDT0000", A));
    let attach = "Attach lustre-OST0000-osc-MDT0000 osc lustre-MDT0000-mdtlov_UUID".to_string();
    assert!(w.text("lustre-MDT0000").contains(&attach));
    let client = w.text("lustre-client");
    assert_eq!(client.len(), 29 - 6);
    assert_eq!(
        client
            .iter()
            .filter(|l| l.contains("\"mount opts\""))
            .count(),
        2
    );
}

#[test]
fn logs_made_anew() {
    let osd: Arc<dyn Device> = MemoryDevice::new();
    let w = World::on(35, osd.clone());
    let p = one_of_each(&w);
    p.must_register(&Reg::new(VIRGIN_OST, 1, "lustre-OST0001", B));
    w.mgs
        .conf_param(b"lustre", b"sys.timeout=20", false)
        .unwrap();
    let other = Reg {
        fs: "lustre-x",
        ..Reg::new(VIRGIN_MDT, 0, "lustre-x-MDT0000", A)
    };
    p.must_register(&other);

    // One OST: its own log; what the others have of it stays.
    let (id, n) = (
        *w.file("lustre-OST0001").unwrap().fid(),
        w.text("lustre-client").len(),
    );
    let anew = |kind: u32, i, name| Reg::new(kind | WRITECONF, i, name, B);
    let m = p.must_register(&anew(VIRGIN_OST, 1, "lustre-OST0001"));
    assert_eq!(m.mti_flags.get(), 0x1002_0082);
    assert_ne!(*w.file("lustre-OST0001").unwrap().fid(), id);
    let added = since(&w, "lustre-client", n);
    assert_eq!(added[0], "marker 5 lustre-OST0001 \"add osc\"");
    assert_eq!(added[5], "marker 6 lustre-OST0001 \"add osc\"");

    // MDT0000: all of the file system, and only that.
    let theirs = w.bytes("lustre-x-client");
    p.must_register(&Reg {
        nids: A,
        ..anew(VIRGIN_MDT, 0, "lustre-MDT0000")
    });
    assert!(w.file("lustre-OST0000").is_none() && w.file("lustre-OST0001").is_none());
    assert_eq!(w.text("lustre-client").len(), 17);
    assert_eq!(w.bytes("lustre-x-client"), theirs);
    let restart = Reg::new(RESTART_OST, 0, "lustre-OST0000", B);
    assert_eq!(p.register(&restart).0, ENOENT.to_errno());
    p.must_register(&anew(0x1002_0002, 0, "lustre-OST0000"));
    assert_eq!(w.text("lustre-client").len(), 23);

    // Another life of the MGS knows all of it from the logs.
    let before: Vec<_> = ["client", "MDT0000", "OST0000"]
        .map(|l| w.bytes(&format!("lustre-{l}")))
        .into();
    drop(p);
    drop(w);
    let w = World::on(35, osd);
    let p = Peer::new(&w, 2);
    assert_eq!(
        p.register(&Reg::new(VIRGIN_OST, 0, "lustre-OST0000", B)).0,
        EADDRINUSE.to_errno()
    );
    p.must_register(&restart);
    let after: Vec<_> = ["client", "MDT0000", "OST0000"]
        .map(|l| w.bytes(&format!("lustre-{l}")))
        .into();
    assert!(before == after);
    p.must_register(&Reg::new(VIRGIN_OST, 1, "lustre-OST0001", B));
    let log = w.bytes("lustre-client");
    let steps: Vec<u32> = common::steps(&log);
    assert!(steps.windows(2).all(|s| s[0] <= s[1]), "{steps:?}");
}
