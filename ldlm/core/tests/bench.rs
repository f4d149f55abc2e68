// SPDX-License-Identifier: GPL-2.0

//! How it scales. Run with `cargo test --release -p ldlm -- --ignored --nocapture bench`.

use super::*;
use std::time::Instant;

const N: u64 = 100_000;

fn step(what: &str, since: &mut Instant) {
    let took = since.elapsed();
    std::println!("{what}: {} ns each", took.as_nanos() as u64 / N);
    *since = Instant::now();
}

fn extent(start: u64, end: u64) -> Policy {
    Policy::Extent(Extent::new(start, end))
}

/// Grants, floods and drains one resource with many locks.
#[test]
#[ignore = "a measurement"]
fn bench_one_resource() {
    let mut r = Resource::new(ResId([1, 0, 0, 0]), LockType::Extent);
    let mut w = FlockWaits::new();
    let mut env = Env::default();
    let mut t = Instant::now();
    let mut held = Vec::new();
    for i in 0..N {
        let mut n = new_lock(
            i + 1,
            i % 1000 + 1,
            Mode::Pw,
            extent(i << 20, ((i + 1) << 20) - 1),
        );
        n.flags = flags::NO_EXPANSION;
        let ix = r.create(&n).unwrap();
        assert_eq!(r.enqueue(ix, 0, &mut env).unwrap().status, Status::Granted);
        held.push(ix);
    }
    step("disjoint PW, granted", &mut t);
    let n = new_lock(N + 1, 7, Mode::Pr, extent(0, u64::MAX));
    let ix = r.create(&n).unwrap();
    r.enqueue(ix, 0, &mut env).unwrap();
    assert_eq!(drain(&mut r, &mut w).len() as u64, N);
    step("one PR over all, callbacks", &mut t);
    for ix in held {
        let h = r.cancel(ix, &mut env);
        r.reprocess(h, &mut env);
    }
    assert_eq!(drain(&mut r, &mut w).len() as u64, N + 1);
    step("cancelled", &mut t);
    let h = r.cancel(ix, &mut env);
    r.reprocess(h, &mut env);
    let mut queued = Vec::new();
    for i in 0..N {
        let ix = r
            .create(&new_lock(
                i + 1,
                i % 1000 + 1,
                Mode::Pw,
                extent(0, u64::MAX),
            ))
            .unwrap();
        r.enqueue(ix, 0, &mut env).unwrap();
        queued.push(ix);
    }
    step("PW on the same range, queued", &mut t);
    let mut turns = 0u128;
    while r.granted() > 0 {
        let mut at = None;
        for a in drain(&mut r, &mut w) {
            if let Action::Completion(c) = a {
                at = Some(c.to.cookie);
            }
        }
        let ix = queued[at.unwrap_or(1) as usize - 1];
        let h = r.cancel(ix, &mut env);
        r.reprocess(h, &mut env);
        turns += 1;
    }
    assert_eq!(turns, u128::from(N));
    std::println!(
        "handed on from one to the next: {} ns each",
        t.elapsed().as_nanos() / turns
    );
}

/// A lock that everybody holds, and one who wants it all.
#[test]
#[ignore = "a measurement"]
fn bench_shared_bits() {
    let mut r = Resource::new(ResId([1, 0, 0, 0]), LockType::Ibits);
    let mut w = FlockWaits::new();
    let mut env = Env::default();
    let mut t = Instant::now();
    let p = |bits| {
        Policy::Ibits(Ibits {
            bits,
            ..Default::default()
        })
    };
    let mut held = Vec::new();
    for i in 0..N {
        let ix = r
            .create(&new_lock(i + 1, i + 1, Mode::Pr, p(0x13)))
            .unwrap();
        r.enqueue(ix, 0, &mut env).unwrap();
        held.push(ix);
    }
    step("PR on one inode", &mut t);
    for i in 0..100 {
        let ix = r.create(&new_lock(N + i + 1, 1, Mode::Ex, p(2))).unwrap();
        r.enqueue(ix, 0, &mut env).unwrap();
    }
    drain(&mut r, &mut w);
    step("100 EX against them, callbacks", &mut t);
    for ix in held {
        let h = r.cancel(ix, &mut env);
        r.reprocess(h, &mut env);
    }
    drain(&mut r, &mut w);
    assert_eq!((r.granted(), r.waiting()), (1, 99));
    step("cancelled", &mut t);
}

/// Many resources with one lock each.
#[test]
#[ignore = "a measurement"]
fn bench_many_resources() {
    let mut env = Env::default();
    let mut t = Instant::now();
    let mut all = Vec::new();
    for i in 0..N {
        let mut r = Resource::new(ResId([i, 0, 0, 0]), LockType::Extent);
        let ix = r
            .create(&new_lock(i + 1, 1, Mode::Pr, extent(0, 4095)))
            .unwrap();
        r.enqueue(ix, 0, &mut env).unwrap();
        all.push((r, ix));
    }
    step("resources with one lock", &mut t);
    for (r, ix) in &mut all {
        let _ = r.cancel(*ix, &mut env);
        while r.next_action(&mut env).is_some() {}
        assert!(r.is_empty());
    }
    step("cancelled", &mut t);
}
