// SPDX-License-Identifier: GPL-2.0

//! lctl: looks at a node and sets its parameters (spec `admin.md` §5).

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use lustre_utils::failure::{end_with_reader, fail, Failure};
use lustre_utils::lnet;
use lustre_utils::obd::mgs_param;
use lustre_utils::params::{self, Found};
use lustre_utils::pools::{self, Change};
use std::fs;
use std::process::ExitCode;
use wire::cfg::LcfgCommand;
use wire::lnet::PID_LUSTRE;
use wire::nid::Nid;

/// Seconds that a ping may take where nothing else is said.
const PING_TIMEOUT: u32 = 10;

/// Looks at a Lustre node and sets its parameters.
#[derive(Parser, Debug)]
#[command(name = "lctl", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Lists the devices of this node
    #[command(visible_alias = "device_list")]
    Dl,
    /// Prints parameters
    #[command(name = "get_param")]
    GetParam(GetParam),
    /// Sets parameters
    #[command(name = "set_param")]
    SetParam(SetParam),
    /// Sets parameters of a file system or target for good (on the MGS)
    #[command(name = "conf_param")]
    ConfParam(ConfParam),
    /// Makes a pool of OSTs (on the MGS)
    #[command(name = "pool_new")]
    PoolNew(Pool),
    /// Puts OSTs into a pool (on the MGS)
    #[command(name = "pool_add")]
    PoolAdd(PoolOsts),
    /// Takes OSTs out of a pool (on the MGS)
    #[command(name = "pool_remove")]
    PoolRemove(PoolOsts),
    /// Ends an empty pool (on the MGS)
    #[command(name = "pool_destroy")]
    PoolDestroy(Pool),
    /// Lists pools, or the OSTs of one
    #[command(name = "pool_list")]
    PoolList {
        /// FSNAME, or FSNAME.POOLNAME
        name: String,
    },
    /// Lists the names of parameters
    #[command(name = "list_param")]
    ListParam(ListParam),
    /// Prints this node's NIDs
    #[command(name = "list_nids")]
    ListNids {
        /// "all": also those that only this node can reach
        all: Option<String>,
    },
    /// Asks a node whether it is there
    Ping {
        /// The node
        nid: String,
        /// Seconds to wait
        timeout: Option<u32>,
    },
    /// Starts or stops LNet
    Network {
        /// up or down
        #[arg(value_parser = ["up", "configure", "down", "unconfigure"])]
        what: String,
    },
    /// Writes a line to the kernel's log
    Mark {
        /// The line
        #[arg(trailing_var_arg = true)]
        text: Vec<String>,
    },
}

#[derive(Args, Debug)]
struct GetParam {
    /// Prints values only
    #[arg(short = 'n')]
    values: bool,
    /// Prints names only
    #[arg(short = 'N')]
    names: bool,
    /// Goes into directories
    #[arg(short = 'R')]
    recursive: bool,
    /// Dotted names; * and ? match
    #[arg(required = true)]
    params: Vec<String>,
}

#[derive(Args, Debug)]
struct ListParam {
    /// Marks directories, links and what can be set
    #[arg(short = 'F')]
    classify: bool,
    /// Directories only
    #[arg(short = 'D')]
    directories: bool,
    /// Goes into directories
    #[arg(short = 'R')]
    recursive: bool,
    /// Dotted names; * and ? match
    #[arg(required = true)]
    params: Vec<String>,
}

#[derive(Args, Debug)]
struct SetParam {
    /// Prints nothing
    #[arg(short = 'n')]
    quiet: bool,
    /// For good, on all nodes (on the MGS)
    #[arg(short = 'P')]
    permanent: bool,
    /// With -P: takes that back
    #[arg(short = 'd', requires = "permanent")]
    delete: bool,
    /// NAME=VALUE
    #[arg(required = true)]
    settings: Vec<String>,
}

#[derive(Args, Debug)]
struct ConfParam {
    /// Takes it back
    #[arg(short = 'd')]
    delete: bool,
    /// TARGET.TYPE.NAME=VALUE, or FSNAME.TYPE.NAME=VALUE
    #[arg(required = true)]
    settings: Vec<String>,
}

#[derive(Args, Debug)]
struct Pool {
    /// Does not wait until the MDT has heard of it
    #[arg(short = 'n', long = "nowait")]
    quick: bool,
    /// FSNAME.POOLNAME
    name: String,
}

#[derive(Args, Debug)]
struct PoolOsts {
    #[command(flatten)]
    pool: Pool,
    /// OST0000, FSNAME-OST0000, OST[0-7/2]
    #[arg(required = true)]
    osts: Vec<String>,
}

fn find(command: &str, pattern: &str, recursive: bool) -> Result<Vec<Found>> {
    let found = params::find(pattern, recursive);
    if found.is_empty() {
        return Err(fail(
            libc::ENOENT,
            format!(
                "{command}: param_path '{}': No such file or directory",
                params::to_path(pattern)
            ),
        ));
    }
    Ok(found)
}

fn get_param(a: &GetParam, pattern: &str) -> Result<()> {
    for f in find("get_param", pattern, a.recursive)? {
        if a.names {
            println!("{}", f.name);
        } else if f.path.is_file() {
            match params::read(&f.path) {
                Ok(v) => print!("{}", params::render(&f.name, &v, !a.values)),
                Err(e) => return Err(fail(libc::EIO, format!("get_param: {}: {e}", f.name))),
            }
        }
    }
    Ok(())
}

