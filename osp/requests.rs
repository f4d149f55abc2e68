// SPDX-License-Identifier: GPL-2.0

//! The requests of an OSP (`ost.md` 7 to 10, 17).

use crate::changes::{Change, Op};
use kapi::prelude::*;
use ptlrpc::call::CallOptions;
use ptlrpc::import::Import;
use ptlrpc::message::Msg;
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::fid::Fid;
use wire::msg::{MDS_VERSION, OST_VERSION};
use wire::obdo::{ObdFl, ObdMd, Obdo};
use wire::opcode::{
    portal, OST_CREATE, OST_DESTROY, OST_GET_INFO, OST_PUNCH, OST_SETATTR, OST_STATFS, SEQ_QUERY,
};
use wire::ost::ObdStatfs;
use wire::ostid::OstId;
use wire::seq::{range_type, seq_op, LuSeqRange, SeqRange};
use zerocopy::FromBytes;

/// The release whose protocol this is.
pub(crate) const VERSION: u32 = wire::connect::version(2, 17, 0, 0);
/// Key of the question for the last object of a sequence, with its NUL.
const KEY_LAST_FID: &[u8] = b"last_fid\0";
const BODY: u32 = size_of::<Obdo>() as u32;

/// What an MDT asks of an OST (`ptlrpc.md` 16.1).
pub(crate) fn connect_data(ost_index: u32, mdt_index: u32) -> ConnectData {
    // Creation of objects is not replayed here, so that is not asked for: orphans are destroyed
    // after every connect.
    let flags = ConnectFlags::INDEX
        | ConnectFlags::VERSION
        | ConnectFlags::FLAGS2
        | ConnectFlags::AT
        | ConnectFlags::FULL20
        | ConnectFlags::LRU_RESIZE
        | ConnectFlags::MDS
        | ConnectFlags::SKIP_ORPHAN
        | ConnectFlags::FID
        | ConnectFlags::LVB_TYPE
        | ConnectFlags::BULK_MBITS;
    let mut data = ConnectData::default();
    data.set_flags(flags, ConnectFlags2::empty());
    data.ocd_version.set(VERSION);
    data.ocd_index.set(ost_index);
    data.ocd_group.set(mdt_index);
    data
}

/// Fails at once when the connection does: what it was for begins with a new connection.
fn options(reply_lens: &[u32]) -> Result<CallOptions> {
    let mut o = CallOptions::new(reply_lens)?;
    o.no_resend = true;
    o.no_delay = true;
    Ok(o)
}

fn body(opc: u32, o: &Obdo, more: &[u32]) -> Result<Msg> {
    let all = [BODY, more.first().copied().unwrap_or(0)];
    let lens = all.get(..1 + more.len()).ok_or(EINVAL)?;
    let mut m = Msg::request(opc, OST_VERSION, lens)?;
    *m.get_mut::<Obdo>(1)? = *o;
    Ok(m)
}

/// An answer to OST_CREATE.
pub(crate) struct Created {
    /// The last object that exists.
    pub(crate) last: Fid,
    /// The last number of a sequence; zero: not said.
    pub(crate) width: u64,
}

/// Has objects made up to `last`; or, as `orphans`, those above it destroyed.
///
/// # Errors
/// Those of the OST and of the connection.
pub(crate) fn create(
    import: &Arc<Import>,
    last: Fid,
    orphans: bool,
    ost_index: u16,
) -> Result<Created> {
    let mut o = Obdo {
        o_oi: OstId::from_fid(last),
        ..Obdo::default()
    };
    o.set_valid(ObdMd::FLGROUP);
    if orphans {
        o.set_flags(ObdFl::DELORPHAN);
    }
    let m = body(OST_CREATE, &o, &[])?;
    let reply = import.call(m, options(&[BODY])?, None)?.check()?;
    let o = reply.msg.get::<Obdo>(1)?;
    let valid = o.valid();
    let width = match valid.contains(ObdMd::FLSIZE) {
        true => o.o_size.get(),
        false => 0,
    };
    Ok(Created {
        last: o.o_oi.to_fid(ost_index).map_err(|_| EPROTO)?,
        width,
    })
}

