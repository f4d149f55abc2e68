// SPDX-License-Identifier: GPL-2.0

//! Power cuts: random transactions on a disk that records its writes; then, again and again, the
//! disk as a cut could have left it is mounted, and has to hold what was promised.

use crate::Store;
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};
use kapi::prelude::*;
use osd::{Create, Device, Fid};
use osd_contract::cuts::{self, History, Recorder};
use osd_contract::{check, ok, ops, Random, Stage};
use osd_disk::{Disk, PATH};

/// How much is done, and where it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Campaign {
    /// Of the first record.
    pub(crate) seed: u64,
    /// Records.
    pub(crate) records: u64,
    /// Cuts of each.
    pub(crate) cuts: u32,
    /// This cut alone.
    pub(crate) only: Option<u32>,
    /// Every so many of the file systems are looked at by e2fsck.
    pub(crate) fsck: u32,
}

/// Blocks of the disk.
pub(crate) const BLOCKS: u32 = 8192;
const THREADS: usize = 4;
const TRANSACTIONS: u64 = 100;

/// The disk of a campaign.
pub(crate) struct Tape(pub(crate) Disk);

impl Recorder for Tape {
    fn position(&self) -> u32 {
        self.0.entries()
    }
    fn pause(&self) {
        kapi::thread::yield_now();
    }
}

/// Whether the file system of a seed has checksums; old targets have none.
pub(crate) fn has_checksums(seed: u64) -> bool {
    seed % 2 == 1
}

/// A new file system on the disk.
pub(crate) fn format(disk: &Disk, seed: u64) -> Result {
    let command = if !has_checksums(seed) {
        c"/sbin/mke2fs -q -F -t ext4 -b 4096 -I 1024 -J size=4 -N 2048 -O quota,project,ea_inode,large_dir,^fast_commit,^resize_inode,^metadata_csum,uninit_bg,^64bit,^orphan_file -E lazy_itable_init=0,nodiscard,quotatype=usrquota:grpquota:prjquota /dev/osdtest"
    } else {
        c"/sbin/mke2fs -q -F -t ext4 -b 4096 -I 1024 -J size=4 -N 2048 -O quota,project,ea_inode,large_dir,^fast_commit,^resize_inode -E lazy_itable_init=0,nodiscard,quotatype=usrquota:grpquota:prjquota /dev/osdtest"
    };
    check!(ok!(osd_disk::run(command)) == 0);
    disk.settle();
    Ok(())
}

/// Whether e2fsck is content with the device, which nobody uses.
pub(crate) fn is_clean() -> Result<bool> {
    Ok(ok!(osd_disk::run(c"/sbin/e2fsck -fn /dev/osdtest")) == 0)
}

/// Keeps the device as it is, for whoever looks for the fault.
pub(crate) fn keep(copy: &CStr) {
    if let Err(e) = osd_disk::run(copy) {
        pr_err!("the disk could not be kept: {:?}\n", e);
    }
}

/// Prepares a fresh file system for threads.
pub(crate) fn prepare(tape: &Tape) -> Result<KVec<History>> {
    let all = {
        let s = Store::on(PATH, false)?;
        let d = s.device()?;
        ok!(cuts::prepare(&*d, THREADS))
    };
    ok!(tape.0.closed());
    tape.0.settle();
    Ok(all)
}

/// Lets threads work, and returns what they did, and whether one of them failed.
pub(crate) fn threads(
    d: &Arc<dyn Device>,
    tape: &Arc<Tape>,
    mut all: KVec<History>,
    seed: u64,
) -> Result<(KVec<History>, bool)> {
    let shared = cuts::share(tape.clone())?;
    let failed = Arc::new(AtomicBool::new(false), GFP_KERNEL)?;
    let done = Arc::pin_init(new_mutex!(KVec::new()), GFP_KERNEL)?;
    let mut threads = KVec::new();
    while let Some(mut h) = all.pop() {
        let (d, shared, failed, done) = (d.clone(), shared.clone(), failed.clone(), done.clone());
        let run = move || {
            let r = h.work(&*d, &shared, seed, TRANSACTIONS);
            if r.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            // Without memory it is missed below.
            let _ = done.lock().push(h, GFP_KERNEL);
        };
        threads.push(kapi::thread::spawn(format_args!("cut"), run)?, GFP_KERNEL)?;
    }
    for t in threads {
        t.join();
    }
    let all = core::mem::take(&mut *done.lock());
    check!(all.len() == THREADS);
    Ok((all, failed.load(Ordering::Relaxed)))
}

