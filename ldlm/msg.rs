// SPDX-License-Identifier: GPL-2.0

//! Lock messages: the buffers of enqueue, cancel, convert and of the callbacks, to and from what
//! the lock manager works with (spec/ldlm.md 3). All of it is little endian.
//!
//! Nothing that arrives is trusted: counts are held against the buffer, numbers against their
//! ranges, and flags that no client sends are dropped.

use crate::core::{flags, Desc, Extent, Flock, Ibits, LockType, Mode, Policy, ResId};
use crate::server::{EnqueueReply, EnqueueReq};
use kapi::prelude::*;

/// Bytes of `ldlm_request` before the handles.
const REQUEST_HEAD: usize = 88;
/// Bytes of `ldlm_lock_desc`.
const DESC_LEN: usize = 80;
/// Bytes of `ldlm_reply`.
pub const REPLY_LEN: usize = 112;
/// Bytes of the `ldlm_request` of a callback, and the least of any.
pub const REQUEST_LEN: usize = 104;
/// Most handles in one request: what fits the 5 KiB that clients send.
pub const HANDLES_MAX: usize = 640;

/// Bytes of an `ldlm_request` with this many handles; there are always two slots.
pub const fn request_len(handles: usize) -> usize {
    REQUEST_HEAD + 8 * if handles < 2 { 2 } else { handles }
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    let s = b.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(s.try_into().ok()?))
}

fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    let s = b.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(s.try_into().ok()?))
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(slot) = out.get_mut(at..at + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
}

/// A received `ldlm_request`.
#[derive(Clone, Copy)]
pub struct LockMsg<'a> {
    bytes: &'a [u8],
}

impl<'a> LockMsg<'a> {
    /// Looks at a buffer.
    ///
    /// # Errors
    /// `EPROTO`: too short.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() < REQUEST_HEAD + 8 {
            return Err(EPROTO);
        }
        Ok(LockMsg { bytes })
    }

    /// `lock_flags`, as they are.
    pub fn raw_flags(&self) -> u32 {
        u32_at(self.bytes, 0).unwrap_or(0)
    }

    /// `lock_count`; 0 means 1.
    fn count(&self) -> usize {
        let n = u32_at(self.bytes, 4).unwrap_or(0);
        usize::try_from(n).unwrap_or(usize::MAX).max(1)
    }

    /// The handle in slot `i`; 0 is none.
    pub fn handle(&self, i: usize) -> u64 {
        let at = i.checked_mul(8).and_then(|o| o.checked_add(REQUEST_HEAD));
        at.and_then(|a| u64_at(self.bytes, a)).unwrap_or(0)
    }

    /// The handles from slot `first` to the last that is counted. If the count does not fit the
    /// buffer, none is believed.
    pub fn handles(self, first: usize) -> impl Iterator<Item = u64> + 'a {
        let slots = (self.bytes.len() - REQUEST_HEAD) / 8;
        let end = match self.count() {
            n if n <= slots => n,
            _ => 0,
        };
        (first..end)
            .map(move |i| self.handle(i))
            .filter(|h| *h != 0)
    }

    /// Locks to cancel that ride in an enqueue: slot 0 is the lock asked for.
    pub fn cancels_of_enqueue(self) -> impl Iterator<Item = u64> + 'a {
        self.handles(1)
    }

    /// Decodes an enqueue.
    ///
    /// # Errors
    /// `EFAULT`: no such type or mode. `EPROTO`: a mode that clients do not use, or a range that
    /// ends before it starts.
    pub fn enqueue(&self, resent: bool) -> Result<EnqueueReq> {
        let d = RawDesc::at(self.bytes, 8).ok_or(EPROTO)?;
        let kind = LockType::try_from(d.kind)?;
        let mode = Mode::try_from(d.req_mode)?;
        if !mode.from_client() {
            return Err(EPROTO);
        }
        let policy = d.policy(kind)?;
        let mut f = self.raw_flags() & flags::WIRE_REQ;
        if f & flags::REPLAY == 0 {
            f &= !(flags::BLOCK_GRANTED | flags::BLOCK_WAIT);
        }
        Ok(EnqueueReq {
            flags: f,
            res: d.name,
            mode,
            policy,
            client_handle: self.handle(0),
            resent,
        })
    }

    /// Decodes a convert: the handle, the mode the lock is said to have, and the bits to keep.
    ///
    /// # Errors
    /// `EFAULT`: no such mode.
    pub fn convert(&self) -> Result<(u64, Mode, u64)> {
        let d = RawDesc::at(self.bytes, 8).ok_or(EPROTO)?;
        Ok((self.handle(0), Mode::try_from(d.req_mode)?, d.words[0]))
    }

    /// Decodes the descriptor of a callback or reply.
    ///
    /// # Errors
    /// `EFAULT`: no such type or mode.
    pub fn desc(&self) -> Result<Desc> {
        RawDesc::at(self.bytes, 8).ok_or(EPROTO)?.desc()
    }
}

