// SPDX-License-Identifier: GPL-2.0

//! New directories, links and special files (`mdt.md` 8.2).

use crate::answer::{Answer, Wanted};
use crate::change::Change;
use crate::device::Core;
use crate::locks;
use crate::message::{self, Text};
use crate::open::check_layout_version;
use crate::open_files::Agreed;
use crate::reint::REC;
use crate::stats::Op;
use kapi::prelude::*;
use mdd::{NewObject, Reserved};
use ptlrpc::message::Msg;
use target::Request;
use wire::lmv::{LmvUserMdV1, LMV_OFFSET_DEFAULT};
use wire::reint::RecCreate;
use zerocopy::FromBytes;

const NAME: usize = 3;
/// Target of a link; of a directory the stripes that are wished for.
const SYMTGT: usize = 4;

const S_IFMT: u32 = osd::S_IFMT;
const S_IFDIR: u32 = 0o040000;
const S_IFLNK: u32 = 0o120000;
/// Most bytes of a link's target.
const TARGET_MAX: usize = 4095;

/// Whether a create is one of a symbolic link, whose buffers are others.
pub(crate) fn is_symlink(msg: &Msg) -> bool {
    let rec: Result<&RecCreate> = msg.get(REC);
    rec.is_ok_and(|r| r.cr_mode.get() & S_IFMT == S_IFLNK)
}

impl Core {
    /// Whether a directory can be made as it is wished for: on this MDT, in one piece.
    fn check_stripes(&self, ea: &[u8]) -> Result {
        if ea.is_empty() {
            return Ok(());
        }
        let (lum, _) = LmvUserMdV1::ref_from_prefix(ea).map_err(|_| EINVAL)?;
        let offset = lum.lum_stripe_offset.get();
        if lum.lum_stripe_count.get() > 1 || (offset != LMV_OFFSET_DEFAULT && offset != self.index)
        {
            return Err(EOPNOTSUPP);
        }
        Ok(())
    }

    /// REINT_CREATE.
    pub(crate) fn reint_create(&self, req: &mut Request<'_>) -> Result<Answer> {
        let rec = *req.rpc.get::<RecCreate>(REC)?;
        let mode = rec.cr_mode.get();
        let agreed = Agreed::with(req);
        let creds = self.creds_of_record(req, &rec.head);
        let name = message::name(req.rpc.msg(), NAME)?;
        let link = match mode & S_IFMT {
            S_IFLNK => {
                let read = Text::read(req.rpc.msg(), SYMTGT, TARGET_MAX);
                Some(read.map_err(|e| if e == EPROTO { EFAULT } else { e })?)
            }
            S_IFDIR => {
                self.check_stripes(req.rpc.msg().buf(SYMTGT).unwrap_or_default())?;
                None
            }
            _ => None,
        };
        let dir = self.mdd.object(&message::sane(rec.cr_fid1.get())?)?;
        let fid = self.new_fid(&rec.cr_fid2.get())?;
        let ns = req.target.namespace().clone();
        let _name = locks::lock_name(&ns, dir.fid(), &name, true)?;
        check_layout_version(rec.head.layout_version())?;
        let new = NewObject {
            fid,
            mode,
            umask: self.umask(&agreed, rec.cr_umask.get()),
            rdev: u32::try_from(rec.cr_rdev.get())?,
            target: link.as_ref().map(Text::as_c_str),
            time: rec.cr_time.get(),
            security: None,
        };
        let run = &mut Change::of(req);
        let made = self
            .mdd
            .create(run, &creds, &dir, &name, &new, Reserved::none());
        // What the name stood for is told, and what had the FID: nothing.
        let [_, name_version, fid_version, _] = &mut req.rpc.pre_versions;
        *fid_version = *name_version;
        let o = made?;
        self.stats.count(match mode & S_IFMT {
            S_IFDIR => Op::Mkdir,
            _ => Op::Mknod,
        });
        self.describe(&o, Wanted::ATTR, &agreed)
    }
}
