// SPDX-License-Identifier: GPL-2.0

//! A log that is written to.

use super::head::Head;
use super::read::{chunk_at, first_chunk};
use kapi::prelude::*;
use osd::{ObjectRef, Plan, Transaction, Walk};
use wire::llog::{
    frame, rec_type, LlogFlags, LlogRecHdr, LlogRecTail, Rec, Records, LLOG_MAX_INDEX,
    LLOG_MIN_CHUNK_SIZE, LLOG_MIN_REC_SIZE,
};

const CHUNK: u64 = LLOG_MIN_CHUNK_SIZE as u64;

/// What a log is that has no header yet, and must be that has one.
#[derive(Clone, Copy, Debug)]
pub struct LogKind<'a> {
    /// Its flags.
    pub flags: LlogFlags,
    /// `llh_tgtuuid`: that of a log on disk is this one, or none.
    pub uuid: &'a [u8],
    /// A new log's record in its catalog; 0 if it has no catalog.
    pub slot: u32,
}

impl LogKind<'static> {
    /// A log of configuration.
    pub const CONFIG: LogKind<'static> = LogKind {
        flags: LlogFlags::IS_PLAIN,
        uuid: wire::llog::CONFIG_UUID,
        slot: 0,
    };
}

/// Where a record was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The record.
    pub rec: Rec<'a>,
    /// Its first byte in the file.
    pub at: u64,
}

struct State {
    head: Head,
    /// Bytes of the file; 0: the header is not there yet.
    end: u64,
    /// A write of the header failed: what is in memory may not be what is on disk.
    broken: bool,
}

/// A log that is written to.
#[pin_data]
pub struct Log {
    file: ObjectRef,
    /// Taken within transactions, and never kept when one starts.
    #[pin]
    state: Mutex<State>,
}

impl Log {
    /// Opens the log in a file, which may be empty.
    ///
    /// # Errors
    /// `EINVAL`: it is no log, or of another kind; `ENOENT`, `EIO`, `ENOMEM`.
    pub fn open(file: &ObjectRef, kind: LogKind<'_>) -> Result<Arc<Log>> {
        let found = Head::read(file)?;
        let size = file.attr()?.size;
        let (head, end) = match found {
            Some(head) => {
                let h = head.get()?;
                let kinds = LlogFlags::IS_CAT | LlogFlags::IS_PLAIN;
                let uuid = wire::text::get(&h.llh_tgtuuid);
                if h.flags() & kinds != kind.flags & kinds
                    || !(uuid.is_empty() || uuid == kind.uuid)
                    || size % 8 != 0
                {
                    pr_err!("{}: not the log that is expected there\n", file.fid());
                    return Err(EINVAL);
                }
                (head, size)
            }
            None => (Head::new(kind.flags, kind.uuid, kind.slot)?, 0),
        };
        Arc::pin_init(
            pin_init!(Log {
                file: file.clone(),
                state <- new_mutex!(State { head, end, broken: false }),
            }),
            GFP_KERNEL,
        )
    }

    /// Its file.
    pub fn file(&self) -> &ObjectRef {
        &self.file
    }

    /// Number of records that count.
    pub fn count(&self) -> u32 {
        let st = self.state.lock();
        let count = st.head.get().map_or(1, |h| h.llh_count.get());
        count.saturating_sub(1)
    }

    /// Whether no record counts.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The last index in use.
    pub fn last_index(&self) -> u32 {
        self.state.lock().head.get().map_or(0, |h| h.last_index())
    }

    /// Plans for records of `bytes` bytes in all to be appended, by one or more calls.
    ///
    /// # Errors
    /// `EFBIG`: more than one transaction should take.
    pub fn plan_append(&self, plan: &mut Plan, bytes: usize) -> Result {
        let end = self.state.lock().end;
        let from = end.max(CHUNK);
        // Each chunk may end with a pad that is nearly as long as the record behind it; others may
        // append before this transaction starts.
        let len = bytes
            .checked_mul(2)
            .and_then(|n| n.checked_add(2 * LLOG_MIN_CHUNK_SIZE))
            .filter(|n| *n <= 1 << 20)
            .ok_or(EFBIG)?;
        plan.write(&self.file, 0, LLOG_MIN_CHUNK_SIZE)?;
        plan.write(&self.file, from, len)
    }

    /// Plans for `n` records of `len` bytes to be appended one by one, among those of others.
    ///
    /// # Errors
    /// Those of planning.
    pub fn plan_each(&self, plan: &mut Plan, n: usize, len: usize) -> Result {
        // A pad may go before each, which is not much longer.
        let len = len.saturating_mul(2) + LLOG_MIN_REC_SIZE;
        plan.write(&self.file, 0, LLOG_MIN_CHUNK_SIZE)?;
        (0..n).try_for_each(|_| plan.append(&self.file, len))
    }

