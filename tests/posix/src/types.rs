// SPDX-License-Identifier: GPL-2.0

//! Files of all types: what each can and cannot be used for, and which takes whose name.

use crate::cases::{outcome, stat, Cases, Outcome};
use rustix::fs::{makedev, FileType, Mode, OFlags, SeekFrom, CWD};
use rustix::io::Errno;
use std::path::Path;

const ALL: [Kind; 7] = [
    Kind::File,
    Kind::Dir,
    Kind::Fifo,
    Kind::Block,
    Kind::Char,
    Kind::Socket,
    Kind::Symlink,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Dir,
    Fifo,
    Block,
    Char,
    Socket,
    Symlink,
}

impl Kind {
    /// What its mode says.
    fn file_type(self) -> FileType {
        match self {
            Kind::File => FileType::RegularFile,
            Kind::Dir => FileType::Directory,
            Kind::Fifo => FileType::Fifo,
            Kind::Block => FileType::BlockDevice,
            Kind::Char => FileType::CharacterDevice,
            Kind::Socket => FileType::Socket,
            Kind::Symlink => FileType::Symlink,
        }
    }

    /// A device with numbers that nobody has.
    fn rdev(self) -> u64 {
        match self {
            Kind::Block | Kind::Char => makedev(199, 211),
            _ => 0,
        }
    }

    fn make(self, path: &Path) -> Outcome {
        let mode = Mode::from_raw_mode(0o640);
        match self {
            Kind::Dir => rustix::fs::mkdir(path, mode),
            Kind::Symlink => rustix::fs::symlink("nowhere", path),
            _ => rustix::fs::mknodat(CWD, path, self.file_type(), mode, self.rdev()),
        }
    }

    fn links(self) -> u64 {
        if self == Kind::Dir {
            2
        } else {
            1
        }
    }
}

fn open(path: &Path, flags: OFlags) -> Outcome {
    outcome(rustix::fs::open(
        path,
        flags | OFlags::NONBLOCK | OFlags::NOFOLLOW,
        Mode::RWXU,
    ))
}

