// SPDX-License-Identifier: GPL-2.0

//! What lfs knows: layouts and how they are shown and described, how full targets are.

pub mod df;
pub mod getstripe;
pub mod setstripe;

use std::ffi::OsStr;
use std::io::{Error, Result};
use std::path::Path;

/// The layout of a file, or the default one of a directory.
pub const LAYOUT: &str = "lustre.lov";
/// The FID, as text.
pub const FID: &str = "lustre.fid";
/// The state of all targets, a line each.
pub const TARGETS: &str = "lustre.fuse.statfs";

/// The paths of the FID that stands behind it.
pub const PATH: &str = "lustre.fuse.path:";

/// Values of xattrs are no longer.
const VALUE_MAX: usize = 65536;

/// The value of an xattr; `None`: there is none.
///
/// # Errors
/// Those of getxattr(2).
pub fn xattr(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let mut buf = vec![0; VALUE_MAX];
    match rustix::fs::getxattr(path, name, &mut buf[..]) {
        Ok(n) => {
            buf.truncate(n);
            Ok(Some(buf))
        }
        Err(rustix::io::Errno::NODATA) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Sets an xattr.
///
/// # Errors
/// Those of setxattr(2).
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).map_err(Error::from)
}

/// Removes an xattr.
///
/// # Errors
/// Those of removexattr(2).
pub fn remove_xattr(path: &Path, name: &str) -> Result<()> {
    rustix::fs::removexattr(path, name).map_err(Error::from)
}

/// A mounted Lustre file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mounted {
    /// Where from: NID:/fsname.
    pub source: String,
    /// Where to.
    pub dir: String,
}

/// Text of /proc/self/mounts, whose odd characters are octal.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let digits = after.get(..3).and_then(|d| u8::from_str_radix(d, 8).ok());
        match digits {
            Some(b) => {
                out.push(char::from(b));
                rest = after.get(3..).unwrap_or("");
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The mounted Lustre file systems, from a table in the form of /proc/self/mounts.
pub fn mounted(table: &str) -> Vec<Mounted> {
    let mut out = Vec::new();
    for line in table.lines() {
        let mut words = line.split_whitespace();
        let (Some(source), Some(dir), Some(kind)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        // Targets have no colon in their names.
        let client = source.contains(":/");
        if client && matches!(kind, "lustre" | "fuse.lustre") {
            out.push(Mounted {
                source: unescape(source),
                dir: unescape(dir),
            });
        }
    }
    out
}

/// The file system that a path is in.
pub fn mounted_at(all: &[Mounted], path: &Path) -> Option<Mounted> {
    let at = |m: &&Mounted| path.starts_with(OsStr::new(&m.dir));
    all.iter().filter(at).max_by_key(|m| m.dir.len()).cloned()
}

/// A size with an optional unit: 64K, 4m, 1G.
pub fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        Some((i, _)) => text.split_at(i),
        None => (text, ""),
    };
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let n: u64 = digits.parse().ok()?;
    n.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let t = "/dev/vda / ext4 rw 0 0\n\
                 10.0.0.1@tcp:/fs /mnt/a\\040b fuse.lustre rw 0 0\n\
                 /dev/vdb /mnt/ost lustre ro 0 0\n\
                 10.0.0.1@tcp:/fs/x /mnt/a\\040b/in fuse.lustre rw 0 0\n";
        let all = mounted(t);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].dir, "/mnt/a b");
        let at = mounted_at(&all, Path::new("/mnt/a b/in/deep")).unwrap();
        assert_eq!(at.source, "10.0.0.1@tcp:/fs/x");
        assert_eq!(mounted_at(&all, Path::new("/tmp")), None);
    }

    #[test]
    fn sizes() {
        assert_eq!(size("64K"), Some(65536));
        assert_eq!(size("4m"), Some(4 << 20));
        assert_eq!(size("0"), Some(0));
        for bad in ["", "K", "4x", "-1", "99999999999999999999", "99999999T"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
