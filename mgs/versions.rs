// SPDX-License-Identifier: GPL-2.0

//! The versions of NID tables on disk, so that they grow over restarts: `NIDTBL_VERSIONS/`
//! (`mgs-config.md` 17, `ondisk.md` 3.2).

use crate::nidtbl::FIRST_VERSION;
use kapi::prelude::*;
use osd::{Create, Device, ObjectRef};
use target::local;
use wire::disk::names;
use wire::fid::seq;
use wire::svname::FsName;

/// The directory.
pub(crate) struct Versions {
    osd: Arc<dyn Device>,
    dir: ObjectRef,
}

impl Versions {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`, `ENOMEM`.
    pub(crate) fn open(osd: &Arc<dyn Device>) -> Result<Versions> {
        let root = local::root(osd)?;
        let name = names::root::NIDTBL_VERSIONS.as_bytes();
        let what = Create::dir(0o755);
        let dir = local::find_or_create(osd, &root, name, &what, seq::LOCAL_NAME)?;
        Ok(Versions {
            osd: osd.clone(),
            dir,
        })
    }

    /// The version of a file system.
    ///
    /// # Errors
    /// `EIO`, `ENOMEM`.
    pub(crate) fn load(&self, fs: FsName) -> Result<u64> {
        let Some(file) = local::find(&self.osd, &self.dir, fs.as_bytes())? else {
            return Ok(FIRST_VERSION);
        };
        let mut b = [0; size_of::<u64>()];
        match file.read(0, &mut b)? {
            n if n == b.len() => Ok(u64::from_le_bytes(b)),
            _ => Ok(FIRST_VERSION),
        }
    }

    /// Writes it; it is on disk when this returns.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`, `EROFS`, `ENOMEM`.
    pub(crate) fn store(&self, fs: FsName, version: u64) -> Result {
        let what = Create::file(0o644);
        let file =
            local::find_or_create(&self.osd, &self.dir, fs.as_bytes(), &what, seq::LOCAL_NAME)?;
        let mut plan = self.osd.plan()?;
        plan.write(&file, 0, size_of::<u64>())?;
        let mut tx = plan.start()?;
        let done = tx.write(&file, 0, &version.to_le_bytes());
        tx.set_sync();
        tx.stop()?;
        done
    }
}
