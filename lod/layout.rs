// SPDX-License-Identifier: GPL-2.0

//! The layout of a new file, with objects that are reserved for it (`ondisk.md` 7.4).

use crate::spec::Spec;
use kapi::prelude::*;
use osd::{Fid, Plan, Transaction};
use osp::Reservation;
use wire::lov::{LovOstData, LovPattern, PlainSpec, PoolName};

/// Bytes of object number `i` of `n` of a file of `size` bytes.
fn object_size(size: u64, stripe_size: u32, i: u64, n: u64) -> u64 {
    let stripe = u64::from(stripe_size.max(1));
    let row = stripe.saturating_mul(n.max(1));
    let rest = (size % row).saturating_sub(stripe.saturating_mul(i));
    size / row * stripe + rest.min(stripe)
}

/// A layout whose objects are reserved. Dropped before [`Layout::commit`], it gives them back.
pub struct Layout {
    stripe_size: u32,
    pool: Option<PoolName>,
    reserved: KVec<Reservation>,
    /// Memory for the objects and for the xattr: in the transaction it might not be to be had.
    objects: KVec<LovOstData>,
    ea: KVVec<u8>,
}

impl Layout {
    pub(crate) fn new(spec: &Spec, reserved: KVec<Reservation>) -> Result<Layout> {
        let count = reserved.len();
        let mut layout = Layout {
            stripe_size: spec.stripe_size,
            pool: spec.pool,
            reserved,
            objects: KVec::with_capacity(count, GFP_KERNEL)?,
            ea: KVVec::new(),
        };
        let size = layout.head(Fid::ZERO, 0).size(count);
        layout.ea.resize(size, 0, GFP_KERNEL)?;
        Ok(layout)
    }

    fn head(&self, fid: Fid, count: u16) -> PlainSpec<'_> {
        PlainSpec {
            pattern: LovPattern::RAID0,
            fid,
            stripe_size: self.stripe_size,
            stripe_count: count,
            layout_gen: 0,
            pool: self.pool.as_ref().map(PoolName::as_bytes),
        }
    }

    /// Bytes of the xattr.
    pub fn ea_len(&self) -> usize {
        self.ea.len()
    }

    /// Indices of the OSTs that the objects are on.
    pub fn osts(&self) -> impl Iterator<Item = u32> + '_ {
        self.reserved.iter().map(|r| r.osp().index())
    }

    /// The file has this size, and has had no objects so far: they get their part of it. The OSTs
    /// are asked, so no transaction is running.
    ///
    /// # Errors
    /// `EINPROGRESS`: an OST cannot do that now. Why it refuses.
    pub fn set_size(&mut self, size: u64) -> Result {
        let (stripe_size, n) = (self.stripe_size, self.reserved.len() as u64);
        for (i, r) in (0..).zip(self.reserved.iter_mut()) {
            match object_size(size, stripe_size, i, n) {
                0 => {}
                part => r.set_size(part)?,
            }
        }
        Ok(())
    }

    /// Plans for [`Layout::commit`].
    ///
    /// # Errors
    /// `ENOMEM`, `EIO`.
    pub fn plan(&self, plan: &mut Plan) -> Result {
        self.reserved.iter().try_for_each(|r| r.plan(plan))
    }

    /// Takes the objects for the file `fid`. Returns what goes into `trusted.lov`. Only once.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`: objects that were taken already are lost. `EINVAL`: it was called before.
    pub fn commit(&mut self, tx: &mut Transaction, fid: &Fid) -> Result<KVVec<u8>> {
        if self.reserved.is_empty() {
            return Err(EINVAL);
        }
        for r in core::mem::take(&mut self.reserved) {
            let index = r.osp().index();
            let object = r.take(tx)?;
            self.objects
                .push_within_capacity(LovOstData::new(object, index))?;
        }
        let count = u16::try_from(self.objects.len())?;
        let mut ea = core::mem::take(&mut self.ea);
        self.head(*fid, count)
            .write(&self.objects, &mut ea)
            .map_err(|_| EIO)?;
        Ok(ea)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As if the file had been written byte by byte.
        #[test]
        fn sizes(size in 0..200u64, stripe in 1..9u32, n in 1..6u64) {
            let mut sizes = vec![0; n as usize];
            for at in 0..size {
                let (unit, off) = (at / u64::from(stripe), at % u64::from(stripe));
                sizes[(unit % n) as usize] = unit / n * u64::from(stripe) + off + 1;
            }
            let got: Vec<_> = (0..n).map(|i| object_size(size, stripe, i, n)).collect();
            prop_assert_eq!(got, sizes);
        }
    }
}
