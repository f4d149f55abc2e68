// SPDX-License-Identifier: GPL-2.0

//! Power cuts: threads that work and keep record of what they did, and whether what a store holds
//! after a cut is what it promised.

use crate::bulk_log::BulkLog;
use crate::model::Model;
use crate::random::{self, Witness, World};
use crate::{check, ok, ops, Random};
use core::sync::atomic::{AtomicU64, Ordering};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, Plan, Transaction};

/// The file in which each transaction leaves its number, and the bytes of a thread in it.
const TABLE: Fid = Fid::new(0x2_0000_0500, 1);
const SLOT: usize = 64;
const SEQ: u64 = 0x2_0000_0501;

/// The disk below.
pub trait Recorder: Send + Sync {
    /// How far the record of its writes is.
    fn position(&self) -> u32;
    /// Lets other threads run.
    fn pause(&self);
}

/// What a thread was told to be safe: when, and up to which of its transactions.
#[pin_data]
struct Safe {
    #[pin]
    told: Mutex<KVVec<(u32, u64)>>,
}

impl Safe {
    fn tell(&self, at: u32, n: u64) -> Result {
        Ok(self.told.lock().push((at, n), GFP_NOFS)?)
    }

    /// Up to which transaction it was told before `at`.
    fn before(&self, at: u32) -> u64 {
        let told = self.told.lock();
        let n = told.iter().filter(|t| t.0 <= at).map(|t| t.1).max();
        n.unwrap_or(0)
    }
}

/// What a thread did.
pub struct History {
    slot: usize,
    /// After so many transactions: this.
    states: KVVec<Model>,
    /// When each transaction started: in the order of all, and in the record.
    starts: KVVec<(u64, u32)>,
    /// When each had stopped, in the order of all.
    stops: KVVec<u64>,
    safe: Arc<Safe>,
    bulk: BulkLog,
}

/// What the threads share.
pub struct Shared {
    order: AtomicU64,
    recorder: Arc<dyn Recorder>,
}

/// Prepares a fresh store for threads, one history for each.
///
/// # Errors
/// Those of the store.
pub fn prepare(d: &dyn Device, threads: usize) -> Result<KVec<History>> {
    let base = ok!(ops::root(d));
    let table = ok!(ops::make(d, &base, b"table", TABLE, &Create::file(0o600)));
    let zeros = KVVec::from_elem(0, threads * SLOT, GFP_KERNEL)?;
    ok!(ops::write(d, &table, 0, &zeros));
    let mut all = KVec::new();
    for slot in 0..threads {
        let name = [b't', b'a' + slot as u8];
        let h = History::new(slot, random::start(d, SEQ + slot as u64, &name)?)?;
        h.bulk.make(d)?;
        all.push(h, GFP_KERNEL)?;
    }
    Ok(all)
}

/// What [`History::work`] needs of the recorder.
///
/// # Errors
/// `ENOMEM`.
pub fn share(recorder: Arc<dyn Recorder>) -> Result<Arc<Shared>> {
    let order = AtomicU64::new(1);
    Ok(Arc::new(Shared { order, recorder }, GFP_KERNEL)?)
}

impl Shared {
    fn next(&self) -> u64 {
        self.order.fetch_add(1, Ordering::SeqCst)
    }
}

/// Has a part in each transaction of a thread.
struct Clerk<'a> {
    table: ObjectRef,
    shared: &'a Shared,
    recorder: Arc<dyn Recorder>,
    rng: Random,
    slot: usize,
    n: u64,
    sync: bool,
    starts: &'a mut KVVec<(u64, u32)>,
    stops: &'a mut KVVec<u64>,
    safe: Arc<Safe>,
}

impl Clerk<'_> {
    fn is_safe(&self) -> Result {
        self.safe.tell(self.recorder.position(), self.n)
    }
}

impl Witness for Clerk<'_> {
    fn plan(&mut self, plan: &mut Plan) -> Result {
        plan.write(&self.table, (self.slot * SLOT) as u64, 8)
    }

    fn starting(&mut self) -> Result {
        let at = (self.shared.next(), self.recorder.position());
        Ok(self.starts.push(at, GFP_KERNEL)?)
    }

    fn between(&mut self) {
        if self.rng.below(3) == 0 {
            self.recorder.pause();
        }
    }

    fn run(&mut self, run: &mut Transaction) -> Result {
        let n = self.n + 1;
        let off = (self.slot * SLOT) as u64;
        ok!(run.write(&self.table, off, &n.to_le_bytes()));
        let (recorder, safe) = (self.recorder.clone(), self.safe.clone());
        let call = move |r: Result| {
            // Without memory something that was safe goes unchecked.
            if r.is_ok() {
                let _ = safe.tell(recorder.position(), n);
            }
        };
        ok!(run.on_commit(KBox::new(call, GFP_NOFS)?));
        self.sync = self.rng.below(30) == 0;
        if self.sync {
            run.set_sync();
        }
        Ok(())
    }

    fn stopped(&mut self) -> Result {
        self.n += 1;
        self.stops.push(self.shared.next(), GFP_KERNEL)?;
        if self.sync {
            self.is_safe()?;
        }
        Ok(())
    }
}

