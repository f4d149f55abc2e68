// SPDX-License-Identifier: GPL-2.0

//! Names: create, stat, readdir with stat, unlink; each thread in a directory of its own.

use crate::{io, per_second, together, Rate, Work};
use anyhow::{bail, Result};
use lustre_client::fs::OpenHow;
use wire::fid::Fid;

fn name(i: usize) -> Vec<u8> {
    format!("file{i:06}").into_bytes()
}

fn list(w: &Work, dir: Fid) -> Result<usize> {
    let d = io(w.fs.open_dir(dir, &w.cred))?;
    let (mut at, mut n) = (0, 0);
    loop {
        let all = io(w.fs.read_dir(&d, at))?;
        let Some(last) = all.last() else { return Ok(n) };
        at = last.hash + 1;
        for e in all.iter().filter(|e| !matches!(&*e.name, b"." | b"..")) {
            if let Some(k) = io(w.fs.lookup(dir, &e.name, &w.cred))? {
                io(w.fs.complete(k))?;
                n += 1;
            }
        }
    }
}

/// All of it with `threads` threads and `files` files each.
pub fn run(w: &Work, threads: usize, files: usize) -> Result<Vec<Rate>> {
    let mut dirs = Vec::new();
    for t in 0..threads {
        dirs.push(w.mkdir(w.dir, &format!("meta{t}"))?);
    }
    let dir = |t: usize| dirs.get(t).copied().unwrap_or(w.dir);
    let all = (threads * files) as u64;
    let mut out = Vec::new();
    let mut add = |op, t| {
        out.push(Rate {
            op,
            by: threads,
            rate: per_second(all, t),
        })
    };
    let how = OpenHow {
        write: true,
        excl: true,
        ..OpenHow::default()
    };
    let t = together(threads, |t| {
        for i in 0..files {
            let made = w.fs.create(dir(t), &name(i), (0o644, 0o022), how, &w.cred);
            w.fs.close(&io(made)?.0);
        }
        Ok(())
    })?;
    add("create", t);
    w.fs.drop_caches();
    let t = together(threads, |t| {
        for i in 0..files {
            match io(w.fs.lookup(dir(t), &name(i), &w.cred))? {
                Some(k) => io(w.fs.complete(k))?,
                None => bail!("a file is gone"),
            };
        }
        Ok(())
    })?;
    add("stat", t);
    w.fs.drop_caches();
    let t = together(threads, |t| match list(w, dir(t))? {
        n if n == files => Ok(()),
        n => bail!("{n} entries instead of {files}"),
    })?;
    add("readdir_stat", t);
    let t = together(threads, |t| {
        for i in 0..files {
            io(w.fs.remove(dir(t), &name(i), false, &w.cred))?;
        }
        Ok(())
    })?;
    add("unlink", t);
    for t in 0..threads {
        io(w.fs.remove(w.dir, format!("meta{t}").as_bytes(), true, &w.cred))?;
    }
    Ok(out)
}
