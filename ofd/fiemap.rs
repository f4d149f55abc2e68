// SPDX-License-Identifier: GPL-2.0

//! Where the data of an object are (`ost.md` 10.1).

use crate::body;
use crate::device::Ofd;
use crate::info::{object_of, KEY, VALUE};
use crate::lock;
use kapi::prelude::*;
use ldlm::core::{Extent, Mode};
use osd::ObjectRef;
use target::{Request, Served};
use wire::fiemap::{
    Fiemap, FiemapExtent, LlFiemapInfoKey, FIEMAP_FLAG_DEVICE_ORDER, FIEMAP_FLAG_SYNC,
};
use zerocopy::FromBytes;

/// The last of the file.
const LAST: u32 = 0x1;
/// Allocated and not written.
const UNWRITTEN: u32 = 0x800;
/// Extents that are looked at for one request.
const MAX: u32 = 65536;

/// What was found.
struct Map {
    found: KVVec<FiemapExtent>,
    count: u32,
}

/// Looks at the extents of a range: up to `room` of them are kept; none: all are counted.
fn map(o: &ObjectRef, start: u64, end: u64, room: u32) -> Result<Map> {
    let mut m = Map {
        found: KVVec::new(),
        count: 0,
    };
    let most = if room == 0 { MAX } else { room.min(MAX) };
    let mut at = start;
    let mut next = o.extent(at)?;
    while let Some(e) = next.filter(|e| e.logical < end && e.len > 0) {
        if m.count >= most {
            break;
        }
        at = e.logical.saturating_add(e.len);
        next = o.extent(at)?;
        let mut flags = if e.unwritten { UNWRITTEN } else { 0 };
        if next.is_none() {
            flags |= LAST;
        }
        if room > 0 {
            let mut f = FiemapExtent::default();
            f.fe_logical.set(e.logical);
            f.fe_physical.set(e.physical);
            f.fe_length.set(e.len);
            f.fe_flags.set(flags);
            m.found.push(f, GFP_KERNEL)?;
        }
        m.count += 1;
    }
    Ok(m)
}

/// Has clients write what they have in their caches for the holes of a range.
fn flush_holes(req: &Request<'_>, o: &ObjectRef, start: u64, end: u64, known: &Map) -> Result {
    let res = body::resource(o.fid());
    let flush = |first: u64, behind: u64| -> Result {
        if first < behind {
            let hole = Extent::new(first, behind - 1);
            drop(lock::take(req.target, &res, Mode::Pr, hole, false)?);
        }
        Ok(())
    };
    let mut at = start;
    for e in known.found.iter() {
        flush(at, e.fe_logical.get().min(end))?;
        at = at.max(e.fe_logical.get().saturating_add(e.fe_length.get()));
    }
    flush(at, end)
}

/// OST_GET_INFO "fiemap".
///
/// # Errors
/// `EPROTO`: not such a request. `EBADR`: flags that are not known. `ENOENT`.
pub(crate) fn serve(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    let key = *req.rpc.get::<LlFiemapInfoKey>(KEY)?;
    let value = req.rpc.msg().buf(VALUE).ok_or(EPROTO)?;
    let (_, slots) = Fiemap::ref_from_prefix(value).map_err(|_| EPROTO)?;
    let fits = u32::try_from(slots.len() / size_of::<FiemapExtent>())?;
    let asked = key.lfik_fiemap;
    let room = asked.fm_extent_count.get();
    if room > fits {
        return Err(EPROTO);
    }
    let flags = asked.fm_flags.get() & !FIEMAP_FLAG_DEVICE_ORDER;
    if flags & !FIEMAP_FLAG_SYNC != 0 {
        return Err(EBADR);
    }
    let fid = object_of(ofd, &key.lfik_oa)?;
    let object = ofd.osd().object(&fid)?;
    object.attr()?;
    let start = asked.fm_start.get();
    let end = start.saturating_add(asked.fm_length.get());
    let mut m = map(&object, start, end, room)?;
    if lock::wants_ours(&key.lfik_oa) {
        let holes = match room {
            0 => map(&object, start, end, MAX)?,
            _ => m,
        };
        flush_holes(req, &object, start, end, &holes)?;
        m = map(&object, start, end, room)?;
    }
    let len = size_of::<Fiemap>() + room as usize * size_of::<FiemapExtent>();
    req.rpc.pack_reply(&[u32::try_from(len)?])?;
    let out = req.rpc.reply_mut()?.buf_mut(1).ok_or(EPROTO)?;
    let (head, slots) = Fiemap::mut_from_prefix(out).map_err(|_| EPROTO)?;
    *head = asked;
    head.fm_mapped_extents.set(m.count);
    let (slots, _) =
        <[FiemapExtent]>::mut_from_prefix_with_elems(slots, room as usize).map_err(|_| EPROTO)?;
    for (to, from) in slots.iter_mut().zip(m.found) {
        *to = from;
    }
    Ok(Served::Reply(0))
}
