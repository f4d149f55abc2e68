// SPDX-License-Identifier: GPL-2.0

//! Logs: files of records with a bitmap of those that count (`spec/mgs-config.md` 9), and the
//! requests that read them (7.5).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::flags;

mod records;

pub use records::{
    LlogCatid, LlogChangelogUserRec, LlogChangelogUserRec2, LlogGenRec, LlogLogidRec,
    LlogSetattr64Rec, LlogSetattr64RecV2, LlogUnlink64Rec, LlogUnlinkRec, LlogdBody, LlogdConnBody,
};

/// Bytes of a chunk, but in update logs.
pub const LLOG_MIN_CHUNK_SIZE: usize = 8192;
/// Bytes of a chunk of an update log.
pub const UPDATE_LOG_CHUNK_SIZE: usize = 32768;
/// Where the bitmap begins.
pub const LLOG_BITMAP_OFFSET: usize = 88;
/// Bytes of the bitmap.
pub const LLOG_BITMAP_BYTES: usize =
    LLOG_MIN_CHUNK_SIZE - LLOG_BITMAP_OFFSET - size_of::<LlogRecTail>();
/// Bits of the bitmap.
pub const LLOG_BITMAP_BITS: u32 = LLOG_BITMAP_BYTES as u32 * 8;
/// The largest index of a record.
pub const LLOG_MAX_INDEX: u32 = LLOG_BITMAP_BITS - 1;
/// The smallest record: head and tail.
pub const LLOG_MIN_REC_SIZE: usize = 24;
/// `llh_tgtuuid` of logs on an MGS.
pub const CONFIG_UUID: &[u8] = b"config_uuid";

/// Types of records (`lrh_type`).
pub mod rec_type {
    /// The bits that every type has.
    pub const OP_MAGIC: u32 = 0x1060_0000;
    /// The mask of those.
    pub const OP_MASK: u32 = 0xfff0_0000;
    /// Padding.
    pub const PAD: u32 = 0x1060_0000;
    /// Obsolete.
    pub const OST_SZ: u32 = 0x1060_0f00;
    /// Destroy, old form.
    pub const MDS_UNLINK: u32 = 0x1061_2404;
    /// Destroy.
    pub const MDS_UNLINK64: u32 = 0x1069_2404;
    /// Set the owner.
    pub const MDS_SETATTR64: u32 = 0x1069_2401;
    /// Configuration.
    pub const OBD_CFG: u32 = 0x1062_0000;
    /// Start of a service.
    pub const LLOG_GEN: u32 = 0x1064_0000;
    /// Header.
    pub const LLOG_HDR: u32 = 0x1064_5539;
    /// A log, in a catalog.
    pub const LLOG_LOGID: u32 = 0x1064_553b;
    /// Change.
    pub const CHANGELOG: u32 = 0x1066_0000;
    /// User of the changelog.
    pub const CHANGELOG_USER: u32 = 0x1067_0000;
    /// User of the changelog with mask and name.
    pub const CHANGELOG_USER2: u32 = 0x1067_0002;
    /// Action of the HSM.
    pub const HSM_AGENT: u32 = 0x1068_0000;
    /// Update of several MDTs.
    pub const UPDATE: u32 = 0x106a_0000;
}

/// What a log is for (`lgd_ctxt_idx`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum LlogCtxt {
    /// Configuration.
    ConfigOrig = 0,
    /// Configuration, at the reader.
    ConfigRepl = 1,
    /// Changes of objects on OSTs.
    MdsOstOrig = 2,
    /// Obsolete.
    SizeOrig = 4,
    /// Tests.
    TestOrig = 8,
    /// Changelog.
    ChangelogOrig = 12,
    /// Changelog, at the reader.
    ChangelogRepl = 13,
    /// Users of the changelog.
    ChangelogUserOrig = 14,
    /// Actions of the HSM.
    AgentOrig = 15,
    /// Updates of several MDTs.
    UpdatelogOrig = 16,
    /// Updates of several MDTs, at the reader.
    UpdatelogRepl = 17,
}

/// Contexts there are.
pub const LLOG_MAX_CTXTS: u32 = 18;

impl TryFrom<u32> for LlogCtxt {
    type Error = Malformed;

