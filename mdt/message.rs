// SPDX-License-Identifier: GPL-2.0

//! Buffers of requests, checked.

use core::ffi::CStr;
use kapi::prelude::*;
use osd::Fid;
use ptlrpc::message::Msg;
use ptlrpc::request::ServerRequest;
use wire::mdt::MdtBody;
use wire::obdo::ObdMd;

/// Most bytes of a name in a directory, and of an xattr.
pub(crate) const NAME_MAX: usize = 255;

/// A copy of the `mdt_body` in buffer `i`.
///
/// # Errors
/// `EPROTO`: there is none.
pub(crate) fn body(rpc: &ServerRequest, i: usize) -> Result<MdtBody> {
    rpc.get::<MdtBody>(i).copied()
}

/// The object that a body names (`mdt.md` 1.3).
///
/// # Errors
/// `EPROTO`: none. `EINVAL`: there can be no such one.
pub(crate) fn object(b: &MdtBody) -> Result<Fid> {
    if !b.valid().contains(ObdMd::FLID) {
        return Err(EPROTO);
    }
    sane(b.mbo_fid1.get())
}

/// `fid`, if there can be such an object.
///
/// # Errors
/// `EINVAL`
pub(crate) fn sane(fid: Fid) -> Result<Fid> {
    if fid.is_sane() {
        Ok(fid)
    } else {
        Err(EINVAL)
    }
}

/// A copy of the string in buffer `i`, without its NUL.
///
/// # Errors
/// `EPROTO`: there is none, it does not end, or something follows its NUL. `ENAMETOOLONG`: it has
/// more than `max` bytes. `ENOMEM`.
pub(crate) fn string(msg: &Msg, i: usize, max: usize) -> Result<KVec<u8>> {
    let buf = msg.buf(i).ok_or(EPROTO)?;
    let (text, rest) = match buf.iter().position(|c| *c == 0) {
        Some(n) => buf.split_at(n),
        None => return Err(EPROTO),
    };
    if rest.iter().any(|c| *c != 0) {
        return Err(EPROTO);
    }
    if text.len() > max {
        return Err(ENAMETOOLONG);
    }
    let mut out = KVec::new();
    out.extend_from_slice(text, GFP_KERNEL)?;
    Ok(out)
}

/// The name of an entry in buffer `i`; empty where an object is named by its FID.
///
/// # Errors
/// As [`string`]; `EPROTO`: a '/' in it.
pub(crate) fn name(msg: &Msg, i: usize) -> Result<KVec<u8>> {
    let n = string(msg, i, NAME_MAX)?;
    if n.contains(&b'/') {
        return Err(EPROTO);
    }
    Ok(n)
}

/// A string with its NUL, to be used as a [`CStr`].
pub(crate) struct Text(KVec<u8>);

impl Text {
    /// The string in buffer `i`.
    ///
    /// # Errors
    /// As [`string`].
    pub(crate) fn read(msg: &Msg, i: usize, max: usize) -> Result<Text> {
        let mut t = string(msg, i, max)?;
        t.push(0, GFP_KERNEL)?;
        Ok(Text(t))
    }

    /// The string.
    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// A copy of buffer `i`; empty if there is none.
///
/// # Errors
/// `E2BIG`: more than `max` bytes. `ENOMEM`.
pub(crate) fn bytes(msg: &Msg, i: usize, max: usize) -> Result<KVVec<u8>> {
    let b = msg.buf(i).unwrap_or_default();
    if b.len() > max {
        return Err(E2BIG);
    }
    let mut out = KVVec::new();
    out.extend_from_slice(b, GFP_KERNEL)?;
    Ok(out)
}
