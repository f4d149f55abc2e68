// SPDX-License-Identifier: GPL-2.0

//! Requests, built from the bytes of their buffers.

use kapi::error::Result;
use kapi::prelude::{EINPROGRESS, EPROTO};
use ptlrpc::call::{CallOptions, Reply};
use ptlrpc::import::Import;
use ptlrpc::message::Msg;
use wire::msg::MsgFlags;

use crate::cred::Cred;

/// A request with these buffers behind the body.
///
/// # Errors
/// `ENOMEM`, `EOVERFLOW`.
pub fn request(opc: u32, version: u32, bufs: &[&[u8]]) -> Result<Msg> {
    let mut lens = Vec::with_capacity(bufs.len());
    for b in bufs {
        lens.push(u32::try_from(b.len())?);
    }
    let mut m = Msg::request(opc, version, &lens)?;
    for (i, b) in bufs.iter().enumerate() {
        if !b.is_empty() {
            m.buf_mut(i + 1).ok_or(EPROTO)?.copy_from_slice(b);
        }
    }
    Ok(m)
}

/// Says who asks, in the body of a request.
///
/// # Errors
/// None; for the sake of chaining.
pub fn sign(m: &mut Msg, cred: &Cred) -> Result<()> {
    let body = m.body_mut()?;
    let mut f = body.flags();
    f.insert(MsgFlags::PACK_UID_GID);
    body.set_flags(f);
    body.pb_uid.set(cred.uid);
    body.pb_gid.set(cred.gid);
    Ok(())
}

/// Sends and waits; a server that says "later" is asked again.
///
/// # Errors
/// Those of the connection, and what the server answers.
pub fn call(import: &kapi::sync::Arc<Import>, msg: &Msg, options: CallOptions) -> Result<Reply> {
    loop {
        let r = import.call(msg.try_clone()?, options, None)?;
        if r.status == EINPROGRESS.to_errno() {
            std::thread::sleep(std::time::Duration::from_secs(1));
            continue;
        }
        return r.check();
    }
}

/// The bytes of a name with its NUL.
pub fn name(n: &[u8]) -> Vec<u8> {
    let mut v = Vec::with_capacity(n.len() + 1);
    v.extend_from_slice(n);
    v.push(0);
    v
}