/// A descriptor as it arrives.
struct RawDesc {
    kind: u32,
    name: ResId,
    req_mode: u32,
    granted: u32,
    words: [u64; 3],
    last: [u32; 2],
}

impl RawDesc {
    fn at(b: &[u8], at: usize) -> Option<Self> {
        let b = b.get(at..at.checked_add(DESC_LEN)?)?;
        let w = |at| u64_at(b, at);
        Some(RawDesc {
            kind: u32_at(b, 0)?,
            name: ResId([w(8)?, w(16)?, w(24)?, w(32)?]),
            req_mode: u32_at(b, 40)?,
            granted: u32_at(b, 44)?,
            words: [w(48)?, w(56)?, w(64)?],
            last: [u32_at(b, 72)?, u32_at(b, 76)?],
        })
    }

    fn policy(&self, kind: LockType) -> Result<Policy> {
        let [a, b, c] = self.words;
        let ranged = matches!(kind, LockType::Extent | LockType::Flock);
        if ranged && a > b {
            return Err(EPROTO);
        }
        Ok(match kind {
            LockType::Plain => Policy::Plain,
            LockType::Extent => Policy::Extent(Extent {
                start: a,
                end: b,
                gid: c,
            }),
            LockType::Ibits => Policy::Ibits(Ibits {
                bits: a,
                try_bits: b & !a,
                gid: c,
                initiator: self.last[1],
            }),
            LockType::Flock => Policy::Flock(Flock {
                start: a,
                end: b,
                owner: c,
                pid: self.last[1],
            }),
        })
    }

    fn desc(&self) -> Result<Desc> {
        let kind = LockType::try_from(self.kind)?;
        let granted = match self.granted {
            0 => None,
            m => Some(Mode::try_from(m)?),
        };
        let mut cancel_bits = 0;
        let mut policy = self.policy(kind)?;
        if let Policy::Ibits(b) = &mut policy {
            // The same field, in a callback.
            cancel_bits = self.words[1];
            b.try_bits = 0;
        }
        Ok(Desc {
            res: self.name,
            req_mode: Mode::try_from(self.req_mode)?,
            granted,
            policy,
            cancel_bits,
        })
    }
}

/// Writes a descriptor into 80 bytes of `out` at `at`.
fn put_desc(out: &mut [u8], at: usize, d: &Desc) {
    let mut b = [0; DESC_LEN];
    put(&mut b, 0, &(d.policy.lock_type() as u32).to_le_bytes());
    for (i, n) in d.res.0.iter().enumerate() {
        put(&mut b, 8 + 8 * i, &n.to_le_bytes());
    }
    put(&mut b, 40, &(d.req_mode as u32).to_le_bytes());
    put(&mut b, 44, &d.granted.map_or(0, |m| m as u32).to_le_bytes());
    let (words, last) = match d.policy {
        Policy::Plain => ([0; 3], 0),
        Policy::Extent(e) => ([e.start, e.end, e.gid], 0),
        Policy::Ibits(i) => {
            let second = if d.cancel_bits != 0 {
                d.cancel_bits
            } else {
                i.try_bits
            };
            ([i.bits, second, i.gid], i.initiator)
        }
        Policy::Flock(f) => ([f.start, f.end, f.owner], f.pid),
    };
    for (i, w) in words.iter().enumerate() {
        put(&mut b, 48 + 8 * i, &w.to_le_bytes());
    }
    put(&mut b, 76, &last.to_le_bytes());
    put(out, at, &b);
}

