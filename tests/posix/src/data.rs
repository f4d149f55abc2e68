// SPDX-License-Identifier: GPL-2.0

//! What is in files: holes, ends, appending, sizes, and files without a name.

use crate::cases::{chown, file, outcome, stat, Cases};
use crate::who::{run_as, OWNER};
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

const MIB: u64 = 1 << 20;

fn open(path: &Path, flags: OFlags) -> OwnedFd {
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn read(fd: &OwnedFd, at: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0xee; len];
    let n = rustix::io::pread(fd, &mut out[..], at).unwrap_or_else(|e| panic!("pread: {e}"));
    out.truncate(n);
    out
}

fn write(fd: &OwnedFd, at: u64, data: &[u8]) {
    let n = rustix::io::pwrite(fd, data, at).unwrap_or_else(|e| panic!("pwrite: {e}"));
    assert_eq!(n, data.len(), "a short write");
}

fn ends(cases: &mut Cases) {
    let path = cases.fresh().join("file");
    let f = open(&path, OFlags::CREATE | OFlags::RDWR);
    cases.check("read of an empty file", read(&f, 0, 10), Vec::new());
    write(&f, 0, b"0123456789");
    cases.check(
        "read of more than there is",
        read(&f, 4, 100),
        b"456789".to_vec(),
    );
    cases.check("read at the end", read(&f, 10, 10), Vec::new());
    cases.check("read behind the end", read(&f, 1 << 40, 10), Vec::new());
    write(&f, 20, b"x");
    cases.check(
        "a hole",
        read(&f, 8, 100),
        b"89\0\0\0\0\0\0\0\0\0\0x".to_vec(),
    );
    cases.check("ftruncate to less", rustix::fs::ftruncate(&f, 5), Ok(()));
    cases.check("ftruncate to more", rustix::fs::ftruncate(&f, 8), Ok(()));
    cases.check(
        "what was cut off does not come back",
        read(&f, 0, 100),
        b"01234\0\0\0".to_vec(),
    );
    // Ends within, at and behind what pages, blocks and stripes are of.
    for size in [
        1,
        511,
        512,
        4095,
        4096,
        4097,
        65536,
        MIB - 1,
        MIB,
        MIB + 1,
        4 * MIB,
        (4 << 30) + 5,
        1 << 40,
    ] {
        cases.check(
            format_args!("ftruncate to {size}"),
            rustix::fs::ftruncate(&f, size),
            Ok(()),
        );
        cases.check(
            format_args!("a size of {size}"),
            stat(&path).st_size,
            size as i64,
        );
        write(&f, size - 1, b"ab");
        cases.check(
            format_args!("a write over the end, {size}"),
            stat(&path).st_size,
            size as i64 + 1,
        );
        cases.check(
            format_args!("read over the end, {size}"),
            read(&f, size - 1, 10),
            b"ab".to_vec(),
        );
        cases.check(
            format_args!("cut to 0 from {size}"),
            rustix::fs::ftruncate(&f, 0),
            Ok(()),
        );
    }
    let end = |n| rustix::fs::seek(&f, n);
    cases.check("ftruncate to 100", rustix::fs::ftruncate(&f, 100), Ok(()));
    cases.check("seek to the end", end(SeekFrom::End(0)), Ok(100));
    cases.check("seek behind it", end(SeekFrom::End(50)), Ok(150));
    cases.check(
        "seek before the begin",
        end(SeekFrom::End(-101)),
        Err(Errno::INVAL),
    );
    cases.check("seek back", end(SeekFrom::Current(-50)), Ok(100));
    // What no file can hold.
    let most = i64::MAX as u64;
    cases.check(
        "write at an end that cannot be",
        outcome(rustix::io::pwrite(&f, b"ab", most)),
        Err(Errno::INVAL),
    );
    cases.check(
        "write at a negative place",
        outcome(rustix::io::pwrite(&f, b"ab", u64::MAX)),
        Err(Errno::INVAL),
    );
    cases.check(
        "ftruncate to a negative size",
        rustix::fs::ftruncate(&f, u64::MAX),
        Err(Errno::INVAL),
    );
    cases.check(
        "ftruncate to more than can be",
        rustix::fs::ftruncate(&f, most),
        Err(Errno::FBIG),
    );
    let flags = FallocateFlags::empty();
    cases.check(
        "fallocate to more than can be",
        rustix::fs::fallocate(&f, flags, most - 10, 100),
        Err(Errno::FBIG),
    );
    cases.check("the size stays", stat(&path).st_size, 100);
}