    fn try_from(v: u32) -> Result<LlogCtxt> {
        Ok(match v {
            0 => LlogCtxt::ConfigOrig,
            1 => LlogCtxt::ConfigRepl,
            2 => LlogCtxt::MdsOstOrig,
            4 => LlogCtxt::SizeOrig,
            8 => LlogCtxt::TestOrig,
            12 => LlogCtxt::ChangelogOrig,
            13 => LlogCtxt::ChangelogRepl,
            14 => LlogCtxt::ChangelogUserOrig,
            15 => LlogCtxt::AgentOrig,
            16 => LlogCtxt::UpdatelogOrig,
            17 => LlogCtxt::UpdatelogRepl,
            _ => return Err(Malformed::Value),
        })
    }
}

flags! {
    /// `LLOG_F_*`.
    pub struct LlogFlags: u32 {
        /// Destroy it when it is empty.
        const ZAP_WHEN_EMPTY = 0x1;
        /// A catalog.
        const IS_CAT = 0x2;
        /// Plain.
        const IS_PLAIN = 0x4;
        /// Records have a job.
        const EXT_JOBID = 0x8;
        /// Records are of one size.
        const IS_FIXSIZE = 0x10;
        /// Records have more flags.
        const EXT_EXTRA_FLAGS = 0x20;
        /// Records have user and group.
        const EXT_X_UIDGID = 0x40;
        /// Records have a NID.
        const EXT_X_NID = 0x80;
        /// Records have open flags.
        const EXT_X_OMODE = 0x100;
        /// Records have an xattr.
        const EXT_X_XATTR = 0x200;
        /// Remove it if it is broken.
        const RM_ON_ERR = 0x400;
        /// Drop it when it is old.
        const MAX_AGE = 0x800;
        /// NIDs in records are big endian.
        const EXT_X_NID_BE = 0x1000;
    }
}

/// `llog_rec_hdr`: the head of a record.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct LlogRecHdr {
    /// Bytes of the record with head and tail.
    pub lrh_len: U32,
    /// Index.
    pub lrh_index: U32,
    /// [`rec_type`].
    pub lrh_type: U32,
    /// 0.
    pub lrh_id: U32,
}
assert_layout!(LlogRecHdr, 16, lrh_index = 4, lrh_type = 8, lrh_id = 12);

/// `llog_rec_tail`: the end of a record.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct LlogRecTail {
    /// As in the head.
    pub lrt_len: U32,
    /// As in the head.
    pub lrt_index: U32,
}
assert_layout!(LlogRecTail, 8, lrt_index = 4);

/// `llog_log_hdr`: the first chunk. 8 KiB: keep it out of the stack.
#[derive(PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LlogLogHdr {
    /// Head: length of a chunk, index 0, [`rec_type::LLOG_HDR`].
    pub llh_hdr: LlogRecHdr,
    /// When it was made, seconds.
    pub llh_timestamp: U64,
    /// Records that count, this one too.
    pub llh_count: U32,
    /// [`LLOG_BITMAP_OFFSET`].
    pub llh_bitmap_offset: U32,
    /// Bytes of a record, or of the smallest so far.
    pub llh_size: U32,
    /// [`LlogFlags`].
    pub llh_flags: U32,
    /// Plain: its index in the catalog. Catalog: the index before the first that counts.
    pub llh_cat_idx: U32,
    /// Whose log it is.
    pub llh_tgtuuid: [u8; 40],
    /// 0.
    pub llh_reserved: U32,
    /// Which records count.
    pub llh_bitmap: [u8; LLOG_BITMAP_BYTES],
    /// Tail: length of a chunk, last index.
    pub llh_tail: LlogRecTail,
}
assert_layout!(
    LlogLogHdr,
    8192,
    llh_timestamp = 16,
    llh_count = 24,
    llh_bitmap_offset = 28,
    llh_size = 32,
    llh_flags = 36,
    llh_cat_idx = 40,
    llh_tgtuuid = 44,
    llh_reserved = 84,
    llh_bitmap = 88,
    llh_tail = 8184
);

/// Bytes of the header before the bitmap: what every change of the log rewrites.
pub const LLOG_HEAD_SIZE: usize = LLOG_BITMAP_OFFSET;

