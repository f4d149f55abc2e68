// SPDX-License-Identifier: GPL-2.0

//! lustre-fsck: whether a target that is not mounted keeps the invariants of its format.

use clap::Parser;
use lustre_utils::{device, offline::fsck};
use std::fs::File;
use std::process::ExitCode;

/// Exit status of `fsck`(8).
const ERRORS_LEFT: u8 = 4;
const OPERATIONAL: u8 = 8;

/// Checks a Lustre target that is not mounted. Nothing is changed. Run `e2fsck -fn` first: what ext4 itself
/// promises is not looked at.
///
/// Exit status: 0 clean, 4 problems were found, 8 the target could not be checked.
#[derive(Parser, Debug)]
#[command(name = "lustre-fsck", bin_name = "lustre-fsck", version)]
struct Cli {
    /// Changes nothing, which is the only mode
    #[arg(short = 'n')]
    no_change: bool,
    /// A block device or a file
    device: String,
}

fn run(cli: &Cli) -> anyhow::Result<u64> {
    let dev = &cli.device;
    device::check(dev)?;
    device::check_unused(dev)?;
    let file = File::open(dev)?;
    let sum = fsck::check(&file, &mut |line| println!("{line}"))?;
    println!(
        "{dev}: {} inodes, {} names, {} entries of the object index, {} objects, {} problems",
        sum.inodes, sum.names, sum.oi, sum.objects, sum.problems
    );
    Ok(sum.problems)
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(c) => c,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { OPERATIONAL } else { 0 });
        }
    };
    lustre_utils::failure::end_with_reader();
    match run(&cli) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(ERRORS_LEFT),
        Err(e) => {
            eprintln!("lustre-fsck: {}: {e:#}", cli.device);
            ExitCode::from(OPERATIONAL)
        }
    }
}
