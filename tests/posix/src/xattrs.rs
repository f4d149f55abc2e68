// SPDX-License-Identifier: GPL-2.0

//! Extended attributes and access control lists.

use crate::cases::{chmod, chown, dir, file, mode_of, outcome, Cases, Outcome};
use crate::who::{run_as, MEMBER, OTHER, OWNER, SUPPLEMENTARY};
use rustix::fs::{FileType, Mode, OFlags, XattrFlags, CWD};
use rustix::io::Errno;
use std::path::Path;

fn set(path: &Path, name: &str, value: &[u8]) -> Outcome {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
}

fn get(path: &Path, name: &str) -> Result<Vec<u8>, Errno> {
    let mut out = vec![0; 65536];
    let n = rustix::fs::lgetxattr(path, name, &mut out[..])?;
    out.truncate(n);
    Ok(out)
}

fn list(path: &Path) -> Vec<String> {
    let mut out = vec![0; 65536];
    let n = rustix::fs::llistxattr(path, &mut out[..])
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let names = out[..n].split(|b| *b == 0).filter(|n| !n.is_empty());
    names
        .map(|n| String::from_utf8_lossy(n).into_owned())
        .filter(|n| n.starts_with("user.") || n.starts_with("trusted.me"))
        .collect()
}

fn values(cases: &mut Cases) {
    let top = cases.fresh();
    let path = top.join("file");
    file(&path, 0o644);
    cases.check("get of nothing", get(&path, "user.a"), Err(Errno::NODATA));
    cases.check("list of nothing", list(&path), Vec::new());
    for len in [0, 1, 100, 1000, 2000] {
        let value = vec![b'v'; len];
        cases.check(
            format_args!("set {len} bytes"),
            set(&path, "user.a", &value),
            Ok(()),
        );
        cases.check(
            format_args!("get {len} bytes"),
            get(&path, "user.a"),
            Ok(value),
        );
    }
    let mut small = [0; 10];
    cases.check(
        "get with too little room",
        outcome(rustix::fs::getxattr(&path, "user.a", &mut small[..])),
        Err(Errno::RANGE),
    );
    cases.check(
        "asking for the size",
        rustix::fs::getxattr_query(&path, "user.a"),
        Ok(2000),
    );
    cases.check(
        "list with too little room",
        outcome(rustix::fs::listxattr(&path, &mut small[..3])),
        Err(Errno::RANGE),
    );
    let how = |name: &str, flags| rustix::fs::setxattr(&path, name, b"x", flags);
    cases.check(
        "CREATE of what is there",
        how("user.a", XattrFlags::CREATE),
        Err(Errno::EXIST),
    );
    cases.check(
        "REPLACE of what is not",
        how("user.b", XattrFlags::REPLACE),
        Err(Errno::NODATA),
    );
    cases.check("CREATE", how("user.b", XattrFlags::CREATE), Ok(()));
    cases.check("REPLACE", how("user.a", XattrFlags::REPLACE), Ok(()));
    cases.check("another", set(&path, "trusted.me", b"t"), Ok(()));
    let mut names = list(&path);
    names.sort();
    cases.check(
        "list",
        names,
        vec!["trusted.me".into(), "user.a".into(), "user.b".into()],
    );
    cases.check("remove", rustix::fs::removexattr(&path, "user.a"), Ok(()));
    cases.check(
        "get of what was removed",
        get(&path, "user.a"),
        Err(Errno::NODATA),
    );
    cases.check(
        "remove of what was removed",
        rustix::fs::removexattr(&path, "user.a"),
        Err(Errno::NODATA),
    );
    let long = |n: usize| format!("user.{}", "n".repeat(n - 5));
    cases.check("a name of 255 bytes", set(&path, &long(255), b"v"), Ok(()));
    cases.check(
        "a name of 256 bytes",
        set(&path, &long(256), b"v"),
        Err(Errno::RANGE),
    );
    cases.check(
        "a name that is only a prefix",
        set(&path, "user.", b"v"),
        Err(Errno::INVAL),
    );
    cases.check(
        "a name without a prefix",
        set(&path, "name", b"v"),
        Err(Errno::OPNOTSUPP),
    );
    cases.check(
        "a prefix that nobody knows",
        set(&path, "strange.a", b"v"),
        Err(Errno::OPNOTSUPP),
    );
    cases.check(
        "a value of 65537 bytes",
        set(&path, "user.c", &vec![0; 65537]),
        Err(Errno::TOOBIG),
    );
}