    /// Appends a record of type `kind`. `rec` is all of it: head and tail are filled in, between
    /// them is the payload. Returns its index.
    ///
    /// # Errors
    /// `ENOSPC`: the log, or the store, is full; nothing has changed. `EINVAL`: no record of this
    /// log has this length. `EIO`: this change of the header failed, or an earlier one.
    pub fn append(&self, tx: &mut Transaction, kind: u32, rec: &mut [u8]) -> Result<u32> {
        let mut st = self.state.lock();
        if st.broken {
            return Err(EIO);
        }
        let pad = st.pad_before(rec.len())?;
        let (index, end) = st.write_record(tx, &self.file, kind, rec, pad)?;
        st.change(|st| st.count_record(tx, &self.file, index, rec.len(), end))?;
        Ok(index)
    }

    /// Whether nothing can be appended since a change of the header failed.
    pub fn is_broken(&self) -> bool {
        self.state.lock().broken
    }

    /// Whether `records` more find indices, pads between them.
    pub fn has_room(&self, records: usize) -> bool {
        let last = self.last_index() as usize;
        last.saturating_add(records.saturating_mul(2)) <= LLOG_MAX_INDEX as usize
    }

    /// Plans for [`Log::rewrite`].
    ///
    /// # Errors
    /// Those of planning.
    pub fn plan_rewrite(&self, plan: &mut Plan, at: u64, payload: usize) -> Result {
        let from = at.checked_add(size_of::<LlogRecHdr>() as u64);
        plan.write(&self.file, from.ok_or(EINVAL)?, payload)
    }

    /// Replaces the payload of the record at byte `at`, which has the same length.
    ///
    /// # Errors
    /// `EINVAL`: another length.
    pub fn rewrite(&self, tx: &mut Transaction, at: u64, payload: &[u8]) -> Result {
        if at < CHUNK || payload.len() > LLOG_MIN_CHUNK_SIZE - LLOG_MIN_REC_SIZE {
            return Err(EINVAL);
        }
        let mut st = self.state.lock();
        let from = at + size_of::<LlogRecHdr>() as u64;
        st.change(|_| tx.write(&self.file, from, payload))
    }

    /// Plans for [`Log::cancel`].
    ///
    /// # Errors
    /// Those of planning.
    pub fn plan_cancel(&self, plan: &mut Plan) -> Result {
        plan.write(&self.file, 0, LLOG_MIN_CHUNK_SIZE)
    }

    /// Lets records not count any more, those of them that do.
    ///
    /// # Errors
    /// `EIO`: this change of the header failed, or an earlier one.
    pub fn cancel(&self, tx: &mut Transaction, indices: &[u32]) -> Result {
        let mut st = self.state.lock();
        st.change(|st| {
            let h = st.head.get_mut()?;
            let cleared = |i: &&u32| **i != 0 && h.clear_bit(**i);
            let n = u32::try_from(indices.iter().filter(cleared).count())?;
            if n == 0 {
                return Ok(());
            }
            let count = h.llh_count.get().saturating_sub(n).max(1);
            h.llh_count.set(count);
            let mut before = None;
            for i in indices.iter().filter(|i| **i <= LLOG_MAX_INDEX) {
                let (at, bytes) = st.head.word(*i)?;
                // Neighbours share a word.
                if before != Some(at) {
                    tx.write(&self.file, at, bytes)?;
                }
                before = Some(at);
            }
            let [(at, bytes), ..] = st.head.pieces(0)?;
            tx.write(&self.file, at, bytes)
        })
    }

