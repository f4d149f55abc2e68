// SPDX-License-Identifier: GPL-2.0

//! Where cases run, and how they came out.

use rustix::fs::{Mode, Stat};
use rustix::io::{Errno, Result};
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The outcome of a call, as it can be compared.
pub type Outcome = std::result::Result<(), Errno>;

/// How a call came out, whatever it gives.
pub fn outcome<T>(r: Result<T>) -> Outcome {
    r.map(drop)
}

/// The permission bits of a file.
pub fn mode_of(path: &Path) -> u32 {
    stat(path).st_mode & 0o7777
}

/// What is there, which has to be.
pub fn stat(path: &Path) -> Stat {
    rustix::fs::lstat(path).unwrap_or_else(|e| panic!("stat {}: {e}", path.display()))
}

/// Makes a file of some bytes.
pub fn file(path: &Path, mode: u32) {
    std::fs::write(path, b"some bytes").unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    chmod(path, mode);
}

/// Makes a directory.
pub fn dir(path: &Path, mode: u32) {
    std::fs::create_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    chmod(path, mode);
}

/// Sets a mode, which has to work.
pub fn chmod(path: &Path, mode: u32) {
    let done = rustix::fs::chmod(path, Mode::from_raw_mode(mode));
    done.unwrap_or_else(|e| panic!("chmod {}: {e}", path.display()));
}

/// Sets the owner, which has to work.
pub fn chown(path: &Path, uid: u32, gid: u32) {
    let done = std::os::unix::fs::lchown(path, Some(uid), Some(gid));
    done.unwrap_or_else(|e| panic!("chown {}: {e}", path.display()));
}

/// All cases so far.
pub struct Cases {
    root: PathBuf,
    begin: Instant,
    area: &'static str,
    known: BTreeMap<String, String>,
    passed: usize,
    failed: usize,
    dirs: usize,
}

impl Cases {
    /// Cases that make what they need in `root`.
    ///
    /// # Errors
    /// The list of known differences cannot be read.
    pub fn new(root: &Path, known: Option<&Path>) -> std::io::Result<Cases> {
        let text = known.map_or(Ok(String::new()), std::fs::read_to_string)?;
        let lines = text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        let pairs = lines.filter_map(|l| l.split_once(" -- "));
        let known = pairs.map(|(name, why)| (name.into(), why.into())).collect();
        Ok(Cases {
            root: root.into(),
            begin: Instant::now(),
            area: "",
            known,
            passed: 0,
            failed: 0,
            dirs: 0,
        })
    }

    /// What comes next is about this.
    pub fn area(&mut self, name: &'static str) {
        if !self.area.is_empty() {
            self.tell_time();
        }
        self.area = name;
    }

    fn tell_time(&self) {
        println!(
            "{}: done after {:.1} s",
            self.area,
            self.begin.elapsed().as_secs_f64()
        );
    }

    /// A new directory, where everybody may do everything.
    pub fn fresh(&mut self) -> PathBuf {
        self.dirs += 1;
        let path = self.root.join(format!("{}-{}", self.area, self.dirs));
        dir(&path, 0o777);
        path
    }

    /// A case: is it what is wanted?
    pub fn check<T: PartialEq + Debug>(&mut self, what: impl Display, got: T, want: T) {
        let name = format!("{}: {what}", self.area);
        let right = got == want;
        match (right, self.known.remove(&name)) {
            (true, None) => self.passed += 1,
            (true, Some(_)) => {
                self.fail(&format!("{name}: passes, but is listed as known to fail"))
            }
            (false, Some(why)) => {
                println!("known: {name}: expected {want:?}, got {got:?}: {why}");
                self.passed += 1;
            }
            (false, None) => self.fail(&format!("{name}: expected {want:?}, got {got:?}")),
        }
    }

    fn fail(&mut self, text: &str) {
        println!("FAILED {text}");
        self.failed += 1;
    }

    /// Tells the end.
    pub fn end(mut self) -> ExitCode {
        self.tell_time();
        for name in std::mem::take(&mut self.known).into_keys() {
            self.fail(&format!(
                "{name}: is listed as known to fail, but there is no such case"
            ));
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        match self.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}
