// SPDX-License-Identifier: GPL-2.0

//! OST_WRITE (`ost.md` 4.4).

use crate::body;
use crate::brw::{self, Brw, SHORT};
use crate::change::{Change, Owners};
use crate::cksum;
use crate::client::{self, OfdClient, Terms};
use crate::data::Data;
use crate::device::Ofd;
use crate::grant::Item;
use crate::layout::{Layout, Range};
use crate::lock;
use crate::space::Given;
use crate::stats::Op;
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;
use lnet::fail::{self, point};
use osd::{Attr, ObjectRef};
use target::{Client, Request, Served};
use wire::obdo::{CksumType, ObdFl, ObdMd, Obdo};
use wire::opcode::portal;
use wire::ost::BrwFlags;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

/// Buffer of the results in the reply.
const RCS: usize = 2;
/// How often a write that finds no space is tried again after a commit, which makes what was freed
/// usable.
const TRIES: u32 = 3;
/// Pieces of an object's map that are looked at for one range.
const MAX_EXTENTS: u32 = 1024;

/// The space that a write needs, while it runs.
struct Reserved<'a> {
    ofd: &'a Ofd,
    client: &'a OfdClient,
    given: Given,
    /// Something was written.
    written: bool,
    /// There will be a reply that tells what was granted.
    told: bool,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let space = self.ofd.space();
        space.done(self.client, &self.given, self.written, self.told);
    }
}

fn reserve<'a>(
    ofd: &'a Ofd,
    client: &'a OfdClient,
    req: &Request<'_>,
    brw: &Brw,
    items: &mut KVVec<Item>,
) -> Result<(Reserved<'a>, bool)> {
    let terms = client.terms();
    let (shape, taxed) = (ofd.space().shape(), terms.taxed);
    for (r, f) in brw.ranges.iter().zip(brw.flags.iter()) {
        let item = Item {
            need: shape.need(r.pos, r.len.into(), taxed),
            from_grant: f.contains(BrwFlags::FROM_GRANT),
            granted: false,
        };
        items.push(item, GFP_KERNEL)?;
    }
    let told = brw.announcement(req.rpc, &terms);
    let flags = brw.body.flags();
    // The client counted its grant with the first attempt.
    let again = flags.contains(ObdFl::RECOV_RESEND);
    let shrink = flags.contains(ObdFl::SHRINK_GRANT);
    let used = match brw.body.valid().contains(ObdMd::FLGRANT) {
        true => brw.body.grant_used(),
        false => 0,
    };
    let given = ofd
        .space()
        .write(client, told.as_ref(), items, used, again, shrink)?;
    let reserved = Reserved {
        ofd,
        client,
        given,
        written: false,
        told: false,
    };
    Ok((reserved, told.is_some()))
}

/// Whether a range has blocks already, so that writing it needs no space.
fn is_allocated(o: &ObjectRef, r: &Range) -> bool {
    let mut at = r.pos;
    for _ in 0..MAX_EXTENTS {
        if at >= r.end() {
            return true;
        }
        match o.extent(at) {
            Ok(Some(e)) if e.logical <= at && e.len > 0 => at = e.logical.saturating_add(e.len),
            _ => return false,
        }
    }
    false
}

fn fetch(req: &mut Request<'_>, brw: &Brw, layout: &Layout, data: &mut Data) -> Result {
    if brw.short {
        let inline = req.rpc.msg().buf(SHORT).ok_or(EPROTO)?;
        let inline = inline.get(..brw.total).ok_or(EPROTO)?;
        return data.copy_in(layout, inline);
    }
    let (first, _) = brw.begin(req.rpc, layout)?;
    let sinks = data.take_sinks(layout)?;
    let filled = req.rpc.bulk_get(portal::OST_BULK, first, sinks)?;
    data.fill(filled)
}

/// Writes the ranges that may be written; what became of each.
fn store(
    ofd: &Ofd,
    o: &ObjectRef,
    layout: &Layout,
    data: &Data,
    rcs: &mut [Result],
) -> Result<bool> {
    let mut any = false;
    for p in layout.pieces.iter() {
        let rc = rcs.get_mut(p.range).ok_or(EINVAL)?;
        if rc.is_err() {
            continue;
        }
        let mut tries = 0;
        *rc = loop {
            match data.write(o, p) {
                Err(e) if e == ENOSPC && tries < TRIES && ofd.osd().sync().is_ok() => tries += 1,
                done => break done,
            }
        };
        any |= rc.is_ok();
    }
    Ok(any)
}