    /// Calls `f` for the records that count, from index `from` on, in the order of their places.
    /// Not in a transaction.
    ///
    /// # Errors
    /// `EIO`: the log is damaged. Those of `f`.
    pub fn for_each(&self, from: u32, f: &mut dyn FnMut(&Found<'_>) -> Result<Walk>) -> Result {
        let (end, last) = {
            let st = self.state.lock();
            let h = st.head.get()?;
            // In a catalog that began anew at its front, older records are behind the last one.
            match h.flags().contains(LlogFlags::IS_CAT) {
                true => (st.end, LLOG_MAX_INDEX),
                false => (st.end, h.last_index()),
            }
        };
        let counts = |index: u32| -> Result<bool> {
            let st = self.state.lock();
            Ok(st.head.get()?.is_set(index))
        };
        walk(&self.file, end, from, last, &counts, f)
    }
}

/// Calls `f` for the records of a log that count.
fn walk(
    file: &ObjectRef,
    end: u64,
    from: u32,
    last: u32,
    counts: &dyn Fn(u32) -> Result<bool>,
    f: &mut dyn FnMut(&Found<'_>) -> Result<Walk>,
) -> Result {
    let Some(mut at) = first_chunk(file, end, from)? else {
        return Ok(());
    };
    let mut seen = 0;
    while at < end {
        let chunk = chunk_at(file, at)?;
        if chunk.is_empty() {
            return Ok(());
        }
        for rec in Records::new(&chunk) {
            let rec = rec.map_err(|_| damaged(file, at))?;
            let index = rec.index();
            if index <= seen {
                return Err(damaged(file, at));
            }
            seen = index;
            if index > last {
                return Ok(());
            }
            if index < from || rec.is_pad() || !counts(index)? {
                continue;
            }
            let found = Found {
                at: at + rec.offset as u64,
                rec,
            };
            if f(&found)? == Walk::Stop {
                return Ok(());
            }
        }
        at += CHUNK;
    }
    Ok(())
}

fn damaged(file: &ObjectRef, at: u64) -> Error {
    pr_err!("{}: the log is damaged near byte {}\n", file.fid(), at);
    EIO
}

impl State {
    /// Makes a change; one that fails leaves the log unusable.
    fn change<R>(&mut self, f: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        if self.broken {
            return Err(EIO);
        }
        let done = f(self);
        self.broken = done.is_err();
        done
    }

    /// Bytes of the pad that has to go before a record of `len` bytes.
    fn pad_before(&self, len: usize) -> Result<usize> {
        const PAD: usize = LLOG_MIN_REC_SIZE;
        // What fits no chunk together with the smallest pad would have to fill one.
        let fits = len <= LLOG_MIN_CHUNK_SIZE - PAD || len == LLOG_MIN_CHUNK_SIZE;
        if len < LLOG_MIN_REC_SIZE || len % 8 != 0 || !fits {
            return Err(EINVAL);
        }
        let left = usize::try_from(CHUNK - self.end % CHUNK)?;
        let pad = if left == len || left >= len + PAD {
            0
        } else {
            left
        };
        if pad != 0 && pad < PAD {
            return Err(EIO);
        }
        if self.head.get()?.last_index() >= LLOG_MAX_INDEX - u32::from(pad != 0) {
            return Err(ENOSPC);
        }
        Ok(pad)
    }

    /// Writes a record behind the end, where it does not count yet. Returns its index, and the end
    /// that the file has then.
    fn write_record(
        &mut self,
        tx: &mut Transaction,
        file: &ObjectRef,
        kind: u32,
        rec: &mut [u8],
        pad: usize,
    ) -> Result<(u32, u64)> {
        if self.end == 0 {
            tx.write(file, 0, self.head.as_bytes())?;
            self.end = CHUNK;
        }
        let h = self.head.get()?;
        if h.flags().contains(LlogFlags::IS_FIXSIZE)
            && h.llh_size.get() != 0
            && h.llh_size.get() as usize != rec.len()
        {
            return Err(EINVAL);
        }
        let index = h.last_index() + 1 + u32::from(pad != 0);
        frame(rec, kind, index).map_err(|_| EINVAL)?;
        let end = self.end + (pad + rec.len()) as u64;
        if pad == 0 {
            tx.write(file, self.end, rec)?;
            return Ok((index, end));
        }
        let mut bytes = KVVec::from_elem(0u8, pad, GFP_NOFS)?;
        frame(&mut bytes, rec_type::PAD, index - 1).map_err(|_| EIO)?;
        bytes.extend_from_slice(rec, GFP_NOFS)?;
        // At once: a pad without its record would take an index that the header does not know.
        tx.write(file, self.end, &bytes)?;
        Ok((index, end))
    }

    /// Lets a record count that was written. Not before: who reads meanwhile finds the record where
    /// its bit is set.
    fn count_record(
        &mut self,
        tx: &mut Transaction,
        file: &ObjectRef,
        index: u32,
        len: usize,
        end: u64,
    ) -> Result {
        self.end = end;
        let size = u32::try_from(len)?;
        let h = self.head.get_mut()?;
        h.set_bit(index);
        h.llh_count.set(h.llh_count.get().saturating_add(1));
        let smallest = match h.llh_size.get() {
            0 => size,
            n => n.min(size),
        };
        h.llh_size.set(smallest);
        h.llh_tail = LlogRecTail {
            lrt_len: h.llh_tail.lrt_len,
            lrt_index: index.into(),
        };
        for (at, bytes) in self.head.pieces(index)? {
            tx.write(file, at, bytes)?;
        }
        Ok(())
    }
}
