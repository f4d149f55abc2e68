// SPDX-License-Identifier: GPL-2.0

//! RPC messages taken apart into buffers of known form, and put together again.
#![allow(dead_code)]

pub mod field;
pub mod format;

use field::Field;
use wire::msg::{self, Message, MsgHeader};
use zerocopy::FromBytes;

/// Decodes every buffer of a message and builds the message anew from what was decoded.
///
/// # Errors
/// What cannot be decoded.
pub fn rebuild(bytes: &[u8], format: &[Field]) -> Result<Vec<u8>, String> {
    let m = Message::parse(bytes).map_err(|e| format!("{e:?}"))?;
    if m.count() > format.len() + 1 {
        return Err(format!(
            "{} buffers, known are {}",
            m.count(),
            format.len() + 1
        ));
    }
    let mut buffers = vec![Field::Body.again(m.buf(0).unwrap())?];
    for (i, f) in format.iter().take(m.count() - 1).enumerate() {
        let b = m.buf(i + 1).unwrap();
        let again = f.again(b).map_err(|e| {
            format!(
                "buffer {}, {f:?}: {e}: {:02x?}",
                i + 1,
                &b[..b.len().min(64)]
            )
        })?;
        buffers.push(again);
    }
    let lens: Vec<u32> = buffers.iter().skip(1).map(|b| b.len() as u32).collect();
    let mut out = vec![0; msg::packed_size(&lens).ok_or("too large")?];
    msg::init(&mut out, &lens).map_err(|e| format!("{e:?}"))?;
    let from = m.header();
    let (to, _) = MsgHeader::mut_from_prefix(&mut out).map_err(|_| "no header")?;
    to.lm_secflvr = from.lm_secflvr;
    to.lm_repsize = from.lm_repsize;
    to.lm_cksum = from.lm_cksum;
    to.lm_flags = from.lm_flags;
    let ranges: Vec<_> = {
        let m = Message::parse(&out).map_err(|e| format!("{e:?}"))?;
        (0..m.count()).map(|i| m.range(i).unwrap()).collect()
    };
    for (r, b) in ranges.into_iter().zip(&buffers) {
        out[r].copy_from_slice(b);
    }
    Ok(out)
}

/// The message with zeros between the buffers, where real senders leave what was there.
pub fn without_padding(bytes: &[u8]) -> Vec<u8> {
    let m = Message::parse(bytes).unwrap();
    let mut out = bytes.to_vec();
    for i in 0..m.count() {
        let end = m.range(i).unwrap().end;
        let next = m.range(i + 1).map_or(m.size(), |r| r.start);
        out[end..next].fill(0);
    }
    out
}
