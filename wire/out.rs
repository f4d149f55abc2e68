// SPDX-License-Identifier: GPL-2.0

//! Updates of objects from one server to another (`spec/mdt.md` 15, `spec/ost.md` 15).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::LuFid;
use crate::flags;

/// Magic number of an [`OutUpdateHeader`].
pub const OUT_UPDATE_HEADER_MAGIC: u32 = 0xbddf_0001;
/// Magic number of an [`ObjectUpdateRequest`].
pub const UPDATE_REQUEST_MAGIC: u32 = 0xbdde_0002;
/// Magic number of an [`ObjectUpdateReply`].
pub const UPDATE_REPLY_MAGIC: u32 = 0x00bd_0002;
/// Most bytes of a buffer that comes in a bulk.
pub const OUT_BULK_BUFFER_MAX: u32 = 1000 << 10;

/// `out_update_header`; updates follow, or an [`OutUpdateBuffer`] for each buffer of a bulk.
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
pub struct OutUpdateHeader {
    /// [`OUT_UPDATE_HEADER_MAGIC`].
    pub ouh_magic: U32,
    /// Buffers.
    pub ouh_count: U32,
    /// Bytes of updates that follow; 0: they come in a bulk.
    pub ouh_inline_length: U32,
    /// Bytes of the reply.
    pub ouh_reply_size: U32,
}
assert_layout!(
    OutUpdateHeader,
    16,
    ouh_count = 4,
    ouh_inline_length = 8,
    ouh_reply_size = 12
);

/// `out_update_buffer`.
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
pub struct OutUpdateBuffer {
    /// Bytes.
    pub oub_size: U32,
    /// 0.
    pub oub_padding: U32,
}
assert_layout!(OutUpdateBuffer, 8);

/// `object_update_request`; [`ObjectUpdate`]s follow.
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
pub struct ObjectUpdateRequest {
    /// [`UPDATE_REQUEST_MAGIC`].
    pub ourq_magic: U32,
    /// Updates.
    pub ourq_count: U16,
    /// 0.
    pub ourq_padding: U16,
}
assert_layout!(ObjectUpdateRequest, 8, ourq_count = 4);

/// What an update does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum OutOp {
    /// Begin.
    Start = 0,
    /// Create.
    Create = 1,
    /// Destroy.
    Destroy = 2,
    /// Add a link.
    RefAdd = 3,
    /// Drop a link.
    RefDel = 4,
    /// Set attributes.
    AttrSet = 5,
    /// Get attributes.
    AttrGet = 6,
    /// Set an xattr.
    XattrSet = 7,
    /// Get an xattr.
    XattrGet = 8,
    /// Look up a name.
    IndexLookup = 9,
    /// Insert a name.
    IndexInsert = 10,
    /// Delete a name.
    IndexDelete = 11,
    /// Write.
    Write = 12,
    /// Delete an xattr.
    XattrDel = 13,
    /// Punch.
    Punch = 14,
    /// Read.
    Read = 15,
    /// Nothing.
    Noop = 16,
    /// List xattrs.
    XattrList = 17,
}

impl TryFrom<u16> for OutOp {
    type Error = Malformed;

    fn try_from(v: u16) -> Result<OutOp> {
        Ok(match v {
            0 => OutOp::Start,
            1 => OutOp::Create,
            2 => OutOp::Destroy,
            3 => OutOp::RefAdd,
            4 => OutOp::RefDel,
            5 => OutOp::AttrSet,
            6 => OutOp::AttrGet,
            7 => OutOp::XattrSet,
            8 => OutOp::XattrGet,
            9 => OutOp::IndexLookup,
            10 => OutOp::IndexInsert,
            11 => OutOp::IndexDelete,
            12 => OutOp::Write,
            13 => OutOp::XattrDel,
            14 => OutOp::Punch,
            15 => OutOp::Read,
            16 => OutOp::Noop,
            17 => OutOp::XattrList,
            _ => return Err(Malformed::Value),
        })
    }
}

flags! {
    /// Flags of an update.
    pub struct UpdateFlags: u32 {
        /// For an OST.
        const OST = 0x1;
        /// Synchronous.
        const SYNC = 0x2;
        /// Committed.
        const COMMITTED = 0x4;
        /// Not into the update log.
        const NOLOG = 0x8;
        /// Not held to quota.
        const IGNORE_QUOTA = 0x10;
    }
}

