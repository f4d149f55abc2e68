// SPDX-License-Identifier: GPL-2.0

//! `trusted.lma`: an inode's FID and flags (`spec/ondisk.md` 7.2).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::disk::filter_fid::FilterFid;
use crate::error::{Malformed, Result};
use crate::fid::{Fid, LuFid};
use crate::flags;
use crate::obdo::OstLayout;

/// Name of the xattr.
pub const XATTR_NAME_LMA: &core::ffi::CStr = c"trusted.lma";

flags! {
    /// Flags that an old server may ignore.
    pub struct LmaCompat: u32 {
        /// The file has HSM state.
        const HSM = 0x1;
        /// Obsolete.
        const SOM = 0x2;
        /// The object is not in the object index.
        const NOT_IN_OI = 0x4;
        /// The object is in the hierarchy `O/`.
        const FID_ON_OST = 0x8;
        /// The long form has parent and stripe size.
        const STRIPE_INFO = 0x10;
        /// The long form has the component.
        const COMP_INFO = 0x20;
        /// The index has a backup.
        const IDX_BACKUP = 0x40;
    }
}

flags! {
    /// Flags without which an object must not be used.
    pub struct LmaIncompat: u32 {
        /// Obsolete.
        const RELEASED = 0x1;
        /// Stands in for an object on another MDT.
        const AGENT = 0x2;
        /// Some parent is on another MDT.
        const REMOTE_PARENT = 0x4;
        /// The directory is striped.
        const STRIPED = 0x8;
        /// The shard is an orphan.
        const ORPHAN = 0x10;
        /// Encrypted.
        const ENCRYPT = 0x20;
    }
}

impl LmaIncompat {
    /// What a server understands.
    pub const SUPPORTED: LmaIncompat = LmaIncompat::from_bits_retain(0x3e);
}

/// `lustre_mdt_attrs`.
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
pub struct LustreMdtAttrs {
    /// [`LmaCompat`].
    pub lma_compat: U32,
    /// [`LmaIncompat`].
    pub lma_incompat: U32,
    /// The inode's FID.
    pub lma_self_fid: LuFid,
}
assert_layout!(LustreMdtAttrs, 24, lma_incompat = 4, lma_self_fid = 8);

/// `lustre_ost_attrs`: the long form, on OSTs with small inodes.
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
pub struct LustreOstAttrs {
    /// The short form.
    pub loa_lma: LustreMdtAttrs,
    /// The file's FID; its version is stripe count << 16 | stripe index.
    pub loa_parent_fid: LuFid,
    /// Bytes of a stripe.
    pub loa_stripe_size: U32,
    /// Component.
    pub loa_comp_id: U32,
    /// Where the component begins.
    pub loa_comp_start: zerocopy::little_endian::U64,
    /// Where it ends.
    pub loa_comp_end: zerocopy::little_endian::U64,
}
assert_layout!(
    LustreOstAttrs,
    64,
    loa_parent_fid = 24,
    loa_stripe_size = 40,
    loa_comp_id = 44,
    loa_comp_start = 48,
    loa_comp_end = 56
);

impl LustreMdtAttrs {
    /// A new one.
    pub fn new(fid: Fid, compat: LmaCompat, incompat: LmaIncompat) -> LustreMdtAttrs {
        LustreMdtAttrs {
            lma_compat: compat.bits().into(),
            lma_incompat: incompat.bits().into(),
            lma_self_fid: fid.into(),
        }
    }

    /// A view of the xattr's bytes, of either form.
    ///
    /// # Errors
    /// [`Malformed::Short`]; [`Malformed::Unsupported`]: a flag without which it cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<&LustreMdtAttrs> {
        let (lma, _) = LustreMdtAttrs::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        if !(lma.incompat() - LmaIncompat::SUPPORTED).is_empty() {
            return Err(Malformed::Unsupported);
        }
        Ok(lma)
    }

    /// Flags that may be ignored.
    pub fn compat(&self) -> LmaCompat {
        LmaCompat::from_bits_retain(self.lma_compat.get())
    }

    /// Flags that may not.
    pub fn incompat(&self) -> LmaIncompat {
        LmaIncompat::from_bits_retain(self.lma_incompat.get())
    }

    /// The inode's FID.
    pub fn fid(&self) -> Fid {
        self.lma_self_fid.get()
    }
}

impl LustreOstAttrs {
    /// What the long form says of the file, if anything.
    pub fn filter_fid(&self) -> Option<FilterFid> {
        let compat = self.loa_lma.compat();
        if !compat.contains(LmaCompat::STRIPE_INFO) {
            return None;
        }
        let parent = self.loa_parent_fid.get();
        let mut layout = OstLayout {
            ol_stripe_size: self.loa_stripe_size,
            ol_stripe_count: (parent.ver >> 16).into(),
            ..OstLayout::default()
        };
        if compat.contains(LmaCompat::COMP_INFO) {
            layout.ol_comp_id = self.loa_comp_id;
            layout.ol_comp_start = self.loa_comp_start;
            layout.ol_comp_end = self.loa_comp_end;
        }
        Some(FilterFid {
            ff_parent: Fid {
                ver: parent.ver & 0xffff,
                ..parent
            }
            .into(),
            ff_layout: layout,
            ..FilterFid::default()
        })
    }
}