/// The `ldlm_request` of a blocking, completion or glimpse callback. For a glimpse `cookie` is 0.
pub fn callback(f: u32, desc: &Desc, client_handle: u64, cookie: u64) -> [u8; REQUEST_LEN] {
    let mut b = [0; REQUEST_LEN];
    put(&mut b, 0, &(f & flags::WIRE_AST).to_le_bytes());
    put_desc(&mut b, 8, desc);
    put(&mut b, 88, &client_handle.to_le_bytes());
    put(&mut b, 96, &cookie.to_le_bytes());
    b
}

/// Writes the `ldlm_request` of an enqueue, with `cancels` riding in it, or (without `first`) of a
/// cancel, into `out`. Returns the bytes used.
///
/// # Errors
/// `EOVERFLOW`: it does not fit.
pub fn request(
    out: &mut [u8],
    f: u32,
    desc: Option<&Desc>,
    first: Option<u64>,
    cancels: &[u64],
) -> Result<usize> {
    let n = usize::from(first.is_some()) + cancels.len();
    let len = request_len(n);
    let out = out.get_mut(..len).ok_or(EOVERFLOW)?;
    out.fill(0);
    put(out, 0, &f.to_le_bytes());
    put(out, 4, &u32::try_from(n)?.to_le_bytes());
    if let Some(d) = desc {
        put_desc(out, 8, d);
    }
    for (i, h) in first.iter().chain(cancels).enumerate() {
        put(out, REQUEST_HEAD + 8 * i, &h.to_le_bytes());
    }
    Ok(len)
}

/// The `ldlm_reply` of an enqueue.
pub fn reply(r: &EnqueueReply) -> [u8; REPLY_LEN] {
    let mut b = [0; REPLY_LEN];
    put(&mut b, 0, &r.flags.to_le_bytes());
    if let Some(d) = &r.desc {
        put_desc(&mut b, 8, d);
    }
    put(&mut b, 88, &r.cookie.to_le_bytes());
    put(&mut b, 96, &r.res1.to_le_bytes());
    put(&mut b, 104, &r.res2.to_le_bytes());
    b
}

/// The `ldlm_reply` of a convert: flags as asked, the client's handle, what the lock has left.
pub fn convert_reply(f: u32, handle: u64, left: &Ibits) -> [u8; REPLY_LEN] {
    let mut b = [0; REPLY_LEN];
    put(&mut b, 0, &f.to_le_bytes());
    put(&mut b, 56, &left.bits.to_le_bytes());
    put(&mut b, 88, &handle.to_le_bytes());
    b
}

/// A received `ldlm_reply`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyMsg {
    /// `lock_flags`.
    pub flags: u32,
    /// `lock_desc`; absent if there is no lock.
    pub desc: Option<Desc>,
    /// `lock_handle`: the server's.
    pub cookie: u64,
    /// `lock_policy_res1`.
    pub res1: u64,
    /// `lock_policy_res2`.
    pub res2: u64,
}

impl ReplyMsg {
    /// Decodes a buffer.
    ///
    /// # Errors
    /// `EPROTO`: too short. `EFAULT`: no such type or mode.
    pub fn parse(b: &[u8]) -> Result<Self> {
        let flags = u32_at(b, 0).ok_or(EPROTO)?;
        let raw = RawDesc::at(b, 8).ok_or(EPROTO)?;
        let desc = match raw.kind {
            0 => None,
            _ => Some(raw.desc()?),
        };
        Ok(ReplyMsg {
            flags,
            desc,
            cookie: u64_at(b, 88).ok_or(EPROTO)?,
            res1: u64_at(b, 96).ok_or(EPROTO)?,
            res2: u64_at(b, 104).ok_or(EPROTO)?,
        })
    }
}

#[cfg(test)]
mod tests;
