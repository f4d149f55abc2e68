// SPDX-License-Identifier: GPL-2.0

//! Reading layouts.

use core::fmt;

use zerocopy::FromBytes;

use super::{
    plain_size, LovCompMdEntry, LovCompMdV1, LovForeignMd, LovMdsMdV1, LovOstData, LovPattern,
    COUNT_NOT_A_NUMBER, LOV_MAGIC_COMP_V1, LOV_MAGIC_FOREIGN, LOV_MAGIC_SEL, LOV_MAGIC_SPECIFIC,
    LOV_MAGIC_V1, LOV_MAGIC_V3, LOV_MAXPOOLNAME, LOV_MAX_COMPONENTS,
};
use crate::error::{Malformed, Result};

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
