// SPDX-License-Identifier: GPL-2.0

//! Walks an index file (`spec/ondisk.md` 5).

use crate::offline::ext4::{Fs, Inode};
use crate::offline::{bad, Result};
use std::collections::HashSet;
use wire::disk::iam::{
    entry_size, idle_capacity, leaf_capacity, node_limit, root_limit, DxCountLimit, IamIdleHead,
    IamLeafHead, IamLfixRoot, IamRootCountLimit, IAM_IDLE_HEADER_MAGIC, IAM_LEAF_HEADER_MAGIC,
    IAM_LFIX_ROOT_MAGIC, IAM_MAX_TREE_HEIGHT, IAM_PTR_SIZE,
};
use zerocopy::FromBytes;

/// Whether the file looks like one.
pub(super) fn is_index(fs: &Fs<'_>, inode: &Inode) -> Result<bool> {
    let head = fs.read(inode, 0, 8)?;
    Ok(head == IAM_LFIX_ROOT_MAGIC.to_le_bytes())
}

struct Walk<'a, 'd, F> {
    fs: &'a Fs<'d>,
    inode: &'a Inode,
    blocks: u32,
    key: usize,
    rec: usize,
    seen: HashSet<u32>,
    last: Option<Vec<u8>>,
    f: F,
}

/// Calls `f` with each key and record, in order. `sizes`: of key and record, if they are known.
pub(super) fn walk<F>(fs: &Fs<'_>, inode: &Inode, sizes: Option<(usize, usize)>, f: F) -> Result<()>
where
    F: FnMut(&[u8], &[u8]) -> Result<()>,
{
    let blocks = fs.file_blocks(inode)?;
    if blocks < 2 {
        return bad("an index of less than two blocks");
    }
    let block = fs.file_block(inode, 0)?;
    let Ok((root, _)) = IamLfixRoot::ref_from_prefix(&block) else {
        return bad("an index without a root");
    };
    let key = usize::from(root.ilr_keysize.get());
    let rec = usize::from(root.ilr_recsize.get());
    let levels = usize::from(root.ilr_indirect_levels);
    if root.ilr_magic.get() != IAM_LFIX_ROOT_MAGIC
        || root.ilr_ptrsize.get() != IAM_PTR_SIZE
        || sizes.is_some_and(|s| s != (key, rec))
        || entry_size(key) < 8
        || leaf_capacity(fs.block_size, key, rec) < 2
        || levels >= IAM_MAX_TREE_HEIGHT
    {
        return bad("the root of the index is damaged");
    }
    let mut w = Walk {
        fs,
        inode,
        blocks,
        key,
        rec,
        seen: HashSet::from([0]),
        last: None,
        f,
    };
    let Ok((slot, _)) = IamRootCountLimit::ref_from_prefix(&block[16..]) else {
        return bad("the root of the index is cut");
    };
    let idle = slot.idle_blocks.get();
    w.node(&block[16..], root_limit(fs.block_size, key), levels)?;
    w.idle(idle)
}

impl<F: FnMut(&[u8], &[u8]) -> Result<()>> Walk<'_, '_, F> {
    fn visit(&mut self, n: u32) -> Result<Vec<u8>> {
        if n >= self.blocks || !self.seen.insert(n) {
            return bad(format!("index block {n} is beyond the end or used twice"));
        }
        self.fs.file_block(self.inode, n)
    }

    fn node(&mut self, body: &[u8], limit: usize, levels: usize) -> Result<()> {
        let Ok((head, _)) = DxCountLimit::ref_from_prefix(body) else {
            return bad("an index block is cut");
        };
        let count = usize::from(head.count.get());
        if usize::from(head.limit.get()) != limit || count < 2 || count > limit {
            return bad(format!(
                "an index block has {count} entries of {}, should have 2 to {limit}",
                head.limit
            ));
        }
        let size = entry_size(self.key);
        for e in body.chunks_exact(size).take(count).skip(1) {
            let (_, ptr) = e.split_at(self.key);
            let n = crate::offline::le32(ptr, 0);
            let child = self.visit(n)?;
            if levels > 0 {
                self.node(&child, node_limit(self.fs.block_size, self.key), levels - 1)?;
            } else {
                self.leaf(n, &child)?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, n: u32, block: &[u8]) -> Result<()> {
        let Ok((head, body)) = IamLeafHead::ref_from_prefix(block) else {
            return bad("a leaf is cut");
        };
        let count = usize::from(head.ill_count.get());
        let room = leaf_capacity(self.fs.block_size, self.key, self.rec);
        if head.ill_magic.get() != IAM_LEAF_HEADER_MAGIC || count > room {
            return bad(format!("leaf {n} of the index is damaged"));
        }
        for pair in body.chunks_exact(self.key + self.rec).take(count) {
            let (key, rec) = pair.split_at(self.key);
            if self.last.as_deref().is_some_and(|l| l >= key) {
                return bad(format!("keys in leaf {n} of the index are out of order"));
            }
            self.last = Some(key.to_vec());
            (self.f)(key, rec)?;
        }
        Ok(())
    }

    fn idle(&mut self, mut n: u32) -> Result<()> {
        while n != 0 {
            let block = self.visit(n)?;
            let Ok((head, list)) = IamIdleHead::ref_from_prefix(&block) else {
                return bad("a table of idle blocks is cut");
            };
            let count = usize::from(head.iih_count.get());
            if head.iih_magic.get() != IAM_IDLE_HEADER_MAGIC
                || count > idle_capacity(self.fs.block_size)
            {
                return bad(format!("block {n} of the index is no table of idle blocks"));
            }
            for b in list.chunks_exact(4).take(count) {
                let b = crate::offline::le32(b, 0);
                if b >= self.blocks || !self.seen.insert(b) {
                    return bad(format!("idle block {b} is beyond the end or in use"));
                }
            }
            n = head.iih_next.get();
        }
        Ok(())
    }
}
