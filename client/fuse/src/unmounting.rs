// SPDX-License-Identifier: GPL-2.0

//! What umount(8) runs: when it ends, what was written is on the servers.

use crate::front::PID_XATTR;
use anyhow::{bail, Context, Result};
use clap::Parser;
use rustix::mount::{unmount, UnmountFlags};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const ENOTCONN: i32 = 107;
/// How long the end is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Unmounts a Lustre file system that lustre-fuse has mounted.
#[derive(Parser, Debug)]
#[command(name = "umount.fuse.lustre", version)]
struct Cli {
    /// Where it is mounted
    dir: String,
    /// Even if servers do not answer
    #[arg(short = 'f', long)]
    force: bool,
    /// Takes it out of the tree now, ends when nobody uses it any more
    #[arg(short = 'l', long)]
    lazy: bool,
    /// Does not write /etc/mtab (nothing does)
    #[arg(short = 'n')]
    no_mtab: bool,
    /// Mounts it read-only if it is busy: not done
    #[arg(short = 'r')]
    remount: bool,
    /// Tells what it does
    #[arg(short = 'v', long)]
    verbose: bool,
    /// The type
    #[arg(short = 't', hide = true)]
    fstype: Option<String>,
}

fn daemon(dir: &str) -> Option<u32> {
    let mut buf = [0; 64];
    let n = rustix::fs::getxattr(dir, PID_XATTR, &mut buf).ok()?;
    std::str::from_utf8(buf.get(..n)?).ok()?.parse().ok()
}

fn run(cli: &Cli) -> Result<()> {
    let pid = match cli.force || cli.lazy {
        true => None,
        false => daemon(&cli.dir),
    };
    if !cli.force && !cli.lazy {
        // Errors of write-back are seen here, while there is still somebody to see them.
        match std::fs::File::open(&cli.dir).and_then(|d| d.sync_all()) {
            // Nobody serves it any more: there is nothing to write back.
            Err(e) if e.raw_os_error() == Some(ENOTCONN) => {}
            r => r.with_context(|| format!("{}: cannot write back what is cached", cli.dir))?,
        }
    }
    let mut flags = UnmountFlags::empty();
    flags.set(UnmountFlags::FORCE, cli.force);
    flags.set(UnmountFlags::DETACH, cli.lazy);
    unmount(Path::new(&cli.dir), flags).with_context(|| format!("cannot unmount {}", cli.dir))?;
    let Some(pid) = pid else { return Ok(()) };
    let start = Instant::now();
    let proc = format!("/proc/{pid}");
    while Path::new(&proc).exists() {
        if start.elapsed() > PATIENCE {
            bail!(
                "{}: unmounted, but process {pid} still waits for servers",
                cli.dir
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(c) => c,
        Err(e) => {
            // There is nobody to tell if that fails.
            let _ = e.print();
            return ExitCode::from(u8::from(e.use_stderr()));
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("umount.fuse.lustre: {e:#}");
            ExitCode::from(32)
        }
    }
}
