// SPDX-License-Identifier: GPL-2.0

//! Data of files of one and of two stripes, of two clients with a cache each.

use kapi::prelude::{EBADF, ENXIO};
use lustre_client::cred::Cred;
use lustre_client::fs::{Change, File, OpenHow};
use lustre_client::mount::MountOptions;
use proptest::prelude::*;
use stack::{Cluster, Mounted, RW};
use wire::fid::Fid;

/// A file system with two clients.
fn world() -> Cluster {
    Cluster::new(2, &MountOptions::default())
}

fn open(c: &Mounted, fid: Fid) -> File {
    c.fs.open(fid, RW, &Cred::root()).unwrap()
}

fn size(c: &Mounted, fid: Fid) -> u64 {
    c.fs.stat(fid, &Cred::root()).unwrap().attr.size
}

fn truncate(c: &Mounted, fid: Fid, n: u64) {
    let change = Change {
        size: Some(n),
        ..Change::default()
    };
    let a = c.fs.setattr(fid, &change, &Cred::root()).unwrap();
    assert_eq!(a.size, n);
}

fn pattern(seed: u8, n: usize) -> Vec<u8> {
    (0..n).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect()
}

#[test]
fn written_here_read_there() {
    let w = world();
    let (a, b) = w.two();
    for stripes in [1, 2] {
        let fid = w.file(&format!("f{stripes}"), stripes);
        let (fa, fb) = (open(a, fid), open(b, fid));
        assert_eq!(size(b, fid), 0);
        let data = pattern(stripes as u8, 300_000);
        a.fs.write(&fa, 0, &data).unwrap();
        // Nothing has been written back yet, but the other sees it.
        assert_eq!(size(b, fid), 300_000);
        assert_eq!(b.fs.read(&fb, 0, 400_000).unwrap(), data);
        assert_eq!(b.fs.read(&fb, 299_999, 10).unwrap(), &data[299_999..]);
        assert_eq!(b.fs.read(&fb, 300_000, 10).unwrap(), b"");
        // And back.
        b.fs.write(&fb, 100_000, b"from b").unwrap();
        assert_eq!(a.fs.read(&fa, 99_999, 8).unwrap()[1..7], *b"from b");
        // A hole.
        a.fs.write(&fa, 1_000_000, b"end").unwrap();
        let got = b.fs.read(&fb, 299_990, 1 << 20).unwrap();
        assert_eq!(got.len(), 1_000_003 - 299_990);
        assert!(got[10..got.len() - 3].iter().all(|b| *b == 0));
        truncate(b, fid, 150_000);
        assert_eq!((size(a, fid), size(b, fid)), (150_000, 150_000));
        assert_eq!(a.fs.read(&fa, 140_000, 20_000).unwrap().len(), 10_000);
        truncate(a, fid, 200_000);
        let got = b.fs.read(&fb, 149_000, 100_000).unwrap();
        assert_eq!(got.len(), 51_000);
        assert!(got[1000..].iter().all(|b| *b == 0));
        a.fs.close(&fa);
        b.fs.close(&fb);
    }
    w.stop();
}

#[test]
fn large_and_cold() {
    let w = world();
    let (a, b) = w.two();
    let r = Cred::root();
    for (i, stripes) in [1, 2].into_iter().enumerate() {
        let name = format!("large{i}");
        let fid = w.file(&name, stripes);
        let f = open(a, fid);
        let data = pattern(9, 1 << 20);
        for n in 0..20_u64 {
            a.fs.write(&f, n << 20, &data).unwrap();
        }
        a.fs.fsync(fid, false, &r).unwrap();
        a.fs.close(&f);
        a.fs.drop_caches();
        for c in [a, b] {
            let f = open(c, fid);
            for n in 0..20_u64 {
                assert!(c.fs.read(&f, n << 20, 1 << 20).unwrap() == data, "{n}");
            }
            assert_eq!(c.fs.read(&f, 20 << 20, 1).unwrap(), b"");
            c.fs.close(&f);
        }
        let blocks = a.fs.stat(fid, &r).unwrap().attr.blocks;
        assert!(blocks >= 40 << 10, "{blocks}");
        b.fs.remove(w.root, name.as_bytes(), false, &r).unwrap();
    }
    w.stop();
}

