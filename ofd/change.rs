// SPDX-License-Identifier: GPL-2.0

//! What changes at an object besides its data: times, owners, the file that it is part of
//! (`ost.md` 14, `ondisk.md` 7.3, 12).

use crate::body;
use kapi::prelude::*;
use osd::{Attr, ObjectRef, Plan, SetAttr, Transaction};
use wire::disk::filter_fid::{FilterFid, XATTR_NAME_FID};
use wire::fid::Fid;
use wire::obdo::{ObdMd, Obdo, OstLayout};
use zerocopy::IntoBytes;

/// Bits of the mode of an object whose owner, group or project was not set yet.
const NO_UID: u32 = 0o4000;
const NO_GID: u32 = 0o2000;
const NO_PROJID: u32 = 0o1000;
/// Type and permissions of a new object.
pub(crate) const NEW_MODE: u32 = 0o7666;
/// The bits of a mode that can be set.
const MODE: u32 = 0o7777;

/// Marks the layout version of a mirror that is being brought up to date.
const RESYNC: u32 = 0x8000_0000;
/// The upper half of layout versions, which go round.
const HIGH: u32 = 0x4000_0000;

/// When owners are set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owners {
    /// Always.
    Always,
    /// Only those that were not set yet.
    First,
}

/// What a request changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// Times, owners, mode.
    pub(crate) set: SetAttr,
    /// Whether owners may be set again.
    pub(crate) owners: Owners,
    /// The file, with the number of the stripe as version.
    pub(crate) parent: Option<Fid>,
    /// The file's layout.
    pub(crate) layout: Option<OstLayout>,
    /// Its version.
    pub(crate) layout_version: Option<u32>,
}

impl Change {
    /// What the body of a request brings.
    pub(crate) fn new(o: &Obdo, owners: Owners) -> Change {
        let (times, ids) = (body::times(o), body::ids(o));
        let valid = o.valid();
        Change {
            set: SetAttr {
                uid: ids.uid,
                gid: ids.gid,
                projid: ids.projid,
                ..times
            },
            owners,
            parent: o.parent(),
            layout: valid.contains(ObdMd::FLOSTLAYOUT).then_some(o.o_layout),
            layout_version: valid
                .contains(ObdMd::LAYOUT_VERSION)
                .then_some(o.o_layout_version.get()),
        }
    }

    /// Whether the file or its layout is told.
    fn has_parent(&self) -> bool {
        self.parent.is_some() || self.layout.is_some() || self.layout_version.is_some()
    }

    /// Plans for [`Change::apply`]; whether what is stored of the file will change.
    ///
    /// # Errors
    /// `EINVAL`: an older layout. `EIO`.
    pub(crate) fn plan(&self, plan: &mut Plan, o: &ObjectRef) -> Result<bool> {
        plan.attr(o, &self.set)?;
        let parent = self.has_parent() && self.new_parent(stored(o)?)?.is_some();
        if parent {
            plan.xattr(o, size_of::<FilterFid>())?;
        }
        Ok(parent)
    }

    /// Does it, with `version` as the object's version if there is one; what the object was like
    /// before. `parent` is what the plan said. What another request did since the plan stays.
    ///
    /// # Errors
    /// `EINVAL`: an older layout. `EDQUOT`, `EIO`, `ENOSPC`.
    pub(crate) fn apply(
        &self,
        tx: &mut Transaction,
        o: &ObjectRef,
        parent: bool,
        version: Option<u64>,
    ) -> Result<Attr> {
        let old = o.attr()?;
        let mut set = attrs(&old, self);
        set.version = version;
        if !set.is_empty() {
            tx.set_attr(o, &set)?;
        }
        if parent {
            if let Some(ff) = self.new_parent(stored(o)?)? {
                tx.set_xattr(o, XATTR_NAME_FID, ff.as_bytes())?;
            }
        }
        Ok(old)
    }

    /// What is to be stored of the file; none if it is stored already.
    fn new_parent(&self, old: Option<FilterFid>) -> Result<Option<FilterFid>> {
        let had = old.unwrap_or_default();
        let mut ff = had;
        if let Some(p) = self.parent {
            ff.ff_parent = Fid {
                ver: p.ver & 0xffff,
                ..p
            }
            .into();
        }
        if let Some(l) = self.layout {
            ff.ff_layout = l;
        }
        if let Some(v) = self.layout_version {
            let now = next_version(had.ff_layout_version.get(), had.ff_range.get(), v)?;
            ff.ff_layout_version.set(now.0);
            ff.ff_range.set(now.1);
        }
        Ok((old != Some(ff)).then_some(ff))
    }

    /// Checks that a write does not stem from an older layout.
    ///
    /// # Errors
    /// `ESTALE`: it does.
    pub(crate) fn check_layout(&self, o: &ObjectRef) -> Result {
        let Some(v) = self.layout_version else {
            return Ok(());
        };
        let stored = stored(o)?.map_or(0, |f| f.ff_layout_version.get());
        match stored != 0 && is_older(v, stored) {
            true => Err(ESTALE),
            false => Ok(()),
        }
    }
}

/// What an object has of its file. What cannot be read counts as none: it is written anew.
///
/// # Errors
/// `EIO`.
pub(crate) fn stored(o: &ObjectRef) -> Result<Option<FilterFid>> {
    let raw = o.xattr_opt(XATTR_NAME_FID)?;
    Ok(raw.and_then(|b| FilterFid::parse(&b).ok()))
}

