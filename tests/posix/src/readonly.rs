// SPDX-License-Identifier: GPL-2.0

//! A file system that is mounted read-only: what is there can be read, and nothing changes.

use crate::cases::{outcome, Cases, Outcome};
use rustix::fs::{AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags, CWD};
use rustix::io::Errno;
use std::path::Path;

/// What is there: `file` with a name `link`, and `dir` with `in` in it.
pub const PREPARED: [&str; 4] = ["file", "link", "dir", "dir/in"];

fn open(p: &Path, name: &str, flags: OFlags) -> Outcome {
    outcome(rustix::fs::open(p.join(name), flags, Mode::RWXU))
}

type Change = (&'static str, fn(&Path) -> Outcome);

const CHANGES: [Change; 21] = [
    ("open for writing", |p| open(p, "file", OFlags::WRONLY)),
    ("open for both", |p| open(p, "file", OFlags::RDWR)),
    ("O_TRUNC", |p| {
        open(p, "file", OFlags::WRONLY | OFlags::TRUNC)
    }),
    ("create", |p| {
        open(p, "new", OFlags::CREATE | OFlags::WRONLY)
    }),
    ("mkdir", |p| rustix::fs::mkdir(p.join("new"), Mode::RWXU)),
    ("mkfifo", |p| {
        rustix::fs::mknodat(CWD, p.join("new"), FileType::Fifo, Mode::RWXU, 0)
    }),
    ("symlink", |p| rustix::fs::symlink("target", p.join("new"))),
    ("link", |p| rustix::fs::link(p.join("file"), p.join("new"))),
    ("unlink", |p| rustix::fs::unlink(p.join("file"))),
    ("unlink of nothing", |p| rustix::fs::unlink(p.join("none"))),
    ("rmdir", |p| rustix::fs::rmdir(p.join("dir"))),
    ("rename", |p| {
        rustix::fs::rename(p.join("file"), p.join("new"))
    }),
    ("rename over another", |p| {
        rustix::fs::rename(p.join("file"), p.join("dir/in"))
    }),
    ("chmod", |p| rustix::fs::chmod(p.join("file"), Mode::RWXU)),
    ("chown", |p| {
        rustix::fs::chown(
            p.join("file"),
            Some(Uid::from_raw(1)),
            Some(Gid::from_raw(1)),
        )
    }),
    ("chown of a symlink", |p| {
        rustix::fs::chownat(
            CWD,
            p.join("link"),
            Some(Uid::from_raw(1)),
            None,
            AtFlags::SYMLINK_NOFOLLOW,
        )
    }),
    ("set times", |p| {
        rustix::fs::utimensat(CWD, p.join("file"), &crate::names::NOW, AtFlags::empty())
    }),
    ("setxattr", |p| {
        rustix::fs::setxattr(p.join("file"), "user.a", b"b", XattrFlags::empty())
    }),
    ("removexattr", |p| {
        rustix::fs::removexattr(p.join("file"), "user.a")
    }),
    ("access for writing", |p| {
        rustix::fs::access(p.join("file"), rustix::fs::Access::WRITE_OK)
    }),
    ("create of what is there, for writing", |p| {
        open(p, "file", OFlags::CREATE | OFlags::WRONLY)
    }),
];

pub fn run(cases: &mut Cases, at: &Path) {
    for name in PREPARED {
        cases.check(
            format_args!("{name} is there"),
            outcome(rustix::fs::lstat(at.join(name))),
            Ok(()),
        );
    }
    for (what, change) in CHANGES {
        cases.check(what, change(at), Err(Errno::ROFS));
    }
    let read = std::fs::read(at.join("file")).map_err(|e| e.kind());
    cases.check("read", read, Ok(b"some bytes\n".to_vec()));
    cases.check(
        "O_CREAT of what is there",
        open(at, "file", OFlags::CREATE | OFlags::RDONLY),
        Ok(()),
    );
    cases.check(
        "O_EXCL of what is there",
        open(at, "file", OFlags::CREATE | OFlags::EXCL),
        Err(Errno::EXIST),
    );
    cases.check(
        "mkdir of what is there",
        rustix::fs::mkdir(at.join("dir"), Mode::RWXU),
        Err(Errno::EXIST),
    );
    let fd = rustix::fs::open(at.join("file"), OFlags::RDONLY, Mode::empty());
    let Ok(fd) = fd else { return };
    let allocated = rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, 1);
    cases.check(
        "fallocate by a handle for reading",
        allocated,
        Err(Errno::BADF),
    );
    cases.check(
        "fchmod",
        rustix::fs::fchmod(&fd, Mode::RWXU),
        Err(Errno::ROFS),
    );
    cases.check("fsync", rustix::fs::fsync(&fd), Ok(()));
}
