// SPDX-License-Identifier: GPL-2.0

//! How fast data go through an OST on a store in memory, over loopback TCP. Not run by itself:
//! `cargo test --release -p ofd --test speed -- --ignored --nocapture`.

mod common;

use common::*;
use std::time::Instant as StdInstant;
use wire::fid::Fid;
use wire::obdo::{CksumType, ObdFl, ObdMd};
use wire::ost::BrwFlags;

const THREADS: u32 = 4;
const ROUNDS: u64 = 60;

fn run(name: &str, bytes: u64, ops: u64, f: impl Fn(u32) + Sync) {
    let begun = StdInstant::now();
    std::thread::scope(|s| {
        for t in 0..THREADS {
            let f = &f;
            s.spawn(move || f(t));
        }
    });
    let time = begun.elapsed().as_secs_f64();
    println!(
        "{name:<24} {:>8.0} MiB/s {:>8.0} requests/s",
        bytes as f64 / time / f64::from(1 << 20),
        ops as f64 / time
    );
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let oss = Oss::new(99);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(THREADS);
    let object = |t: u32| Fid::new(fid.seq, fid.oid + t);
    for t in 0..THREADS {
        c.lock_all(object(t));
    }
    let async_write = BrwFlags::ASYNC;
    let data = pattern(4 << 20, 1);
    for (what, kind) in [
        ("", None),
        (" crc32c", Some(CksumType::Crc32c)),
        (" adler", Some(CksumType::Adler)),
    ] {
        let total = u64::from(THREADS) * ROUNDS;
        let body = |t| {
            let mut o = obdo(object(t), ObdMd::empty());
            if let Some(k) = kind {
                o.set_cksum(k, 0);
            }
            o
        };
        let n = |i: u64| [niobuf((i % 8) * (4 << 20), 4 << 20, async_write)];
        run(&format!("write 4 MiB{what}"), total << 22, total, |t| {
            for i in 0..ROUNDS {
                c.write_with(&body(t), &n(i), &data)
                    .unwrap()
                    .check()
                    .unwrap();
            }
        });
        run(&format!("read 4 MiB{what}"), total << 22, total, |t| {
            for i in 0..ROUNDS {
                c.read_with(&body(t), &n(i)).unwrap();
            }
        });
    }
    for (name, short) in [("4 KiB by bulk", false), ("4 KiB in messages", true)] {
        let rounds = ROUNDS * 40;
        let total = u64::from(THREADS) * rounds;
        let body = |t| {
            let mut o = obdo(object(t), ObdMd::empty());
            if short {
                o.set_flags(ObdFl::SHORT_IO);
            }
            o
        };
        let n = |i: u64| [niobuf((i % 4096) * 4096, 4096, async_write)];
        run(&format!("write {name}"), total << 12, total, |t| {
            for i in 0..rounds {
                c.write_with(&body(t), &n(i), &data[..4096])
                    .unwrap()
                    .check()
                    .unwrap();
            }
        });
        run(&format!("read {name}"), total << 12, total, |t| {
            for i in 0..rounds {
                c.read_with(&body(t), &n(i)).unwrap();
            }
        });
    }
}
