// SPDX-License-Identifier: GPL-2.0

//! Extended attributes (spec `mdt.md` 8.6, 11).

use super::Mdc;
use crate::attr::now;
use crate::cred::Cred;
use crate::rpc;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use ldlm::msg;
use ptlrpc::call::CallOptions;
use wire::fid::Fid;
use wire::mdt::MdtBody;
use wire::msg::MDS_VERSION;
use wire::obdo::ObdMd;
use wire::opcode::{portal, MDS_GETXATTR, MDS_REINT};
use wire::reint::{RecSetxattr, ReintOp, XATTR_REPLACE};
use zerocopy::IntoBytes;

/// The largest value there is.
const VALUE_MAX: u32 = 65536;
/// Room for values, at first.
const VALUE_GUESS: u32 = 4096;

impl Mdc {
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
