// SPDX-License-Identifier: GPL-2.0

//! The envelope of every RPC message, and its first buffer (spec `ptlrpc.md` §1, §2).

use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Magic of a message of our byte order.
pub const MAGIC: u32 = 0x0BD0_0BD3;
/// The same from a sender of the other byte order.
pub const MAGIC_SWAPPED: u32 = 0xD30B_D00B;
/// Most buffers in a message.
pub const BUFFERS_MAX: usize = 32;
/// Largest message, bytes.
pub const SIZE_MAX: usize = 1_024_000;
/// Bits of `lm_secflvr` that name the flavour; null is zero.
pub const FLAVOUR_MASK: u32 = 0x000F_FFFF;

/// `lm_flags`: the sender understands early replies.
pub const MSGHDR_AT_SUPPORT: u32 = 1;
/// `lm_flags`: set by all, means nothing any more.
pub const MSGHDR_CKSUM_INCOMPAT18: u32 = 2;

/// `pb_type` of a request.
pub const TYPE_REQUEST: u32 = 4711;
/// `pb_type` of an error.
pub const TYPE_ERR: u32 = 4712;
/// `pb_type` of a reply.
pub const TYPE_REPLY: u32 = 4713;

/// Low half of `pb_version`.
pub const MSG_VERSION: u32 = 3;
/// High half of `pb_version`: connections and pings.
pub const OBD_VERSION: u32 = 0x0001_0000;
/// Metadata.
pub const MDS_VERSION: u32 = 0x0002_0000;
/// Objects.
pub const OST_VERSION: u32 = 0x0003_0000;
/// Locks.
pub const DLM_VERSION: u32 = 0x0004_0000;
/// Logs.
pub const LOG_VERSION: u32 = 0x0005_0000;
/// Management.
pub const MGS_VERSION: u32 = 0x0006_0000;
/// The high half.
pub const VERSION_MASK: u32 = 0xFFFF_0000;

crate::flags! {
    /// `pb_flags`
    pub struct MsgFlags: u32 {
        /// Was sent before, and there was no answer.
        const RESENT = 0x2;
        /// Was answered before the server restarted, and is done again.
        const REPLAY = 0x4;
        /// The client has replayed all requests.
        const REQ_REPLAY_DONE = 0x40;
        /// The client has replayed all locks.
        const LOCK_REPLAY_DONE = 0x80;
        /// A server bans the client (nodemap).
        const CLIENT_BANNED = 0x100;
        /// `pb_uid` and `pb_gid` hold the process's ids: for statistics alone.
        const PACK_UID_GID = 0x200;
        /// `pb_projid` holds the project: for statistics alone.
        const PACK_PROJID = 0x400;
    }
}

crate::flags! {
    /// `pb_op_flags` of connects
    pub struct ConnectOpFlags: u32 {
        /// Answer: the target recovers, and the client takes part.
        const RECOVERING = 0x01;
        /// Answer: the target has kept what it knew of the client.
        const RECONNECT = 0x02;
        /// Answer: requests can be replayed.
        const REPLAYABLE = 0x04;
        /// Request: obsolete, and refused.
        const LIBCLIENT = 0x10;
        /// Request: the client holds no handle of the server (a first connect, or after an eviction).
        const INITIAL = 0x20;
        /// Answer: obsolete, and never set.
        const NEXT_VER = 0x80;
        /// Request: `ocd_transno` holds the first transaction that will be replayed.
        const TRANSNO = 0x100;
    }
}

/// Fixed part of a message's header; the lengths of the buffers follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MsgHeader {
    /// Number of buffers.
    pub lm_bufcount: U32,
    /// Security flavour and sender's part.
    pub lm_secflvr: U32,
    /// [`MAGIC`]
    pub lm_magic: U32,
    /// Request: room for the reply.
    pub lm_repsize: U32,
    /// Checksum of an early reply.
    pub lm_cksum: U32,
    /// `MSGHDR_*`
    pub lm_flags: U32,
    /// Opcode or result of a message inside another.
    pub lm_opc: U32,
    /// Zero.
    pub lm_padding_3: U32,
}