/// Whether a layout version is older than another.
fn is_older(a: u32, b: u32) -> bool {
    let (a, b) = (a & !RESYNC, b & !RESYNC);
    // Across the turn they say nothing.
    a & HIGH == b & HIGH && a < b
}

/// Version and range after a change to version `new`.
fn next_version(old: u32, range: u32, new: u32) -> Result<(u32, u32)> {
    let (v, range) = match old & RESYNC {
        0 => (old, range),
        _ => (0, 0),
    };
    if v == 0 || new & RESYNC != 0 {
        return Ok((new, 0));
    }
    if is_older(new, v) {
        return Err(EINVAL);
    }
    Ok((v, range.max(new.wrapping_sub(v))))
}

/// The attributes to be set.
fn attrs(old: &Attr, c: &Change) -> SetAttr {
    let mut set = c.set;
    let always = c.owners == Owners::Always;
    let mut mode = set.mode.unwrap_or(old.mode) & MODE;
    let mut id = |wanted: &mut Option<u32>, bit: u32, again: bool| {
        if !always && old.mode & bit == 0 && !again {
            *wanted = None;
        }
        if wanted.is_some() {
            mode &= !bit;
        }
    };
    id(&mut set.uid, NO_UID, false);
    id(&mut set.gid, NO_GID, false);
    let unset = old.projid == 0 && c.set.projid.is_some_and(|p| p != 0);
    id(&mut set.projid, NO_PROJID, unset);
    set.mode = (mode != old.mode & MODE).then_some(mode);
    // Access times do not go back with a write.
    if !always && set.atime.is_some_and(|t| t <= old.atime) {
        set.atime = None;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use osd::Time;

    fn change(owners: Owners) -> Change {
        Change {
            set: SetAttr {
                uid: Some(5),
                gid: Some(6),
                projid: Some(7),
                atime: Some(Time::secs(10)),
                mtime: Some(Time::secs(9)),
                ..SetAttr::default()
            },
            owners,
            parent: None,
            layout: None,
            layout_version: None,
        }
    }

    fn attr(mode: u32, projid: u32, atime: i64) -> Attr {
        Attr {
            mode: 0o100000 | mode,
            projid,
            atime: Time::secs(atime),
            ..Attr::default()
        }
    }

    #[test]
    fn the_first_write_owns() {
        let s = attrs(&attr(0o7666, 0, 0), &change(Owners::First));
        assert_eq!((s.uid, s.gid, s.projid), (Some(5), Some(6), Some(7)));
        assert_eq!((s.mode, s.atime), (Some(0o666), Some(Time::secs(10))));
        let s = attrs(&attr(0o666, 3, 11), &change(Owners::First));
        assert_eq!((s.uid, s.gid, s.projid), (None, None, None));
        assert_eq!(
            (s.mode, s.atime, s.mtime),
            (None, None, Some(Time::secs(9)))
        );
        // Objects from before there were projects.
        let s = attrs(&attr(0o666, 0, 0), &change(Owners::First));
        assert_eq!((s.uid, s.projid), (None, Some(7)));
        let s = attrs(&attr(0o3666, 3, 11), &change(Owners::Always));
        assert_eq!((s.uid, s.gid, s.projid), (Some(5), Some(6), Some(7)));
        assert_eq!((s.mode, s.atime), (Some(0o666), Some(Time::secs(10))));
        let mut some = change(Owners::First);
        some.set.gid = None;
        assert_eq!(attrs(&attr(0o7666, 0, 0), &some).mode, Some(0o2666));
    }

    #[test]
    fn layout_versions() {
        assert_eq!(next_version(0, 0, 3), Ok((3, 0)));
        assert_eq!(next_version(3, 0, 3), Ok((3, 0)));
        assert_eq!(next_version(3, 0, 5), Ok((3, 2)));
        assert_eq!(next_version(3, 4, 5), Ok((3, 4)));
        assert_eq!(next_version(3, 4, 2), Err(EINVAL));
        // As in `ost.md` 23.6.
        assert_eq!(next_version(3, 0, 0x8000_0004), Ok((0x8000_0004, 0)));
        assert_eq!(next_version(0x8000_0004, 0, 5), Ok((5, 0)));
        assert!(is_older(2, 3) && is_older(2, 0x8000_0003) && !is_older(3, 3));
        assert!(!is_older(1, 0x4000_0001) && !is_older(0x4000_0001, 1));
    }

    #[test]
    fn the_file_is_stored_once() {
        let mut c = change(Owners::First);
        assert_eq!(c.new_parent(None).unwrap(), Some(FilterFid::default()));
        c.parent = Some(Fid {
            seq: 0x2_0000_0401,
            oid: 9,
            ver: 0x1_0002,
        });
        let ff = c.new_parent(None).unwrap().unwrap();
        assert_eq!((ff.stripe_index(), ff.parent().oid), (2, 9));
        assert_eq!(c.new_parent(Some(ff)).unwrap(), None);
        c.layout_version = Some(4);
        let ff = c.new_parent(Some(ff)).unwrap().unwrap();
        assert_eq!(ff.ff_layout_version.get(), 4);
        c.layout_version = Some(3);
        assert_eq!(c.new_parent(Some(ff)), Err(EINVAL));
    }
}
