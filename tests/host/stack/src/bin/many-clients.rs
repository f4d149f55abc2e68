// SPDX-License-Identifier: GPL-2.0

//! Many clients in a process of their own, so that what the servers take can be told from what they take.
//!
//! `many-clients FSNAME MDT OST...` does what the lines of its input say, all clients at once, and answers
//! each with a line: how many there were of what was asked for, and milliseconds.

use kapi::prelude::{Error, Result};
use ldlm::client::Want;
use ldlm::core::{ibits, Mode};
use lustre_client::cred::Cred;
use lustre_client::fs::OpenHow;
use lustre_client::mdc::{bits, resource};
use lustre_client::mount::MountOptions;
use lustre_client::target::{Enqueue, Target};
use ptlrpc::call::CallOptions;
use ptlrpc::message::Msg;
use stack::{own_memory, own_threads, Mounted, Place};
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::msg::OBD_VERSION;
use wire::nid::Nid;
use wire::opcode::OBD_PING;

/// Threads that make the clients do things.
const WORKERS: usize = 8;
/// Bytes that each client writes.
const IO: usize = 64 << 10;

/// Calls `f` for all of `all`; the sum of what it returns.
fn each<T: Sync>(all: &[T], f: impl Fn(&[T]) -> u64 + Sync) -> u64 {
    let part = all.len().div_ceil(WORKERS).max(1);
    std::thread::scope(|s| {
        let f = &f;
        let parts: Vec<_> = all.chunks(part).map(|p| s.spawn(move || f(p))).collect();
        parts.into_iter().map(|t| t.join().unwrap()).sum()
    })
}

fn targets(c: &Mounted) -> Vec<Arc<Target>> {
    let osts = c.fs.osts();
    let osts = osts.iter().map(|o| o.target().unwrap().clone());
    std::iter::once(c.fs.mdc().target().clone())
        .chain(osts)
        .collect()
}

/// Each client has a ping under way to each target, for that long.
fn ping(clients: &[Mounted], long: Duration) -> u64 {
    let end = Instant::now() + long;
    each(clients, |some| {
        let to: Vec<_> = some.iter().flat_map(targets).collect();
        let mut n = 0;
        while Instant::now() < end {
            let begin = |t: &Arc<Target>| {
                let m = Msg::request(OBD_PING, OBD_VERSION, &[])?;
                t.import().begin(m, CallOptions::new(&[])?, None)
            };
            let calls: Vec<_> = to.iter().map(|t| begin(t).unwrap()).collect();
            for c in calls {
                c.wait().unwrap();
                n += 1;
            }
        }
        n
    })
}

/// So many locks of inodes that nobody else has.
fn lock(c: &Mounted, n: u32) -> Result<u64> {
    let mdc = c.fs.mdc();
    let cred = Cred::root();
    let mut asked = Vec::new();
    for _ in 0..n {
        let want = Want {
            res: resource(mdc.new_fid()?),
            mode: Mode::Pr,
            policy: bits(ibits::LOOKUP),
            flags: 0,
        };
        asked.push(Enqueue {
            want,
            cancels: &[],
            intent: &[],
            lvb: None,
            options: CallOptions::new(&[112, 0])?,
            cred: &cred,
        });
    }
    let t = mdc.target();
    let begun = asked
        .iter()
        .map(|e| t.begin(e))
        .collect::<Result<Vec<_>>>()?;
    let mut got = 0;
    for (e, b) in asked.iter().zip(begun) {
        got += u64::from(t.finish(e, b, None)?.lock.is_some());
    }
    Ok(got)
}

/// A file that is made, written, on disk, read by one who has forgotten it.
fn io(c: &Mounted) -> Result<u64> {
    let cred = Cred::root();
    let how = OpenHow {
        read: true,
        write: true,
        ..OpenHow::default()
    };
    let name = c.fs.uuid().to_string();
    let (f, _) =
        c.fs.create(c.fs.root(), name.as_bytes(), (0o644, 0), how, &cred)?;
    let data = vec![7; IO];
    c.fs.write(&f, 0, &data)?;
    c.fs.fsync(f.fid(), false, &cred)?;
    c.fs.drop_caches();
    assert!(c.fs.read(&f, 0, IO)? == data);
    c.fs.close(&f);
    Ok(1)
}

fn all_of(some: &[Mounted], f: impl Fn(&Mounted) -> Result<u64>) -> u64 {
    let one = |c| f(c).unwrap_or_else(|e: Error| panic!("{}: {e:?}", c.fs.uuid()));
    some.iter().map(one).sum()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let nid = |s: &String| Nid::parse(s).unwrap();
    let osts = args[2..].iter().enumerate();
    let place = Place {
        fsname: args[0].clone(),
        mdt: nid(&args[1]),
        osts: osts.map(|(i, n)| (i as u32, nid(n))).collect(),
    };
    let options = MountOptions {
        cache: 1 << 20,
        dirty: 1 << 20,
        ..MountOptions::default()
    };
    let mut clients: Vec<Mounted> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (what, n) = line.split_once(' ').unwrap();
        let n: u32 = n.parse().unwrap();
        let begin = Instant::now();
        let count = match what {
            "connect" => {
                let new = std::sync::Mutex::new(Vec::new());
                each(&vec![(); n as usize], |some| {
                    for () in some {
                        let c = Mounted::at(&place, options.clone());
                        new.lock().unwrap().push(c);
                    }
                    0
                });
                clients.extend(new.into_inner().unwrap());
                clients.len() as u64
            }
            "ping" => ping(&clients, Duration::from_secs(n.into())),
            "locks" => each(&clients, |some| all_of(some, |c| lock(c, n))),
            "io" => each(&clients, |some| all_of(some, io)),
            "memory" => own_memory(),
            "threads" => own_threads(),
            _ => panic!("{what}?"),
        };
        println!("{count} {}", begin.elapsed().as_millis());
        std::io::stdout().flush().unwrap();
    }
    // Those that are not stopped would wait for each other.
    let parts = std::sync::Mutex::new(clients);
    each(&[(); WORKERS], |_| loop {
        let c = parts.lock().unwrap().pop();
        match c {
            Some(c) => c.stop(),
            None => return 0,
        }
    });
}