fn appending(cases: &mut Cases) {
    let path = cases.fresh().join("file");
    let a = open(&path, OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND);
    let b = open(&path, OFlags::RDWR | OFlags::APPEND);
    for (i, f) in [&a, &b, &a, &b].into_iter().enumerate() {
        cases.check(
            format_args!("append {i}"),
            rustix::io::write(f, b"word "),
            Ok(5),
        );
    }
    cases.check(
        "pwrite at 0 of a file for appending",
        rustix::io::pwrite(&b, b"last", 0),
        Ok(4),
    );
    cases.check(
        "what was appended",
        read(&b, 0, 100),
        b"word word word word last".to_vec(),
    );
    cases.check(
        "cut what is appended to",
        rustix::fs::ftruncate(&a, 4),
        Ok(()),
    );
    cases.check("append after the cut", rustix::io::write(&b, b"s"), Ok(1));
    cases.check("what is there then", read(&b, 0, 100), b"words".to_vec());
    // Many at once: nothing is lost.
    let (threads, each) = (4, 50);
    std::thread::scope(|s| {
        for t in 0..threads {
            let f = open(&path, OFlags::WRONLY | OFlags::APPEND);
            s.spawn(move || {
                for _ in 0..each {
                    let line = [b'a' + t; 100];
                    assert_eq!(rustix::io::write(&f, &line), Ok(line.len()));
                }
            });
        }
    });
    let all = read(&b, 5, 100_000);
    let lines = all
        .chunks(100)
        .filter(|l| l.iter().all(|c| c == &l[0]))
        .count();
    cases.check(
        "lines that four appended at once",
        lines,
        usize::from(threads) * each,
    );
}

fn holes(cases: &mut Cases) {
    let path = cases.fresh().join("file");
    let f = open(&path, OFlags::CREATE | OFlags::RDWR);
    let data = vec![0x5a; MIB as usize];
    write(&f, 0, &data);
    write(&f, 2 * MIB, &data);
    cases.check("fsync", rustix::fs::fsync(&f), Ok(()));
    let seek = |s| rustix::fs::seek(&f, s);
    let sought = [
        ("data from 0", SeekFrom::Data(0), Ok(0)),
        ("hole from 0", SeekFrom::Hole(0), Ok(MIB)),
        ("data from the hole", SeekFrom::Data(MIB + 5), Ok(2 * MIB)),
        ("hole from the hole", SeekFrom::Hole(MIB + 5), Ok(MIB + 5)),
        ("hole at the end", SeekFrom::Hole(2 * MIB), Ok(3 * MIB)),
        (
            "data behind the end",
            SeekFrom::Data(3 * MIB),
            Err(Errno::NXIO),
        ),
        (
            "hole behind the end",
            SeekFrom::Hole(3 * MIB),
            Err(Errno::NXIO),
        ),
    ];
    for (what, from, want) in sought {
        cases.check(format_args!("seek for {what}"), seek(from), want);
    }
    let blocks = stat(&path).st_blocks;
    cases.check(
        "blocks of a file with a hole",
        (4096..4400).contains(&blocks),
        true,
    );
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    cases.check(
        "punch a hole",
        rustix::fs::fallocate(&f, punch, MIB / 2, MIB / 2),
        Ok(()),
    );
    cases.check("what is before it", read(&f, MIB / 2 - 4, 4), vec![0x5a; 4]);
    cases.check("what is in it", read(&f, MIB / 2, 4096), vec![0; 4096]);
    cases.check("hole from 0 then", seek(SeekFrom::Hole(0)), Ok(MIB / 2));
    cases.check("the size stays", stat(&path).st_size as u64, 3 * MIB);
    cases.check(
        "some of a block",
        rustix::fs::fallocate(&f, punch, 100, 10),
        Ok(()),
    );
    let mut want = vec![0x5a; 30];
    want[10..20].fill(0);
    cases.check("is zero, and no more", read(&f, 90, 30), want);
    cases.check(
        "punch without KEEP_SIZE",
        rustix::fs::fallocate(&f, FallocateFlags::PUNCH_HOLE, 0, 1),
        Err(Errno::OPNOTSUPP),
    );
    let keep = FallocateFlags::KEEP_SIZE;
    cases.check(
        "allocate behind the end",
        rustix::fs::fallocate(&f, keep, 3 * MIB, MIB),
        Ok(()),
    );
    cases.check("the size stays, too", stat(&path).st_size as u64, 3 * MIB);
    let longer = FallocateFlags::empty();
    cases.check(
        "allocate and lengthen",
        rustix::fs::fallocate(&f, longer, 3 * MIB, MIB),
        Ok(()),
    );
    cases.check("the size follows", stat(&path).st_size as u64, 4 * MIB);
    cases.check(
        "what was allocated is zero",
        read(&f, 3 * MIB, 4096),
        vec![0; 4096],
    );
}

