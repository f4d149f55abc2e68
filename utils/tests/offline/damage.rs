// SPDX-License-Identifier: GPL-2.0

//! Disks of existing servers are clean; damage of each kind is found; garbage does no harm.

use crate::disk::{check, find, image, old_image, Mem};
use lustre_utils::offline::ext4::Fs;
use lustre_utils::offline::{fsck, Disk};

#[test]
fn existing_are_clean() {
    let new = [
        "2.17-mdt0",
        "2.17-ost0",
        "2.17-ost1",
        "2.17-nodirdata-mdt0",
        "2.17-nodirdata-ost0",
        "2.17-nodirdata-ost1",
    ];
    let old = ["mdt", "mdt2", "ost", "ost2"];
    let all = new.into_iter().map(|n| (n, image as fn(&str) -> _));
    for (name, get) in all.chain(old.into_iter().map(|n| (n, old_image as _))) {
        let Some(bytes) = get(name) else { return };
        let (lines, sum) = check(&Mem::new(bytes));
        assert_eq!(lines, [""; 0], "{name}");
        assert!(
            sum.inodes > 200 && sum.names > 200 && sum.oi > 20,
            "{name}: {sum:?}"
        );
    }
}

/// Where the bytes are that are damaged.
enum At {
    /// In the inode of a path: after the first occurrence of some bytes.
    Inode(&'static str, &'static [u8], isize),
    /// At an offset of the inode.
    Field(&'static str, usize),
    /// At an offset of the file.
    File(&'static str, u64),
    /// In the file, after the first occurrence.
    Content(&'static str, &'static [u8], isize),
}

fn position(fs: &Fs<'_>, at: &At) -> u64 {
    let seek = |hay: &[u8], needle: &[u8]| {
        let found = hay.windows(needle.len()).position(|w| w == needle);
        found.unwrap_or_else(|| panic!("not there: {needle:x?}"))
    };
    let block = |path: &str, off: u64| {
        let i = find(fs, path);
        let size = fs.block_size as u64;
        fs.map(&i, (off / size) as u32).unwrap().unwrap() * size + off % size
    };
    match at {
        At::Inode(p, needle, plus) => {
            let i = find(fs, p);
            fs.inode_at(i.ino).unwrap() + (seek(&i.raw, needle) as isize + plus) as u64
        }
        At::Field(p, off) => fs.inode_at(find(fs, p).ino).unwrap() + *off as u64,
        At::File(p, off) => block(p, *off),
        At::Content(p, needle, plus) => {
            let i = find(fs, p);
            let all = fs.read(&i, 0, i.size() as usize).unwrap();
            block(p, (seek(&all, needle) as isize + plus) as u64)
        }
    }
}

/// Writes the damage, looks for the words, takes it back.
fn table(name: &str, rows: &[(At, &[u8], &str)]) {
    let Some(bytes) = image(name) else { return };
    let disk = Mem::new(bytes);
    for (i, (at, bytes, want)) in rows.iter().enumerate() {
        let pos = position(&Fs::open(&disk).unwrap(), at);
        disk.write(pos, bytes).unwrap();
        let (lines, _) = check(&disk);
        assert!(
            lines.iter().any(|l| l.contains(want)),
            "{name}, row {i}: no '{want}' in {lines:#?}"
        );
        disk.undo();
    }
    assert_eq!(check(&disk).0, [""; 0]);
}

const DOT: &str = "ROOT/.lustre";
const LPF: &str = "ROOT/.lustre/lost+found";
/// Of the LMA: the sequence.
const DOT_SEQ: &[u8] = &[2, 0, 0, 0, 2, 0, 0, 0];
const LINK: &[u8] = &[0xdf, 0xf1, 0xea, 0x11];
const LOV: &[u8] = &[0xd0, 0x0b, 0xd1, 0x0b];

#[test]
fn damaged_mdt() {
    let Some(bytes) = image("2.17-nodirdata-mdt0") else {
        return;
    };
    let disk = Mem::new(bytes);
    let file = striped(&disk);
    drop(disk);
    let file: &'static str = Box::leak(file.into_boxed_str());
    table(
        "2.17-nodirdata-mdt0",
        &[
            (
                At::Inode(DOT, DOT_SEQ, 8),
                &[9],
                "which is [0x200000002:0x9:0x0]",
            ),
            (
                At::Inode(DOT, DOT_SEQ, 8),
                &[9],
                "is not in the object index",
            ),
            (At::Inode(DOT, DOT_SEQ, -4), &[0x80], "trusted.lma"),
            (At::Field(DOT, 0x64), &[1, 2, 3, 4], "of generation"),
            (At::Field(DOT, 0x1a), &[9, 0], "has 9 links"),
            (At::Field(file, 0x1a), &[7, 0], "has 7 links, should have 1"),
            (At::Field(DOT, 0x1a), &[0, 0], "not in use"),
            (
                At::Inode(DOT, b".lustre", 1),
                b"X",
                "linkEA lacks the name '.lustre'",
            ),
            (At::Inode(LPF, LINK, 0), &[0], "trusted.link"),
            (At::Inode(LPF, LINK, 4), &[9], "trusted.link"),
            (At::Inode(file, LOV, 0), &[0], "trusted.lov"),
            (At::Inode(file, LOV, 24), &[1], "stripes of"),
            (At::Inode(file, LOV, 28), &[0x20], "trusted.lov"),
            (At::Inode(file, LOV, 8), &[0xee], "of another file"),
            (At::Inode(file, LOV, 32), &[0; 16], "no object that can be"),
            (
                At::File("oi.16.7", 0),
                &[0],
                "the root of the index is damaged",
            ),
            (At::File("oi.16.7", 18), &[0, 0], "0 entries"),
            (
                At::File("oi.16.7", 4096),
                &[0],
                "leaf 1 of the index is damaged",
            ),
            (At::File("oi.16.7", 4096 + 4 + 24 + 19), &[0xfe], "at inode"),
            (
                At::File("oi.16.7", 4096 + 4 + 24 + 7),
                &[0x3f],
                "should be in oi.16.63",
            ),
            (At::Content("ROOT", b".lustre", -1), &[1], "has type 1"),
            (
                At::Content("ROOT", b".lustre", -8),
                &[0xff, 0x70],
                "not in use",
            ),
            (At::Content("ROOT", b".lustre", -4), &[3], "bad length"),
            (
                At::Content(DOT, b"..\0", -8),
                &[2, 0, 0, 0],
                "'..' is inode 2",
            ),
            (
                At::File("last_rcvd", 0),
                b"X",
                "last_rcvd is of Xustre-MDT0000_UUID",
            ),
            (
                At::File("last_rcvd", 76),
                &[0; 4],
                "last_rcvd: value out of range",
            ),
            (At::File("last_rcvd", 73), &[0x80], "unknown features"),
            (At::File("last_rcvd", 140), &[5], "has the index 5"),
            (At::File("last_rcvd", 8192), b"a\x01", "no UUID that can be"),
            (
                At::File("reply_data", 0),
                &[0],
                "reply_data has a damaged header",
            ),
            (
                At::File("CONFIGS/lustre-client", 24),
                &[1],
                "the log counts",
            ),
            (
                At::File("CONFIGS/lustre-client", 8192),
                &[1],
                "a record between",
            ),
            (At::File("CONFIGS/lustre-client", 8), &[1], "no header"),
            (At::File("seq_srv", 7), &[0x7f], "no range of sequences"),
            (At::File("fld", 4096 + 4 + 32), &[1], "fld: the range"),
            (At::File("CATALOGS", 0), &[77], "is missing"),
            (At::File("CONFIGS/mountdata", 0), &[7], "mountdata"),
            (At::File("CONFIGS/mountdata", 24), &[3], "the label is"),
            (
                At::File("OI_scrub", 0),
                &[1, 2, 3],
                "UUID of another file system",
            ),
        ],
    );
}

/// The path of a file below ROOT with a plain layout in its inode and one name.
fn striped(disk: &Mem) -> String {
    let fs = Fs::open(disk).unwrap();
    let mut dirs = vec!["ROOT".to_string()];
    while let Some(d) = dirs.pop() {
        let inode = find(&fs, &d);
        let mut found = None;
        lustre_utils::offline::dir::blocks(&fs, &inode, |_, _, b| {
            for e in lustre_utils::offline::dir::entries(b)? {
                let Ok(name) = std::str::from_utf8(e.name) else {
                    continue;
                };
                if name == "." || name == ".." {
                    continue;
                }
                let i = fs.inode(e.ino)?;
                if i.is_dir() {
                    dirs.push(format!("{d}/{name}"));
                } else if i.links() == 1 && i.raw.windows(4).any(|w| w == LOV) {
                    found = Some(format!("{d}/{name}"));
                }
            }
            Ok(())
        })
        .unwrap();
        if let Some(f) = found {
            return f;
        }
    }
    panic!("no such file");
}

#[test]
fn damaged_ost() {
    let name = "2.17-ost0";
    let Some(bytes) = image(name) else { return };
    let disk = Mem::new(bytes);
    let fs = Fs::open(&disk).unwrap();
    // The object of the example in the specification: [0x240000400:0x433:0x0].
    let object = "O/240000400/d19/433";
    find(&fs, object);
    let lma: &[u8] = &[0, 4, 0, 0x40, 2, 0, 0, 0, 0x33, 4];
    let ff: &[u8] = &[0xd1, 0x0b, 0, 0, 2, 0, 0, 0];
    table(
        name,
        &[
            (
                At::File("O/240000400/LAST_ID", 0),
                &[1, 0],
                "LAST_ID is 1, should be at least",
            ),
            (
                At::Inode(object, lma, 8),
                &[0x34],
                "should be at O/240000400/d20/434",
            ),
            (
                At::Inode(object, lma, -8),
                &[0],
                "does not say that it is an object",
            ),
            (At::Inode(object, ff, 0), &[1, 0, 0, 0, 0], "trusted.fid"),
            (
                At::Content("O/240000400/d19", b"433", 2),
                b"4",
                "is at O/240000400/d19/434",
            ),
            (
                At::Field(object, 0x1a),
                &[2, 0],
                "has 2 links, should have 1",
            ),
        ],
    );
}

/// Bytes at random over blocks in use.
#[test]
fn garbage() {
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for name in ["2.17-mdt0", "2.17-nodirdata-ost0"] {
        let Some(bytes) = image(name) else { return };
        let used = |b: &[u8]| b.iter().any(|x| *x != 0);
        let blocks: Vec<_> = bytes
            .chunks(4096)
            .enumerate()
            .filter(|b| used(b.1))
            .map(|b| b.0)
            .collect();
        let disk = Mem::new(bytes);
        let mut found = 0;
        for _ in 0..150 {
            for _ in 0..1 + random(8) {
                let block = blocks[random(blocks.len())] * 4096;
                let n = 1 + random(64);
                let junk: Vec<u8> = (0..n).map(|_| random(256) as u8).collect();
                disk.write((block + random(4096 - n)) as u64, &junk)
                    .unwrap();
            }
            let mut lines = 0;
            let r = fsck::check(&disk, &mut |_| lines += 1);
            found += usize::from(r.is_err() || lines > 0);
            disk.undo();
        }
        assert!(found > 10, "{name}: only {found} were found");
        assert_eq!(check(&disk).0, [""; 0]);
    }
}