fn list_param(a: &ListParam, pattern: &str) -> Result<()> {
    for f in find("list_param", pattern, a.recursive)? {
        let meta = fs::symlink_metadata(&f.path)?;
        if a.directories && !meta.is_dir() {
            continue;
        }
        let mark = match () {
            _ if !a.classify => "",
            _ if meta.is_symlink() => "@",
            _ if meta.is_dir() => "/",
            _ if !meta.permissions().readonly() => "=",
            _ => "",
        };
        println!("{}{mark}", f.name);
    }
    Ok(())
}

/// A setting that stays; taken back, it has no value.
fn permanent(command: &str, setting: &str, delete: bool) -> Result<String> {
    match setting.split_once('=') {
        _ if delete => Ok(format!("{}=", setting.split('=').next().unwrap_or(setting))),
        Some((name, _)) if !name.is_empty() => Ok(setting.to_owned()),
        _ => Err(fail(
            libc::EINVAL,
            format!("{command}: {setting}: it has the form NAME=VALUE"),
        )),
    }
}

fn conf_param(a: &ConfParam, setting: &str) -> Result<()> {
    let text = permanent("conf_param", setting, a.delete)?;
    mgs_param(LcfgCommand::Param, &["", &text]).with_context(|| format!("conf_param: {setting}"))
}

fn set_param_permanent(a: &SetParam, setting: &str) -> Result<()> {
    let text = permanent("set_param", setting, a.delete)?;
    let mut bufs = vec!["general", &text];
    if a.delete {
        bufs.push("del");
    }
    mgs_param(LcfgCommand::SetParam, &bufs).with_context(|| format!("set_param: {setting}"))
}

fn set_param(a: &SetParam, setting: &str) -> Result<()> {
    if a.permanent {
        return set_param_permanent(a, setting);
    }
    let (pattern, value) = setting.split_once('=').ok_or_else(|| {
        fail(
            libc::EINVAL,
            format!("set_param: {setting}: it has the form NAME=VALUE"),
        )
    })?;
    for f in find("set_param", pattern, false)? {
        fs::write(&f.path, value).map_err(|e| {
            fail(
                e.raw_os_error().unwrap_or(libc::EIO),
                format!("set_param: setting {}={value}: {e}", f.path.display()),
            )
        })?;
        if !a.quiet {
            println!("{}={value}", f.name);
        }
    }
    Ok(())
}

/// Works on all of `items`, reports each error, returns the first.
fn each(items: &[String], mut f: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut first = Ok(());
    for i in items {
        if let Err(e) = f(i) {
            if first.is_ok() {
                first = Err(e);
            } else {
                eprintln!("error: {e:#}");
            }
        }
    }
    first
}

fn write_one(name: &str, value: &str) -> Result<()> {
    match params::find(name, false).first() {
        Some(f) => Ok(fs::write(&f.path, value)?),
        None => Err(fail(
            libc::ENODEV,
            "Lustre is not loaded on this node (try: modprobe lustre)",
        )),
    }
}

fn ping(text: &str, timeout: Option<u32>) -> Result<()> {
    let nid = Nid::parse(text).map_err(|_| {
        fail(
            libc::EINVAL,
            format!("bad NID '{text}', such as 10.0.0.1@tcp"),
        )
    })?;
    for nid in lnet::ping(nid, timeout.unwrap_or(PING_TIMEOUT))? {
        println!("{PID_LUSTRE}-{nid}");
    }
    Ok(())
}

fn network(what: &str) -> Result<()> {
    let up = what == "up" || what == "configure";
    lnet::configure(up)?;
    println!(
        "{}",
        match up {
            true => "LNET configured",
            false => "LNET ready to unload",
        }
    );
    Ok(())
}

fn run(c: &Command) -> Result<()> {
    match c {
        // No devices, or no module: nothing is printed, as tools expect.
        Command::Dl => {
            if let Some(f) = params::find("devices", false).first() {
                print!("{}", params::read(&f.path)?);
            }
        }
        Command::GetParam(a) => each(&a.params, |p| get_param(a, p))?,
        Command::ListParam(a) => each(&a.params, |p| list_param(a, p))?,
        Command::SetParam(a) => each(&a.settings, |s| set_param(a, s))?,
        Command::PoolNew(p) => pools::change(Change::New, &p.name, &[], p.quick)?,
        Command::PoolAdd(a) => pools::change(Change::Add, &a.pool.name, &a.osts, a.pool.quick)?,
        Command::PoolRemove(a) => {
            pools::change(Change::Remove, &a.pool.name, &a.osts, a.pool.quick)?;
        }
        Command::PoolDestroy(p) => pools::change(Change::Destroy, &p.name, &[], p.quick)?,
        Command::PoolList { name } => pools::list(name)?,
        Command::ConfParam(a) => each(&a.settings, |s| conf_param(a, s))?,
        Command::ListNids { all } => {
            let all = all.as_deref() == Some("all");
            for nid in lnet::nids()?.iter().filter(|n| all || !n.is_lo()) {
                println!("{nid}");
            }
        }
        Command::Ping { nid, timeout } => ping(nid, *timeout)?,
        Command::Network { what } => network(what)?,
        Command::Mark { text } => write_one("debug_marker", &text.join(" "))?,
    }
    Ok(())
}

fn main() -> ExitCode {
    end_with_reader();
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            let errno = e.downcast_ref::<Failure>().map_or(1, |f| f.errno);
            ExitCode::from(u8::try_from(errno).unwrap_or(1).max(1))
        }
    }
}