impl LlogLogHdr {
    /// A view of a header in a log of 8 KiB chunks.
    ///
    /// # Errors
    /// [`Malformed::Short`]; [`Malformed::Magic`]: another type; [`Malformed::Value`]: lengths or
    /// indices that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<&LlogLogHdr> {
        let (h, _) = LlogLogHdr::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        if h.llh_hdr.lrh_type.get() != rec_type::LLOG_HDR {
            return Err(Malformed::Magic);
        }
        if h.llh_hdr.lrh_len.get() as usize != LLOG_MIN_CHUNK_SIZE
            || h.llh_tail.lrt_len != h.llh_hdr.lrh_len
            || h.llh_tail.lrt_index.get() > LLOG_BITMAP_BITS
            || h.llh_bitmap_offset.get() as usize != LLOG_BITMAP_OFFSET
        {
            return Err(Malformed::Value);
        }
        Ok(h)
    }

    /// Makes it the header of an empty log.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`], [`Malformed::Value`]: the owner's name is none.
    pub fn init(&mut self, flags: LlogFlags, now: u64, tgtuuid: &[u8]) -> Result<()> {
        self.as_mut_bytes().fill(0);
        crate::text::set(&mut self.llh_tgtuuid, tgtuuid)?;
        self.llh_hdr.lrh_len.set(LLOG_MIN_CHUNK_SIZE as u32);
        self.llh_hdr.lrh_type.set(rec_type::LLOG_HDR);
        self.llh_timestamp.set(now);
        self.llh_count.set(1);
        self.llh_bitmap_offset.set(LLOG_BITMAP_OFFSET as u32);
        self.llh_flags.set(flags.bits());
        self.llh_tail.lrt_len.set(LLOG_MIN_CHUNK_SIZE as u32);
        self.set_bit(0);
        Ok(())
    }

    /// [`LlogLogHdr::llh_flags`] as a set.
    pub fn flags(&self) -> LlogFlags {
        LlogFlags::from_bits_retain(self.llh_flags.get())
    }

    /// The last index in use.
    pub fn last_index(&self) -> u32 {
        self.llh_tail.lrt_index.get()
    }

    /// Whether record `index` counts.
    pub fn is_set(&self, index: u32) -> bool {
        self.llh_bitmap
            .get(index as usize / 8)
            .is_some_and(|b| b & (1 << (index % 8)) != 0)
    }

    /// Lets record `index` count. Whether it did not before (always false beyond the bitmap). The
    /// count is not touched.
    pub fn set_bit(&mut self, index: u32) -> bool {
        match self.llh_bitmap.get_mut(index as usize / 8) {
            Some(b) => {
                let old = *b;
                *b |= 1 << (index % 8);
                *b != old
            }
            None => false,
        }
    }

    /// Lets record `index` not count. Whether it did before. The count is not touched.
    pub fn clear_bit(&mut self, index: u32) -> bool {
        match self.llh_bitmap.get_mut(index as usize / 8) {
            Some(b) => {
                let old = *b;
                *b &= !(1 << (index % 8));
                *b != old
            }
            None => false,
        }
    }

    /// Where the 4 bytes of the bitmap with the bit of record `index` are in the header.
    pub const fn bitmap_word_offset(index: u32) -> usize {
        LLOG_BITMAP_OFFSET + index as usize / 32 * 4
    }
}

/// Bytes of a record with a payload of `payload` bytes.
pub const fn rec_size(payload: usize) -> usize {
    size_of::<LlogRecHdr>() + payload.next_multiple_of(8) + size_of::<LlogRecTail>()
}

/// Writes head and tail of a record into `rec`, all of which it is; the payload is untouched.
///
/// # Errors
/// [`Malformed::Value`]: a length that no record can have.
pub fn frame(rec: &mut [u8], kind: u32, index: u32) -> Result<()> {
    let n = rec.len();
    if n < LLOG_MIN_REC_SIZE || n % 8 != 0 || n > UPDATE_LOG_CHUNK_SIZE {
        return Err(Malformed::Value);
    }
    let len = n as u32;
    let hdr = LlogRecHdr {
        lrh_len: len.into(),
        lrh_index: index.into(),
        lrh_type: kind.into(),
        lrh_id: 0.into(),
    };
    let tail = LlogRecTail {
        lrt_len: len.into(),
        lrt_index: index.into(),
    };
    hdr.write_to_prefix(rec).map_err(|_| Malformed::NoRoom)?;
    tail.write_to_suffix(rec).map_err(|_| Malformed::NoRoom)
}

/// A record in a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rec<'a> {
    /// Its head.
    pub hdr: &'a LlogRecHdr,
    /// What is between head and tail.
    pub payload: &'a [u8],
    /// Where it begins in the chunk.
    pub offset: usize,
    /// All of it.
    pub bytes: &'a [u8],
}

impl Rec<'_> {
    /// Its index.
    pub fn index(&self) -> u32 {
        self.hdr.lrh_index.get()
    }

    /// Its type.
    pub fn kind(&self) -> u32 {
        self.hdr.lrh_type.get()
    }

    /// Whether it only fills a chunk.
    pub fn is_pad(&self) -> bool {
        self.kind() == rec_type::PAD
    }
}

