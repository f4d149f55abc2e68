// SPDX-License-Identifier: GPL-2.0

//! Lock value blocks of objects (spec/ldlm.md 13).

use kapi::prelude::*;

/// Size, times and blocks of an object as `ost_lvb` carries them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lvb {
    /// Bytes.
    pub size: u64,
    /// Modification, seconds since 1970.
    pub mtime: i64,
    /// Access, seconds since 1970.
    pub atime: i64,
    /// Change, seconds since 1970.
    pub ctime: i64,
    /// Units of 512 bytes.
    pub blocks: u64,
}

impl Lvb {
    /// Bytes of `ost_lvb`.
    pub const LEN: usize = 56;
    /// Bytes of `ost_lvb_v1`, for clients without OBD_CONNECT_LVB_TYPE.
    pub const LEN_V1: usize = 40;

    /// Takes over what is larger in `o`.
    pub fn grow(&mut self, o: &Lvb) {
        self.size = self.size.max(o.size);
        self.mtime = self.mtime.max(o.mtime);
        self.atime = self.atime.max(o.atime);
        self.ctime = self.ctime.max(o.ctime);
        self.blocks = self.blocks.max(o.blocks);
    }

    /// In the wire's form, little endian; nanoseconds stay 0 as with the field's servers.
    pub fn to_wire(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let words = [
            self.size,
            self.mtime as u64,
            self.atime as u64,
            self.ctime as u64,
            self.blocks,
        ];
        for (slot, w) in out.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&w.to_le_bytes());
        }
        out
    }

    /// From the wire's form, 40 or 56 bytes, little endian.
    ///
    /// # Errors
    /// `EPROTO`: another length.
    pub fn from_wire(b: &[u8]) -> Result<Lvb> {
        if b.len() != Self::LEN && b.len() != Self::LEN_V1 {
            return Err(EPROTO);
        }
        let mut words = [0u64; 5];
        for (w, chunk) in words.iter_mut().zip(b.chunks_exact(8)) {
            if let Ok(c) = chunk.try_into() {
                *w = u64::from_le_bytes(c);
            }
        }
        let [size, mtime, atime, ctime, blocks] = words;
        Ok(Lvb {
            size,
            mtime: mtime as i64,
            atime: atime as i64,
            ctime: ctime as i64,
            blocks,
        })
    }
}

/// The value block of a resource, read from disk at first use.
#[derive(Default)]
pub(super) struct LvbState {
    value: Option<Lvb>,
    /// How often it has been set: what was read from disk before that is stale.
    set: u32,
}

impl LvbState {
    /// The value, if it has been read.
    pub(super) fn get(&self) -> Option<Lvb> {
        self.value
    }

    /// How often it has been set.
    pub(super) fn epoch(&self) -> u32 {
        self.set
    }

    /// Takes over what is larger in `read`, which came from disk in `epoch`; the value, or `None`
    /// if it has been set since.
    pub(super) fn merge_disk(&mut self, read: &Lvb, epoch: u32) -> Option<Lvb> {
        if self.set != epoch {
            return None;
        }
        self.grow(read);
        self.value
    }

    /// Takes over what is larger in `new`.
    pub(super) fn grow(&mut self, new: &Lvb) {
        match &mut self.value {
            Some(v) => v.grow(new),
            None => self.value = Some(*new),
        }
    }

    /// Sets it.
    pub(super) fn set(&mut self, new: Lvb) {
        self.value = Some(new);
        self.set = self.set.wrapping_add(1);
    }
}
