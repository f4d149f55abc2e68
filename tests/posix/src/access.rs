// SPDX-License-Identifier: GPL-2.0

//! Who may do what to files and directories of which modes.

use crate::cases::{chmod, chown, dir, file, outcome, Cases, Outcome};
use crate::who::{run_as, Who, MEMBER, OTHER, OWNER, ROOT, SUPPLEMENTARY};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;

/// Who is of which class: how far its bits in a mode are shifted.
const CLASSES: [(&str, Who, u32); 4] = [
    ("owner", OWNER, 6),
    ("group", MEMBER, 3),
    ("supplementary group", SUPPLEMENTARY, 3),
    ("others", OTHER, 0),
];

const READ: u32 = 4;
const WRITE: u32 = 2;
const SEARCH: u32 = 1;

/// Something that is done, its name, and the bits that it takes.
type Deed = (&'static str, u32, fn(&Path) -> Outcome);

fn open(path: &Path, flags: OFlags) -> Outcome {
    outcome(rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)))
}

/// To a file.
const ON_FILES: [Deed; 5] = [
    ("open for reading", READ, |p| open(p, OFlags::RDONLY)),
    ("open for writing", WRITE, |p| open(p, OFlags::WRONLY)),
    ("open for both", READ | WRITE, |p| open(p, OFlags::RDWR)),
    ("truncate", WRITE, |p| {
        open(p, OFlags::WRONLY | OFlags::TRUNC)
    }),
    ("touch", WRITE, |p| {
        let now = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        };
        let times = rustix::fs::Timestamps {
            last_access: now,
            last_modification: now,
        };
        rustix::fs::utimensat(rustix::fs::CWD, p, &times, rustix::fs::AtFlags::empty())
    }),
];

/// In a directory, which has a file `there` and an empty directory `below`. What is made is removed again.
const IN_DIRECTORIES: [Deed; 9] = [
    ("list", READ, |p| {
        open(p, OFlags::RDONLY | OFlags::DIRECTORY)
    }),
    ("stat", SEARCH, |p| {
        outcome(rustix::fs::stat(p.join("there")))
    }),
    ("open a file", SEARCH, |p| {
        open(&p.join("there"), OFlags::RDONLY)
    }),
    ("create and unlink", WRITE | SEARCH, |p| {
        let new = p.join("new");
        open(&new, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY)?;
        rustix::fs::unlink(&new)
    }),
    ("mkdir and rmdir", WRITE | SEARCH, |p| {
        rustix::fs::mkdir(p.join("new"), Mode::RWXU)?;
        rustix::fs::rmdir(p.join("new"))
    }),
    ("symlink and unlink", WRITE | SEARCH, |p| {
        rustix::fs::symlink("target", p.join("new"))?;
        rustix::fs::unlink(p.join("new"))
    }),
    ("link and unlink", WRITE | SEARCH, |p| {
        rustix::fs::link(p.join("there"), p.join("new"))?;
        rustix::fs::unlink(p.join("new"))
    }),
    ("rename", WRITE | SEARCH, |p| {
        rustix::fs::rename(p.join("there"), p.join("moved"))?;
        rustix::fs::rename(p.join("moved"), p.join("there"))
    }),
    ("search a directory below", SEARCH, |p| {
        outcome(rustix::fs::stat(p.join("below/.")))
    }),
];

fn errno(e: &std::io::Error) -> Errno {
    Errno::from_io_error(e).unwrap_or(Errno::IO)
}