/// Buffer 0 of every message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PtlrpcBody {
    /// Cookie of the export.
    pub pb_handle: U64,
    /// `TYPE_*`
    pub pb_type: U32,
    /// Version of the service and of the message.
    pub pb_version: U32,
    /// Opcode.
    pub pb_opc: U32,
    /// Reply: result. Request: the caller's pid.
    pub pb_status: I32,
    /// All XIDs up to it have been answered.
    pub pb_last_xid: U64,
    /// Slot of a modifying request.
    pub pb_tag: U16,
    /// Zero.
    pub pb_padding0: U16,
    /// Project.
    pub pb_projid: U32,
    /// Highest transaction number on disk.
    pub pb_last_committed: U64,
    /// Transaction number.
    pub pb_transno: U64,
    /// [`MsgFlags`]
    pub pb_flags: U32,
    /// [`ConnectOpFlags`]
    pub pb_op_flags: U32,
    /// Generation of the connection.
    pub pb_conn_cnt: U32,
    /// Request: seconds until the client gives up. Reply: the service's estimate.
    pub pb_timeout: U32,
    /// Reply: seconds that the request took.
    pub pb_service_time: U32,
    /// Reply: lock LRU limit.
    pub pb_limit: U32,
    /// Reply: server lock volume.
    pub pb_slv: U64,
    /// Versions of the objects before the operation.
    pub pb_pre_versions: [U64; 4],
    /// Match bits of bulk, and of the reply.
    pub pb_mbits: U64,
    /// Zero.
    pub pb_padding64_0: U64,
    /// Zero.
    pub pb_padding64_1: U64,
    /// User.
    pub pb_uid: U32,
    /// Group.
    pub pb_gid: U32,
    /// Job, ends in NUL.
    pub pb_jobid: [u8; 32],
}

/// Size of the body that is accepted: without the job.
pub const BODY_SIZE_MIN: usize = 152;
/// Size of the body.
pub const BODY_SIZE: usize = 184;

const _: () = {
    assert!(size_of::<MsgHeader>() == 32);
    assert!(size_of::<PtlrpcBody>() == BODY_SIZE);
    assert!(core::mem::offset_of!(PtlrpcBody, pb_jobid) == BODY_SIZE_MIN);
    assert!(core::mem::offset_of!(PtlrpcBody, pb_pre_versions) == 88);
    assert!(core::mem::offset_of!(PtlrpcBody, pb_mbits) == 120);
};

impl PtlrpcBody {
    /// `pb_flags`
    pub fn flags(&self) -> MsgFlags {
        MsgFlags::from_bits_retain(self.pb_flags.get())
    }

    /// Sets `pb_flags`.
    pub fn set_flags(&mut self, f: MsgFlags) {
        self.pb_flags.set(f.bits())
    }

    /// `pb_status`
    pub fn status(&self) -> i32 {
        self.pb_status.get()
    }

    /// Makes it the body of a request.
    pub fn fill_request(&mut self, opc: u32, version: u32) {
        self.pb_type.set(TYPE_REQUEST);
        self.pb_version.set(version | MSG_VERSION);
        self.pb_opc.set(opc);
    }