fn rights(cases: &mut Cases) {
    let top = cases.fresh();
    let path = top.join("file");
    file(&path, 0o640);
    chown(&path, OWNER.uid, OWNER.gid);
    let all = [
        ("owner", OWNER, true, true),
        ("group", MEMBER, true, false),
        ("others", OTHER, false, false),
    ];
    for (class, who, may_read, may_write) in all {
        let want = |may| if may { Ok(()) } else { Err(Errno::ACCESS) };
        let got = run_as(who, || set(&path, "user.a", b"v"));
        cases.check(format_args!("set user.a, {class}"), got, want(may_write));
        let got = run_as(who, || outcome(get(&path, "user.a")));
        cases.check(format_args!("get user.a, {class}"), got, want(may_read));
        let got = run_as(who, || set(&path, "trusted.a", b"v"));
        cases.check(
            format_args!("set trusted.a, {class}"),
            got,
            Err(Errno::PERM),
        );
        let got = run_as(who, || outcome(get(&path, "trusted.a")));
        cases.check(
            format_args!("get trusted.a, {class}"),
            got,
            Err(Errno::NODATA),
        );
        let got = run_as(who, || {
            set(&path, "system.posix_acl_access", &acl(0o6, None, 0o4))
        });
        let want = if class == "owner" {
            Ok(())
        } else {
            Err(Errno::PERM)
        };
        cases.check(format_args!("set an ACL, {class}"), got, want);
        chmod(&path, 0o640);
    }
    // Only files and directories have any of users, sticky directories only by their owners.
    let sticky = top.join("sticky");
    dir(&sticky, 0o777);
    chmod(&sticky, 0o1777);
    chown(&sticky, OWNER.uid, OWNER.gid);
    cases.check(
        "of a sticky directory by its owner",
        run_as(OWNER, || set(&sticky, "user.a", b"v")),
        Ok(()),
    );
    cases.check(
        "of a sticky directory by another",
        run_as(OTHER, || set(&sticky, "user.a", b"v")),
        Err(Errno::PERM),
    );
    let (link, fifo) = (top.join("link"), top.join("fifo"));
    let made = rustix::fs::symlink("file", &link)
        .and_then(|()| rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0));
    cases.check("making a link and a fifo", made, Ok(()));
    for (what, path) in [("symlink", &link), ("fifo", &fifo)] {
        cases.check(
            format_args!("set user.a of a {what}"),
            set(path, "user.a", b"v"),
            Err(Errno::PERM),
        );
        cases.check(
            format_args!("set trusted.a of a {what}"),
            set(path, "trusted.a", b"v"),
            Ok(()),
        );
        cases.check(
            format_args!("get trusted.a of a {what}"),
            get(path, "trusted.a"),
            Ok(b"v".to_vec()),
        );
    }
}

/// An access control list: for the owner, for one user more, for the group, the mask and others.
fn acl(owner: u16, user: Option<(u32, u16)>, group: u16) -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    let mut out = 2u32.to_le_bytes().to_vec();
    let mut entry = |tag: u16, bits: u16, id: u32| {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&bits.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    };
    entry(0x01, owner, NO_ID);
    if let Some((id, bits)) = user {
        entry(0x02, bits, id);
    }
    entry(0x04, group, NO_ID);
    if user.is_some() {
        entry(0x10, 7, NO_ID);
    }
    entry(0x20, 0, NO_ID);
    out
}

