// SPDX-License-Identifier: GPL-2.0

//! `CONFIGS/mountdata`: what mkfs, tunefs and mount know of a target (`spec/mgs-config.md` 3).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::flags;

flags! {
    /// `LDD_F_*`: type and state of a target. The low 16 bits also travel in `mti_flags`.
    pub struct LddFlags: u32 {
        /// An MDT.
        const SV_TYPE_MDT = 0x1;
        /// An OST.
        const SV_TYPE_OST = 0x2;
        /// An MGS.
        const SV_TYPE_MGS = 0x4;
        /// All targets.
        const SV_ALL = 0x8;
        /// Needs an index.
        const NEED_INDEX = 0x10;
        /// Never registered.
        const VIRGIN = 0x20;
        /// The configuration logs must be written for it.
        const UPDATE = 0x40;
        /// Reply: registered.
        const REWRITE_LDD = 0x80;
        /// Its configuration logs must be made anew.
        const WRITECONF = 0x100;
        /// Private to the MGS: a parameter.
        const PARAM = 0x400;
        /// All nodes are alike.
        const NO_PRIMNODE = 0x1000;
        /// Reply: imperative recovery is active.
        const IR_CAPABLE = 0x2000;
        /// Reply: refused.
        const ERROR = 0x4000;
        /// Private to the MGS: a permanent parameter.
        const PARAM2 = 0x8000;
        /// No copies of logs are used.
        const NO_LOCAL_LOGS = 0x10000;
        /// Wire: NIDs are text.
        const LARGE_NID = 0x20000;
        /// Wire: register.
        const OPC_REG = 0x10000000;
        /// Wire: unregister.
        const OPC_UNREG = 0x20000000;
        /// Wire: up.
        const OPC_READY = 0x40000000;
    }
}

impl LddFlags {
    /// The bits of the target's type.
    pub const SV_TYPE_MASK: LddFlags = LddFlags::from_bits_retain(0x7);
    /// The bits of the operation.
    pub const OPC_MASK: LddFlags = LddFlags::from_bits_retain(0xf000_0000);
    /// The bits that are on disk.
    pub const ON_DISK_MASK: LddFlags = LddFlags::from_bits_retain(0xffff);

    /// Whether it is an MDT.
    pub fn is_mdt(self) -> bool {
        self.contains(LddFlags::SV_TYPE_MDT)
    }

    /// Whether it is an OST.
    pub fn is_ost(self) -> bool {
        self.contains(LddFlags::SV_TYPE_OST)
    }

    /// Whether it is an MGS.
    pub fn is_mgs(self) -> bool {
        self.contains(LddFlags::SV_TYPE_MGS)
    }
}

/// Magic number of [`LustreDiskData`].
pub const LDD_MAGIC: u32 = 0x1dd0_0001;
/// [`LustreDiskData::ldd_svindex`]: none assigned.
pub const INDEX_UNASSIGNED: u32 = 0xffff;
/// Path of the file in a target.
pub const MOUNT_DATA_FILE: &str = "CONFIGS/mountdata";

/// Kinds of backends.
pub mod mount_type {
    /// ext3.
    pub const EXT3: u32 = 0;
    /// ext4 with the layout of this specification.
    pub const LDISKFS: u32 = 1;
    /// reiserfs.
    pub const REISERFS: u32 = 2;
    /// ext4.
    pub const LDISKFS2: u32 = 3;
    /// ZFS.
    pub const ZFS: u32 = 5;
    /// wbcfs.
    pub const WBCFS: u32 = 6;
}

/// `lustre_disk_data`. 12 KiB: keep it out of the stack.
#[derive(PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LustreDiskData {
    /// [`LDD_MAGIC`].
    pub ldd_magic: U32,
    /// 0.
    pub ldd_feature_compat: U32,
    /// 0.
    pub ldd_feature_rocompat: U32,
    /// 0.
    pub ldd_feature_incompat: U32,
    /// 1.
    pub ldd_config_ver: U32,
    /// [`LddFlags`].
    pub ldd_flags: U32,
    /// Index, or [`INDEX_UNASSIGNED`].
    pub ldd_svindex: U32,
    /// [`mount_type`].
    pub ldd_mount_type: U32,
    /// File system.
    pub ldd_fsname: [u8; 64],
    /// Name when it was formatted.
    pub ldd_svname: [u8; 64],
    /// Normally empty.
    pub ldd_uuid: [u8; 40],
    /// A comment.
    pub ldd_userdata: [u8; 824],
    /// 0.
    pub ldd_padding: [u8; 3072],
    /// Mount options that stay.
    pub ldd_mount_opts: [u8; 4096],
    /// ` key=value` words.
    pub ldd_params: [u8; 4096],
}
assert_layout!(
    LustreDiskData,
    12288,
    ldd_config_ver = 16,
    ldd_flags = 20,
    ldd_svindex = 24,
    ldd_mount_type = 28,
    ldd_fsname = 32,
    ldd_svname = 96,
    ldd_uuid = 160,
    ldd_userdata = 200,
    ldd_padding = 1024,
    ldd_mount_opts = 4096,
    ldd_params = 8192
);

impl LustreDiskData {
    /// A view of the file's bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`], [`Malformed::Magic`].
    pub fn parse(bytes: &[u8]) -> Result<&LustreDiskData> {
        let (ldd, _) = LustreDiskData::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        if ldd.ldd_magic.get() != LDD_MAGIC {
            return Err(Malformed::Magic);
        }
        Ok(ldd)
    }

    /// [`LustreDiskData::ldd_flags`] as a set.
    pub fn flags(&self) -> LddFlags {
        LddFlags::from_bits_retain(self.ldd_flags.get())
    }
}
