// SPDX-License-Identifier: GPL-2.0

//! FLD: which server has a sequence (`ost.md` 16, `ondisk.md` 10.2). The table of all ranges is on
//! MDT0000; other targets keep their own ranges and ask for the rest.

use crate::service::{Request, Served};
use kapi::prelude::*;
use osd::{Create, Device, ObjectRef, Plan, Transaction};
use wire::fid::{oid, seq, Fid};
use wire::opcode::{FLD_QUERY, FLD_READ};
use wire::seq::{
    fld_op, range_type, LuSeqRange, LuSeqRangeArray, LuSeqRangeBe, SeqRange, FLD_READ_SIZE,
};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of a key: the start, big endian.
const KEY: usize = 8;
/// Bytes of a record.
const REC: usize = size_of::<LuSeqRangeBe>();
/// Answers of MDT0000 that are remembered at the most.
const CACHED: usize = 4096;

/// Where MDT0000's table can be asked: a light connection.
pub trait RangeSource: Send + Sync {
    /// The range that `seq` is in.
    ///
    /// # Errors
    /// `ENOENT`: nobody has it. `EAGAIN`, `EIO`, `ENOTCONN`, `ETIMEDOUT`: it cannot be known now.
    fn lookup(&self, seq: u64, kind: u32) -> Result<SeqRange>;
}

impl<F: Fn(u64, u32) -> Result<SeqRange> + Send + Sync> RangeSource for F {
    fn lookup(&self, seq: u64, kind: u32) -> Result<SeqRange> {
        self(seq, kind)
    }
}

/// Ranges by their start; they do not overlap.
struct Table {
    ranges: RBTree<u64, SeqRange>,
    len: usize,
}

impl Table {
    fn new() -> Table {
        Table {
            ranges: RBTree::new(),
            len: 0,
        }
    }

    /// The last range that starts at `seq` or before.
    fn at_or_before(&self, seq: u64) -> Option<SeqRange> {
        let Some(c) = self.ranges.cursor_lower_bound(&seq) else {
            return self.ranges.cursor_back().map(|c| *c.current().1);
        };
        match c.current() {
            (start, r) if *start == seq => Some(*r),
            _ => c.peek_prev().map(|(_, r)| *r),
        }
    }

    fn find(&self, seq: u64) -> Option<SeqRange> {
        self.at_or_before(seq).filter(|r| r.contains(seq))
    }

    /// Whether a range shares a sequence with one that is there.
    fn overlaps(&self, r: &SeqRange) -> bool {
        let last = r.end.saturating_sub(1);
        self.at_or_before(last).is_some_and(|o| o.end > r.start)
    }

    fn insert(&mut self, node: RBTreeNode<u64, SeqRange>) {
        if self.ranges.insert(node).is_none() {
            self.len += 1;
        }
    }
}

fn same_owner(a: &SeqRange, b: &SeqRange) -> bool {
    a.index == b.index && a.flags & range_type::MASK == b.flags & range_type::MASK
}

/// How a new range gets into the table.
enum Place {
    /// It is there already.
    Known,
    /// As a record of its own.
    New(SeqRange),
    /// Its left neighbour, of the same owner, grows.
    Grow(SeqRange),
}

fn place(table: &Table, r: &SeqRange) -> Result<Place> {
    if r.is_empty() {
        return Err(EINVAL);
    }
    if let Some(o) = table.find(r.start) {
        return match same_owner(&o, r) && r.end <= o.end {
            true => Ok(Place::Known),
            false => Err(EEXIST),
        };
    }
    if table.overlaps(r) {
        return Err(EEXIST);
    }
    let left = r.start.checked_sub(1).and_then(|s| table.find(s));
    Ok(match left.filter(|l| same_owner(l, r)) {
        Some(l) => Place::Grow(SeqRange { end: r.end, ..l }),
        None => Place::New(*r),
    })
}

/// The table of a target.
#[pin_data]
pub struct Fld {
    osd: Arc<dyn Device>,
    index: ObjectRef,
    /// None: this is MDT0000, whose table is complete.
    source: Option<Arc<dyn RangeSource>>,
    /// What is in the index.
    #[pin]
    own: Mutex<Table>,
    /// What MDT0000 said.
    #[pin]
    heard: Mutex<Table>,
    /// Serialises changes; outermost, held over a transaction.
    #[pin]
    changing: Mutex<()>,
}

/// What else goes into the transaction that adds a range.
pub(crate) trait Along {
    /// Plans for it.
    fn plan(&self, plan: &mut Plan) -> Result;
    /// Does it.
    fn run(&self, tx: &mut Transaction) -> Result;
}

