// SPDX-License-Identifier: GPL-2.0

//! Objects of an OST and their data.

use crate::ops::{place, set, write};
use crate::{check, fails, ok, Random, Stage};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, SetAttr, Time};

const SEQ: u64 = 0x2_8000_0400;
const PRE: Create<'static> = Create {
    mode: 0o107666,
    rdev: 0,
    target: None,
};

fn byte(i: usize) -> u8 {
    (i * 7 + i / 4096) as u8
}

/// Writes `data` at `pos` from byte `at` of pages.
fn put(o: &ObjectRef, at: usize, data: &[u8], pos: u64) -> Result {
    let mut pages = Pages::new((at + data.len()).div_ceil(PAGE_SIZE))?;
    pages.copy_in(at, data)?;
    o.write_pages(&pages, at, data.len(), pos)
}

/// Reads as much as there is of `len` bytes.
fn get(o: &ObjectRef, at: usize, len: usize, pos: u64) -> Result<KVVec<u8>> {
    let mut pages = Pages::new((at + len).div_ceil(PAGE_SIZE))?;
    let n = o.read_pages(&mut pages, at, len, pos)?;
    let mut out = KVVec::from_elem(0xee, n, GFP_KERNEL)?;
    pages.copy_out(at, &mut out)?;
    Ok(out)
}

pub(crate) fn check(stage: &mut dyn Stage) -> Result {
    {
        let d = stage.device()?;
        let last = ok!(place(&*d, Fid::new(SEQ, 0), &Create::file(0o644)));
        ok!(write(&*d, &last, 0, &32_u64.to_le_bytes()));
        batch(&*d)?;
        data(&*d)?;
        for oid in 11..=32 {
            let o = ok!(d.object(&Fid::new(SEQ, oid)));
            let mut plan = ok!(d.plan());
            ok!(plan.destroy(&o));
            let mut run = ok!(plan.start());
            ok!(run.destroy(&o));
            ok!(run.stop());
            check!(!o.exists());
            fails!(get(&o, 0, 1, 0), ENOENT);
        }
    }
    stage.reopen()?;
    let d = stage.device()?;
    check!(!ok!(d.object(&Fid::new(SEQ, 11))).exists());
    check!(ok!(d.object(&Fid::new(SEQ, 10))).exists());
    let mut counter = [0; 8];
    let last = ok!(d.object(&Fid::new(SEQ, 0)));
    check!(ok!(last.read(0, &mut counter)) == 8 && counter == 32_u64.to_le_bytes());
    let o = ok!(d.object(&Fid::new(SEQ, 5)));
    let end = ok!(get(&o, 0, PAGE_SIZE, 9990));
    check!(end.len() == 10 && ok!(o.attr()).size == 10_000);
    Ok(())
}

fn batch(d: &dyn Device) -> Result {
    let mut all = KVec::new();
    for oid in 1..=32 {
        all.push(ok!(d.object(&Fid::new(SEQ, oid))), GFP_KERNEL)?;
    }
    for part in all.chunks(8) {
        let mut plan = ok!(d.plan());
        for o in part {
            ok!(plan.create(o, &PRE, None));
        }
        let mut run = ok!(plan.start());
        for o in part {
            ok!(run.create(o, &PRE, None));
        }
        ok!(run.stop());
    }
    for o in all.iter() {
        let a = ok!(o.attr());
        check!(a.mode == 0o107666 && a.mtime == Time::default() && a.nlink == 1);
        check!(a.version == 0 && a.size == 0 && a.uid == 0);
    }
    Ok(())
}