/// The records of a chunk or a part of one; ends after the first malformed one. Zeros between
/// records are skipped.
#[derive(Clone)]
pub struct Records<'a> {
    chunk: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// The records in `chunk`, which begins with one.
    pub fn new(chunk: &'a [u8]) -> Records<'a> {
        Records { chunk, at: 0 }
    }

    fn record(&self, rest: &'a [u8]) -> Result<Rec<'a>> {
        let (hdr, _) = LlogRecHdr::ref_from_prefix(rest).map_err(|_| Malformed::Short)?;
        let len = hdr.lrh_len.get() as usize;
        if len < LLOG_MIN_REC_SIZE || len % 8 != 0 {
            return Err(Malformed::Value);
        }
        if hdr.lrh_type.get() & rec_type::OP_MASK != rec_type::OP_MAGIC {
            return Err(Malformed::Magic);
        }
        let bytes = rest.get(..len).ok_or(Malformed::Short)?;
        let (body, tail) = LlogRecTail::ref_from_suffix(bytes).map_err(|_| Malformed::Short)?;
        if tail.lrt_len != hdr.lrh_len || tail.lrt_index != hdr.lrh_index {
            return Err(Malformed::Value);
        }
        Ok(Rec {
            hdr,
            payload: body.get(size_of::<LlogRecHdr>()..).unwrap_or(&[]),
            offset: self.at,
            bytes,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Rec<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.chunk.get(self.at..)?;
        while let Some(([0, 0, 0, 0], after)) = rest.split_first_chunk() {
            self.at += 4;
            rest = after;
        }
        if rest.len() < 4 {
            self.at = self.chunk.len();
            return None;
        }
        let rec = self.record(rest);
        match &rec {
            Ok(r) => self.at += r.bytes.len(),
            Err(_) => self.at = self.chunk.len(),
        }
        Some(rec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;
    use zerocopy::FromZeros;

    #[test]
    fn limits() {
        assert_eq!((LLOG_BITMAP_BYTES, LLOG_BITMAP_BITS), (8096, 64768));
        assert_eq!(rec_size(0), 24);
        assert_eq!(rec_size(1), 32);
    }

    #[test]
    fn header() {
        let mut h = LlogLogHdr::new_zeroed();
        h.init(LlogFlags::IS_PLAIN, 7, CONFIG_UUID).unwrap();
        LlogLogHdr::parse(h.as_bytes()).unwrap();
        assert!(h.is_set(0) && !h.is_set(1) && h.set_bit(1) && !h.set_bit(1));
        assert!(h.clear_bit(1) && !h.clear_bit(1));
        assert!(!h.is_set(LLOG_BITMAP_BITS) && !h.set_bit(LLOG_BITMAP_BITS));
        assert!(h.set_bit(LLOG_MAX_INDEX) && h.is_set(LLOG_MAX_INDEX));
        assert_eq!(LlogLogHdr::bitmap_word_offset(0), 88);
        assert_eq!(LlogLogHdr::bitmap_word_offset(63), 92);
        h.llh_tail.lrt_index.set(LLOG_BITMAP_BITS + 1);
        assert_eq!(LlogLogHdr::parse(h.as_bytes()), Err(Malformed::Value));
        h.llh_hdr.lrh_type.set(0);
        assert_eq!(LlogLogHdr::parse(h.as_bytes()), Err(Malformed::Magic));
    }

    impl core::fmt::Debug for LlogLogHdr {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            self.llh_hdr.fmt(f)
        }
    }

    proptest! {
        #[test]
        fn records(payloads in proptest::collection::vec((0_usize..200, any::<u8>(), 0_usize..3), 0..30)) {
            let mut chunk = Vec::new();
            let mut want = Vec::new();
            for (i, (n, byte, gap)) in payloads.iter().enumerate() {
                let mut rec = vec![*byte; rec_size(*n)];
                frame(&mut rec, rec_type::OBD_CFG, i as u32 + 1).unwrap();
                want.push((i as u32 + 1, chunk.len()));
                chunk.extend(rec);
                chunk.extend(vec![0; gap * 4]);
            }
            let got: Vec<_> = Records::new(&chunk).map(|r| r.unwrap()).map(|r| (r.index(), r.offset)).collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn garbage(bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(0x10), Just(0x60), any::<u8>()], 0..9000)) {
            let n = Records::new(&bytes).count();
            prop_assert!(n <= bytes.len() / LLOG_MIN_REC_SIZE + 1);
            let _ = LlogLogHdr::parse(&bytes);
        }
    }
}
