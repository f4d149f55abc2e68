// SPDX-License-Identifier: GPL-2.0

//! mkfs.lustre: formats a Lustre target.

use anyhow::Result;
use clap::Parser;
use lustre_utils::device::{self, Content};
use lustre_utils::failure::{fail, finish};
use lustre_utils::options::{self, Common};
use lustre_utils::{mke2fs, target::Target};
use std::fs::OpenOptions;
use std::process::ExitCode;
use wire::disk::mountdata::LddFlags;

/// Formats a block device or a file as a Lustre target.
///
/// Example: mkfs.lustre --ost --fsname=lustre --index=0 --mgsnode=10.0.0.1@tcp /dev/sdb
#[derive(Parser, Debug)]
#[command(name = "mkfs.lustre", bin_name = "mkfs.lustre", version)]
struct Cli {
    /// The device is a metadata target (MDT)
    #[arg(short = 'M', long, conflicts_with = "ost")]
    mdt: bool,
    /// The device is an object storage target (OST)
    #[arg(short = 'O', long)]
    ost: bool,
    #[command(flatten)]
    common: Common,
    /// Formats even if there is a Lustre target already: its data are lost
    #[arg(short = 'r', long)]
    reformat: bool,
    /// Takes the place of a lost target of the same index
    #[arg(short = 'R', long)]
    replace: bool,
    /// Further options for mke2fs
    #[arg(
        short = 'k',
        long,
        value_name = "OPTIONS",
        default_value = "",
        allow_hyphen_values = true
    )]
    mkfsoptions: String,
    /// Size of the target, KiB; a file is made that long
    #[arg(short = 'd', long, value_name = "KIB")]
    device_size: Option<u64>,
    /// No protection against mounting twice, even if there is a failover partner
    #[arg(long)]
    skipmmp: bool,
    /// A block device or a file
    device: String,
}

fn build(cli: &Cli) -> Result<Target> {
    let mut t = Target::new();
    t.flags = LddFlags::VIRGIN | LddFlags::NEED_INDEX | LddFlags::UPDATE;
    if cli.mdt {
        t.flags.insert(LddFlags::SV_TYPE_MDT);
    }
    if cli.ost {
        t.flags.insert(LddFlags::SV_TYPE_OST);
    }
    cli.common.apply(&mut t)?;
    if cli.replace {
        t.flags.remove(LddFlags::VIRGIN);
    }
    if !cli.ost {
        // An MDT without an index is the first; an MGS has none.
        t.flags.remove(LddFlags::NEED_INDEX);
        if cli.mdt && t.index.is_none() {
            t.index = Some(0);
        }
    }
    options::check(&t)?;
    if cli.common.mountfsoptions.is_none() {
        t.mount_opts = if cli.ost {
            "errors=remount-ro".into()
        } else {
            "user_xattr,errors=remount-ro".into()
        };
    } else if !t.mount_opts.contains("errors=") {
        t.mount_opts += ",errors=remount-ro";
    }
    Ok(t)
}

/// Sees that the device may be formatted; returns its size in KiB.
fn check_device(cli: &Cli) -> Result<u64> {
    let dev = &cli.device;
    let missing = !std::path::Path::new(dev).exists();
    if missing {
        let Some(size) = cli.device_size else {
            return Err(fail(
                libc::ENOENT,
                format!("{dev}: no such device or file (give --device-size to make a file)"),
            ));
        };
        return Ok(size);
    }
    device::check(dev)?;
    device::check_unused(dev)?;
    let found = matches!(
        device::content(dev),
        Ok(Content::Target(_) | Content::OldTarget)
    );
    if !cli.common.quiet {
        let word = if found { "found" } else { "not found" };
        println!("checking for existing Lustre data: {word}");
    }
    if found && !cli.reformat {
        return Err(fail(
            libc::EEXIST,
            format!(
                "Device {dev} was previously formatted for lustre. Use --reformat to reformat it, \
                 or tunefs.lustre to modify."
            ),
        ));
    }
    let kib = device::size_kib(dev)?;
    Ok(cli.device_size.map_or(kib, |want| {
        if std::path::Path::new(dev).is_file() {
            want
        } else {
            want.min(kib)
        }
    }))
}

fn run(cli: &Cli) -> Result<()> {
    let t = build(cli)?;
    let kib = check_device(cli)?;
    let dev = &cli.device;
    if kib < mke2fs::MIN_KIB {
        return Err(fail(
            libc::EINVAL,
            format!(
                "{dev} has {kib} KiB; a target needs at least {}",
                mke2fs::MIN_KIB
            ),
        ));
    }
    let failover = !cli.skipmmp && !t.param("failover.node").is_empty();
    let args = mke2fs::arguments(&t, kib, &cli.mkfsoptions, failover)?;
    if !cli.common.quiet {
        print!("{}", t.describe("Permanent disk data", dev));
        println!("device size = {}MB", kib / 1024);
        println!("formatting backing filesystem ldiskfs on {dev}");
        println!("\ttarget name   {}", t.label());
        println!("\tkilobytes     {kib}");
        println!("\toptions       {}", cli.mkfsoptions);
        println!("mkfs_cmd = mke2fs {} {dev} {kib}k", args.join(" "));
    }
    if cli.common.dryrun {
        println!("exiting before disk write.");
        return Ok(());
    }
    if !std::path::Path::new(dev).exists() || std::path::Path::new(dev).is_file() {
        let f = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(dev)?;
        if f.metadata()?.len() < kib * 1024 {
            f.set_len(kib * 1024)?;
        }
    }
    device::format(dev, &t, &args, kib)
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(c) => c,
        Err(e) => {
            let _ = e.print();
            let code = if e.use_stderr() {
                libc::EINVAL as u8
            } else {
                0
            };
            return ExitCode::from(code);
        }
    };
    finish("mkfs.lustre", run(&cli))
}
