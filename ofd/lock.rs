// SPDX-License-Identifier: GPL-2.0

//! Extent locks: under which a client's request runs, and those that are taken for it
//! (`ost.md` 4.4, 4.8, 12).

use crate::body;
use crate::client;
use crate::device::Ofd;
use kapi::pages::PAGE_SIZE;
use kapi::prelude::*;
use ldlm::core::{flags, Extent, LockView, Mode, Policy, ResId};
use ldlm::server::{LocalLock, LocalOptions, Lvb};
use osd::{Attr, ObjectRef};
use ptlrpc::request::ServerRequest;
use target::{Client, Request, Target, UnderLock};
use wire::fid::Fid;
use wire::obdo::{ObdFl, ObdMd, Obdo};
use wire::opcode::{OST_PUNCH, OST_READ, OST_WRITE};
use wire::ost::{BrwFlags, NiobufRemote, ObdIoobj};
use zerocopy::FromBytes;

/// Bytes that a request works on, both ends inclusive, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scope {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) write: bool,
}

impl Scope {
    /// Rounded to whole pages, for locks of our own.
    fn pages(&self) -> Extent {
        let page = PAGE_SIZE as u64;
        Extent::new(self.first & !(page - 1), self.last | (page - 1))
    }
}

/// What a request holds while it runs. That of an MDT, which knows what it does, holds nothing.
#[derive(Default)]
pub(crate) struct Held<'a> {
    /// A lock of our own.
    _ours: Option<LocalLock>,
    /// The client's.
    _theirs: Option<Theirs<'a>>,
}

/// The client's locks that a request runs under.
pub(crate) struct Theirs<'a> {
    req: Under,
    _busy: Option<UnderLock<'a>>,
}

/// What is needed to find the client's locks again.
struct Under {
    target: Arc<Target>,
    locks: Arc<ldlm::server::ExportLocks>,
    res: ResId,
    scope: Scope,
    handle: Option<u64>,
    extend: Duration,
}

impl Under {
    fn prolong(&self) -> ldlm::server::Cover {
        self.target.namespace().prolong(
            &self.locks,
            &self.res,
            (self.scope.first, self.scope.last),
            self.scope.write,
            self.handle,
            self.extend,
        )
    }
}

impl Drop for Theirs<'_> {
    fn drop(&mut self) {
        // What the client has still to do begins now.
        self.req.prolong();
    }
}

fn handle_of(o: &Obdo) -> Option<u64> {
    o.valid()
        .contains(ObdMd::FLHANDLE)
        .then_some(o.o_handle.get())
}

/// How long a lock that is being called back may be kept for a request.
fn extension(rpc: &ServerRequest) -> Duration {
    let least = Duration::from_secs(rpc.node().limits().ldlm_timeout.into());
    rpc.time_left().max(least)
}

/// Takes a lock for a request, or finds the client's. `discard`: data that others have not written
/// yet are of no use any more.
///
/// # Errors
/// `ESTALE`: the client has none, so its data are of before it lost it. `ESHUTDOWN`, `ENOMEM`.
pub(crate) fn hold<'a>(
    req: &Request<'_>,
    client: &'a Client,
    o: &Obdo,
    fid: &Fid,
    scope: Scope,
    ours: bool,
    discard: bool,
) -> Result<Held<'a>> {
    let res = body::resource(fid);
    if ours {
        let mode = if scope.write { Mode::Pw } else { Mode::Pr };
        let lock = take(req.target, &res, mode, scope.pages(), discard)?;
        return Ok(Held {
            _ours: Some(lock),
            _theirs: None,
        });
    }
    if client::of(&req.export)?.terms().mdt {
        return Ok(Held::default());
    }
    let handle = handle_of(o);
    let busy = match handle {
        Some(h) => Some(client.work_under(h)?),
        None => None,
    };
    let under = Under {
        target: req.target.clone(),
        locks: req.locks.clone(),
        res,
        scope,
        handle,
        extend: extension(req.rpc),
    };
    if under.prolong().locks == 0 {
        return Err(ESTALE);
    }
    let theirs = Theirs {
        req: under,
        _busy: busy,
    };
    Ok(Held {
        _ours: None,
        _theirs: Some(theirs),
    })
}

/// Takes a lock of our own.
///
/// # Errors
/// `ESHUTDOWN`, `ENOMEM`.
pub(crate) fn take(
    target: &Arc<Target>,
    res: &ResId,
    mode: Mode,
    extent: Extent,
    discard: bool,
) -> Result<LocalLock> {
    let options = LocalOptions {
        flags: if discard { flags::AST_DISCARD_DATA } else { 0 },
        ..LocalOptions::default()
    };
    target
        .namespace()
        .lock_local(res, mode, Policy::Extent(extent), options)
}

/// Whether a client asks for a lock of ours.
pub(crate) fn wants_ours(o: &Obdo) -> bool {
    o.flags().contains(ObdFl::SRVLOCK)
}

