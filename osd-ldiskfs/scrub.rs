// SPDX-License-Identifier: GPL-2.0

//! OI scrub: a scan of all inodes that puts the object index right (`ondisk.md` 15). It is needed
//! when the target was restored from files, which gives every object another inode, when files of
//! the index are lost or damaged, or when an entry turns out to be wrong.

use crate::device::Device;
use crate::index::{Mapping, ObjectIndex};
use crate::lma;
use crate::place::{self, Place};
use crate::setup::{local_file, oi_credits};
use crate::store::when_made;
use crate::txn::Plan;
use crate::Fid;
use kapi::ldiskfs::{BlockFile, Credits, Handle, Node};
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use kapi::thread::{spawn, JoinHandle};
use osd::LostFound;
use wire::disk::lma::{LmaCompat, LmaIncompat};
use wire::disk::names::root as top;
use wire::disk::scrub::{has, mark, Files, ScrubFile, ScrubFlags, ScrubStatus, OSD_OI_FID_NR};
use zerocopy::little_endian::U64;
use zerocopy::{FromZeros, IntoBytes};

const NAME: &[u8] = top::OI_SCRUB.as_bytes();
/// How often the position is written down.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// When a scan that failed is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// `OI_scrub`.
pub(crate) struct Record {
    file: BlockFile,
    /// What it says.
    pub(crate) disk: KBox<ScrubFile>,
}

impl Record {
    /// Reads the file, or makes it. One that is lost or damaged on a `used` target is made for no
    /// file system: what it said of the index is not known.
    ///
    /// # Errors
    /// `EROFS`: there is none, nor was there. `EUCLEAN`: it is lost, and the mount is for reading
    /// alone. `ENOSPC`, `EIO`.
    pub(crate) fn open(dev: &Arc<Device>, used: bool) -> Result<Record> {
        let uuid = match used {
            true => [0; 16],
            false => dev.mount().superblock().uuid,
        };
        let mut disk = KBox::new(ScrubFile::new_zeroed(), GFP_KERNEL)?;
        disk.init(&uuid, OSD_OI_FID_NR);
        if used && dev.find(dev.root(), NAME)?.is_none() {
            dev.can_repair()?;
        }
        let node = local_file(dev, dev.root(), NAME, 1, |run, node| {
            BlockFile::open(node)?.write(run.handle()?, 0, disk.as_bytes())
        })?;
        let file = BlockFile::open(&node)?;
        let mut found = KBox::new(ScrubFile::new_zeroed(), GFP_KERNEL)?;
        let n = file.read(0, found.as_mut_bytes())?;
        match ScrubFile::parse(found.as_bytes().get(..n).unwrap_or_default()) {
            Ok(_) => disk = found,
            Err(_) => {
                pr_err!("OI_scrub is damaged: the object index is made anew\n");
                disk.init(&[0; 16], OSD_OI_FID_NR);
            }
        }
        Ok(Record { file, disk })
    }

    /// Writes it down.
    ///
    /// # Errors
    /// `EROFS`, `ENOSPC`, `EIO`.
    pub(crate) fn save(&mut self, dev: &Arc<Device>) -> Result {
        write(dev, &mut |h| self.file.write(h, 0, self.disk.as_bytes()))
    }

    /// Whether a scan is to be done.
    pub(crate) fn is_due(&self) -> bool {
        let doubts = ScrubFlags::RECREATED | ScrubFlags::INCONSISTENT;
        self.disk.flags().intersects(doubts) || self.disk.is_unfinished()
    }
}

/// A transaction that writes to `OI_scrub`.
fn write(dev: &Arc<Device>, f: &mut dyn FnMut(&mut Handle) -> Result) -> Result {
    let mut plan = Plan::new(dev);
    plan.credits(Credits::Append, 0);
    let mut run = plan.start()?;
    f(run.handle()?)?;
    run.stop()
}

fn now() -> u64 {
    kapi::time::real().as_secs()
}

/// What the thread is to do.
#[derive(Default)]
struct Todo {
    scan: bool,
    stop: bool,
    /// Files of the index to be made anew at the next mount.
    damaged: Option<usize>,
}

