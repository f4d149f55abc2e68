// SPDX-License-Identifier: GPL-2.0

//! OST_READ and OST_WRITE as they arrive (`ost.md` 4.1).

use crate::body;
use crate::client::Terms;
use crate::grant::Announcement;
use crate::layout::{is_sane, Layout, Range, MD_SIZE};
use crate::lock::Scope;
use kapi::prelude::*;
use lnet::fail::{self, point};
use ptlrpc::request::ServerRequest;
use target::Request;
use wire::fid::Fid;
use wire::msg::MsgFlags;
use wire::obdo::{CksumType, ObdFl, ObdMd, Obdo};
use wire::opcode::{portal, OST_PUNCH, OST_READ, OST_WRITE};
use wire::ost::{BrwFlags, NiobufRemote, ObdIoobj, MAX_SHORT_IO, PTLRPC_MAX_BRW_PAGES};
use zerocopy::FromBytes;

/// Buffer of the `obd_ioobj`.
const IOOBJ: usize = 2;
/// Buffer of the `niobuf_remote`s.
const NIOBUFS: usize = 3;
/// Buffer of data in the message.
pub(crate) const SHORT: usize = 5;

/// Whether requests with this opcode run under a lock of their client's.
pub(crate) fn has_lock(opc: u32) -> bool {
    matches!(opc, OST_READ | OST_WRITE | OST_PUNCH)
}

/// Where bulk transfers are held up on demand.
pub(crate) fn pause_before_bulk(req: &Request<'_>) {
    let timeout = req.target.node().limits().obd_timeout;
    fail::pause(point::OST_BRW_PAUSE_BULK, |val| match val {
        0 => Duration::from_secs((u64::from(timeout) + 1) / 4),
        n => fail::seconds(n),
    });
}

/// A transfer that is asked for, checked.
pub(crate) struct Brw {
    /// The body.
    pub(crate) body: Obdo,
    /// The object.
    pub(crate) fid: Fid,
    /// What is read or written.
    pub(crate) ranges: KVVec<Range>,
    /// Flags of each range.
    pub(crate) flags: KVVec<BrwFlags>,
    /// Bytes in all.
    pub(crate) total: usize,
    /// The data are in the messages.
    pub(crate) short: bool,
    /// Room for how many MDs the client has.
    max_mds: u64,
}

impl Brw {
    /// Reads a request.
    ///
    /// # Errors
    /// `EPROTO`: none as a client may send. `EFAULT`: a lock is wanted for a part of it only.
    /// `EOVERFLOW`: larger than agreed. `EBADF`. `ENOMEM`.
    pub(crate) fn read(rpc: &ServerRequest, index: u16, terms: &Terms) -> Result<Brw> {
        if rpc.portal() != portal::OST_IO {
            return Err(EPROTO);
        }
        let (body, fid) = body::read(rpc, index)?;
        let raw = rpc.msg().buf(IOOBJ).ok_or(EPROTO)?;
        let (io, more) = ObdIoobj::ref_from_prefix(raw).map_err(|_| EPROTO)?;
        if more.len() >= size_of::<ObdIoobj>() {
            return Err(EPROTO);
        }
        let count = io.ioo_bufcnt.get();
        if count == 0 || count > PTLRPC_MAX_BRW_PAGES {
            return Err(EPROTO);
        }
        let max_mds = u64::from(io.max_brw());
        if !max_mds.is_power_of_two() {
            return Err(EPROTO);
        }
        let raw = rpc.msg().buf(NIOBUFS).ok_or(EPROTO)?;
        let niobufs = <[NiobufRemote]>::ref_from_bytes(raw).map_err(|_| EPROTO)?;
        if niobufs.len() != count as usize {
            return Err(EPROTO);
        }
        let mut ranges = KVVec::with_capacity(niobufs.len(), GFP_KERNEL)?;
        let mut flags = KVVec::with_capacity(niobufs.len(), GFP_KERNEL)?;
        let mut total = 0usize;
        for n in niobufs {
            let range = Range {
                pos: n.rnb_offset.get(),
                len: n.rnb_len.get(),
            };
            ranges.push(range, GFP_KERNEL)?;
            flags.push(n.flags(), GFP_KERNEL)?;
            total = total.saturating_add(range.len as usize);
        }
        if !is_sane(&ranges) || ranges.last().is_some_and(|r| r.end() > i64::MAX as u64) {
            return Err(EPROTO);
        }
        if total > terms.brw_size as usize {
            return Err(EOVERFLOW);
        }
        let locked = |f: &BrwFlags| f.contains(BrwFlags::SRVLOCK);
        if flags.iter().any(locked) && !flags.iter().all(locked) {
            return Err(EFAULT);
        }
        let short = body.flags().contains(ObdFl::SHORT_IO);
        if short && (total > MAX_SHORT_IO as usize || ranges.len() != 1 || !terms.short_io) {
            return Err(EPROTO);
        }
        Ok(Brw {
            body,
            fid,
            ranges,
            flags,
            total,
            short,
            max_mds,
        })
    }