/// The lock for a destroy: nobody gets one on the object any more, and what others have not
/// written is dropped.
///
/// # Errors
/// `EIO`: somebody holds a group lock. `ESHUTDOWN`, `ENOMEM`.
pub(crate) fn take_last(target: &Arc<Target>, fid: &Fid) -> Result<LocalLock> {
    let options = LocalOptions {
        flags: flags::AST_DISCARD_DATA | flags::BLOCK_NOWAIT,
        glimpse: false,
        ..LocalOptions::default()
    };
    let all = Policy::Extent(Extent::WHOLE);
    let lock = target
        .namespace()
        .lock_local(&body::resource(fid), Mode::Pw, all, options);
    lock.map_err(|e| if e == EAGAIN { EIO } else { e })
}

/// What a request, just arrived, works on; none if it needs no lock of its client's.
fn scope_of(rpc: &ServerRequest, index: u16) -> Option<(Obdo, Fid, Scope)> {
    let (o, fid) = body::read(rpc, index).ok()?;
    let scope = match rpc.opc() {
        OST_PUNCH => {
            if wants_ours(&o) {
                return None;
            }
            Scope {
                first: o.o_size.get(),
                last: u64::MAX,
                write: true,
            }
        }
        OST_READ | OST_WRITE => {
            let io = rpc.get::<ObdIoobj>(2).ok()?;
            let all = rpc.msg().buf(3)?;
            let n = usize::try_from(io.ioo_bufcnt.get()).ok()?;
            let all = <[NiobufRemote]>::ref_from_prefix_with_elems(all, n).ok()?.0;
            let (first, last) = (all.first()?, all.last()?);
            if first.flags().contains(BrwFlags::SRVLOCK) {
                return None;
            }
            Scope {
                first: first.rnb_offset.get(),
                last: last.end()?.checked_sub(1)?,
                write: rpc.opc() == OST_WRITE,
            }
        }
        _ => return None,
    };
    Some((o, fid, scope))
}

/// Whether a request that has just arrived runs under a lock that is being called back: others wait
/// for it.
pub(crate) fn is_urgent(target: &Arc<Target>, rpc: &ServerRequest, index: u16) -> bool {
    let Some((o, fid, scope)) = scope_of(rpc, index) else {
        return false;
    };
    let locks = rpc.export().and_then(|e| Client::of(e).ok()?.locks().ok());
    let Some(locks) = locks else { return false };
    let under = Under {
        target: target.clone(),
        locks,
        res: body::resource(&fid),
        scope,
        handle: handle_of(&o),
        extend: extension(rpc),
    };
    under.prolong().called_back > 0
}

/// The value block of an object with these attributes.
pub(crate) fn value_block(a: &Attr) -> Lvb {
    Lvb {
        size: a.size,
        mtime: a.mtime.sec,
        atime: a.atime.sec,
        ctime: a.ctime.sec,
        blocks: a.blocks,
    }
}

/// An object was changed: its value block is what the store says; `grow`: or more. Returns its
/// attributes.
///
/// # Errors
/// Those of the store.
pub(crate) fn tell(target: &Arc<Target>, o: &ObjectRef, grow: bool) -> Result<Attr> {
    let res = body::resource(o.fid());
    let ns = target.namespace();
    let a = o.attr()?;
    if ns.lvb(&res).is_none() {
        return Ok(a);
    }
    if grow {
        ns.grow_lvb(&res, &value_block(&a));
        return Ok(a);
    }
    ns.set_lvb(&res, value_block(&a));
    // A write between the question and the answer.
    let a = o.attr()?;
    ns.grow_lvb(&res, &value_block(&a));
    Ok(a)
}

impl Ofd {
    /// Size, times and blocks of the object behind a resource.
    ///
    /// # Errors
    /// `ENOENT`: it is not there; `EINPROGRESS`: yet. `EIO`, `ENOMEM`.
    pub(crate) fn lvb_of(&self, res: &ResId) -> Result<Lvb> {
        let fid = Fid::from_ost_res_name(&res.0, self.index()).ok_or(ENOENT)?;
        let fid = body::own(fid, self.index()).map_err(|_| ENOENT)?;
        if fid.ver != 0 || fid.is_last_id() {
            return Err(ENOENT);
        }
        let a = match self.osd().object(&fid)?.attr() {
            Err(e) if e == ENOENT && self.groups.may_come(&fid)? => return Err(EINPROGRESS),
            a => a?,
        };
        Ok(value_block(&a))
    }

    /// A client gives up a lock. What it has written under it is on disk before others see it.
    pub(crate) fn lock_goes(&self, res: &ResId, lock: &LockView) {
        let wrote = matches!(lock.granted, Some(Mode::Pw | Mode::Group));
        if !wrote || lock.flags & flags::DISCARD_DATA != 0 || !self.syncs_on_cancel() {
            return;
        }
        let Some(target) = self.target() else { return };
        let fid = Fid::from_ost_res_name(&res.0, self.index());
        let Some(fid) = fid.and_then(|f| body::own(f, self.index()).ok()) else {
            return;
        };
        let attr = self.osd().object(&fid).and_then(|o| o.attr());
        if attr.is_ok_and(|a| a.version > target.last_committed()) {
            if let Err(e) = self.osd().sync() {
                pr_err!("{}: sync for a lock: {:?}\n", target.name(), e);
            }
        }
    }
}
