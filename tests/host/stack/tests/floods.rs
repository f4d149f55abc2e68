// SPDX-License-Identifier: GPL-2.0

//! Clients that ask for more than their share: requests, threads, locks, connections. Others get theirs.

mod common;

use common::{Mds, QUICK};
use kapi::net::Ipv4Addr;
use kapi::prelude::*;
use ldlm::core::{ibits, Desc, Mode};
use ldlm::server::LOCK_MEMORY;
use lustre_client::cred::Cred;
use lustre_client::mdc::{bits, resource, Looked};
use lustre_client::rpc;
use ptlrpc::call::{CallOptions, Outcome};
use ptlrpc::message::Msg;
use stack::{beside, own_memory, RawPeer, TestClient};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc as StdArc;
use std::time::{Duration as StdDuration, Instant as StdInstant};
use wire::fid::Fid;
use wire::mdt::MdtBody;
use wire::msg::{DLM_VERSION, MDS_VERSION, OBD_VERSION};
use wire::nid::{Net, Nid};
use wire::obdo::ObdMd;
use wire::opcode::{portal, LDLM_ENQUEUE, MDS_READPAGE, MDS_STATFS, OBD_PING};
use zerocopy::IntoBytes;

const MIB: u64 = 1 << 20;
/// Requests that a flood has under way: more than a service keeps.
const FLOOD: u64 = 20_000;
/// How long it goes on.
const LONG: StdDuration = StdDuration::from_secs(3);

fn ping() -> Msg {
    Msg::request(OBD_PING, OBD_VERSION, &[]).unwrap()
}

