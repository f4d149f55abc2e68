// SPDX-License-Identifier: GPL-2.0

//! How well others fare meanwhile, and what this process takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Set when dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does `op` with growing numbers, again and again, while `f` runs; how often, and how long it took at the most.
pub fn beside<R>(op: impl FnMut(u32) + Send, f: impl FnOnce() -> R) -> (R, u32, Duration) {
    let end = AtomicBool::new(false);
    std::thread::scope(|s| {
        let stop = Stop(&end);
        let (end, mut op) = (&end, op);
        let others = s.spawn(move || {
            let (mut n, mut worst) = (0, Duration::ZERO);
            while !end.load(Ordering::Relaxed) {
                let begin = Instant::now();
                op(n);
                worst = worst.max(begin.elapsed());
                n += 1;
            }
            (n, worst)
        });
        let r = f();
        drop(stop);
        let (n, worst) = others.join().unwrap();
        (r, n, worst)
    })
}

/// A number of a line of /proc/self/status.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

/// Bytes of memory that this process has.
pub fn own_memory() -> u64 {
    status("VmRSS:") * 1024
}

/// Threads of this process.
pub fn own_threads() -> u64 {
    status("Threads:")
}
