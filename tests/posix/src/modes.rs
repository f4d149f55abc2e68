// SPDX-License-Identifier: GPL-2.0

//! Modes: what new files get, and what takes set-uid and set-gid bits away.

use crate::cases::{chown, dir, file, mode_of, outcome, stat, Cases, Outcome};
use crate::who::{run_as, Who, MEMBER, OTHER, OWNER, ROOT, SUPPLEMENTARY};
use rustix::fs::{FallocateFlags, FileType, Gid, Mode, OFlags, Uid, CWD};
use std::path::Path;

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

/// Who does what to a file of a mode, and the mode then.
type Change = (
    &'static str,
    Who,
    fn(&Path) -> Outcome,
    &'static [(u32, u32)],
);

fn write(p: &Path) -> Outcome {
    let f = rustix::fs::open(p, OFlags::WRONLY, Mode::empty())?;
    outcome(rustix::io::write(&f, b"x"))
}

fn truncate(p: &Path) -> Outcome {
    let f = rustix::fs::open(p, OFlags::WRONLY, Mode::empty())?;
    rustix::fs::ftruncate(&f, 3)
}

fn cut_by_open(p: &Path) -> Outcome {
    outcome(rustix::fs::open(
        p,
        OFlags::WRONLY | OFlags::TRUNC,
        Mode::empty(),
    ))
}

fn allocate(p: &Path) -> Outcome {
    let f = rustix::fs::open(p, OFlags::WRONLY, Mode::empty())?;
    rustix::fs::fallocate(&f, FallocateFlags::empty(), 0, 8192)
}

fn read(p: &Path) -> Outcome {
    let f = rustix::fs::open(p, OFlags::RDONLY, Mode::empty())?;
    outcome(rustix::io::read(&f, &mut [0; 4][..]))
}

fn own(p: &Path, uid: Option<u32>, gid: Option<u32>) -> Outcome {
    let uid = uid.map(Uid::from_raw);
    rustix::fs::chown(p, uid, gid.map(Gid::from_raw))
}

/// Without group-execute, set-gid is no set-gid.
const CLEARED: &[(u32, u32)] = &[
    (0o4777, 0o0777),
    (0o2777, 0o0777),
    (0o6777, 0o0777),
    (0o6666, 0o2666),
    (0o1777, 0o1777),
    (0o0666, 0o0666),
];
const KEPT: &[(u32, u32)] = &[
    (0o4777, 0o4777),
    (0o2777, 0o2777),
    (0o6777, 0o6777),
    (0o6666, 0o6666),
    (0o1777, 0o1777),
];

const CHANGES: [Change; 18] = [
    ("a write by the owner", OWNER, write, CLEARED),
    ("a write by one of the group", MEMBER, write, CLEARED),
    ("a write by root", ROOT, write, KEPT),
    ("truncate by the owner", OWNER, truncate, CLEARED),
    ("truncate by one of the group", MEMBER, truncate, CLEARED),
    ("truncate by root", ROOT, truncate, KEPT),
    ("O_TRUNC by the owner", OWNER, cut_by_open, CLEARED),
    ("O_TRUNC by one of the group", MEMBER, cut_by_open, CLEARED),
    ("O_TRUNC by root", ROOT, cut_by_open, KEPT),
    ("fallocate by the owner", OWNER, allocate, CLEARED),
    ("fallocate by one of the group", MEMBER, allocate, CLEARED),
    ("fallocate by root", ROOT, allocate, KEPT),
    ("a read by the owner", OWNER, read, KEPT),
    ("a read by another", OTHER, read, &[(0o6777, 0o6777)]),
    (
        "chgrp by the owner",
        OWNER,
        |p| own(p, None, Some(2000)),
        CLEARED,
    ),
    ("chown by root", ROOT, |p| own(p, Some(1003), None), CLEARED),
    (
        "chown to the same by root",
        ROOT,
        |p| own(p, Some(1000), Some(2000)),
        CLEARED,
    ),
    (
        "link by the owner",
        OWNER,
        |p| rustix::fs::link(p, p.with_extension("link")),
        KEPT,
    ),
];

fn bits_that_go(cases: &mut Cases) {
    let top = cases.fresh();
    for (i, (what, who, change, modes)) in CHANGES.iter().enumerate() {
        for (before, after) in *modes {
            let path = top.join(format!("{i}-{before:o}"));
            file(&path, 0o666);
            chown(&path, OWNER.uid, OWNER.gid);
            crate::cases::chmod(&path, *before);
            let got = run_as(*who, || change(&path));
            cases.check(format_args!("{what} of a file {before:04o}"), got, Ok(()));
            cases.check(
                format_args!("mode {before:04o} after {what}"),
                mode_of(&path),
                *after,
            );
        }
    }
    // Directories keep theirs.
    let path = top.join("dir");
    dir(&path, 0o755);
    crate::cases::chmod(&path, 0o6755);
    chown(&path, OWNER.uid, OWNER.gid);
    cases.check(
        "mode of a directory 6755 after chown",
        mode_of(&path),
        0o6755,
    );
}

