// SPDX-License-Identifier: GPL-2.0

//! Further names for an object (`mdt.md` 8.3).

use crate::create::ENOENT_VERSION;
use crate::creds::{check_mutable, inode_flags, Creds};
use crate::linkea::Links;
use crate::names::check_new;
use crate::times::{changed, touched};
use crate::{Mdd, Runner};
use kapi::prelude::*;
use osd::ObjectRef;
use wire::fid::seq;
use wire::mdt::InodeFlags;

/// Links that an inode can have.
pub(crate) const LINK_MAX: u32 = 65000;

impl Mdd {
    /// Gives `o` the name `name` in `dir`.
    ///
    /// # Errors
    /// `EPERM`: a directory, or it must not change. `EEXIST`, `EMLINK`, `EXDEV` (another project),
    /// `ENOENT` (it has no name any more), `EACCES`, `ENOTDIR`, `ENOSPC`.
    pub fn link(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        o: &ObjectRef,
        dir: &ObjectRef,
        name: &[u8],
        time: i64,
    ) -> Result {
        let (a, da) = (o.attr()?, dir.attr()?);
        run.before([da.version, a.version, ENOENT_VERSION, 0]);
        if a.is_dir() || dir.fid().seq == seq::DOT_LUSTRE {
            return Err(EPERM);
        }
        check_mutable(&a)?;
        check_new(name)?;
        self.may_create(dir, &da, c)?;
        match dir.lookup(name) {
            Ok(_) => return Err(EEXIST),
            Err(e) if e == ENOENT => {}
            Err(e) => return Err(e),
        }
        if self.opens.is_orphan(o.fid()) {
            return Err(ESTALE);
        }
        if a.nlink >= LINK_MAX {
            return Err(EMLINK);
        }
        if inode_flags(&da).contains(InodeFlags::PROJINHERIT) && da.projid != a.projid {
            return Err(EXDEV);
        }
        let mut links = Links::read(o)?;
        links.add(dir.fid(), name, time)?;
        let of_dir = changed(&da, time);
        let mut of_file = touched(&a, time);
        let mut plan = self.osd.plan()?;
        plan.insert(dir, o)?;
        plan.attr(o, &of_file)?;
        plan.attr(dir, &of_dir)?;
        links.plan(&mut plan, o)?;
        run.run(plan, &mut |tx, version| {
            tx.insert(dir, name, o)?;
            tx.ref_add(o)?;
            links.write(tx, o)?;
            tx.set_attr(dir, &of_dir)?;
            of_file.version = Some(version);
            tx.set_attr(o, &of_file)
        })
    }
}