/// `object_update`; parameters follow.
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
pub struct ObjectUpdate {
    /// [`OutOp`].
    pub ou_type: U16,
    /// Parameters.
    pub ou_params_count: U16,
    /// Bytes of the result.
    pub ou_result_size: U32,
    /// [`UpdateFlags`].
    pub ou_flags: U32,
    /// 0.
    pub ou_padding1: U32,
    /// Updates with one number are one transaction.
    pub ou_batchid: U64,
    /// Object.
    pub ou_fid: LuFid,
}
assert_layout!(
    ObjectUpdate,
    40,
    ou_params_count = 2,
    ou_result_size = 4,
    ou_flags = 8,
    ou_batchid = 16,
    ou_fid = 24
);

/// `object_update_param`; its bytes follow, filled up to 8.
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
pub struct ObjectUpdateParam {
    /// Bytes.
    pub oup_len: U16,
    /// 0.
    pub oup_padding: U16,
    /// 0.
    pub oup_padding2: U32,
}
assert_layout!(ObjectUpdateParam, 8);

/// `object_update_reply`; lengths follow, then results.
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
pub struct ObjectUpdateReply {
    /// [`UPDATE_REPLY_MAGIC`].
    pub ourp_magic: U32,
    /// Results.
    pub ourp_count: U16,
    /// 0.
    pub ourp_padding: U16,
}
assert_layout!(ObjectUpdateReply, 8, ourp_count = 4);

/// `object_update_result`; data follow.
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
pub struct ObjectUpdateResult {
    /// 0, or an error of the wire, negative.
    pub our_rc: U32,
    /// Bytes of data.
    pub our_datalen: U16,
    /// 0.
    pub our_padding: U16,
}
assert_layout!(ObjectUpdateResult, 8, our_datalen = 4);

/// An update of a request.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Operation and object.
    pub head: &'a ObjectUpdate,
    params: &'a [u8],
}

impl<'a> Update<'a> {
    /// The operation.
    ///
    /// # Errors
    /// [`Malformed::Value`]: there is no such one.
    pub fn op(&self) -> Result<OutOp> {
        OutOp::try_from(self.head.ou_type.get())
    }

    /// Parameter `i`.
    pub fn param(&self, i: usize) -> Option<&'a [u8]> {
        let mut rest = self.params;
        for _ in 0..i.min(usize::from(self.head.ou_params_count.get())) {
            (_, rest) = split_param(rest).ok()?;
        }
        (i < usize::from(self.head.ou_params_count.get()))
            .then(|| split_param(rest).ok())?
            .map(|(p, _)| p)
    }
}

/// The first parameter, and what follows it.
fn split_param(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (head, rest) = ObjectUpdateParam::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
    let len = usize::from(head.oup_len.get());
    let param = rest.get(..len).ok_or(Malformed::Short)?;
    let rest = rest
        .get(len.next_multiple_of(8)..)
        .ok_or(Malformed::Short)?;
    Ok((param, rest))
}

/// The updates of a request; ends after the first malformed one.
#[derive(Clone)]
pub struct Updates<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Updates<'a> {
    /// The updates of the request that `bytes` begin with.
    ///
    /// # Errors
    /// [`Malformed::Short`], [`Malformed::Magic`].
    pub fn new(bytes: &'a [u8]) -> Result<Updates<'a>> {
        let (head, rest) =
            ObjectUpdateRequest::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        if head.ourq_magic.get() != UPDATE_REQUEST_MAGIC {
            return Err(Malformed::Magic);
        }
        Ok(Updates {
            rest,
            left: head.ourq_count.get(),
        })
    }

    fn step(&mut self) -> Result<Update<'a>> {
        let (head, params) =
            ObjectUpdate::ref_from_prefix(self.rest).map_err(|_| Malformed::Short)?;
        let mut rest = params;
        for _ in 0..head.ou_params_count.get() {
            (_, rest) = split_param(rest)?;
        }
        let used = params.len() - rest.len();
        self.rest = rest;
        Ok(Update {
            head,
            params: params.get(..used).unwrap_or(params),
        })
    }
}

impl<'a> Iterator for Updates<'a> {
    type Item = Result<Update<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let update = self.step();
        if update.is_err() {
            self.left = 0;
        }
        Some(update)
    }
}

/// Writes a request update by update.
pub struct UpdatesBuilder<'a> {
    buf: &'a mut [u8],
    len: usize,
    count: u16,
}

impl<'a> UpdatesBuilder<'a> {
    /// Without updates.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`].
    pub fn new(buf: &'a mut [u8]) -> Result<Self> {
        let len = size_of::<ObjectUpdateRequest>();
        buf.get_mut(..len).ok_or(Malformed::NoRoom)?.fill(0);
        Ok(UpdatesBuilder { buf, len, count: 0 })
    }

