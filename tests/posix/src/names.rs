// SPDX-License-Identifier: GPL-2.0

//! Which errors paths give: what is missing, too long, in a circle, or not a directory.

use crate::cases::{dir, file, outcome, Cases, Outcome};
use crate::who::{run_as, OTHER};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, CWD,
};
use rustix::io::Errno;
use std::path::Path;

type Call = fn(&Path, &Path) -> Outcome;

/// Calls with a path, of something that is there or not. The second path is that of a file that is there.
const OF_WHAT_IS_THERE: [(&str, Call); 15] = [
    ("stat", |p, _| outcome(rustix::fs::stat(p))),
    ("lstat", |p, _| outcome(rustix::fs::lstat(p))),
    ("open", |p, _| {
        outcome(rustix::fs::open(p, OFlags::RDONLY, Mode::empty()))
    }),
    ("opendir", |p, _| {
        outcome(rustix::fs::open(p, OFlags::DIRECTORY, Mode::empty()))
    }),
    ("unlink", |p, _| rustix::fs::unlink(p)),
    ("rmdir", |p, _| rustix::fs::rmdir(p)),
    ("chmod", |p, _| rustix::fs::chmod(p, Mode::RWXU)),
    ("chown", |p, _| {
        rustix::fs::chown(p, Some(Uid::from_raw(0)), Some(Gid::from_raw(0)))
    }),
    ("truncate", |p, _| {
        outcome(rustix::fs::open(
            p,
            OFlags::WRONLY | OFlags::TRUNC,
            Mode::empty(),
        ))
    }),
    ("utimensat", |p, _| {
        rustix::fs::utimensat(CWD, p, &NOW, AtFlags::empty())
    }),
    ("readlink", |p, _| {
        outcome(rustix::fs::readlink(p, Vec::new()))
    }),
    ("link from", |p, f| {
        rustix::fs::link(p, f.with_extension("new"))
    }),
    ("rename from", |p, f| {
        rustix::fs::rename(p, f.with_extension("new"))
    }),
    ("setxattr", |p, _| {
        rustix::fs::setxattr(p, "user.a", b"b", XattrFlags::empty())
    }),
    ("access", |p, _| {
        rustix::fs::access(p, rustix::fs::Access::READ_OK)
    }),
];

/// Calls that make a name.
const OF_WHAT_IS_NOT: [(&str, Call); 7] = [
    ("create", |p, _| {
        outcome(rustix::fs::open(
            p,
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY,
            Mode::RWXU,
        ))
    }),
    ("mkdir", |p, _| rustix::fs::mkdir(p, Mode::RWXU)),
    ("mkfifo", |p, _| {
        rustix::fs::mknodat(CWD, p, FileType::Fifo, Mode::RWXU, 0)
    }),
    ("mknod", |p, _| {
        rustix::fs::mknodat(
            CWD,
            p,
            FileType::CharacterDevice,
            Mode::RWXU,
            rustix::fs::makedev(1, 3),
        )
    }),
    ("symlink", |p, _| rustix::fs::symlink("target", p)),
    ("link to", |p, f| rustix::fs::link(f, p)),
    ("rename to", |p, f| rustix::fs::rename(f, p)),
];

/// To set both times to now.
pub const NOW: Timestamps = {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
};

/// Paths below a directory, and the error for all calls, be something there or not.
fn bad_paths() -> Vec<(&'static str, String, Errno)> {
    let long = "n".repeat(256);
    // More than a path may have, made of names that are there.
    let path = "dir/../".repeat(600);
    vec![
        ("a parent that is missing", "none/name".into(), Errno::NOENT),
        ("a parent that is a file", "file/name".into(), Errno::NOTDIR),
        ("a parent that is a fifo", "fifo/name".into(), Errno::NOTDIR),
        (
            "a parent behind a file",
            "file/none/name".into(),
            Errno::NOTDIR,
        ),
        (
            "a parent that is a link to nothing",
            "dangling/name".into(),
            Errno::NOENT,
        ),
        (
            "a parent that is a circle of links",
            "circle1/name".into(),
            Errno::LOOP,
        ),
        (
            "a parent that is a link to itself",
            "self/name".into(),
            Errno::LOOP,
        ),
        ("a name of 256 bytes", long.clone(), Errno::NAMETOOLONG),
        (
            "a parent of 256 bytes",
            format!("{long}/name"),
            Errno::NAMETOOLONG,
        ),
        (
            "a path of more than 4095 bytes",
            format!("{path}name"),
            Errno::NAMETOOLONG,
        ),
    ]
}

