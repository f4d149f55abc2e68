// SPDX-License-Identifier: GPL-2.0

//! posix-cases: does a file system do what POSIX and Linux say?
//!
//! `posix-cases DIRECTORY [KNOWN]` runs tables of cases in a new directory there, as root, and says which failed.
//! What a case expects is what ext4 does; the file KNOWN has the names of those that are expected to fail, and why.
//! `posix-cases --read-only DIRECTORY` looks at a directory of a file system that is mounted read-only.
#![forbid(unsafe_code)]

mod access;
mod cases;
mod data;
mod dirs;
mod modes;
mod names;
mod readonly;
mod sticky;
mod times;
mod types;
mod who;
mod xattrs;

use cases::Cases;
use rustix::fs::Mode;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: posix-cases DIRECTORY [KNOWN]
       posix-cases --read-only DIRECTORY";

fn run(args: &[&str]) -> std::io::Result<ExitCode> {
    rustix::process::umask(Mode::empty());
    let (dir, known) = match args {
        ["--read-only", dir] => {
            let mut cases = Cases::new(Path::new(dir), None)?;
            cases.area("read-only");
            readonly::run(&mut cases, Path::new(dir));
            return Ok(cases.end());
        }
        [dir] => (dir, None),
        [dir, known] => (dir, Some(Path::new(known))),
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    };
    type Area = (&'static str, fn(&mut Cases));
    let areas: [Area; 9] = [
        ("access", access::run),
        ("sticky", sticky::run),
        ("modes", modes::run),
        ("times", times::run),
        ("names", names::run),
        ("types", types::run),
        ("dirs", dirs::run),
        ("data", data::run),
        ("xattrs", xattrs::run),
    ];
    let root = Path::new(dir).join(format!("cases-{}", std::process::id()));
    cases::dir(&root, 0o755);
    let mut cases = Cases::new(&root, known)?;
    for (name, run) in areas {
        cases.area(name);
        run(&mut cases);
    }
    cases.area("end");
    let gone = std::fs::remove_dir_all(&root).map_err(|e| e.to_string());
    cases.check("everything can be removed", gone, Ok(()));
    Ok(cases.end())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(&args).unwrap_or_else(|e| {
        eprintln!("posix-cases: {}: {e}", args.join(" "));
        ExitCode::from(2)
    })
}
