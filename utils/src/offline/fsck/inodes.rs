// SPDX-License-Identifier: GPL-2.0

//! Every inode: its LMA, layout, links and parent, each by itself.

use super::{Check, Lma, Rec};
use crate::offline::ext4::{Inode, EA_INODE_FL, ROOT_INO};
use crate::offline::{xattr, Result};
use wire::disk::filter_fid::{FilterFid, XATTR_NAME_FID};
use wire::disk::linkea::{LinkEa, XATTR_NAME_LINK};
use wire::disk::lma::{LmaCompat, LmaIncompat, LustreMdtAttrs, XATTR_NAME_LMA};
use wire::fid::{oid, seq, Fid};
use wire::lmv::{LmvMdsMdV1, XATTR_NAME_LMV};
use wire::lov::{
    Component, LcmeFlags, LovMd, LovOstData, LovPattern, Plain, LOV_MIN_STRIPE_SIZE, XATTR_NAME_LOV,
};

/// Below this, ext4's own but for the root.
const FIRST_INO: u32 = 11;

impl Check<'_, '_> {
    /// Looks at all inodes.
    pub(super) fn scan(&mut self) -> Result<()> {
        for group in 0..self.fs.groups {
            let r = self.fs.used_inodes(group);
            let Some(used) = self.caught(0, &format!("inode bitmap of group {group}"), r)? else {
                continue;
            };
            for ino in used {
                if (ino < FIRST_INO && ino != ROOT_INO) || ino == self.fs.project_quota_ino() {
                    continue;
                }
                let r = self.fs.inode(ino);
                if let Some(inode) = self.caught(ino, "inode", r)? {
                    if inode.links() != 0 && inode.flags() & EA_INODE_FL == 0 {
                        self.one(&inode)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn one(&mut self, inode: &Inode) -> Result<()> {
        let ino = inode.ino;
        self.sum.inodes += 1;
        self.recs.insert(
            ino,
            Rec {
                generation: inode.generation(),
                kind: inode.kind(),
                links: inode.links(),
                lma: None,
                names: 0,
                special_names: 0,
                subdirs: 0,
                link_records: 0,
                link_hits: 0,
                in_oi: false,
                broken: false,
            },
        );
        let r = xattr::trusted(self.fs, inode);
        let Some(x) = self.caught(ino, "xattrs", r)? else {
            return Ok(());
        };
        let Some(bytes) = x.get(XATTR_NAME_LMA) else {
            // What mkfs wrote gets its LMA at the next mount (spec 15.4); the tree knows whether it is that.
            return Ok(());
        };
        let lma = match LustreMdtAttrs::parse(bytes) {
            Ok(l) => Lma {
                fid: l.fid(),
                compat: l.compat(),
                incompat: l.incompat(),
            },
            Err(e) => {
                self.problem(ino, format!("trusted.lma of {} bytes: {e}", bytes.len()));
                if let Some(r) = self.recs.get_mut(&ino) {
                    r.broken = true;
                }
                return Ok(());
            }
        };
        if let Some(r) = self.recs.get_mut(&ino) {
            r.lma = Some(lma);
        }
        self.identity(inode, &lma);
        if inode.is_dir() || matches!(lma.fid.seq, seq::LLOG | seq::LLOG_NAME) {
            if let Some(other) = self.fids.insert(lma.fid, ino) {
                if !lma.incompat.contains(LmaIncompat::AGENT) {
                    self.problem(ino, format!("inode {other} has the same FID"));
                }
            }
        }
        if let Some(bytes) = x.get(XATTR_NAME_LINK) {
            self.links(ino, bytes);
        }
        if let Some(bytes) = x.get(XATTR_NAME_FID) {
            self.parent(ino, bytes);
        }
        if let Some(bytes) = x.get(XATTR_NAME_LOV) {
            self.layout(inode, &lma, bytes);
        }
        if let Some(bytes) = x.get(XATTR_NAME_LMV) {
            if LmvMdsMdV1::parse(bytes).is_err() {
                self.problem(ino, "trusted.lmv is damaged");
            } else if !lma.incompat.contains(LmaIncompat::STRIPED) {
                self.problem(
                    ino,
                    "has trusted.lmv, but its LMA does not say that it is striped",
                );
            }
        }
        Ok(())
    }

    /// The FID by itself and against the flags.
    fn identity(&mut self, inode: &Inode, lma: &Lma) {
        let (ino, fid) = (inode.ino, lma.fid);
        if ino == ROOT_INO && fid != Fid::local(oid::OSD_ROOT) {
            self.problem(
                ino,
                format!("should have the FID {}", Fid::local(oid::OSD_ROOT)),
            );
        }
        if !fid.is_sane() {
            self.problem(ino, "its FID cannot be");
        }
        if lma.compat.contains(LmaCompat::FID_ON_OST)
            && !lma.compat.contains(LmaCompat::NOT_IN_OI)
            && !inode.is_reg()
        {
            self.problem(ino, "an OST object that is no regular file");
        }
    }

    fn links(&mut self, ino: u32, bytes: &[u8]) {
        match LinkEa::parse(bytes) {
            Ok(ea) => {
                let n = u16::try_from(ea.count()).unwrap_or(u16::MAX);
                if let Some(r) = self.recs.get_mut(&ino) {
                    r.link_records = n;
                }
            }
            Err(e) => {
                self.problem(ino, format!("trusted.link of {} bytes: {e}", bytes.len()));
                if let Some(r) = self.recs.get_mut(&ino) {
                    r.broken = true;
                }
            }
        }
    }

    fn parent(&mut self, ino: u32, bytes: &[u8]) {
        match FilterFid::parse(bytes) {
            Ok(ff) if ff.parent().is_zero() || ff.parent().is_namespace_visible() => {}
            Ok(ff) => self.problem(
                ino,
                format!("trusted.fid: {} is no file's FID", ff.parent()),
            ),
            Err(e) => self.problem(ino, format!("trusted.fid of {} bytes: {e}", bytes.len())),
        }
    }

    fn layout(&mut self, inode: &Inode, lma: &Lma, bytes: &[u8]) {
        let ino = inode.ino;
        let md = match LovMd::parse(bytes) {
            Ok(md) => md,
            Err(e) => {
                self.problem(ino, format!("trusted.lov of {} bytes: {e}", bytes.len()));
                return;
            }
        };
        if md.size() != bytes.len() {
            let (n, is) = (md.size(), bytes.len());
            self.problem(ino, format!("trusted.lov has {is} bytes, should have {n}"));
        }
        if inode.is_dir() {
            return;
        }
        match md {
            LovMd::Plain(p) => self.plain(ino, lma, &p, true),
            LovMd::Composite(c) => {
                for e in c.entries {
                    if e.lcme_id.get() == 0 {
                        self.problem(ino, "trusted.lov: a component without a number");
                    }
                    if let Ok(Component::Plain(p)) = c.blob(e) {
                        // The size of an extension is in KiB, and it has no objects.
                        if !e.flags().contains(LcmeFlags::EXTENSION) {
                            self.plain(ino, lma, &p, e.flags().contains(LcmeFlags::INIT));
                        }
                    }
                }
            }
            LovMd::Foreign(..) => {}
        }
    }

    fn plain(&mut self, ino: u32, lma: &Lma, p: &Plain<'_>, instantiated: bool) {
        let pattern = p.pattern();
        let count = usize::from(p.md.lmm_stripe_count.get());
        let bare = pattern.intersects(LovPattern::MDT | LovPattern::F_RELEASED);
        if instantiated && !bare && p.objects.len() != count {
            let n = p.objects.len();
            self.problem(
                ino,
                format!("trusted.lov: {count} stripes, but {n} objects"),
            );
        }
        if instantiated && p.md.lmm_oi.to_fid().ok() != Some(lma.fid) {
            self.problem(ino, "trusted.lov is that of another file");
        }
        let size = p.md.lmm_stripe_size.get();
        if instantiated && (size == 0 || size % LOV_MIN_STRIPE_SIZE != 0) {
            self.problem(ino, format!("trusted.lov: stripes of {size} bytes"));
        }
        let holes = pattern.contains(LovPattern::F_HOLE);
        let wrong =
            |o: &LovOstData| o.l_ost_idx.get() > 0xffdf || o.l_ost_oi.id() == 0 || o.fid().is_err();
        if instantiated && !holes {
            if let Some(i) = p.objects.iter().position(wrong) {
                self.problem(
                    ino,
                    format!("trusted.lov: stripe {i} has no object that can be"),
                );
            }
        }
    }
}
