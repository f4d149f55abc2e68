// SPDX-License-Identifier: GPL-2.0

//! Reading a log of the MGS (`mgs-config.md` 7.5).

use kapi::prelude::*;
use ptlrpc::call::{CallOptions, Reply};
use ptlrpc::import::Import;
use ptlrpc::message::Msg;
use wire::llog::{
    rec_type, LlogCtxt, LlogLogHdr, LlogdBody, Records, LLOG_MAX_INDEX, LLOG_MIN_CHUNK_SIZE,
};
use wire::mdt::MdtBody;
use wire::msg::LOG_VERSION;
use wire::opcode::{
    LLOG_ORIGIN_HANDLE_CREATE, LLOG_ORIGIN_HANDLE_NEXT_BLOCK, LLOG_ORIGIN_HANDLE_READ_HEADER,
};

const BODY: u32 = size_of::<LlogdBody>() as u32;
const CHUNK: u32 = LLOG_MIN_CHUNK_SIZE as u32;
/// Bytes of a log that are taken.
const MAX_BYTES: usize = 16 << 20;

/// Calls `f` for the records in `all`, one behind the other.
///
/// # Errors
/// `EPROTO`: something else is between them. Those of `f`.
pub(crate) fn for_each(all: &[u8], f: &mut dyn FnMut(u32, &[u8]) -> Result) -> Result {
    for rec in Records::new(all) {
        let rec = rec.map_err(|_| EPROTO)?;
        f(rec.kind(), rec.payload)?;
    }
    Ok(())
}

fn call(import: &Arc<Import>, m: Msg, room: &[u32]) -> Result<Reply> {
    let mut options = CallOptions::new(room)?;
    // Whoever reads holds a lock that does not survive the connection.
    options.no_resend = true;
    options.no_delay = true;
    import.call(m, options, None)
}

fn request(opc: u32, body: &LlogdBody) -> Result<Msg> {
    let mut m = Msg::request(opc, LOG_VERSION, &[BODY])?;
    *m.get_mut::<LlogdBody>(1)? = *body;
    Ok(m)
}

/// Opens a log by its name.
fn open(import: &Arc<Import>, name: &[u8]) -> Result<LlogdBody> {
    let len = u32::try_from(name.len() + 1)?;
    let lens = [BODY, len, size_of::<MdtBody>() as u32];
    let mut m = Msg::request(LLOG_ORIGIN_HANDLE_CREATE, LOG_VERSION, &lens)?;
    let mut body = LlogdBody::default();
    body.lgd_ctxt_idx.set(LlogCtxt::ConfigOrig as u32);
    *m.get_mut::<LlogdBody>(1)? = body;
    m.buf_mut(2)
        .and_then(|b| b.get_mut(..name.len()))
        .ok_or(EPROTO)?
        .copy_from_slice(name);
    let reply = call(import, m, &[BODY])?.check()?;
    body.lgd_logid = reply.msg.get::<LlogdBody>(1)?.lgd_logid;
    Ok(body)
}

/// The records of log `name` that count, one behind the other.
///
/// # Errors
/// `ENOENT`: there is no such log. `EPROTO`: it makes no sense. `EFBIG`: it is too long. Those of
/// the connection.
pub(crate) fn read(import: &Arc<Import>, name: &[u8]) -> Result<KVVec<u8>> {
    let mut body = open(import, name)?;
    let m = request(LLOG_ORIGIN_HANDLE_READ_HEADER, &body)?;
    let reply = call(import, m, &[CHUNK])?.check()?;
    let head = LlogLogHdr::parse(reply.msg.buf(1).ok_or(EPROTO)?).map_err(|_| EPROTO)?;
    body.lgd_llh_flags = head.llh_flags;
    body.lgd_cur_offset.set(u64::from(CHUNK));
    body.lgd_len.set(CHUNK);
    let last = head.last_index().min(LLOG_MAX_INDEX);
    let mut out = KVVec::new();
    let mut next = 1;
    while next <= last {
        if !head.is_set(next) {
            next += 1;
            continue;
        }
        body.lgd_index.set(next);
        let m = request(LLOG_ORIGIN_HANDLE_NEXT_BLOCK, &body)?;
        let reply = call(import, m, &[BODY, CHUNK])?;
        // Past the end; old servers say EIO.
        if reply.status == EBADR.to_errno() || reply.status == EIO.to_errno() {
            break;
        }
        let reply = reply.check()?;
        let at = reply.msg.get::<LlogdBody>(1)?;
        body.lgd_saved_index = at.lgd_saved_index;
        body.lgd_cur_offset = at.lgd_cur_offset;
        let got = take(reply.msg.buf(2).ok_or(EPROTO)?, head, next, &mut out)?;
        // A chunk that does not bring us on would do so for ever.
        next = got.filter(|l| *l >= next).ok_or(EPROTO)? + 1;
    }
    Ok(out)
}

/// Appends what of a chunk counts, from index `next` on; the index of its last record.
fn take(chunk: &[u8], head: &LlogLogHdr, next: u32, out: &mut KVVec<u8>) -> Result<Option<u32>> {
    let mut last = None;
    for rec in Records::new(chunk) {
        let rec = rec.map_err(|_| EPROTO)?;
        if last.is_some_and(|l| rec.index() <= l) || rec.index() > LLOG_MAX_INDEX {
            return Err(EPROTO);
        }
        last = Some(rec.index());
        let counts = rec.index() >= next && head.is_set(rec.index());
        if counts && rec.kind() == rec_type::OBD_CFG {
            if out.len() + rec.bytes.len() > MAX_BYTES {
                return Err(EFBIG);
            }
            out.extend_from_slice(rec.bytes, GFP_KERNEL)?;
        }
    }
    Ok(last)
}
