// SPDX-License-Identifier: GPL-2.0

//! Disks that fail, are full, or hold garbage.

use crate::cuts::{self, is_clean, keep, Campaign, Tape, BLOCKS};
use crate::Store;
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef};
use osd_contract::cuts::{judge, History};
use osd_contract::{check, ok, ops, Random, Stage};
use osd_disk::{Disk, Fault, BLOCK, PATH};

const SEQ: u64 = 0x2_0000_0700;

fn fault(rng: &mut Random) -> Fault {
    let all = Fault {
        reads: false,
        writes: true,
        blocks: (0, BLOCKS),
        skip: rng.below(1500) as u32,
        times: u32::MAX,
    };
    match rng.below(4) {
        // The disk is gone.
        0 => all,
        // A bad moment.
        1 => Fault {
            times: 1 + rng.below(3) as u32,
            ..all
        },
        // A bad place.
        2 => {
            let first = rng.below(BLOCKS as usize) as u32;
            Fault {
                blocks: (first, first + 64),
                skip: 0,
                ..all
            }
        }
        // Nothing comes back.
        _ => Fault {
            reads: true,
            writes: false,
            skip: rng.below(150) as u32,
            ..all
        },
    }
}

fn fault_trial(tape: &Arc<Tape>, begin: &[History], seed: u64, number: u32) -> Result<bool> {
    let disk = &tape.0;
    let mut rng = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number.into()));
    let f = fault(&mut rng);
    let mut all = KVec::new();
    for h in begin {
        all.push(h.again()?, GFP_KERNEL)?;
    }
    let (all, told) = {
        let s = Store::on(PATH, false)?;
        let d = s.device()?;
        disk.fail(Some(f));
        let (all, failed) = cuts::threads(&d, tape, all, seed + u64::from(number))?;
        // Who asks for what he did to be safe hears of it, if nobody has before.
        let told = failed || d.sync().is_err();
        check!(!told || disk.failed() > 0);
        // What cannot be written to says so.
        let started = d.plan().and_then(|p| p.start()).and_then(|run| run.stop());
        check!(started.is_ok() || ok!(d.statfs()).readonly);
        (all, told)
    };
    ok!(disk.closed());
    disk.fail(None);
    // An error is for e2fsck to see first, which plays the journal back.
    let rc = ok!(osd_disk::run(c"/sbin/e2fsck -fy /dev/osdtest"));
    check!(rc <= 1);
    {
        let s = Store::on(PATH, false)?;
        // What a transaction did before a read failed in it stays.
        if f.writes {
            judge(&*s.device()?, &all, u32::MAX)?;
        }
    }
    ok!(disk.closed());
    check!(is_clean()?);
    Ok(told)
}

/// Trials that begin from the same disk.
fn trials(c: &Campaign, tape: &Tape, f: &mut dyn FnMut(u32) -> Result) -> Result {
    for number in 0..c.cuts {
        if c.only.is_some_and(|o| o != number) {
            continue;
        }
        if let Err(e) = f(number) {
            keep(c"/bin/cp /dev/osdtest /build/osd/cut-after.img");
            let seed = c.seed;
            pr_err!("seed {} trial {}: {:?}\n", seed, number, e);
            return Err(e);
        }
        tape.0.forget();
    }
    Ok(())
}

/// Requests that fail while threads work: who works or asks hears of it, the target is read-only
/// where ext4 makes it so, and what was said to be safe is there when the disk is well again.
pub(crate) fn faults(c: &Campaign) -> Result {
    let tape = Arc::new(Tape(Disk::new(BLOCKS)?), GFP_KERNEL)?;
    ok!(cuts::format(&tape.0, c.seed));
    let begin = cuts::prepare(&tape)?;
    let (mut told, start) = (0, Instant::now());
    trials(c, &tape, &mut |number| {
        told += u32::from(fault_trial(&tape, &begin, c.seed, number)?);
        Ok(())
    })?;
    let ms = start.elapsed().as_millis() as u64;
    pr_info!("{} faults, {} were told of, in {} ms\n", c.cuts, told, ms);
    Ok(())
}

