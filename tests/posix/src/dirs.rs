// SPDX-License-Identifier: GPL-2.0

//! Directories: links, entries while they change, moving, and what is left of those that were removed.

use crate::cases::{dir, file, outcome, stat, Cases};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Enough for several requests of entries.
const ENTRIES: usize = 600;

fn handle(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    rustix::fs::open(path, flags, Mode::empty())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn names(path: &Path) -> Vec<String> {
    let all = std::fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    all.flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

fn links(cases: &mut Cases) {
    let top = cases.fresh();
    cases.check("links of a new directory", stat(&top).st_nlink, 2);
    for i in 0..5 {
        dir(&top.join(format!("{i}")), 0o755);
        cases.check(
            format_args!("links with {} directories in it", i + 1),
            stat(&top).st_nlink,
            3 + i,
        );
    }
    file(&top.join("file"), 0o644);
    cases.check("links after a file", stat(&top).st_nlink, 7);
    cases.check(
        "rename within",
        rustix::fs::rename(top.join("0"), top.join("5")),
        Ok(()),
    );
    cases.check("links after a rename within", stat(&top).st_nlink, 7);
    cases.check(
        "rename over another",
        rustix::fs::rename(top.join("1"), top.join("2")),
        Ok(()),
    );
    cases.check("links after a rename over another", stat(&top).st_nlink, 6);
    cases.check(
        "rename into another",
        rustix::fs::rename(top.join("3"), top.join("4/in")),
        Ok(()),
    );
    cases.check("links of where it was", stat(&top).st_nlink, 5);
    cases.check("links of where it is", stat(&top.join("4")).st_nlink, 3);
    let up = stat(&top.join("4/in/..")).st_ino;
    cases.check("`..` of what was moved", up, stat(&top.join("4")).st_ino);
    cases.check("rmdir", rustix::fs::rmdir(top.join("4/in")), Ok(()));
    cases.check("links after rmdir", stat(&top.join("4")).st_nlink, 2);
    let file = top.join("file");
    for i in 0..20 {
        let made = rustix::fs::link(&file, top.join(format!("link{i}")));
        cases.check(format_args!("link {i} of a file"), made, Ok(()));
        cases.check(
            format_args!("links of a file with {i} more"),
            stat(&file).st_nlink,
            i + 2,
        );
    }
}

fn entries(cases: &mut Cases) {
    let top = cases.fresh();
    let expected: BTreeSet<String> = (0..ENTRIES).map(|i| format!("entry-{i}-of-many")).collect();
    for name in &expected {
        file(&top.join(name), 0o644);
    }
    let listed = names(&top);
    cases.check("how many entries", listed.len(), ENTRIES);
    cases.check(
        "all of them",
        listed.into_iter().collect::<BTreeSet<_>>() == expected,
        true,
    );

    // What is there all the time is seen once, whatever comes and goes meanwhile.
    let mut seen = Vec::new();
    let mut list = Dir::new(handle(&top)).unwrap_or_else(|e| panic!("{}: {e}", top.display()));
    let mut at = None;
    while let Some(Ok(e)) = list.read() {
        let name = e.file_name().to_string_lossy().into_owned();
        if seen.len() == ENTRIES / 2 {
            at = Some((e.offset(), seen.len() + 1));
        }
        if seen.len() % 10 == 9 {
            file(&top.join(format!("new-{}", seen.len())), 0o644);
        }
        seen.push(name);
    }
    let old: Vec<_> = seen.iter().filter(|n| n.starts_with("entry")).collect();
    cases.check("entries while others are made", old.len(), ENTRIES);
    cases.check(
        "each of them once",
        old.iter().collect::<BTreeSet<_>>().len(),
        ENTRIES,
    );
    cases.check(
        "`.` and `..`",
        seen.iter().filter(|n| *n == "." || *n == "..").count(),
        2,
    );

    // Back to a place, and to the begin.
    if let Some((offset, count)) = at {
        cases.check("seek to a place", list.seek(offset), Ok(()));
        let rest: Vec<String> = std::iter::from_fn(|| list.read())
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        let before: BTreeSet<_> = seen
            .iter()
            .take(count)
            .filter(|n| n.starts_with("entry"))
            .collect();
        cases.check(
            "none of those before it",
            rest.iter().any(|n| before.contains(n)),
            false,
        );
        let after: BTreeSet<_> = rest.iter().filter(|n| n.starts_with("entry")).collect();
        cases.check(
            "all of those behind it",
            after.len() + before.len(),
            ENTRIES,
        );
    }
    list.rewind();
    let again = std::iter::from_fn(|| list.read())
        .flatten()
        .filter(|e| e.file_name().to_bytes().starts_with(b"entry"))
        .count();
    cases.check("all of them after a rewind", again, ENTRIES);

    // Whoever removes what he reads gets to the end, and nothing is left then.
    let there = names(&top).len();
    list.rewind();
    let mut removed = 0;
    while let Some(Ok(e)) = list.read() {
        let name = e.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            let gone = rustix::fs::unlink(top.join(&name));
            removed += usize::from(gone.is_ok());
        }
    }
    cases.check("entries removed while reading", removed, there);
    cases.check("what is left", names(&top), Vec::new());
}

/// Directories that were removed while somebody had them.
fn removed(cases: &mut Cases) {
    let top = cases.fresh();
    let path = top.join("gone");
    dir(&path, 0o755);
    let fd = handle(&path);
    cases.check(
        "rmdir of an open directory",
        rustix::fs::rmdir(&path),
        Ok(()),
    );
    let made = rustix::fs::openat(&fd, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
    cases.check(
        "create in what was removed",
        outcome(made),
        Err(Errno::NOENT),
    );
    let made = rustix::fs::mkdirat(&fd, "x", Mode::RWXU);
    cases.check("mkdir in what was removed", made, Err(Errno::NOENT));
    let looked = rustix::fs::statat(&fd, "x", AtFlags::empty());
    cases.check(
        "lookup in what was removed",
        outcome(looked),
        Err(Errno::NOENT),
    );
    cases.check(
        "the name can be had again",
        rustix::fs::mkdir(&path, Mode::RWXU),
        Ok(()),
    );
    let made = rustix::fs::openat(&fd, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
    cases.check("the new one is another", outcome(made), Err(Errno::NOENT));
    cases.check("the new one is empty", names(&path), Vec::new());

    // A handle follows the directory, not the name.
    let fd = handle(&path);
    cases.check(
        "rename of an open directory",
        rustix::fs::rename(&path, top.join("moved")),
        Ok(()),
    );
    let made = rustix::fs::openat(&fd, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
    cases.check("create by its handle", outcome(made), Ok(()));
    cases.check(
        "where it is",
        names(&top.join("moved")),
        vec!["x".to_string()],
    );
}

fn moves(cases: &mut Cases) {
    let top = cases.fresh();
    for name in ["a", "a/b", "a/b/c", "empty", "full", "full/in"] {
        dir(&top.join(name), 0o755);
    }
    let rename = |from: &str, to: &str| rustix::fs::rename(top.join(from), top.join(to));
    cases.check("below itself", rename("a", "a/new"), Err(Errno::INVAL));
    cases.check(
        "far below itself",
        rename("a", "a/b/c/new"),
        Err(Errno::INVAL),
    );
    cases.check(
        "onto what is below it",
        rename("a", "a/b"),
        Err(Errno::INVAL),
    );
    cases.check("onto its parent", rename("a/b", "a"), Err(Errno::NOTEMPTY));
    cases.check(
        "onto its grandparent",
        rename("a/b/c", "a"),
        Err(Errno::NOTEMPTY),
    );
    cases.check("onto itself", rename("a", "a"), Ok(()));
    cases.check("onto a full one", rename("a", "full"), Err(Errno::NOTEMPTY));
    cases.check("onto an empty one", rename("a", "empty"), Ok(()));
    cases.check("up", rename("empty/b/c", "c"), Ok(()));
    cases.check(
        "its `..`",
        stat(&top.join("c/..")).st_ino,
        stat(&top).st_ino,
    );
    cases.check(
        "what is left behind",
        names(&top.join("empty/b")),
        Vec::new(),
    );
    cases.check(
        "to another file system",
        rustix::fs::rename(top.join("c"), "/dev/shm/posix-cases"),
        Err(Errno::XDEV),
    );
    let f = top.join("file");
    file(&f, 0o644);
    cases.check(
        "a link to another file system",
        rustix::fs::link(&f, "/dev/shm/posix-cases"),
        Err(Errno::XDEV),
    );
}

pub fn run(cases: &mut Cases) {
    links(cases);
    entries(cases);
    removed(cases);
    moves(cases);
}
