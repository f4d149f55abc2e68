// SPDX-License-Identifier: GPL-2.0

//! Names in directories with the sticky bit: only the owners of the file and of the directory take them away.

use crate::cases::{chmod, chown, dir, file, Cases, Outcome};
use crate::who::{run_as, Who, MEMBER, OTHER, OWNER, ROOT, SUPPLEMENTARY};
use rustix::io::Errno;
use std::path::Path;

type Deed = (&'static str, fn(&Path) -> Outcome);

/// What takes a name away from `sticky`; `open` is a directory without the bit.
const DEEDS: [Deed; 6] = [
    ("unlink", |p| rustix::fs::unlink(p.join("sticky/file"))),
    ("rmdir", |p| rustix::fs::rmdir(p.join("sticky/dir"))),
    ("rename away", |p| {
        rustix::fs::rename(p.join("sticky/file"), p.join("open/moved"))
    }),
    ("rename within", |p| {
        rustix::fs::rename(p.join("sticky/file"), p.join("sticky/moved"))
    }),
    ("rename of a directory", |p| {
        rustix::fs::rename(p.join("sticky/dir"), p.join("open/moved"))
    }),
    ("rename over a file", |p| {
        rustix::fs::rename(p.join("open/own"), p.join("sticky/file"))
    }),
];

pub fn run(cases: &mut Cases) {
    let callers: [(&str, Who, bool); 5] = [
        ("owner of the file", OWNER, true),
        ("owner of the directory", OTHER, true),
        ("somebody of its group", MEMBER, false),
        (
            "somebody with its supplementary group",
            SUPPLEMENTARY,
            false,
        ),
        ("root", ROOT, true),
    ];
    for (bits, sticky) in [(0o1777, true), (0o0777, false), (0o1770, true)] {
        for (caller, who, may) in callers {
            // The owner of the file cannot write to a directory of others that is closed to him.
            if bits == 0o1770 && caller == "owner of the file" {
                continue;
            }
            let top = cases.fresh();
            for (name, deed) in DEEDS {
                let at = top.join(name);
                prepare(&at, who);
                chmod(&at.join("sticky"), bits);
                chown(
                    &at.join("sticky"),
                    OTHER.uid,
                    if bits == 0o1770 { 2000 } else { 2003 },
                );
                let want = match may || !sticky {
                    true => Ok(()),
                    false => Err(Errno::PERM),
                };
                let got = run_as(who, || deed(&at));
                cases.check(format_args!("{name} in {bits:04o} by {caller}"), got, want);
            }
        }
    }
}

fn prepare(at: &Path, who: Who) {
    dir(at, 0o777);
    dir(&at.join("open"), 0o777);
    file(&at.join("open/own"), 0o644);
    chown(&at.join("open/own"), who.uid, who.gid);
    dir(&at.join("sticky"), 0o777);
    file(&at.join("sticky/file"), 0o666);
    dir(&at.join("sticky/dir"), 0o777);
    for name in ["sticky/file", "sticky/dir"] {
        chown(&at.join(name), OWNER.uid, OWNER.gid);
    }
}