fn prepare(at: &Path) {
    file(&at.join("file"), 0o666);
    dir(&at.join("dir"), 0o777);
    dir(&at.join("closed"), 0o777);
    file(&at.join("closed/file"), 0o666);
    crate::cases::chmod(&at.join("closed"), 0o600);
    let made = rustix::fs::mknodat(CWD, at.join("fifo"), FileType::Fifo, Mode::RWXU, 0)
        .and_then(|()| rustix::fs::symlink("nowhere", at.join("dangling")))
        .and_then(|()| rustix::fs::symlink("circle2", at.join("circle1")))
        .and_then(|()| rustix::fs::symlink("circle1", at.join("circle2")))
        .and_then(|()| rustix::fs::symlink("self", at.join("self")))
        .and_then(|()| rustix::fs::symlink("file", at.join("link")));
    made.unwrap_or_else(|e| panic!("{}: {e}", at.display()));
}

fn errors(cases: &mut Cases) {
    let at = cases.fresh();
    prepare(&at);
    let there = at.join("file");
    for (what, call) in OF_WHAT_IS_THERE.into_iter().chain(OF_WHAT_IS_NOT) {
        for (kind, path, error) in bad_paths() {
            let got = call(&at.join(path), &there);
            cases.check(format_args!("{what} with {kind}"), got, Err(error));
        }
        let got = call(Path::new(""), &there);
        cases.check(
            format_args!("{what} with no path at all"),
            got,
            Err(Errno::NOENT),
        );
    }
    for (what, call) in OF_WHAT_IS_THERE {
        cases.check(
            format_args!("{what} of nothing"),
            call(&at.join("none"), &there),
            Err(Errno::NOENT),
        );
        // Someone else may not search there.
        let got = run_as(OTHER, || call(&at.join("closed/file"), &there));
        cases.check(
            format_args!("{what} in a closed directory"),
            got,
            Err(Errno::ACCESS),
        );
    }
    for (what, call) in OF_WHAT_IS_NOT {
        let got = run_as(OTHER, || call(&at.join("closed/new"), &there));
        cases.check(
            format_args!("{what} in a closed directory"),
            got,
            Err(Errno::ACCESS),
        );
    }
    for (what, call) in OF_WHAT_IS_NOT.into_iter().filter(|c| c.0 != "rename to") {
        for name in [
            "file", "dir", "fifo", "dangling", "link", "dir/.", "dir/..", ".",
        ] {
            let got = call(&at.join(name), &there);
            cases.check(
                format_args!("{what} of {name}, which is there"),
                got,
                Err(Errno::EXIST),
            );
        }
    }
    // Names of the greatest length, with any byte.
    for (i, name) in [
        "m".repeat(255),
        "\u{e4}".repeat(127),
        "\u{1}\u{7f} \\*?\n\t'\"".into(),
    ]
    .into_iter()
    .enumerate()
    {
        for (what, call) in OF_WHAT_IS_NOT.into_iter().filter(|c| c.0 != "rename to") {
            let path = at.join(&name);
            cases.check(
                format_args!("{what} with strange name {i}"),
                call(&path, &there),
                Ok(()),
            );
            let gone = rustix::fs::unlink(&path).or_else(|_| rustix::fs::rmdir(&path));
            cases.check(
                format_args!("{what} with strange name {i}: away again"),
                gone,
                Ok(()),
            );
        }
    }
}

