// SPDX-License-Identifier: GPL-2.0

//! The header of a log, in memory.

use kapi::prelude::*;
use osd::ObjectRef;
use wire::llog::{LlogFlags, LlogLogHdr, LLOG_MAX_INDEX, LLOG_MIN_CHUNK_SIZE};
use zerocopy::{FromBytes, IntoBytes};

/// A header.
pub(super) struct Head(KVVec<u8>);

impl Head {
    /// That of an empty log, which is record `slot` of its catalog, if it has one.
    pub(super) fn new(flags: LlogFlags, uuid: &[u8], slot: u32) -> Result<Head> {
        let mut head = Head(KVVec::from_elem(0, LLOG_MIN_CHUNK_SIZE, GFP_KERNEL)?);
        let now = kapi::time::real().as_secs();
        let h = head.get_mut()?;
        h.init(flags, now, uuid).map_err(|_| EINVAL)?;
        h.llh_cat_idx.set(slot);
        Ok(head)
    }

    /// That of a file; none if the file ends before it would.
    ///
    /// # Errors
    /// `EINVAL`: it is none.
    pub(super) fn read(file: &ObjectRef) -> Result<Option<Head>> {
        let mut bytes = KVVec::from_elem(0, LLOG_MIN_CHUNK_SIZE, GFP_KERNEL)?;
        let n = file.read(0, &mut bytes)?;
        if n < bytes.len() {
            return Ok(None);
        }
        let good = LlogLogHdr::parse(&bytes).is_ok_and(|h| {
            let kinds = LlogFlags::IS_CAT | LlogFlags::IS_PLAIN;
            h.is_set(0)
                && h.llh_count.get() > 0
                && h.last_index() <= LLOG_MAX_INDEX
                && (h.flags() & kinds).bits().count_ones() == 1
        });
        if !good {
            pr_err!("{}: the header of the log is damaged\n", file.fid());
            return Err(EINVAL);
        }
        Ok(Some(Head(bytes)))
    }

    pub(super) fn get(&self) -> Result<&LlogLogHdr> {
        LlogLogHdr::ref_from_bytes(&self.0).map_err(|_| EIO)
    }

    pub(super) fn get_mut(&mut self) -> Result<&mut LlogLogHdr> {
        LlogLogHdr::mut_from_bytes(&mut self.0).map_err(|_| EIO)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> KVVec<u8> {
        self.0
    }

    /// What a change of record `index` changes of the header: pieces and where they belong.
    pub(super) fn pieces(&self, index: u32) -> Result<[(u64, &[u8]); 3]> {
        let h = self.get()?;
        let tail = LLOG_MIN_CHUNK_SIZE - h.llh_tail.as_bytes().len();
        let head = self.0.get(..wire::llog::LLOG_HEAD_SIZE).ok_or(EIO)?;
        Ok([
            (0, head),
            self.word(index)?,
            (tail as u64, h.llh_tail.as_bytes()),
        ])
    }

    /// The piece of the bitmap that tells of record `index`, and where it belongs.
    pub(super) fn word(&self, index: u32) -> Result<(u64, &[u8])> {
        let at = LlogLogHdr::bitmap_word_offset(index);
        Ok((at as u64, self.0.get(at..at + 4).ok_or(EIO)?))
    }
}
