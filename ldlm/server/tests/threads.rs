// SPDX-License-Identifier: GPL-2.0

//! Many clients at once, well-behaved and not.

use super::*;

/// Clients and the server itself fight over a few objects; everybody gets everything in the end.
#[test]
fn many_threads() {
    let (ns, _) = namespace();
    const CLIENTS: u64 = 4;
    const ROUNDS: u64 = 300;
    let mut threads = Vec::new();
    for id in 1..=CLIENTS {
        let (exp, rx) = client(&ns, id);
        let (done_tx, done_rx) = channel::<u64>();
        // Gives up what is called back, tells of what is granted.
        let cb = {
            let (ns, exp) = (ns.clone(), exp.clone());
            std::thread::spawn(move || {
                for m in rx {
                    match m {
                        Msg::Blocking(bl, done) => {
                            ok(done);
                            ns.cancel(&exp, [bl.to.cookie].into_iter());
                        }
                        Msg::Completion(cp, _, done) => {
                            ok(done);
                            if cp.flags & flags::AST_SENT != 0 {
                                ns.cancel(&exp, [cp.to.cookie].into_iter());
                            }
                            let _ = done_tx.send(cp.to.client_handle);
                        }
                        Msg::Glimpse(_, done) => done.complete(AstOutcome::Replied(-303, &[])),
                        Msg::Evict(why) => {
                            assert_eq!(why, "the end");
                            return;
                        }
                    }
                }
            })
        };
        let ns2 = ns.clone();
        let main = std::thread::spawn(move || {
            for i in 0..ROUNDS {
                let h = (id << 32) | i;
                let mode = if (i + id) % 3 == 0 {
                    Mode::Pw
                } else {
                    Mode::Pr
                };
                let at = (i * 7 + id) % 5 * 4096;
                let mut r = req(h, mode, Policy::Extent(Extent::new(at, at + 4095)));
                r.res = ResId([77 + i % 3, 0, 0, 0]);
                if i % 11 == 0 {
                    r.flags = flags::HAS_INTENT;
                }
                match ns2.enqueue(&exp, &r, None) {
                    Ok(e) if e.flags & flags::BLOCK_GRANTED != 0 => {
                        while done_rx.recv().unwrap() != h {}
                    }
                    Ok(e) if e.flags & flags::AST_SENT != 0 => {
                        ns2.cancel(&exp, [e.cookie].into_iter());
                    }
                    Ok(_) => {}
                    // Called back and given up before the reply was made.
                    Err(e) => assert_eq!(e, EAGAIN),
                }
            }
            exp
        });
        threads.push((main, cb));
    }
    for i in 0..ROUNDS {
        let res = ResId([77 + i % 3, 0, 0, 0]);
        let l = ns
            .lock_local(&res, Mode::Pw, WHOLE, LocalOptions::default())
            .unwrap();
        drop(l);
    }
    let mut cbs = Vec::new();
    for (main, cb) in threads {
        let exp = main.join().unwrap();
        ns.detach(&exp);
        exp.sender.evict("the end").unwrap();
        cbs.push(cb);
    }
    for cb in cbs {
        cb.join().unwrap();
    }
    assert_eq!(ns.stats(), NamespaceStats::default());
}

/// Clients that answer at random, or not at all, are evicted and come back; nothing is lost, and
/// nobody waits for ever.
#[test]
fn chaos() {
    let (ns, _) = namespace();
    const CLIENTS: u64 = 4;
    let mut threads = Vec::new();
    for c in 1..=CLIENTS {
        let ns = ns.clone();
        threads.push(std::thread::spawn(move || {
            let mut x = c * 977;
            let mut rnd = move |n: u64| {
                x = x
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (x >> 33) % n
            };
            for life in 0..20u64 {
                let (exp, rx) = client(&ns, c * 1000 + life);
                let mut held: Vec<u64> = Vec::new();
                let mut evicted = false;
                for i in 0..60 {
                    let at = rnd(5) * 4096;
                    let mode = if rnd(3) == 0 { Mode::Pw } else { Mode::Pr };
                    let mut r = req(i + 1, mode, Policy::Extent(Extent::new(at, at + 4095)));
                    r.res = ResId([77 + rnd(3), 0, 0, 0]);
                    if let Ok(e) = ns.enqueue(&exp, &r, None) {
                        held.push(e.cookie);
                    }
                    if rnd(4) == 0 && !held.is_empty() {
                        let n = rnd(held.len() as u64) as usize;
                        ns.cancel(&exp, [held.swap_remove(n)].into_iter());
                    }
                    while let Ok(m) = rx.try_recv() {
                        match m {
                            Msg::Blocking(bl, done) => match rnd(40) {
                                0 => drop(done),
                                1..=3 => done
                                    .unwrap()
                                    .complete(AstOutcome::Replied(EINVAL.to_errno(), &[])),
                                _ => {
                                    ok(done);
                                    ns.cancel(&exp, [bl.to.cookie].into_iter());
                                }
                            },
                            Msg::Completion(cp, _, done) => match rnd(20) {
                                0 => drop(done),
                                _ => {
                                    ok(done);
                                    if cp.flags & flags::AST_SENT != 0 {
                                        ns.cancel(&exp, [cp.to.cookie].into_iter());
                                    }
                                }
                            },
                            Msg::Glimpse(_, done) => done.complete(AstOutcome::Replied(-303, &[])),
                            Msg::Evict(_) => evicted = true,
                        }
                    }
                    if evicted {
                        break;
                    }
                }
                ns.detach(&exp);
                assert_eq!(exp.count(), 0);
            }
        }));
    }
    for t in threads {
        t.join().unwrap();
    }
    let left = ns.stats();
    assert_eq!((left.resources, left.locks, left.granted), (0, 0, 0));
    assert!(left.timeouts > 0);
}

/// How fast the shell is. Run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn bench_enqueue_cancel() {
    let (ns, ops) = namespace();
    const N: u64 = 100_000;
    for i in 0..N {
        let l = Lvb::default();
        ops.disk.lock().unwrap().insert(ResId([i, 0, 0, 0]), l);
    }
    for threads in [1u64, 2] {
        let start = std::time::Instant::now();
        let mut all = Vec::new();
        for t in 0..threads {
            let ns = ns.clone();
            all.push(std::thread::spawn(move || {
                let (exp, _rx) = client(&ns, 10 * threads + t);
                for i in (t..N).step_by(threads as usize) {
                    let mut r = req(i, Mode::Pw, WHOLE);
                    r.res = ResId([i, 0, 0, 0]);
                    let e = match ns.enqueue(&exp, &r, None) {
                        Ok(e) => e,
                        Err(e) => panic!("{e:?}"),
                    };
                    assert_eq!(ns.cancel(&exp, [e.cookie].into_iter()), 1);
                }
                ns.detach(&exp);
            }));
        }
        for t in all {
            t.join().unwrap();
        }
        let each = start.elapsed().as_nanos() as u64 / N;
        std::println!("{threads} threads: {each} ns for an enqueue and its cancel");
    }
}
