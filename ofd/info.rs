// SPDX-License-Identifier: GPL-2.0

//! OST_GET_INFO and OST_SET_INFO (`ost.md` 10).

use crate::attr;
use crate::body;
use crate::brw::announcement;
use crate::client;
use crate::device::Ofd;
use crate::fiemap;
use kapi::prelude::*;
use target::{Request, Served};
use wire::fid::{seq, Fid, LuFid};
use wire::obdo::{ObdFl, ObdMd, Obdo};
use zerocopy::little_endian::U64;

/// Buffer of the key.
pub(crate) const KEY: usize = 1;
/// Buffer of what goes with it.
pub(crate) const VALUE: usize = 2;

/// Whether the key of a request is this one: what follows it does not matter.
fn is_key(req: &Request<'_>, key: &[u8]) -> bool {
    req.rpc.msg().buf(KEY).is_some_and(|b| b.starts_with(key))
}

/// OST_GET_INFO.
///
/// # Errors
/// `EOPNOTSUPP`: another question.
pub(crate) fn get(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    if is_key(req, b"last_fid") {
        return last_fid(ofd, req);
    }
    if is_key(req, b"last_id") {
        return last_id(ofd, req);
    }
    if is_key(req, b"fiemap") {
        return fiemap::serve(ofd, req);
    }
    Err(EOPNOTSUPP)
}

/// Counters are made for those who have objects made, only.
fn check_mdt(req: &Request<'_>) -> Result {
    match client::of(&req.export)?.terms().mdt {
        true => Ok(()),
        false => Err(EPERM),
    }
}

fn last_fid(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    check_mdt(req)?;
    let asked = req.rpc.get::<LuFid>(VALUE)?.get();
    let in_seq = match asked.is_idif() || asked.seq == seq::OST_MDT0 {
        true => Fid::idif(ofd.index(), 0).ok_or(EPROTO)?,
        false => Fid::new(asked.seq, 0),
    };
    if !in_seq.is_on_ost() {
        return Err(EPROTO);
    }
    let group = ofd.groups.of(&in_seq).map_err(|_| EFAULT)?;
    let last = group.fid(group.last())?;
    req.rpc.pack_reply(&[size_of::<LuFid>() as u32])?;
    *req.rpc.reply_mut()?.get_mut::<LuFid>(1)? = last.into();
    Ok(Served::Reply(0))
}

/// The same for the sequence that old MDTs have by their index.
fn last_id(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    check_mdt(req)?;
    if client::of(&req.export)?.terms().group != 0 {
        return Err(EFAULT);
    }
    let first = Fid::idif(ofd.index(), 0).ok_or(EPROTO)?;
    let group = ofd.groups.of(&first).map_err(|_| EFAULT)?;
    req.rpc.pack_reply(&[size_of::<u64>() as u32])?;
    req.rpc.reply_mut()?.get_mut::<U64>(1)?.set(group.last());
    Ok(Served::Reply(0))
}

/// OST_SET_INFO.
///
/// # Errors
/// `EOPNOTSUPP`: nothing that can be set.
pub(crate) fn set(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    if !is_key(req, b"grant_shrink") {
        return Err(EOPNOTSUPP);
    }
    let mut o = *req.rpc.get::<Obdo>(VALUE)?;
    let export = req.export.clone();
    let client = client::of(&export)?;
    let told = announcement(&o, req.rpc, &client.terms());
    o.set_valid(o.valid() - ObdMd::FLGRANT);
    if let Some(a) = told {
        let shrink = o.flags().contains(ObdFl::SHRINK_GRANT);
        o.o_grant.set(ofd.space().told(client, &a, shrink));
        o.add_valid(ObdMd::FLGRANT);
    }
    attr::reply(req, &o)
}

/// The body in a key.
///
/// # Errors
/// `EPROTO`, `EBADF`: no object of this OST.
pub(crate) fn object_of(ofd: &Ofd, o: &Obdo) -> Result<Fid> {
    if o.o_oi.id() == 0 {
        return Err(EPROTO);
    }
    let fid = body::fid_of(&o.o_oi, ofd.index())?;
    match fid.is_last_id() {
        true => Err(EPROTO),
        false => Ok(fid),
    }
}
