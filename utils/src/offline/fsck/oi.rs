// SPDX-License-Identifier: GPL-2.0

//! The object index against the inodes (`spec/ondisk.md` 4).

use super::{iam, Check, Lma};
use crate::offline::ext4::{Inode, ROOT_INO};
use crate::offline::Result;
use wire::disk::lma::{LmaCompat, LmaIncompat};
use wire::disk::names::root as top;
use wire::disk::oi::{container, OsdInodeId, OI_KEY_SIZE, OI_REC_SIZE};
use wire::disk::scrub::{ScrubFile, OSD_OI_FID_NR_MAX};
use wire::fid::{oid, Fid, LuFidBe};
use zerocopy::FromBytes;

/// Whether an inode has to be in the index.
pub(super) fn must_have(lma: &Lma, ino: u32) -> bool {
    ino != ROOT_INO
        && !lma.compat.contains(LmaCompat::NOT_IN_OI)
        && !lma.incompat.contains(LmaIncompat::AGENT)
        && !Check::in_hierarchy(lma)
}

/// Whether an object has no name (spec 2.2).
pub(super) fn by_number_only(lma: &Lma) -> bool {
    lma.fid == Fid::local(oid::OFD_FAILURE_DOMAIN)
}

impl Check<'_, '_> {
    /// Looks at all files of the index.
    pub(super) fn object_index(&mut self, root: &Inode) -> Result<()> {
        let Some(scrub) = self.named(root, top::OI_SCRUB)? else {
            return Ok(());
        };
        let r = self.fs.read(&scrub, 0, size_of::<ScrubFile>());
        let Some(bytes) = self.caught(scrub.ino, "OI_scrub", r)? else {
            return Ok(());
        };
        let mut count = 0;
        match ScrubFile::parse(&bytes) {
            Ok(sf) => {
                count = sf.sf_oi_count.get();
                if sf.sf_uuid != self.fs.uuid() {
                    self.problem(
                        scrub.ino,
                        "has the UUID of another file system: the index has to be made anew",
                    );
                }
            }
            Err(e) => self.problem(scrub.ino, e),
        }
        if count == 0 {
            while count < OSD_OI_FID_NR_MAX
                && self
                    .named(root, &format!("{}{count}", top::OI_PREFIX))?
                    .is_some()
            {
                count += 1;
            }
        }
        if !count.is_power_of_two() {
            self.problem(
                root.ino,
                format!("{count} files of the object index, no power of two"),
            );
            return Ok(());
        }
        for n in 0..count {
            let name = format!("{}{n}", top::OI_PREFIX);
            match self.named(root, &name)? {
                Some(file) => self.oi_file(&file, n, count)?,
                None => self.problem(root.ino, format!("{name} is missing")),
            }
        }
        Ok(())
    }

    fn oi_file(&mut self, file: &Inode, n: u16, count: u16) -> Result<()> {
        let fs = self.fs;
        let r = iam::walk(fs, file, Some((OI_KEY_SIZE, OI_REC_SIZE)), |key, rec| {
            let (Ok(key), Ok(rec)) = (
                LuFidBe::read_from_bytes(key),
                OsdInodeId::read_from_bytes(rec),
            ) else {
                return Ok(());
            };
            // A fresh index has a record of zeroes.
            if !key.get().is_zero() {
                self.oi_entry(file.ino, key.get(), rec, n, count);
            }
            Ok(())
        });
        self.caught(file.ino, "object index", r)?;
        Ok(())
    }

    fn oi_entry(&mut self, file: u32, fid: Fid, id: OsdInodeId, n: u16, count: u16) {
        self.sum.oi += 1;
        let (ino, generation) = (id.oii_ino.get(), id.oii_gen.get());
        let want = container(&fid, count);
        if want != n {
            self.problem(file, format!("has {fid}, which should be in oi.16.{want}"));
        }
        let Some(r) = self.recs.get_mut(&ino) else {
            self.problem(
                file,
                format!("has {fid} at inode {ino}, which is not in use"),
            );
            return;
        };
        let (is, own) = (r.generation, r.lma);
        if is != generation {
            self.problem(
                file,
                format!("has {fid} at inode {ino} of generation {generation:#x}, which is {is:#x}"),
            );
            return;
        }
        match own {
            Some(l) if l.fid != fid => {
                self.problem(
                    file,
                    format!("has {fid} at inode {ino}, which is {}", l.fid),
                );
            }
            Some(l) if l.incompat.contains(LmaIncompat::AGENT) => {
                self.problem(
                    file,
                    format!("has {fid} at inode {ino}, a stand-in of another MDT's"),
                );
            }
            // Without an LMA the mapping itself is good (spec 4.2).
            Some(_) | None => r.in_oi = true,
        }
    }
}
