// SPDX-License-Identifier: GPL-2.0

//! `trusted.fid`: the file that an OST object is part of (`spec/ondisk.md` 7.3).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::{Fid, LuFid};
use crate::obdo::OstLayout;

/// Name of the xattr.
pub const XATTR_NAME_FID: &core::ffi::CStr = c"trusted.fid";

/// `filter_fid`.
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
pub struct FilterFid {
    /// The file's FID with the stripe index as version.
    pub ff_parent: LuFid,
    /// Layout.
    pub ff_layout: OstLayout,
    /// Layout version.
    pub ff_layout_version: U32,
    /// How far above the version writers may be.
    pub ff_range: U32,
}
assert_layout!(
    FilterFid,
    52,
    ff_layout = 16,
    ff_layout_version = 44,
    ff_range = 48
);

/// The form of 1.8 to 2.3.
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
struct FilterFidOld {
    ff_parent: LuFid,
    ff_objid: U64,
    ff_seq: U64,
}
assert_layout!(FilterFidOld, 32);

impl FilterFid {
    /// Reads any of the forms; what an old one does not have is 0.
    ///
    /// # Errors
    /// [`Malformed::Short`]: not one of the lengths.
    pub fn parse(bytes: &[u8]) -> Result<FilterFid> {
        let mut ff = FilterFid::default();
        match bytes.len() {
            16 | 32 => {
                ff.ff_parent = LuFid::read_from_prefix(bytes)
                    .map_err(|_| Malformed::Short)?
                    .0;
            }
            44 => ff
                .as_mut_bytes()
                .get_mut(..44)
                .ok_or(Malformed::Short)?
                .copy_from_slice(bytes),
            n if n >= 52 => {
                ff = FilterFid::read_from_prefix(bytes)
                    .map_err(|_| Malformed::Short)?
                    .0;
            }
            _ => return Err(Malformed::Short),
        }
        Ok(ff)
    }

    /// The object's own {number, sequence} in the form of 1.8 to 2.3.
    pub fn old_self_id(bytes: &[u8]) -> Option<(u64, u64)> {
        let old = FilterFidOld::read_from_bytes(bytes).ok()?;
        Some((old.ff_objid.get(), old.ff_seq.get()))
    }

    /// The file's FID.
    pub fn parent(&self) -> Fid {
        Fid {
            ver: 0,
            ..self.ff_parent.get()
        }
    }

    /// Number of the object's stripe in its component.
    pub fn stripe_index(&self) -> u32 {
        self.ff_parent.f_ver.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let full = FilterFid {
            ff_parent: Fid {
                seq: 0x2_0000_0401,
                oid: 1,
                ver: 1,
            }
            .into(),
            ff_layout: OstLayout {
                ol_stripe_size: 0x40_0000.into(),
                ol_stripe_count: 2.into(),
                ol_comp_start: 0x40_0000.into(),
                ol_comp_end: u64::MAX.into(),
                ol_comp_id: 3.into(),
            },
            ff_layout_version: 4.into(),
            ff_range: 5.into(),
        };
        let bytes = full.as_bytes();
        assert_eq!(FilterFid::parse(bytes), Ok(full));
        let mut longer = bytes.to_vec();
        longer.extend([1; 9]);
        assert_eq!(FilterFid::parse(&longer), Ok(full));
        let f = FilterFid::parse(&bytes[..44]).unwrap();
        assert_eq!((f.ff_layout, f.ff_range.get()), (full.ff_layout, 0));
        let f = FilterFid::parse(&bytes[..16]).unwrap();
        assert_eq!((f.parent(), f.stripe_index()), (full.parent(), 1));
        assert_eq!(f.ff_layout, OstLayout::default());
        for bad in [0, 15, 17, 31, 33, 43, 45, 51] {
            assert_eq!(FilterFid::parse(&bytes[..bad]), Err(Malformed::Short));
        }
        assert_eq!(
            FilterFid::old_self_id(&bytes[..32]).unwrap().0,
            0x2_0040_0000
        );
    }
}
