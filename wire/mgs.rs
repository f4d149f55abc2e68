// SPDX-License-Identifier: GPL-2.0

//! Requests to the MGS (`spec/mgs-config.md` 7, 17).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::disk::mountdata::LddFlags;
use crate::error::Malformed;
use crate::flags;

/// Most NIDs in the numeric form.
pub const MTI_NIDS_MAX: usize = 32;
/// Bytes of a NID as text, padded.
pub const NIDSTR_SIZE: usize = 64;

/// `mgs_target_info`: a target that registers. 4.5 KiB: keep it out of the stack. NIDs as text
/// may follow.
#[derive(PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MgsTargetInfo {
    /// Version of the target's code.
    pub mti_lustre_ver: U32,
    /// Index.
    pub mti_stripe_index: U32,
    /// 0.
    pub mti_config_ver: U32,
    /// [`LddFlags`].
    pub mti_flags: U32,
    /// How many NIDs.
    pub mti_nid_count: U32,
    /// How often it was mounted; 0 to register.
    pub mti_instance: U32,
    /// File system.
    pub mti_fsname: [u8; 64],
    /// Target.
    pub mti_svname: [u8; 64],
    /// UUID.
    pub mti_uuid: [u8; 40],
    /// NIDs in the old numeric form.
    pub mti_nids: [U64; MTI_NIDS_MAX],
    /// Parameters of mountdata.
    pub mti_params: [u8; 4096],
}
assert_layout!(
    MgsTargetInfo,
    4544,
    mti_flags = 12,
    mti_nid_count = 16,
    mti_instance = 20,
    mti_fsname = 24,
    mti_svname = 88,
    mti_uuid = 152,
    mti_nids = 192,
    mti_params = 448
);

impl MgsTargetInfo {
    /// [`MgsTargetInfo::mti_flags`] as a set.
    pub fn flags(&self) -> LddFlags {
        LddFlags::from_bits_retain(self.mti_flags.get())
    }

    /// Sets [`MgsTargetInfo::mti_flags`].
    pub fn set_flags(&mut self, flags: LddFlags) {
        self.mti_flags.set(flags.bits());
    }

    /// The NIDs in the old numeric form, 0 left out.
    pub fn nids(&self) -> impl Iterator<Item = u64> + '_ {
        self.mti_nids
            .iter()
            .take(self.mti_nid_count.get() as usize)
            .map(|n| n.get())
            .filter(|&n| n != 0)
    }
}

/// NIDs as text in a buffer, [`NIDSTR_SIZE`] bytes each; at most `count` of them.
pub fn nid_strings(bytes: &[u8], count: u32) -> impl Iterator<Item = &[u8]> {
    bytes
        .chunks_exact(NIDSTR_SIZE)
        .take(count as usize)
        .map(crate::text::get)
        .filter(|n| !n.is_empty())
}

flags! {
    /// Flags of a [`MgsTargetNidlist`].
    pub struct NidlistFlags: u32 {
        /// Announced again.
        const APPEND = 0x1;
        /// The NIDs come in a bulk.
        const IN_BULK = 0x2;
        /// Compressed.
        const COMPRESSED = 0x4;
    }
}

/// `mgs_target_nidlist`; NIDs as text follow.
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
pub struct MgsTargetNidlist {
    /// [`NidlistFlags`].
    pub mtn_flags: U32,
    /// How many NIDs.
    pub mtn_nids: U32,
}
assert_layout!(MgsTargetNidlist, 8, mtn_nids = 4);

/// `mgs_send_param`.
#[derive(PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MgsSendParam {
    /// The parameter.
    pub mgs_param: [u8; 1024],
}
assert_layout!(MgsSendParam, 1024);

/// Kind of a configuration (`mcb_type`, and the second word of a lock's name).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum MgsConfigType {
    /// Logs.
    Config = 0,
    /// Security rules.
    Sptlrpc = 1,
    /// NIDs of targets.
    Recover = 2,
    /// Parameters.
    Params = 3,
    /// Nodemap.
    Nodemap = 4,
    /// Barrier.
    Barrier = 5,
}

impl TryFrom<u16> for MgsConfigType {
    type Error = Malformed;

