// SPDX-License-Identifier: GPL-2.0

//! The root, space, syncs, paths: what is not about one name or object (`mdt.md` 4, 12, 14).

use crate::answer::{Answer, Wanted};
use crate::device::Core;
use crate::message;
use crate::open_files::{Agreed, MdtClient};
use crate::stats::Op;
use kapi::prelude::*;
use osd::{Fid, ObjectRef};
use target::{Request, Served};
use wire::connect::{ConnectFlags, ConnectFlags2};
use wire::disk::linkea::{LinkEa, XATTR_NAME_LINK};
use wire::fid::LuFid;
use wire::mdt::{GetinfoFid2path, MdtBody};
use wire::obdo::ObdMd;
use wire::ost::{ObdStatfs, OsState, EXT4_SUPER_MAGIC};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const BODY: u32 = size_of::<MdtBody>() as u32;
/// Largest file that clients may make of objects here, bytes.
const MAX_BYTES: u64 = 0xfff_ffff_f000;
/// Smallest blocks that all clients count in, bytes.
const BLOCK: u32 = 4096;
/// Longest path.
const PATH_MAX: usize = 4096;
/// Where the question begins behind the word "fid2path".
const QUESTION: usize = 16;
const HEAD: usize = size_of::<GetinfoFid2path>();

impl Core {
    /// MDS_GET_ROOT.
    #[inline(never)]
    pub(crate) fn get_root(&self, req: &mut Request<'_>) -> Result<Served> {
        // There is nothing in it that counts, but it has to be there.
        message::body(req.rpc, 1)?;
        let root = match req.rpc.msg().buf(2) {
            Some(b) if !b.is_empty() => {
                if !Agreed::with(req).has(ConnectFlags::SUBTREE) {
                    return Err(EOPNOTSUPP);
                }
                self.walk(&message::string(req.rpc.msg(), 2, PATH_MAX - 1)?)?
            }
            _ => *self.mdd.root().fid(),
        };
        req.own::<MdtClient>()?.set_root(root);
        req.rpc.pack_reply(&[BODY, 0])?;
        let out = req.rpc.reply_mut()?.get_mut::<MdtBody>(1)?;
        out.mbo_fid1 = root.into();
        out.set_valid(ObdMd::FLID);
        Ok(Served::Reply(0))
    }

    /// The directory of a path.
    fn walk(&self, path: &[u8]) -> Result<Fid> {
        let mut at = self.mdd.root().clone();
        for part in path.split(|c| *c == b'/').filter(|p| !p.is_empty()) {
            if part == b".." || part.len() > message::NAME_MAX {
                return Err(EINVAL);
            }
            if part != b"." {
                at = self.mdd.object(&self.mdd.lookup(&at, part)?)?;
            }
        }
        if !at.attr()?.is_dir() {
            return Err(ENOTDIR);
        }
        Ok(*at.fid())
    }

    /// MDS_STATFS.
    #[inline(never)]
    pub(crate) fn statfs(&self, req: &mut Request<'_>) -> Result<Served> {
        let asks = req.rpc.get::<MdtBody>(1).map(|b| b.valid());
        let sum = asks.is_ok_and(|v| v.contains(ObdMd::FLAGSTATFS))
            && Agreed::with(req).has2(ConnectFlags2::SUM_STATFS);
        self.stats.count(Op::Statfs);
        let mut s = self.own_statfs(req)?;
        if sum {
            if let Some(osts) = self.lod.statfs() {
                s.os_blocks = osts.os_blocks;
                s.os_bfree = osts.os_bfree;
                s.os_bavail = osts.os_bavail;
                s.os_bsize = osts.os_bsize;
            }
            s.os_state.set(s.os_state.get() | OsState::SUM.bits());
        }
        req.rpc.pack_reply(&[size_of::<ObdStatfs>() as u32])?;
        *req.rpc.reply_mut()?.get_mut::<ObdStatfs>(1)? = s;
        Ok(Served::Reply(0))
    }

    fn own_statfs(&self, req: &Request<'_>) -> Result<ObdStatfs> {
        let stat = req.target.osd().statfs()?;
        let mut s = ObdStatfs::new_zeroed();
        s.os_type.set(EXT4_SUPER_MAGIC);
        s.os_blocks.set(stat.blocks);
        s.os_bfree.set(stat.bfree);
        s.os_bavail.set(stat.bavail);
        s.os_files.set(stat.files);
        s.os_ffree.set(stat.ffree);
        // Clients without a word for smaller blocks count in these; none divides by zero.
        let bsize = stat.bsize.max(512);
        let per_block = (BLOCK / bsize).max(1);
        s.os_bsize.set(bsize * per_block);
        for n in [&mut s.os_blocks, &mut s.os_bfree, &mut s.os_bavail] {
            n.set(n.get() / u64::from(per_block));
        }
        s.os_namelen.set(stat.namelen);
        s.os_maxbytes.set(MAX_BYTES);
        if stat.readonly {
            s.os_state.set(OsState::READONLY.bits());
        }
        Ok(s)
    }

