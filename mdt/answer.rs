// SPDX-License-Identifier: GPL-2.0

//! What replies say of an object (`mdt.md` 3.3, 5.3).

use crate::device::Core;
use crate::open_files::Agreed;
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;
use osd::{Attr, Fid, ObjectRef};
use ptlrpc::request::ServerRequest;
use wire::connect::{ConnectFlags, ConnectFlags2};
use wire::disk::som::{LustreSomAttrs, SomFlags, XATTR_NAME_SOM};
use wire::lov::{Component, FlrState, LovMd, LovPattern};
use wire::mdt::{InodeFlags, MdtBody};
use wire::obdo::ObdMd;
use zerocopy::FromBytes;

/// Bytes of an ACL that every client takes: 32 entries.
const ACL_SMALL: usize = 260;

/// What a reply says of an object.
#[derive(Default)]
pub(crate) struct Answer {
    /// The body.
    pub(crate) body: MdtBody,
    /// Layout, or target of a link.
    pub(crate) md: KVVec<u8>,
    /// Access ACL.
    pub(crate) acl: KVVec<u8>,
}

/// What is wanted to know.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// The extras.
    pub(crate) valid: ObdMd,
    /// Room that the client has for a layout or a link's target; 0: it wants none.
    pub(crate) room: u32,
    /// Of a regular file, its size as far as it is known.
    pub(crate) size: bool,
}

impl Wanted {
    /// Nothing but the attributes of the object itself.
    pub(crate) const ATTR: Wanted = Wanted {
        valid: ObdMd::empty(),
        room: 0,
        size: false,
    };

    /// What a request's body asks for.
    pub(crate) fn by(b: &MdtBody) -> Wanted {
        Wanted {
            valid: b.valid(),
            room: b.mbo_eadatasize.get(),
            size: true,
        }
    }
}

/// Fills in the attributes that all objects have, and those that only the type decides on.
pub(crate) fn fill_attr(b: &mut MdtBody, fid: &Fid, a: &Attr) {
    b.mbo_fid1 = (*fid).into();
    b.mbo_mtime.set(a.mtime.sec);
    b.mbo_atime.set(a.atime.sec);
    b.mbo_ctime.set(a.ctime.sec);
    b.mbo_btime.set(a.btime.sec);
    b.mbo_mode.set(a.mode);
    b.mbo_uid.set(a.uid);
    b.mbo_gid.set(a.gid);
    b.mbo_projid.set(a.projid);
    b.mbo_nlink.set(a.nlink);
    b.mbo_flags.set(a.flags);
    b.mbo_rdev.set(a.rdev);
    b.mbo_size.set(a.size);
    b.mbo_blocks.set(a.blocks);
    b.add_valid(
        ObdMd::FLID
            | ObdMd::FLATIME
            | ObdMd::FLMTIME
            | ObdMd::FLCTIME
            | ObdMd::FLMODE
            | ObdMd::FLTYPE
            | ObdMd::FLUID
            | ObdMd::FLGID
            | ObdMd::FLFLAGS
            | ObdMd::FLNLINK
            | ObdMd::FLPROJID
            | ObdMd::FLBTIME,
    );
    if !a.is_file() {
        b.add_valid(ObdMd::FLSIZE | ObdMd::FLBLOCKS | ObdMd::FLRDEV);
    }
}

