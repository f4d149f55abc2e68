// SPDX-License-Identifier: GPL-2.0

//! mount.lustre: what `mount -t lustre` runs.

use anyhow::Result;
use clap::Parser;
use lustre_utils::device;
use lustre_utils::failure::{fail, finish};
use lustre_utils::fsmount;
use lustre_utils::mounting::{attach_loop, detach_loop, explain, server_options, MountOptions};
use lustre_utils::target::Target;
use std::process::{Command, ExitCode, Stdio};
use wire::disk::mountdata::LddFlags;

/// Mounts a Lustre target, or a Lustre file system by way of lustre-fuse.
#[derive(Parser, Debug)]
#[command(name = "mount.lustre", bin_name = "mount.lustre", version)]
struct Cli {
    /// The device of a target, or NID:/fsname of a file system
    device: String,
    /// Where to
    dir: String,
    /// Mount options
    #[arg(short = 'o', default_value = "", action = clap::ArgAction::Append)]
    options: Vec<String>,
    /// Ignores unknown options (as mount(8) asks for)
    #[arg(short = 's')]
    sloppy: bool,
    /// Does everything but mount
    #[arg(short = 'f', long = "fake")]
    fake: bool,
    /// Does not write /etc/mtab (nothing does)
    #[arg(short = 'n')]
    no_mtab: bool,
    /// Tells what it does
    #[arg(short = 'v', long)]
    verbose: bool,
    /// The type (as mount(8) gives it)
    #[arg(short = 't', hide = true)]
    fstype: Option<String>,
}

/// A client's mount: lustre-fuse knows how.
fn mount_client(cli: &Cli) -> Result<ExitCode> {
    let status = Command::new("lustre-fuse")
        .arg(&cli.device)
        .arg(&cli.dir)
        .args(
            cli.options
                .iter()
                .filter(|o| !o.is_empty())
                .flat_map(|o| ["-o", o]),
        )
        .stdin(Stdio::null())
        .status()
        .map_err(|e| {
            fail(
                e.raw_os_error().unwrap_or(libc::ENOENT),
                format!(
                    "{}: this is a client mount, which lustre-fuse does: {e}",
                    cli.device
                ),
            )
        })?;
    if !status.success() {
        // It has said why; its status is that of mount(8), no errno.
        let code = status.code().and_then(|c| u8::try_from(c).ok());
        return Ok(ExitCode::from(code.filter(|c| *c != 0).unwrap_or(32)));
    }
    Ok(ExitCode::SUCCESS)
}

fn mount_server(cli: &Cli) -> Result<()> {
    let admin = MountOptions::parse(&cli.options.join(","))?;
    device::check(&cli.device)?;
    let mut dev = std::fs::canonicalize(&cli.device)?.display().to_string();
    let mut t = device::target(&dev)?;
    if t.has(LddFlags::NEED_INDEX) {
        return Err(fail(
            libc::EINVAL,
            format!("{dev} has no index: give it one with tunefs.lustre --index"),
        ));
    }
    if !std::path::Path::new(&cli.dir).is_dir() {
        return Err(fail(
            libc::ENOENT,
            format!("{}: no such directory", cli.dir),
        ));
    }
    let file = std::path::Path::new(&dev).is_file();
    if file && !cli.fake {
        dev = attach_loop(&dev)?;
    }
    let mounted = mount_device(cli, &admin, &mut t, &dev);
    if file && !cli.fake {
        // At once if it is not mounted; else when it is unmounted.
        detach_loop(&dev);
    }
    mounted
}

fn mount_device(cli: &Cli, admin: &MountOptions, t: &mut Target, dev: &str) -> Result<()> {
    let options = server_options(t, admin, dev);
    if cli.verbose || cli.fake {
        let options = options.join(",");
        println!("mounting device {dev} at {}, options={options}", cli.dir);
    }
    if cli.fake {
        return Ok(());
    }
    let mut tries = 0;
    loop {
        let Err(e) = fsmount::mount("lustre", dev, &cli.dir, admin.flags, &options) else {
            break;
        };
        let text = std::io::Error::from_raw_os_error(e.errno);
        if tries >= admin.retry {
            let why = match &*e.why {
                "" => explain(e.errno),
                why => why,
            };
            return Err(fail(
                e.errno,
                format!("mount {dev} at {} failed: {text}\n{why}", cli.dir),
            ));
        }
        tries += 1;
        eprintln!(
            "mount.lustre: {text}, trying again ({tries} of {})",
            admin.retry
        );
        std::thread::sleep(std::time::Duration::from_secs(10));
    }
    let state = LddFlags::VIRGIN | LddFlags::WRITECONF | LddFlags::NO_LOCAL_LOGS;
    if t.flags.intersects(state) && !admin.rest.iter().any(|w| w == "nosvc") {
        t.flags.remove(state);
        // Or the next mount takes the target for a new one.
        fsmount::set_label(&cli.dir, &t.label()).map_err(|e| {
            fail(
                e.raw_os_error().unwrap_or(libc::EIO),
                format!(
                    "{} is mounted, but its label is not '{}': {e}\nUnmount it, and set the \
                     label: tune2fs -L {} {dev}",
                    cli.dir,
                    t.label(),
                    t.label()
                ),
            )
        })?;
    }
    Ok(())
}

/// mount(8) takes PATH away; the tools that are needed here, and those that they need, are found by it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn main() -> ExitCode {
    if std::env::var_os("PATH").is_none() {
        std::env::set_var("PATH", PATH);
    }
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
    if !cli.device.contains(":/") {
        return finish("mount.lustre", mount_server(&cli));
    }
    mount_client(&cli).unwrap_or_else(|e| finish("mount.lustre", Err(e)))
}