    /// MDS_SYNC.
    #[inline(never)]
    pub(crate) fn sync(&self, req: &mut Request<'_>) -> Result<Served> {
        let b = message::body(req.rpc, 1)?;
        self.stats.count(Op::Sync);
        let o = match b.mbo_fid1.get() {
            fid if fid.seq == 0 => None,
            fid => Some(self.mdd.object(&message::sane(fid)?)?),
        };
        req.target.osd().sync()?;
        let a = match &o {
            Some(o) => self.describe(o, Wanted::ATTR, &Agreed::with(req))?,
            None => Answer::default(),
        };
        req.rpc.pack_reply(&[BODY])?;
        *req.rpc.reply_mut()?.get_mut::<MdtBody>(1)? = a.body;
        Ok(Served::Reply(0))
    }

    /// MDS_SET_INFO.
    #[inline(never)]
    pub(crate) fn set_info(&self, req: &mut Request<'_>) -> Result<Served> {
        let key = req.rpc.msg().buf(1).ok_or(EPROTO)?;
        let key = wire::text::get(key);
        if key == b"changelog_clear" {
            return Err(EOPNOTSUPP);
        }
        if key != b"read-only" {
            return Err(EINVAL);
        }
        let value = req.rpc.msg().buf(2).and_then(|v| v.first_chunk());
        let on = u32::from_le_bytes(*value.ok_or(EPROTO)?) != 0;
        {
            let mut inner = req.export.lock();
            let (mut f, f2) = (inner.connect.flags(), inner.connect.flags2());
            f.set(ConnectFlags::RDONLY, on);
            inner.connect.set_flags(f, f2);
        }
        req.rpc.pack_reply(&[])?;
        Ok(Served::Reply(0))
    }

    /// MDS_GET_INFO.
    #[inline(never)]
    pub(crate) fn get_info(&self, req: &mut Request<'_>) -> Result<Served> {
        let key = req.rpc.msg().buf(1).ok_or(EPROTO)?;
        if wire::text::get(key) != b"fid2path" {
            return Err(EOPNOTSUPP);
        }
        let question = key.get(QUESTION..).ok_or(EPROTO)?;
        let (ask, rest) = GetinfoFid2path::read_from_prefix(question).map_err(|_| EPROTO)?;
        let root = match LuFid::ref_from_prefix(rest) {
            Ok((f, _)) => f.get(),
            Err(_) => Fid::ZERO,
        };
        let len = req.rpc.msg().buf(2).and_then(|v| v.first_chunk());
        let len = usize::try_from(u32::from_le_bytes(*len.ok_or(EPROTO)?))?;
        let room = usize::try_from(ask.gf_pathlen.get())?;
        if room < 3 {
            return Err(EOVERFLOW);
        }
        if room > PATH_MAX || len != HEAD + room {
            return Err(EINVAL);
        }
        let own = req.own::<MdtClient>()?.root();
        if !root.is_zero() && root != own {
            return Err(EXDEV);
        }
        let mut answer = ask;
        let path = self.path(&mut answer, &own, room - 1)?;
        req.rpc.pack_reply(&[u32::try_from(len)?])?;
        let out = req.rpc.reply_mut()?.buf_mut(1).ok_or(EPROTO)?;
        let (head, rest) = out.split_at_mut_checked(HEAD).ok_or(EPROTO)?;
        head.copy_from_slice(answer.as_bytes());
        rest.get_mut(..path.len())
            .ok_or(EOVERFLOW)?
            .copy_from_slice(&path);
        Ok(Served::Reply(0))
    }

    /// The path of an object below `root`, at most `max` bytes; of its links the one with the
    /// number that is asked for.
    fn path(&self, ask: &mut GetinfoFid2path, root: &Fid, max: usize) -> Result<KVec<u8>> {
        // From its end to its beginning, bytes reversed.
        let mut path: KVec<u8> = KVec::new();
        let mut at = ask.gf_fid.get();
        let mut first = true;
        while at != *root {
            if at.is_root() {
                // Not below it.
                return Err(ENOENT);
            }
            let o = self.mdd.object(&at)?;
            if self.mdd.is_orphan(&at) {
                return Err(ENOENT);
            }
            let number = match first {
                true => ask.gf_linkno.get(),
                false => 0,
            };
            let (parent, name, count) = self.link_of(&o, number)?;
            if first && number + 1 < count {
                ask.gf_linkno.set(number + 1);
            }
            let slash = usize::from(!first);
            if path.len() + name.len() + slash > max {
                return Err(EOVERFLOW);
            }
            if !first {
                path.push(b'/', GFP_KERNEL)?;
            }
            for c in name.iter().rev() {
                path.push(*c, GFP_KERNEL)?;
            }
            first = false;
            at = parent;
        }
        path.reverse();
        Ok(path)
    }

    /// A recorded link of an object, or the first if there are not so many; and how many there
    /// are.
    fn link_of(&self, o: &ObjectRef, number: u32) -> Result<(Fid, KVec<u8>, u32)> {
        let ea = o.xattr_opt(XATTR_NAME_LINK)?.ok_or(ENOENT)?;
        let links = LinkEa::parse(&ea).map_err(|_| EIO)?;
        let n = match number < links.count() {
            true => usize::try_from(number)?,
            false => 0,
        };
        let link = links.links().nth(n).ok_or(ENOENT)?;
        let mut name = KVec::new();
        name.extend_from_slice(link.name, GFP_KERNEL)?;
        Ok((link.parent, name, links.count()))
    }
}
