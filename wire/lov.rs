// SPDX-License-Identifier: GPL-2.0

//! Layouts: where a file's data are (`spec/ondisk.md` 7.4, `spec/mdt.md` 20). The bytes are the
//! same in `trusted.lov`, in replies and, but for the objects, in what a user asks for.

use core::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::Fid;
use crate::flags;
use crate::ostid::{OidSeq, OstId};

/// Name of the xattr.
pub const XATTR_NAME_LOV: &core::ffi::CStr = c"trusted.lov";

/// Plain layout.
pub const LOV_MAGIC_V1: u32 = 0x0bd1_0bd0;
/// Plain layout with a pool.
pub const LOV_MAGIC_V3: u32 = 0x0bd3_0bd0;
/// Plain layout of a user with a list of OSTs.
pub const LOV_MAGIC_SPECIFIC: u32 = 0x0bd5_0bd0;
/// Composite layout.
pub const LOV_MAGIC_COMP_V1: u32 = 0x0bd6_0bd0;
/// Opaque.
pub const LOV_MAGIC_FOREIGN: u32 = 0x0bd7_0bd0;
/// Composite layout with a component that can grow.
pub const LOV_MAGIC_SEL: u32 = 0x0bd8_0bd0;

/// Bytes of a pool's name with its NUL.
pub const LOV_MAXPOOLNAME: usize = 16;
/// Unit of a stripe's size.
pub const LOV_MIN_STRIPE_SIZE: u32 = 65536;
/// Most stripes.
pub const LOV_MAX_STRIPE_COUNT: u16 = 2000;
/// Stripe count: all OSTs.
pub const LOV_ALL_STRIPES: u16 = 0xffff;
/// Stripe offset: any OST.
pub const LOV_OFFSET_DEFAULT: u16 = 0xffff;
/// Counts from here up stand for no number of objects.
const COUNT_NOT_A_NUMBER: u16 = 0xffe0;
/// OST index of the dummy object of a component without objects.
pub const OST_INDEX_DUMMY: u32 = u32::MAX;
/// Most components.
pub const LOV_MAX_COMPONENTS: usize = 1024;
/// End of the last component: that of the file.
pub const LUSTRE_EOF: u64 = u64::MAX;

flags! {
    /// How data are spread over the objects.
    pub struct LovPattern: u32 {
        /// Striped.
        const RAID0 = 0x1;
        /// Not used.
        const RAID1 = 0x2;
        /// Parity.
        const PARITY = 0x4;
        /// On the MDT.
        const MDT = 0x100;
        /// Several objects on an OST.
        const OVERSTRIPING = 0x200;
        /// Elsewhere.
        const FOREIGN = 0x400;
        /// Compressed.
        const COMPRESS = 0x800;
        /// Some objects are lost.
        const F_HOLE = 0x40000000;
        /// Only in the archive.
        const F_RELEASED = 0x80000000;
    }
}

flags! {
    /// Flags of a component.
    pub struct LcmeFlags: u32 {
        /// Old data.
        const STALE = 0x1;
        /// Preferred for reading.
        const PREF_RD = 0x2;
        /// Preferred for writing.
        const PREF_WR = 0x4;
        /// Not reachable.
        const OFFLINE = 0x8;
        /// It has its objects.
        const INIT = 0x10;
        /// Not to be brought in step.
        const NOSYNC = 0x20;
        /// The component before can grow into it.
        const EXTENSION = 0x40;
        /// Parity.
        const PARITY = 0x80;
        /// Compressed.
        const COMPRESS = 0x100;
        /// Partly compressed.
        const PARTIAL = 0x200;
        /// Not to be compressed.
        const NOCOMPR = 0x400;
        /// The id is that of a link.
        const IS_LINK_ID = 0x40000000;
        /// User: not with this flag.
        const NEG = 0x80000000;
    }
}

/// State of the mirrors of a file, the low bits of `lcm_flags`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum FlrState {
    /// No mirrors.
    None = 0,
    /// In step.
    ReadOnly = 1,
    /// Being written.
    WritePending = 2,
    /// Being brought in step.
    SyncPending = 3,
}

