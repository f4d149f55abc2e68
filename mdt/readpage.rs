// SPDX-License-Identifier: GPL-2.0

//! MDS_READPAGE: pages of a directory (`mdt.md` 10).

use crate::device::Core;
use crate::message;
use crate::open_files::Agreed;
use crate::stats::Op;
use kapi::pages::Pages;
use kapi::prelude::*;
use lnet::fail::{self, point};
use mdd::DirPages;
use ptlrpc::bulk::Piece;
use target::{Request, Served};
use wire::connect::ConnectFlags;
use wire::dirent::{LudaFlags, LU_PAGE_SIZE};
use wire::mdt::MdtBody;
use wire::opcode::portal;

/// Entries as they are sent take at most so many times the space that they take in a directory.
const GROWTH: u64 = 4;

/// How many pages to prepare for a directory of `size` bytes if `wanted` are wanted.
fn pages_for(size: u64, wanted: usize) -> usize {
    let likely = size.saturating_mul(GROWTH) / LU_PAGE_SIZE as u64 + 1;
    usize::try_from(likely).unwrap_or(wanted).min(wanted)
}

impl Core {
    /// MDS_READPAGE.
    #[inline(never)]
    pub(crate) fn readpage(&self, req: &mut Request<'_>) -> Result<Served> {
        let b = message::body(req.rpc, 1)?;
        let dir = self.mdd.object(&message::object(&b)?)?;
        let agreed = Agreed::with(req);
        let room = b.mbo_nlink.get().min(agreed.brw_size());
        let wanted = usize::try_from(room)? / LU_PAGE_SIZE;
        if wanted == 0 {
            return Err(EFAULT);
        }
        let a = dir.attr()?;
        if !a.is_dir() {
            return Err(ENOTDIR);
        }
        let mut pages = Pages::new(pages_for(a.size, wanted))?;
        let want = DirPages {
            start: b.mbo_size.get(),
            wanted: LudaFlags::from_bits_retain(b.mbo_mode.get()),
            hash64: agreed.has(ConnectFlags::HASH64),
        };
        let filled = self.mdd.readdir(&dir, &want, &mut pages)?;
        self.stats.count(Op::Readpage);
        let len = filled * LU_PAGE_SIZE;
        let mut pieces = KVec::new();
        let piece = Piece {
            pages: Arc::new(pages, GFP_KERNEL)?,
            off: 0,
            len,
        };
        pieces.push(piece, GFP_KERNEL)?;
        // All of it is in the first buffer, whatever their number.
        let (first, _) = req.rpc.bulk_begin(1)?;
        let sent = match fail::check(point::MDS_SENDPAGE) {
            true => Ok(()),
            false => req.rpc.bulk_put(portal::MDS_BULK, first, pieces),
        };
        if let Err(e) = sent {
            pr_debug!("{}: pages of {}: {:?}\n", req.target.name(), dir.fid(), e);
            // The client sends the request again.
            return Ok(Served::Drop);
        }
        req.rpc.pack_reply(&[size_of::<MdtBody>() as u32])?;
        Ok(Served::Reply(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_too_many_pages() {
        assert_eq!(pages_for(0, 256), 1);
        assert_eq!(pages_for(4096, 256), 5);
        assert_eq!(pages_for(4096, 2), 2);
        assert_eq!(pages_for(u64::MAX, 256), 256);
    }
}
