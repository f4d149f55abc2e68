// SPDX-License-Identifier: GPL-2.0

//! Callbacks of servers: they come as requests and are answered at once (spec `ldlm.md` 10).

use kapi::prelude::*;
use ldlm::client::Cache;
use ldlm::msg::LockMsg;
use ptlrpc::request::ServerRequest;
use ptlrpc::service::Handler;
use std::collections::HashMap;
use std::sync::{Arc as StdArc, RwLock};
use wire::opcode::{LDLM_BL_CALLBACK, LDLM_CP_CALLBACK, LDLM_GL_CALLBACK};

/// Whom callbacks are for: lock caches by the cookie of their import.
#[derive(Default)]
pub struct Callbacks {
    caches: RwLock<HashMap<u64, Cache>>,
}

impl Callbacks {
    /// Callbacks with `cookie` go to `cache` from now on.
    pub fn add(&self, cookie: u64, cache: Cache) {
        if let Ok(mut c) = self.caches.write() {
            c.insert(cookie, cache);
        }
    }

    /// And no longer.
    pub fn remove(&self, cookie: u64) {
        if let Ok(mut c) = self.caches.write() {
            c.remove(&cookie);
        }
    }

    fn find(&self, cookie: u64) -> Option<Cache> {
        self.caches.read().ok()?.get(&cookie).cloned()
    }
}

/// Takes the requests.
pub struct CallbackHandler(pub StdArc<Callbacks>);

impl CallbackHandler {
    /// The status to answer with; a glimpse has packed its reply.
    fn work(&self, req: &mut ServerRequest) -> Result<i32> {
        let cache = self.0.find(req.body().pb_handle.get()).ok_or(ENOTCONN)?;
        let msg = req.msg();
        let m = LockMsg::parse(msg.buf(1).ok_or(EPROTO)?)?;
        let (handle, cookie, flags) = (m.handle(0), m.handle(1), m.raw_flags());
        pr_debug!("callback {} for lock {:#x}\n", req.opc(), handle);
        match req.opc() {
            LDLM_BL_CALLBACK => Ok(cache.blocking(handle, cookie, flags)),
            LDLM_CP_CALLBACK => {
                let lvb = msg.buf(2).unwrap_or(&[]);
                Ok(cache.completion(handle, cookie, &m.desc()?, flags, lvb))
            }
            LDLM_GL_CALLBACK => {
                let mut lvb = [0; 64];
                let (status, n) = cache.glimpse(handle, &mut lvb);
                if status == 0 {
                    req.pack_reply(&[u32::try_from(n)?])?;
                    let to = req.reply_mut()?.buf_mut(1).ok_or(EPROTO)?;
                    to.copy_from_slice(lvb.get(..n).ok_or(EPROTO)?);
                }
                Ok(status)
            }
            _ => Err(EPROTO),
        }
    }
}

impl Handler for CallbackHandler {
    fn handle(&self, mut req: KBox<ServerRequest>) {
        let done = self.work(&mut req).and_then(|status| {
            if !req.has_reply() {
                req.pack_reply(&[])?;
            }
            Ok(status)
        });
        match done {
            Ok(status) => req.reply(status),
            Err(e) => req.error(e),
        }
    }
}