/// `.`, `..`, slashes at the end, links at the end.
fn ends(cases: &mut Cases) {
    type End = (&'static str, Call, &'static str, Outcome);
    let at = cases.fresh();
    prepare(&at);
    let there = at.join("file");
    let of = |name: &str| {
        OF_WHAT_IS_THERE
            .iter()
            .chain(&OF_WHAT_IS_NOT)
            .find(|c| c.0 == name)
            .map_or(never as Call, |c| c.1)
    };
    let ends: Vec<End> = vec![
        ("rmdir", of("rmdir"), "dir/.", Err(Errno::INVAL)),
        ("rmdir", of("rmdir"), "dir/..", Err(Errno::NOTEMPTY)),
        ("rmdir", of("rmdir"), "link", Err(Errno::NOTDIR)),
        ("unlink", of("unlink"), "dir/.", Err(Errno::ISDIR)),
        ("unlink", of("unlink"), "dir/..", Err(Errno::ISDIR)),
        ("unlink", of("unlink"), "dir/", Err(Errno::ISDIR)),
        ("unlink", of("unlink"), "file/", Err(Errno::NOTDIR)),
        ("stat", of("stat"), "file/", Err(Errno::NOTDIR)),
        ("stat", of("stat"), "dir/", Ok(())),
        ("stat", of("stat"), "link/", Err(Errno::NOTDIR)),
        ("stat", of("stat"), "dangling", Err(Errno::NOENT)),
        ("lstat", of("lstat"), "dangling", Ok(())),
        ("stat", of("stat"), "circle1", Err(Errno::LOOP)),
        ("lstat", of("lstat"), "circle1", Ok(())),
        ("open", of("open"), "self", Err(Errno::LOOP)),
        ("chmod", of("chmod"), "circle1", Err(Errno::LOOP)),
        ("truncate", of("truncate"), "dir", Err(Errno::ISDIR)),
        ("opendir", of("opendir"), "file", Err(Errno::NOTDIR)),
        ("opendir", of("opendir"), "link", Err(Errno::NOTDIR)),
        ("readlink", of("readlink"), "file", Err(Errno::INVAL)),
        ("readlink", of("readlink"), "dir", Err(Errno::INVAL)),
        ("readlink", of("readlink"), "fifo", Err(Errno::INVAL)),
        ("readlink", of("readlink"), "link", Ok(())),
        ("mkdir", of("mkdir"), "new/", Ok(())),
        ("mkdir", of("mkdir"), "dangling/", Err(Errno::EXIST)),
        ("create", of("create"), "new2/", Err(Errno::ISDIR)),
        ("link from", of("link from"), "dir", Err(Errno::PERM)),
        ("rename from", of("rename from"), "dir/.", Err(Errno::BUSY)),
        ("rename from", of("rename from"), "dir/..", Err(Errno::BUSY)),
        (
            "rename from",
            of("rename from"),
            "file/",
            Err(Errno::NOTDIR),
        ),
        ("rename to", of("rename to"), "dir", Err(Errno::ISDIR)),
        ("rename to", of("rename to"), "dir/.", Err(Errno::BUSY)),
        ("rename to", of("rename to"), "new3/", Err(Errno::NOTDIR)),
        ("rename to", of("rename to"), "file", Ok(())),
    ];
    for (what, call, name, want) in ends {
        cases.check(
            format_args!("{what} of {name}"),
            call(&at.join(name), &there),
            want,
        );
    }
    // Links in a row: 40 are followed, one more is not.
    file(&at.join("chain0"), 0o644);
    for i in 1..=41 {
        let made = rustix::fs::symlink(format!("chain{}", i - 1), at.join(format!("chain{i}")));
        cases.check(format_args!("link {i} of a chain"), made, Ok(()));
    }
    cases.check(
        "a chain of 40 links",
        of("stat")(&at.join("chain40"), &there),
        Ok(()),
    );
    cases.check(
        "a chain of 41 links",
        of("stat")(&at.join("chain41"), &there),
        Err(Errno::LOOP),
    );
    for len in [1, 59, 60, 255, 1000, 4095] {
        let target = "t".repeat(len);
        let path = at.join(format!("target{len}"));
        cases.check(
            format_args!("a link's target of {len} bytes"),
            rustix::fs::symlink(&target, &path),
            Ok(()),
        );
        let got = rustix::fs::readlink(&path, Vec::new()).map(|t| t.to_bytes().len());
        cases.check(
            format_args!("reading a target of {len} bytes"),
            got,
            Ok(len),
        );
        cases.check(
            format_args!("the size of a link to {len} bytes"),
            crate::cases::stat(&path).st_size,
            len as i64,
        );
    }
    let got = rustix::fs::symlink("t".repeat(4096), at.join("target"));
    cases.check(
        "a link's target of 4096 bytes",
        got,
        Err(Errno::NAMETOOLONG),
    );
    cases.check(
        "a link's target of no bytes",
        rustix::fs::symlink("", at.join("target")),
        Err(Errno::NOENT),
    );
}

fn never(_: &Path, _: &Path) -> Outcome {
    Err(Errno::NOSYS)
}

pub fn run(cases: &mut Cases) {
    errors(cases);
    ends(cases);
}
