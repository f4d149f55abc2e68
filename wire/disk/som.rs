// SPDX-License-Identifier: GPL-2.0

//! Smaller xattrs of MDT objects: `trusted.som`, `trusted.hsm` (`spec/ondisk.md` 7.6, 7.9).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::flags;

/// Name of the xattr with [`LustreSomAttrs`].
pub const XATTR_NAME_SOM: &core::ffi::CStr = c"trusted.som";
/// Name of the xattr with [`HsmAttrs`].
pub const XATTR_NAME_HSM: &core::ffi::CStr = c"trusted.hsm";
/// Name of the xattr with the data version of a file on the MDT, a u64.
pub const XATTR_NAME_DATAVER: &core::ffi::CStr = c"trusted.dataver";

flags! {
    /// How good the size is.
    pub struct SomFlags: u16 {
        /// True.
        const STRICT = 0x1;
        /// Known once, wrong now.
        const STALE = 0x2;
        /// A hint.
        const LAZY = 0x4;
    }
}

/// `lustre_som_attrs`: size of a file as the MDT knows it.
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
pub struct LustreSomAttrs {
    /// [`SomFlags`].
    pub lsa_valid: U16,
    /// 0.
    pub lsa_reserved: [U16; 3],
    /// Bytes.
    pub lsa_size: U64,
    /// Blocks of 512 bytes.
    pub lsa_blocks: U64,
}
assert_layout!(LustreSomAttrs, 24, lsa_size = 8, lsa_blocks = 16);

flags! {
    /// State of a file towards the archive.
    pub struct HsmFlags: u32 {
        /// There is a copy.
        const EXISTS = 0x1;
        /// It is old.
        const DIRTY = 0x2;
        /// The data are only there.
        const RELEASED = 0x4;
        /// It is complete.
        const ARCHIVED = 0x8;
        /// Must not be released.
        const NORELEASE = 0x10;
        /// Must not be archived.
        const NOARCHIVE = 0x20;
        /// It is lost.
        const LOST = 0x40;
        /// In a writable PCC.
        const PCCRW = 0x80;
        /// In a read-only PCC.
        const PCCRO = 0x100;
    }
}

/// `hsm_attrs`.
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
pub struct HsmAttrs {
    /// 0.
    pub hsm_compat: U32,
    /// [`HsmFlags`].
    pub hsm_flags: U32,
    /// Archive.
    pub hsm_arch_id: U64,
    /// Data version in it.
    pub hsm_arch_ver: U64,
}
assert_layout!(
    HsmAttrs,
    24,
    hsm_flags = 4,
    hsm_arch_id = 8,
    hsm_arch_ver = 16
);