fn chmods(cases: &mut Cases) {
    let top = cases.fresh();
    // Who is not of the file's group does not give it set-gid.
    let by: [(&str, Who, u32, u32); 5] = [
        ("the owner, of the group", OWNER, 2000, 0o2755),
        ("the owner, not of the group", OWNER, 2099, 0o0755),
        (
            "the owner, by a supplementary group",
            SUPPLEMENTARY,
            2000,
            0o2755,
        ),
        (
            "the owner, by a group after many",
            SUPPLEMENTARY,
            3003,
            0o2755,
        ),
        ("root", ROOT, 2099, 0o2755),
    ];
    for (i, (who_is, who, group, want)) in by.into_iter().enumerate() {
        for kind in ["file", "directory"] {
            let path = top.join(format!("{kind}{i}"));
            match kind {
                "file" => file(&path, 0o644),
                _ => dir(&path, 0o755),
            }
            chown(&path, if who.uid == 0 { 1000 } else { who.uid }, group);
            let got = run_as(who, || rustix::fs::chmod(&path, mode(0o2755)));
            cases.check(
                format_args!("chmod 2755 of a {kind} by {who_is}"),
                got,
                Ok(()),
            );
            cases.check(
                format_args!("its mode then, {kind}, {who_is}"),
                mode_of(&path),
                want,
            );
        }
    }
    let path = top.join("all");
    file(&path, 0o644);
    for bits in [
        0, 0o7777, 0o4000, 0o2000, 0o1000, 0o111, 0o222, 0o444, 0o707, 0o070,
    ] {
        crate::cases::chmod(&path, bits);
        cases.check(
            format_args!("chmod {bits:04o} by root"),
            mode_of(&path),
            bits,
        );
    }
}

fn new_files(cases: &mut Cases) {
    type Maker = (&'static str, fn(&Path, Mode) -> Outcome);
    let makers: [Maker; 4] = [
        ("open", |p, m| {
            outcome(rustix::fs::open(p, OFlags::CREATE | OFlags::WRONLY, m))
        }),
        ("mkdir", |p, m| rustix::fs::mkdir(p, m)),
        ("mkfifo", |p, m| {
            rustix::fs::mknodat(CWD, p, FileType::Fifo, m, 0)
        }),
        ("mknod of a file", |p, m| {
            rustix::fs::mknodat(CWD, p, FileType::RegularFile, m, 0)
        }),
    ];
    let top = cases.fresh();
    for (what, make) in makers {
        for (asked, mask) in [
            (0o777, 0o022),
            (0o666, 0o077),
            (0o777, 0),
            (0, 0),
            (0o1755, 0o022),
            (0o700, 0o777),
        ] {
            let path = top.join(format!("{what}-{asked:o}-{mask:o}"));
            let old = rustix::process::umask(mode(mask));
            let made = run_as(OWNER, || make(&path, mode(asked)));
            rustix::process::umask(old);
            cases.check(
                format_args!("{what} with {asked:04o}, umask {mask:03o}"),
                made,
                Ok(()),
            );
            cases.check(
                format_args!("mode after {what} {asked:04o}, umask {mask:03o}"),
                mode_of(&path),
                asked & !mask,
            );
            let s = stat(&path);
            cases.check(
                format_args!("owner after {what} {asked:04o}, {mask:03o}"),
                (s.st_uid, s.st_gid),
                (1000, 2000),
            );
        }
    }
    // Directories with set-gid hand their group on.
    for (i, (caller, who)) in [
        ("root", ROOT),
        ("one of the group", MEMBER),
        ("another", OTHER),
    ]
    .into_iter()
    .enumerate()
    {
        let parent = top.join(format!("setgid{i}"));
        dir(&parent, 0o777);
        chown(&parent, 0, 2000);
        crate::cases::chmod(&parent, 0o2777);
        for (what, make) in makers {
            let path = parent.join(what);
            let made = run_as(who, || make(&path, mode(0o755)));
            cases.check(
                format_args!("{what} in a set-gid directory by {caller}"),
                made,
                Ok(()),
            );
            let s = stat(&path);
            cases.check(
                format_args!("its owner, {what}, {caller}"),
                (s.st_uid, s.st_gid),
                (who.uid, 2000),
            );
            let want = if what == "mkdir" { 0o2755 } else { 0o755 };
            cases.check(
                format_args!("its mode, {what}, {caller}"),
                mode_of(&path),
                want,
            );
        }
        let path = parent.join("setgid");
        let made = run_as(who, || makers[0].1(&path, mode(0o2775)));
        cases.check(
            format_args!("a set-gid file in it by {caller}"),
            made,
            Ok(()),
        );
        let want = if caller == "another" { 0o0775 } else { 0o2775 };
        cases.check(
            format_args!("its set-gid bit, {caller}"),
            mode_of(&path),
            want,
        );
    }
}

pub fn run(cases: &mut Cases) {
    bits_that_go(cases);
    chmods(cases);
    new_files(cases);
}
