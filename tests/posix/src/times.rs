// SPDX-License-Identifier: GPL-2.0

//! Which times change with what, and that none does when it fails. All cases wait for the clock together.

use crate::cases::{chmod, dir, file, outcome, stat, Cases, Outcome};
use crate::who::{run_as, Who, OTHER, ROOT};
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
    CWD,
};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Times of file systems are whole seconds at worst.
const TICK: Duration = Duration::from_millis(1050);

/// Something that is done in a directory, and what it changes: for each name there, whether mtime and ctime do.
/// What is not named keeps its times.
struct Case {
    what: &'static str,
    who: Who,
    deed: fn(&Path) -> Outcome,
    want: Outcome,
    changed: &'static [(&'static str, bool, bool)],
}

/// What there is in a case's directory, which is `.`.
const NAMES: [&str; 8] = [
    ".", "file", "other", "dir", "full", "full/in", "fifo", "link",
];

const fn works(
    what: &'static str,
    deed: fn(&Path) -> Outcome,
    changed: &'static [(&'static str, bool, bool)],
) -> Case {
    Case {
        what,
        who: ROOT,
        deed,
        want: Ok(()),
        changed,
    }
}

const fn fails(what: &'static str, who: Who, deed: fn(&Path) -> Outcome, error: Errno) -> Case {
    Case {
        what,
        who,
        deed,
        want: Err(error),
        changed: &[],
    }
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

fn open(p: PathBuf, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(p, flags, mode(0o644))
}

fn set(path: PathBuf, access: i64, modification: i64) -> Outcome {
    let at = |n: i64| match n {
        -1 => (0, rustix::fs::UTIME_OMIT),
        -2 => (0, rustix::fs::UTIME_NOW),
        n => (n, 0),
    };
    let time = |n| {
        let (tv_sec, tv_nsec) = at(n);
        Timespec { tv_sec, tv_nsec }
    };
    let times = Timestamps {
        last_access: time(access),
        last_modification: time(modification),
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

const PARENT: &[(&str, bool, bool)] = &[(".", true, true)];
const DATA: &[(&str, bool, bool)] = &[("file", true, true)];
const INODE: &[(&str, bool, bool)] = &[("file", false, true)];
const NOTHING: &[(&str, bool, bool)] = &[];

fn all() -> Vec<Case> {
    vec![
        works(
            "create",
            |p| outcome(open(p.join("new"), OFlags::CREATE | OFlags::WRONLY)),
            PARENT,
        ),
        works(
            "mkdir",
            |p| rustix::fs::mkdir(p.join("new"), mode(0o755)),
            PARENT,
        ),
        works(
            "mkfifo",
            |p| rustix::fs::mknodat(CWD, p.join("new"), FileType::Fifo, mode(0o644), 0),
            PARENT,
        ),
        works(
            "symlink",
            |p| rustix::fs::symlink("target", p.join("new")),
            PARENT,
        ),
        works(
            "link",
            |p| rustix::fs::link(p.join("file"), p.join("new")),
            &[(".", true, true), ("file", false, true)],
        ),
        works(
            "link of a fifo",
            |p| rustix::fs::link(p.join("fifo"), p.join("new")),
            &[(".", true, true), ("fifo", false, true)],
        ),
        works(
            "link into another directory",
            |p| rustix::fs::link(p.join("file"), p.join("dir/new")),
            &[("dir", true, true), ("file", false, true)],
        ),
        works("unlink", |p| rustix::fs::unlink(p.join("other")), PARENT),
        works(
            "unlink of one name of two",
            |p| {
                rustix::fs::link(p.join("file"), p.join("second"))?;
                rustix::fs::unlink(p.join("second"))
            },
            &[(".", true, true), ("file", false, true)],
        ),
        works("rmdir", |p| rustix::fs::rmdir(p.join("dir")), PARENT),
        works(
            "rename",
            |p| rustix::fs::rename(p.join("other"), p.join("new")),
            &[(".", true, true), ("other", false, true)],
        ),
        works(
            "rename into a directory",
            |p| rustix::fs::rename(p.join("other"), p.join("dir/new")),
            &[
                (".", true, true),
                ("dir", true, true),
                ("other", false, true),
            ],
        ),
        works(
            "rename over another",
            |p| rustix::fs::rename(p.join("other"), p.join("file")),
            &[(".", true, true), ("other", false, true)],
        ),
        works(
            "rename of a directory",
            |p| rustix::fs::rename(p.join("dir"), p.join("new")),
            &[(".", true, true), ("dir", false, true)],
        ),
        works(
            "write",
            |p| {
                outcome(rustix::io::write(
                    &open(p.join("file"), OFlags::WRONLY)?,
                    b"x",
                ))
            },
            DATA,
        ),
        works(
            "write behind the end",
            |p| {
                outcome(rustix::io::pwrite(
                    &open(p.join("file"), OFlags::WRONLY)?,
                    b"x",
                    9999,
                ))
            },
            DATA,
        ),
        works(
            "write of nothing",
            |p| {
                outcome(rustix::io::write(
                    &open(p.join("file"), OFlags::WRONLY)?,
                    b"",
                ))
            },
            NOTHING,
        ),
        works(
            "open for writing",
            |p| outcome(open(p.join("file"), OFlags::RDWR)),
            NOTHING,
        ),
        works(
            "O_CREAT of what is there",
            |p| outcome(open(p.join("file"), OFlags::CREATE | OFlags::WRONLY)),
            NOTHING,
        ),
        works(
            "O_TRUNC",
            |p| outcome(open(p.join("file"), OFlags::WRONLY | OFlags::TRUNC)),
            DATA,
        ),
        works(
            "truncate to less",
            |p| rustix::fs::ftruncate(open(p.join("file"), OFlags::WRONLY)?, 1),
            DATA,
        ),
        works(
            "truncate to more",
            |p| rustix::fs::ftruncate(open(p.join("file"), OFlags::WRONLY)?, 1 << 20),
            DATA,
        ),
        works(
            "truncate to the same",
            |p| rustix::fs::ftruncate(open(p.join("file"), OFlags::WRONLY)?, 10),
            DATA,
        ),
        works(
            "fallocate",
            |p| {
                rustix::fs::fallocate(
                    open(p.join("file"), OFlags::WRONLY)?,
                    FallocateFlags::empty(),
                    0,
                    9999,
                )
            },
            DATA,
        ),
        works(
            "chmod",
            |p| rustix::fs::chmod(p.join("file"), mode(0o600)),
            INODE,
        ),
        works(
            "chmod to the same",
            |p| rustix::fs::chmod(p.join("file"), mode(0o644)),
            INODE,
        ),
        works(
            "chmod of a directory",
            |p| rustix::fs::chmod(p.join("dir"), mode(0o700)),
            &[("dir", false, true)],
        ),
        works(
            "chmod of a fifo",
            |p| rustix::fs::chmod(p.join("fifo"), mode(0o600)),
            &[("fifo", false, true)],
        ),
        works(
            "chown",
            |p| rustix::fs::chown(p.join("file"), Some(Uid::from_raw(7)), None),
            INODE,
        ),
        works(
            "chgrp",
            |p| rustix::fs::chown(p.join("file"), None, Some(Gid::from_raw(7))),
            INODE,
        ),
        works(
            "chown of a symlink",
            |p| {
                rustix::fs::chownat(
                    CWD,
                    p.join("link"),
                    Some(Uid::from_raw(7)),
                    None,
                    AtFlags::SYMLINK_NOFOLLOW,
                )
            },
            &[("link", false, true)],
        ),
        works("set both times", |p| set(p.join("file"), 11, 12), DATA),
        works("set mtime", |p| set(p.join("file"), -1, 12), DATA),
        works("set atime", |p| set(p.join("file"), 11, -1), INODE),
        works("set times to now", |p| set(p.join("file"), -2, -2), DATA),
        works("set no times", |p| set(p.join("file"), -1, -1), NOTHING),
        works(
            "set times of a directory",
            |p| set(p.join("dir"), 11, 12),
            &[("dir", true, true)],
        ),
        works(
            "set times of a symlink",
            |p| set(p.join("link"), 11, 12),
            &[("link", true, true)],
        ),
        works(
            "setxattr",
            |p| rustix::fs::setxattr(p.join("file"), "user.a", b"b", XattrFlags::empty()),
            INODE,
        ),
        works(
            "setxattr of a directory",
            |p| rustix::fs::setxattr(p.join("dir"), "user.a", b"b", XattrFlags::empty()),
            &[("dir", false, true)],
        ),
        works(
            "removexattr",
            |p| rustix::fs::removexattr(p.join("file"), "user.has"),
            INODE,
        ),
        works(
            "stat",
            |p| outcome(rustix::fs::stat(p.join("file"))),
            NOTHING,
        ),
        works(
            "read",
            |p| {
                outcome(rustix::io::read(
                    &open(p.join("file"), OFlags::RDONLY)?,
                    &mut [0; 4][..],
                ))
            },
            NOTHING,
        ),
        works(
            "readlink",
            |p| outcome(rustix::fs::readlink(p.join("link"), Vec::new())),
            NOTHING,
        ),
        works(
            "rename to itself",
            |p| rustix::fs::rename(p.join("full/in"), p.join("full/in")),
            NOTHING,
        ),
        fails(
            "O_EXCL of what is there",
            ROOT,
            |p| {
                outcome(open(
                    p.join("file"),
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY,
                ))
            },
            Errno::EXIST,
        ),
        fails(
            "mkdir of what is there",
            ROOT,
            |p| rustix::fs::mkdir(p.join("dir"), mode(0o755)),
            Errno::EXIST,
        ),
        fails(
            "mkfifo of what is there",
            ROOT,
            |p| rustix::fs::mknodat(CWD, p.join("fifo"), FileType::Fifo, mode(0o644), 0),
            Errno::EXIST,
        ),
        fails(
            "symlink of what is there",
            ROOT,
            |p| rustix::fs::symlink("target", p.join("link")),
            Errno::EXIST,
        ),
        fails(
            "link to what is there",
            ROOT,
            |p| rustix::fs::link(p.join("file"), p.join("other")),
            Errno::EXIST,
        ),
        fails(
            "link of a directory",
            ROOT,
            |p| rustix::fs::link(p.join("dir"), p.join("new")),
            Errno::PERM,
        ),
        fails(
            "unlink of nothing",
            ROOT,
            |p| rustix::fs::unlink(p.join("none")),
            Errno::NOENT,
        ),
        fails(
            "unlink of a directory",
            ROOT,
            |p| rustix::fs::unlink(p.join("dir")),
            Errno::ISDIR,
        ),
        fails(
            "rmdir of a file",
            ROOT,
            |p| rustix::fs::rmdir(p.join("file")),
            Errno::NOTDIR,
        ),
        fails(
            "rmdir of what is not empty",
            ROOT,
            |p| rustix::fs::rmdir(p.join("full")),
            Errno::NOTEMPTY,
        ),
        fails(
            "rename of nothing",
            ROOT,
            |p| rustix::fs::rename(p.join("none"), p.join("file")),
            Errno::NOENT,
        ),
        fails(
            "rename over what is not empty",
            ROOT,
            |p| rustix::fs::rename(p.join("dir"), p.join("full")),
            Errno::NOTEMPTY,
        ),
        fails(
            "rename of a directory below itself",
            ROOT,
            |p| rustix::fs::rename(p.join("full"), p.join("full/new")),
            Errno::INVAL,
        ),
        fails(
            "rename of a file over a directory",
            ROOT,
            |p| rustix::fs::rename(p.join("file"), p.join("dir")),
            Errno::ISDIR,
        ),
        fails(
            "rename of a directory over a file",
            ROOT,
            |p| rustix::fs::rename(p.join("dir"), p.join("file")),
            Errno::NOTDIR,
        ),
        fails(
            "create by another",
            OTHER,
            |p| outcome(open(p.join("new"), OFlags::CREATE | OFlags::WRONLY)),
            Errno::ACCESS,
        ),
        fails(
            "mkdir by another",
            OTHER,
            |p| rustix::fs::mkdir(p.join("new"), mode(0o755)),
            Errno::ACCESS,
        ),
        fails(
            "unlink by another",
            OTHER,
            |p| rustix::fs::unlink(p.join("file")),
            Errno::ACCESS,
        ),
        fails(
            "rename by another",
            OTHER,
            |p| rustix::fs::rename(p.join("file"), p.join("new")),
            Errno::ACCESS,
        ),
        fails(
            "chmod by another",
            OTHER,
            |p| rustix::fs::chmod(p.join("file"), mode(0o777)),
            Errno::PERM,
        ),
        fails(
            "chown by another",
            OTHER,
            |p| rustix::fs::chown(p.join("file"), Some(Uid::from_raw(1003)), None),
            Errno::PERM,
        ),
        fails(
            "set times by another",
            OTHER,
            |p| set(p.join("file"), 1, 1),
            Errno::PERM,
        ),
        fails(
            "O_TRUNC by another",
            OTHER,
            |p| outcome(open(p.join("file"), OFlags::WRONLY | OFlags::TRUNC)),
            Errno::ACCESS,
        ),
        fails(
            "setxattr by another",
            OTHER,
            |p| rustix::fs::setxattr(p.join("file"), "user.a", b"b", XattrFlags::empty()),
            Errno::ACCESS,
        ),
        fails(
            "XATTR_CREATE of what is there",
            ROOT,
            |p| rustix::fs::setxattr(p.join("file"), "user.has", b"b", XattrFlags::CREATE),
            Errno::EXIST,
        ),
        fails(
            "XATTR_REPLACE of nothing",
            ROOT,
            |p| rustix::fs::setxattr(p.join("file"), "user.b", b"b", XattrFlags::REPLACE),
            Errno::NODATA,
        ),
        fails(
            "removexattr of nothing",
            ROOT,
            |p| rustix::fs::removexattr(p.join("file"), "user.b"),
            Errno::NODATA,
        ),
    ]
}

/// Modification and change of an inode, each with its nanoseconds.
type Times = [(i64, u64); 2];

/// Something that is watched: its name, a handle on it that outlives the name, and its times before.
struct Watched {
    name: &'static str,
    fd: OwnedFd,
    before: Times,
}

/// The times of what is still there.
fn times(fd: &OwnedFd) -> Option<Times> {
    let s = rustix::fs::fstat(fd).ok().filter(|s| s.st_nlink > 0)?;
    Some([(s.st_mtime, s.st_mtime_nsec), (s.st_ctime, s.st_ctime_nsec)])
}

fn prepare(at: &Path) {
    file(&at.join("file"), 0o644);
    file(&at.join("other"), 0o644);
    dir(&at.join("dir"), 0o755);
    dir(&at.join("full"), 0o755);
    file(&at.join("full/in"), 0o644);
    let made = rustix::fs::mknodat(CWD, at.join("fifo"), FileType::Fifo, mode(0o644), 0)
        .and_then(|()| rustix::fs::symlink("file", at.join("link")))
        .and_then(|()| {
            rustix::fs::setxattr(at.join("file"), "user.has", b"it", XattrFlags::empty())
        });
    made.unwrap_or_else(|e| panic!("{}: {e}", at.display()));
    chmod(at, 0o755);
}

fn watch(at: &Path) -> Vec<Watched> {
    let handle = |name| {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(at.join(name), flags, Mode::empty()).ok()?;
        let before = times(&fd)?;
        Some(Watched { name, fd, before })
    };
    NAMES.into_iter().filter_map(handle).collect()
}

pub fn run(cases: &mut Cases) {
    let top = cases.fresh();
    let all: Vec<(Case, PathBuf)> = all()
        .into_iter()
        .map(|c| (top.join(c.what), c))
        .map(|(p, c)| (c, p))
        .collect();
    for (_, at) in &all {
        dir(at, 0o755);
        prepare(at);
    }
    std::thread::sleep(TICK);
    let watched: Vec<Vec<Watched>> = all.iter().map(|(_, at)| watch(at)).collect();
    for ((case, at), watched) in all.iter().zip(&watched) {
        cases.check(
            format_args!("{}: what is there", case.what),
            watched.len(),
            NAMES.len(),
        );
        let got = run_as(case.who, || (case.deed)(at));
        cases.check(case.what, got, case.want);
    }
    for ((case, _), watched) in all.iter().zip(&watched) {
        for w in watched {
            let Some(now) = times(&w.fd) else {
                continue;
            };
            let changed = (w.before[0] != now[0], w.before[1] != now[1]);
            let listed = case.changed.iter().find(|c| c.0 == w.name);
            let want = listed.map_or((false, false), |c| (c.1, c.2));
            cases.check(
                format_args!("{}: (mtime, ctime) of {} changed", case.what, w.name),
                changed,
                want,
            );
        }
    }
    atimes(cases);
}

/// What is set can be seen, and only that.
fn atimes(cases: &mut Cases) {
    let top = cases.fresh();
    for (i, (access, modification)) in [
        (0, 0),
        (1, 2),
        (1_000_000_000, -1),
        (-1, 2_000_000_000),
        (4_000_000_000, 4_100_000_000),
    ]
    .into_iter()
    .enumerate()
    {
        for name in NAMES.into_iter().filter(|n| *n != ".") {
            let at = top.join(format!("{i}"));
            if !at.exists() {
                dir(&at, 0o755);
                prepare(&at);
            }
            let path = at.join(name);
            let before = stat(&path);
            let done = set(path.clone(), access, modification);
            cases.check(
                format_args!("utimensat({access}, {modification}) of {name}"),
                done,
                Ok(()),
            );
            let after = stat(&path);
            let want = (
                if access < 0 { before.st_atime } else { access },
                if modification < 0 {
                    before.st_mtime
                } else {
                    modification
                },
            );
            cases.check(
                format_args!("times after ({access}, {modification}) of {name}"),
                (after.st_atime, after.st_mtime),
                want,
            );
        }
    }
}
