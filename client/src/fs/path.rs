// SPDX-License-Identifier: GPL-2.0

//! The paths of a FID (spec `mdt.md` 14).

use crate::mount::Mount;
use crate::rpc;
use kapi::prelude::*;
use ptlrpc::call::CallOptions;
use wire::fid::{Fid, LuFid};
use wire::mdt::GetinfoFid2path;
use wire::msg::MDS_VERSION;
use wire::opcode::MDS_GET_INFO;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of a path.
const PATH_MAX: u32 = 4096;
/// Links that are asked for at most.
const LINKS_MAX: u32 = 65536;

impl Mount {
    /// One path of `fid`, that of its link number `link`, and the number of the next one.
    fn path_of(&self, fid: Fid, link: u32) -> Result<(Vec<u8>, u32)> {
        let mut key = Vec::new();
        key.extend_from_slice(b"fid2path\0\0\0\0\0\0\0\0");
        let question = GetinfoFid2path {
            gf_fid: fid.into(),
            gf_recno: u64::MAX.into(),
            gf_linkno: link.into(),
            gf_pathlen: PATH_MAX.into(),
        };
        key.extend_from_slice(question.as_bytes());
        key.extend_from_slice(LuFid::from(self.root()).as_bytes());
        let len = size_of::<GetinfoFid2path>() as u32 + PATH_MAX;
        let m = rpc::request(MDS_GET_INFO, MDS_VERSION, &[&key, &len.to_le_bytes()])?;
        let r = self.mdc.target().call(&m, CallOptions::new(&[len])?)?;
        let answer = r.msg.buf(1).ok_or(EPROTO)?;
        let (head, path) = GetinfoFid2path::ref_from_prefix(answer).map_err(|_| EPROTO)?;
        let path = path.split(|b| *b == 0).next().unwrap_or(&[]);
        Ok((path.to_vec(), head.gf_linkno.get()))
    }

    /// The paths of a FID, from the mounted directory on, without a slash in front.
    ///
    /// # Errors
    /// `ENOENT`: it has none. `EINVAL`: no FID of a file. Those of the MDT.
    pub fn paths(&self, fid: Fid) -> Result<Vec<Vec<u8>>> {
        if fid == self.root() {
            return Ok(vec![Vec::new()]);
        }
        let mut all: Vec<Vec<u8>> = Vec::new();
        let mut link = 0;
        while link < LINKS_MAX {
            match self.path_of(fid, link) {
                Ok((p, next)) => {
                    // Who does not count on gives the same one again.
                    if all.contains(&p) {
                        break;
                    }
                    all.push(p);
                    if next <= link {
                        break;
                    }
                    link = next;
                }
                Err(_) if !all.is_empty() => break,
                Err(e) => return Err(e),
            }
        }
        Ok(all)
    }
}