/// Several handles, and files whose names are gone.
fn handles(cases: &mut Cases) {
    let top = cases.fresh();
    let path = top.join("file");
    let a = open(&path, OFlags::CREATE | OFlags::RDWR);
    let b = open(&path, OFlags::RDWR);
    write(&a, 0, b"from a");
    cases.check(
        "one handle sees what another wrote",
        read(&b, 0, 10),
        b"from a".to_vec(),
    );
    let dup = a.try_clone().unwrap_or_else(|e| panic!("dup: {e}"));
    cases.check(
        "a handle's place",
        rustix::fs::seek(&a, SeekFrom::Start(3)),
        Ok(3),
    );
    cases.check("is that of its copy", rustix::fs::tell(&dup), Ok(3));
    cases.check("and not that of another", rustix::fs::tell(&b), Ok(0));

    cases.check("unlink of an open file", rustix::fs::unlink(&path), Ok(()));
    let s = rustix::fs::fstat(&a).map(|s| (s.st_nlink, s.st_size));
    cases.check("links and size of it", s, Ok((0, 6)));
    write(&b, 0, b"FROM b");
    cases.check(
        "it can be read and written",
        read(&a, 0, 10),
        b"FROM b".to_vec(),
    );
    cases.check("and cut", rustix::fs::ftruncate(&a, 4), Ok(()));
    cases.check("and changed", rustix::fs::fchmod(&a, Mode::RUSR), Ok(()));
    cases.check(
        "its mode",
        rustix::fs::fstat(&b).map(|s| s.st_mode & 0o7777),
        Ok(0o400),
    );
    cases.check(
        "its name can be had again",
        outcome(rustix::fs::open(
            &path,
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY,
            Mode::RWXU,
        )),
        Ok(()),
    );
    cases.check("the old one is another", read(&b, 0, 10), b"FROM".to_vec());
    cases.check("the new one is empty", stat(&path).st_size, 0);

    let over = top.join("over");
    file(&over, 0o644);
    let c = open(&over, OFlags::RDONLY);
    cases.check(
        "rename over an open file",
        rustix::fs::rename(&path, &over),
        Ok(()),
    );
    cases.check(
        "which is still what it was",
        read(&c, 0, 20),
        b"some bytes".to_vec(),
    );
    cases.check(
        "and has no name",
        rustix::fs::fstat(&c).map(|s| s.st_nlink),
        Ok(0),
    );

    // Rights are those of the time when it was opened.
    let path = top.join("rights");
    file(&path, 0o600);
    chown(&path, OWNER.uid, OWNER.gid);
    let kept = run_as(OWNER, || {
        let f = open(&path, OFlags::RDWR);
        let closed = rustix::fs::chmod(&path, Mode::empty());
        (
            closed,
            outcome(rustix::io::pwrite(&f, b"x", 0)),
            read(&f, 0, 4),
        )
    });
    cases.check(
        "a handle after chmod 0",
        kept,
        (Ok(()), Ok(()), b"xome".to_vec()),
    );
    let made = run_as(OWNER, || {
        let f = rustix::fs::open(
            top.join("new"),
            OFlags::CREATE | OFlags::RDWR,
            Mode::empty(),
        )?;
        rustix::io::pwrite(&f, b"x", 0)
    });
    cases.check("write to a new file of mode 0", made, Ok(1));
    let wrong = OFlags::CREATE | OFlags::DIRECTORY | OFlags::RDWR;
    cases.check(
        "O_CREAT with O_DIRECTORY",
        outcome(rustix::fs::open(top.join("d"), wrong, Mode::RWXU)),
        Err(Errno::INVAL),
    );
}

pub fn run(cases: &mut Cases) {
    ends(cases);
    appending(cases);
    holes(cases);
    handles(cases);
}
