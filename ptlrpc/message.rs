// SPDX-License-Identifier: GPL-2.0

//! A message that owns its memory.

use kapi::prelude::*;
use wire::msg::{self, MsgHeader, PtlrpcBody, BODY_SIZE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A `lustre_msg_v2` (spec `ptlrpc.md` §1) whose envelope was checked.
///
/// # Invariants
///
/// `bytes` holds a message that [`msg::Message::parse`] takes.
pub struct Msg {
    bytes: KVVec<u8>,
    /// The body, with what an older peer left out.
    body: KBox<PtlrpcBody>,
    /// The body was changed since it was put into the bytes.
    dirty: bool,
}

impl Msg {
    /// A message of a body and buffers of these lengths, all zero.
    ///
    /// # Errors
    /// `EOVERFLOW`: larger than messages may be. `ENOMEM`.
    pub fn new(lens: &[u32]) -> Result<Msg> {
        let size = msg::packed_size(lens).ok_or(EOVERFLOW)?;
        let mut bytes = KVVec::from_elem(0u8, size, GFP_KERNEL)?;
        msg::init(&mut bytes, lens).map_err(|_| EOVERFLOW)?;
        let body = KBox::new(
            PtlrpcBody::read_from_bytes(&[0; BODY_SIZE]).map_err(|_| EINVAL)?,
            GFP_KERNEL,
        )?;
        Ok(Msg {
            bytes,
            body,
            dirty: true,
        })
    }

    /// A request.
    ///
    /// # Errors
    /// As [`Msg::new`].
    pub fn request(opc: u32, version: u32, lens: &[u32]) -> Result<Msg> {
        let mut m = Self::new(lens)?;
        m.body_mut()?.fill_request(opc, version);
        Ok(m)
    }

    /// Takes a message that was received.
    ///
    /// # Errors
    /// `EPROTO`: it is none, or its body is none. `ENOMEM`.
    pub fn parse(bytes: KVVec<u8>) -> Result<Msg> {
        let m = msg::Message::parse(&bytes).map_err(|_| EPROTO)?;
        let body = KBox::new(m.body().map_err(|_| EPROTO)?, GFP_KERNEL)?;
        Ok(Msg {
            bytes,
            body,
            dirty: false,
        })
    }

    /// A copy.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn try_clone(&self) -> Result<Msg> {
        let mut bytes = KVVec::new();
        bytes.extend_from_slice(&self.bytes, GFP_KERNEL)?;
        Ok(Msg {
            bytes,
            body: KBox::new(*self.body, GFP_KERNEL)?,
            dirty: self.dirty,
        })
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// `EPROTO`: there is no place for the body, which a new message has.
    pub fn into_bytes(mut self) -> Result<KVVec<u8>> {
        if self.dirty {
            let at = self.view()?.range(0).ok_or(EPROTO)?;
            self.bytes
                .get_mut(at)
                .filter(|b| b.len() == BODY_SIZE)
                .ok_or(EPROTO)?
                .copy_from_slice(self.body.as_bytes());
        }
        Ok(self.bytes)
    }

    fn view(&self) -> Result<msg::Message<'_>> {
        msg::Message::parse(&self.bytes).map_err(|_| EPROTO)
    }

    fn header(&self) -> Result<&MsgHeader> {
        let (h, _) = MsgHeader::ref_from_prefix(&self.bytes).map_err(|_| EPROTO)?;
        Ok(h)
    }

    fn header_mut(&mut self) -> Result<&mut MsgHeader> {
        let (h, _) = MsgHeader::mut_from_prefix(&mut self.bytes).map_err(|_| EPROTO)?;
        Ok(h)
    }

    /// The body.
    pub fn body(&self) -> &PtlrpcBody {
        &self.body
    }

    /// The body.
    ///
    /// # Errors
    /// None; it is a `Result` for the sake of chaining.
    pub fn body_mut(&mut self) -> Result<&mut PtlrpcBody> {
        self.dirty = true;
        Ok(&mut self.body)
    }

    /// Number of buffers, the body included.
    pub fn count(&self) -> usize {
        self.view().map_or(0, |m| m.count())
    }

    /// Buffer `i`; `None` if there are not so many.
    pub fn buf(&self, i: usize) -> Option<&[u8]> {
        let at = self.view().ok()?.range(i)?;
        self.bytes.get(at)
    }

    /// Buffer `i`.
    pub fn buf_mut(&mut self, i: usize) -> Option<&mut [u8]> {
        let at = self.view().ok()?.range(i)?;
        self.bytes.get_mut(at)
    }

    /// Buffer `i` as a `T`; it may be longer.
    ///
    /// # Errors
    /// `EPROTO`: missing or too short.
    pub fn get<T>(&self, i: usize) -> Result<&T>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let b = self.buf(i).ok_or(EPROTO)?;
        T::ref_from_prefix(b).map(|(t, _)| t).map_err(|_| EPROTO)
    }

    /// Buffer `i` as a `T`; it may be longer.
    ///
    /// # Errors
    /// `EPROTO`: missing or too short.
    pub fn get_mut<T>(&mut self, i: usize) -> Result<&mut T>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        let b = self.buf_mut(i).ok_or(EPROTO)?;
        T::mut_from_prefix(b).map(|(t, _)| t).map_err(|_| EPROTO)
    }

    /// Buffer `i` as a string without its NUL.
    ///
    /// # Errors
    /// `EPROTO`: missing, or not terminated.
    pub fn string(&self, i: usize) -> Result<&[u8]> {
        let b = self.buf(i).ok_or(EPROTO)?;
        let n = b.iter().position(|c| *c == 0).ok_or(EPROTO)?;
        b.get(..n).ok_or(EPROTO)
    }

    /// Makes buffer `i` shorter.
    ///
    /// # Errors
    /// `EPROTO`: there is none, or it was shorter.
    pub fn shrink(&mut self, i: usize, len: usize) -> Result {
        let size = msg::shrink(&mut self.bytes, i, u32::try_from(len)?).map_err(|_| EPROTO)?;
        self.bytes.truncate(size);
        Ok(())
    }

    /// Whether the sender understands early replies.
    pub fn at_support(&self) -> bool {
        self.header()
            .is_ok_and(|h| h.lm_flags.get() & msg::MSGHDR_AT_SUPPORT != 0)
    }

    /// `lm_repsize`
    pub fn repsize(&self) -> u32 {
        self.header().map_or(0, |h| h.lm_repsize.get())
    }

    /// Checks that it is a request.
    ///
    /// # Errors
    /// `EPROTO`
    pub(crate) fn check_request(&self) -> Result {
        if self.body.pb_type.get() != msg::TYPE_REQUEST {
            return Err(EPROTO);
        }
        Ok(())
    }

    /// Who sends it: the part of `lm_secflvr` beside the flavour.
    pub(crate) fn set_part(&mut self, part: u8) {
        if let Ok(h) = self.header_mut() {
            h.lm_secflvr.set(u32::from(part) << 24);
        }
    }

    /// What the header of a request says.
    pub(crate) fn set_request_header(&mut self, repsize: u32, at: bool) {
        if let Ok(h) = self.header_mut() {
            h.lm_repsize.set(repsize);
            let at = if at { msg::MSGHDR_AT_SUPPORT } else { 0 };
            h.lm_flags.set(at | msg::MSGHDR_CKSUM_INCOMPAT18);
        }
    }

    /// Gives an early reply its checksum (spec `ptlrpc.md` §8.3).
    pub(crate) fn seal_early(&mut self) -> Result {
        let sum = kapi::checksum::crc32(!0, self.body.as_bytes());
        self.header_mut()?.lm_cksum.set(sum);
        Ok(())
    }

    /// Whether an early reply's checksum is right.
    pub(crate) fn check_early(&self) -> bool {
        let sum = kapi::checksum::crc32(!0, self.buf(0).unwrap_or(&[]));
        self.header().is_ok_and(|h| h.lm_cksum.get() == sum)
    }
}