    /// Adds an update with its parameters.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`]: it does not fit, and the request is as it was.
    pub fn push(&mut self, op: OutOp, mut head: ObjectUpdate, params: &[&[u8]]) -> Result<()> {
        let count = self.count.checked_add(1).ok_or(Malformed::NoRoom)?;
        let mut size = size_of::<ObjectUpdate>();
        for p in params {
            u16::try_from(p.len()).map_err(|_| Malformed::NoRoom)?;
            size += size_of::<ObjectUpdateParam>() + p.len().next_multiple_of(8);
        }
        head.ou_type.set(op as u16);
        head.ou_params_count
            .set(u16::try_from(params.len()).map_err(|_| Malformed::NoRoom)?);
        let mut rest = self
            .buf
            .get_mut(self.len..self.len + size)
            .ok_or(Malformed::NoRoom)?;
        rest.fill(0);
        head.write_to_prefix(rest).map_err(|_| Malformed::NoRoom)?;
        rest = rest
            .get_mut(size_of::<ObjectUpdate>()..)
            .ok_or(Malformed::NoRoom)?;
        for p in params {
            let head = ObjectUpdateParam {
                oup_len: (p.len() as u16).into(),
                ..ObjectUpdateParam::default()
            };
            head.write_to_prefix(rest).map_err(|_| Malformed::NoRoom)?;
            rest = rest
                .get_mut(size_of::<ObjectUpdateParam>()..)
                .ok_or(Malformed::NoRoom)?;
            rest.get_mut(..p.len())
                .ok_or(Malformed::NoRoom)?
                .copy_from_slice(p);
            rest = rest
                .get_mut(p.len().next_multiple_of(8)..)
                .ok_or(Malformed::NoRoom)?;
        }
        self.len += size;
        self.count = count;
        Ok(())
    }

    /// Ends it. Returns its size.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`] cannot happen once there is a header.
    pub fn finish(self) -> Result<usize> {
        let head = ObjectUpdateRequest {
            ourq_magic: UPDATE_REQUEST_MAGIC.into(),
            ourq_count: self.count.into(),
            ourq_padding: 0.into(),
        };
        head.write_to_prefix(self.buf)
            .map_err(|_| Malformed::NoRoom)?;
        Ok(self.len)
    }
}

/// Bytes of a result with `datalen` bytes of data.
pub const fn result_size(datalen: usize) -> usize {
    (size_of::<ObjectUpdateResult>() + datalen).next_multiple_of(8)
}

/// Bytes of a reply before its first result.
pub const fn reply_head_size(count: usize) -> usize {
    (size_of::<ObjectUpdateReply>() + 2 * count).next_multiple_of(8)
}

/// Result `i` of a reply: its code and data.
///
/// # Errors
/// [`Malformed`].
pub fn reply_result(reply: &[u8], i: usize) -> Result<(u32, &[u8])> {
    let (head, lens) = ObjectUpdateReply::ref_from_prefix(reply).map_err(|_| Malformed::Short)?;
    if head.ourp_magic.get() != UPDATE_REPLY_MAGIC {
        return Err(Malformed::Magic);
    }
    let count = usize::from(head.ourp_count.get());
    if i >= count {
        return Err(Malformed::Value);
    }
    let (lens, _) =
        <[U16]>::ref_from_prefix_with_elems(lens, count).map_err(|_| Malformed::Short)?;
    let start = lens.iter().take(i).fold(reply_head_size(count), |n, l| {
        n + usize::from(l.get()).next_multiple_of(8)
    });
    let rest = reply.get(start..).ok_or(Malformed::Short)?;
    let (result, data) = ObjectUpdateResult::ref_from_prefix(rest).map_err(|_| Malformed::Short)?;
    let data = data
        .get(..usize::from(result.our_datalen.get()))
        .ok_or(Malformed::Short)?;
    Ok((result.our_rc.get(), data))
}

/// Writes the results of a reply one after the other.
pub struct ReplyBuilder<'a> {
    buf: &'a mut [u8],
    count: usize,
    done: usize,
    len: usize,
}

impl<'a> ReplyBuilder<'a> {
    /// With room for `count` results.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`].
    pub fn new(buf: &'a mut [u8], count: u16) -> Result<Self> {
        let len = reply_head_size(count.into());
        buf.get_mut(..len).ok_or(Malformed::NoRoom)?.fill(0);
        let head = ObjectUpdateReply {
            ourp_magic: UPDATE_REPLY_MAGIC.into(),
            ourp_count: count.into(),
            ourp_padding: 0.into(),
        };
        head.write_to_prefix(buf).map_err(|_| Malformed::NoRoom)?;
        Ok(ReplyBuilder {
            buf,
            count: count.into(),
            done: 0,
            len,
        })
    }

