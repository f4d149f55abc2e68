// SPDX-License-Identifier: GPL-2.0

//! Measures rates, of one thread or several.

use kapi::pages::Pages;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use osd_contract::check;

/// Rounds of each measurement, of which the fastest counts: others use the machine.
const ROUNDS: u32 = 5;

/// One thing to be done.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// Which, of all.
    pub(crate) i: u32,
    /// Which, of the thread's.
    pub(crate) nth: u64,
    pub(crate) thread: usize,
    /// In which directory.
    pub(crate) dir: usize,
}

/// What is measured, and how.
pub(crate) struct Meter {
    /// Who does it: `bare` or `store`.
    pub(crate) kind: &'static str,
    pub(crate) threads: u32,
    /// Each thread has a directory of its own.
    pub(crate) apart: bool,
    /// How often each thread does it.
    pub(crate) each: u32,
    /// Pages of one transfer.
    pub(crate) pages: usize,
}

impl Meter {
    /// Directories in use.
    pub(crate) fn directories(&self) -> u32 {
        if self.apart {
            self.threads
        } else {
            1
        }
    }

    /// How much is done in all.
    pub(crate) fn total(&self) -> u32 {
        self.threads * self.each
    }

    /// Pages for each thread.
    pub(crate) fn pages(&self) -> Result<Arc<KVec<Pin<KBox<Mutex<Pages>>>>>> {
        let mut all = KVec::new();
        for _ in 0..self.threads {
            let p = Pages::new(self.pages)?;
            all.push(KBox::pin_init(new_mutex!(p), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Arc::new(all, GFP_KERNEL)?)
    }

    /// Does all of it, and has the log say how fast: a line for `tests/osd/rates`.
    pub(crate) fn rate<F>(&self, what: &str, f: F) -> Result
    where
        F: Fn(Work) -> Result + Send + Sync + 'static,
    {
        let f = Arc::new(f, GFP_KERNEL)?;
        let failed = Arc::new(Atomic::<bool>::new(false), GFP_KERNEL)?;
        let part = self.each / ROUNDS;
        let mut best = u64::MAX;
        for round in 0..ROUNDS {
            let start = Instant::now();
            let mut threads = KVec::new();
            for t in 0..self.threads {
                let (f, failed) = (f.clone(), failed.clone());
                let (each, apart) = (self.each, self.apart);
                let run = move || {
                    for n in round * part..(round + 1) * part {
                        let w = Work {
                            i: t * each + n,
                            nth: n.into(),
                            thread: t as usize,
                            dir: if apart { t as usize } else { 0 },
                        };
                        if f(w).is_err() {
                            failed.store(true, Relaxed);
                            return;
                        }
                    }
                };
                if self.threads == 1 {
                    run();
                } else {
                    let t = kapi::thread::spawn(format_args!("meter{t}"), run)?;
                    threads.push(t, GFP_KERNEL)?;
                }
            }
            for t in threads {
                t.join();
            }
            best = best.min(start.elapsed().as_micros().max(1) as u64);
        }
        check!(!failed.load(Relaxed));
        self.say(what, u64::from(part * self.threads) * 1_000_000 / best);
        Ok(())
    }

    /// Has the log say a rate.
    pub(crate) fn say(&self, what: &str, per_second: u64) {
        pr_info!(
            "rate|{}|{}|{}|{}|{}|{}|{}\n",
            self.kind,
            what,
            self.threads,
            if self.apart { "apart" } else { "one" },
            self.total(),
            self.pages * 4,
            per_second
        );
    }
}