fn acls(cases: &mut Cases) {
    const ACCESS: &str = "system.posix_acl_access";
    const DEFAULT: &str = "system.posix_acl_default";
    let top = cases.fresh();
    let path = top.join("file");
    file(&path, 0o600);
    chown(&path, OWNER.uid, OWNER.gid);
    let open = |who, flags| {
        run_as(who, || {
            outcome(rustix::fs::open(&path, flags, Mode::empty()))
        })
    };
    cases.check(
        "before there is a list",
        open(OTHER, OFlags::RDONLY),
        Err(Errno::ACCESS),
    );
    let list = acl(6, Some((OTHER.uid, 4)), 0);
    cases.check("set it", set(&path, ACCESS, &list), Ok(()));
    cases.check("get it", get(&path, ACCESS), Ok(list));
    cases.check("the mode has the mask", mode_of(&path), 0o670);
    cases.check(
        "a user of the list reads",
        open(OTHER, OFlags::RDONLY),
        Ok(()),
    );
    cases.check(
        "a user of the list does not write",
        open(OTHER, OFlags::WRONLY),
        Err(Errno::ACCESS),
    );
    cases.check(
        "the group has nothing",
        open(MEMBER, OFlags::RDONLY),
        Err(Errno::ACCESS),
    );
    cases.check(
        "nor who has the group besides",
        open(SUPPLEMENTARY, OFlags::RDONLY),
        Err(Errno::ACCESS),
    );
    chmod(&path, 0o600);
    cases.check(
        "the mask limits",
        open(OTHER, OFlags::RDONLY),
        Err(Errno::ACCESS),
    );
    cases.check("remove it", rustix::fs::removexattr(&path, ACCESS), Ok(()));
    cases.check(
        "there is none",
        outcome(get(&path, ACCESS)),
        Err(Errno::NODATA),
    );
    cases.check(
        "a list that is the mode",
        set(&path, ACCESS, &acl(7, None, 5)),
        Ok(()),
    );
    cases.check("is the mode", mode_of(&path), 0o750);
    cases.check(
        "and nothing else",
        outcome(get(&path, ACCESS)),
        Err(Errno::NODATA),
    );
    cases.check(
        "a list of garbage",
        set(&path, ACCESS, b"\x02\0\0\0garbage"),
        Err(Errno::INVAL),
    );
    cases.check(
        "a default of a file",
        set(&path, DEFAULT, &acl(7, None, 5)),
        Err(Errno::ACCESS),
    );

    let parent = top.join("dir");
    dir(&parent, 0o777);
    let list = acl(7, Some((OTHER.uid, 7)), 5);
    cases.check(
        "a default of a directory",
        set(&parent, DEFAULT, &list),
        Ok(()),
    );
    cases.check("get the default", get(&parent, DEFAULT), Ok(list.clone()));
    cases.check("its mode stays", mode_of(&parent), 0o777);
    let old = rustix::process::umask(Mode::from_raw_mode(0o077));
    file_by_open(&parent.join("new"));
    dir_by_mkdir(&parent.join("below"));
    rustix::process::umask(old);
    // Instead of the umask.
    cases.check("mode of a new file", mode_of(&parent.join("new")), 0o660);
    cases.check(
        "mode of a new directory",
        mode_of(&parent.join("below")),
        0o770,
    );
    cases.check(
        "the default goes on",
        get(&parent.join("below"), DEFAULT),
        Ok(list),
    );
    cases.check(
        "a new file has no default",
        outcome(get(&parent.join("new"), DEFAULT)),
        Err(Errno::NODATA),
    );
    let may = run_as(OTHER, || {
        outcome(rustix::fs::open(
            parent.join("new"),
            OFlags::RDWR,
            Mode::empty(),
        ))
    });
    cases.check("a user of the default writes", may, Ok(()));
    cases.check(
        "remove the default",
        rustix::fs::removexattr(&parent, DEFAULT),
        Ok(()),
    );
    file_by_open(&parent.join("later"));
    cases.check(
        "a file that comes later has no list",
        outcome(get(&parent.join("later"), ACCESS)),
        Err(Errno::NODATA),
    );
}

fn file_by_open(path: &Path) {
    let made = rustix::fs::open(
        path,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY,
        Mode::from_raw_mode(0o666),
    );
    made.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn dir_by_mkdir(path: &Path) {
    let made = rustix::fs::mkdir(path, Mode::from_raw_mode(0o777));
    made.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

pub fn run(cases: &mut Cases) {
    values(cases);
    rights(cases);
    acls(cases);
}
