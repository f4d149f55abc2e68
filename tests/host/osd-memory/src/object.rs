// SPDX-License-Identifier: GPL-2.0

//! Objects: what is read of them, and bulk data.

use crate::bulk::MAX_SIZE;
use crate::commit::not_in_transaction;
use crate::device::Shared;
use crate::node::{Content, Inode, Node};
use crate::Fid;
use core::any::Any;
use core::ffi::CStr;
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd::{Attr, Entry, Extent, Object, Walk};

/// Entries that are copied at a time.
const BATCH: usize = 256;
/// What directories say at their end.
const END: u64 = i64::MAX as u64;

pub(crate) struct MemoryObject {
    shared: std::sync::Arc<Shared>,
    pub(crate) node: std::sync::Arc<Node>,
}

impl MemoryObject {
    pub(crate) fn new(shared: &std::sync::Arc<Shared>, node: std::sync::Arc<Node>) -> MemoryObject {
        MemoryObject {
            shared: shared.clone(),
            node,
        }
    }

    /// Changes bulk data; `grow` is a range that needs blocks.
    fn change(&self, grow: (u64, u64), f: impl FnOnce(&mut Inode) -> Result) -> Result {
        not_in_transaction("bulk data");
        let end = grow.0.checked_add(grow.1).ok_or(EFBIG)?;
        if end > MAX_SIZE {
            return Err(EFBIG);
        }
        self.node.with(|i| {
            self.shared.room(i.bulk()?.missing(grow.0, grow.1))?;
            let r = f(i);
            self.shared.recount(i);
            r
        })
    }
}

fn copy(value: &[u8], buf: &mut [u8]) -> Result<usize> {
    if buf.is_empty() {
        return Ok(value.len());
    }
    buf.get_mut(..value.len())
        .ok_or(ERANGE)?
        .copy_from_slice(value);
    Ok(value.len())
}

impl Object for MemoryObject {
    fn fid(&self) -> &Fid {
        &self.node.fid
    }

    fn exists(&self) -> bool {
        self.node.inode().is_some()
    }

    fn attr(&self) -> Result<Attr> {
        self.node.with(|i| Ok(i.attr))
    }

    fn xattr(&self, name: &CStr, buf: &mut [u8]) -> Result<usize> {
        self.node
            .with(|i| copy(i.xattrs.get(name).ok_or(ENODATA)?, buf))
    }

    fn list_xattr(&self, buf: &mut [u8]) -> Result<usize> {
        self.node.with(|i| {
            let names: Vec<u8> = i
                .xattrs
                .keys()
                .flat_map(|n| n.to_bytes_with_nul())
                .copied()
                .collect();
            copy(&names, buf)
        })
    }

    fn readlink(&self, buf: &mut [u8]) -> Result<usize> {
        self.node.with(|i| match &i.content {
            Content::Link(t) => {
                let n = t.as_bytes().len().min(buf.len());
                buf[..n].copy_from_slice(&t.as_bytes()[..n]);
                Ok(n)
            }
            _ => Err(EINVAL),
        })
    }

    fn lookup(&self, name: &[u8]) -> Result<Fid> {
        self.node.with(|i| i.dir().map(drop))?;
        self.node.settled()?;
        self.node.with(|i| {
            let d = i.dir()?;
            match name {
                b"." => Ok(self.node.fid),
                // What is above the root of the name space is nobody's business.
                b".." if self.node.fid.is_root() => Ok(self.node.fid),
                b".." => Ok(d.parent),
                _ => d.get(name).map(|n| n.fid).ok_or(ENOENT),
            }
        })
    }

