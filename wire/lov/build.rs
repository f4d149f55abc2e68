// SPDX-License-Identifier: GPL-2.0

//! Writing layouts.

use zerocopy::IntoBytes;

use super::{
    LovCompMdEntry, LovCompMdV1, LovMdsMdV1, LovMdsMdV3, LovOstData, LovPattern, LOV_MAGIC_COMP_V1,
    LOV_MAGIC_V1, LOV_MAGIC_V3, LOV_MAXPOOLNAME, LOV_MAX_COMPONENTS,
};
use crate::error::{Malformed, Result};
use crate::fid::Fid;
use crate::ostid::OidSeq;

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
