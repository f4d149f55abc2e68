// SPDX-License-Identifier: GPL-2.0

//! Attributes of objects and of the store, syncs, and where data are (`ost.md` 5.1, 5.2, 5.5, 5.6,
//! 9).

use crate::body;
use crate::change::{stored, Change, Owners};
use crate::client;
use crate::connect::MAX_BYTES;
use crate::device::Ofd;
use crate::lock::{self, Scope};
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;
use ldlm::core::{Extent, Mode};
use target::{Client, Request, Served};
use wire::fid::Fid;
use wire::obdo::{ObdFl, ObdMd, Obdo};
use wire::ost::{ObdStatfs, OsState, EXT4_SUPER_MAGIC};
use zerocopy::FromZeros;

const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// Packs a reply of a body, and fills it in.
pub(crate) fn reply(req: &mut Request<'_>, o: &Obdo) -> Result<Served> {
    req.rpc.pack_reply(&[body::LEN])?;
    *req.rpc.reply_mut()?.get_mut::<Obdo>(body::BUF)? = *o;
    Ok(Served::Reply(0))
}

/// A body about an object, with nothing else in it.
pub(crate) fn empty(fid: &Fid) -> Obdo {
    let mut o = Obdo::default();
    body::set_id(&mut o, fid);
    o
}

/// OST_GETATTR.
///
/// # Errors
/// `ENOENT`. `EPROTO`, `EBADF`: see [`body::read`].
pub(crate) fn get(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    let (asked, fid) = body::read(req.rpc, ofd.index())?;
    let object = ofd.osd().object(&fid)?;
    let _lock = match lock::wants_ours(&asked) {
        true => {
            let mode = match asked.flags().contains(ObdFl::FLUSH) {
                true => Mode::Pw,
                false => Mode::Pr,
            };
            let res = body::resource(&fid);
            Some(lock::take(req.target, &res, mode, Extent::WHOLE, false)?)
        }
        false => None,
    };
    let attr = object.attr()?;
    let mut o = empty(&fid);
    body::set_attrs(&mut o, &attr, body::ATTRS | body::IDS);
    o.o_data_version.set(attr.version);
    o.add_valid(ObdMd::FLDATAVERSION);
    if let Some(ff) = stored(&object)?.filter(|f| f.ff_layout_version.get() != 0) {
        let v = ff.ff_layout_version.get().wrapping_add(ff.ff_range.get());
        o.o_layout_version.set(v);
        o.add_valid(ObdMd::LAYOUT_VERSION);
    }
    o.set_flags(ObdFl::FLUSH);
    reply(req, &o)
}

/// OST_SETATTR.
///
/// # Errors
/// `EPERM`: the size is not set like that. `ENOENT`. `EROFS`. `EINVAL`: an older layout.
pub(crate) fn set(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    client::may_write(req)?;
    let (asked, fid) = body::read(req.rpc, ofd.index())?;
    let valid = asked.valid();
    if valid.contains(ObdMd::FLSIZE) && asked.o_size.get() != u64::MAX {
        return Err(EPERM);
    }
    let object = ofd.osd().object(&fid)?;
    // That it is there shows before anything begins.
    object.attr()?;
    let mut change = Change::new(&asked, Owners::Always);
    change.set.mode = valid
        .contains(ObdMd::FLMODE)
        .then_some(asked.o_mode.get() & 0o7777);
    if valid.intersects(ObdMd::FLATIME | ObdMd::FLMTIME | ObdMd::FLCTIME) {
        ofd.stamp(req, &fid)?;
    }
    let export = req.export.clone();
    let target = req.target.clone();
    let mut plan = target.plan()?;
    let parent = change.plan(&mut plan, &object)?;
    let mut tx = target.start(plan, Client::of(&export)?)?;
    let applied = change.apply(&mut tx, &object, parent, None);
    let status = applied.as_ref().err().map_or(0, |e| e.to_errno());
    if let (Ok(old), Some(v)) = (&applied, req.rpc.pre_versions.first_mut()) {
        *v = old.version;
    }
    tx.stop(req, status)?;
    applied?;
    let attr = lock::tell(&target, &object, false)?;
    let mut o = empty(&fid);
    body::set_attrs(&mut o, &attr, body::ATTRS | body::IDS);
    reply(req, &o)
}