/// The bits of [`FlrState`] in `lcm_flags`.
pub const LCM_FL_FLR_MASK: u16 = 0x3;
/// `lcm_flags`: in a read-only PCC.
pub const LCM_FL_PCC_RDONLY: u16 = 0x8;

/// `lov_mds_md_v1`; [`LovOstData`] follow.
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
pub struct LovMdsMdV1 {
    /// Magic number.
    pub lmm_magic: U32,
    /// [`LovPattern`].
    pub lmm_pattern: U32,
    /// The file.
    pub lmm_oi: OidSeq,
    /// Bytes of a stripe.
    pub lmm_stripe_size: U32,
    /// Stripes.
    pub lmm_stripe_count: U16,
    /// Generation; in defaults and in components without objects the first OST wanted.
    pub lmm_layout_gen: U16,
}
assert_layout!(
    LovMdsMdV1,
    32,
    lmm_pattern = 4,
    lmm_oi = 8,
    lmm_stripe_size = 24,
    lmm_stripe_count = 28,
    lmm_layout_gen = 30
);

/// `lov_mds_md_v3`; [`LovOstData`] follow.
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
pub struct LovMdsMdV3 {
    /// As without pool.
    pub v1: LovMdsMdV1,
    /// The pool.
    pub lmm_pool_name: [u8; LOV_MAXPOOLNAME],
}
assert_layout!(LovMdsMdV3, 48, lmm_pool_name = 32);

/// `lov_ost_data_v1`: an object.
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
pub struct LovOstData {
    /// Object.
    pub l_ost_oi: OstId,
    /// 0.
    pub l_ost_gen: U32,
    /// OST.
    pub l_ost_idx: U32,
}
assert_layout!(LovOstData, 24, l_ost_gen = 16, l_ost_idx = 20);

impl LovOstData {
    /// The object `fid` on an OST.
    pub fn new(fid: Fid, ost_index: u32) -> LovOstData {
        LovOstData {
            l_ost_oi: OstId::from_fid(fid),
            l_ost_gen: 0.into(),
            l_ost_idx: ost_index.into(),
        }
    }

    /// What stands in a component without objects.
    pub fn dummy() -> LovOstData {
        LovOstData {
            l_ost_idx: OST_INDEX_DUMMY.into(),
            ..LovOstData::default()
        }
    }

    /// Whether it is no object.
    pub fn is_dummy(&self) -> bool {
        self.l_ost_idx.get() == OST_INDEX_DUMMY
    }

    /// The object's FID.
    ///
    /// # Errors
    /// [`Malformed::Value`].
    pub fn fid(&self) -> Result<Fid> {
        let index = u16::try_from(self.l_ost_idx.get()).map_err(|_| Malformed::Value)?;
        self.l_ost_oi.to_fid(index)
    }
}

/// `lov_comp_md_v1`; [`LovCompMdEntry`]s follow, then their layouts.
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
pub struct LovCompMdV1 {
    /// [`LOV_MAGIC_COMP_V1`] or [`LOV_MAGIC_SEL`].
    pub lcm_magic: U32,
    /// Bytes in all.
    pub lcm_size: U32,
    /// Generation.
    pub lcm_layout_gen: U32,
    /// [`FlrState`] and [`LCM_FL_PCC_RDONLY`].
    pub lcm_flags: U16,
    /// Components.
    pub lcm_entry_count: U16,
    /// Mirrors, less one.
    pub lcm_mirror_count: U16,
    /// Parity.
    pub lcm_ec_count: u8,
    /// 0.
    pub lcm_padding: [u8; 13],
}
assert_layout!(
    LovCompMdV1,
    32,
    lcm_size = 4,
    lcm_layout_gen = 8,
    lcm_flags = 12,
    lcm_entry_count = 14,
    lcm_mirror_count = 16,
    lcm_ec_count = 18
);

impl LovCompMdV1 {
    /// State of the mirrors.
    pub fn flr_state(&self) -> FlrState {
        match self.lcm_flags.get() & LCM_FL_FLR_MASK {
            1 => FlrState::ReadOnly,
            2 => FlrState::WritePending,
            3 => FlrState::SyncPending,
            _ => FlrState::None,
        }
    }
}

