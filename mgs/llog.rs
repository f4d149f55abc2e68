// SPDX-License-Identifier: GPL-2.0

//! The requests that read logs (`mgs-config.md` 7.5).

use crate::client::MgsClient;
use crate::service::Mgs;
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;
use target::llog::{Reader, Search};
use target::{Request, Served};
use wire::connect::ConnectFlags;
use wire::fid::seq;
use wire::llog::{LlogCtxt, LlogFlags, LlogdBody, LLOG_MAX_CTXTS, LLOG_MIN_CHUNK_SIZE};
use wire::ostid::LlogLogid;
use wire::svname::FsName;
use zerocopy::IntoBytes;

const BODY: u32 = size_of::<LlogdBody>() as u32;
const CHUNK: u32 = LLOG_MIN_CHUNK_SIZE as u32;

/// The body of a request, about the only kind of logs that there is here.
fn body(req: &Request<'_>) -> Result<LlogdBody> {
    let body = *req.rpc.get::<LlogdBody>(1)?;
    match body.lgd_ctxt_idx.get() {
        n if n >= LLOG_MAX_CTXTS => Err(EPROTO),
        // ENODEV, which says that the target is gone, would have the client ask for ever.
        n if n != LlogCtxt::ConfigOrig as u32 => Err(EOPNOTSUPP),
        _ => Ok(body),
    }
}

fn put(req: &mut Request<'_>, body: &LlogdBody) -> Result {
    *req.rpc.reply_mut()?.get_mut::<LlogdBody>(1)? = *body;
    Ok(())
}

impl Mgs {
    /// The log that a client got to know by opening it.
    fn reader(&self, id: &LlogLogid) -> Result<Reader> {
        let fid = id.to_fid().map_err(|_| EINVAL)?;
        if fid.seq != seq::LLOG_NAME || fid.oid == 0 {
            return Err(ENOENT);
        }
        let file = self.configs.osd().object(&fid)?;
        if !file.exists() {
            return Err(ESTALE);
        }
        Ok(Reader::new(file))
    }

    /// LLOG_ORIGIN_HANDLE_CREATE: opens a log by its name, or by its identifier.
    pub(crate) fn llog_open(&self, req: &mut Request<'_>) -> Result<Served> {
        let asked = body(req)?;
        let name = req.rpc.msg().buf(2).ok_or(EPROTO)?;
        let name = wire::text::get(name);
        let fs = FsName::of_log(name);
        let file = if !asked.lgd_logid.is_zero() {
            self.reader(&asked.lgd_logid).map(|_| asked.lgd_logid)
        } else if name.is_empty() {
            return Err(EPROTO);
        } else {
            self.configs
                .find(name)
                .and_then(|f| f.ok_or(ENOENT))
                .map(|f| LlogLogid::from_fid(*f.fid()))
        };
        let mut answer = LlogdBody::default();
        let status = match file {
            Ok(id) => {
                answer.lgd_logid = id;
                if let Ok(fs) = fs {
                    self.count_reader(req, fs)?;
                }
                0
            }
            // An ordinary answer: not every log exists.
            Err(e) if e == ENOENT || e == ESTALE => e.to_errno(),
            Err(e) => return Err(e),
        };
        req.rpc.pack_reply(&[BODY])?;
        put(req, &answer)?;
        Ok(Served::Reply(status))
    }

    /// A client that does not hear where targets went: the others cannot rely on it.
    fn count_reader(&self, req: &Request<'_>, name: FsName) -> Result {
        let hears = ConnectFlags::IMP_RECOV;
        if req.export.connect_data().flags().contains(hears) {
            return Ok(());
        }
        let fs = match self.fs(name) {
            Ok(fs) => fs,
            // Logs of a file system without clients.
            Err(e) if e == ENOENT => return Ok(()),
            Err(e) => return Err(e),
        };
        if req.own::<MgsClient>()?.reads(name)? {
            fs.deaf_clients.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// LLOG_ORIGIN_HANDLE_READ_HEADER.
    pub(crate) fn llog_header(&self, req: &mut Request<'_>) -> Result<Served> {
        let asked = body(req)?;
        let flags = LlogFlags::from_bits_retain(asked.lgd_llh_flags.get());
        let header = self.reader(&asked.lgd_logid)?.header(flags)?;
        req.rpc.pack_reply(&[CHUNK])?;
        let out = req.rpc.reply_mut()?.buf_mut(1).ok_or(EPROTO)?;
        out.copy_from_slice(&header);
        Ok(Served::Reply(0))
    }

    /// LLOG_ORIGIN_HANDLE_NEXT_BLOCK, and PREV_BLOCK: the chunk that holds a record.
    pub(crate) fn llog_block(&self, req: &mut Request<'_>, next: bool) -> Result<Served> {
        let mut asked = body(req)?;
        let flags = LlogFlags::from_bits_retain(asked.lgd_llh_flags.get());
        let reader = self.reader(&asked.lgd_logid)?;
        let index = asked.lgd_index.get();
        let found = reader.find(index, flags)?;
        req.rpc.pack_reply(&[BODY, CHUNK])?;
        let status = match found {
            Search::Found(chunk) => {
                if next {
                    asked.lgd_saved_index.set(chunk.last);
                    asked.lgd_cur_offset.set(chunk.end);
                }
                let out = req.rpc.reply_mut()?.buf_mut(2).ok_or(EPROTO)?;
                out.copy_from_slice(chunk.bytes.as_bytes());
                0
            }
            Search::PastEnd(end, last) => {
                asked.lgd_saved_index.set(last);
                asked.lgd_cur_offset.set(end);
                EBADR.to_errno()
            }
        };
        put(req, &asked)?;
        Ok(Served::Reply(status))
    }
}