fn data(d: &dyn Device) -> Result {
    let o = ok!(d.object(&Fid::new(SEQ, 5)));
    // Ragged at both ends, over three MiB.
    let len = 3 * 1024 * 1024 + 777;
    let pos = 5 * 4096 + 100_u64;
    let mut pattern = KVVec::with_capacity(len, GFP_KERNEL)?;
    for i in 0..len {
        pattern.push(byte(i), GFP_KERNEL)?;
    }
    ok!(put(&o, 100, &pattern, pos));
    check!(ok!(o.attr()).size == pos + len as u64 && ok!(o.attr()).mtime == Time::default());
    let attrs = SetAttr {
        mode: Some(0o666),
        uid: Some(500),
        gid: Some(501),
        projid: Some(7),
        mtime: Some(Time::secs(1_700_000_000)),
        version: Some(9),
        ..SetAttr::default()
    };
    ok!(set(d, &o, &attrs));
    check!(ok!(d.usage(osd::UsageKind::Project, 7)).space >= len as u64);
    let got = ok!(get(&o, 0, len + 100, pos - 100));
    check!(got.len() == len + 100 && got[..100] == [0; 100] && got[100..] == pattern[..]);
    let got = ok!(get(&o, 5, 1000, pos + len as u64 - 400));
    check!(got.len() == 400 && got[..] == pattern[len - 400..]);
    check!(ok!(get(&o, 0, 10, pos + len as u64)).is_empty());
    let size = ok!(o.attr()).size;
    check!(ok!(o.seek_data(0)) == 5 * 4096 && ok!(o.seek_hole(5 * 4096)) == size);
    fails!(o.seek_data(size), ENXIO);
    fails!(o.seek_hole(size), ENXIO);
    ok!(o.punch(1 << 20, 1 << 20));
    check!(ok!(o.seek_hole(5 * 4096)) == 1 << 20 && ok!(o.seek_data(1 << 20)) == 2 << 20);
    check!(ok!(o.attr()).size == size);
    // In place, unaligned in memory against the disk.
    ok!(put(&o, 3, b"rwritten", pos + 50));
    check!(ok!(get(&o, 0, 8, pos + 50))[..] == *b"rwritten");
    let (mut at, mut mapped) = (0, 0);
    while let Some(e) = ok!(o.extent(at)) {
        check!(e.logical + e.len > at && e.len > 0 && e.physical > 0 && !e.unwritten);
        mapped += e.len;
        at = e.logical + e.len;
    }
    check!(mapped == (1 << 20) - 5 * 4096 + (1 << 20) + 6 * 4096);
    ok!(o.truncate(10_000));
    let a = ok!(o.attr());
    check!(a.size == 10_000 && a.mtime.sec == 1_700_000_000 && a.version == 9 && a.uid == 500);
    ok!(o.preallocate(0, 1 << 20, true));
    check!(ok!(o.attr()).blocks >= 2048 && ok!(o.attr()).size == 10_000);
    let e = ok!(ok!(o.extent(512 * 1024)).ok_or(ENODATA));
    check!(e.unwritten && e.logical <= 512 * 1024 && e.logical + e.len == 1 << 20);
    ok!(o.zero_range(4096, 4096, true));
    ok!(o.sync_data());
    fails!(o.punch(0, 0), EINVAL);
    fails!(o.truncate(u64::MAX), EFBIG);
    fails!(put(&o, 0, &[1; 16], u64::MAX - 8), EFBIG);
    fails!(o.write_pages(&ok!(Pages::new(1)), 4000, 97, 0), EINVAL);
    // It is not small content.
    fails!(o.read(0, &mut [0; 8]), EBUSY);
    Ok(())
}

const SIZE: usize = 600_000;

/// Random writes, cuts and holes against bytes in memory.
pub(crate) fn random(stage: &mut dyn Stage, seed: u64, ops: u32) -> Result {
    let mut rng = Random::new(seed);
    let fid = Fid::new(SEQ, 1000);
    let mut o = ok!(place(&*stage.device()?, fid, &PRE));
    let mut model = KVVec::from_elem(0_u8, SIZE, GFP_KERNEL)?;
    let mut size = 0;
    for i in 0..ops {
        let (pos, len) = (rng.below(SIZE - 1), 1 + rng.below(100_000));
        let (pos, len) = match rng.below(3) {
            0 => (pos - pos % 4096, (len - len % 4096).max(4096)),
            _ => (pos, len),
        };
        let len = len.min(SIZE - pos);
        match rng.below(8) {
            0..=2 => {
                let mut data = KVVec::from_elem(i as u8 | 1, len, GFP_KERNEL)?;
                data[0] = 255;
                let at = rng.below(2) * rng.below(5000) + pos % PAGE_SIZE * rng.below(2);
                ok!(put(&o, at, &data, pos as u64));
                model[pos..pos + len].copy_from_slice(&data);
                size = size.max(pos + len);
            }
            3 => {
                ok!(o.truncate(pos as u64));
                model[pos..].fill(0);
                size = pos;
            }
            4 => {
                ok!(o.punch(pos as u64, len as u64));
                model[pos..pos + len].fill(0);
            }
            5 => {
                let keep = rng.below(2) == 0;
                ok!(o.zero_range(pos as u64, len as u64, keep));
                model[pos..pos + len].fill(0);
                if !keep {
                    size = size.max(pos + len);
                }
            }
            6 => {
                let keep = rng.below(2) == 0;
                ok!(o.preallocate(pos as u64, len as u64, keep));
                if !keep {
                    size = size.max(pos + len);
                }
            }
            _ => {
                let want = model.get(pos..(pos + len).min(size)).unwrap_or_default();
                check!(ok!(get(&o, rng.below(5000), len, pos as u64))[..] == *want);
            }
        }
        check!(ok!(o.attr()).size == size as u64 && ok!(o.attr()).mtime == Time::default());
        if i % 100 == 99 {
            drop(o);
            stage.reopen()?;
            o = ok!(stage.device()?.object(&fid));
            check!(ok!(get(&o, 0, SIZE, 0))[..] == model[..size]);
        }
    }
    Ok(())
}
