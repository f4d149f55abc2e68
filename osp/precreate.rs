// SPDX-License-Identifier: GPL-2.0

//! The thread that keeps the pool filled and the space known (`ost.md` 13.2).

use crate::last_used::LastUsed;
use crate::pool::Need;
use crate::requests;
use crate::space::Space;
use crate::state::{Inner, State};
use kapi::prelude::*;
use ptlrpc::call::Outcome;
use ptlrpc::import::Import;
use wire::fid::{seq_is_idif, Fid};

/// How often the space is asked for.
const SPACE_AGE: Duration = Duration::from_secs(5);
/// How long after a failure the next attempt is made.
const RETRY: Duration = Duration::from_secs(2);
/// A creation that takes longer shows that the OST is at its limit.
const SLOW: Duration = Duration::from_secs(5);

/// What to do next.
enum Step {
    Stop,
    /// Ask for the space.
    Space,
    /// Agree with the OST on what exists.
    Agree,
    Create(Fid, u64),
    Sequence,
}

/// What the thread has for itself.
pub(crate) struct Precreate {
    pub(crate) state: Arc<State>,
    pub(crate) import: Arc<Import>,
    pub(crate) last_used: Arc<LastUsed>,
    pub(crate) ost_index: u16,
    pub(crate) mdt_index: u32,
    pub(crate) name: KVVec<u8>,
}

/// What is to be done, or how long there is nothing.
fn next(i: &mut Inner, now: Instant) -> core::result::Result<Step, Duration> {
    if i.stopping {
        return Ok(Step::Stop);
    }
    if !i.connected {
        return Err(SPACE_AGE);
    }
    let age = i.space_asked.map(|t| now.duration_since(t));
    let due = age.is_none_or(|a| a >= SPACE_AGE);
    if due && !i.asking {
        i.asking = true;
        i.space_asked = Some(now);
        return Ok(Step::Space);
    }
    let mut pause = age.map_or(SPACE_AGE, |a| SPACE_AGE.saturating_sub(a));
    if i.asking {
        pause = SPACE_AGE;
    }
    if let Some(left) = i
        .retry_at
        .map(|t| t.duration_since(now))
        .filter(|d| !d.is_zero())
    {
        return Err(pause.min(left));
    }
    if !i.active {
        return Err(pause);
    }
    if !i.pool.is_ready() {
        // Promised objects are above the last used one: they would be destroyed.
        return match i.pool.has_reserved() {
            true => Err(pause),
            false => Ok(Step::Agree),
        };
    }
    match i.pool.need() {
        Need::Create(id) if !i.space.as_ref().is_some_and(Space::is_full) => {
            let fid = i.pool.fid(id).ok_or(pause)?;
            Ok(Step::Create(fid, id))
        }
        Need::Sequence => Ok(Step::Sequence),
        _ => Err(pause),
    }
}

impl Precreate {
    /// The thread.
    pub(crate) fn run(self) {
        loop {
            let (step, generation) = self.wait();
            let result = match step {
                Step::Stop => return,
                Step::Space => self.ask_space(),
                Step::Agree => self.agree(generation),
                Step::Create(fid, id) => self.create(fid, id, generation),
                Step::Sequence => self.new_sequence(generation),
            };
            if let Err(e) = result {
                self.failed(e, generation);
            }
        }
    }

    fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("?")
    }

    fn wait(&self) -> (Step, u64) {
        let mut inner = self.state.inner.lock();
        loop {
            let now = Instant::now();
            match next(&mut inner, now) {
                Ok(step) => return (step, inner.generation),
                Err(pause) => {
                    let pause = pause.max(Duration::from_millis(10));
                    inner = self.state.work.wait_timeout(inner, pause).0;
                }
            }
        }
    }

    /// Does something with the pool, unless the connection is another one by now.
    fn with_pool<R>(&self, generation: u64, f: impl FnOnce(&mut Inner) -> R) -> Result<R> {
        self.state.change(|i| {
            if i.generation != generation || !i.connected {
                return Err(ENOTCONN);
            }
            Ok(f(i))
        })
    }

    fn failed(&self, e: Error, generation: u64) {
        pr_debug!("{}: no objects: {:?}\n", self.name(), e);
        let first = self.state.change(|i| {
            let first = i.status != Some(e);
            i.status = Some(e);
            if i.generation == generation {
                i.retry_at = Some(Instant::now() + RETRY);
            }
            if e == ENOSPC {
                i.space_asked = None;
            }
            first
        });
        if first && e != ENOTCONN && e != ETIMEDOUT && e != ESHUTDOWN {
            pr_info!("{}: no new objects for now: {:?}\n", self.name(), e);
        }
    }

    fn ask_space(&self) -> Result {
        let state = self.state.clone();
        let sent = requests::statfs().and_then(|(m, options)| {
            let done = KBox::new(move |o: Outcome| heard(&state, o), GFP_KERNEL)?;
            self.import.call_async(m, options, None, done)
        });
        if sent.is_err() {
            // The pool may be well all the same.
            self.state.change(|i| i.asking = false);
        }
        Ok(())
    }

    /// Finds out what exists, has the OST destroy what was never used.
    fn agree(&self, generation: u64) -> Result {
        if self.with_pool(generation, |i| i.pool.seq() == 0)? {
            let seq = requests::sequence(&self.import, self.mdt_index)?;
            self.start_sequence(seq, generation)?;
        }
        let (used, id) = self.used(generation)?;
        if id < 2 {
            let last = requests::last_fid(&self.import, used)?;
            self.with_pool(generation, |i| {
                if let Some(id) = i.pool.id_of(&last) {
                    i.pool.learn_used(id);
                }
            })?;
        }
        let (used, _) = self.used(generation)?;
        let answer = requests::create(&self.import, used, true, self.ost_index)?;
        let agreed = self.with_pool(generation, |i| {
            let last = i.pool.id_of(&answer.last)?;
            i.pool.agreed(last, answer.width);
            i.status = None;
            Some(())
        })?;
        agreed.ok_or(EPROTO)
    }

    fn used(&self, generation: u64) -> Result<(Fid, u64)> {
        let (fid, id) = self.with_pool(generation, |i| {
            let id = i.pool.used();
            (i.pool.fid(id), id)
        })?;
        Ok((fid.ok_or(EOVERFLOW)?, id))
    }

    fn create(&self, fid: Fid, id: u64, generation: u64) -> Result {
        let begun = Instant::now();
        let answer = requests::create(&self.import, fid, false, self.ost_index)?;
        let slow = begun.elapsed() > SLOW;
        let fits = self.with_pool(generation, |i| {
            i.status = None;
            let last = i.pool.id_of(&answer.last)?;
            Some(i.pool.grown(id, last, answer.width, slow))
        })?;
        match fits {
            Some(true) => Ok(()),
            Some(false) => {
                pr_warn!(
                    "{}: asked for objects up to {}, has {}\n",
                    self.name(),
                    fid,
                    answer.last
                );
                Err(ESTALE)
            }
            None => Err(EPROTO),
        }
    }

    fn new_sequence(&self, generation: u64) -> Result {
        let seq = requests::sequence(&self.import, self.mdt_index)?;
        self.start_sequence(seq, generation)
    }

    /// Leaves the old sequence. Nothing of it is promised, so nobody writes its numbers.
    fn start_sequence(&self, seq: u64, generation: u64) -> Result {
        let follows = self.with_pool(generation, |i| {
            i.pool.follows(seq) && i.pool.available() == 0 && !i.pool.has_reserved()
        })?;
        if !follows || seq_is_idif(seq) {
            return Err(ESTALE);
        }
        self.last_used.settle();
        self.last_used.store(seq, 1)?;
        pr_info!(
            "{}: objects come from sequence {:#x} now\n",
            self.name(),
            seq
        );
        // It is on disk: it counts, whatever became of the connection.
        self.state.change(|i| i.pool.start_sequence(seq));
        Ok(())
    }
}

/// The OST told its space, or did not.
fn heard(state: &State, outcome: Outcome) {
    let stat = outcome
        .and_then(|r| r.check())
        .and_then(|r| requests::read_statfs(&r.msg));
    state.change(|i| {
        i.asking = false;
        if let Ok(s) = stat {
            let space = Space::new(s, i.space.as_ref());
            let full = space.as_ref().is_some_and(Space::is_full);
            if space.is_some() {
                i.space = space;
            }
            if full {
                i.status = Some(ENOSPC);
            } else if i.status == Some(ENOSPC) {
                i.status = None;
                i.retry_at = None;
            }
        }
    });
}