/// Encrypted data are longer than what they stand for: a file that grows is cut to that.
fn cap(o: &ObjectRef, old_size: u64, clear: u64) -> Result {
    if clear != 0 && o.attr()?.size > clear.max(old_size) {
        o.truncate(clear.max(old_size))?;
    }
    Ok(())
}

/// Gives what was written its number, times and owners.
fn record(
    ofd: &Ofd,
    req: &mut Request<'_>,
    client: &OfdClient,
    brw: &Brw,
    o: &ObjectRef,
    change: &Change,
) -> Result {
    let export = req.export.clone();
    let target = req.target.clone();
    let mut plan = target.plan()?;
    let parent = change.plan(&mut plan, o)?;
    let mut tx = target.start(plan, Client::of(&export)?)?;
    let version = tx.transno();
    let applied = change.apply(&mut tx, o, parent, Some(version));
    let sync = ofd.tunables.sync_journal.load(Relaxed)
        || brw.flags.iter().any(|f| !f.contains(BrwFlags::ASYNC));
    if sync {
        tx.set_sync();
    }
    let status = applied.as_ref().err().map_or(0, |e| e.to_errno());
    if let Ok(old) = &applied {
        if let Some(v) = req.rpc.pre_versions.first_mut() {
            *v = old.version;
        }
    }
    tx.stop(req, status)?;
    applied?;
    note_sync(ofd, client, brw, sync);
    Ok(())
}

/// Begins a commit for a client that keeps much that is not on disk.
fn note_sync(ofd: &Ofd, client: &OfdClient, brw: &Brw, synced: bool) {
    let soft = brw.flags.iter().any(|f| f.contains(BrwFlags::SOFT_SYNC));
    if synced || !soft {
        client.soft_syncs.store(0, Relaxed);
        return;
    }
    let limit = ofd.tunables.soft_sync_limit.load(Relaxed);
    if client.soft_syncs.fetch_add(1, Relaxed) + 1 >= limit {
        client.soft_syncs.store(0, Relaxed);
        ofd.osd().start_commit();
    }
}

/// What a write changes besides the data.
fn change_of(req: &Request<'_>, client: &OfdClient, brw: &Brw) -> Change {
    let mut change = Change::new(&brw.body, Owners::First);
    if client.is_outdated(&brw.fid, req.rpc.xid()) {
        // The client has set times since it sent this.
        (change.set.atime, change.set.mtime, change.set.ctime) = (None, None, None);
    }
    change
}

/// Serves it.
///
/// # Errors
/// `EPROTO`, ...: see [`Brw::read`]. `ENOENT`: no such object. `ESTALE`: no lock, or an older
/// layout. `EROFS`. Those of the store.
pub(crate) fn serve(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    let export = req.export.clone();
    let state = Client::of(&export)?;
    let client = client::of(&export)?;
    let terms = client.terms();
    client::may_write(req)?;
    if fail::check(point::OST_ENOSPC) {
        return Err(ENOSPC);
    }
    if fail::pause(point::OST_EROFS, |_| Duration::from_secs(1)) {
        return Err(match fail::val() {
            0 => EROFS,
            n => Error::from_errno(i32::try_from(n).map_or(EIO.to_errno(), |n| -n)),
        });
    }
    fail::pause(point::OST_BRW_PAUSE_PACK, fail::seconds);
    let brw = Brw::read(req.rpc, ofd.index(), &terms)?;
    let count = u32::try_from(brw.ranges.len())?;
    if brw.is_nothing() {
        req.rpc.pack_reply(&[body::LEN, 4 * count])?;
        *req.rpc.reply_mut()?.get_mut::<Obdo>(body::BUF)? = brw.body;
        return Ok(Served::Reply(0));
    }
    let kind = brw.cksum()?;
    let layout = brw.layout()?;
    if !brw.short {
        brw.check_mds(req.rpc, &layout)?;
    }
    let ours = brw.wants_ours();
    let scope = brw.scope(true);
    let held = lock::hold(req, state, &brw.body, &brw.fid, scope, ours, false)?;
    if req.rpc.time_left().is_zero() || fail::check(point::OST_DROP_REQ) {
        return Ok(Served::Drop);
    }
    brw::pause_before_bulk(req);
    let object = ofd.osd().object(&brw.fid)?;
    let old = object.attr()?;
    let change = change_of(req, client, &brw);
    change.check_layout(&object)?;
    let mut items = KVVec::with_capacity(brw.ranges.len(), GFP_KERNEL)?;
    let (mut reserved, told) = reserve(ofd, client, req, &brw, &mut items)?;
    let mut data = Data::from_pool(ofd.pool(), &layout)?;
    if let Err(e) = fetch(req, &brw, &layout, &mut data) {
        if brw.short {
            return Err(e);
        }
        pr_warn_ratelimited!(
            "{}: {} did not give what it wanted to write: {:?}\n",
            req.target.name(),
            req.export.client_uuid,
            e
        );
        return Ok(Served::Drop);
    }
    fail::pause(point::OST_BRW_PAUSE_BULK2, fail::seconds);
    let sum = kind.map(|k| (k, cksum::sum(k, &layout, &data)));
    check_sum(req, &brw, sum);
    let mut rcs = KVVec::with_capacity(items.len(), GFP_KERNEL)?;
    for (i, r) in items.iter().zip(brw.ranges.iter()) {
        let rc = match i.granted || is_allocated(&object, r) {
            true => Ok(()),
            false => Err(ENOSPC),
        };
        rcs.push(rc, GFP_KERNEL)?;
    }
    let any = store(ofd, &object, &layout, &data, &mut rcs)?;
    drop(data);
    reserved.written = any;
    if any {
        cap(&object, old.size, brw.body.o_size.get())?;
        record(ofd, req, client, &brw, &object, &change)?;
        ofd.stats().add(Op::WriteBytes, brw.total as u64);
    }
    let attr = match ours {
        true => lock::tell(req.target, &object, true)?,
        false => object.attr()?,
    };
    let done = Reply {
        attr,
        grant: told.then_some(reserved.given.granted),
        sum,
        terms,
    };
    let served = reply(req, &brw, &rcs, &done)?;
    reserved.told = true;
    drop(held);
    Ok(served)
}

