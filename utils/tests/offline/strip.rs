// SPDX-License-Identifier: GPL-2.0

//! The removal of `dirdata`: what is left, and cuts at every write.

use crate::disk::{check, image, Mem};
use lustre_utils::offline::ext4::{Fs, INCOMPAT_DIRDATA, INDEX_FL};
use lustre_utils::offline::{strip, Disk, Error};
use std::collections::{HashMap, HashSet};
use std::process::Command;

const NAME: &str = "2.17-mdt0";

/// What a run has written in the end, by place; not the scratch area in the journal.
fn written(disk: &Mem) -> HashMap<usize, Vec<u8>> {
    let fs = Fs::open(disk).unwrap();
    let journal = fs.inode(fs.journal_ino().unwrap()).unwrap();
    let log: Vec<u64> = (0..8)
        .filter_map(|n| fs.map(&journal, n).unwrap())
        .collect();
    let bytes = disk.bytes.borrow();
    let blocks = disk
        .log
        .borrow()
        .iter()
        .map(|(at, _)| *at / 4096)
        .collect::<HashSet<_>>();
    blocks
        .into_iter()
        .filter(|b| !log.contains(&(*b as u64)))
        .map(|b| (b, bytes[b * 4096..(b + 1) * 4096].to_vec()))
        .collect()
}

#[test]
fn stripped() {
    let Some(bytes) = image(NAME) else { return };
    let disk = Mem::new(bytes);
    let before = check(&disk).1;
    let done = strip::strip(&disk).unwrap().unwrap();
    assert!(done.dirs > 100 && done.blocks > 10, "{done:?}");
    assert_eq!(Fs::open(&disk).unwrap().incompat() & INCOMPAT_DIRDATA, 0);
    let (lines, after) = check(&disk);
    assert_eq!(lines, [""; 0]);
    assert_eq!(before, after);
    assert_eq!(strip::strip(&disk).unwrap(), None);
    let file = std::env::temp_dir().join(format!("lustre-strip-{}", std::process::id()));
    std::fs::write(&file, &*disk.bytes.borrow()).unwrap();
    let out = Command::new("e2fsck")
        .arg("-fn")
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stdout)
    );
}

/// Gives the first indexed directory's `..` the FID that servers on most kernels store, which moves the
/// root of the index (spec 6.3).
fn with_moved_root(disk: &Mem) {
    let fs = Fs::open(disk).unwrap();
    let ino = (11..fs.inodes).find(|i| {
        let i = fs.inode(*i).unwrap();
        i.is_dir() && i.links() != 0 && i.flags() & INDEX_FL != 0
    });
    let dir = fs.inode(ino.expect("an indexed directory")).unwrap();
    let at = fs.map(&dir, 0).unwrap().unwrap();
    let mut b = fs.block(at).unwrap();
    let count = usize::from(u16::from_le_bytes([b[34], b[35]]));
    b.copy_within(24..32 + count * 8, 40);
    b[48..50].copy_from_slice(&506_u16.to_le_bytes());
    b[19] |= 0x10;
    b[22] = 0;
    b[23] = 17;
    b[24..40].copy_from_slice(&[0, 0, 0, 2, 0, 0, 0x0b, 0xd1, 0, 0, 0, 2, 0, 0, 0, 0]);
    disk.write(at * 4096, &b).unwrap();
    disk.log.borrow_mut().clear();
}

#[test]
fn cut_at_every_write() {
    let Some(bytes) = image(NAME) else { return };
    let disk = Mem::new(bytes);
    with_moved_root(&disk);
    strip::strip(&disk).unwrap().unwrap();
    assert_eq!(check(&disk).0, [""; 0]);
    let want = written(&disk);
    disk.undo();
    let mut cuts = 0;
    for torn in [0, 1, 0xaa, 0x0f] {
        for n in 0.. {
            disk.left.set(n);
            disk.torn.set(torn);
            let whole = match strip::strip(&disk) {
                Ok(d) => d.is_some(),
                Err(Error::Io(_)) => false,
                Err(e) => panic!("write {n}: {e}"),
            };
            disk.left.set(usize::MAX);
            if let Err(e) = strip::strip(&disk) {
                panic!("cut at write {n}, torn {torn:#x}: {e}");
            }
            assert!(written(&disk) == want, "cut at write {n}, torn {torn:#x}");
            disk.undo();
            cuts += 1;
            if whole {
                break;
            }
        }
    }
    assert!(cuts > 100);
}
