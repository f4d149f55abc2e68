// SPDX-License-Identifier: GPL-2.0

//! Logs: header, bitmap and the records that count.

use crate::offline::ext4::{Fs, Inode};
use crate::offline::{bad, Result};
use wire::llog::{
    rec_type, LlogLogHdr, LlogRecHdr, Records, LLOG_BITMAP_OFFSET, LLOG_MIN_CHUNK_SIZE,
    UPDATE_LOG_CHUNK_SIZE,
};
use zerocopy::FromBytes;

/// Reads a log through.
pub(super) fn check(fs: &Fs<'_>, inode: &Inode) -> Result<()> {
    if inode.size() == 0 {
        return Ok(());
    }
    let first = fs.read(inode, 0, UPDATE_LOG_CHUNK_SIZE)?;
    let Ok((head, _)) = LlogRecHdr::ref_from_prefix(&first) else {
        return bad("the log has no header");
    };
    let chunk = head.lrh_len.get() as usize;
    if head.lrh_type.get() != rec_type::LLOG_HDR
        || !matches!(chunk, LLOG_MIN_CHUNK_SIZE | UPDATE_LOG_CHUNK_SIZE)
    {
        return bad("the log has no header");
    }
    let Some(bitmap) = first.get(LLOG_BITMAP_OFFSET..chunk - 8) else {
        return bad("the log's header is cut");
    };
    if chunk == LLOG_MIN_CHUNK_SIZE {
        if let Err(e) = LlogLogHdr::parse(&first) {
            return bad(format!("the log's header: {e}"));
        }
    }
    let set: u32 = bitmap.iter().map(|b| b.count_ones()).sum();
    let count = crate::offline::le32(&first, 24);
    if set != count {
        return bad(format!(
            "the log counts {count} records, its bitmap has {set}"
        ));
    }
    if chunk != LLOG_MIN_CHUNK_SIZE {
        return Ok(());
    }
    let is_set = |i: u32| {
        bitmap
            .get(i as usize / 8)
            .is_some_and(|b| (b >> (i % 8)) & 1 != 0)
    };
    let (mut found, mut at) = (1, chunk as u64);
    let blocks = u64::from(fs.file_blocks(inode)?) * fs.block_size as u64;
    while at < inode.size().min(blocks) {
        let bytes = fs.read(inode, at, chunk)?;
        for rec in Records::new(&bytes) {
            match rec {
                Ok(r) if r.is_pad() => {}
                Ok(r) => found += u32::from(is_set(r.index())),
                Err(e) => {
                    return bad(format!(
                        "a record between {at} and {}: {e}",
                        at + chunk as u64
                    ))
                }
            }
        }
        at += chunk as u64;
    }
    if found != count {
        return bad(format!("the log counts {count} records, it has {found}"));
    }
    Ok(())
}