impl History {
    /// Does `transactions` random transactions, those of `seed`, and keeps record of them.
    ///
    /// # Errors
    /// Those of the store, and no others.
    pub fn work(
        &mut self,
        d: &dyn Device,
        shared: &Shared,
        seed: u64,
        transactions: u64,
    ) -> Result {
        let mut m = self.states.last().ok_or(EINVAL)?.copy()?;
        let seed = seed * 100 + self.slot as u64;
        let mut rng = Random::new(seed);
        let mut clerk = Clerk {
            table: ok!(d.object(&TABLE)),
            shared,
            recorder: shared.recorder.clone(),
            rng: Random::new(!seed),
            slot: self.slot,
            n: 0,
            sync: false,
            starts: &mut self.starts,
            stops: &mut self.stops,
            safe: self.safe.clone(),
        };
        while clerk.n < transactions {
            let n = clerk.n;
            if rng.below(3) == 0 {
                self.bulk.step(d, &mut rng, n)?;
            }
            World {
                d,
                m: &mut m,
                rng: &mut rng,
                witness: &mut clerk,
            }
            .step()?;
            if clerk.n == n {
                continue;
            }
            self.states.push(m.copy()?, GFP_KERNEL)?;
            match rng.below(40) {
                0 => {
                    ok!(d.sync());
                    clerk.is_safe()?;
                }
                1..=3 => d.start_commit(),
                _ => {}
            }
        }
        self.bulk.judge(d, u64::MAX)
    }

    /// The beginning of it, for another run from the same state.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn again(&self) -> Result<History> {
        History::new(self.slot, self.states.first().ok_or(EINVAL)?.copy()?)
    }

    /// Looks at everything that a damaged store should hold; what it says is wrong is well. With
    /// `trust`, checksums cover the attributes, xattrs and names that it shows. Returns how much
    /// it gave up.
    ///
    /// # Errors
    /// `EINVAL`: a wrong answer, or one without an end; the log says which.
    pub fn endure(&self, d: &dyn Device, trust: bool) -> Result<usize> {
        self.states.last().ok_or(EINVAL)?.endure(d, trust)
    }

    fn new(slot: usize, first: Model) -> Result<History> {
        let mut states = KVVec::new();
        states.push(first, GFP_KERNEL)?;
        let safe = pin_init!(Safe { told <- new_mutex!(KVVec::new()) });
        Ok(History {
            slot,
            states,
            starts: KVVec::new(),
            stops: KVVec::new(),
            safe: Arc::pin_init(safe, GFP_KERNEL)?,
            bulk: BulkLog::new(slot),
        })
    }

    /// Transactions that were begun.
    pub fn begun(&self) -> usize {
        self.starts.len()
    }
}

/// Whether what the store holds is what it promised, after a cut when the record was at `at`:
/// of each thread the first so many transactions, whole, and nothing of later ones; those that
/// were said to be safe among them, and those that had stopped before one that is there started.
/// Returns how many are there.
///
/// # Errors
/// `EINVAL`: no; the log says what is wrong.
pub fn judge(d: &dyn Device, all: &[History], at: u32) -> Result<usize> {
    let table = ok!(d.object(&TABLE));
    check!(table.exists());
    let mut found = KVec::new();
    for h in all {
        let mut b = [0; 8];
        check!(ok!(table.read((h.slot * SLOT) as u64, &mut b)) == b.len());
        let n = u64::from_le_bytes(b);
        let safe = h.safe.before(at);
        if n < safe {
            pr_err!(
                "thread {}: {} were safe and {} are there\n",
                h.slot,
                safe,
                n
            );
        }
        check!(n >= safe);
        let n = usize::try_from(n)?;
        check!(n <= h.starts.len() && n <= h.states.len());
        // Not from the future.
        check!(n == 0 || h.starts.get(n - 1).is_some_and(|s| s.1 <= at));
        found.push(n, GFP_KERNEL)?;
    }
    for (h, &n) in all.iter().zip(&found) {
        let Some(last) = n.checked_sub(1).and_then(|n| h.starts.get(n)) else {
            continue;
        };
        for (other, &there) in all.iter().zip(&found) {
            let before = other.stops.iter().take_while(|s| **s < last.0).count();
            if before > there {
                pr_err!("thread {}: transaction {} is there\n", h.slot, n);
                pr_err!("thread {}: {} of {} before it\n", other.slot, there, before);
            }
            check!(before <= there);
        }
    }
    for (h, &n) in all.iter().zip(&found) {
        h.bulk
            .judge(d, n as u64)
            .inspect_err(|_| pr_err!("thread {}, transaction {}\n", h.slot, n))?;
        // The last one, whose end met an error: what it did nobody may rely on.
        let Some(m) = h.states.get(n) else {
            continue;
        };
        let end = h.states.last().map_or(0, |m| m.next);
        let same = m.compare_all(d).and_then(|()| m.compare_gone(d, end));
        same.inspect_err(|_| pr_err!("thread {}, transaction {}\n", h.slot, n))?;
    }
    Ok(found.iter().sum())
}