/// One read that lacks more pieces than there are requests under way at the most.
#[test]
fn many_pieces() {
    const WINDOWS: usize = 12;
    let w = world();
    let a = &w.clients[0];
    let fid = w.file("pieces", 1);
    let f = open(a, fid);
    let data = pattern(5, WINDOWS << 20);
    a.fs.write(&f, 0, &data).unwrap();
    a.fs.fsync(fid, false, &Cred::root()).unwrap();
    a.fs.drop_caches();
    for n in 0..WINDOWS {
        let at = (n << 20) + 300_000;
        assert_eq!(a.fs.read(&f, at as u64, 1).unwrap(), data[at..=at]);
    }
    assert!(a.fs.read(&f, 0, data.len()).unwrap() == data);
    a.fs.close(&f);
    w.stop();
}

/// Who sets times of a file that others have written to, or asks for attributes of one that it knows
/// nothing of.
#[test]
fn set_by_others() {
    let w = world();
    let (a, b) = w.two();
    let r = Cred::root();
    for stripes in [1, 2] {
        let fid = w.file(&format!("f{stripes}"), stripes);
        let f = open(a, fid);
        a.fs.write(&f, 0, &pattern(1, 200_000)).unwrap();
        let mode = Change {
            mode: Some(0o600),
            ..Change::default()
        };
        assert_eq!(b.fs.setattr(fid, &mode, &r).unwrap().size, 200_000);
        let past = Change {
            mtime: Some(Some(1_000_000)),
            ..Change::default()
        };
        b.fs.setattr(fid, &past, &r).unwrap();
        a.fs.close(&f);
        for c in [a, b] {
            c.fs.sync_all().unwrap();
            assert_eq!(c.fs.stat(fid, &r).unwrap().attr.mtime, 1_000_000);
        }
        // One's own data, of which another has heard.
        let f = open(a, fid);
        a.fs.write(&f, 7, b"x").unwrap();
        assert!(b.fs.stat(fid, &r).unwrap().attr.mtime > 1_000_000);
        a.fs.setattr(fid, &past, &r).unwrap();
        assert_eq!(b.fs.stat(fid, &r).unwrap().attr.mtime, 1_000_000);
        a.fs.close(&f);
    }
    w.stop();
}

#[test]
fn times_and_odds() {
    let w = world();
    let (a, b) = w.two();
    let r = Cred::root();
    let fid = w.file("f", 2);
    let f = open(a, fid);
    a.fs.write(&f, 0, &pattern(1, 100_000)).unwrap();
    let change = Change {
        mtime: Some(Some(1_000_000)),
        ..Change::default()
    };
    a.fs.setattr(fid, &change, &r).unwrap();
    let mtime = |c: &Mounted| c.fs.stat(fid, &r).unwrap().attr.mtime;
    assert_eq!((mtime(a), mtime(b)), (1_000_000, 1_000_000));
    a.fs.fsync(fid, false, &r).unwrap();
    assert_eq!((mtime(a), mtime(b)), (1_000_000, 1_000_000));
    b.fs.write(&open(b, fid), 5, b"x").unwrap();
    assert!(mtime(a) > 1_000_000);
    a.fs.sync_all().unwrap();
    let read_only = OpenHow { write: false, ..RW };
    let ro = a.fs.open(fid, read_only, &r).unwrap();
    assert_eq!(a.fs.write(&ro, 0, b"x"), Err(EBADF));
    assert_eq!(a.fs.seek(&f, 200_000, false), Err(ENXIO));
    let s = a.fs.statfs().unwrap();
    assert!(s.blocks > 0 && s.bfree <= s.blocks && s.files > 0);
    assert_eq!(a.fs.target_stats().len(), 3);
    w.stop();
}

