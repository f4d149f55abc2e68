// SPDX-License-Identifier: GPL-2.0

//! lustre-bench: how fast a Lustre file system is for a client without a kernel in between.
//!
//! It mounts by the library, works in a directory of its own, and prints a JSON object with a rate
//! for each kind of work and number of threads.
#![forbid(unsafe_code)]

mod data;
mod local;
mod meta;

use anyhow::{Context, Result};
use clap::Parser;
use lustre_client::cred::Cred;
use lustre_client::fs::Make;
use lustre_client::memory;
use lustre_client::mount::{Mount, MountOptions};
use lustre_client::node::{ClientNode, NodeOptions};
use lustre_client::spec::MountSpec;
use lustre_client::Error;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::fid::Fid;
use wire::nid::Nid;

/// Measures a Lustre file system.
#[derive(Parser, Debug)]
#[command(name = "lustre-bench", version)]
struct Cli {
    /// The file system: MGSNID:/FSNAME; a directory with --local
    source: String,
    /// Work with names in a directory of this machine, to compare with
    #[arg(long)]
    local: bool,
    /// Files per thread
    #[arg(long, default_value_t = 1000)]
    files: usize,
    /// MiB of each stream
    #[arg(long, default_value_t = 256)]
    size: u64,
    /// Seconds of each run of random I/O
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Numbers of threads, and of streams
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    threads: Vec<usize>,
    /// Numbers of streams
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4])]
    streams: Vec<usize>,
    /// Neither sends nor checks checksums
    #[arg(long)]
    nochecksum: bool,
    /// Any port instead of one below 1024
    #[arg(long)]
    unprivileged: bool,
    /// TCP port of all nodes
    #[arg(long)]
    port: Option<u16>,
    /// The address to use; else that from which the MGS is reached
    #[arg(long)]
    network: Option<String>,
}

/// A result.
pub struct Rate {
    /// What was done.
    pub op: &'static str,
    /// By how many.
    pub by: usize,
    /// How much of it in a second.
    pub rate: f64,
}

/// Where to work, and as whom.
pub struct Work {
    /// The file system.
    pub fs: Arc<Mount>,
    /// Our directory.
    pub dir: Fid,
    /// Who we are.
    pub cred: Cred,
}

/// Makes errors those of the standard library, which have words.
pub fn io<T>(r: lustre_client::Result<T>) -> Result<T> {
    r.map_err(|e: Error| std::io::Error::from_raw_os_error(-e.to_errno()).into())
}

impl Work {
    /// Makes a directory.
    pub fn mkdir(&self, parent: Fid, name: &str) -> Result<Fid> {
        let m = Make {
            mode: 0o040755,
            rdev: 0,
            umask: 0,
            target: &[],
        };
        let k = self.fs.make(parent, name.as_bytes(), &m, &self.cred);
        Ok(io(k)?.attr.fid)
    }
}

/// Runs `f` for each number below `n` at the same time; how long all of it took.
pub fn together(n: usize, f: impl Fn(usize) -> Result<()> + Sync) -> Result<Duration> {
    let start = Instant::now();
    std::thread::scope(|s| {
        let all: Vec<_> = (0..n)
            .map(|i| {
                let f = &f;
                s.spawn(move || f(i))
            })
            .collect();
        for t in all {
            t.join()
                .map_err(|_| anyhow::anyhow!("a thread ended by panic"))??;
        }
        Ok(start.elapsed())
    })
}

/// So many per second.
pub fn per_second(n: u64, t: Duration) -> f64 {
    n as f64 / t.as_secs_f64().max(1e-9)
}

fn print(rates: &[Rate], data: &[Rate]) {
    let list = |all: &[Rate], by: &str, unit: &str| {
        let lines: Vec<String> = all
            .iter()
            .map(|r| {
                format!(
                    "    {{\"op\": \"{}\", \"{by}\": {}, \"{unit}\": {:.1}}}",
                    r.op, r.by, r.rate
                )
            })
            .collect();
        lines.join(",\n")
    };
    println!(
        "{{\n  \"metadata\": [\n{}\n  ],\n  \"data\": [\n{}\n  ]\n}}",
        list(rates, "threads", "per_second"),
        list(data, "streams", "mib_per_second")
    );
}

fn measure(cli: &Cli, fs: &Arc<Mount>) -> Result<()> {
    let mut w = Work {
        fs: fs.clone(),
        dir: fs.root(),
        cred: Cred::root(),
    };
    let name = format!("lustre-bench.{}", std::process::id());
    w.dir = w
        .mkdir(fs.root(), &name)
        .context("cannot make a directory")?;
    let mut rates = Vec::new();
    for n in &cli.threads {
        rates.extend(meta::run(&w, *n, cli.files)?);
    }
    let mut data = Vec::new();
    for n in &cli.streams {
        data.extend(data::run(
            &w,
            *n,
            cli.size << 20,
            Duration::from_secs(cli.seconds),
        )?);
    }
    io(fs.remove(fs.root(), name.as_bytes(), true, &w.cred))?;
    print(&rates, &data);
    Ok(())
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if !memory::is_kept() {
        let mut again = Command::new(std::env::current_exe()?);
        memory::keep(again.args(std::env::args_os().skip(1)));
        return Err(again.exec()).context("cannot start again");
    }
    if cli.local {
        let mut rates = Vec::new();
        for n in &cli.threads {
            rates.extend(local::run(Path::new(&cli.source), *n, cli.files)?);
        }
        print(&rates, &[]);
        return Ok(());
    }
    let spec = MountSpec::parse(&cli.source)?;
    let nid = match &cli.network {
        Some(n) => Nid::parse(n).map_err(|_| anyhow::anyhow!("'{n}' is no NID"))?,
        None => spec.own_nid()?,
    };
    let mut how = NodeOptions::new(nid);
    if let Some(p) = cli.port {
        how.port = p;
    }
    how.privileged = !cli.unprivileged;
    let node = io(ClientNode::start(&how)).context("cannot use the network")?;
    let options = MountOptions {
        checksums: !cli.nochecksum,
        ..MountOptions::default()
    };
    let done = Mount::new(&node, &spec, options)
        .map_err(anyhow::Error::from)
        .and_then(|fs| {
            let r = measure(&cli, &fs);
            fs.stop();
            r
        });
    node.stop();
    done
}