struct State {
    disk: KBox<ScrubFile>,
    /// Files of the index that turned out to be damaged.
    damaged: Files,
    /// When the scan that runs was begun, in this mount.
    begun: Option<Instant>,
    position: u64,
    /// A scan of this mount has been to the end.
    complete: bool,
    lost_found: LostFound,
}

/// The scrub of a store.
#[pin_data]
pub(crate) struct Scrub {
    dev: Arc<Device>,
    oi: Arc<ObjectIndex>,
    ost: bool,
    /// Something of the index cannot be trusted.
    doubtful: Atomic<bool>,
    stopping: Atomic<bool>,
    /// `OI_scrub`; the thread alone writes it.
    #[pin]
    file: Mutex<BlockFile>,
    /// Asked for inside handles: who has it starts none.
    #[pin]
    state: Mutex<State>,
    #[pin]
    todo: Mutex<Todo>,
    #[pin]
    wake: CondVar,
    #[pin]
    thread: Mutex<Option<JoinHandle>>,
}

/// What became of an inode.
enum Seen {
    /// It is in the index as it should, or is now.
    Indexed { updated: bool, igif: bool },
    /// It has no business there.
    Other,
    /// It went away.
    Gone,
}

impl Scrub {
    /// The scrub of an index of which `record` tells. It does nothing before [`Scrub::start`].
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(
        dev: &Arc<Device>,
        oi: &Arc<ObjectIndex>,
        ost: bool,
        record: Record,
    ) -> Result<Arc<Scrub>> {
        let due = record.is_due();
        Arc::pin_init(
            pin_init!(Scrub {
                dev: dev.clone(),
                oi: oi.clone(),
                ost,
                doubtful: Atomic::<bool>::new(due),
                stopping: Atomic::<bool>::new(false),
                file <- new_mutex!(record.file),
                state <- new_mutex!(State {
                    disk: record.disk,
                    damaged: [0; 128],
                    begun: None,
                    position: 0,
                    complete: false,
                    lost_found: LostFound::default(),
                }),
                todo <- new_mutex!(Todo {
                    scan: due,
                    ..Todo::default()
                }),
                wake <- new_condvar!(),
                thread <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Begins what is due, and waits for more.
    ///
    /// # Errors
    /// `ENOMEM`, `EAGAIN`: no thread to be had.
    pub(crate) fn start(self: &Arc<Self>) -> Result {
        let me = self.clone();
        let thread = spawn(format_args!("oi_scrub"), move || me.run())?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Pauses, for the unmount. The device is the caller's again.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.todo.lock().stop = true;
        self.wake.notify_all();
        if let Some(t) = self.thread.lock().take() {
            t.join();
        }
    }

    /// What the mount found in `lost+found`.
    pub(crate) fn set_lost_found(&self, found: LostFound) {
        self.state.lock().lost_found = found;
    }

    /// Whether what the index says of `fid`, or does not say, is so.
    pub(crate) fn trusts(&self, fid: &Fid) -> bool {
        if !self.doubtful.load(Relaxed) {
            return true;
        }
        let state = self.state.lock();
        let flags = state.disk.flags();
        !flags.contains(ScrubFlags::INCONSISTENT)
            && !(flags.contains(ScrubFlags::RECREATED)
                && has(&state.disk.sf_oi_bitmap, self.oi.file_of(fid)))
    }

    /// An entry is wrong. Whether a scan will put it right.
    pub(crate) fn suspect(&self, fid: &Fid) -> bool {
        if self.dev.is_readonly() {
            return false;
        }
        let mut state = self.state.lock();
        if state.complete {
            return false;
        }
        if !self.doubtful.load(Relaxed) {
            pr_warn!("{}: the index is wrong, all inodes are scanned\n", fid);
            state.disk.flag(ScrubFlags::INCONSISTENT | ScrubFlags::AUTO);
            self.doubtful.store(true, Relaxed);
            drop(state);
            self.todo.lock().scan = true;
            self.wake.notify_all();
        }
        true
    }

    /// The file of the index that `fid` belongs to cannot be used.
    pub(crate) fn damaged(&self, fid: &Fid) {
        let i = self.oi.file_of(fid);
        if !self.dev.is_readonly() && !has(&self.state.lock().damaged, i) {
            self.todo.lock().damaged = Some(i);
            self.wake.notify_all();
        }
    }

    /// How it stands.
    pub(crate) fn report(&self) -> osd::Scrub {
        let state = self.state.lock();
        osd::Scrub {
            file: *state.disk,
            running: state.begun.map(|t| (state.position, t.elapsed())),
            lost_found: state.lost_found,
        }
    }

    fn run(&self) {
        let mut again = false;
        loop {
            let todo = {
                let mut todo = self.todo.lock();
                while !(todo.scan || todo.stop || todo.damaged.is_some()) {
                    if again {
                        let late;
                        (todo, late) = self.wake.wait_timeout(todo, RETRY);
                        todo.scan |= late;
                    } else {
                        todo = self.wake.wait(todo);
                    }
                }
                core::mem::take(&mut *todo)
            };
            let mut result = todo.damaged.map_or(Ok(()), |i| self.note_damage(i));
            if todo.stop {
                return;
            }
            if todo.scan {
                result = result.and(self.scan());
            }
            again = false;
            if let Err(e) = result {
                pr_err!("OI scrub: {:?}\n", e);
                // Of a store that is read-only by now nothing can be repaired.
                again = e != EROFS;
                let mut state = self.state.lock();
                state.begun = None;
                state.disk.set_status(ScrubStatus::Failed);
            }
        }
    }

    /// Writes the state down.
    fn save(&self) -> Result {
        let disk = *self.state.lock().disk;
        write(&self.dev, &mut |h| {
            self.file.lock().write(h, 0, disk.as_bytes())
        })
    }

    fn note_damage(&self, i: usize) -> Result {
        let mut state = self.state.lock();
        if has(&state.damaged, i) {
            return Ok(());
        }
        pr_err!(
            "oi.16.{} is damaged: it is made anew when the target is mounted again\n",
            i
        );
        mark(&mut state.damaged, i);
        state.disk.recreate(i);
        drop(state);
        self.save()
    }

    fn begin(&self) -> Result<u64> {
        let mut state = self.state.lock();
        let d = &mut *state.disk;
        let mut from = 0;
        if d.is_unfinished() {
            from = d.sf_pos_last_checkpoint.get();
        } else {
            d.restart();
        }
        d.sf_time_latest_start.set(now());
        d.sf_time_last_checkpoint.set(now());
        d.sf_pos_latest_start.set(from);
        d.sf_pos_last_checkpoint.set(from);
        d.set_status(ScrubStatus::Scanning);
        d.flag(ScrubFlags::AUTO);
        state.begun = Some(Instant::now());
        state.position = from;
        drop(state);
        self.save()?;
        Ok(from)
    }

    /// How far it is, and what it is, from now on.
    fn checkpoint(&self, status: ScrubStatus, since: &mut Instant) -> Result {
        let mut state = self.state.lock();
        let (at, damaged) = (state.position, state.damaged);
        if status != ScrubStatus::Scanning {
            state.begun = None;
        }
        let d = &mut *state.disk;
        let ran = u32::try_from(since.elapsed().as_secs()).unwrap_or(u32::MAX);
        *since = Instant::now();
        d.sf_run_time.set(d.sf_run_time.get().saturating_add(ran));
        d.sf_time_last_checkpoint.set(now());
        d.sf_pos_last_checkpoint.set(at);
        d.set_status(status);
        if status == ScrubStatus::Completed {
            d.complete(&damaged, now());
            let (checked, updated) = (d.sf_items_checked.get(), d.sf_items_updated.get());
            pr_info!(
                "all inodes are scanned: {} objects in the index, {} entries changed\n",
                checked,
                updated
            );
            state.complete = true;
            self.doubtful.store(false, Relaxed);
        }
        drop(state);
        self.save()
    }

    fn scan(&self) -> Result {
        let mut at = self.begin()?;
        let mut since = Instant::now();
        loop {
            let seen = match self.dev.mount().next_inode(&mut at) {
                Ok(true) => {
                    at += 1;
                    self.look(at - 1)
                }
                Ok(false) => return self.checkpoint(ScrubStatus::Completed, &mut since),
                // It went on to where the next ones are.
                Err(e) => Err(e),
            };
            match seen {
                Err(e) if e == EROFS => return Err(e),
                other => self.count(at, other),
            }
            if self.stopping.load(Relaxed) {
                return self.checkpoint(ScrubStatus::Paused, &mut since);
            }
            if since.elapsed() >= CHECKPOINT {
                self.checkpoint(ScrubStatus::Scanning, &mut since)?;
            }
        }
    }

    /// `next` is where the scan goes on.
    fn count(&self, next: u64, seen: Result<Seen>) {
        let mut state = self.state.lock();
        state.position = next;
        let d = &mut *state.disk;
        let add = |n: &mut U64| n.set(n.get().saturating_add(1));
        match seen {
            Ok(Seen::Gone) => {}
            Ok(Seen::Other) => add(&mut d.sf_items_noscrub),
            Ok(Seen::Indexed { updated, igif }) => {
                add(&mut d.sf_items_checked);
                if updated {
                    add(&mut d.sf_items_updated);
                    if d.sf_pos_first_inconsistent.get() == 0 {
                        d.sf_pos_first_inconsistent.set(next - 1);
                    }
                }
                if igif {
                    add(&mut d.sf_items_igif);
                }
            }
            Err(e) => {
                add(&mut d.sf_items_failed);
                pr_warn!("not scanned up to inode {}: {:?}\n", next, e);
            }
        }
    }

    /// The inode, if it is in use.
    fn find(&self, ino: u64) -> Result<Option<Node>> {
        match when_made(|| self.dev.mount().iget(ino, 0)) {
            Err(e) if e == ESTALE => Ok(None),
            r => r.map(Some),
        }
    }

    /// Looks at an inode, and puts right what the index says of it.
    fn look(&self, ino: u64) -> Result<Seen> {
        let Some(node) = self.find(ino)? else {
            return Ok(Seen::Gone);
        };
        let Some(lma) = lma::read(&node)? else {
            return Ok(Seen::Other);
        };
        let fid = lma.fid();
        if lma.compat().contains(LmaCompat::NOT_IN_OI)
            || lma.incompat().contains(LmaIncompat::AGENT)
            || place::place(&fid, self.ost) != Place::Index
        {
            return Ok(Seen::Other);
        }
        let here = Mapping::of(&node)?;
        let known = self.oi.lookup(&fid)?;
        let updated = known != Some(here) && self.repair(&node, &fid, here, known)?;
        Ok(Seen::Indexed {
            updated,
            igif: fid.is_igif(),
        })
    }

    /// Puts `here` into the index, instead of `known`.
    fn repair(
        &self,
        node: &Node,
        fid: &Fid,
        here: Mapping,
        known: Option<Mapping>,
    ) -> Result<bool> {
        if let Some(there) = known {
            // Two inodes of one FID: the one that is in the index stays.
            if let Ok(other) = self.dev.mount().iget(there.ino.into(), there.generation) {
                if lma::read(&other)?.is_some_and(|l| l.fid() == *fid) {
                    pr_err!("{}: has the inodes {} and {}\n", fid, there.ino, here.ino);
                    return Err(EEXIST);
                }
            }
        }
        let mut plan = Plan::new(&self.dev);
        plan.more(oi_credits(&self.dev));
        plan.lock(node)?;
        let mut run = plan.start()?;
        // Whoever ends the object has the lock of its inode.
        let alive = node.attr().nlink > 0;
        if alive {
            match self.oi.insert(&mut run, fid, here) {
                Err(e) if e == EEXIST => self.oi.update(&mut run, fid, here)?,
                other => other?,
            }
        }
        run.stop()?;
        Ok(alive)
    }
}
