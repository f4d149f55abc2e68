// SPDX-License-Identifier: GPL-2.0

//! Extended attributes (spec `mdt.md` 8.6, 11).

use super::{Mdc, ACL_SIZE};
use crate::attr::now;
use crate::cred::Cred;
use crate::rpc;
use crate::target::Enqueue;
use kapi::prelude::*;
use ldlm::client::{Held, Want};
use ldlm::core::{flags, ibits, Mode};
use ldlm::msg;
use ptlrpc::call::CallOptions;
use wire::connect::ConnectFlags;
use wire::fid::Fid;
use wire::ldlm::{IntentOp, LdlmIntent};
use wire::mdt::MdtBody;
use wire::msg::MDS_VERSION;
use wire::obdo::ObdMd;
use wire::opcode::{portal, MDS_GETXATTR, MDS_REINT};
use wire::reint::{RecSetxattr, ReintOp, XATTR_REPLACE};
use zerocopy::IntoBytes;

/// The largest value there is.
const VALUE_MAX: u32 = 65536;
/// Room for the names, and the values, and their lengths, of all xattrs.
const ALL_ROOM: u32 = 2500;
/// Room for values, at first.
const VALUE_GUESS: u32 = 4096;

/// Names and values.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Divides the values among the names, which end with a NUL each.
fn pairs(names: &[u8], values: &[u8], lens: &[u8], count: usize) -> Result<Pairs> {
    let mut out = Vec::with_capacity(count.min(names.len()));
    let mut rest = values;
    let mut lens = lens.chunks_exact(4);
    for n in names.split_inclusive(|b| *b == 0).take(count) {
        let n = n.strip_suffix(b"\0").ok_or(EPROTO)?;
        let len = lens.next().and_then(|l| l.first_chunk()).ok_or(EPROTO)?;
        let len = usize::try_from(u32::from_le_bytes(*len))?;
        let (v, after) = rest.split_at_checked(len).ok_or(EPROTO)?;
        rest = after;
        out.push((n.to_vec(), v.to_vec()));
    }
    match out.len() == count {
        true => Ok(out),
        false => Err(EPROTO),
    }
}

