// SPDX-License-Identifier: GPL-2.0

//! Clients that say too little on the network: nothing, half of a message, or no reading of what they
//! are answered. They harm themselves only.

mod common;

use common::{Mds, QUICK};
use kapi::net::Ipv4Addr;
use kapi::prelude::{EAGAIN, ETIMEDOUT};
use stack::{beside, own_memory, RawPeer, TestClient};
use std::time::{Duration, Instant};
use wire::nid::{Net, Nid};

const MIB: u64 = 1 << 20;

/// Addresses that no node has.
fn stranger(n: usize) -> Nid {
    let (a, b) = ((n / 200) as u8, (n % 200) as u8);
    Nid::v4(Net::TCP, Ipv4Addr::new(127, 255, a, b + 1))
}

/// How long the node takes to close a connection.
fn closed_within(p: &RawPeer, most: Duration) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < most {
        match p.receive(Duration::from_millis(100)) {
            Ok(_) | Err(ETIMEDOUT) => {}
            Err(_) => return true,
        }
    }
    false
}

/// Connections that nothing comes by, or half of what should come, are as many as may be; others come
/// in meanwhile.
#[test]
fn connections_without_hello() {
    let m = Mds::new();
    let quiet = |n| RawPeer::silent(m.node.nid, stranger(n));
    // From one address, and then from many.
    let mut all: Vec<_> = (0..500).map(|_| quiet(0).unwrap()).collect();
    for n in 1..40 {
        for _ in 0..16 {
            let p = quiet(n).unwrap();
            p.send(&0xACCE_7100_u32.to_le_bytes()).unwrap();
            all.push(p);
        }
    }
    let begin = Instant::now();
    let c = TestClient::connect(&m.node);
    m.use_it(&c, 0);
    assert!(begin.elapsed() < QUICK, "{:?}", begin.elapsed());
    // Who says nothing is thrown out: most of those of one address at once, all others soon.
    assert!(closed_within(&all[0], QUICK));
    assert!(all[1000..]
        .iter()
        .all(|p| closed_within(p, Duration::from_secs(8))));
    c.stop();
    m.stop();
}

/// Messages that are not sent to their end hold memory, but not much, and not for long.
#[test]
fn half_messages() {
    let m = Mds::new();
    let c = TestClient::connect(&m.node);
    let before = own_memory();
    let (bad, n, worst) = beside(
        |n| m.use_it(&c, n),
        || {
            let mut bad = Vec::new();
            for n in 0..20 {
                // More of one type than 16 are not taken.
                for _ in 0..16 {
                    let p = RawPeer::connect(m.node.nid, stranger(n)).unwrap();
                    let mut bytes = p.put_of(60 << 10);
                    bytes.truncate(5000);
                    p.send(&bytes).unwrap();
                    bad.push(p);
                }
                assert!(RawPeer::connect(m.node.nid, stranger(n)).is_err());
            }
            std::thread::sleep(Duration::from_millis(500));
            bad
        },
    );
    let grown = own_memory().saturating_sub(before);
    assert!(n > 10 && worst < QUICK, "{n}, {worst:?}");
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    let limit = m.timeout + Duration::from_secs(5);
    assert!(bad.iter().all(|p| closed_within(p, limit)));
    // The memory goes just after the connection.
    let begin = Instant::now();
    while m.node.server.node().lnet().receive_backlog() > 0 {
        assert!(begin.elapsed() < QUICK);
        std::thread::sleep(Duration::from_millis(10));
    }
    c.stop();
    m.stop();
}

/// One that reads no answers, and goes on to ask.
#[test]
fn no_reading() {
    let m = Mds::new();
    let c = TestClient::connect(&m.node);
    let p = RawPeer::connect(m.node.nid, stranger(0)).unwrap();
    let before = own_memory();
    let ((asked, end), n, worst) = beside(
        |n| m.use_it(&c, n),
        || {
            let begin = Instant::now();
            let mut asked = 0_u64;
            while begin.elapsed() < m.timeout * 4 {
                // What is left of a message goes after it.
                let bytes = p.ping(asked + 1);
                let mut at = 0;
                while at < bytes.len() {
                    match p.try_send(&bytes[at..]) {
                        Ok(n) => at += n,
                        Err(EAGAIN) if begin.elapsed() < m.timeout * 4 => {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        Err(e) => return (asked, e),
                    }
                }
                asked += 1;
            }
            (asked, EAGAIN)
        },
    );
    let grown = own_memory().saturating_sub(before);
    println!("{asked} requests without reading, {} MiB", grown / MIB);
    assert!(end != EAGAIN, "it is not cut off");
    assert!(asked > 10_000);
    assert!(n > 10 && worst < QUICK, "{n}, {worst:?}");
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    c.stop();
    m.stop();
}

/// One that reconnects as fast as it can, and says little each time.
#[test]
fn connecting_all_the_time() {
    let m = Mds::new();
    let c = TestClient::connect(&m.node);
    let (times, n, worst) = beside(
        |n| m.use_it(&c, n),
        || {
            let begin = Instant::now();
            let mut times = 0;
            while begin.elapsed() < Duration::from_secs(2) {
                if let Ok(p) = RawPeer::connect(m.node.nid, stranger(1)) {
                    let _ = p.send(&p.ping(1));
                    times += 1;
                }
            }
            times
        },
    );
    println!("{times} connections in two seconds");
    assert!(times > 20, "{times}");
    assert!(n > 10 && worst < QUICK, "{n}, {worst:?}");
    c.stop();
    m.stop();
}