/// Records the work of threads, and takes it back.
pub(crate) fn work(tape: &Arc<Tape>, seed: u64) -> Result<KVec<History>> {
    let all = prepare(tape)?;
    tape.0.record(true);
    let (all, failed) = {
        let s = Store::on(PATH, false)?;
        let d = s.device()?;
        threads(&d, tape, all, seed)?
    };
    check!(!failed);
    ok!(tape.0.closed());
    tape.0.record(false);
    tape.0.forget();
    Ok(all)
}

/// Has the journal commit all the time while `f` runs, so that a cut may be anywhere in it.
pub(crate) fn restless<R>(tape: &Arc<Tape>, f: impl FnOnce() -> R) -> Result<R> {
    let done = Arc::new(AtomicBool::new(false), GFP_KERNEL)?;
    let (theirs, ended) = (tape.clone(), done.clone());
    let thread = kapi::thread::spawn(format_args!("restless"), move || {
        while !ended.load(Ordering::Relaxed) {
            theirs.0.sync();
            kapi::thread::yield_now();
        }
    })?;
    let r = f();
    done.store(true, Ordering::Relaxed);
    thread.join();
    Ok(r)
}

/// What a cut leaves.
struct Cut {
    number: u32,
    /// Entries of the record that were complete.
    at: u32,
    /// Chooses what is left.
    seed: u64,
}

impl Cut {
    fn new(disk: &Disk, seed: u64, number: u32) -> Result<Cut> {
        let mut rng = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number.into()));
        let end = disk.entries();
        let mut at = rng.below(end as usize + 1) as u32;
        // Half of them right before or behind a flush.
        if rng.below(2) == 0 {
            while at < end && !disk.entry(at)?.is_flush() {
                at += 1;
            }
            at = end.min(at + rng.below(2) as u32);
        }
        let seed = rng.below(usize::MAX) as u64;
        Ok(Cut { number, at, seed })
    }

    /// The last flush that was complete: what was written before it is safe.
    fn flushed(&self, disk: &Disk) -> Result<u32> {
        for i in (0..self.at).rev() {
            if disk.entry(i)?.is_flush() {
                return Ok(i);
            }
        }
        Ok(0)
    }

    /// Writes what it left of what is not safe to the disk, which has all that is.
    fn leave(&self, disk: &Disk, flushed: u32) -> Result {
        let mut rng = Random::new(self.seed);
        let kind = rng.below(6);
        let one = flushed + rng.below((self.at - flushed) as usize) as u32;
        let torn = match self.at < disk.entries() {
            true => Some(disk.entry(self.at)?.bio),
            false => None,
        };
        for i in flushed..self.at {
            let e = disk.entry(i)?;
            let kept = match kind {
                0 => true,
                1 => false,
                2 => i == one,
                3 => i != one,
                4 => rng.below(4) == 0,
                _ => rng.below(2) == 0,
            };
            if kept || e.is_fua() && torn != Some(e.bio) {
                disk.replay(i, false)?;
            }
        }
        Ok(())
    }
}

/// The store after a cut.
fn look(all: &[History], at: u32) -> Result<usize> {
    let s = Store::on(PATH, false)?;
    let d = s.device()?;
    let n = cuts::judge(&*d, all, at)?;
    // And it goes on.
    let base = ok!(ops::root(&*d));
    let fid = Fid::new(0x2_0000_0600, 1);
    ok!(ops::make(&*d, &base, b"after", fid, &Create::dir(0o755)));
    ok!(ops::remove(&*d, &base, b"after"));
    Ok(n)
}

