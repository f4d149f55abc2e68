// SPDX-License-Identifier: GPL-2.0

//! The state of a file towards an archive (`mdt.md` 18, `ondisk.md` 7.9). There is no archive yet:
//! nothing is released, or restored.

use crate::creds::{cap, Creds, MAY_WRITE};
use crate::{Mdd, Runner};
use kapi::prelude::*;
use osd::{ObjectRef, SetAttr};
use wire::disk::som::{HsmAttrs, HsmFlags, XATTR_NAME_HSM};
use wire::mdt::{HsmStateSet, HsmValid};
use zerocopy::{FromBytes, IntoBytes};

/// What who may write to a file may change.
const OF_USERS: HsmFlags = HsmFlags::NORELEASE
    .union(HsmFlags::NOARCHIVE)
    .union(HsmFlags::DIRTY);

/// The flags among `mask`.
fn flags(mask: u64) -> Result<HsmFlags> {
    let bits = u32::try_from(mask).map_err(|_| EINVAL)?;
    let flags = HsmFlags::from_bits_retain(bits);
    match flags.unknown() {
        0 => Ok(flags),
        _ => Err(EINVAL),
    }
}

/// What becomes of a state.
///
/// # Errors
/// `EINVAL`: it would make no sense. `EOPNOTSUPP`: the data would be in the archive alone.
fn after(old: &HsmAttrs, set: HsmFlags, clear: HsmFlags, archive: Option<u32>) -> Result<HsmAttrs> {
    let before = HsmFlags::from_bits_retain(old.hsm_flags.get());
    let mut now = before;
    now.remove(clear);
    now.insert(set);
    if now.intersects(HsmFlags::DIRTY | HsmFlags::ARCHIVED) && !now.contains(HsmFlags::EXISTS) {
        return Err(EINVAL);
    }
    if now.contains(HsmFlags::RELEASED) != before.contains(HsmFlags::RELEASED) {
        return Err(EOPNOTSUPP);
    }
    if now.contains(HsmFlags::RELEASED)
        && (!now.contains(HsmFlags::ARCHIVED) || now.contains(HsmFlags::DIRTY))
    {
        return Err(EINVAL);
    }
    let mut new = *old;
    new.hsm_flags.set(now.bits());
    if let Some(id) = archive {
        new.hsm_arch_id.set(id.into());
    }
    Ok(new)
}

impl Mdd {
    /// The state of a file; all zero if it never had one.
    ///
    /// # Errors
    /// `EINVAL`: what is there is none. `EIO`.
    pub fn hsm_state(&self, o: &ObjectRef) -> Result<HsmAttrs> {
        let mut b = [0; size_of::<HsmAttrs>()];
        match o.xattr(XATTR_NAME_HSM, &mut b) {
            Err(e) if e == ENODATA => Ok(HsmAttrs::default()),
            Err(e) => Err(e),
            Ok(n) if n < b.len() => Err(EINVAL),
            Ok(_) => HsmAttrs::read_from_bytes(&b).map_err(|_| EINVAL),
        }
    }

    /// The state that a file would have; none: the one that it has.
    ///
    /// # Errors
    /// `EINVAL`: no file, or it makes no sense: what no archive has is neither dirty nor archived.
    /// `EPERM`, `EACCES`. `EOPNOTSUPP`: it would have to be released, or restored.
    pub fn new_hsm_state(
        &self,
        c: &Creds,
        o: &ObjectRef,
        change: &HsmStateSet,
    ) -> Result<Option<HsmAttrs>> {
        let a = o.attr()?;
        let valid = HsmValid::from_bits_retain(change.hss_valid.get());
        let mask = |f, mask: u64| match valid.contains(f) {
            true => flags(mask),
            false => Ok(HsmFlags::empty()),
        };
        let set = mask(HsmValid::SET, change.hss_setmask.get())?;
        let clear = mask(HsmValid::CLEAR, change.hss_clearmask.get())?;
        let archive = valid
            .contains(HsmValid::ARCHIVE_ID)
            .then_some(change.hss_archive_id.get());
        if !c.has(cap::SYS_ADMIN) {
            if !OF_USERS.contains(set | clear) || archive.is_some() {
                return Err(EPERM);
            }
            if !c.owns(&a) {
                self.permission(o, &a, c, MAY_WRITE)?;
            }
        }
        let old = self.hsm_state(o)?;
        let new = after(&old, set, clear, archive)?;
        match new != old {
            true if !a.is_file() => Err(EINVAL),
            true => Ok(Some(new)),
            false => Ok(None),
        }
    }

    /// Changes the state of a file. What changes nothing is not written, and `run` is not called.
    ///
    /// # Errors
    /// As [`Mdd::new_hsm_state`], and those of the store.
    pub fn set_hsm_state(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        o: &ObjectRef,
        change: &HsmStateSet,
    ) -> Result {
        run.before([o.attr()?.version, 0, 0, 0]);
        let Some(new) = self.new_hsm_state(c, o, change)? else {
            return Ok(());
        };
        let mut plan = self.osd.plan()?;
        plan.xattr(o, size_of::<HsmAttrs>())?;
        plan.attr(o, &SetAttr::default())?;
        run.run(plan, &mut |tx, version| {
            tx.set_xattr(o, XATTR_NAME_HSM, new.as_bytes())?;
            let set = SetAttr {
                version: Some(version),
                ..SetAttr::default()
            };
            tx.set_attr(o, &set)
        })
    }
}
