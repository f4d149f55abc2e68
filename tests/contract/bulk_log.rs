// SPDX-License-Identifier: GPL-2.0

//! Bulk data and power cuts: a file that a thread writes, cuts and punches between its
//! transactions, and what may be in it after a cut.

use crate::{check, ok, ops, Random};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef};

/// Bytes that are told apart; each has one stamp all over.
const UNIT: usize = 512;
/// Units of the largest file.
const UNITS: usize = 512;
const PER_PAGE: usize = PAGE_SIZE / UNIT;

/// What was done to units `from..to`.
#[derive(Clone, Copy, Debug)]
enum Op {
    Write,
    Punch,
    /// The file ends at `from`.
    Truncate,
    /// Zeros, and blocks for them.
    Zero,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    op: Op,
    from: usize,
    to: usize,
    stamp: u32,
    /// Transactions of the thread that had stopped before.
    after: u64,
    /// It met an error: anything may be in the blocks that it touched.
    failed: bool,
}

impl Entry {
    /// Whether it may have left anything in unit `i`.
    fn spoiled(&self, i: usize) -> bool {
        let (from, to) = (self.from / PER_PAGE, self.end().div_ceil(PER_PAGE));
        self.failed && (from..to).contains(&(i / PER_PAGE))
    }

    /// Where the units end that it changes.
    fn end(&self) -> usize {
        match self.op {
            Op::Truncate => UNITS,
            _ => self.to,
        }
    }

    /// What it leaves there.
    fn leaves(&self) -> u32 {
        match self.op {
            Op::Write => self.stamp,
            _ => 0,
        }
    }
}

/// The file of a thread, and its history.
pub(crate) struct BulkLog {
    fid: Fid,
    entries: KVVec<Entry>,
}

/// Content and size, in units.
struct State {
    units: KVVec<u32>,
    size: usize,
}

impl State {
    fn apply(&mut self, e: &Entry) {
        for u in self.units.iter_mut().take(e.end()).skip(e.from) {
            *u = e.leaves();
        }
        match e.op {
            Op::Write | Op::Zero => self.size = self.size.max(e.to),
            Op::Truncate => self.size = e.from,
            Op::Punch => {}
        }
    }
}

impl BulkLog {
    /// That of thread `slot`; [`BulkLog::make`] makes the file.
    pub(crate) fn new(slot: usize) -> BulkLog {
        BulkLog {
            fid: Fid::new(0x2_0000_0700, 1 + slot as u32),
            entries: KVVec::new(),
        }
    }

    /// Makes the file.
    pub(crate) fn make(&self, d: &dyn Device) -> Result {
        let name = [b'b', b'a' + self.fid.oid as u8];
        let base = ok!(ops::root(d));
        ok!(ops::make(d, &base, &name, self.fid, &Create::file(0o600)));
        Ok(())
    }

    /// Does something to it, after `after` transactions. What fails may have been done in part.
    pub(crate) fn step(&mut self, d: &dyn Device, rng: &mut Random, after: u64) -> Result {
        let o = ok!(d.object(&self.fid));
        let from = rng.below(UNITS - 1);
        // Half of them begin and end with blocks.
        let (from, len) = match rng.below(2) {
            0 => (from / PER_PAGE * PER_PAGE, (1 + rng.below(16)) * PER_PAGE),
            _ => (from, 1 + rng.below(100)),
        };
        let to = UNITS.min(from + len);
        let op = match rng.below(10) {
            0..=6 => Op::Write,
            7 => Op::Punch,
            8 => Op::Truncate,
            _ => Op::Zero,
        };
        let e = Entry {
            op,
            from,
            to,
            stamp: self.entries.len() as u32 + 1,
            after,
            failed: false,
        };
        // Before it is done: it may be found half-way.
        self.entries.push(e, GFP_KERNEL)?;
        let (pos, len) = ((from * UNIT) as u64, (to - from) * UNIT);
        let done = match op {
            Op::Write => write(&o, &e, pos, len),
            Op::Punch => o.punch(pos, len as u64),
            Op::Truncate => o.truncate(pos),
            Op::Zero => o.zero_range(pos, len as u64, false),
        };
        if let Some(e) = self.entries.last_mut() {
            e.failed = done.is_err();
        }
        done
    }

    /// Whether the file is what it may be when `there` transactions are: all that was done before
    /// the last of them, and nothing but what was done later.
    pub(crate) fn judge(&self, d: &dyn Device, there: u64) -> Result {
        let mut now = State {
            units: KVVec::from_elem(0, UNITS, GFP_KERNEL)?,
            size: 0,
        };
        let safe = self.entries.iter().filter(|e| e.after < there).count();
        for e in self.entries.iter().take(safe) {
            now.apply(e);
        }
        let later = self.entries.get(safe..).unwrap_or_default();
        let (mut least, mut most) = (now.size, now.size);
        let mut end = State {
            units: KVVec::from_elem(0, UNITS, GFP_KERNEL)?,
            size: now.size,
        };
        for e in later {
            end.apply(e);
            least = least.min(end.size);
            most = most.max(end.size);
        }
        let o = ok!(d.object(&self.fid));
        check!(o.exists());
        let size = ok!(o.attr()).size as usize;
        // A write that makes the file longer may have got to any of its blocks.
        if size > most * UNIT || size < least * UNIT {
            pr_err!(
                "{}: {} bytes, not {} to {} units\n",
                self.fid,
                size,
                least,
                most
            );
        }
        check!((least * UNIT..=most * UNIT).contains(&size));
        let mut pages = ok!(Pages::new(UNITS / PER_PAGE));
        let n = ok!(o.read_pages(&mut pages, 0, UNITS * UNIT, 0));
        check!(n == size);
        let mut buf = [0; UNIT];
        for (i, &want) in now.units.iter().enumerate().take(n / UNIT) {
            pages.copy_out(i * UNIT, &mut buf)?;
            let stamp = stamp(&buf);
            let may = |s: u32| {
                s == want
                    || later
                        .iter()
                        .any(|e| (e.from..e.end()).contains(&i) && e.leaves() == s)
            };
            let spoiled = later.iter().any(|e| e.spoiled(i));
            if !spoiled && !stamp.is_some_and(may) {
                pr_err!(
                    "{} unit {}: {:?} instead of {} ({} of {} safe)\n",
                    self.fid,
                    i,
                    stamp,
                    want,
                    safe,
                    self.entries.len()
                );
                let touches = |e: &&Entry| (e.from..e.end()).contains(&i);
                for e in self.entries.iter().filter(touches) {
                    pr_err!("{:?}\n", e);
                }
                return Err(EINVAL);
            }
        }
        Ok(())
    }
}

fn write(o: &ObjectRef, e: &Entry, pos: u64, len: usize) -> Result {
    let at = pos as usize % PAGE_SIZE;
    let mut pages = ok!(Pages::new((at + len).div_ceil(PAGE_SIZE)));
    let mut data = KVVec::from_elem(0, len, GFP_KERNEL)?;
    for b in data.chunks_exact_mut(4) {
        b.copy_from_slice(&e.stamp.to_le_bytes());
    }
    pages.copy_in(at, &data)?;
    o.write_pages(&pages, at, len, pos)
}

/// The one stamp of a unit; none: it has several.
fn stamp(unit: &[u8]) -> Option<u32> {
    let first = u32::from_le_bytes(*unit.first_chunk()?);
    let mut all = unit.chunks_exact(4);
    all.all(|b| b == first.to_le_bytes()).then_some(first)
}
