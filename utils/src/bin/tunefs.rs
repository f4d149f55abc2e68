// SPDX-License-Identifier: GPL-2.0

//! tunefs.lustre: changes what a target says about itself.

use anyhow::Result;
use clap::Parser;
use lustre_utils::device;
use lustre_utils::failure::{fail, finish};
use lustre_utils::offline::{strip, Error};
use lustre_utils::options::{self, Common};
use std::fs::OpenOptions;
use std::process::ExitCode;
use wire::disk::mountdata::LddFlags;

/// Shows or changes the configuration of a Lustre target that is not mounted.
#[derive(Parser, Debug)]
#[command(name = "tunefs.lustre", bin_name = "tunefs.lustre", version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// Forgets all parameters first
    #[arg(short = 'e', long)]
    erase_params: bool,
    /// Forgets one parameter
    #[arg(short = 'E', long, value_name = "KEY")]
    erase_param: Vec<String>,
    /// Has the configuration logs written anew at the next mount
    #[arg(short = 'w', long)]
    writeconf: bool,
    /// Does not use the cached copies of the configuration logs
    #[arg(short = 'l', long, conflicts_with = "writeconf")]
    nolocallogs: bool,
    /// Takes the FIDs out of directory entries and removes the ext4 feature dirdata, which stock ext4
    /// refuses. A run that was cut short is continued by the next. Changes nothing else
    #[arg(long, conflicts_with_all = [
        "erase_params", "erase_param", "writeconf", "nolocallogs", "mgs", "nomgs", "fsname", "index",
        "mgsnode", "failnode", "servicenode", "param", "mountfsoptions", "network", "comment", "dryrun",
    ])]
    strip_dirdata: bool,
    /// A block device or a file
    device: String,
}

fn strip_dirdata(dev: &str) -> Result<()> {
    device::check_unused(dev)?;
    let disk = OpenOptions::new().read(true).write(true).open(dev)?;
    let done = strip::strip(&disk).map_err(|e| match e {
        Error::Io(e) => e.into(),
        Error::Bad(why) => fail(libc::EINVAL, format!("{dev}: {why}")),
    })?;
    match done {
        None => println!("{dev}: does not have the feature dirdata"),
        Some(d) => println!(
            "{dev}: dirdata removed: {} directories, {} blocks changed",
            d.dirs, d.blocks
        ),
    }
    Ok(())
}

fn run(cli: &Cli) -> Result<()> {
    let dev = &cli.device;
    device::check(dev)?;
    if cli.strip_dirdata {
        return strip_dirdata(dev);
    }
    let before = device::target(dev)?;
    let mut t = before.clone();
    if !cli.common.quiet {
        print!("{}", before.describe("Read previous values", dev));
    }
    let fresh = LddFlags::VIRGIN | LddFlags::WRITECONF;
    let renames = cli.common.fsname.is_some() || cli.common.index.is_some();
    if renames && !cli.writeconf && !before.flags.intersects(fresh) {
        return Err(fail(
            libc::EINVAL,
            "--fsname and --index can be changed only before the first mount, or with --writeconf",
        ));
    }
    if cli.erase_params {
        t.params.clear();
        t.flags.insert(LddFlags::UPDATE);
    }
    for key in &cli.erase_param {
        if !t.remove_param(key) {
            return Err(fail(
                libc::EINVAL,
                format!("--erase-param {key}: there is no such parameter"),
            ));
        }
        t.flags.insert(LddFlags::UPDATE);
    }
    if cli.writeconf {
        t.flags.insert(LddFlags::WRITECONF);
    }
    if cli.nolocallogs {
        if t.flags.intersects(fresh) {
            return Err(fail(
                libc::EINVAL,
                "--nolocallogs: the target has no local logs yet",
            ));
        }
        t.flags.insert(LddFlags::NO_LOCAL_LOGS);
    }
    cli.common.apply(&mut t)?;
    options::check(&t)?;
    if !cli.common.quiet {
        print!("{}", t.describe("Permanent disk data", dev));
    }
    if cli.common.dryrun {
        println!("exiting before disk write.");
        return Ok(());
    }
    if t == before {
        return Ok(());
    }
    device::check_unused(dev)?;
    // The label counts more than mountdata, so it comes first: what is read back has it.
    if t.label() != before.label() {
        device::set_label(dev, &t.label())?;
    }
    device::write_target(dev, &t)
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(c) => c,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() {
                libc::EINVAL as u8
            } else {
                0
            });
        }
    };
    finish("tunefs.lustre", run(&cli))
}
