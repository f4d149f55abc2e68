// SPDX-License-Identifier: GPL-2.0

//! The device below a store: the mount, what is checked before it, and directories by name.

use crate::commit::CommitQueue;
use crate::damage;
use crate::htree::{self, Blocks, Found, HashInfo};
use core::ffi::CStr;
use kapi::ldiskfs::{self, Dquot, Mount, Node, QuotaKind, Shared, Super};
use kapi::prelude::*;

const MAGIC: u32 = 0xef53;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_FAST_COMMIT: u32 = 0x400;
const INCOMPAT_DIRDATA: u32 = 0x1000;
const INCOMPAT_INLINE_DATA: u32 = 0x8000;
const INCOMPAT_ENCRYPT: u32 = 0x10000;
const INCOMPAT_CASEFOLD: u32 = 0x20000;
/// Options of every mount: data is allocated inside transactions, and xattr blocks are not shared.
const OPTIONS: &CStr =
    c"user_xattr,acl,no_mbcache,nodelalloc,data=ordered,barrier,errors=remount-ro";

/// ext4's flag of indexed directories.
const INDEX_FL: u32 = 0x1000;

/// A mounted device.
pub(crate) struct Device {
    commits: Arc<CommitQueue>,
    root: Node,
    hashing: HashInfo,
    readonly: bool,
    // New inodes are root's at first: that needs no quota record to be made.
    _root_ids: KVec<Dquot>,
    // Last, as what unmounts it.
    mount: Arc<Mount>,
}

fn check(path: &CStr, s: &Super) -> Result {
    let dev = path.to_str().unwrap_or("the device");
    if s.magic != MAGIC {
        pr_err!("{}: not an ext4 device\n", dev);
        return Err(EINVAL);
    }
    if s.incompat & INCOMPAT_DIRDATA != 0 {
        pr_err!(
            "{}: has the feature dirdata: run 'tunefs.lustre --strip-dirdata {}'\n",
            dev,
            dev
        );
        return Err(EINVAL);
    }
    for (bad, name) in [
        (s.compat & COMPAT_HAS_JOURNAL == 0, "no journal"),
        (
            s.compat & COMPAT_FAST_COMMIT != 0,
            "the feature fast_commit",
        ),
        (
            s.incompat & INCOMPAT_INLINE_DATA != 0,
            "the feature inline_data",
        ),
        (s.incompat & INCOMPAT_ENCRYPT != 0, "the feature encrypt"),
        (s.incompat & INCOMPAT_CASEFOLD != 0, "the feature casefold"),
    ] {
        if bad {
            pr_err!("{}: has {}, which a target must not have\n", dev, name);
            return Err(EINVAL);
        }
    }
    Ok(())
}

impl Device {
    /// Checks and mounts the device at `path`.
    ///
    /// # Errors
    /// `EINVAL`: it cannot be a target; the log says why. `EBUSY`: mounted elsewhere. `EIO`.
    /// `EROFS`: it cannot be written to, and `readonly` was not asked for.
    pub(crate) fn open(path: &CStr, readonly: bool) -> Result<Arc<Device>> {
        check(path, &ldiskfs::probe(path)?)?;
        let commits = CommitQueue::new()?;
        let mount = Mount::open(path, OPTIONS, readonly, commits.clone())?;
        let s = mount.superblock();
        let mut root_ids = KVec::new();
        for kind in [QuotaKind::User, QuotaKind::Group, QuotaKind::Project] {
            if let Some(d) = mount.dquot(kind, 0)? {
                root_ids.push(d, GFP_KERNEL)?;
            }
        }
        let dev = Device {
            root: mount.root()?,
            hashing: HashInfo {
                unsigned: s.hash_unsigned != 0,
                seed: s.hash_seed,
            },
            readonly,
            mount,
            commits,
            _root_ids: root_ids,
        };
        Ok(Arc::new(dev, GFP_KERNEL)?)
    }

    /// The mount.
    pub(crate) fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// Callbacks that wait for commits.
    pub(crate) fn commits(&self) -> &Arc<CommitQueue> {
        &self.commits
    }

    /// The root directory of the file system.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// Whether it was mounted for reading alone.
    pub(crate) fn is_readonly(&self) -> bool {
        self.readonly
    }

    /// What is lost can be made anew.
    ///
    /// # Errors
    /// `EUCLEAN`: it was mounted for reading alone.
    pub(crate) fn can_repair(&self) -> Result {
        if self.readonly {
            pr_err!("the target needs repair: mount it for writing first\n");
            return Err(EUCLEAN);
        }
        Ok(())
    }

    /// Space and inodes.
    pub(crate) fn statfs(&self) -> Result<osd::StatFs> {
        let s = self.mount.statfs()?;
        Ok(osd::StatFs {
            blocks: s.blocks,
            bfree: s.bfree,
            bavail: s.bavail,
            files: s.files,
            ffree: s.ffree,
            bsize: s.bsize,
            namelen: s.namelen,
            readonly: s.readonly != 0,
        })
    }

    /// The entry of a name in a directory, if it has it.
    ///
    /// # Errors
    /// `ENOTDIR`, `EUCLEAN`, `EIO`; `EDEADLK` in a transaction that did not lock the directory.
    pub(crate) fn find(&self, dir: &Node, name: &[u8]) -> Result<Option<Found>> {
        if !dir.is_dir() {
            return Err(ENOTDIR);
        }
        let lock = dir.shared()?;
        let attr = dir.attr();
        let blocks = DirBlocks {
            dir,
            lock,
            count: u32::try_from(attr.size.div_ceil(self.mount.block_size() as u64))?,
        };
        htree::lookup(&blocks, attr.flags & INDEX_FL != 0, &self.hashing, name)
    }

    /// The inode of a name in a directory.
    ///
    /// # Errors
    /// `ENOENT`, and those of [`Device::find`].
    pub(crate) fn lookup(&self, dir: &Node, name: &[u8]) -> Result<Node> {
        let found = self.find(dir, name)?.ok_or(ENOENT)?;
        self.mount.iget(u64::from(found.ino), 0)
    }

    /// Whether a directory has no entries but its own two.
    pub(crate) fn is_empty(&self, dir: &Node) -> Result<bool> {
        if !dir.is_dir() {
            return Err(ENOTDIR);
        }
        let lock = dir.shared()?;
        let size = dir.attr().size;
        htree::is_empty(&DirBlocks {
            dir,
            lock,
            count: u32::try_from(size.div_ceil(self.mount.block_size() as u64))?,
        })
    }
}

struct DirBlocks<'a> {
    dir: &'a Node,
    lock: Shared<'a>,
    count: u32,
}

impl Blocks for DirBlocks<'_> {
    fn block(&self, n: u32, f: &mut dyn FnMut(Option<&[u8]>) -> Result) -> Result {
        let seen = match n < self.count {
            true => self.lock.dir_block(n, |b| f(b)).and_then(|r| r),
            false => Err(EUCLEAN),
        };
        seen.inspect_err(|e| {
            let advice = ": unmount the target, and run e2fsck -f";
            damage::in_block(self.dir, n, "a directory", advice, *e);
        })
    }

    fn count(&self) -> u32 {
        self.count
    }
}
