// SPDX-License-Identifier: GPL-2.0

//! Reading a log chunk by chunk, as requests do (`mgs-config.md` 7.5).

use super::head::Head;
use kapi::prelude::*;
use osd::ObjectRef;
use wire::llog::{LlogFlags, LlogRecHdr, Records, LLOG_MIN_CHUNK_SIZE};
use zerocopy::FromBytes;

const CHUNK: u64 = LLOG_MIN_CHUNK_SIZE as u64;

/// A log that is only read; it may grow meanwhile.
pub struct Reader {
    file: ObjectRef,
}

/// A chunk of a log.
pub struct Chunk {
    /// Its first byte in the file.
    pub at: u64,
    /// Where the reading ended: at its end, or that of the file.
    pub end: u64,
    /// Index of the last record in it.
    pub last: u32,
    /// All of it, zeros behind the end of the file.
    pub bytes: KVVec<u8>,
}

/// What a search for a record came to.
pub enum Search {
    /// The chunk that holds it, or that would.
    Found(Chunk),
    /// It is behind the end; that, and the last index there is.
    PastEnd(u64, u32),
}

/// The chunk at byte `at`, as long as it is.
pub(super) fn chunk_at(file: &ObjectRef, at: u64) -> Result<KVVec<u8>> {
    let mut bytes = KVVec::from_elem(0u8, LLOG_MIN_CHUNK_SIZE, GFP_KERNEL)?;
    let n = file.read(at, &mut bytes)?;
    bytes.truncate(n);
    Ok(bytes)
}

/// The chunk that holds record `index`, or that would, in a log of `end` bytes whose indices grow.
/// None in a log without records.
pub(super) fn first_chunk(file: &ObjectRef, end: u64, index: u32) -> Result<Option<u64>> {
    let first_index = |chunk: u64| -> Result<u32> {
        let mut b = [0; size_of::<LlogRecHdr>()];
        if file.read((chunk + 1) * CHUNK, &mut b)? < b.len() {
            return Err(EIO);
        }
        let h = LlogRecHdr::read_from_bytes(&b).map_err(|_| EIO)?;
        if h.lrh_type.get() & wire::llog::rec_type::OP_MASK != wire::llog::rec_type::OP_MAGIC {
            pr_err!("{}: no record begins chunk {}\n", file.fid(), chunk + 1);
            return Err(EIO);
        }
        Ok(h.lrh_index.get())
    };
    // The first chunk begins with the first record, the header aside.
    let chunks = end.saturating_sub(CHUNK).div_ceil(CHUNK);
    if chunks == 0 {
        return Ok(None);
    }
    if index <= 1 {
        return Ok(Some(CHUNK));
    }
    let (mut low, mut high) = (0, chunks);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if first_index(middle)? <= index {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some((low + 1) * CHUNK))
}

impl Reader {
    /// Of the log in a file.
    pub fn new(file: ObjectRef) -> Reader {
        Reader { file }
    }

    /// The header; that of an empty log with these `flags` if the file is empty.
    ///
    /// # Errors
    /// `EINVAL`: it is none, or of another kind. `ENOENT`, `EIO`, `ENOMEM`.
    pub fn header(&self, flags: LlogFlags) -> Result<KVVec<u8>> {
        Ok(self.head(flags)?.into_bytes())
    }

    fn head(&self, flags: LlogFlags) -> Result<Head> {
        let kinds = LlogFlags::IS_CAT | LlogFlags::IS_PLAIN;
        let asked = flags & kinds;
        let Some(head) = Head::read(&self.file)? else {
            return match asked.is_empty() {
                true => Head::new(LlogFlags::IS_PLAIN, b"", 0),
                false => Head::new(asked, b"", 0),
            };
        };
        if !asked.is_empty() && (head.get()?.flags() & kinds) != asked {
            return Err(EINVAL);
        }
        Ok(head)
    }

    /// The chunk that holds record `index`.
    ///
    /// # Errors
    /// `EINVAL`: the log is of another kind than `flags` say. `EIO`: it is damaged. `ENOENT`: it
    /// is gone.
    pub fn find(&self, index: u32, flags: LlogFlags) -> Result<Search> {
        let end = self.file.attr()?.size;
        if end == 0 {
            return Ok(Search::PastEnd(0, 0));
        }
        let head = self.head(flags)?;
        let h = head.get()?;
        let at = if h.flags().contains(LlogFlags::IS_FIXSIZE) {
            let size = u64::from(h.llh_size.get());
            if size == 0 || CHUNK % size != 0 {
                return Err(EIO);
            }
            let offset = u64::from(index.max(1) - 1) * size;
            Some(CHUNK + offset / CHUNK * CHUNK).filter(|at| *at < end)
        } else {
            first_chunk(&self.file, end, index)?
        };
        let Some(at) = at else {
            return Ok(Search::PastEnd(end, h.last_index()));
        };
        let chunk = self.chunk(at)?;
        if index > chunk.last {
            return Ok(Search::PastEnd(chunk.end, chunk.last));
        }
        Ok(Search::Found(chunk))
    }

    /// The chunk at byte `at`, looked through.
    fn chunk(&self, at: u64) -> Result<Chunk> {
        let mut bytes = chunk_at(&self.file, at)?;
        let mut last = 0;
        for rec in Records::new(&bytes) {
            last = rec.map_err(|_| EIO)?.index();
        }
        let end = at + bytes.len() as u64;
        bytes.resize(LLOG_MIN_CHUNK_SIZE, 0, GFP_KERNEL)?;
        Ok(Chunk {
            at,
            end,
            last,
            bytes,
        })
    }
}