    fn readdir(&self, pos: u64, f: &mut dyn FnMut(&Entry<'_>) -> Result<Walk>) -> Result<u64> {
        not_in_transaction("readdir()");
        let up = {
            self.node.with(|i| i.dir().map(drop))?;
            self.lookup(b"..")?
        };
        let dots: [(&[u8], Fid); 2] = [(b".", self.node.fid), (b"..", up)];
        for (at, (name, fid)) in (0..).zip(dots) {
            let entry = Entry {
                name,
                fid,
                pos: at,
                ty: 4,
            };
            if at >= pos && f(&entry)? == Walk::Stop {
                return Ok(at);
            }
        }
        let mut from = (pos.max(2), Vec::new());
        loop {
            self.node.settled()?;
            // Copied, so that `f` may look at the directory.
            let batch: Vec<_> = self.node.with(|i| {
                let names = i.dir()?.names.range(from.clone()..).take(BATCH);
                Ok(names.map(|(k, v)| (k.clone(), *v)).collect())
            })?;
            for ((pos, name), n) in &batch {
                let entry = Entry {
                    name,
                    fid: n.fid,
                    pos: *pos,
                    ty: n.ty,
                };
                if f(&entry)? == Walk::Stop {
                    return Ok(*pos);
                }
            }
            match batch.into_iter().last() {
                // No name has a NUL: this is the next one that may be.
                Some(((pos, mut name), _)) => {
                    name.push(0);
                    from = (pos, name);
                }
                None => return Ok(END),
            }
        }
    }

    fn is_empty_dir(&self) -> Result<bool> {
        self.node.with(|i| i.dir().map(drop))?;
        self.node.settled()?;
        self.node.with(|i| Ok(i.dir()?.names.is_empty()))
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result<usize> {
        self.node.with(|i| {
            let data = i.small()?;
            let off = usize::try_from(off).unwrap_or(usize::MAX);
            let data = data.get(off..).unwrap_or_default();
            let n = data.len().min(buf.len());
            buf[..n].copy_from_slice(&data[..n]);
            Ok(n)
        })
    }

    fn index_shape(&self) -> Result<(usize, usize)> {
        self.node.with(|i| i.index().map(|i| (i.key, i.rec)))
    }

    fn index_get(&self, key: &[u8], rec: &mut [u8]) -> Result<bool> {
        self.node.with(|i| {
            let index = i.index()?;
            if key.len() != index.key || rec.len() != index.rec {
                return Err(EINVAL);
            }
            let found = index.records.get(key);
            if let Some(r) = found {
                rec.copy_from_slice(r);
            }
            Ok(found.is_some())
        })
    }

    fn index_next(&self, key: &mut [u8], rec: &mut [u8]) -> Result<bool> {
        self.node.with(|i| {
            let index = i.index()?;
            if key.len() != index.key || rec.len() != index.rec {
                return Err(EINVAL);
            }
            let found = index.records.range(key.to_vec()..).next();
            if let Some((k, r)) = found {
                key.copy_from_slice(k);
                rec.copy_from_slice(r);
            }
            Ok(found.is_some())
        })
    }

    fn read_pages(&self, pages: &mut Pages, at: usize, len: usize, pos: u64) -> Result<usize> {
        not_in_transaction("bulk data");
        if at.checked_add(len).is_none_or(|end| end > pages.len()) {
            return Err(EINVAL);
        }
        self.node.with(|i| {
            let left = i.attr.size.saturating_sub(pos);
            let n = len.min(usize::try_from(left).unwrap_or(usize::MAX));
            i.bulk()?.read(pages, at, n, pos)?;
            Ok(n)
        })
    }

    fn write_pages(&self, pages: &Pages, at: usize, len: usize, pos: u64) -> Result {
        if at.checked_add(len).is_none_or(|end| end > pages.len()) {
            return Err(EINVAL);
        }
        self.change((pos, len as u64), |i| {
            i.bulk()?.write(pages, at, len, pos)?;
            if len > 0 {
                i.attr.size = i.attr.size.max(pos + len as u64);
            }
            Ok(())
        })
    }

    fn truncate(&self, size: u64) -> Result {
        self.change((size, 0), |i| {
            let old = i.attr.size;
            i.bulk()?.cut(size.min(old));
            if size < old {
                // Blocks behind the end go, too.
                i.bulk()?.cut(size);
            }
            i.attr.size = size;
            Ok(())
        })
    }

    fn punch(&self, off: u64, len: u64) -> Result {
        if len == 0 {
            return Err(EINVAL);
        }
        self.change((off.min(MAX_SIZE), 0), |i| {
            // What is behind the end stays.
            let end = off
                .saturating_add(len)
                .min(i.attr.size.next_multiple_of(PAGE_SIZE as u64));
            if off < i.attr.size {
                i.bulk()?.punch(off, end - off);
            }
            Ok(())
        })
    }

    fn preallocate(&self, off: u64, len: u64, keep_size: bool) -> Result {
        if len == 0 {
            return Err(EINVAL);
        }
        self.change((off, len), |i| {
            i.bulk()?.allocate(off, len);
            if !keep_size {
                i.attr.size = i.attr.size.max(off + len);
            }
            Ok(())
        })
    }

    fn zero_range(&self, off: u64, len: u64, keep_size: bool) -> Result {
        if len == 0 {
            return Err(EINVAL);
        }
        self.change((off, len), |i| {
            i.bulk()?.zero(off, len);
            if !keep_size {
                i.attr.size = i.attr.size.max(off + len);
            }
            Ok(())
        })
    }

    fn seek_data(&self, off: u64) -> Result<u64> {
        self.node.with(|i| {
            let size = i.attr.size;
            let found = i.bulk()?.seek_data(off).filter(|at| *at < size);
            found.ok_or(ENXIO)
        })
    }

    fn seek_hole(&self, off: u64) -> Result<u64> {
        self.node.with(|i| {
            let size = i.attr.size;
            if off >= size {
                return Err(ENXIO);
            }
            Ok(i.bulk()?.seek_hole(off).min(size))
        })
    }

    fn extent(&self, off: u64) -> Result<Option<Extent>> {
        self.node.with(|i| {
            Ok(i.bulk()?.run(off).map(|(at, len, unwritten)| Extent {
                logical: at,
                // As if each file had a disk of its own.
                physical: (1 << 40) + at,
                len,
                unwritten,
            }))
        })
    }

    fn sync_data(&self) -> Result {
        not_in_transaction("sync_data()");
        // What was written is where a crash of the device would leave it.
        self.node.with(|i| i.bulk().map(drop))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
