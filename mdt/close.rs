// SPDX-License-Identifier: GPL-2.0

//! Closes (`mdt.md` 9).

use crate::change::{self, Change};
use crate::device::Core;
use crate::open_files::{Agreed, MdtClient, OpenFile};
use crate::stats::Op;
use kapi::prelude::*;
use mdd::CloseAttr;
use target::{Request, Served};
use wire::connect::{ConnectFlags, ConnectFlags2};
use wire::mdt::{MdtBody, MdtIoepoch, OpenFlags};
use wire::reint::{MdsAttr, MdsBias, RecSetattr};

/// MDT_BODY, MDT_MD, LOGCOOKIES, CAPA1, CAPA2.
const REPLY: [u32; 5] = [size_of::<MdtBody>() as u32, 0, 0, 0, 0];

/// Closes that do something else besides.
const INTENTS: MdsBias = MdsBias::HSM_RELEASE
    .union(MdsBias::CLOSE_LAYOUT_SWAP)
    .union(MdsBias::CLOSE_LAYOUT_MERGE)
    .union(MdsBias::CLOSE_LAYOUT_SPLIT)
    .union(MdsBias::CLOSE_RESYNC_DONE)
    .union(MdsBias::PCC_ATTACH)
    .union(MdsBias::CLOSE_MIGRATE);

/// What a close tells of the file.
fn told(rec: &RecSetattr, file: &OpenFile, agreed: &Agreed) -> CloseAttr {
    if agreed.has(ConnectFlags::RDONLY) {
        return CloseAttr::default();
    }
    let bias = MdsBias::from_bits_retain(rec.sa_bias.get());
    let news = MdsBias::DATA_MODIFIED | MdsBias::CLOSE_UPDATE_TIMES;
    let valid = rec.valid();
    let time = |bit, t: i64| (bias.intersects(news) && valid.contains(bit)).then_some(t);
    let size = MdsAttr::LSIZE | MdsAttr::LBLOCKS;
    let knows = valid.contains(size)
        && agreed.has2(ConnectFlags2::LSOM)
        && file.flags.contains(OpenFlags::FMODE_WRITE);
    CloseAttr {
        atime: time(MdsAttr::ATIME, rec.sa_atime.get()),
        mtime: time(MdsAttr::MTIME, rec.sa_mtime.get()),
        ctime: time(MdsAttr::CTIME, rec.sa_ctime.get()),
        lazy: knows.then(|| (rec.sa_size.get(), rec.sa_blocks.get())),
    }
}

impl Core {
    /// MDS_CLOSE.
    #[inline(never)]
    pub(crate) fn close(&self, req: &mut Request<'_>) -> Result<Served> {
        let cookie = req.rpc.get::<MdtIoepoch>(1)?.mio_open_handle.get();
        let rec = *req.rpc.get::<RecSetattr>(2)?;
        req.rpc.pack_reply(&REPLY)?;
        let Some(file) = req.own::<MdtClient>()?.take(cookie) else {
            return Ok(Served::Reply(ESTALE.to_errno()));
        };
        self.stats.count(Op::Close);
        let told = told(&rec, &file, &Agreed::with(req));
        let mut done = self
            .mdd
            .close_attr(&mut Change::of(req), &file.object, &told)
            .map(drop);
        if done.is_ok() {
            done = change::number(req);
        }
        // In any case the file is not open any more.
        self.mdd.close(file.object.fid(), file.mode());
        let bias = MdsBias::from_bits_retain(rec.sa_bias.get());
        if done.is_ok() && bias.intersects(INTENTS) {
            // That it was not done is told by what the reply does not say, too.
            return Ok(Served::Reply(EOPNOTSUPP.to_errno()));
        }
        Ok(Served::Reply(done.map_or_else(|e| e.to_errno(), |()| 0)))
    }
}