/// `lov_comp_md_entry_v1`.
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
pub struct LovCompMdEntry {
    /// Mirror << 16 | number.
    pub lcme_id: U32,
    /// [`LcmeFlags`].
    pub lcme_flags: U32,
    /// Where it begins in the file.
    pub lcme_start: U64,
    /// Where it ends.
    pub lcme_end: U64,
    /// Where its layout is, from the start of the whole.
    pub lcme_offset: U32,
    /// Bytes of its layout.
    pub lcme_size: U32,
    /// 0.
    pub lcme_layout_gen: U32,
    /// When it was last in step, 48 bits of seconds; 16 bits of a mirror's link.
    pub lcme_time_and_mirror_id: U64,
    /// Data stripes.
    pub lcme_dstripe_count: u8,
    /// Code stripes.
    pub lcme_cstripe_count: u8,
    /// Kind of compression.
    pub lcme_compr_type: u8,
    /// Level, and bits of a chunk.
    pub lcme_compr_lvl: u8,
}
assert_layout!(
    LovCompMdEntry,
    48,
    lcme_flags = 4,
    lcme_start = 8,
    lcme_end = 16,
    lcme_offset = 24,
    lcme_size = 28,
    lcme_layout_gen = 32,
    lcme_time_and_mirror_id = 36,
    lcme_dstripe_count = 44,
    lcme_compr_lvl = 47
);

impl LovCompMdEntry {
    /// [`LovCompMdEntry::lcme_flags`] as a set.
    pub fn flags(&self) -> LcmeFlags {
        LcmeFlags::from_bits_retain(self.lcme_flags.get())
    }

    /// The mirror that it is part of.
    pub fn mirror_id(&self) -> u16 {
        ((self.lcme_id.get() >> 16) & 0x7fff) as u16
    }
}

/// `lov_foreign_md`; the value follows.
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
pub struct LovForeignMd {
    /// Magic number.
    pub lfm_magic: U32,
    /// Bytes of the value.
    pub lfm_length: U32,
    /// Kind.
    pub lfm_type: U32,
    /// Flags of the kind.
    pub lfm_flags: U32,
}
assert_layout!(
    LovForeignMd,
    16,
    lfm_length = 4,
    lfm_type = 8,
    lfm_flags = 12
);

/// A layout.
#[derive(Clone, Copy)]
pub enum LovMd<'a> {
    /// Objects, or a wish for some.
    Plain(Plain<'a>),
    /// Components.
    Composite(Composite<'a>),
    /// Something else.
    Foreign(&'a LovForeignMd, &'a [u8]),
}

/// A layout without components. It borrows the bytes.
#[derive(Clone, Copy)]
pub struct Plain<'a> {
    /// Magic, pattern, size and count.
    pub md: &'a LovMdsMdV1,
    /// The pool's field.
    pub pool: Option<&'a [u8; LOV_MAXPOOLNAME]>,
    /// Its objects: none in defaults, a dummy in a component without objects.
    pub objects: &'a [LovOstData],
    size: usize,
}

impl<'a> Plain<'a> {
    /// Its bytes may be more than it has; see [`Plain::size`].
    ///
    /// `exact`: the bytes are those of a component, all of them its objects.
    fn parse(bytes: &'a [u8], exact: bool) -> Result<Plain<'a>> {
        let (md, mut rest) = LovMdsMdV1::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        let magic = md.lmm_magic.get();
        let pool = match magic {
            LOV_MAGIC_V1 => None,
            LOV_MAGIC_V3 | LOV_MAGIC_SPECIFIC => {
                let (pool, after) = rest.split_first_chunk().ok_or(Malformed::Short)?;
                rest = after;
                Some(pool)
            }
            _ => return Err(Malformed::Magic),
        };
        let pattern = LovPattern::from_bits_retain(md.lmm_pattern.get());
        let count = md.lmm_stripe_count.get();
        let none = pattern.intersects(LovPattern::F_RELEASED | LovPattern::MDT)
            || rest.is_empty()
            || count >= COUNT_NOT_A_NUMBER;
        let n = if exact {
            if rest.len() % size_of::<LovOstData>() != 0 {
                return Err(Malformed::Value);
            }
            rest.len() / size_of::<LovOstData>()
        } else if none {
            0
        } else {
            usize::from(count)
        };
        let (objects, _) =
            <[LovOstData]>::ref_from_prefix_with_elems(rest, n).map_err(|_| Malformed::Short)?;
        Ok(Plain {
            md,
            pool,
            objects,
            size: bytes.len() - rest.len() + size_of_val(objects),
        })
    }

    /// Bytes of the layout.
    pub fn size(&self) -> usize {
        self.size
    }

    /// [`LovMdsMdV1::lmm_pattern`] as a set.
    pub fn pattern(&self) -> LovPattern {
        LovPattern::from_bits_retain(self.md.lmm_pattern.get())
    }

    /// The pool's name, not empty.
    pub fn pool_name(&self) -> Option<&'a [u8]> {
        self.pool
            .map(|p| crate::text::get(p))
            .filter(|n| !n.is_empty())
    }

