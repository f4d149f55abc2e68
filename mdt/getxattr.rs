// SPDX-License-Identifier: GPL-2.0

//! Xattrs are read: one, their names, or all of them at once (`mdt.md` 11).

use crate::connect::MAX_EASIZE;
use crate::device::Core;
use crate::getattr::DLM_REP;
use crate::locks;
use crate::message::{self, Text, NAME_MAX};
use crate::open_files::Agreed;
use crate::stats::Op;
use core::ffi::CStr;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use ldlm::server::{EnqueueReply, Intent};
use osd::ObjectRef;
use target::{Request, Served};
use wire::connect::ConnectFlags;
use wire::mdt::MdtBody;
use wire::obdo::ObdMd;

const BODY: u32 = size_of::<MdtBody>() as u32;

/// Whether a client that has agreed to so much may use this name.
///
/// # Errors
/// `EOPNOTSUPP`
pub(crate) fn check_known(name: &CStr, agreed: &Agreed) -> Result {
    let text = name.to_bytes();
    let needs = if text.starts_with(b"user.") {
        ConnectFlags::XATTR
    } else if name == mdd::XATTR_ACL_ACCESS || name == mdd::XATTR_ACL_DEFAULT {
        ConnectFlags::ACL
    } else {
        return Ok(());
    };
    match agreed.has(needs) {
        true => Ok(()),
        false => Err(EOPNOTSUPP),
    }
}

/// All xattrs of an object.
#[derive(Default)]
struct All {
    /// Each with its NUL.
    names: KVVec<u8>,
    /// One after another.
    values: KVVec<u8>,
    /// Of each value; little endian.
    lens: KVVec<u8>,
    count: u32,
}

impl All {
    fn fits(&self, room: usize) -> bool {
        [&self.names, &self.values, &self.lens]
            .iter()
            .all(|v| v.len() <= room)
    }
}

impl Core {
    /// MDS_GETXATTR.
    #[inline(never)]
    pub(crate) fn getxattr(&self, req: &mut Request<'_>) -> Result<Served> {
        let b = message::body(req.rpc, 1)?;
        let o = self.mdd.object(&message::object(&b)?)?;
        let kinds = b.valid().intersection(ObdMd::FLXATTRALL);
        let value = if kinds == ObdMd::FLXATTR {
            let name = match Text::read(req.rpc.msg(), 3, NAME_MAX) {
                Err(e) if e == ENAMETOOLONG => return Err(ERANGE),
                r => r?,
            };
            check_known(name.as_c_str(), &Agreed::with(req))?;
            self.mdd.get_xattr(&o, name.as_c_str())?
        } else if kinds == ObdMd::FLXATTRLS {
            self.mdd.list_xattr(&o)?
        } else {
            return Err(EINVAL);
        };
        self.stats.count(Op::Getxattr);
        let len = u32::try_from(value.len())?;
        // Without room, the length is the question.
        let sent: &[u8] = match b.mbo_eadatasize.get() {
            0 => &[],
            _ => &value,
        };
        req.rpc.pack_reply(&[BODY, u32::try_from(sent.len())?])?;
        let reply = req.rpc.reply_mut()?;
        reply.buf_mut(2).ok_or(EPROTO)?.copy_from_slice(sent);
        let out = reply.get_mut::<MdtBody>(1)?;
        out.mbo_eadatasize.set(len);
        out.set_valid(ObdMd::FLXATTR);
        Ok(Served::Reply(0))
    }