/// Cuts what was recorded, again and again; `look` is shown what each cut leaves, and counts what
/// is there. Returns how many cuts there were, and the least and the most that was there.
pub(crate) fn each(
    disk: &Disk,
    c: &Campaign,
    seed: u64,
    look: &dyn Fn(u32) -> Result<usize>,
) -> Result<(usize, usize, usize)> {
    let mut list = KVVec::new();
    for number in 0..c.cuts {
        if c.only.is_none_or(|o| o == number) {
            list.push(Cut::new(disk, seed, number)?, GFP_KERNEL)?;
        }
    }
    list.sort_unstable_by_key(|c| c.at);
    let (mut safe, mut least, mut most) = (0, usize::MAX, 0);
    for (i, cut) in list.iter().enumerate() {
        let flushed = cut.flushed(disk)?;
        while safe < flushed {
            disk.replay(safe, true)?;
            safe += 1;
        }
        cut.leave(disk, flushed)?;
        let r = look(cut.at).and_then(|n| {
            ok!(disk.closed());
            (least, most) = (least.min(n), most.max(n));
            check!(i as u32 % c.fsck != 0 || is_clean()?);
            Ok(())
        });
        if let Err(e) = r {
            keep(c"/bin/cp /dev/osdtest /build/osd/cut-after.img");
            ok!(disk.closed());
            disk.forget();
            cut.leave(disk, flushed)?;
            keep(c"/bin/cp /dev/osdtest /build/osd/cut-before.img");
            let (number, at) = (cut.number, cut.at);
            pr_err!("seed {seed} cut {number} at {at}, safe up to {flushed}: {e:?}\n");
            return Err(e);
        }
        disk.forget();
    }
    Ok((list.len(), least, most))
}

fn record(tape: &Arc<Tape>, c: &Campaign, seed: u64) -> Result {
    let disk = &tape.0;
    disk.forget();
    ok!(format(disk, seed));
    let all = work(tape, seed)?;
    let begun: usize = all.iter().map(History::begun).sum();
    let writes = disk.entries();
    pr_info!("seed {seed}: {begun} transactions, {writes} writes\n");
    let (n, least, most) = each(disk, c, seed, &|at| look(&all, at))?;
    pr_info!("seed {seed}: {n} cuts, {least} to {most} transactions there\n");
    Ok(())
}

/// The mount that follows a cut is cut as well, while it plays the journal back, or at its end.
fn record_mount(tape: &Arc<Tape>, c: &Campaign, seed: u64) -> Result {
    let disk = &tape.0;
    disk.forget();
    ok!(format(disk, seed));
    let all = work(tape, seed)?;
    let first = Cut::new(disk, seed, 0)?;
    let flushed = first.flushed(disk)?;
    for i in 0..flushed {
        disk.replay(i, true)?;
    }
    first.leave(disk, flushed)?;
    disk.settle();
    disk.record(true);
    drop(restless(tape, || Store::on(PATH, false))??);
    ok!(disk.closed());
    disk.record(false);
    disk.forget();
    let writes = disk.entries();
    let (n, ..) = each(disk, c, seed, &|_| look(&all, first.at))?;
    pr_info!("seed {seed}: {n} cuts of a mount of {writes} writes\n");
    Ok(())
}

/// Runs `f` in a thread of the kernel, in which what is closed can be waited for.
pub(crate) fn in_thread(f: impl FnOnce() -> Result + Send + 'static) -> Result {
    let ended = Arc::pin_init(new_mutex!(Err(ECHILD)), GFP_KERNEL)?;
    let result = ended.clone();
    let run = move || *result.lock() = osd_disk::with_paths(f);
    kapi::thread::spawn(format_args!("osd_test"), run)?.join();
    let ended = *ended.lock();
    ended
}

/// Runs `one` for each seed.
pub(crate) fn seeds(c: &Campaign, one: &dyn Fn(&Arc<Tape>, &Campaign, u64) -> Result) -> Result {
    let tape = Arc::new(Tape(Disk::new(BLOCKS)?), GFP_KERNEL)?;
    let start = Instant::now();
    for seed in c.seed..c.seed + c.records {
        one(&tape, c, seed)?;
    }
    let (records, cuts) = (c.records, c.cuts);
    let ms = start.elapsed().as_millis() as u64;
    pr_info!("{records} records, {cuts} cuts of each in {ms} ms\n");
    Ok(())
}

/// Cuts of transactions.
pub(crate) fn check(c: &Campaign) -> Result {
    seeds(c, &record)
}

/// Cuts of mounts that play the journal back.
pub(crate) fn replays(c: &Campaign) -> Result {
    seeds(c, &record_mount)
}