    /// Nothing is to be done.
    pub(crate) fn is_nothing(&self) -> bool {
        self.body.flags().contains(ObdFl::NORPC)
    }

    /// Whether we are to take the lock.
    pub(crate) fn wants_ours(&self) -> bool {
        self.flags
            .first()
            .is_some_and(|f| f.contains(BrwFlags::SRVLOCK))
    }

    /// What it works on.
    pub(crate) fn scope(&self, write: bool) -> Scope {
        let first = self.ranges.first().map_or(0, |r| r.pos);
        let last = self.ranges.last().map_or(0, |r| r.end().saturating_sub(1));
        Scope { first, last, write }
    }

    /// How its data are cut.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn layout(&self) -> Result<Layout> {
        let size = match self.short {
            // A page more, if it begins within one.
            true => 2 * MAX_SHORT_IO as usize,
            false => MD_SIZE,
        };
        Layout::new(&self.ranges, size)
    }

    /// Whether the client has MDs for these data.
    ///
    /// # Errors
    /// `EPROTO`: not as many as the data need.
    pub(crate) fn check_mds(&self, rpc: &ServerRequest, layout: &Layout) -> Result {
        match rpc.bulk_match(self.max_mds)?.1 == layout.mds.len() {
            true => Ok(()),
            false => Err(EPROTO),
        }
    }

    /// The transfer begins: match bits of the first of the client's MDs, and how many there are.
    ///
    /// # Errors
    /// `EPROTO`: not as many as the data need.
    pub(crate) fn begin(&self, rpc: &ServerRequest, layout: &Layout) -> Result<(u64, usize)> {
        let (first, count) = rpc.bulk_begin(self.max_mds)?;
        match count == layout.mds.len() {
            true => Ok((first, count)),
            false => Err(EPROTO),
        }
    }

    /// The type of the checksum, if one is wanted.
    ///
    /// # Errors
    /// `EPROTO`: none that there is.
    pub(crate) fn cksum(&self) -> Result<Option<CksumType>> {
        let valid = self.body.valid();
        if !valid.contains(ObdMd::FLCKSUM) {
            return Ok(None);
        }
        if !valid.contains(ObdMd::FLFLAGS) {
            return Ok(Some(CksumType::Adler));
        }
        let kind = CksumType::try_from(self.body.flags()).map_err(|_| EPROTO)?;
        Ok(Some(kind))
    }

    /// What the client says of its grant; nothing if it does not count.
    pub(crate) fn announcement(&self, rpc: &ServerRequest, terms: &Terms) -> Option<Announcement> {
        announcement(&self.body, rpc, terms)
    }
}

/// What a client says of its grant in a body. A message that is sent again says nothing: grants
/// were agreed on anew at the reconnect.
pub(crate) fn announcement(o: &Obdo, rpc: &ServerRequest, terms: &Terms) -> Option<Announcement> {
    let again = MsgFlags::RESENT | MsgFlags::REPLAY;
    let counts = terms.grant
        && o.valid().contains(ObdMd::FLGRANT | ObdMd::FLBLOCKS)
        && !rpc.flags().intersects(again);
    counts.then(|| Announcement {
        dirty: o.dirty(),
        dropped: o.dropped().into(),
        has: o.o_grant.get(),
        wants: o.undirty().into(),
    })
}