    /// IT_GETXATTR.
    #[inline(never)]
    pub(crate) fn intent_getxattr(&self, req: &mut Request<'_>) -> Result<Intent> {
        let b = message::body(req.rpc, 3)?;
        let fid = message::object(&b)?;
        self.check_room(&b)?;
        self.stats.count(Op::Getxattr);
        let ns = req.target.namespace().clone();
        let lock = locks::lock(
            &ns,
            &fid,
            Mode::Pr,
            ibits::XATTR & Agreed::with(req).ibits(),
        );
        let done = match lock {
            Ok(l) => match self
                .mdd
                .object(&fid)
                .and_then(|o| self.pack_all(req, &o, &b))
            {
                Ok(()) => return Ok(Intent::Lock(l, 0, 0)),
                // The client asks for them one by one, and gives the lock back.
                Err(e) if e == ERANGE => {
                    self.pack_xattrs(req, &All::default())?;
                    return Ok(Intent::Lock(l, 0, e.to_errno()));
                }
                Err(e) => Err(e),
            },
            Err(e) => Err(e),
        };
        self.pack_xattrs(req, &All::default())?;
        Ok(Intent::NoLock(
            0,
            done.map_or_else(|e: Error| e.to_errno(), |()| 0),
        ))
    }

    /// An IT_GETXATTR that is here again, and whose lock is there.
    #[inline(never)]
    pub(crate) fn getxattr_again(
        &self,
        req: &mut Request<'_>,
        lock: &EnqueueReply,
    ) -> Result<(u64, i32)> {
        let b = message::body(req.rpc, 3)?;
        let o = self.mdd.object(&locks::object_of(lock)?)?;
        match self.pack_all(req, &o, &b) {
            Err(e) if e == ERANGE => {
                self.pack_xattrs(req, &All::default())?;
                Ok((0, e.to_errno()))
            }
            done => done.map(|()| (0, 0)),
        }
    }

    fn check_room(&self, b: &MdtBody) -> Result<usize> {
        let room = usize::try_from(b.mbo_eadatasize.get())?;
        if room == 0 || room % 4 != 0 || room > MAX_EASIZE {
            return Err(EINVAL);
        }
        Ok(room)
    }

    /// Packs all xattrs for the question `b`.
    ///
    /// # Errors
    /// `ERANGE`: they do not fit the room that the client has.
    fn pack_all(&self, req: &mut Request<'_>, o: &ObjectRef, b: &MdtBody) -> Result {
        let all = self.all_xattrs(o, self.check_room(b)?)?;
        self.pack_xattrs(req, &all)
    }

    /// # Errors
    /// `ERANGE`: more than `room` bytes of names, values or lengths.
    fn all_xattrs(&self, o: &ObjectRef, room: usize) -> Result<All> {
        let mut all = All::default();
        let names = self.mdd.list_xattr(o)?;
        for name in names.split_inclusive(|c| *c == 0) {
            let Ok(text) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            let value = match self.mdd.get_xattr(o, text) {
                // The server's own come and go without a client's lock.
                Err(e) if e == ENODATA => continue,
                r => r?,
            };
            let len = u32::try_from(value.len())?.to_le_bytes();
            all.names.extend_from_slice(name, GFP_KERNEL)?;
            all.values.extend_from_slice(&value, GFP_KERNEL)?;
            all.lens.extend_from_slice(&len, GFP_KERNEL)?;
            all.count += 1;
            if !all.fits(room) {
                return Err(ERANGE);
            }
        }
        Ok(all)
    }

    fn pack_xattrs(&self, req: &mut Request<'_>, all: &All) -> Result {
        let parts = [&all.names, &all.values, &all.lens];
        let mut lens = [DLM_REP, BODY, 0, 0, 0, 0, 0];
        for (len, part) in lens.iter_mut().skip(4).zip(parts) {
            *len = u32::try_from(part.len())?;
        }
        req.rpc.pack_reply(&lens)?;
        let reply = req.rpc.reply_mut()?;
        for (i, part) in parts.into_iter().enumerate() {
            reply.buf_mut(5 + i).ok_or(EPROTO)?.copy_from_slice(part);
        }
        if all.count > 0 {
            let [_, _, _, _, names, values, _] = lens;
            let out = reply.get_mut::<MdtBody>(2)?;
            out.mbo_eadatasize.set(names);
            out.mbo_aclsize.set(values);
            out.mbo_max_mdsize.set(all.count);
            out.set_valid(ObdMd::FLXATTR);
        }
        Ok(())
    }
}