/// The blocks of the journal (`s_jnl_blocks`: a copy of its inode's map, one extent).
fn journal(disk: &Disk) -> Result<core::ops::Range<u32>> {
    const EXTENT: usize = 1024 + 0x10c + 12;
    let mut b = KVVec::from_elem(0_u8, BLOCK, GFP_KERNEL)?;
    disk.get(0, &mut b)?;
    let byte = |i: usize| u32::from(b[EXTENT + i]);
    let len = byte(4) | byte(5) << 8;
    let first = byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
    check!(len > 0 && first > 0 && first + len <= BLOCKS);
    Ok(first..first + len)
}

/// Harms a block: a few bytes, many, all; or it is another one.
fn harm(disk: &Disk, rng: &mut Random, blocks: &[u32]) -> Result<u32> {
    let at = blocks[rng.below(blocks.len())];
    let mut b = KVVec::from_elem(0_u8, BLOCK, GFP_KERNEL)?;
    disk.get(at, &mut b)?;
    let off = rng.below(BLOCK);
    let n = match rng.below(8) {
        0..=2 => 1,
        3..=4 => 1 + rng.below(16),
        5 => 512,
        6 => BLOCK,
        _ => 0,
    };
    if n == 0 {
        disk.get(blocks[rng.below(blocks.len())], &mut b)?;
    }
    let off = if n == BLOCK { 0 } else { off };
    for x in b[off..].iter_mut().take(n) {
        *x = rng.below(256) as u8;
    }
    disk.put(at, &b)?;
    Ok(at)
}

/// Whatever comes of it.
fn use_it(d: &dyn Device) -> Result {
    let base = ops::root(d)?;
    for i in 0..4 {
        let fid = Fid::new(SEQ, 1 + i);
        let name = [b'x', b'0' + i as u8];
        let what = if i % 2 == 0 {
            Create::file(0o644)
        } else {
            Create::dir(0o755)
        };
        if let Ok(o) = make(d, &base, &name, fid, &what) {
            let mut plan = d.plan()?;
            plan.write(&o, 0, 9000)?;
            let mut run = plan.start()?;
            let _ = run.write(&o, 0, &[7; 9000]);
            let _ = run.stop();
        }
    }
    Ok(())
}

/// [`ops::make`] that says nothing of errors.
fn make(
    d: &dyn Device,
    parent: &ObjectRef,
    name: &[u8],
    fid: Fid,
    what: &Create<'_>,
) -> Result<ObjectRef> {
    let o = d.object(&fid)?;
    let mut plan = d.plan()?;
    plan.create(&o, what, Some((parent, name)))?;
    plan.insert(parent, &o)?;
    let mut run = plan.start()?;
    run.create(&o, what, Some((parent, name)))?;
    run.insert(parent, name, &o)?;
    if what.mode & osd::S_IFMT == osd::S_IFDIR {
        run.ref_add(parent)?;
    }
    run.stop()?;
    Ok(o)
}

