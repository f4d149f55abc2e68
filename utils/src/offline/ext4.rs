// SPDX-License-Identifier: GPL-2.0

//! Superblock, group descriptors, inodes and their blocks.

use super::{bad, le16, le32, Disk, Result};

/// Feature with FIDs in directory entries.
pub const INCOMPAT_DIRDATA: u32 = 0x1000;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_META_BG: u32 = 0x10;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
const RO_COMPAT_GDT_CSUM: u32 = 0x10;
/// Feature with checksums of metadata.
pub const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// filetype, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, dirdata, csum_seed, large_dir, recover.
const INCOMPAT_READ: u32 =
    0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000;
const BG_INODE_UNINIT: u16 = 1;
const EXTENTS_FL: u32 = 0x8_0000;
/// The directory has an index.
pub const INDEX_FL: u32 = 0x1000;
/// The inode is the value of an xattr.
pub const EA_INODE_FL: u32 = 0x20_0000;
const S_IFMT: u16 = 0o170_000;
/// Where the superblock is.
pub const SUPERBLOCK_AT: u64 = 1024;
/// The backend's root directory.
pub const ROOT_INO: u32 = 2;

/// A file system.
pub struct Fs<'d> {
    /// What it is on.
    pub disk: &'d dyn Disk,
    /// The superblock.
    pub sb: Vec<u8>,
    /// Bytes of a block.
    pub block_size: usize,
    /// Blocks.
    pub blocks: u64,
    /// Inodes.
    pub inodes: u32,
    first_data: u64,
    blocks_per_group: u32,
    inodes_per_group: u32,
    inode_size: usize,
    desc_size: usize,
    /// Block groups.
    pub groups: u32,
}

/// An inode.
pub struct Inode {
    /// Its number.
    pub ino: u32,
    /// Its bytes.
    pub raw: Vec<u8>,
}

impl Inode {
    /// Type and permissions.
    pub fn mode(&self) -> u16 {
        le16(&self.raw, 0)
    }
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode() & S_IFMT == 0o040_000
    }
    /// Whether it is a regular file.
    pub fn is_reg(&self) -> bool {
        self.mode() & S_IFMT == 0o100_000
    }
    /// The type as directory entries have it; 0: none.
    pub fn kind(&self) -> u8 {
        kind_of(self.mode())
    }
    /// Bytes.
    pub fn size(&self) -> u64 {
        u64::from(le32(&self.raw, 4)) | (u64::from(le32(&self.raw, 0x6c)) << 32)
    }
    /// Names.
    pub fn links(&self) -> u16 {
        le16(&self.raw, 0x1a)
    }
    /// Flags.
    pub fn flags(&self) -> u32 {
        le32(&self.raw, 0x20)
    }
    /// Generation.
    pub fn generation(&self) -> u32 {
        le32(&self.raw, 0x64)
    }
    /// Bytes of the large inode that are in use beyond the first 128.
    pub fn extra_size(&self) -> usize {
        usize::from(le16(&self.raw, 0x80))
    }
    /// The block of xattrs; 0: none.
    pub fn acl_block(&self) -> u64 {
        u64::from(le32(&self.raw, 0x68)) | (u64::from(le16(&self.raw, 0x76)) << 32)
    }
}

/// The type in a directory entry of an inode's mode.
pub fn kind_of(mode: u16) -> u8 {
    match mode & S_IFMT {
        0o100_000 => 1,
        0o040_000 => 2,
        0o020_000 => 3,
        0o060_000 => 4,
        0o010_000 => 5,
        0o140_000 => 6,
        0o120_000 => 7,
        _ => 0,
    }
}

impl<'d> Fs<'d> {
    /// Reads the superblock.
    pub fn open(disk: &'d dyn Disk) -> Result<Fs<'d>> {
        let mut sb = vec![0; 1024];
        disk.read(SUPERBLOCK_AT, &mut sb)?;
        if le16(&sb, 0x38) != 0xef53 {
            return bad("not an ext4 file system");
        }
        let incompat = le32(&sb, 0x60);
        if incompat & !INCOMPAT_READ != 0 {
            return bad(format!(
                "has features that a target cannot have (incompat {:#x})",
                incompat & !INCOMPAT_READ
            ));
        }
        let log = le32(&sb, 0x18);
        if log > 6 {
            return bad("the size of blocks in the superblock is out of range");
        }
        let block_size = 1024_usize << log;
        let wide = incompat & INCOMPAT_64BIT != 0;
        let hi = if wide { le32(&sb, 0x150) } else { 0 };
        let fs = Fs {
            disk,
            block_size,
            blocks: u64::from(le32(&sb, 4)) | (u64::from(hi) << 32),
            inodes: le32(&sb, 0),
            first_data: u64::from(le32(&sb, 0x14)),
            blocks_per_group: le32(&sb, 0x20),
            inodes_per_group: le32(&sb, 0x28),
            inode_size: usize::from(le16(&sb, 0x58)),
            desc_size: if wide {
                usize::from(le16(&sb, 0xfe))
            } else {
                32
            },
            groups: 0,
            sb,
        };
        fs.checked()
    }

    fn checked(mut self) -> Result<Fs<'d>> {
        let bits = self.block_size as u32 * 8;
        if self.blocks_per_group == 0
            || self.blocks_per_group > bits
            || self.inodes_per_group == 0
            || self.inodes_per_group > bits
            || !self.inode_size.is_power_of_two()
            || self.inode_size < 128
            || self.inode_size > self.block_size
            || self.first_data > 1
            || self.blocks <= self.first_data
            || !self.desc_size.is_power_of_two()
            || !(32..=self.block_size).contains(&self.desc_size)
        {
            return bad("the geometry in the superblock is out of range");
        }
        let groups = (self.blocks - self.first_data).div_ceil(u64::from(self.blocks_per_group));
        let by_inodes = self.inodes.div_ceil(self.inodes_per_group);
        if groups != u64::from(by_inodes) {
            return bad(
                "blocks and inodes in the superblock do not give the same number of groups",
            );
        }
        // A device that is shorter than its superblock says is damaged; so memory is bounded by the device.
        let mut last = [0];
        self.disk.read(
            (self.blocks - 1).saturating_mul(self.block_size as u64),
            &mut last,
        )?;
        self.groups = by_inodes;
        Ok(self)
    }

