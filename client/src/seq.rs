// SPDX-License-Identifier: GPL-2.0

//! FIDs for what this client creates (spec `mdt.md` 4.4, `ost.md` 17).

use crate::rpc;
use kapi::error::Result;
use kapi::prelude::{EAGAIN, EINVAL, EIO};
use kapi::sync::Arc;
use ptlrpc::call::CallOptions;
use ptlrpc::import::Import;
use std::sync::Mutex;
use wire::fid::{Fid, METADATA_SEQ_WIDTH};
use wire::msg::MDS_VERSION;
use wire::opcode::{portal, SEQ_QUERY};
use wire::seq::{seq_op, LuSeqRange};
use zerocopy::IntoBytes;

/// The sequence that FIDs are taken from.
#[derive(Default)]
pub struct FidSource {
    /// Sequence and the last number given; sequence 0: none yet.
    at: Mutex<(u64, u64)>,
}

impl FidSource {
    /// A new FID.
    ///
    /// # Errors
    /// Those of asking the MDT for a sequence.
    pub fn next(&self, mdt: &Arc<Import>) -> Result<Fid> {
        let mut at = self.at.lock().map_err(|_| EIO)?;
        if at.0 == 0 || at.1 >= METADATA_SEQ_WIDTH {
            *at = (query(mdt)?, 0);
        }
        at.1 += 1;
        Ok(Fid::new(at.0, u32::try_from(at.1)?))
    }
}

fn query(mdt: &Arc<Import>) -> Result<u64> {
    let range = LuSeqRange::default();
    let op = seq_op::ALLOC_META.to_le_bytes();
    let msg = rpc::request(SEQ_QUERY, MDS_VERSION, &[&op, range.as_bytes()])?;
    let mut o = CallOptions::new(&[size_of::<LuSeqRange>() as u32])?;
    o.portal = Some(portal::SEQ_METADATA);
    o.reply_portal = Some(portal::MDC_REPLY);
    for _ in 0..60 {
        let r = match rpc::call(mdt, &msg, o) {
            Err(e) if e == EAGAIN => {
                std::thread::sleep(std::time::Duration::from_secs(1));
                continue;
            }
            r => r?,
        };
        let range = r.msg.get::<LuSeqRange>(1)?.get();
        if range.is_empty() {
            return Err(EINVAL);
        }
        return Ok(range.start);
    }
    Err(EAGAIN)
}
