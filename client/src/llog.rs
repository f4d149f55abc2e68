// SPDX-License-Identifier: GPL-2.0

//! Reading logs of an MGS (spec `mgs-config.md` 7.5).

use crate::rpc;
use kapi::error::Result;
use kapi::prelude::{EBADR, EIO, EPROTO};
use kapi::sync::Arc;
use ptlrpc::call::CallOptions;
use ptlrpc::import::Import;
use wire::llog::{rec_type, LlogCtxt, LlogLogHdr, LlogdBody, Records, LLOG_MIN_CHUNK_SIZE};
use wire::mdt::MdtBody;
use wire::msg::LOG_VERSION;
use wire::opcode::{
    LLOG_ORIGIN_HANDLE_CREATE, LLOG_ORIGIN_HANDLE_NEXT_BLOCK, LLOG_ORIGIN_HANDLE_READ_HEADER,
};
use zerocopy::{FromZeros, IntoBytes};

/// A configuration record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its index.
    pub index: u32,
    /// What it says.
    pub payload: Vec<u8>,
}

/// What of a chunk counts: configuration records with set bits, from `next` on. The index of the
/// last record in the chunk too, if there is any.
fn take(
    chunk: &[u8],
    header: &LlogLogHdr,
    next: u32,
    out: &mut Vec<Record>,
) -> Result<Option<u32>> {
    let mut last = None;
    for r in Records::new(chunk) {
        let r = r.map_err(|_| EPROTO)?;
        last = Some(r.index());
        let counts = r.index() >= next && header.is_set(r.index());
        if counts && r.kind() == rec_type::OBD_CFG {
            out.push(Record {
                index: r.index(),
                payload: r.payload.to_vec(),
            });
        }
    }
    Ok(last)
}

/// Reads the records of log `name` behind index `after`.
///
/// # Errors
/// `ENOENT`: there is no such log. `EPROTO`, `EIO`: it makes no sense.
pub fn read(mgs: &Arc<Import>, name: &str, after: u32) -> Result<Vec<Record>> {
    let mut body = LlogdBody::new_zeroed();
    body.lgd_ctxt_idx.set(LlogCtxt::ConfigOrig as u32);
    let size = size_of::<LlogdBody>() as u32;
    let msg = rpc::request(
        LLOG_ORIGIN_HANDLE_CREATE,
        LOG_VERSION,
        &[
            body.as_bytes(),
            &rpc::name(name.as_bytes()),
            MdtBody::default().as_bytes(),
        ],
    )?;
    let r = rpc::call(mgs, &msg, CallOptions::new(&[size])?)?;
    body.lgd_logid = r.msg.get::<LlogdBody>(1)?.lgd_logid;

    let msg = rpc::request(
        LLOG_ORIGIN_HANDLE_READ_HEADER,
        LOG_VERSION,
        &[body.as_bytes()],
    )?;
    let chunk = LLOG_MIN_CHUNK_SIZE as u32;
    let r = rpc::call(mgs, &msg, CallOptions::new(&[chunk])?)?;
    let header = LlogLogHdr::parse(r.msg.buf(1).ok_or(EPROTO)?).map_err(|_| EIO)?;
    body.lgd_llh_flags = header.llh_flags;

    let mut out = Vec::new();
    let mut next = after + 1;
    body.lgd_cur_offset.set(u64::from(chunk));
    body.lgd_len.set(chunk);
    while next <= header.last_index() {
        if !header.is_set(next) {
            next += 1;
            continue;
        }
        body.lgd_index.set(next);
        let msg = rpc::request(
            LLOG_ORIGIN_HANDLE_NEXT_BLOCK,
            LOG_VERSION,
            &[body.as_bytes()],
        )?;
        let r = match rpc::call(mgs, &msg, CallOptions::new(&[size, chunk])?) {
            // Past the end; old servers say EIO.
            Err(e) if e == EBADR || e == EIO => break,
            r => r?,
        };
        let at = r.msg.get::<LlogdBody>(1)?;
        body.lgd_saved_index = at.lgd_saved_index;
        body.lgd_cur_offset = at.lgd_cur_offset;
        let bytes = r.msg.buf(2).ok_or(EPROTO)?;
        // A chunk that does not bring us on would do so for ever.
        let last = take(bytes, header, next, &mut out)?.filter(|l| *l >= next);
        next = last.ok_or(EPROTO)? + 1;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::llog::{frame, rec_size, LlogFlags};

    #[test]
    fn what_counts() {
        let mut h = LlogLogHdr::new_zeroed();
        h.init(LlogFlags::IS_PLAIN, 0, b"").unwrap();
        let mut chunk = Vec::new();
        for (i, set) in [(1, true), (2, false), (3, true)] {
            let mut rec = vec![i as u8; rec_size(8)];
            frame(&mut rec, rec_type::OBD_CFG, i).unwrap();
            chunk.extend(rec);
            if set {
                h.set_bit(i);
            }
        }
        let mut out = Vec::new();
        assert_eq!(take(&chunk, &h, 1, &mut out), Ok(Some(3)));
        let got: Vec<_> = out.iter().map(|r| (r.index, r.payload[0])).collect();
        assert_eq!(got, [(1, 1), (3, 3)]);
        out.clear();
        take(&chunk, &h, 2, &mut out).unwrap();
        assert_eq!(out.len(), 1);
    }
}