impl Mdc {
    /// All xattrs of an inode, with a lock under which they may be kept. `None`: the MDT cannot
    /// give that; they have to be asked for one by one.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn all_xattrs(&self, fid: Fid, cred: &Cred) -> Result<Option<(Pairs, Held)>> {
        let granted = self.target.connect_data();
        if !granted.flags().contains(ConnectFlags::XATTR) {
            return Ok(None);
        }
        let mut b = MdtBody::default();
        cred.fill_body(&mut b, None);
        b.mbo_fid1 = fid.into();
        b.set_valid(ObdMd::FLID | ObdMd::FLXATTR | ObdMd::FLXATTRLS);
        b.mbo_eadatasize.set(ALL_ROOM);
        let intent = LdlmIntent {
            opc: IntentOp::GETXATTR.bits().into(),
        };
        let lens = [
            112,
            216,
            self.ea_size(),
            ACL_SIZE,
            ALL_ROOM,
            ALL_ROOM,
            ALL_ROOM,
        ];
        let e = self.target.enqueue(&Enqueue {
            want: Want {
                res: super::resource(fid),
                mode: Mode::Pr,
                policy: super::bits(ibits::XATTR),
                flags: flags::HAS_INTENT,
            },
            cancels: &[],
            intent: &[intent.as_bytes(), b.as_bytes(), &[], &[]],
            lvb: None,
            options: CallOptions::new(&lens)?,
            cred,
        })?;
        let res = i32::try_from(e.answer.res2 as i64).unwrap_or(0);
        match Error::from_errno(res) {
            _ if res == 0 => {}
            // Too many for the room: they are not kept.
            e if e == ERANGE || e == EOPNOTSUPP || e == EPROTO => return Ok(None),
            e if res < 0 => return Err(e),
            _ => return Err(EPROTO),
        }
        let Some(lock) = e.lock else { return Ok(None) };
        let m = &e.reply.msg;
        let body = m.get::<MdtBody>(2)?;
        if !body.valid().contains(ObdMd::FLXATTR) {
            return Ok(None);
        }
        let cut = |i: usize, n: u32| -> Result<&[u8]> {
            let b = m.buf(i).unwrap_or(&[]);
            b.get(..usize::try_from(n)?).ok_or(EPROTO)
        };
        let all = pairs(
            cut(5, body.mbo_eadatasize.get())?,
            cut(6, body.mbo_aclsize.get())?,
            m.buf(7).unwrap_or(&[]),
            usize::try_from(body.mbo_max_mdsize.get())?,
        )?;
        Ok(Some((all, lock)))
    }

    fn fetch_xattr(&self, fid: Fid, name: Option<&[u8]>, cred: &Cred) -> Result<Vec<u8>> {
        let mut room = VALUE_GUESS;
        loop {
            let mut b = MdtBody::default();
            cred.fill_body(&mut b, None);
            b.mbo_fid1 = fid.into();
            b.mbo_eadatasize.set(room);
            let msg = match name {
                Some(n) => {
                    b.set_valid(ObdMd::FLID | ObdMd::FLXATTR);
                    let n = rpc::name(n);
                    rpc::request(
                        MDS_GETXATTR,
                        MDS_VERSION,
                        &[b.as_bytes(), &[], &n, &[], &[]],
                    )?
                }
                None => {
                    b.set_valid(ObdMd::FLID | ObdMd::FLXATTRLS);
                    rpc::request(MDS_GETXATTR, MDS_VERSION, &[b.as_bytes(), &[]])?
                }
            };
            let mut o = CallOptions::new(&[216, room])?;
            o.portal = Some(portal::MDS_READPAGE);
            let r = match self.target.call(&msg, o) {
                Err(e) if e == ERANGE && room < VALUE_MAX => {
                    room = VALUE_MAX;
                    continue;
                }
                r => r?,
            };
            let n = usize::try_from(r.msg.get::<MdtBody>(1)?.mbo_eadatasize.get())?;
            let value = r.msg.buf(2).unwrap_or(&[]);
            match value.get(..n) {
                Some(v) => return Ok(v.to_vec()),
                None if n <= VALUE_MAX as usize && room < VALUE_MAX => room = VALUE_MAX,
                None => return Err(ERANGE),
            }
        }
    }

    /// The value of an xattr.
    ///
    /// # Errors
    /// `ENODATA`: there is none. `EOPNOTSUPP`, `EACCES`.
    pub fn get_xattr(&self, fid: Fid, name: &[u8], cred: &Cred) -> Result<Vec<u8>> {
        self.fetch_xattr(fid, Some(name), cred)
    }

    /// The names of all xattrs, each with its NUL.
    ///
    /// # Errors
    /// `EOPNOTSUPP`.
    pub fn list_xattrs(&self, fid: Fid, cred: &Cred) -> Result<Vec<u8>> {
        self.fetch_xattr(fid, None, cred)
    }

    /// Sets an xattr, or (without value) removes it. `how`: 0, `XATTR_CREATE` or `XATTR_REPLACE`.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA`, `EPERM`, `ENOSPC`, `E2BIG`, `EOPNOTSUPP`.
    pub fn set_xattr(
        &self,
        fid: Fid,
        name: &[u8],
        value: Option<&[u8]>,
        how: u32,
        cred: &Cred,
    ) -> Result {
        if name.len() > 255 {
            return Err(ERANGE);
        }
        let mut rec = RecSetxattr {
            head: cred.head(ReintOp::Setxattr, None, None),
            ..RecSetxattr::default()
        };
        rec.sx_fid = fid.into();
        let kind = match value {
            Some(_) => ObdMd::FLXATTR,
            None => ObdMd::FLXATTRRM,
        };
        rec.sx_valid.set((kind | ObdMd::FLCTIME).bits());
        rec.sx_time.set(now());
        rec.sx_flags.set(match value {
            Some(_) => how,
            None => XATTR_REPLACE,
        });
        let mut lock_bits = ibits::UPDATE | ibits::XATTR;
        if name.starts_with(b"system.posix_acl") {
            lock_bits |= ibits::PERM;
        }
        if name.ends_with(b".lov") {
            lock_bits |= ibits::LAYOUT;
        }
        let mut cookies = Vec::new();
        self.cancels(fid, Mode::Ex, lock_bits, &mut cookies);
        let mut dlm = vec![0; msg::request_len(cookies.len())];
        msg::request(&mut dlm, 0, None, None, &cookies)?;
        let n = rpc::name(name);
        let v = value.unwrap_or(&[]);
        let mut m = rpc::request(
            MDS_REINT,
            MDS_VERSION,
            &[rec.as_bytes(), &[], &n, v, &dlm, &[]],
        )?;
        self.modify(&mut m, cred, &[216])?;
        Ok(())
    }
}