    /// Whether it is a user's list of OSTs.
    pub fn is_specific(&self) -> bool {
        self.md.lmm_magic.get() == LOV_MAGIC_SPECIFIC
    }

    /// The objects without a dummy.
    pub fn stripes(&self) -> &'a [LovOstData] {
        match self.objects {
            [only] if only.is_dummy() => &[],
            all => all,
        }
    }
}

/// A layout of components. It borrows the bytes.
#[derive(Clone, Copy)]
pub struct Composite<'a> {
    /// Generation, state and counts.
    pub md: &'a LovCompMdV1,
    /// The components.
    pub entries: &'a [LovCompMdEntry],
    bytes: &'a [u8],
}

impl<'a> Composite<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Composite<'a>> {
        let (md, _) = LovCompMdV1::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        let size = usize::try_from(md.lcm_size.get()).map_err(|_| Malformed::Value)?;
        let bytes = bytes.get(..size).ok_or(Malformed::Short)?;
        let rest = bytes
            .get(size_of::<LovCompMdV1>()..)
            .ok_or(Malformed::Value)?;
        let n = usize::from(md.lcm_entry_count.get());
        if n == 0 || n > LOV_MAX_COMPONENTS {
            return Err(Malformed::Value);
        }
        let (entries, _) = <[LovCompMdEntry]>::ref_from_prefix_with_elems(rest, n)
            .map_err(|_| Malformed::Short)?;
        let c = Composite { md, entries, bytes };
        let head = size_of::<LovCompMdV1>() + size_of_val(entries);
        for e in entries {
            if (e.lcme_offset.get() as usize) < head || e.lcme_start > e.lcme_end {
                return Err(Malformed::Value);
            }
            c.blob(e)?;
        }
        Ok(c)
    }

    /// Bytes of the layout.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The layout of a component.
    ///
    /// # Errors
    /// [`Malformed`]; not with an entry of this layout, for these were looked at.
    pub fn blob(&self, entry: &LovCompMdEntry) -> Result<Component<'a>> {
        let start = entry.lcme_offset.get() as usize;
        let end = start
            .checked_add(entry.lcme_size.get() as usize)
            .ok_or(Malformed::Value)?;
        let bytes = self.bytes.get(start..end).ok_or(Malformed::Short)?;
        match magic_of(bytes)? {
            LOV_MAGIC_FOREIGN => {
                let (md, value) = foreign(bytes)?;
                Ok(Component::Foreign(md, value))
            }
            _ => Plain::parse(bytes, true).map(Component::Plain),
        }
    }

    /// How many mirrors the file has.
    pub fn mirrors(&self) -> u32 {
        u32::from(self.md.lcm_mirror_count.get()) + 1
    }
}

/// The layout of a component.
#[derive(Clone, Copy)]
pub enum Component<'a> {
    /// Objects, or a wish for some.
    Plain(Plain<'a>),
    /// Something else.
    Foreign(&'a LovForeignMd, &'a [u8]),
}

fn magic_of(bytes: &[u8]) -> Result<u32> {
    let magic = bytes.first_chunk().ok_or(Malformed::Short)?;
    Ok(u32::from_le_bytes(*magic))
}