fn uses(cases: &mut Cases, kind: Kind) {
    let top = cases.fresh();
    let path = top.join("it");
    cases.check(format_args!("making a {kind:?}"), kind.make(&path), Ok(()));
    let s = stat(&path);
    let mode = if kind == Kind::Symlink { 0o777 } else { 0o640 };
    cases.check(
        format_args!("type of a {kind:?}"),
        FileType::from_raw_mode(s.st_mode),
        kind.file_type(),
    );
    cases.check(format_args!("mode of a {kind:?}"), s.st_mode & 0o7777, mode);
    cases.check(
        format_args!("links of a {kind:?}"),
        s.st_nlink,
        kind.links(),
    );
    if kind.rdev() != 0 {
        cases.check(
            format_args!("numbers of a {kind:?}"),
            s.st_rdev,
            kind.rdev(),
        );
    }
    let listed = std::fs::read_dir(&top).map_or(0, |l| {
        l.flatten()
            .filter(|e| e.file_type().is_ok_and(|t| t == s_type(&path)))
            .count()
    });
    cases.check(format_args!("a {kind:?} in its directory"), listed, 1);

    let link = Err(Errno::LOOP);
    let read = match kind {
        Kind::Block | Kind::Char => Err(Errno::NXIO),
        Kind::Socket => Err(Errno::NXIO),
        Kind::Symlink => link,
        _ => Ok(()),
    };
    cases.check(
        format_args!("open a {kind:?} for reading"),
        open(&path, OFlags::RDONLY),
        read,
    );
    let write = match kind {
        Kind::File => Ok(()),
        Kind::Dir => Err(Errno::ISDIR),
        Kind::Symlink => link,
        // Nobody reads from the fifo.
        _ => Err(Errno::NXIO),
    };
    cases.check(
        format_args!("open a {kind:?} for writing"),
        open(&path, OFlags::WRONLY),
        write,
    );
    let directory = match kind {
        Kind::Dir => Ok(()),
        _ => Err(Errno::NOTDIR),
    };
    cases.check(
        format_args!("open a {kind:?} as a directory"),
        open(&path, OFlags::DIRECTORY),
        directory,
    );
    cases.check(
        format_args!("O_EXCL of a {kind:?}"),
        open(&path, OFlags::CREATE | OFlags::EXCL),
        Err(Errno::EXIST),
    );
    let path_only = open(&path, OFlags::PATH);
    cases.check(format_args!("O_PATH of a {kind:?}"), path_only, Ok(()));

    let second = top.join("second");
    let linked = match kind {
        Kind::Dir => Err(Errno::PERM),
        _ => Ok(()),
    };
    cases.check(
        format_args!("link of a {kind:?}"),
        rustix::fs::link(&path, &second),
        linked,
    );
    if linked.is_ok() {
        let (a, b) = (stat(&path), stat(&second));
        cases.check(
            format_args!("links of a {kind:?} with two names"),
            (a.st_nlink, b.st_nlink),
            (2, 2),
        );
        cases.check(
            format_args!("both names of a {kind:?}"),
            a.st_ino == b.st_ino,
            true,
        );
        cases.check(
            format_args!("rename of a {kind:?} to its other name"),
            rustix::fs::rename(&path, &second),
            Ok(()),
        );
        cases.check(
            format_args!("which does nothing to a {kind:?}"),
            stat(&path).st_nlink,
            2,
        );
        cases.check(
            format_args!("unlink of one name of a {kind:?}"),
            rustix::fs::unlink(&second),
            Ok(()),
        );
        cases.check(
            format_args!("links of a {kind:?} then"),
            stat(&path).st_nlink,
            1,
        );
    }
    let (unlinked, removed) = match kind {
        Kind::Dir => (Err(Errno::ISDIR), Ok(())),
        _ => (Ok(()), Err(Errno::NOTDIR)),
    };
    if kind == Kind::Dir {
        cases.check("unlink of a Dir", rustix::fs::unlink(&path), unlinked);
        cases.check("rmdir of a Dir", rustix::fs::rmdir(&path), removed);
    } else {
        cases.check(
            format_args!("rmdir of a {kind:?}"),
            rustix::fs::rmdir(&path),
            removed,
        );
        cases.check(
            format_args!("unlink of a {kind:?}"),
            rustix::fs::unlink(&path),
            unlinked,
        );
    }
    cases.check(
        format_args!("a {kind:?} that is gone"),
        outcome(rustix::fs::lstat(&path)),
        Err(Errno::NOENT),
    );
}

fn s_type(path: &Path) -> std::fs::FileType {
    path.symlink_metadata()
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .file_type()
}

/// Each takes the name of each.
fn renames(cases: &mut Cases) {
    for from in ALL {
        for to in ALL {
            let top = cases.fresh();
            let (a, b) = (top.join("a"), top.join("b"));
            let made = from.make(&a).and_then(|()| to.make(&b));
            cases.check(format_args!("making {from:?} and {to:?}"), made, Ok(()));
            let ino = stat(&a).st_ino;
            let want = match (from, to) {
                (Kind::Dir, Kind::Dir) => Ok(()),
                (Kind::Dir, _) => Err(Errno::NOTDIR),
                (_, Kind::Dir) => Err(Errno::ISDIR),
                _ => Ok(()),
            };
            let got = rustix::fs::rename(&a, &b);
            cases.check(
                format_args!("rename of a {from:?} over a {to:?}"),
                got,
                want,
            );
            let there = if want.is_ok() { &b } else { &a };
            cases.check(
                format_args!("a {from:?} where it belongs after a {to:?}"),
                stat(there).st_ino,
                ino,
            );
        }
    }
}