/// Gives an object a size.
///
/// # Errors
/// Those of the OST and of the connection.
pub(crate) fn set_size(import: &Arc<Import>, fid: Fid, size: u64) -> Result {
    let mut o = Obdo {
        o_oi: OstId::from_fid(fid),
        ..Obdo::default()
    };
    o.set_valid(ObdMd::FLID | ObdMd::FLGROUP | ObdMd::FLSIZE | ObdMd::FLBLOCKS);
    o.o_size.set(size);
    // Up to the end.
    o.o_blocks.set(u64::MAX);
    let m = body(OST_PUNCH, &o, &[])?;
    import.call(m, options(&[BODY])?, None)?.check().map(drop)
}

/// The last object of the sequence of `fid`.
///
/// # Errors
/// Those of the OST and of the connection.
pub(crate) fn last_fid(import: &Arc<Import>, fid: Fid) -> Result<Fid> {
    let len = size_of::<wire::fid::LuFid>() as u32;
    let mut m = Msg::request(OST_GET_INFO, OST_VERSION, &[KEY_LAST_FID.len() as u32, len])?;
    m.buf_mut(1).ok_or(EPROTO)?.copy_from_slice(KEY_LAST_FID);
    *m.get_mut::<wire::fid::LuFid>(2)? = fid.into();
    let reply = import.call(m, options(&[len])?, None)?.check()?;
    Ok((*reply.msg.get::<wire::fid::LuFid>(1)?).into())
}

/// Another sequence for this MDT's objects.
///
/// # Errors
/// `EINPROGRESS`, `EAGAIN`: the OST has none to give yet. `EINVAL`: what it gives is none.
pub(crate) fn sequence(import: &Arc<Import>, mdt_index: u32) -> Result<u64> {
    let wish = SeqRange {
        start: 0,
        end: 0,
        index: mdt_index,
        flags: range_type::OST,
    };
    let mut o = options(&[size_of::<LuSeqRange>() as u32])?;
    o.portal = Some(portal::SEQ_DATA);
    let range = seq_query(import, seq_op::ALLOC_META, wish, o)?;
    Ok(range.start)
}

/// Asks for sequences.
///
/// # Errors
/// Those of the server and of the connection; `EINVAL`: what it gives is nothing.
pub(crate) fn seq_query(
    import: &Arc<Import>,
    op: u32,
    wish: SeqRange,
    options: CallOptions,
) -> Result<SeqRange> {
    let len = size_of::<LuSeqRange>() as u32;
    let mut m = Msg::request(SEQ_QUERY, MDS_VERSION, &[4, len])?;
    m.buf_mut(1)
        .ok_or(EPROTO)?
        .copy_from_slice(&op.to_le_bytes());
    *m.get_mut::<LuSeqRange>(2)? = wish.into();
    let reply = import.call(m, options, None)?.check()?;
    let range = reply.msg.get::<LuSeqRange>(1)?.get();
    if range.is_empty() {
        return Err(EINVAL);
    }
    Ok(range)
}

/// The question for the OST's space.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn statfs() -> Result<(Msg, CallOptions)> {
    let mut o = options(&[size_of::<ObdStatfs>() as u32])?;
    o.portal = Some(portal::OST_CREATE);
    Ok((Msg::request(OST_STATFS, OST_VERSION, &[])?, o))
}

/// The request for a change to an object.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn change(c: &Change) -> Result<(Msg, CallOptions)> {
    let mut o = Obdo {
        o_oi: OstId::from_fid(c.fid),
        ..Obdo::default()
    };
    o.set_valid(ObdMd::FLID | ObdMd::FLGROUP);
    let m = match &c.op {
        Op::Destroy => {
            o.add_valid(ObdMd::FLOBJCOUNT);
            o.o_misc.set(1);
            // A lock request without locks goes with it.
            body(OST_DESTROY, &o, &[LOCK_REQUEST])?
        }
        Op::Owner(owner) => {
            let (valid, [uid, gid, projid]) = owner.fields();
            o.add_valid(valid);
            o.o_uid.set(uid);
            o.o_gid.set(gid);
            o.o_projid.set(projid);
            body(OST_SETATTR, &o, &[])?
        }
    };
    Ok((m, options(&[BODY])?))
}

/// Bytes of the `ldlm_request` in OST_DESTROY.
const LOCK_REQUEST: u32 = 104;

/// Reads the answer to OST_STATFS.
///
/// # Errors
/// `EPROTO`.
pub(crate) fn read_statfs(m: &Msg) -> Result<ObdStatfs> {
    let b = m.buf(1).ok_or(EPROTO)?;
    ObdStatfs::read_from_prefix(b)
        .map(|(s, _)| s)
        .map_err(|_| EPROTO)
}