/// All modes of a class, while the other classes have what it has not.
fn each_mode(cases: &mut Cases, kind: &str, path: &Path, deeds: &[Deed]) {
    for (class, who, shift) in CLASSES {
        for bits in 0..8 {
            let others = !bits & 7;
            let mode = ((others * 0o111) & !(7 << shift)) | (bits << shift);
            chmod(path, mode);
            let got = run_as(who, || deeds.iter().map(|d| d.2(path)).collect::<Vec<_>>());
            for ((deed, needs, _), got) in deeds.iter().zip(got) {
                let want = match bits & needs == *needs {
                    true => Ok(()),
                    false => Err(Errno::ACCESS),
                };
                // Whoever owns it may set its times to now.
                let want = if *deed == "touch" && class == "owner" {
                    Ok(())
                } else {
                    want
                };
                cases.check(
                    format_args!("{kind} {mode:04o}, {class}: {deed}"),
                    got,
                    want,
                );
            }
        }
    }
    chmod(path, 0);
    let got = run_as(ROOT, || deeds.iter().map(|d| d.2(path)).collect::<Vec<_>>());
    for ((deed, ..), got) in deeds.iter().zip(got) {
        cases.check(format_args!("{kind} 0000, root: {deed}"), got, Ok(()));
    }
}

/// Who may change what an inode says of itself.
fn attributes(cases: &mut Cases) {
    let top = cases.fresh();
    let denied = Err(Errno::PERM);
    type Change = (&'static str, fn(&Path) -> Outcome, [Outcome; 3]);
    // For the owner, one of the group, one of the others.
    let changes: [Change; 7] = [
        (
            "chmod",
            |p| rustix::fs::chmod(p, Mode::from_raw_mode(0o640)),
            [Ok(()), denied, denied],
        ),
        (
            "chown to oneself",
            |p| own(p, Some(1000), None),
            [Ok(()), denied, denied],
        ),
        (
            "chown to another",
            |p| own(p, Some(1003), None),
            [denied, denied, denied],
        ),
        (
            "chgrp to the same",
            |p| own(p, None, Some(2000)),
            [Ok(()), denied, denied],
        ),
        (
            "chgrp to a strange group",
            |p| own(p, None, Some(2099)),
            [denied, denied, denied],
        ),
        (
            "chown to nobody new",
            |p| own(p, None, None),
            [Ok(()), Ok(()), Ok(())],
        ),
        ("set times", |p| set_times(p), [Ok(()), denied, denied]),
    ];
    for (what, change, want) in changes {
        for ((class, who), want) in [("owner", OWNER), ("group", MEMBER), ("others", OTHER)]
            .iter()
            .zip(want)
        {
            for kind in ["file", "directory"] {
                let path = top.join(format!("{kind} {class} {what}"));
                match kind {
                    "file" => file(&path, 0o777),
                    _ => dir(&path, 0o777),
                }
                chown(&path, OWNER.uid, OWNER.gid);
                let got = run_as(*who, || change(&path));
                cases.check(format_args!("{what} of a {kind}, {class}"), got, want);
            }
        }
    }
    // An owner gives a file to those groups that are his own.
    let path = top.join("given");
    for (group, want) in [
        (2002, Ok(())),
        (3001, Ok(())),
        (2000, Ok(())),
        (2001, denied),
        (0, denied),
    ] {
        file(&path, 0o644);
        chown(&path, SUPPLEMENTARY.uid, 2099);
        let got = run_as(SUPPLEMENTARY, || own(&path, None, Some(group)));
        cases.check(
            format_args!("chgrp by the owner to group {group}"),
            got,
            want,
        );
    }
}

fn own(path: &Path, uid: Option<u32>, gid: Option<u32>) -> Outcome {
    std::os::unix::fs::chown(path, uid, gid).map_err(|e| errno(&e))
}

fn set_times(path: &Path) -> Outcome {
    let at = rustix::fs::Timespec {
        tv_sec: 1_000_000_000,
        tv_nsec: 0,
    };
    let times = rustix::fs::Timestamps {
        last_access: at,
        last_modification: at,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty())
}

pub fn run(cases: &mut Cases) {
    let top = cases.fresh();
    let path = top.join("file");
    file(&path, 0);
    chown(&path, OWNER.uid, OWNER.gid);
    each_mode(cases, "file", &path, &ON_FILES);

    let path = top.join("directory");
    dir(&path, 0o755);
    file(&path.join("there"), 0o666);
    dir(&path.join("below"), 0o777);
    chown(&path, OWNER.uid, OWNER.gid);
    each_mode(cases, "directory", &path, &IN_DIRECTORIES);

    attributes(cases);
}
