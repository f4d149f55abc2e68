// SPDX-License-Identifier: GPL-2.0

//! Extended attributes, and what else of the file system is asked for by their names.

use super::{code, Front, EINVAL, EPERM, ERANGE};
use crate::convert::{cred, errno};
use fuser::{Errno, INodeNo, ReplyXattr, Request};
use lustre_client::Result;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use wire::fid::Fid;

/// The xattr of the root that has the number of this process.
pub const PID_XATTR: &str = "lustre.fuse.pid";
/// The xattr of any directory that has the state of all targets.
const STATFS_XATTR: &str = "lustre.fuse.statfs";
/// The xattr of everything that has its FID.
const FID_XATTR: &str = "lustre.fid";
/// The xattr of any directory, with a FID behind it, that has the paths of that FID, each with
/// its NUL.
const PATH_XATTR: &str = "lustre.fuse.path:";

impl Front {
    /// What an attribute holds.
    pub(super) fn value(&self, req: &Request, ino: INodeNo, name: &OsStr) -> Result<Vec<u8>> {
        let fid = self.fid(ino)?;
        match name.to_str() {
            Some(PID_XATTR) => Ok(std::process::id().to_string().into_bytes()),
            Some(FID_XATTR) => Ok(fid.to_string().into_bytes()),
            Some(STATFS_XATTR) => Ok(self.targets().into_bytes()),
            Some(n) if n.starts_with(PATH_XATTR) => {
                let text = n.strip_prefix(PATH_XATTR).unwrap_or("");
                let fid: Fid = text.parse().map_err(|_| code(EINVAL))?;
                // A path says more than one may see on the way.
                if req.uid() != 0 {
                    return Err(code(EPERM));
                }
                let mut out = Vec::new();
                for p in self.fs.paths(fid)? {
                    out.extend_from_slice(&p);
                    out.push(0);
                }
                Ok(out)
            }
            _ => self.fs.get_xattr(fid, name.as_bytes(), &cred(req)),
        }
    }

    /// Sets an attribute; without a value, removes it. `how`: `XATTR_CREATE`, `XATTR_REPLACE`.
    pub(super) fn set_value(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: Option<&[u8]>,
        how: u32,
    ) -> Result<()> {
        let fid = self.fid(ino)?;
        self.fs
            .set_xattr(fid, name.as_bytes(), value, how, &cred(req))
    }

    /// A line for each target: kind, index, UUID, then block size, blocks, free and available
    /// ones, inodes and free ones, or `error` and the errno.
    fn targets(&self) -> String {
        let mut out = String::new();
        for t in self.fs.target_stats() {
            let kind = if t.is_mdt { "MDT" } else { "OST" };
            let state = match t.stat {
                Ok(s) => format!(
                    "{} {} {} {} {} {}",
                    s.bsize, s.blocks, s.bfree, s.bavail, s.files, s.ffree
                ),
                Err(e) => format!("error {}", -e.to_errno()),
            };
            out.push_str(&format!("{kind} {} {} {state}\n", t.index, t.uuid));
        }
        out
    }

    /// Answers with a value, or with its size if that is all that is asked for.
    pub(super) fn bytes(reply: ReplyXattr, size: u32, value: Result<Vec<u8>>) {
        match value {
            Err(e) => reply.error(errno(e)),
            Ok(v) => match u32::try_from(v.len()) {
                Ok(n) if size == 0 => reply.size(n),
                Ok(n) if n <= size => reply.data(&v),
                _ => reply.error(Errno::from_i32(ERANGE)),
            },
        }
    }
}