    /// Makes it the body of a reply. `is_error`: the operation's own buffers are missing. A few
    /// errors are ordinary replies all the same (spec `ptlrpc.md` §2.1).
    pub fn fill_reply(&mut self, opc: u32, status: i32, is_error: bool) {
        // ENOSPC, EACCES, EPERM, ENOENT, EINPROGRESS, EDQUOT, EROFS
        let soft = matches!(status, -28 | -13 | -1 | -2 | -115 | -122 | -30);
        self.pb_type.set(if is_error && !soft {
            TYPE_ERR
        } else {
            TYPE_REPLY
        });
        self.pb_version.set(MSG_VERSION);
        self.pb_opc.set(opc);
        self.pb_status.set(status);
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsgError {
    /// Too short for what the header says.
    Short,
    /// No message.
    Magic(u32),
    /// A message of the other byte order.
    ByteOrder,
    /// No buffers, or too many.
    BufCount(u32),
    /// A buffer, or the message, is too large.
    TooLarge,
    /// A security flavour other than null.
    Flavour(u32),
    /// The first buffer is no body.
    Body,
}

/// Rounds up to a multiple of 8.
const fn round8(n: usize) -> usize {
    (n + 7) & !7
}

/// Size of a header for `n` buffers.
const fn header_size(n: usize) -> usize {
    round8(size_of::<MsgHeader>() + 4 * n)
}

/// Size of a message of a body and buffers of these lengths; `None` if there is none so large.
pub fn packed_size(lens: &[u32]) -> Option<usize> {
    let n = lens.len().checked_add(1).filter(|n| *n <= BUFFERS_MAX)?;
    let mut size = header_size(n) + BODY_SIZE;
    for l in lens {
        size = size.checked_add(round8(usize::try_from(*l).ok()?))?;
        if size > SIZE_MAX {
            return None;
        }
    }
    Some(size)
}

/// Writes the header of a message of a body and buffers of these lengths to `out`, all of which
/// is zero and of the size that [`packed_size`] tells.
///
/// # Errors
/// `TooLarge`; `Short`: `out` has another size.
pub fn init(out: &mut [u8], lens: &[u32]) -> Result<(), MsgError> {
    if packed_size(lens).ok_or(MsgError::TooLarge)? != out.len() {
        return Err(MsgError::Short);
    }
    let (h, rest) = MsgHeader::mut_from_prefix(out).map_err(|_| MsgError::Short)?;
    h.lm_bufcount.set(lens.len() as u32 + 1);
    h.lm_magic.set(MAGIC);
    let (to, _) =
        <[U32]>::mut_from_prefix_with_elems(rest, lens.len() + 1).map_err(|_| MsgError::Short)?;
    let all = core::iter::once(BODY_SIZE as u32).chain(lens.iter().copied());
    for (to, len) in to.iter_mut().zip(all) {
        to.set(len);
    }
    Ok(())
}

/// A message that was checked.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    header: &'a MsgHeader,
    lens: &'a [U32],
}

impl<'a> Message<'a> {
    /// Checks the envelope (spec `ptlrpc.md` §1, receiver checks). Bytes after the message are
    /// ignored.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, MsgError> {
        let (header, rest) = MsgHeader::ref_from_prefix(bytes).map_err(|_| MsgError::Short)?;
        match header.lm_magic.get() {
            MAGIC => {}
            MAGIC_SWAPPED => return Err(MsgError::ByteOrder),
            m => return Err(MsgError::Magic(m)),
        }
        let count = header.lm_bufcount.get();
        let n = usize::try_from(count)
            .ok()
            .filter(|n| (1..=BUFFERS_MAX).contains(n))
            .ok_or(MsgError::BufCount(count))?;
        let flavour = header.lm_secflvr.get() & FLAVOUR_MASK;
        if flavour != 0 {
            return Err(MsgError::Flavour(flavour));
        }
        let (lens, _) =
            <[U32]>::ref_from_prefix_with_elems(rest, n).map_err(|_| MsgError::Short)?;
        let mut size = header_size(n);
        for l in lens {
            let l = usize::try_from(l.get()).map_err(|_| MsgError::TooLarge)?;
            if l > SIZE_MAX {
                return Err(MsgError::TooLarge);
            }
            size += round8(l);
        }
        if size > SIZE_MAX {
            return Err(MsgError::TooLarge);
        }
        let bytes = bytes.get(..size).ok_or(MsgError::Short)?;
        Ok(Message {
            bytes,
            header,
            lens,
        })
    }

    /// The header.
    pub fn header(&self) -> &'a MsgHeader {
        self.header
    }

    /// Number of buffers.
    pub fn count(&self) -> usize {
        self.lens.len()
    }

    /// Size of the message.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Where buffer `i` is.
    pub fn range(&self, i: usize) -> Option<core::ops::Range<usize>> {
        let len = usize::try_from(self.lens.get(i)?.get()).ok()?;
        let before: usize = self
            .lens
            .iter()
            .take(i)
            .map(|l| round8(l.get() as usize))
            .sum();
        let start = header_size(self.lens.len()) + before;
        Some(start..start + len)
    }

    /// Buffer `i`; `None` if there are not so many.
    pub fn buf(&self, i: usize) -> Option<&'a [u8]> {
        self.bytes.get(self.range(i)?)
    }

    /// The body.
    ///
    /// # Errors
    /// `Body`: buffer 0 is too short, or of another version.
    pub fn body(&self) -> Result<PtlrpcBody, MsgError> {
        let b = self.buf(0).ok_or(MsgError::Body)?;
        let mut full = [0; BODY_SIZE];
        let n = b.len().min(BODY_SIZE);
        if n < BODY_SIZE_MIN {
            return Err(MsgError::Body);
        }
        // A body without job leaves it empty.
        let n = if n < BODY_SIZE { BODY_SIZE_MIN } else { n };
        if let (Some(to), Some(from)) = (full.get_mut(..n), b.get(..n)) {
            to.copy_from_slice(from);
        }
        let mut body = PtlrpcBody::read_from_bytes(&full).map_err(|_| MsgError::Body)?;
        if body.pb_version.get() & !VERSION_MASK != MSG_VERSION {
            return Err(MsgError::Body);
        }
        if let Some(last) = body.pb_jobid.last_mut() {
            *last = 0;
        }
        Ok(body)
    }
}