/// What only files can do, by handles of others.
fn handles(cases: &mut Cases) {
    let top = cases.fresh();
    let (file, fifo) = (top.join("file"), top.join("fifo"));
    let made = Kind::File.make(&file).and_then(|()| Kind::Fifo.make(&fifo));
    cases.check("making a file and a fifo", made, Ok(()));
    let get = |p: &Path, f| {
        rustix::fs::open(p, f, Mode::empty()).unwrap_or_else(|e| panic!("{}: {e}", p.display()))
    };
    let (d, r) = (get(&top, OFlags::RDONLY), get(&file, OFlags::RDONLY));
    let (w, p) = (
        get(&file, OFlags::WRONLY),
        get(&fifo, OFlags::RDWR | OFlags::NONBLOCK),
    );
    let o = get(&file, OFlags::PATH);
    let mut buffer = [0; 4];
    cases.check(
        "read of a directory",
        outcome(rustix::io::read(&d, &mut buffer[..])),
        Err(Errno::ISDIR),
    );
    cases.check(
        "write to a directory",
        outcome(rustix::io::write(&d, b"x")),
        Err(Errno::BADF),
    );
    cases.check(
        "read by a handle for writing",
        outcome(rustix::io::read(&w, &mut buffer[..])),
        Err(Errno::BADF),
    );
    cases.check(
        "write by a handle for reading",
        outcome(rustix::io::write(&r, b"x")),
        Err(Errno::BADF),
    );
    cases.check(
        "read by O_PATH",
        outcome(rustix::io::read(&o, &mut buffer[..])),
        Err(Errno::BADF),
    );
    cases.check(
        "ftruncate by a handle for reading",
        rustix::fs::ftruncate(&r, 1),
        Err(Errno::INVAL),
    );
    cases.check(
        "ftruncate of a directory",
        rustix::fs::ftruncate(&d, 1),
        Err(Errno::INVAL),
    );
    cases.check(
        "ftruncate of a fifo",
        rustix::fs::ftruncate(&p, 1),
        Err(Errno::INVAL),
    );
    cases.check(
        "seek in a fifo",
        outcome(rustix::fs::seek(&p, SeekFrom::Start(1))),
        Err(Errno::SPIPE),
    );
    cases.check("fsync of a directory", rustix::fs::fsync(&d), Ok(()));
    cases.check(
        "fsync by a handle for reading",
        rustix::fs::fsync(&r),
        Ok(()),
    );
    cases.check("fsync of a fifo", rustix::fs::fsync(&p), Err(Errno::INVAL));
    cases.check("write to a fifo", rustix::io::write(&p, b"text"), Ok(4));
    cases.check(
        "read from a fifo",
        rustix::io::read(&p, &mut buffer[..]),
        Ok(4),
    );
    cases.check("what came out", &buffer, b"text");
    let flags = rustix::fs::FallocateFlags::empty();
    cases.check(
        "fallocate by a handle for reading",
        rustix::fs::fallocate(&r, flags, 0, 1),
        Err(Errno::BADF),
    );
    cases.check(
        "fallocate of a fifo",
        rustix::fs::fallocate(&p, flags, 0, 1),
        Err(Errno::SPIPE),
    );
    cases.check(
        "fallocate of nothing",
        rustix::fs::fallocate(&w, flags, 0, 0),
        Err(Errno::INVAL),
    );
    let at = rustix::fs::openat(&r, "x", OFlags::RDONLY, Mode::empty());
    cases.check("openat a file", outcome(at), Err(Errno::NOTDIR));
    let socket = top.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket);
    cases.check("bind of a socket", listener.is_ok(), true);
    cases.check(
        "bind where one is",
        std::os::unix::net::UnixListener::bind(&socket).is_err(),
        true,
    );
    cases.check(
        "connect to it",
        std::os::unix::net::UnixStream::connect(&socket).is_ok(),
        true,
    );
}

pub fn run(cases: &mut Cases) {
    for kind in ALL {
        uses(cases, kind);
    }
    renames(cases);
    handles(cases);
}
