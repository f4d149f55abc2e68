// SPDX-License-Identifier: GPL-2.0

//! Recorded disks in memory.

use lustre_utils::offline::ext4::{Fs, Inode, ROOT_INO};
use lustre_utils::offline::{bad, dir, fsck, Disk, Result};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::process::Command;

/// A disk that may lose power: after `left` writes, the next is torn, and all others are lost.
pub struct Mem {
    pub bytes: RefCell<Vec<u8>>,
    pub left: Cell<usize>,
    /// Which sectors of the last write are written: as the bits of this number, again and again.
    pub torn: Cell<u64>,
    /// What was there before, for undo.
    pub log: RefCell<Vec<(usize, Vec<u8>)>>,
}

impl Mem {
    pub fn new(bytes: Vec<u8>) -> Mem {
        Mem {
            bytes: RefCell::new(bytes),
            left: Cell::new(usize::MAX),
            torn: Cell::new(0),
            log: RefCell::default(),
        }
    }

    fn put(&self, at: usize, buf: &[u8]) {
        let mut all = self.bytes.borrow_mut();
        let there = &mut all[at..at + buf.len()];
        self.log.borrow_mut().push((at, there.to_vec()));
        there.copy_from_slice(buf);
    }

    /// Takes back every write.
    pub fn undo(&self) {
        for (at, old) in self.log.borrow_mut().drain(..).rev() {
            self.bytes.borrow_mut()[at..at + old.len()].copy_from_slice(&old);
        }
    }
}

impl Disk for Mem {
    fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let all = self.bytes.borrow();
        let end = at.checked_add(buf.len() as u64);
        match end.and_then(|e| all.get(at as usize..e as usize)) {
            Some(b) => {
                buf.copy_from_slice(b);
                Ok(())
            }
            None => bad("beyond the end"),
        }
    }

    fn write(&self, at: u64, buf: &[u8]) -> Result<()> {
        let at = at as usize;
        let left = self.left.get();
        if left == 0 {
            for (i, s) in buf.chunks(512).enumerate() {
                if (self.torn.get() >> (i % 64)) & 1 != 0 {
                    self.put(at + i * 512, s);
                }
            }
            self.torn.set(0);
            return Err(std::io::Error::other("the power is gone").into());
        }
        self.left.set(left - 1);
        self.put(at, buf);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn images() -> PathBuf {
    let shared = std::env::var_os("LUSTRE_SHARED").map_or_else(|| "/shared".into(), PathBuf::from);
    shared.join("images")
}

/// A recorded disk, unpacked; `None`, and a word, if it is not there.
pub fn image(name: &str) -> Option<Vec<u8>> {
    let from = images().join(format!("{name}.img.zst"));
    if !from.exists() {
        eprintln!("skipped: no {}", from.display());
        return None;
    }
    let out = Command::new("zstd")
        .args(["-qdc"])
        .arg(&from)
        .output()
        .unwrap();
    assert!(out.status.success());
    Some(out.stdout)
}

/// A disk of 2.10, which are in one archive.
pub fn old_image(name: &str) -> Option<Vec<u8>> {
    let from = images().join("2.10-two-mdts-two-osts.tar.bz2");
    if !from.exists() {
        eprintln!("skipped: no {}", from.display());
        return None;
    }
    let out = Command::new("tar")
        .args(["-xOjf"])
        .arg(&from)
        .arg(name)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    Some(out.stdout)
}

/// What the check says.
pub fn check(disk: &dyn Disk) -> (Vec<String>, fsck::Summary) {
    let mut lines = Vec::new();
    let sum = fsck::check(disk, &mut |l| lines.push(l.to_string())).unwrap();
    assert_eq!(sum.problems, lines.len() as u64);
    (lines, sum)
}

pub fn find(fs: &Fs<'_>, path: &str) -> Inode {
    path.split('/')
        .filter(|n| !n.is_empty())
        .fold(fs.inode(ROOT_INO).unwrap(), |d, n| {
            let ino = dir::lookup(fs, &d, n.as_bytes()).unwrap();
            fs.inode(ino.unwrap_or_else(|| panic!("no {path}")))
                .unwrap()
        })
}
