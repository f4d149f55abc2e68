// SPDX-License-Identifier: GPL-2.0

//! lustre-fuse: mounts a Lustre file system by way of FUSE.
//!
//! The command mounts, and only then goes into the background: a child is started, which tells
//! when it is ready. As `umount.fuse.lustre` (what umount(8) runs for such a mount) it writes back
//! what is cached, unmounts and waits for the end of that child.
#![forbid(unsafe_code)]

mod convert;
mod front;
mod handles;
mod mounting;
mod nodes;
mod notify;
mod options;
mod unmounting;

use clap::Parser;
use options::Options;
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};

/// Mounts a Lustre file system.
#[derive(Parser, Debug)]
#[command(name = "lustre-fuse", version)]
struct Cli {
    /// What to mount: MGSNID[:MGSNID...]:/FSNAME[/DIRECTORY], as in 10.0.0.1@tcp:/lustre
    source: String,
    /// Where to
    dir: String,
    /// Mount options: ro, flock, localflock, noflock, nochecksum, cache=MIB, timeout=SECONDS,
    /// network=NID, port=N, threads=N, log=FILE, and the general ones (nodev, nosuid, noexec ...)
    #[arg(short = 'o', default_value = "", action = clap::ArgAction::Append)]
    options: Vec<String>,
    /// Stays in the foreground
    #[arg(short = 'f', long)]
    foreground: bool,
    /// Tells what it does (LUSTRE_DEBUG=1 in the environment tells more)
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Ignores unknown options (as mount(8) asks for)
    #[arg(short = 's')]
    sloppy: bool,
    /// Does not write /etc/mtab (nothing does)
    #[arg(short = 'n')]
    no_mtab: bool,
    /// The type (as mount(8) gives it)
    #[arg(short = 't', hide = true)]
    fstype: Option<String>,
    /// Internal: the child, which tells on its output when it is ready
    #[arg(long, hide = true)]
    child: bool,
}

/// What the child says when the mount works.
const READY: &[u8] = b"ready\n";
/// Exit status for a failed mount (mount(8)).
const FAILED: u8 = 32;
/// Exit status for a wrong command line.
const USAGE: u8 = 1;

fn complain(e: &anyhow::Error) {
    eprintln!("lustre-fuse: {e:#}");
}

/// Starts the child and waits until it is ready.
fn background(cli: &Cli) -> anyhow::Result<ExitCode> {
    let mut c = Command::new(std::env::current_exe()?);
    c.arg("--child");
    for o in cli.options.iter().filter(|o| !o.is_empty()) {
        c.args(["-o", o]);
    }
    if cli.verbose {
        c.arg("-v");
    }
    if cli.sloppy {
        c.arg("-s");
    }
    c.arg("--").arg(&cli.source).arg(&cli.dir);
    lustre_client::memory::keep(&mut c);
    c.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = c.spawn()?;
    let mut said = Vec::new();
    if let Some(mut out) = child.stdout.take() {
        let mut buf = [0; 16];
        while !said.ends_with(READY) {
            match out.read(&mut buf)? {
                0 => break,
                n => said.extend_from_slice(buf.get(..n).unwrap_or(&[])),
            }
        }
    }
    if said.ends_with(READY) {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    let code = status.code().and_then(|c| u8::try_from(c).ok());
    Ok(ExitCode::from(code.unwrap_or(FAILED)))
}

/// The mount works: lets the parent go, and whatever it was started from.
fn detach(log: Option<&str>) -> anyhow::Result<()> {
    std::env::set_current_dir("/")?;
    rustix::process::setsid()?;
    let mut out = std::io::stdout();
    out.write_all(READY)?;
    out.flush()?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    match log {
        Some(path) => {
            let f = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)?;
            rustix::stdio::dup2_stderr(&f)?;
        }
        None => rustix::stdio::dup2_stderr(&null)?,
    }
    Ok(())
}

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    if name.starts_with("umount") {
        return unmounting::main();
    }
    let cli = match Cli::try_parse() {
        Ok(c) => c,
        Err(e) => {
            // There is nobody to tell if that fails.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { USAGE } else { 0 });
        }
    };
    let options = match Options::parse(&cli.options.join(","), cli.sloppy) {
        Ok(o) => o,
        Err(e) => {
            complain(&e);
            return ExitCode::from(USAGE);
        }
    };
    let done = if cli.child || cli.foreground {
        let ready = || match cli.child {
            true => detach(options.log.as_deref()),
            false => Ok(()),
        };
        mounting::serve(&cli.source, &cli.dir, &options, ready).map(|()| ExitCode::SUCCESS)
    } else {
        background(&cli)
    };
    done.unwrap_or_else(|e| {
        complain(&e);
        ExitCode::from(FAILED)
    })
}