/// What a flood came to: requests answered well, answered otherwise, not answered.
#[derive(Default)]
struct Answers {
    good: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

impl Answers {
    fn all(&self) -> u64 {
        [&self.good, &self.refused, &self.lost]
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .sum()
    }
}

/// Sends `total` requests, or as many as it can in some seconds, with `window` of them under way.
fn flood(
    c: &TestClient,
    (total, window): (u64, u64),
    portal: Option<u32>,
    make: impl Fn(u64) -> Msg,
) -> StdArc<Answers> {
    let answers = StdArc::new(Answers::default());
    let begin = StdInstant::now();
    let mut n = 0;
    while n < total && begin.elapsed() < LONG {
        if n >= answers.all() + window {
            std::thread::sleep(StdDuration::from_millis(1));
            continue;
        }
        let mut o = CallOptions::new(&[4096]).unwrap();
        o.portal = portal;
        o.no_resend = true;
        let a = answers.clone();
        let count = move |o: Outcome| {
            let n = match o {
                Ok(r) if r.status == 0 => &a.good,
                Ok(_) => &a.refused,
                Err(_) => &a.lost,
            };
            n.fetch_add(1, Ordering::Relaxed);
        };
        let import = c.mdc.target().import();
        let done = KBox::new(count, GFP_KERNEL).unwrap();
        import.call_async(make(n), o, None, done).unwrap();
        n += 1;
    }
    answers
}

/// Floods a node while another client goes on.
fn others_go_on(what: &str, make: impl Fn(u64) -> Msg) {
    let m = Mds::new();
    let (c, bad) = (TestClient::connect(&m.node), TestClient::connect(&m.node));
    let before = own_memory();
    let (answers, n, worst) = beside(
        |n| m.use_it(&c, n),
        || flood(&bad, (u64::MAX, FLOOD), None, make),
    );
    let (all, grown) = (answers.all(), own_memory().saturating_sub(before));
    println!(
        "{what}: {all} done; {n} of the other, {worst:?} at the most; {} MiB",
        grown / MIB
    );
    assert!(n > 10 && worst < QUICK, "{what}: {n}, {worst:?}");
    // Most of it is the client's own.
    assert!(grown < 192 * MIB, "{what}: {} MiB", grown / MIB);
    // It is no enemy: it gets its share.
    assert!(all > 1000, "{what}: {all}");
    c.stop();
    let target = m.mdt.target();
    target.for_each_export(&mut |e| target.evict(e, "the test is over"));
    bad.stop();
    m.stop();
}

#[test]
fn pings() {
    others_go_on("pings", |_| ping());
}

#[test]
fn questions() {
    others_go_on("questions", |_| {
        Msg::request(MDS_STATFS, MDS_VERSION, &[size_of::<MdtBody>() as u32]).unwrap()
    });
}

/// The service waits for a client that does not take what it has asked for: with some of its threads.
#[test]
fn bulk_that_nobody_takes() {
    let m = Mds::new();
    let (c, bad) = (TestClient::connect(&m.node), TestClient::connect(&m.node));
    let read = |_| {
        let cred = Cred::root();
        let mut b = MdtBody::default();
        cred.fill_body(&mut b, None);
        b.mbo_fid1 = Fid::ROOT.into();
        b.set_valid(ObdMd::FLID);
        b.mbo_nlink.set(4096);
        rpc::request(MDS_READPAGE, MDS_VERSION, &[b.as_bytes(), &[]]).unwrap()
    };
    let list = |_| {
        c.mdc.read_dir(Fid::ROOT, 0, &Cred::root()).unwrap();
    };
    let ((), n, worst) = beside(list, || {
        flood(&bad, (200, FLOOD), Some(portal::MDS_READPAGE), read);
        std::thread::sleep(LONG);
    });
    println!("reading: {n} of the other, {worst:?} at the most");
    assert!(n > 10 && worst < QUICK, "{n}, {worst:?}");
    c.stop();
    bad.stop();
    m.stop();
}

/// Ever new locks: as many as a client may have, then it is put off, and others are not.
#[test]
fn locks() {
    LOCK_MEMORY.set_reclaim_mb(4).unwrap();
    LOCK_MEMORY.set_limit_mb(8).unwrap();
    let share = 8 * 1024 / 2;
    let m = Mds::new();
    let (c, bad) = (TestClient::connect(&m.node), TestClient::connect(&m.node));
    let first = bad.mdc.new_fid().unwrap();
    let enqueue = |n: u64| {
        let fid = Fid {
            oid: first.oid + n as u32,
            ..first
        };
        let desc = Desc {
            res: resource(fid),
            req_mode: Mode::Pr,
            granted: None,
            policy: bits(ibits::LOOKUP),
            cancel_bits: 0,
        };
        let mut b = vec![0; ldlm::msg::request_len(0)];
        ldlm::msg::request(&mut b, 0, Some(&desc), Some(n + 1), &[]).unwrap();
        rpc::request(LDLM_ENQUEUE, DLM_VERSION, &[&b]).unwrap()
    };
    let (answers, n, worst) = beside(
        |n| m.use_it(&c, n),
        || {
            let a = flood(&bad, (share * 2, 2000), None, enqueue);
            while a.all() < share * 2 {
                std::thread::sleep(StdDuration::from_millis(10));
            }
            a
        },
    );
    let (good, refused) = (
        answers.good.load(Ordering::Relaxed),
        answers.refused.load(Ordering::Relaxed),
    );
    println!("locks: {good} granted, {refused} put off; {n} of the other, {worst:?} at the most");
    // What is taken back meanwhile may be granted again.
    assert!(good >= share && refused > 0, "{good}, {refused}");
    assert!(LOCK_MEMORY.granted() <= share + 100);
    assert!(n > 10 && worst < QUICK, "{n}, {worst:?}");
    c.stop();
    bad.stop();
    m.stop();
}

/// A lock that others want and that is not given back: its holder is evicted, they get it.
#[test]
fn a_lock_that_is_kept() {
    let m = Mds::new();
    let (c, bad) = (TestClient::connect(&m.node), TestClient::connect(&m.node));
    let other = TestClient::connect(&m.node);
    let cred = Cred::root();
    m.make_dir(&c, "kept");
    let look = |c: &TestClient| match c.mdc.look_up((Fid::ROOT, None), b"kept", Fid::ZERO, &cred) {
        Ok(Looked::Found(f)) => f,
        _ => panic!("it is not there"),
    };
    let dir = look(&c).attr.fid;
    // As long as this is there, the client uses the lock.
    let kept = look(&bad).lock;
    assert!(kept.is_some());
    let (took, n, worst) = beside(
        |n| m.use_it(&other, n),
        || {
            let begin = StdInstant::now();
            let change = lustre_client::mdc::SetAttr {
                mode: Some(0o700),
                ..Default::default()
            };
            c.mdc.setattr(dir, &change, &[], None, &cred).unwrap();
            begin.elapsed()
        },
    );
    println!("the lock came after {took:?}");
    // One and a half of the time-out, and the look once a second.
    assert!(
        took > StdDuration::from_secs(2) && took < StdDuration::from_secs(15),
        "{took:?}"
    );
    // The directory above is no affair of that lock.
    assert!(n > 10 && worst < QUICK, "{n}, {worst:?}");
    drop(kept);
    for c in [c, other, bad] {
        c.stop();
    }
    m.stop();
}

/// One that connects again and again.
#[test]
fn reconnects() {
    let m = Mds::new();
    let c = TestClient::connect(&m.node);
    let target = m.node.mdt_uuid();
    let stranger = Nid::v4(Net::TCP, Ipv4Addr::new(127, 254, 0, 2));
    let p = RawPeer::connect(m.node.nid, stranger).unwrap();
    let connect = |n: u32| {
        let bytes = p.mds_connect(n.into(), &target, "restless", n);
        p.send(&bytes).unwrap();
        let r = p.receive(Duration::from_secs(5)).unwrap();
        assert_eq!(r.msg.body().status(), 0, "{n}");
    };
    (1..500).for_each(connect);
    let before = own_memory();
    let ((), n, worst) = beside(|n| m.use_it(&c, n), || (500..10_000).for_each(connect));
    let grown = own_memory().saturating_sub(before);
    println!(
        "reconnects: {n} of the other, {worst:?} at the most; {} KiB",
        grown / 1024
    );
    assert!(n > 10 && worst < QUICK, "{n}, {worst:?}");
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    assert_eq!(m.mdt.target().num_exports(), 2);
    c.stop();
    m.stop();
}

/// Many names from one node: as many as a node may have; others still come in. Nobody hears of them again,
/// so they are given up.
#[test]
fn ten_thousand_names() {
    let m = Mds::new();
    let c = TestClient::connect(&m.node);
    let stranger = Nid::v4(Net::TCP, Ipv4Addr::new(127, 254, 0, 1));
    let target = m.node.mdt_uuid();
    let p = RawPeer::connect(m.node.nid, stranger).unwrap();
    let before = own_memory();
    let ((good, refused), n, worst) = beside(
        |n| m.use_it(&c, n),
        || {
            let (mut good, mut refused) = (0_u64, 0_u64);
            for n in 0..10_000 {
                let uuid = format!("name-{n}");
                p.send(&p.mds_connect(n + 1, &target, &uuid, 1)).unwrap();
                match p
                    .receive(Duration::from_secs(5))
                    .unwrap()
                    .msg
                    .body()
                    .status()
                {
                    0 => good += 1,
                    _ => refused += 1,
                }
            }
            (good, refused)
        },
    );
    let grown = own_memory().saturating_sub(before);
    println!("{good} let in, {refused} not; {} KiB", grown / 1024);
    // If that takes long, some are given up meanwhile.
    assert!(good >= 1024 && refused > 0, "{good}, {refused}");
    assert!(m.mdt.target().num_exports() <= 1025);
    assert!(grown < 128 * MIB, "{} MiB", grown / MIB);
    assert!(n > 10 && worst < QUICK, "{n}, {worst:?}");
    let begin = StdInstant::now();
    let other = TestClient::connect(&m.node);
    assert!(begin.elapsed() < QUICK);
    // Pings come every second here.
    while m.mdt.target().num_exports() > 2 {
        assert!(
            begin.elapsed() < StdDuration::from_secs(20),
            "they are not given up"
        );
        m.use_it(&c, 0);
        m.use_it(&other, 1);
        std::thread::sleep(StdDuration::from_millis(200));
    }
    println!("given up after {:?}", begin.elapsed());
    c.stop();
    other.stop();
    m.stop();
}