fn foreign(bytes: &[u8]) -> Result<(&LovForeignMd, &[u8])> {
    let (md, rest) = LovForeignMd::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
    let value = rest
        .get(..md.lfm_length.get() as usize)
        .ok_or(Malformed::Short)?;
    Ok((md, value))
}

impl<'a> LovMd<'a> {
    /// A view of a layout, which may be followed by other bytes (buffers of requests are padded).
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<LovMd<'a>> {
        match magic_of(bytes)? {
            LOV_MAGIC_V1 | LOV_MAGIC_V3 | LOV_MAGIC_SPECIFIC => {
                Plain::parse(bytes, false).map(LovMd::Plain)
            }
            LOV_MAGIC_COMP_V1 | LOV_MAGIC_SEL => Composite::parse(bytes).map(LovMd::Composite),
            LOV_MAGIC_FOREIGN => {
                let (md, value) = foreign(bytes)?;
                Ok(LovMd::Foreign(md, value))
            }
            _ => Err(Malformed::Magic),
        }
    }

    /// A view of what a user asks for. Objects do not count but for a list of OSTs: a plain one
    /// has none, however many stripes it wants.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse_user(bytes: &'a [u8]) -> Result<LovMd<'a>> {
        match magic_of(bytes)? {
            LOV_MAGIC_V1 | LOV_MAGIC_V3 => {
                let head = plain_size(magic_of(bytes)? == LOV_MAGIC_V3, 0);
                let bytes = bytes.get(..head).ok_or(Malformed::Short)?;
                Plain::parse(bytes, false).map(LovMd::Plain)
            }
            _ => LovMd::parse(bytes),
        }
    }

    /// Bytes of the layout.
    pub fn size(&self) -> usize {
        match self {
            LovMd::Plain(p) => p.size(),
            LovMd::Composite(c) => c.size(),
            LovMd::Foreign(_, value) => size_of::<LovForeignMd>() + value.len(),
        }
    }

    /// The generation.
    pub fn layout_gen(&self) -> u32 {
        match self {
            LovMd::Plain(p) => u32::from(p.md.lmm_layout_gen.get()),
            LovMd::Composite(c) => c.md.lcm_layout_gen.get(),
            LovMd::Foreign(..) => 0,
        }
    }
}

impl fmt::Debug for LovMd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LovMd::Plain(p) => fmt::Debug::fmt(p, f),
            LovMd::Composite(c) => f
                .debug_struct("Composite")
                .field("md", c.md)
                .field("entries", &c.entries)
                .finish(),
            LovMd::Foreign(md, value) => f.debug_tuple("Foreign").field(md).field(value).finish(),
        }
    }
}

impl fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain")
            .field("md", self.md)
            .field("pool", &self.pool_name().map(core::str::from_utf8))
            .field("objects", &self.objects)
            .finish()
    }
}

/// Bytes of a plain layout.
pub const fn plain_size(with_pool: bool, objects: usize) -> usize {
    let head = if with_pool {
        size_of::<LovMdsMdV3>()
    } else {
        size_of::<LovMdsMdV1>()
    };
    head + objects * size_of::<LovOstData>()
}

/// What a plain layout is made of besides objects.
#[derive(Clone, Copy, Debug)]
pub struct PlainSpec<'a> {
    /// Pattern.
    pub pattern: LovPattern,
    /// The file; zero in defaults.
    pub fid: Fid,
    /// Bytes of a stripe.
    pub stripe_size: u32,
    /// Stripes.
    pub stripe_count: u16,
    /// Generation, or the first OST wanted.
    pub layout_gen: u16,
    /// The pool: with one the layout is a v3.
    pub pool: Option<&'a [u8]>,
}