/// Whether a client understands a layout (`mdt.md` 5.3, point 8).
///
/// # Errors
/// `EOPNOTSUPP`, `EIO`: it does not.
fn check_visible(ea: &[u8], agreed: &Agreed) -> Result {
    let check = |pattern: LovPattern| {
        if pattern.contains(LovPattern::F_HOLE) && !agreed.has(ConnectFlags::LFSCK) {
            return Err(EIO);
        }
        let over = pattern.contains(LovPattern::OVERSTRIPING);
        if over && !agreed.has2(ConnectFlags2::OVERSTRIPING) {
            return Err(EOPNOTSUPP);
        }
        // Data are here, and nothing here reads or writes them.
        if pattern.contains(LovPattern::MDT) && !agreed.has(ConnectFlags::GRANT) {
            return Err(EOPNOTSUPP);
        }
        Ok(())
    };
    // What cannot be read is the client's to judge.
    match LovMd::parse(ea) {
        Ok(LovMd::Plain(p)) => check(p.pattern()),
        Ok(LovMd::Composite(c)) => {
            if c.md.flr_state() != FlrState::None && !agreed.has2(ConnectFlags2::FLR) {
                return Err(EOPNOTSUPP);
            }
            for e in c.entries {
                if let Ok(Component::Plain(p)) = c.blob(e) {
                    check(p.pattern())?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether the data of a file are in an archive only.
fn is_released(ea: &[u8]) -> bool {
    let pattern = match LovMd::parse(ea) {
        Ok(LovMd::Plain(p)) => p.pattern(),
        _ => return false,
    };
    pattern.contains(LovPattern::F_RELEASED)
}

impl Core {
    /// Size and blocks of a regular file, as far as they are known here.
    fn fill_size(&self, b: &mut MdtBody, o: &ObjectRef, layout: Option<&[u8]>) -> Result {
        let known = ObdMd::FLSIZE | ObdMd::FLBLOCKS;
        let Some(layout) = layout else {
            b.mbo_blocks.set(0);
            b.add_valid(known);
            return Ok(());
        };
        if is_released(layout) {
            b.mbo_blocks.set(u64::from(b.mbo_size.get() > 0));
            b.add_valid(known);
            return Ok(());
        }
        let Some(som) = o.xattr_opt(XATTR_NAME_SOM)? else {
            return Ok(());
        };
        let Ok((som, _)) = LustreSomAttrs::ref_from_prefix(&som) else {
            return Ok(());
        };
        b.mbo_size.set(som.lsa_size.get());
        b.mbo_blocks.set(som.lsa_blocks.get());
        let how = SomFlags::from_bits_retain(som.lsa_valid.get());
        b.add_valid(if how.contains(SomFlags::STRICT) {
            known
        } else {
            ObdMd::FLLAZYSIZE | ObdMd::FLLAZYBLOCKS
        });
        Ok(())
    }

    fn fill_layout(&self, a: &mut Answer, layout: KVVec<u8>) -> Result {
        let len = u32::try_from(layout.len())?;
        a.body.mbo_eadatasize.set(len);
        self.max_mdsize.fetch_max(len);
        a.md = layout;
        Ok(())
    }

    /// Describes an object.
    ///
    /// # Errors
    /// `ENOENT`: it is gone. `EOPNOTSUPP`, `EIO`: its layout is none that the client understands.
    /// `E2BIG`: its ACL is too large for the client. `EIO`, `ENOMEM`.
    pub(crate) fn describe(&self, o: &ObjectRef, want: Wanted, agreed: &Agreed) -> Result<Answer> {
        let mut out = Answer::default();
        let attr = self.mdd.attr(o)?;
        fill_attr(&mut out.body, o.fid(), &attr);
        if self.mdd.is_orphan(o.fid()) {
            let flags = attr.flags | InodeFlags::ORPHAN.bits();
            out.body.mbo_flags.set(flags);
        }
        let asks = |bits: ObdMd| want.valid.intersects(bits);
        if attr.is_file() && want.size {
            let layout = self.mdd.layout(o)?;
            self.fill_size(&mut out.body, o, layout.as_deref())?;
            if let Some(l) = layout {
                check_visible(&l, agreed)?;
                if want.room > 0 && asks(ObdMd::FLEASIZE | ObdMd::FLDIREA) {
                    self.fill_layout(&mut out, l)?;
                    out.body.add_valid(ObdMd::FLEASIZE);
                }
            }
        } else if attr.is_dir() {
            // A question for stripes of the directory is not one for the default of its files.
            let stripes = asks(ObdMd::MEA | ObdMd::DEFAULT_MEA);
            if want.room > 0 && asks(ObdMd::FLDIREA) && !stripes {
                if let Some(l) = self.mdd.layout(o)? {
                    self.fill_layout(&mut out, l)?;
                    out.body.add_valid(ObdMd::FLDIREA);
                }
            }
        } else if attr.is_symlink() && want.room > 0 && asks(ObdMd::LINKNAME) {
            let max = usize::try_from(want.room)? - 1;
            let mut target = self.mdd.readlink(o, max)?;
            target.push(0, GFP_KERNEL)?;
            let len = u32::try_from(target.len())?;
            out.body.mbo_eadatasize.set(len);
            out.body.add_valid(ObdMd::LINKNAME);
            out.md = target;
        }
        if asks(ObdMd::FLMODEASIZE) {
            self.fill_max_mdsize(&mut out.body);
        }
        if asks(ObdMd::FLACL) && agreed.has(ConnectFlags::ACL) {
            self.fill_acl(&mut out, o, agreed)?;
        }
        Ok(out)
    }

    /// Size of the largest layout.
    pub(crate) fn fill_max_mdsize(&self, b: &mut MdtBody) {
        b.mbo_max_mdsize.set(self.max_mdsize.load());
        b.add_valid(ObdMd::FLMODEASIZE);
    }

    fn fill_acl(&self, a: &mut Answer, o: &ObjectRef, agreed: &Agreed) -> Result {
        let acl = match o.xattr_opt(mdd::XATTR_ACL_ACCESS) {
            Ok(acl) => acl.unwrap_or_default(),
            // The store has none.
            Err(e) if e == EOPNOTSUPP => KVVec::new(),
            Err(e) => return Err(e),
        };
        if acl.len() > ACL_SMALL && !agreed.has(ConnectFlags::LARGE_ACL) {
            return Err(E2BIG);
        }
        let len = u32::try_from(acl.len())?;
        a.body.mbo_aclsize.set(len);
        a.body.add_valid(ObdMd::FLACL);
        a.acl = acl;
        Ok(())
    }
}

impl Answer {
    /// Packs a reply of body, layout, ACL and `rest`, which stay zero. `first`: what is before the
    /// body.
    ///
    /// # Errors
    /// `ENOMEM`, `EOVERFLOW`.
    pub(crate) fn pack(&self, rpc: &mut ServerRequest, first: &[u32], rest: &[u32]) -> Result {
        let mut lens: KVec<u32> = KVec::with_capacity(first.len() + rest.len() + 3, GFP_KERNEL)?;
        lens.extend_from_slice(first, GFP_KERNEL)?;
        let own = [
            u32::try_from(size_of::<MdtBody>())?,
            u32::try_from(self.md.len())?,
            u32::try_from(self.acl.len())?,
        ];
        lens.extend_from_slice(&own, GFP_KERNEL)?;
        lens.extend_from_slice(rest, GFP_KERNEL)?;
        rpc.pack_reply(&lens)?;
        let at = first.len() + 1;
        let reply = rpc.reply_mut()?;
        *reply.get_mut::<MdtBody>(at)? = self.body;
        for (i, from) in [&self.md, &self.acl].into_iter().enumerate() {
            let to = reply.buf_mut(at + 1 + i).ok_or(EPROTO)?;
            to.copy_from_slice(from);
        }
        Ok(())
    }
}

/// The largest layout that was seen, bytes.
pub(crate) struct MaxSize(kapi::sync::atomic::Atomic<u32>);

impl MaxSize {
    /// What clients begin with: four stripes.
    pub(crate) fn new() -> MaxSize {
        MaxSize(kapi::sync::atomic::Atomic::<u32>::new(128))
    }

    fn load(&self) -> u32 {
        self.0.load(Relaxed)
    }

    fn fetch_max(&self, n: u32) {
        let mut seen = self.load();
        while seen < n {
            match self.0.cmpxchg(seen, n, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}