impl Ofd {
    /// The client sets times: its writes of before do not, any more.
    pub(crate) fn stamp(&self, req: &Request<'_>, fid: &Fid) -> Result {
        let age = u64::from(req.rpc.node().limits().obd_timeout) + 10;
        let client = client::of(&req.export)?;
        client.stamp(fid, req.rpc.xid(), Duration::from_secs(age));
        Ok(())
    }
}

/// OST_SYNC: the object is on disk when it is answered.
///
/// # Errors
/// `ENOENT`. `EIO`.
pub(crate) fn sync(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    let (_, fid) = body::read(req.rpc, ofd.index())?;
    let object = ofd.osd().object(&fid)?;
    let attr = object.attr()?;
    if attr.version > req.target.last_committed() {
        object.sync_data()?;
        ofd.osd().sync()?;
    }
    let mut o = empty(&fid);
    body::set_attrs(&mut o, &attr, body::ATTRS);
    reply(req, &o)
}

/// OST_SEEK.
///
/// # Errors
/// `EPROTO`: no such question. `ENOENT`.
pub(crate) fn seek(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    let (mut o, fid) = body::read(req.rpc, ofd.index())?;
    let (at, whence) = (o.o_size.get(), o.o_mode.get());
    if at > i64::MAX as u64 || !matches!(whence, SEEK_DATA | SEEK_HOLE) {
        return Err(EPROTO);
    }
    let object = ofd.osd().object(&fid)?;
    let export = req.export.clone();
    let _held = match lock::wants_ours(&o) {
        true => {
            let scope = Scope {
                first: at,
                last: u64::MAX,
                write: false,
            };
            let state = Client::of(&export)?;
            Some(lock::hold(req, state, &o, &fid, scope, true, false)?)
        }
        false => None,
    };
    object.attr()?;
    let found = match whence {
        SEEK_DATA => object.seek_data(at),
        _ => match object.seek_hole(at) {
            // Everything behind the end is a hole.
            Err(e) if e == ENXIO => Ok(at),
            other => other,
        },
    };
    let found = match found {
        Ok(n) => n,
        Err(e) => i64::from(e.to_errno()) as u64,
    };
    o.o_size.set(found);
    o.o_oi = wire::ostid::OstId::from_fid_verbatim(fid);
    reply(req, &o)
}

/// OST_STATFS.
///
/// # Errors
/// `EIO`.
pub(crate) fn statfs(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    let (stat, totals, own) = ofd.space().stat()?;
    let terms = client::of(&req.export)?.terms();
    let bsize = u64::from(stat.bsize.max(1));
    let mut taken = (totals.dirty + totals.pending).div_ceil(bsize);
    let own = own / bsize;
    let mut s = ObdStatfs::new_zeroed();
    if terms.mdt {
        taken += own;
        s.os_granted.set(u32::try_from(own).unwrap_or(u32::MAX));
    }
    let mut state = OsState::empty();
    state.set(OsState::READONLY, stat.readonly);
    let t = &ofd.tunables;
    state.set(OsState::DEGRADED, t.degraded.load(Relaxed));
    state.set(OsState::NOCREATE, t.no_create.load(Relaxed));
    s.os_type.set(EXT4_SUPER_MAGIC);
    s.os_blocks.set(stat.blocks);
    s.os_bfree.set(stat.bfree);
    s.os_bavail.set(stat.bavail.saturating_sub(taken));
    s.os_files.set(stat.files);
    s.os_ffree.set(stat.ffree);
    s.os_bsize.set(stat.bsize);
    s.os_namelen.set(stat.namelen);
    s.os_maxbytes.set(MAX_BYTES);
    s.os_state.set(state.bits());
    req.rpc.pack_reply(&[size_of::<ObdStatfs>() as u32])?;
    *req.rpc.reply_mut()?.get_mut::<ObdStatfs>(1)? = s;
    Ok(Served::Reply(0))
}