/// Says so if the data are not what the client thought; it will see it, too.
fn check_sum(req: &Request<'_>, brw: &Brw, sum: Option<(CksumType, u32)>) {
    let (Some((kind, sum)), theirs) = (sum, brw.body.cksum()) else {
        return;
    };
    if theirs != 0 && theirs != sum {
        pr_warn_ratelimited!(
            "{}: data of {} for {} have checksum {:#x}, not {:#x} ({:?})\n",
            req.target.name(),
            req.export.client_uuid,
            brw.fid,
            sum,
            theirs,
            kind
        );
    }
}

/// What goes into the reply.
struct Reply {
    attr: Attr,
    grant: Option<u64>,
    sum: Option<(CksumType, u32)>,
    terms: Terms,
}

fn reply(req: &mut Request<'_>, brw: &Brw, rcs: &[Result], r: &Reply) -> Result<Served> {
    let count = u32::try_from(rcs.len())?;
    req.rpc.pack_reply(&[body::LEN, 4 * count])?;
    let m = req.rpc.reply_mut()?;
    let out = m.buf_mut(RCS).ok_or(EPROTO)?;
    let out = <[U32]>::mut_from_bytes(out).map_err(|_| EPROTO)?;
    for (to, rc) in out.iter_mut().zip(rcs) {
        let errno = rc.as_ref().err().map_or(0, |e| e.to_errno());
        to.set(errno as u32);
    }
    let o = m.get_mut::<Obdo>(body::BUF)?;
    *o = brw.body;
    body::set_id(o, &brw.fid);
    let drop = ObdMd::FLMTIME | ObdMd::FLATIME | ObdMd::FLGRANT | ObdMd::FLCKSUM;
    o.set_valid(o.valid() - drop);
    let attrs = body::ATTRS - ObdMd::FLMTIME - ObdMd::FLATIME;
    body::set_attrs(o, &r.attr, attrs | ids_in(brw));
    // Nobody is over quota: none is enforced.
    let quota = ObdMd::FLUSRQUOTA | ObdMd::FLGRPQUOTA | ObdMd::FLPRJQUOTA;
    o.add_valid(quota);
    o.set_flags(brw.body.flags() & (ObdFl::SHORT_IO | ObdFl::CKSUM_MASK));
    if let Some(g) = r.grant.filter(|_| r.terms.grant) {
        o.o_grant.set(g);
        o.add_valid(ObdMd::FLGRANT);
    }
    if let Some((kind, sum)) = r.sum {
        o.set_cksum(kind, sum);
    }
    Ok(Served::Reply(0))
}

/// The owners go back to clients that named them.
fn ids_in(brw: &Brw) -> ObdMd {
    brw.body.valid() & body::IDS
}
