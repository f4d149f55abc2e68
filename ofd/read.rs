// SPDX-License-Identifier: GPL-2.0

//! OST_READ (`ost.md` 4.3).

use crate::body;
use crate::brw::{self, Brw};
use crate::cksum;
use crate::client;
use crate::data::Data;
use crate::device::Ofd;
use crate::layout::{Layout, Range};
use crate::lock;
use crate::stats::Op;
use kapi::pages::PAGE_SIZE;
use kapi::prelude::*;
use lnet::fail::{self, point};
use osd::ObjectRef;
use target::{Client, Request, Served};
use wire::obdo::{ObdFl, ObdMd, Obdo};
use wire::opcode::portal;

/// Buffer of data in the reply.
const SHORT: usize = 2;

/// How many bytes of the ranges an object of this size has: whole pages, as far as they are asked
/// for.
fn available(ranges: &[Range], size: u64) -> usize {
    let end = size.next_multiple_of(PAGE_SIZE as u64);
    let mut all = 0;
    for r in ranges {
        if r.pos >= size {
            break;
        }
        let n = u64::from(r.len).min(end - r.pos);
        all += n as usize;
        if n < u64::from(r.len) {
            break;
        }
    }
    all
}

/// Reads what there is.
fn fetch(ofd: &Ofd, o: &ObjectRef, brw: &Brw, layout: &mut Layout) -> Result<(Data, usize)> {
    let size = o.attr()?.size;
    let nob = available(&brw.ranges, size);
    layout.cut(nob);
    let mut data = Data::from_pool(ofd.pool(), layout)?;
    for p in layout.pieces.iter() {
        data.read(o, p)?;
    }
    Ok((data, nob))
}

/// Serves it.
///
/// # Errors
/// `EPROTO`, ...: see [`Brw::read`]. `ENOENT`: no such object. `ESTALE`: no lock. Those of the
/// store.
pub(crate) fn serve(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    let export = req.export.clone();
    let state = Client::of(&export)?;
    let client = client::of(&export)?;
    let terms = client.terms();
    let brw = Brw::read(req.rpc, ofd.index(), &terms)?;
    if brw.is_nothing() {
        return reply(req, &brw, Reply::default());
    }
    let kind = brw.cksum()?;
    let mut layout = brw.layout()?;
    // Before anything is done: a client that has not the right room gets nothing.
    if !brw.short {
        brw.check_mds(req.rpc, &layout)?;
    }
    let ours = brw.wants_ours();
    let scope = brw.scope(false);
    let held = lock::hold(req, state, &brw.body, &brw.fid, scope, ours, false)?;
    if req.rpc.time_left().is_zero() || fail::check(point::OST_DROP_REQ) {
        return Ok(Served::Drop);
    }
    brw::pause_before_bulk(req);
    let mut done = Reply::default();
    if let Some(a) = brw.announcement(req.rpc, &terms) {
        let shrink = brw.body.flags().contains(ObdFl::SHRINK_GRANT);
        done.grant = Some(ofd.space().told(client, &a, shrink));
    }
    let object = ofd.osd().object(&brw.fid)?;
    let (mut data, nob) = fetch(ofd, &object, &brw, &mut layout)?;
    done.nob = nob;
    if let Some(kind) = kind {
        done.cksum = Some((kind, cksum::sum(kind, &layout, &data)));
    }
    ofd.stats().add(Op::ReadBytes, nob as u64);
    if brw.short {
        return reply_with(req, &brw, done, Some((&data, &layout)));
    }
    let (first, count) = brw.begin(req.rpc, &layout)?;
    let shared = data.share(&layout, count)?;
    match req.rpc.bulk_put(portal::OST_BULK, first, shared.given) {
        Ok(()) => data.sent(shared.pages),
        Err(e) => {
            pr_warn_ratelimited!(
                "{}: {} did not take what it wanted to read: {:?}\n",
                req.target.name(),
                req.export.client_uuid,
                e
            );
            return Ok(Served::Drop);
        }
    }
    drop(held);
    reply(req, &brw, done)
}

/// What goes into the reply.
#[derive(Clone, Copy, Default)]
struct Reply {
    nob: usize,
    grant: Option<u64>,
    cksum: Option<(wire::obdo::CksumType, u32)>,
}

fn reply(req: &mut Request<'_>, brw: &Brw, r: Reply) -> Result<Served> {
    reply_with(req, brw, r, None)
}

fn reply_with(
    req: &mut Request<'_>,
    brw: &Brw,
    r: Reply,
    data: Option<(&Data, &Layout)>,
) -> Result<Served> {
    let inline = match data {
        Some(_) => u32::try_from(r.nob)?,
        None => 0,
    };
    req.rpc.pack_reply(&[body::LEN, inline])?;
    let m = req.rpc.reply_mut()?;
    let o = m.get_mut::<Obdo>(body::BUF)?;
    *o = brw.body;
    o.set_valid(ObdMd::empty());
    body_id(o, brw);
    o.o_flags.set(0);
    if let Some(g) = r.grant {
        o.o_grant.set(g);
        o.add_valid(ObdMd::FLGRANT);
    }
    if let Some((kind, sum)) = r.cksum {
        o.set_cksum(kind, sum);
    }
    if let Some((data, layout)) = data {
        data.copy_out(layout, m.buf_mut(SHORT).ok_or(EPROTO)?)?;
    }
    Ok(Served::Reply(i32::try_from(r.nob)?))
}

/// The identifier as a FID; it is not said to be valid.
fn body_id(o: &mut Obdo, brw: &Brw) {
    o.o_oi = wire::ostid::OstId::from_fid_verbatim(brw.fid);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_end_with_the_page_of_the_end() {
        let r = |pos, len| Range { pos, len };
        // `ost.md` 23.4.
        assert_eq!(available(&[r(0, 0x1000)], 1000), 4096);
        assert_eq!(available(&[r(0x8000, 0xf9000)], 0x100003), 0xf9000);
        assert_eq!(available(&[r(0, 4096)], 0), 0);
        assert_eq!(available(&[r(4096, 4096)], 4096), 0);
        assert_eq!(available(&[r(100, 50)], 101), 50);
        assert_eq!(available(&[r(100, 5000)], 101), 3996);
        let two = [r(0, 8192), r(16384, 8192)];
        assert_eq!(available(&two, 4097), 8192);
        assert_eq!(available(&two, 4096), 4096);
        assert_eq!(available(&two, 16385), 12288);
        assert_eq!(available(&two, u64::MAX >> 1), 16384);
    }
}
