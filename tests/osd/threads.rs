// SPDX-License-Identifier: GPL-2.0

//! Threads that work in directories of their own and in one of all.

use crate::Store;
use core::sync::atomic::{AtomicBool, Ordering};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, Walk};
use osd_contract::ops::{make, remove, rename, root};
use osd_contract::{check, ok, Stage};

const THREADS: u32 = 4;

/// The name of file `i`.
pub(crate) fn file_name(i: u32) -> [u8; 12] {
    let mut name = *b"file-0000000";
    let mut n = i;
    for b in name.iter_mut().rev().take(7) {
        *b = b'0' + (n % 10) as u8;
        n /= 10;
    }
    name
}

fn worker(d: &dyn Device, top: &ObjectRef, all: &ObjectRef, t: u32, rounds: u32) -> Result {
    let seq = 0x2_0000_0400 + u64::from(t);
    let dirname = file_name(9_000_000 + t);
    let own = ok!(make(
        d,
        top,
        &dirname,
        Fid::new(seq, 1),
        &Create::dir(0o755)
    ));
    for i in 0..rounds {
        let name = file_name(t * 1_000_000 + i);
        let fid = Fid::new(seq, 10 + i);
        ok!(make(d, &own, &name, fid, &Create::file(0o644)));
        if i % 3 == 0 {
            // Everybody's directory gets it: renames meet there, in both directions.
            ok!(rename(d, &own, &name, all, &name));
            check!(ok!(all.lookup(&name)) == fid);
            if i % 2 == 0 {
                ok!(rename(d, all, &name, &own, &name));
            }
        }
        if i % 5 == 4 {
            let old = file_name(t * 1_000_000 + i - 4);
            let moved = (i - 4) % 3 == 0 && (i - 4) % 2 != 0;
            ok!(remove(d, if moved { all } else { &own }, &old));
        }
        if i % 64 == 0 {
            ok!(all.readdir(0, &mut |_| Ok(Walk::Next)));
        }
    }
    Ok(())
}

/// Runs them.
pub(crate) fn check(rounds: u32) -> Result {
    let s = Store::open(false)?;
    let d = s.device()?;
    let base = ok!(root(&*d));
    let dir = Create::dir(0o755);
    let top = ok!(make(&*d, &base, b"ROOT", Fid::ROOT, &dir));
    let all = ok!(make(&*d, &top, b"all", Fid::new(0x2_0000_0500, 1), &dir));
    let start = Instant::now();
    let failed = Arc::new(AtomicBool::new(false), GFP_KERNEL)?;
    let mut handles = KVec::new();
    for t in 0..THREADS {
        let (d, top, all, failed) = (d.clone(), top.clone(), all.clone(), failed.clone());
        let run = move || {
            if worker(&*d, &top, &all, t, rounds).is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        };
        handles.push(
            kapi::thread::spawn(format_args!("worker{t}"), run)?,
            GFP_KERNEL,
        )?;
    }
    for h in handles {
        h.join();
    }
    let ms = start.elapsed().as_millis() as u64;
    let n = rounds * THREADS;
    pr_info!("{} creates with renames and removals in {} ms\n", n, ms);
    check!(!failed.load(Ordering::Relaxed));
    Ok(())
}