#[test]
fn without_checksums() {
    let w = Cluster::new(
        2,
        &MountOptions {
            checksums: false,
            ..MountOptions::default()
        },
    );
    let a = &w.clients[0];
    let fid = w.file("f", 2);
    let f = open(a, fid);
    let data = pattern(3, 500_000);
    a.fs.write(&f, 7, &data).unwrap();
    a.fs.drop_caches();
    assert!(a.fs.read(&f, 7, 500_000).unwrap() == data);
    w.stop();
}

/// A step of one of two clients.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize, u8),
    Append(usize, u8),
    Read(u64, usize),
    Truncate(u64),
    Size,
    Sync,
    Drop,
}

const SPACE: u64 = 400_000;

fn step() -> impl Strategy<Value = (bool, Step)> {
    let s = prop_oneof![
        4 => (0..SPACE, 1..100_000_usize, any::<u8>()).prop_map(|(o, n, b)| Step::Write(o, n, b)),
        2 => (0..SPACE / 4096, 1..4_usize, any::<u8>())
            .prop_map(|(o, n, b)| Step::Write(o * 4096, n * 4096, b)),
        1 => (1..5000_usize, any::<u8>()).prop_map(|(n, b)| Step::Append(n, b)),
        5 => (0..SPACE, 1..200_000_usize).prop_map(|(o, n)| Step::Read(o, n)),
        1 => (0..SPACE).prop_map(Step::Truncate),
        2 => Just(Step::Size),
        1 => Just(Step::Sync),
        1 => Just(Step::Drop),
    ];
    (any::<bool>(), s)
}

fn run(c: &Mounted, fid: Fid, files: &(File, File), m: &mut Vec<u8>, s: &Step) {
    match *s {
        Step::Write(off, n, b) => {
            c.fs.write(&files.0, off, &pattern(b, n)).unwrap();
            let end = off as usize + n;
            if m.len() < end {
                m.resize(end, 0);
            }
            m[off as usize..end].copy_from_slice(&pattern(b, n));
        }
        Step::Append(n, b) => {
            let at = c.fs.write(&files.1, 0, &pattern(b, n)).unwrap();
            assert_eq!(at as usize, m.len());
            m.extend_from_slice(&pattern(b, n));
        }
        Step::Read(off, n) => {
            let got = c.fs.read(&files.0, off, n).unwrap();
            let start = (off as usize).min(m.len());
            let end = (off as usize + n).min(m.len());
            let want = &m[start..end];
            assert_eq!(got.len(), want.len());
            let bad = got.iter().zip(want).position(|(a, b)| a != b);
            assert_eq!(bad.map(|i| i + start), None);
        }
        Step::Truncate(n) => {
            truncate(c, fid, n);
            m.resize(n as usize, 0);
        }
        Step::Size => assert_eq!(size(c, fid), m.len() as u64),
        Step::Sync => c.fs.fsync(fid, false, &Cred::root()).unwrap(),
        Step::Drop => c.fs.drop_caches(),
    }
}

/// Whichever of two clients writes, both read it at once.
#[test]
fn random_steps() {
    use proptest::test_runner::{Config, TestRunner};
    let w = world();
    let (a, b) = w.two();
    let count = std::cell::Cell::new(0_u16);
    let mut runner = TestRunner::new(Config {
        cases: 10,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    });
    let how = OpenHow { append: true, ..RW };
    runner
        .run(&prop::collection::vec(step(), 40), |steps| {
            count.set(count.get() + 1);
            let count = count.get();
            let fid = w.file(&format!("r{count}"), 1 + count % 2);
            let files = [a, b].map(|c| {
                let append = c.fs.open(fid, how, &Cred::root()).unwrap();
                (open(c, fid), append)
            });
            let mut m = Vec::new();
            for (first, s) in &steps {
                let i = usize::from(*first);
                let c = [a, b][i];
                run(c, fid, &files[i], &mut m, s);
            }
            for (c, f) in [a, b].into_iter().zip(&files) {
                c.fs.close(&f.0);
                c.fs.close(&f.1);
            }
            Ok(())
        })
        .unwrap();
    w.stop();
}
