// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: in the inode, in a block, in inodes of their own.

use super::ext4::{Fs, Inode, EA_INODE_FL};
use super::{bad, le16, le32, Result};

const MAGIC: u32 = 0xea02_0000;
const TRUSTED: u8 = 4;
/// More bytes than any value has.
const MAX_VALUE: usize = 1 << 20;

/// The values of `trusted.*` that matter, of one inode.
#[derive(Default)]
pub struct Trusted {
    all: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Trusted {
    /// The value of `trusted.NAME`; the name may have its prefix.
    pub fn get(&self, name: &std::ffi::CStr) -> Option<&[u8]> {
        let name = name.to_bytes();
        let name = name.strip_prefix(b"trusted.").unwrap_or(name);
        self.all
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_slice())
    }
}

/// Reads them all.
pub fn trusted(fs: &Fs<'_>, inode: &Inode) -> Result<Trusted> {
    let mut t = Trusted::default();
    let at = 128 + inode.extra_size();
    if inode.raw.len() > 128
        && at % 4 == 0
        && at + 4 <= inode.raw.len()
        && le32(&inode.raw, at) == MAGIC
    {
        let area = &inode.raw[at + 4..];
        entries(fs, area, 0, &mut t)?;
    }
    if inode.acl_block() != 0 {
        let block = fs.block(inode.acl_block())?;
        if le32(&block, 0) != MAGIC {
            return bad("the block of xattrs has no magic number");
        }
        entries(fs, &block, 32, &mut t)?;
    }
    Ok(t)
}

fn entries(fs: &Fs<'_>, area: &[u8], mut at: usize, t: &mut Trusted) -> Result<()> {
    while le32(area, at) != 0 && at + 4 <= area.len() {
        let Some(head) = area.get(at..at + 16) else {
            return bad("the list of xattrs has no end");
        };
        let name_len = usize::from(head[0]);
        let Some(name) = area.get(at + 16..at + 16 + name_len) else {
            return bad("the name of an xattr is cut");
        };
        if head[1] == TRUSTED {
            let (off, inum, size) = (
                usize::from(le16(head, 2)),
                le32(head, 4),
                le32(head, 8) as usize,
            );
            let value = if inum != 0 {
                value_inode(fs, inum, size)?
            } else {
                match area.get(off..off.saturating_add(size)) {
                    Some(v) => v.to_vec(),
                    None => return bad("the value of an xattr is not where it says"),
                }
            };
            t.all.push((name.to_vec(), value));
        }
        at += (16 + name_len).next_multiple_of(4);
    }
    Ok(())
}

fn value_inode(fs: &Fs<'_>, inum: u32, size: usize) -> Result<Vec<u8>> {
    let inode = fs.inode(inum)?;
    if inode.flags() & EA_INODE_FL == 0 || size > MAX_VALUE || inode.size() != size as u64 {
        return bad(format!("inode {inum} is not the value of an xattr"));
    }
    fs.read(&inode, 0, size)
}