    /// Incompatible features.
    pub fn incompat(&self) -> u32 {
        le32(&self.sb, 0x60)
    }

    /// Whether the journal has to be replayed.
    pub fn needs_recovery(&self) -> bool {
        self.incompat() & INCOMPAT_RECOVER != 0
    }

    /// The inode of the journal in this file system.
    pub fn journal_ino(&self) -> Option<u32> {
        let has = le32(&self.sb, 0x5c) & COMPAT_HAS_JOURNAL != 0;
        Some(le32(&self.sb, 0xe0)).filter(|n| has && *n != 0)
    }

    /// Whether metadata have checksums.
    pub fn has_csum(&self) -> bool {
        le32(&self.sb, 0x64) & RO_COMPAT_METADATA_CSUM != 0
    }

    /// The inode of project quota; 0: none.
    pub fn project_quota_ino(&self) -> u32 {
        le32(&self.sb, 0x26c)
    }

    /// The file system's UUID.
    pub fn uuid(&self) -> &[u8] {
        self.sb.get(0x68..0x78).unwrap_or(&[])
    }

    /// The label.
    pub fn label(&self) -> &[u8] {
        let l = self.sb.get(0x78..0x88).unwrap_or(&[]);
        l.split(|c| *c == 0).next().unwrap_or(l)
    }

    /// Byte offsets of the copies of the superblock.
    pub fn backups(&self) -> Vec<u64> {
        let sparse = le32(&self.sb, 0x64) & RO_COMPAT_SPARSE_SUPER != 0;
        let power = |mut g: u32, of: u32| {
            while g % of == 0 {
                g /= of;
            }
            g == 1
        };
        (1..self.groups)
            .filter(|g| !sparse || *g == 1 || [3, 5, 7].iter().any(|p| power(*g, *p)))
            .map(|g| {
                (self.first_data + u64::from(g) * u64::from(self.blocks_per_group))
                    * self.block_size as u64
            })
            .collect()
    }

    /// One block.
    pub fn block(&self, n: u64) -> Result<Vec<u8>> {
        if n == 0 || n >= self.blocks {
            return bad(format!("block {n} is not in the file system"));
        }
        let mut b = vec![0; self.block_size];
        self.disk.read(n * self.block_size as u64, &mut b)?;
        Ok(b)
    }

    fn desc(&self, group: u32) -> Result<Vec<u8>> {
        let per = (self.block_size / self.desc_size) as u64;
        let nth = u64::from(group) / per;
        let first_meta = u64::from(le32(&self.sb, 0x104));
        let block = if self.incompat() & INCOMPAT_META_BG == 0 || nth < first_meta {
            self.first_data + 1 + nth
        } else {
            // Groups before that have a superblock's copy first, the others do not: 0 has.
            let g = nth * per;
            let copy = self.first_data + g * u64::from(self.blocks_per_group);
            let has = g == 0 || self.backups().contains(&(copy * self.block_size as u64));
            copy + u64::from(has)
        };
        let at = (u64::from(group) % per) as usize * self.desc_size;
        let b = self.block(block)?;
        Ok(b.get(at..at + self.desc_size).unwrap_or(&[]).to_vec())
    }

    fn wide(&self, desc: &[u8], lo: usize, hi: usize) -> u64 {
        let high = if self.desc_size >= 64 {
            le32(desc, hi)
        } else {
            0
        };
        u64::from(le32(desc, lo)) | (u64::from(high) << 32)
    }

    /// Numbers of the inodes of a group that are in use.
    pub fn used_inodes(&self, group: u32) -> Result<Vec<u32>> {
        let d = self.desc(group)?;
        let csum = le32(&self.sb, 0x64) & (RO_COMPAT_GDT_CSUM | RO_COMPAT_METADATA_CSUM) != 0;
        if csum && le16(&d, 0x12) & BG_INODE_UNINIT != 0 {
            return Ok(Vec::new());
        }
        let map = self.block(self.wide(&d, 4, 0x24))?;
        let first = group * self.inodes_per_group + 1;
        Ok((0..self.inodes_per_group)
            .filter(|i| {
                map.get(*i as usize / 8)
                    .is_some_and(|b| (b >> (i % 8)) & 1 != 0)
            })
            .filter_map(|i| first.checked_add(i))
            .filter(|i| *i <= self.inodes)
            .collect())
    }