/// Garbage in blocks of metadata: the mount or what follows says so, or works; with checksums
/// nothing wrong is told for true.
pub(crate) fn garbage(c: &Campaign) -> Result {
    let tape = Arc::new(Tape(Disk::new(BLOCKS)?), GFP_KERNEL)?;
    let disk = &tape.0;
    ok!(cuts::format(disk, c.seed));
    let all = cuts::work(&tape, c.seed)?;
    let journal = journal(disk)?;
    let mut blocks = KVVec::new();
    for i in 0..disk.entries() {
        disk.replay(i, true)?;
        if let Some(b) = disk.entry(i)?.block() {
            // What is often written is often harmed.
            if !journal.contains(&b) {
                blocks.push(b, GFP_KERNEL)?;
            }
        }
    }
    let (mut refused, mut hurt, start) = (0, 0, Instant::now());
    trials(c, &tape, &mut |number| {
        let mut rng = Random::new(c.seed.wrapping_mul(1_000_003).wrapping_add(number.into()));
        let at = harm(disk, &mut rng, &blocks)?;
        pr_info!("trial {}: block {}\n", number, at);
        match Store::quietly(PATH, false) {
            Err(_) => refused += 1,
            Ok(s) => {
                let d = s.device()?;
                let mut lost = 0;
                for h in all.iter() {
                    lost += h.endure(&*d, cuts::has_checksums(c.seed))?;
                }
                hurt += u32::from(lost > 0);
                // Errors are well.
                let _ = use_it(&*d);
                let _ = d.sync();
            }
        }
        disk.closed()
    })?;
    let ms = start.elapsed().as_millis() as u64;
    pr_info!(
        "{} blocks harmed: {} mounts refused, {} with losses, in {} ms\n",
        c.cuts,
        refused,
        hurt,
        ms
    );
    Ok(())
}

/// Makes objects until there is no room, some with content; each is there whole or not at all.
fn fill(d: &dyn Device, dir: &ObjectRef, first: u32, content: usize) -> Result<u32> {
    let data = KVVec::from_elem(5_u8, content, GFP_KERNEL)?;
    for i in first..100_000 {
        let name = crate::threads::file_name(i);
        let fid = Fid::new(SEQ, 100 + i);
        match make(d, dir, &name, fid, &Create::file(0o600)) {
            Ok(o) if content > 0 => {
                let mut plan = ok!(d.plan());
                ok!(plan.write(&o, 0, content));
                let mut run = ok!(plan.start());
                let written = run.write(&o, 0, &data);
                ok!(run.stop());
                if let Err(e) = written {
                    check!(e == ENOSPC);
                    ok!(ops::remove(d, dir, &name));
                    return Ok(i);
                }
            }
            Ok(_) => {}
            Err(e) => {
                if e != ENOSPC {
                    pr_err!("object {}: {:?}\n", i, e);
                }
                check!(e == ENOSPC);
                check!(!ok!(d.object(&fid)).exists());
                check!(dir.lookup(&name).err() == Some(ENOENT));
                return Ok(i);
            }
        }
    }
    Err(EFBIG)
}

/// A full disk, and a full inode table: an error says so, and there is room again when something
/// goes.
pub(crate) fn full(c: &Campaign) -> Result {
    let tape = Arc::new(Tape(Disk::new(BLOCKS)?), GFP_KERNEL)?;
    ok!(cuts::format(&tape.0, c.seed));
    for content in [0, 30_000] {
        let made = {
            let s = Store::on(PATH, false)?;
            let d = s.device()?;
            let base = ok!(ops::root(&*d));
            let fid = Fid::new(SEQ, 1);
            let dir = ok!(ops::make(&*d, &base, b"full", fid, &Create::dir(0o755)));
            let mut made = fill(&*d, &dir, 0, content)?;
            for _ in 0..3 {
                for i in made / 2..made {
                    ok!(ops::remove(&*d, &dir, &crate::threads::file_name(i)));
                }
                ok!(d.sync());
                let again = fill(&*d, &dir, made / 2, content)?;
                pr_info!(
                    "{} objects with {} bytes, {} the second time\n",
                    made,
                    content,
                    again
                );
                check!(again + 20 >= made);
                made = again;
            }
            check!(!ok!(d.statfs()).readonly);
            ok!(d.sync());
            made
        };
        ok!(tape.0.closed());
        check!(is_clean()?);
        {
            let s = Store::on(PATH, false)?;
            let d = s.device()?;
            for i in 0..made {
                check!(ok!(d.object(&Fid::new(SEQ, 100 + i))).exists());
            }
        }
        ok!(tape.0.closed());
        tape.0.forget();
    }
    Ok(())
}