    /// Adds a result: `rc` is 0 or a negative error of the wire.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`]; [`Malformed::Value`]: one result too many.
    pub fn push(&mut self, rc: i32, data: &[u8]) -> Result<()> {
        if self.done >= self.count {
            return Err(Malformed::Value);
        }
        let size = result_size(data.len());
        let len = u16::try_from(size).map_err(|_| Malformed::NoRoom)?;
        let head = ObjectUpdateResult {
            our_rc: (rc as u32).into(),
            our_datalen: (data.len() as u16).into(),
            our_padding: 0.into(),
        };
        let end = self.len + size;
        let out = self.buf.get_mut(self.len..end).ok_or(Malformed::NoRoom)?;
        out.fill(0);
        head.write_to_prefix(out).map_err(|_| Malformed::NoRoom)?;
        out.get_mut(size_of::<ObjectUpdateResult>()..)
            .and_then(|o| o.get_mut(..data.len()))
            .ok_or(Malformed::NoRoom)?
            .copy_from_slice(data);
        let at = size_of::<ObjectUpdateReply>() + 2 * self.done;
        self.buf
            .get_mut(at..at + 2)
            .ok_or(Malformed::NoRoom)?
            .copy_from_slice(&len.to_le_bytes());
        self.done += 1;
        self.len = end;
        Ok(())
    }

    /// Its size so far.
    pub fn size(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fid::Fid;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn round_trip() {
        let mut buf = [0xff; 400];
        let mut b = UpdatesBuilder::new(&mut buf).unwrap();
        let head = ObjectUpdate {
            ou_fid: Fid::new(0x2_0000_0401, 5).into(),
            ..ObjectUpdate::default()
        };
        b.push(OutOp::XattrGet, head, &[b"trusted.fid\0"]).unwrap();
        b.push(
            OutOp::XattrSet,
            head,
            &[b"trusted.fid\0", &[7; 52], &[2, 0, 0, 0]],
        )
        .unwrap();
        assert_eq!(
            b.push(OutOp::Write, head, &[&[0; 400]]),
            Err(Malformed::NoRoom)
        );
        let len = b.finish().unwrap();
        let all: Vec<_> = Updates::new(&buf[..len])
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].op(), Ok(OutOp::XattrGet));
        assert_eq!(all[0].param(0), Some(&b"trusted.fid\0"[..]));
        assert_eq!(all[0].param(1), None);
        assert_eq!(all[1].param(1), Some(&[7; 52][..]));
        assert_eq!(all[1].param(2), Some(&[2, 0, 0, 0][..]));
        assert_eq!(all[1].head.ou_fid.get(), Fid::new(0x2_0000_0401, 5));
        let cut: Vec<_> = Updates::new(&buf[..len - 1]).unwrap().collect();
        assert!(cut[0].is_ok() && cut[1].is_err() && cut.len() == 2);
    }

    #[test]
    fn replies() {
        let mut buf = [0xff; 200];
        let mut b = ReplyBuilder::new(&mut buf, 3).unwrap();
        b.push(0, &[1; 52]).unwrap();
        b.push(-61, &[]).unwrap();
        b.push(0, &[9]).unwrap();
        assert_eq!(b.push(0, &[]), Err(Malformed::Value));
        let len = b.size();
        assert_eq!(len, 16 + 64 + 8 + 16);
        let reply = &buf[..len];
        assert_eq!(reply_result(reply, 0), Ok((0, &[1; 52][..])));
        assert_eq!(reply_result(reply, 1), Ok((-61_i32 as u32, &[][..])));
        assert_eq!(reply_result(reply, 2), Ok((0, &[9][..])));
        assert_eq!(reply_result(reply, 3), Err(Malformed::Value));
    }

    proptest! {
        #[test]
        fn garbage(mut bytes in proptest::collection::vec(prop_oneof![Just(0_u8), 0_u8..9, any::<u8>()], 0..300)) {
            let head = |bytes: &mut Vec<u8>, magic: u32| {
                if bytes.len() >= 4 {
                    bytes[..4].copy_from_slice(&magic.to_le_bytes());
                }
            };
            head(&mut bytes, UPDATE_REQUEST_MAGIC);
            for u in Updates::new(&bytes).into_iter().flatten().flatten() {
                for i in 0..u.head.ou_params_count.get() {
                    prop_assert!(u.param(i.into()).is_some());
                }
            }
            head(&mut bytes, UPDATE_REPLY_MAGIC);
            for i in 0..3 {
                let _ = reply_result(&bytes, i);
            }
        }
    }
}
