// SPDX-License-Identifier: GPL-2.0

//! Many clients of one MDS and two OSSs: what each of them takes of the servers.
//!
//! The servers are this process, the clients are others (`many-clients`). `CLIENTS=1000` measures with so many.

use kapi::prelude::{Arc, KVec, GFP_KERNEL};
use kapi::sync::atomic::Relaxed;
use ldlm::server::LOCK_MEMORY;
use mdt::Mdt;
use ofd::Ofd;
use stack::{own_memory, own_threads, ServerNode};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Clients of one process: each has an address of its own, and many threads.
const OF_PROCESS: usize = 200;
/// Locks of each client.
const LOCKS: usize = 100;
const KIB: u64 = 1024;

/// A process with clients.
struct Clients {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    count: usize,
}

impl Clients {
    fn start(args: &[String], count: usize) -> Clients {
        let mut child = Command::new(env!("CARGO_BIN_EXE_many-clients"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Clients {
            child,
            input,
            output: BufReader::new(output),
            count,
        }
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
    }

    fn answer(&mut self) -> u64 {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let count = line.split(' ').next().unwrap_or_default();
        count.parse().expect("the clients have failed")
    }
}

/// Has all do something, at once; the sum of their answers, and how long it took.
fn all(clients: &mut [Clients], what: impl Fn(&Clients) -> String) -> (u64, Duration) {
    let begin = Instant::now();
    for c in clients.iter_mut() {
        let what = what(c);
        c.tell(&what);
    }
    let sum = clients.iter_mut().map(Clients::answer).sum();
    (sum, begin.elapsed())
}

struct Servers {
    mds: ServerNode,
    mdt: Arc<Mdt>,
    oss: Vec<ServerNode>,
    osts: Vec<Arc<Ofd>>,
}

impl Servers {
    fn start() -> Servers {
        let mds = ServerNode::start();
        let mdt = mds.mdt(osd_memory::device());
        let (mut oss, mut osts) = (Vec::new(), Vec::new());
        for index in 0..2 {
            let node = ServerNode::start();
            let store = osd_memory::MemoryDevice::with(osd_memory::Config {
                ost: true,
                // Each client is granted some MiB.
                blocks: 1 << 24,
                ..osd_memory::Config::default()
            });
            osts.push(node.ost(store, index, &mds.fsname, &mdt));
            let mut nids = KVec::new();
            nids.push(node.nid, GFP_KERNEL).unwrap();
            mdt.add_ost(index.into(), nids).unwrap();
            oss.push(node);
        }
        // The MDT is a client of the OSTs, too.
        for o in &mdt.lod().osts().unwrap() {
            while o.view().ready == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Servers {
            mds,
            mdt,
            oss,
            osts,
        }
    }

    /// What a client needs to know.
    fn args(&self) -> Vec<String> {
        let nids = std::iter::once(&self.mds).chain(&self.oss);
        let nids = nids.map(|n| n.nid.to_string());
        std::iter::once(self.mds.fsname.clone())
            .chain(nids)
            .collect()
    }

    fn exports(&self) -> usize {
        let osts = self.osts.iter().map(|o| o.target().unwrap().num_exports());
        self.mdt.target().num_exports() + osts.sum::<usize>()
    }

    /// Requests that were dropped, for want of room or of time.
    fn dropped(&self) -> u64 {
        let mut sum = 0;
        for n in std::iter::once(&self.mds).chain(&self.oss) {
            n.server
                .for_each_service(&mut |s| sum += s.stats.dropped.load(Relaxed));
        }
        sum
    }

    fn stop(self) {
        self.mdt.stop();
        self.mds.stop();
        for (node, ost) in self.oss.into_iter().zip(&self.osts) {
            ost.stop(&node.server);
            node.stop();
        }
    }
}

fn per_second(n: u64, t: Duration) -> f64 {
    n as f64 / t.as_secs_f64()
}

#[test]
fn many_clients() {
    let total: usize = std::env::var("CLIENTS").map_or(100, |n| n.parse().unwrap());
    let seconds = if total > 100 { 10 } else { 2 };
    let servers = Servers::start();
    let (at_first, own_exports) = (own_memory(), servers.exports());
    let mut left = total;
    let mut clients = Vec::new();
    while left > 0 {
        let n = left.min(OF_PROCESS);
        clients.push(Clients::start(&servers.args(), n));
        left -= n;
    }
    let n = total as u64;
    let row = |what: &str, value: String| println!("{what:40} {value:>14}");
    row("clients", total.to_string());

    let (connected, took) = all(&mut clients, |c| format!("connect {}", c.count));
    assert_eq!(connected, n);
    assert_eq!(servers.exports() - own_exports, 3 * total);
    row(
        "all connected to three targets, s",
        format!("{:.1}", took.as_secs_f64()),
    );
    let connect_time = took;
    let idle = own_memory();
    let idle_bytes = idle.saturating_sub(at_first) / n;
    row(
        "memory of the servers before, MiB",
        (at_first >> 20).to_string(),
    );
    row(
        "of an idle client at them, KiB",
        (idle_bytes / KIB).to_string(),
    );
    let (memory, _) = all(&mut clients, |_| "memory 0".into());
    row("a client's own, KiB", (memory / n / KIB).to_string());
    let (threads, _) = all(&mut clients, |_| "threads 0".into());
    row("threads of a client", (threads / n).to_string());

    let (pings, took) = all(&mut clients, |_| format!("ping {seconds}"));
    row(
        "pings of all, /s",
        format!("{:.0}", per_second(pings, took)),
    );
    let pinged = own_memory();
    let (locks, took) = all(&mut clients, |_| format!("locks {LOCKS}"));
    assert_eq!(locks, n * LOCKS as u64);
    row(
        "lock enqueues of all, /s",
        format!("{:.0}", per_second(locks, took)),
    );
    let granted = LOCK_MEMORY.granted();
    let lock_bytes = own_memory().saturating_sub(pinged) / granted.max(1);
    row("locks", granted.to_string());
    row("of a lock at the servers, bytes", lock_bytes.to_string());
    let with_locks = own_memory().saturating_sub(at_first) / n;
    row(
        "of a client with 100 locks, KiB",
        (with_locks / KIB).to_string(),
    );

    let (files, took) = all(&mut clients, |_| "io 0".into());
    assert_eq!(files, n);
    row(
        "files made, 64 KiB, synced, read, /s",
        format!("{:.0}", per_second(files, took)),
    );
    let threads = own_threads();
    row("threads of the servers", threads.to_string());
    row("requests dropped", servers.dropped().to_string());

    // The end of its input is the end of a process.
    let children: Vec<Child> = clients.into_iter().map(|c| c.child).collect();
    for mut c in children {
        assert!(c.wait().unwrap().success());
    }
    assert_eq!(servers.exports(), own_exports);
    row(
        "memory of the servers after, MiB",
        (own_memory() >> 20).to_string(),
    );
    servers.stop();
    // What is more than these needs a reason.
    assert!(connect_time < Duration::from_secs(60), "{connect_time:?}");
    assert!(idle_bytes < 200 * KIB, "{idle_bytes} bytes");
    assert!(lock_bytes < 4 * KIB, "{lock_bytes} bytes");
    assert!(threads < 400, "{threads} threads");
}