    /// Byte offset of an inode.
    pub fn inode_at(&self, ino: u32) -> Result<u64> {
        if ino == 0 || ino > self.inodes {
            return bad(format!("there is no inode {ino}"));
        }
        let d = self.desc((ino - 1) / self.inodes_per_group)?;
        let table = self.wide(&d, 8, 0x28);
        if table == 0 || table >= self.blocks {
            return bad(format!(
                "the inode table of inode {ino} is not in the file system"
            ));
        }
        let nth = u64::from((ino - 1) % self.inodes_per_group);
        Ok(table * self.block_size as u64 + nth * self.inode_size as u64)
    }

    /// An inode.
    pub fn inode(&self, ino: u32) -> Result<Inode> {
        let at = self.inode_at(ino)?;
        let mut raw = vec![0; self.inode_size];
        self.disk.read(at, &mut raw)?;
        Ok(Inode { ino, raw })
    }

    /// How many blocks a file may have, holes included; more than the file system has is damage.
    pub fn file_blocks(&self, inode: &Inode) -> Result<u32> {
        let n = inode.size().div_ceil(self.block_size as u64);
        match u32::try_from(n) {
            Ok(n) if u64::from(n) <= self.blocks => Ok(n),
            _ => bad(format!("a size of {} bytes cannot be", inode.size())),
        }
    }

    /// Where block `n` of the file is; `None`: a hole.
    pub fn map(&self, inode: &Inode, n: u32) -> Result<Option<u64>> {
        let i_block = inode.raw.get(0x28..0x64).unwrap_or(&[]);
        if inode.flags() & EXTENTS_FL != 0 {
            return self.extent(i_block.to_vec(), n, None);
        }
        let per = self.block_size as u64 / 4;
        let (mut n, mut depth, mut at) = (u64::from(n), 0_u32, u64::from(n));
        if n >= 12 {
            n -= 12;
            let mut span = per;
            depth = 1;
            while n >= span {
                n -= span;
                span *= per;
                depth += 1;
                if depth > 3 {
                    return bad("beyond the largest file");
                }
            }
            at = 11 + u64::from(depth);
        }
        let mut p = u64::from(le32(i_block, at as usize * 4));
        while depth > 0 && p != 0 {
            depth -= 1;
            let index = n / per.pow(depth) % per;
            p = u64::from(le32(&self.block(p)?, index as usize * 4));
        }
        Ok(Some(p).filter(|p| *p != 0))
    }

    fn extent(&self, node: Vec<u8>, n: u32, depth: Option<u16>) -> Result<Option<u64>> {
        let (magic, count, d) = (le16(&node, 0), usize::from(le16(&node, 2)), le16(&node, 6));
        if magic != 0xf30a
            || d > 5
            || depth.is_some_and(|want| want != d)
            || (count + 1) * 12 > node.len()
        {
            return bad("a damaged tree of extents");
        }
        let entry = |i: usize| &node[12 + i * 12..];
        let mut found = None;
        for i in 0..count {
            if le32(entry(i), 0) <= n {
                found = Some(i);
            }
        }
        let Some(e) = found.map(entry) else {
            return Ok(None);
        };
        if d > 0 {
            let child = u64::from(le32(e, 4)) | (u64::from(le16(e, 8)) << 32);
            return self.extent(self.block(child)?, n, Some(d - 1));
        }
        let len = le16(e, 4);
        let (len, unwritten) = if len > 0x8000 {
            (len - 0x8000, true)
        } else {
            (len, false)
        };
        let off = n - le32(e, 0);
        if off >= u32::from(len) || unwritten {
            return Ok(None);
        }
        let p = (u64::from(le32(e, 8)) | (u64::from(le16(e, 6)) << 32)) + u64::from(off);
        Ok(Some(p))
    }

    /// Block `n` of a file; zeroes for a hole.
    pub fn file_block(&self, inode: &Inode, n: u32) -> Result<Vec<u8>> {
        match self.map(inode, n)? {
            Some(p) => self.block(p),
            None => Ok(vec![0; self.block_size]),
        }
    }

    /// A file's bytes from `at`, at most `len`, up to its end.
    pub fn read(&self, inode: &Inode, at: u64, len: usize) -> Result<Vec<u8>> {
        let end = inode.size().min(at.saturating_add(len as u64));
        let mut out = Vec::new();
        let mut pos = at;
        while pos < end {
            let n = u32::try_from(pos / self.block_size as u64)
                .or_else(|_| bad("beyond the largest file"))?;
            let from = (pos % self.block_size as u64) as usize;
            let take = (self.block_size - from).min((end - pos) as usize);
            out.extend_from_slice(&self.file_block(inode, n)?[from..from + take]);
            pos += take as u64;
        }
        Ok(out)
    }
}
