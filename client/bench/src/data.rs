// SPDX-License-Identifier: GPL-2.0

//! Data: in sequence, a MiB at a time, and 4 KiB here and there; each stream in a file of its
//! own.

use crate::{io, per_second, together, Rate, Work};
use anyhow::{bail, Result};
use lustre_client::fs::{File, OpenHow};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const SMALL: u64 = 4096;

fn mib(bytes: u64, t: Duration) -> f64 {
    per_second(bytes, t) / MIB as f64
}

/// The next random number.
fn next(x: &mut u64) -> u64 {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    *x
}

/// All of it with `streams` files of `size` bytes.
pub fn run(w: &Work, streams: usize, size: u64, time: Duration) -> Result<Vec<Rate>> {
    let how = OpenHow {
        read: true,
        write: true,
        ..OpenHow::default()
    };
    let mut files: Vec<File> = Vec::new();
    for s in 0..streams {
        let n = format!("data{s}");
        let f =
            w.fs.create(w.dir, n.as_bytes(), (0o644, 0o022), how, &w.cred);
        files.push(io(f)?.0);
    }
    let file = |s: usize| files.get(s).ok_or_else(|| anyhow::anyhow!("no file"));
    let mut block = vec![0; MIB as usize];
    let mut seed = 0x1234_5678_9abc_def1;
    for b in block.chunks_mut(8) {
        b.copy_from_slice(&next(&mut seed).to_le_bytes()[..b.len()]);
    }
    let all = size * streams as u64;
    let mut out = Vec::new();
    let t = together(streams, |s| {
        let f = file(s)?;
        let mut at = 0;
        while at < size {
            io(w.fs.write(f, at, &block))?;
            at += MIB;
        }
        io(w.fs.fsync(f.fid(), true, &w.cred))
    })?;
    out.push(("seq_write", mib(all, t)));
    w.fs.drop_caches();
    let t = together(streams, |s| {
        let f = file(s)?;
        let mut at = 0;
        while at < size {
            let d = io(w.fs.read(f, at, MIB as usize))?;
            if d != block {
                bail!("read something else than was written, at {at}");
            }
            at += MIB;
        }
        Ok(())
    })?;
    out.push(("seq_read", mib(all, t)));
    for (op, write) in [("random_write", true), ("random_read", false)] {
        w.fs.drop_caches();
        let done = AtomicU64::new(0);
        let t = together(streams, |s| {
            let f = file(s)?;
            let mut x = 0x9e37_79b9 + s as u64;
            let start = Instant::now();
            // The clock is a system call on some machines.
            for n in 0_u64.. {
                if n % 16 == 0 && start.elapsed() >= time {
                    break;
                }
                let at = next(&mut x) % (size / SMALL).max(1) * SMALL;
                if write {
                    let part = block.get(..SMALL as usize).unwrap_or(&[]);
                    io(w.fs.write(f, at, part))?;
                } else {
                    io(w.fs.read(f, at, SMALL as usize))?;
                }
                done.fetch_add(SMALL, Ordering::Relaxed);
            }
            match write {
                true => io(w.fs.fsync(f.fid(), true, &w.cred)),
                false => Ok(()),
            }
        })?;
        out.push((op, mib(done.load(Ordering::Relaxed), t)));
    }
    for (s, f) in files.iter().enumerate() {
        w.fs.close(f);
        io(w.fs.remove(w.dir, format!("data{s}").as_bytes(), false, &w.cred))?;
    }
    let rate = |(op, rate)| Rate {
        op,
        by: streams,
        rate,
    };
    Ok(out.into_iter().map(rate).collect())
}