impl PlainSpec<'_> {
    /// Bytes with this many objects.
    pub const fn size(&self, objects: usize) -> usize {
        plain_size(self.pool.is_some(), objects)
    }

    /// Writes the layout with these objects. Returns its size.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`]: the buffer is too small or the pool's name too long;
    /// [`Malformed::Value`]: a NUL in it.
    pub fn write(&self, objects: &[LovOstData], buf: &mut [u8]) -> Result<usize> {
        let size = self.size(objects.len());
        let head = LovMdsMdV1 {
            lmm_magic: if self.pool.is_some() {
                LOV_MAGIC_V3
            } else {
                LOV_MAGIC_V1
            }
            .into(),
            lmm_pattern: self.pattern.bits().into(),
            lmm_oi: OidSeq::from_fid(self.fid),
            lmm_stripe_size: self.stripe_size.into(),
            lmm_stripe_count: self.stripe_count.into(),
            lmm_layout_gen: self.layout_gen.into(),
        };
        let out = buf.get_mut(..size).ok_or(Malformed::NoRoom)?;
        let (to, mut rest) = out
            .split_at_mut_checked(size_of::<LovMdsMdV1>())
            .ok_or(Malformed::NoRoom)?;
        to.copy_from_slice(head.as_bytes());
        if let Some(name) = self.pool {
            let (field, after) = rest
                .split_at_mut_checked(LOV_MAXPOOLNAME)
                .ok_or(Malformed::NoRoom)?;
            crate::text::set(field, name)?;
            rest = after;
        }
        rest.copy_from_slice(objects.as_bytes());
        Ok(size)
    }
}

/// Bytes of a composite layout before its first component's layout.
pub const fn composite_head_size(components: usize) -> usize {
    size_of::<LovCompMdV1>() + components * size_of::<LovCompMdEntry>()
}

/// Writes a composite layout component by component, each layout behind the one before.
pub struct CompositeBuilder<'a> {
    buf: &'a mut [u8],
    md: LovCompMdV1,
    done: usize,
    end: usize,
}

impl<'a> CompositeBuilder<'a> {
    /// Begins one of `components`; `md` brings generation, flags and mirror count.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`], [`Malformed::Value`]: too many or no components.
    pub fn new(buf: &'a mut [u8], mut md: LovCompMdV1, components: usize) -> Result<Self> {
        if components == 0 || components > LOV_MAX_COMPONENTS {
            return Err(Malformed::Value);
        }
        let end = composite_head_size(components);
        buf.get_mut(..end).ok_or(Malformed::NoRoom)?.fill(0);
        if md.lcm_magic.get() == 0 {
            md.lcm_magic.set(LOV_MAGIC_COMP_V1);
        }
        md.lcm_entry_count.set(components as u16);
        Ok(CompositeBuilder {
            buf,
            md,
            done: 0,
            end,
        })
    }

    /// Adds a component: `entry` brings id, flags and extent, `write` its layout and returns the size.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`]; [`Malformed::Value`]: one component too many; those of `write`.
    pub fn push(
        &mut self,
        mut entry: LovCompMdEntry,
        write: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<()> {
        if self.done >= usize::from(self.md.lcm_entry_count.get()) {
            return Err(Malformed::Value);
        }
        let start = self.end.next_multiple_of(8);
        self.buf
            .get_mut(self.end..start)
            .ok_or(Malformed::NoRoom)?
            .fill(0);
        let room = self.buf.get_mut(start..).ok_or(Malformed::NoRoom)?;
        let size = write(room)?;
        let end = start.checked_add(size).ok_or(Malformed::NoRoom)?;
        if end > self.buf.len() {
            return Err(Malformed::NoRoom);
        }
        entry
            .lcme_offset
            .set(u32::try_from(start).map_err(|_| Malformed::NoRoom)?);
        entry
            .lcme_size
            .set(u32::try_from(size).map_err(|_| Malformed::NoRoom)?);
        let at = composite_head_size(self.done);
        let slot = self.buf.get_mut(at..).ok_or(Malformed::NoRoom)?;
        entry.write_to_prefix(slot).map_err(|_| Malformed::NoRoom)?;
        self.done += 1;
        self.end = end;
        Ok(())
    }

    /// Ends it. Returns its size.
    ///
    /// # Errors
    /// [`Malformed::Value`]: a component is missing.
    pub fn finish(mut self) -> Result<usize> {
        if self.done != usize::from(self.md.lcm_entry_count.get()) {
            return Err(Malformed::Value);
        }
        self.md
            .lcm_size
            .set(u32::try_from(self.end).map_err(|_| Malformed::NoRoom)?);
        self.md
            .write_to_prefix(self.buf)
            .map_err(|_| Malformed::NoRoom)?;
        Ok(self.end)
    }
}
