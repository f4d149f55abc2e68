// SPDX-License-Identifier: GPL-2.0

//! The tools as an administrator runs them, on files.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output};

struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> Image {
        let p = std::env::temp_dir().join(format!("lustre-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&p);
        Image(p)
    }
    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(tool: &str, args: &[&str]) -> (i32, String, String) {
    let out: Output = Command::new(tool).args(args).output().unwrap();
    (
        out.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

const MKFS: &str = env!("CARGO_BIN_EXE_mkfs_lustre");
const TUNEFS: &str = env!("CARGO_BIN_EXE_tunefs_lustre");
const MOUNT: &str = env!("CARGO_BIN_EXE_mount_lustre");

fn assert_clean(i: &Image) {
    let (rc, out, _) = run("e2fsck", &["-f", "-n", i.path()]);
    assert_eq!(rc, 0, "{out}");
}

const OST: &[&str] = &[
    "--ost",
    "--fsname=lustre",
    "--index=3",
    "--mgsnode=10.0.0.1@tcp",
    "--device-size=100000",
];

#[test]
fn format_and_tune() {
    let i = Image::new("tune");
    let (rc, out, err) = run(MKFS, &[OST, &[i.path()]].concat());
    assert_eq!(rc, 0, "{err}");
    assert!(out.contains("Target:     lustre:OST0003"), "{out}");
    assert!(
        out.contains("Flags:      0x62\n              (OST first_time update )"),
        "{out}"
    );
    assert_clean(&i);
    // Not again without being told so.
    let (rc, _, err) = run(MKFS, &[OST, &[i.path()]].concat());
    assert_eq!(rc, 17);
    assert!(err.contains("Use --reformat"), "{err}");
    let (rc, _, _) = run(MKFS, &[OST, &["--reformat", i.path()]].concat());
    assert_eq!(rc, 0);
    let (rc, _, err) = run(
        TUNEFS,
        &["--param", "sys.timeout=20", "--writeconf", i.path()],
    );
    assert_eq!(rc, 0, "{err}");
    assert_clean(&i);
    let (rc, out, _) = run(TUNEFS, &["--dryrun", i.path()]);
    assert_eq!(rc, 0);
    assert!(out.contains("Target:     lustre=OST0003"), "{out}");
    assert!(out.contains("mgsnode=10.0.0.1@tcp sys.timeout=20"), "{out}");
    assert!(out.ends_with("exiting before disk write.\n"), "{out}");
}

#[test]
fn a_combined_mgs_and_mdt() {
    let i = Image::new("mdt");
    let args = [
        "--mgs",
        "--mdt",
        "--fsname=my-fs",
        "--device-size=100000",
        "--quiet",
    ];
    let (rc, out, err) = run(MKFS, &[&args[..], &[i.path()]].concat());
    assert_eq!((rc, out.as_str()), (0, ""), "{err}");
    let (_, out, _) = run(TUNEFS, &["--dryrun", i.path()]);
    assert!(out.contains("Target:     my-fs:MDT0000"), "{out}");
    assert!(out.contains("(MDT MGS first_time update )"), "{out}");
    let (_, out, _) = run("dumpe2fs", &["-h", i.path()]);
    assert!(
        out.contains("ea_inode") && !out.contains("dirdata"),
        "{out}"
    );
    assert_clean(&i);
    // What mount.lustre would do with it.
    let dir = std::env::temp_dir();
    let (rc, out, err) = run(MOUNT, &["-f", i.path(), dir.to_str().unwrap()]);
    assert_eq!(rc, 0, "{err}");
    assert!(
        out.contains("osd=osd-ldiskfs,mgs,virgin,update,svname=my-fs-MDT0000,device="),
        "{out}"
    );
}

#[test]
fn refusals_change_nothing() {
    let i = Image::new("bad");
    let p = i.path();
    let size = "--device-size=100000";
    for (args, rc, text) in [
        (
            &["--ost", "--fsname=lustre", "--index=0", size, p][..],
            22,
            "--mgsnode is needed",
        ),
        (
            &["--mgs", size, "--index=1", p],
            22,
            "--index makes no sense",
        ),
        (&["--mdt", "--mgs", size, p], 22, "--fsname is needed"),
        (
            &["--mdt", "--mgs", "--fsname=toolongname", size, p],
            22,
            "1 to 8 characters",
        ),
        (
            &["--ost", "--mgs", "--fsname=a", size, p],
            22,
            "cannot be combined",
        ),
        (
            &["--ost", "--fsname=a", "--mgsnode=nowhere", size, p],
            22,
            "bad NID 'nowhere'",
        ),
        (
            &[
                "--ost",
                "--fsname=a",
                "--index=65535",
                "--mgsnode=1.2.3.4@tcp",
                size,
                p,
            ],
            34,
            "too large",
        ),
        (&["--mgs", "--device-size=1000", p], 22, "at least 32384"),
        (&["--mgs", p], 2, "give --device-size"),
        (&["--mgs", "--no-such-option", p], 22, "--no-such-option"),
        (
            &["--mgs", size, "--mkfsoptions=-O dirdata", p],
            22,
            "dirdata",
        ),
    ] {
        let (code, _, err) = run(MKFS, args);
        assert_eq!(code, rc, "{args:?}: {err}");
        assert!(err.contains(text), "{args:?}: {err}");
        assert!(!i.0.exists(), "{args:?}");
    }
}

#[test]
fn what_is_no_target() {
    let i = Image::new("ext4");
    std::fs::write(&i.0, vec![0; 8 << 20]).unwrap();
    for made in [false, true] {
        if made {
            assert_eq!(run("mkfs.ext4", &["-q", "-F", i.path()]).0, 0);
        }
        let before = std::fs::read(&i.0).unwrap();
        for tool in [TUNEFS, MOUNT] {
            let dir = std::env::temp_dir();
            let args = [i.path(), dir.to_str().unwrap()];
            let n = if tool == MOUNT { 2 } else { 1 };
            let (rc, _, err) = run(tool, &args[..n]);
            assert_eq!(rc, 19, "{err}");
            assert!(
                err.contains("has not been formatted with mkfs.lustre"),
                "{err}"
            );
        }
        assert!(std::fs::read(&i.0).unwrap() == before);
    }
    let (rc, _, err) = run(MOUNT, &["/no/such/device", "/tmp"]);
    assert_eq!(rc, 2, "{err}");
}

/// A file system that carries `dirdata` is refused with what to do, which works.
#[test]
fn dirdata() {
    let i = Image::new("dirdata");
    let (rc, _, err) = run(MKFS, &[OST, &[i.path()]].concat());
    assert_eq!(rc, 0, "{err}");
    let f = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&i.0)
        .unwrap();
    let mut byte = [0];
    f.read_exact_at(&mut byte, 1024 + 0x61).unwrap();
    f.write_all_at(&[byte[0] | 0x10], 1024 + 0x61).unwrap();
    let (rc, _, err) = run(MOUNT, &[i.path(), "/mnt"]);
    assert_eq!(rc, libc::EINVAL, "{err}");
    assert!(err.contains("run 'tunefs.lustre --strip-dirdata"), "{err}");
    let (rc, out, err) = run(TUNEFS, &["--strip-dirdata", i.path()]);
    assert_eq!(rc, 0, "{err}");
    assert!(out.contains("dirdata removed"), "{out}");
    assert_clean(&i);
    let (rc, out, _) = run(TUNEFS, &["--strip-dirdata", i.path()]);
    assert!(rc == 0 && out.contains("does not have"), "{out}");
    let (rc, out, _) = run(env!("CARGO_BIN_EXE_lustre-fsck"), &["-n", i.path()]);
    assert!(rc == 0 && out.contains(" 0 problems"), "{out}");
    let (rc, _, _) = run(env!("CARGO_BIN_EXE_lustre-fsck"), &["/dev/null"]);
    assert_eq!(rc, 8);
}
