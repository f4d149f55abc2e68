// SPDX-License-Identifier: GPL-2.0

//! Reading logs of an MGS (`mgs-config.md` 7.5).

use kapi::prelude::*;
use ptlrpc::call::{CallOptions, Reply};
use ptlrpc::import::Import;
use ptlrpc::message::Msg;
use wire::llog::{rec_type, LlogCtxt, LlogLogHdr, LlogdBody, Records, LLOG_MIN_CHUNK_SIZE};
use wire::mdt::MdtBody;
use wire::msg::LOG_VERSION;
use wire::opcode::{
    LLOG_ORIGIN_HANDLE_CREATE, LLOG_ORIGIN_HANDLE_NEXT_BLOCK, LLOG_ORIGIN_HANDLE_READ_HEADER,
};
use zerocopy::{FromZeros, IntoBytes};

const BODY: u32 = size_of::<LlogdBody>() as u32;
const CHUNK: u32 = LLOG_MIN_CHUNK_SIZE as u32;

/// A request with a [`LlogdBody`] in buffer 1.
fn request(opc: u32, body: &LlogdBody, more: &[u32]) -> Result<Msg> {
    let mut lens = [BODY, 0, 0];
    for (to, from) in lens.iter_mut().skip(1).zip(more) {
        *to = *from;
    }
    let lens = lens.get(..1 + more.len()).ok_or(EINVAL)?;
    let mut m = Msg::request(opc, LOG_VERSION, lens)?;
    m.buf_mut(1).ok_or(EPROTO)?.copy_from_slice(body.as_bytes());
    Ok(m)
}

fn call(mgs: &Arc<Import>, m: Msg, reply_lens: &[u32]) -> Result<Reply> {
    let mut o = CallOptions::new(reply_lens)?;
    // Who reads does so again on a new connection, from where it was.
    o.no_resend = true;
    o.no_delay = true;
    mgs.call(m, o, None)?.check()
}

/// What of a chunk counts goes to `f`: configuration records with set bits, from `next` on.
/// Returns the index of the last record in the chunk, if there is any.
fn take(
    chunk: &[u8],
    header: &LlogLogHdr,
    next: u32,
    f: &mut dyn FnMut(u32, &[u8]) -> Result,
) -> Result<Option<u32>> {
    let mut last = None;
    for r in Records::new(chunk) {
        let r = r.map_err(|_| EPROTO)?;
        let i = r.index();
        last = Some(i);
        if i >= next && header.is_set(i) && r.kind() == rec_type::OBD_CFG {
            f(i, r.payload)?;
        }
    }
    Ok(last)
}

/// Reads the records of log `name` behind index `after`; each goes to `f` with its index.
///
/// # Errors
/// `ENOENT`: there is no such log. `EPROTO`, `EIO`: it makes no sense. Those of the connection
/// and of `f`.
pub(crate) fn read(
    mgs: &Arc<Import>,
    name: &str,
    after: u32,
    f: &mut dyn FnMut(u32, &[u8]) -> Result,
) -> Result {
    let mut body = LlogdBody::new_zeroed();
    body.lgd_ctxt_idx.set(LlogCtxt::ConfigOrig as u32);
    let name_len = u32::try_from(name.len() + 1)?;
    let mdt_body = size_of::<MdtBody>() as u32;
    let mut m = request(LLOG_ORIGIN_HANDLE_CREATE, &body, &[name_len, mdt_body])?;
    let to = m.buf_mut(2).and_then(|b| b.get_mut(..name.len()));
    to.ok_or(EPROTO)?.copy_from_slice(name.as_bytes());
    let r = call(mgs, m, &[BODY])?;
    body.lgd_logid = r.msg.get::<LlogdBody>(1)?.lgd_logid;

    let m = request(LLOG_ORIGIN_HANDLE_READ_HEADER, &body, &[])?;
    let r = call(mgs, m, &[CHUNK])?;
    let header = LlogLogHdr::parse(r.msg.buf(1).ok_or(EPROTO)?).map_err(|_| EIO)?;
    body.lgd_llh_flags = header.llh_flags;

    let mut next = after.checked_add(1).ok_or(EOVERFLOW)?;
    body.lgd_cur_offset.set(CHUNK.into());
    body.lgd_len.set(CHUNK);
    while next <= header.last_index() {
        if !header.is_set(next) {
            next += 1;
            continue;
        }
        body.lgd_index.set(next);
        let m = request(LLOG_ORIGIN_HANDLE_NEXT_BLOCK, &body, &[])?;
        let r = match call(mgs, m, &[BODY, CHUNK]) {
            // Past the end; old servers say EIO.
            Err(e) if e == EBADR || e == EIO => break,
            r => r?,
        };
        let at = r.msg.get::<LlogdBody>(1)?;
        body.lgd_saved_index = at.lgd_saved_index;
        body.lgd_cur_offset = at.lgd_cur_offset;
        let chunk = r.msg.buf(2).ok_or(EPROTO)?;
        // A chunk that does not bring us on would do so for ever.
        let last = take(chunk, header, next, f)?.filter(|l| *l >= next);
        next = last.and_then(|l| l.checked_add(1)).ok_or(EPROTO)?;
    }
    Ok(())
}