/// Nothing.
struct Alone;

impl Along for Alone {
    fn plan(&self, _: &mut Plan) -> Result {
        Ok(())
    }
    fn run(&self, _: &mut Transaction) -> Result {
        Ok(())
    }
}

impl Fld {
    /// Opens the index, or makes it. `source` leads to MDT0000; none: this is MDT0000.
    ///
    /// # Errors
    /// `EINVAL`: it has another shape, or ranges overlap; the log says so. `EIO`, `ENOSPC`.
    pub fn open(osd: &Arc<dyn Device>, source: Option<Arc<dyn RangeSource>>) -> Result<Arc<Fld>> {
        let index = osd.object(&Fid::local(oid::FLD_INDEX))?;
        if !index.exists() {
            let what = Create::file(0o644);
            let mut plan = osd.plan()?;
            plan.create(&index, &what, None)?;
            plan.record(&index)?;
            let mut tx = plan.start()?;
            tx.create(&index, &what, None)?;
            tx.index_make(&index, KEY, REC)?;
            tx.stop()?;
        }
        if index.index_shape()? != (KEY, REC) {
            pr_err!("fld: not an index of ranges\n");
            return Err(EINVAL);
        }
        let is_authority = source.is_none();
        let fld = Arc::pin_init(
            pin_init!(Fld {
                osd: osd.clone(),
                index,
                source,
                own <- new_mutex!(Table::new()),
                heard <- new_mutex!(Table::new()),
                changing <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )?;
        fld.load()?;
        if is_authority {
            fld.add_fixed()?;
        }
        Ok(fld)
    }

    fn load(&self) -> Result {
        let mut key = [0u8; KEY];
        let mut rec = [0u8; REC];
        while self.index.index_next(&mut key, &mut rec)? {
            let r = LuSeqRangeBe::read_from_bytes(&rec)
                .map_err(|_| EINVAL)?
                .get();
            // A new index may hold a record of zeros.
            if !r.is_empty() {
                let node = RBTreeNode::new(r.start, r, GFP_KERNEL)?;
                let mut own = self.own.lock();
                if own.overlaps(&r) || key != r.start.to_be_bytes() {
                    pr_err!(
                        "fld: the range [{:#x}, {:#x}) does not fit\n",
                        r.start,
                        r.end
                    );
                    return Err(EINVAL);
                }
                own.insert(node);
            }
            match u64::from_be_bytes(key).checked_add(1) {
                Some(next) => key = next.to_be_bytes(),
                None => break,
            }
        }
        Ok(())
    }

    /// The ranges that are MDT0000's from the beginning.
    fn add_fixed(&self) -> Result {
        for (start, end) in [
            (seq::IGIF, seq::IGIF_MAX + 1),
            (seq::DOT_LUSTRE, seq::DOT_LUSTRE + 1),
            (seq::ROOT, seq::ROOT + 1),
        ] {
            self.insert(SeqRange {
                start,
                end,
                index: 0,
                flags: range_type::MDT,
            })?;
        }
        Ok(())
    }

    /// Adds a range, if it is not there. It is on disk when this returns.
    ///
    /// # Errors
    /// `EEXIST`: somebody has a part of it. `EINVAL`: it is empty. `EIO`, `EROFS`, `ENOSPC`.
    pub fn insert(&self, range: SeqRange) -> Result {
        self.insert_along(range, &Alone)
    }

    /// The same, with something more in the same transaction.
    pub(crate) fn insert_along(&self, range: SeqRange, along: &dyn Along) -> Result {
        let _changing = self.changing.lock();
        let place = place(&self.own.lock(), &range)?;
        let mut plan = self.osd.plan()?;
        along.plan(&mut plan)?;
        plan.record(&self.index)?;
        let entry = match &place {
            Place::Known => None,
            Place::New(r) | Place::Grow(r) => Some(RBTreeNode::new(r.start, *r, GFP_KERNEL)?),
        };
        let mut tx = plan.start()?;
        let done = along.run(&mut tx).and_then(|()| match &place {
            Place::Known => Ok(()),
            Place::New(r) => {
                let rec = LuSeqRangeBe::from(*r);
                tx.index_insert(&self.index, &r.start.to_be_bytes(), rec.as_bytes())
            }
            Place::Grow(r) => {
                let rec = LuSeqRangeBe::from(*r);
                tx.index_update(&self.index, &r.start.to_be_bytes(), rec.as_bytes())
            }
        });
        tx.set_sync();
        tx.stop()?;
        done?;
        if let Some(e) = entry {
            self.own.lock().insert(e);
        }
        Ok(())
    }

    /// The range that `seq` is in, of an owner of this kind ([`range_type`]).
    ///
    /// # Errors
    /// `ENOENT`: nobody has it. `EIO`: an owner of another kind has. `EAGAIN`, ...: MDT0000 cannot
    /// be asked now.
    pub fn lookup(&self, seq: u64, kind: u32) -> Result<SeqRange> {
        let known = self.own.lock().find(seq);
        let known = known.or_else(|| self.heard.lock().find(seq));
        let range = match (known, &self.source) {
            (Some(r), _) => r,
            (None, None) => return Err(ENOENT),
            (None, Some(s)) => {
                let r = s.lookup(seq, range_type::ANY)?;
                if !r.contains(seq) {
                    return Err(EPROTO);
                }
                self.remember(r)?;
                r
            }
        };
        let kind = kind & range_type::MASK;
        if kind != range_type::ANY && range.flags & range_type::MASK != kind {
            return Err(EIO);
        }
        Ok(range)
    }

    fn remember(&self, r: SeqRange) -> Result {
        let node = RBTreeNode::new(r.start, r, GFP_KERNEL)?;
        let mut heard = self.heard.lock();
        if heard.len >= CACHED {
            *heard = Table::new();
        }
        // Ranges grow: a shorter one that was heard before is replaced, being at the same start.
        let same_start = heard.ranges.get(&r.start).is_some();
        if same_start || !heard.overlaps(&r) {
            heard.insert(node);
        }
        Ok(())
    }

    /// FLD_QUERY and FLD_READ.
    ///
    /// # Errors
    /// `EPROTO`: not such a request. `EOPNOTSUPP`: another operation.
    pub fn serve(&self, req: &mut Request<'_>) -> Result<Served> {
        match req.rpc.opc() {
            FLD_QUERY => self.query(req),
            FLD_READ => self.read(req),
            _ => Err(EOPNOTSUPP),
        }
    }

    fn query(&self, req: &mut Request<'_>) -> Result<Served> {
        let op = *req.rpc.get::<zerocopy::little_endian::U32>(1)?;
        let asked = req.rpc.get::<LuSeqRange>(2)?.get();
        if op.get() != fld_op::LOOKUP {
            return Err(EOPNOTSUPP);
        }
        req.rpc.pack_reply(&[size_of::<LuSeqRange>() as u32])?;
        match self.lookup(asked.start, asked.flags) {
            Ok(r) => {
                *req.rpc.reply_mut()?.get_mut::<LuSeqRange>(1)? = r.into();
                Ok(Served::Reply(0))
            }
            // To the client this would be about its own connection.
            Err(e) if e == ENOTCONN || e == ETIMEDOUT || e == ESHUTDOWN => {
                Ok(Served::Reply(EAGAIN.to_errno()))
            }
            Err(e) => Ok(Served::Reply(e.to_errno())),
        }
    }

    fn read(&self, req: &mut Request<'_>) -> Result<Served> {
        let asked = req.rpc.get::<LuSeqRange>(1)?.get();
        req.rpc.pack_reply(&[FLD_READ_SIZE as u32])?;
        let out = req.rpc.reply_mut()?.buf_mut(1).ok_or(EPROTO)?;
        let more = self.list(&asked, out)?;
        Ok(Served::Reply(if more { EAGAIN.to_errno() } else { 0 }))
    }

    /// Lists the ranges of an owner behind the range in `asked`; whether there are more.
    fn list(&self, asked: &SeqRange, out: &mut [u8]) -> Result<bool> {
        let (head, body) = out
            .split_at_mut_checked(size_of::<LuSeqRangeArray>())
            .ok_or(EINVAL)?;
        let mut slots = body.chunks_exact_mut(size_of::<LuSeqRange>());
        let (mut count, mut more) = (0u32, false);
        let own = self.own.lock();
        for (start, r) in own.ranges.iter() {
            let listed = *start > asked.start
                && *start >= asked.end
                && r.index == asked.index
                && r.flags == asked.flags;
            if !listed {
                continue;
            }
            let Some(slot) = slots.next() else {
                more = true;
                break;
            };
            slot.copy_from_slice(LuSeqRange::from(*r).as_bytes());
            count += 1;
        }
        drop(own);
        let array = LuSeqRangeArray {
            lsra_count: count.into(),
            lsra_padding: 0.into(),
        };
        head.copy_from_slice(array.as_bytes());
        Ok(more)
    }
}

#[cfg(test)]
mod tests;