    fn try_from(v: u16) -> Result<MgsConfigType, Malformed> {
        Ok(match v {
            0 => MgsConfigType::Config,
            1 => MgsConfigType::Sptlrpc,
            2 => MgsConfigType::Recover,
            3 => MgsConfigType::Params,
            4 => MgsConfigType::Nodemap,
            5 => MgsConfigType::Barrier,
            _ => return Err(Malformed::Value),
        })
    }
}

/// The name of the lock of a configuration: up to 8 bytes of the name before its last `-`. The
/// locks of logs and of security rules are one.
pub fn config_lock_name(log: &[u8], kind: MgsConfigType) -> [u64; 4] {
    let name = match log.iter().rposition(|&b| b == b'-') {
        Some(n) => log.get(..n).unwrap_or(log),
        None => log,
    };
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(name) {
        *to = *from;
    }
    let second = match kind {
        MgsConfigType::Sptlrpc => MgsConfigType::Config,
        k => k,
    };
    [u64::from_le_bytes(first), second as u64, 0, 0]
}

/// `mgs_config_body`.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct MgsConfigBody {
    /// Log.
    pub mcb_name: [u8; 64],
    /// Where to go on.
    pub mcb_offset: U64,
    /// [`MgsConfigType`].
    pub mcb_type: U16,
    /// Nodemap: pass; NIDs: bytes of one, 0 for the numeric form.
    pub mcb_nm_cur_pass: u8,
    /// Log2 of a unit.
    pub mcb_bits: u8,
    /// Units of the client's buffer.
    pub mcb_units: U32,
}
assert_layout!(
    MgsConfigBody,
    80,
    mcb_offset = 64,
    mcb_type = 72,
    mcb_nm_cur_pass = 74,
    mcb_bits = 75,
    mcb_units = 76
);

/// `mgs_config_res`.
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
pub struct MgsConfigRes {
    /// Last version included; where to go on.
    pub mcr_offset: U64,
    /// Version of the table; nodemap: pass.
    pub mcr_size: U64,
}
assert_layout!(MgsConfigRes, 16, mcr_size = 8);

/// `mgs_nidtbl_entry`; NIDs follow.
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
pub struct MgsNidtblEntry {
    /// Version of the table with this entry.
    pub mne_version: U64,
    /// How often the target was mounted.
    pub mne_instance: U32,
    /// Its index.
    pub mne_index: U32,
    /// Bytes with NIDs and what fills the unit.
    pub mne_length: U32,
    /// 1: MDT, 2: OST.
    pub mne_type: u8,
    /// 0: NIDs are of 8 bytes, 1: they are `lnet_nid`s.
    pub mne_nid_type: u8,
    /// Bytes of a NID.
    pub mne_nid_size: u8,
    /// How many NIDs.
    pub mne_nid_count: u8,
}
assert_layout!(
    MgsNidtblEntry,
    24,
    mne_instance = 8,
    mne_index = 12,
    mne_length = 16,
    mne_type = 20,
    mne_nid_count = 23
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The names of `spec/mgs-config.md` 21.3.
    #[test]
    fn lock_names() {
        let config = config_lock_name(b"lustre-client", MgsConfigType::Config);
        assert_eq!(config[0].to_le_bytes(), *b"lustre\0\0");
        assert_eq!(config[1], 0);
        assert_eq!(
            config_lock_name(b"lustre-sptlrpc", MgsConfigType::Sptlrpc),
            config
        );
        let params = config_lock_name(b"params", MgsConfigType::Params);
        assert_eq!((params[0].to_le_bytes(), params[1]), (*b"params\0\0", 3));
        let long = config_lock_name(b"longername-OST0000", MgsConfigType::Config);
        assert_eq!(long[0].to_le_bytes(), *b"longerna");
    }

    #[test]
    fn nid_lists() {
        let mut bytes = [0; 200];
        bytes[..16].copy_from_slice(b"192.168.77.3@tcp");
        bytes[64..74].copy_from_slice(b"10.0.0.1@o");
        let got: Vec<_> = nid_strings(&bytes, 5).collect();
        assert_eq!(got, [&b"192.168.77.3@tcp"[..], b"10.0.0.1@o"]);
        assert_eq!(nid_strings(&bytes, 1).count(), 1);
    }
}