/// Changes the length of buffer `i` of the message in `bytes` to `len`, which is at most what it
/// was, and moves those behind it; returns the new size of the message.
///
/// # Errors
/// `Short`: no such buffer, or it was shorter; or as [`Message::parse`].
pub fn shrink(bytes: &mut [u8], i: usize, len: u32) -> Result<usize, MsgError> {
    let m = Message::parse(bytes)?;
    let old = m.range(i).ok_or(MsgError::Short)?;
    let size = m.size();
    let new_len = usize::try_from(len).map_err(|_| MsgError::Short)?;
    if new_len > old.len() {
        return Err(MsgError::Short);
    }
    let (from, to) = (old.start + round8(old.len()), old.start + round8(new_len));
    if from <= size {
        bytes.copy_within(from..size, to);
    }
    let new_size = size - (from - to);
    if let Some(b) = bytes.get_mut(new_size..size) {
        b.fill(0);
    }
    if let Some(b) = bytes.get_mut(old.start + new_len..to) {
        b.fill(0);
    }
    let at = size_of::<MsgHeader>() + 4 * i;
    bytes
        .get_mut(at..at + 4)
        .ok_or(MsgError::Short)?
        .copy_from_slice(&len.to_le_bytes());
    Ok(new_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(lens: &[u32]) -> Vec<u8> {
        let mut b = vec![0; packed_size(lens).unwrap()];
        init(&mut b, lens).unwrap();
        let at = Message::parse(&b).unwrap().range(0).unwrap();
        PtlrpcBody::mut_from_bytes(&mut b[at])
            .unwrap()
            .fill_request(400, OBD_VERSION);
        b
    }

    #[test]
    fn worked_sizes() {
        assert_eq!(packed_size(&[]), Some(224));
        assert_eq!(packed_size(&[39, 39, 8, 192, 0]), Some(520));
        assert_eq!(packed_size(&[192]), Some(416));
        assert_eq!(packed_size(&[104]), Some(328));
        assert_eq!(packed_size(&[112, 56]), Some(400));
        assert_eq!(packed_size(&[u32::MAX]), None);
        assert_eq!(packed_size(&[0; 32]), None);
    }

    #[test]
    fn shrinks() {
        let mut b = build(&[16, 30, 8]);
        let at = Message::parse(&b).unwrap().range(3).unwrap();
        b[at].fill(7);
        let n = shrink(&mut b, 2, 3).unwrap();
        let m = Message::parse(&b[..n]).unwrap();
        assert_eq!(m.size(), n);
        assert_eq!(
            (m.buf(2).unwrap().len(), m.buf(3).unwrap()),
            (3, &[7; 8][..])
        );
        assert!(shrink(&mut b, 2, 4).is_err());
        assert!(shrink(&mut b, 9, 0).is_err());
    }

    #[test]
    fn refusals() {
        let b = build(&[8]);
        assert!(Message::parse(&b[..b.len() - 1]).is_err());
        for (at, v, want) in [
            (8, MAGIC.swap_bytes(), MsgError::ByteOrder),
            (8, 1, MsgError::Magic(1)),
            (0, 0, MsgError::BufCount(0)),
            (0, 33, MsgError::BufCount(33)),
            (4, 0x12, MsgError::Flavour(0x12)),
            (32, u32::MAX, MsgError::TooLarge),
        ] {
            let mut c = b.clone();
            c[at..at + 4].copy_from_slice(&v.to_le_bytes());
            assert_eq!(Message::parse(&c).err(), Some(want));
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(0u8.., 0..300), i in 0usize..40, len: u32) {
            for fix in 0..2 {
                if fix == 1 && bytes.len() > 12 {
                    bytes[8..12].copy_from_slice(&MAGIC.to_le_bytes());
                    bytes[0..4].copy_from_slice(&((i as u32) % 8).to_le_bytes());
                    bytes[4..8].fill(0);
                }
                if let Ok(m) = Message::parse(&bytes) {
                    for k in 0..34 {
                        let _ = m.buf(k);
                    }
                    let _ = m.body();
                }
                let _ = shrink(&mut bytes, i, len);
            }
        }
    }
}
