// SPDX-License-Identifier: GPL-2.0

//! lfs: what users ask of a mounted Lustre file system.

use anyhow::{bail, Context, Result};
use clap::{Args, Parser, Subcommand};
use lustre_utils::failure::end_with_reader;
use lustre_utils::lfs::getstripe::Only;
use lustre_utils::lfs::setstripe::{osts, Wish};
use lustre_utils::lfs::{self, df, getstripe, size, Mounted};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Looks at a mounted Lustre file system, and says where files' data go.
#[derive(Parser, Debug)]
#[command(name = "lfs", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Shows the layout of files, and the default layout of directories
    Getstripe(GetStripe),
    /// Makes files with a layout, or gives directories a default one
    Setstripe(SetStripe),
    /// Shows how full the targets are
    #[command(disable_help_flag = true)]
    Df(Df),
    /// Prints the FIDs of paths
    Path2fid {
        /// The paths
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Prints the paths of FIDs
    Fid2path {
        /// A directory in the file system
        dir: PathBuf,
        /// The FIDs
        #[arg(required = true)]
        fids: Vec<String>,
    },
    /// Lists the OSTs
    Osts {
        /// A path in the file system
        path: Option<PathBuf>,
    },
    /// Lists the MDTs
    Mdts {
        /// A path in the file system
        path: Option<PathBuf>,
    },
    /// Makes directories
    Mkdir {
        /// The mode, octal
        #[arg(short = 'm', long)]
        mode: Option<String>,
        /// The directories
        #[arg(required = true)]
        dirs: Vec<PathBuf>,
    },
    /// Prints what is below directories
    Find(Find),
}

#[derive(Args, Debug)]
struct GetStripe {
    /// The number of stripes alone
    #[arg(short = 'c', long = "stripe-count", short_alias = 'C')]
    count: bool,
    /// The size of a stripe alone
    #[arg(short = 'S', long = "stripe-size")]
    size: bool,
    /// The first OST alone
    #[arg(short = 'i', long = "stripe-index", short_alias = 'o')]
    index: bool,
    /// The pool alone
    #[arg(short = 'p', long = "pool")]
    pool: bool,
    /// Directories themselves, not what is in them
    #[arg(short = 'd', long = "directory")]
    directory: bool,
    /// All below directories
    #[arg(short = 'r', short_alias = 'R', long = "recursive")]
    recursive: bool,
    /// Files and directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Args, Debug)]
struct SetStripe {
    /// Number of stripes; -1: one on each OST
    #[arg(
        short = 'c',
        long = "stripe-count",
        short_alias = 'C',
        allow_hyphen_values = true
    )]
    count: Option<i64>,
    /// Bytes of a stripe: 64K, 4M, 1G
    #[arg(short = 'S', long = "stripe-size")]
    size: Option<String>,
    /// The first OST; -1: any
    #[arg(short = 'i', long = "stripe-index", allow_hyphen_values = true)]
    index: Option<i64>,
    /// The OSTs: 0,2-4
    #[arg(short = 'o', long = "ost")]
    osts: Option<String>,
    /// The pool
    #[arg(short = 'p', long = "pool")]
    pool: Option<String>,
    /// Takes a directory's default layout away
    #[arg(short = 'd', long = "delete")]
    delete: bool,
    /// Files to be made, or directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Args, Debug)]
struct Df {
    /// Inodes instead of space
    #[arg(short = 'i', long = "inodes")]
    inodes: bool,
    /// With units
    #[arg(short = 'h', long = "human-readable")]
    human: bool,
    /// Paths in file systems; all Lustre file systems if none
    paths: Vec<PathBuf>,
}

#[derive(Args, Debug)]
struct Find {
    /// Of this type: f, d, l, b, c, p, s
    #[arg(short = 't', long = "type")]
    kind: Option<char>,
    /// With names like this
    #[arg(short = 'n', long = "name")]
    name: Option<String>,
    /// Not deeper than this
    #[arg(short = 'D', long = "maxdepth")]
    depth: Option<usize>,
    /// Where to look
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

fn named(p: &Path) -> String {
    p.display().to_string()
}

fn show_one(g: &GetStripe, p: &Path, is_dir: bool) -> Result<()> {
    let ea = lfs::xattr(p, lfs::LAYOUT).with_context(|| named(p))?;
    let only = [
        (g.count, Only::Count),
        (g.size, Only::Size),
        (g.index, Only::Index),
        (g.pool, Only::Pool),
    ];
    let only: Vec<Only> = only.iter().filter(|o| o.0).map(|o| o.1).collect();
    let Some(ea) = ea else {
        match (is_dir, only.is_empty()) {
            (true, true) => print!("{}", getstripe::show_default(&named(p))),
            (false, true) => println!("{} has no stripe info", named(p)),
            (true, false) => println!("1"),
            (false, false) => println!("0"),
        }
        return Ok(());
    };
    let bad = || format!("{}: a layout of an unknown form", named(p));
    if only.is_empty() {
        let text = getstripe::show(&named(p), &ea, is_dir).with_context(bad)?;
        print!("{text}");
    }
    for o in &only {
        let v = getstripe::value(&ea, *o).with_context(bad)?;
        match only.len() {
            1 => println!("{v}"),
            _ => print!("{v} "),
        }
    }
    if only.len() > 1 {
        println!();
    }
    Ok(())
}

/// Calls `f` for what is below `p`, itself included, down to `depth`. Errors are told and do not
/// stop it.
fn walk(
    p: &Path,
    depth: usize,
    ok: &mut bool,
    f: &mut dyn FnMut(&Path, &fs::Metadata) -> Result<()>,
) {
    let go = |ok: &mut bool, f: &mut dyn FnMut(&Path, &fs::Metadata) -> Result<()>| -> Result<()> {
        let m = fs::symlink_metadata(p).with_context(|| named(p))?;
        f(p, &m)?;
        if m.is_dir() && depth > 0 {
            for e in fs::read_dir(p).with_context(|| named(p))? {
                walk(&e?.path(), depth - 1, ok, f);
            }
        }
        Ok(())
    };
    if let Err(e) = go(ok, f) {
        eprintln!("lfs: {e:#}");
        *ok = false;
    }
}

fn get_stripe(g: &GetStripe) -> Result<bool> {
    let mut ok = true;
    for p in &g.paths {
        let depth = match (g.directory, g.recursive) {
            (true, _) => 0,
            (false, true) => usize::MAX,
            (false, false) => 1,
        };
        walk(
            p,
            depth,
            &mut ok,
            &mut |p, m| match m.is_file() || m.is_dir() {
                true => show_one(g, p, m.is_dir()),
                false => Ok(()),
            },
        );
    }
    Ok(ok)
}

/// A file without objects.
fn make_file(p: &Path) -> Result<()> {
    use rustix::fs::{mknodat, FileType, Mode, CWD};
    // The umask takes away what it shall.
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, p, FileType::RegularFile, mode, 0)?;
    Ok(())
}

fn set_stripe(s: &SetStripe) -> Result<bool> {
    let wish = Wish {
        count: s.count,
        size: match &s.size {
            None => None,
            Some(t) => Some(size(t).with_context(|| format!("stripe size '{t}': not a size"))?),
        },
        index: s.index,
        osts: match &s.osts {
            None => Vec::new(),
            Some(t) => osts(t).with_context(|| format!("OSTs '{t}': not a list"))?,
        },
        pool: s.pool.clone(),
    };
    let ea = wish.encode().map_err(anyhow::Error::msg)?;
    if s.delete && wish != Wish::default() {
        bail!("-d takes a layout away, and goes with no other option");
    }
    let mut ok = true;
    for p in &s.paths {
        let one = || -> Result<()> {
            if s.delete {
                return Ok(lfs::remove_xattr(p, lfs::LAYOUT)?);
            }
            let made = match p.is_dir() {
                true => false,
                false => match make_file(p) {
                    Ok(()) => true,
                    // Without objects it may be given a layout yet.
                    Err(_) if p.is_file() => {
                        if lfs::xattr(p, lfs::LAYOUT)?.is_some() {
                            bail!("it has a layout already");
                        }
                        false
                    }
                    Err(e) => return Err(e),
                },
            };
            let set = lfs::set_xattr(p, lfs::LAYOUT, &ea);
            if set.is_err() && made {
                // It was made for that only.
                let _ = fs::remove_file(p);
            }
            Ok(set?)
        };
        if let Err(e) = one() {
            eprintln!("lfs setstripe: {}: {e:#}", named(p));
            ok = false;
        }
    }
    Ok(ok)
}

fn mounts() -> Result<Vec<Mounted>> {
    Ok(lfs::mounted(&fs::read_to_string("/proc/self/mounts")?))
}

/// The file systems of these paths; all if there are none.
fn mounts_of(paths: &[PathBuf]) -> Result<Vec<Mounted>> {
    let all = mounts()?;
    if paths.is_empty() {
        if all.is_empty() {
            bail!("no Lustre file system is mounted");
        }
        return Ok(all);
    }
    let mut out = Vec::new();
    for p in paths {
        let full = p.canonicalize().with_context(|| named(p))?;
        let m = lfs::mounted_at(&all, &full);
        out.push(m.with_context(|| format!("{}: not in a Lustre file system", named(p)))?);
    }
    Ok(out)
}

fn targets(m: &Mounted, inodes: bool) -> Result<Vec<df::Target>> {
    let dir = Path::new(&m.dir);
    let text = lfs::xattr(dir, lfs::TARGETS).with_context(|| m.dir.clone())?;
    let text = String::from_utf8(text.unwrap_or_default())?;
    df::parse(&text, inodes).with_context(|| format!("{}: strange states of targets", m.dir))
}

fn show_df(d: &Df) -> Result<bool> {
    for m in mounts_of(&d.paths)? {
        let all = targets(&m, d.inodes)?;
        println!("{}", df::table(&all, &m.dir, d.human, d.inodes));
    }
    Ok(true)
}

fn list(path: &Option<PathBuf>, kind: &str, title: &str) -> Result<bool> {
    let paths: Vec<PathBuf> = path.iter().cloned().collect();
    for m in mounts_of(&paths)? {
        println!("{title}:");
        for t in targets(&m, false)?.iter().filter(|t| t.kind == kind) {
            let state = if t.state.is_ok() {
                "ACTIVE"
            } else {
                "INACTIVE"
            };
            println!("{}: {} {state}", t.index, t.uuid);
        }
    }
    Ok(true)
}

fn find(f: &Find) -> Result<bool> {
    use std::os::unix::fs::FileTypeExt;
    let name = match &f.name {
        None => None,
        Some(n) => Some(glob::Pattern::new(n).with_context(|| format!("name '{n}'"))?),
    };
    if let Some(k) = f.kind.filter(|k| !"fdlbcps".contains(*k)) {
        bail!("type '{k}': not one of f, d, l, b, c, p, s");
    }
    let mut ok = true;
    for p in &f.paths {
        let depth = f.depth.unwrap_or(usize::MAX);
        walk(p, depth, &mut ok, &mut |p, m| {
            let t = m.file_type();
            let kind = match f.kind {
                None => true,
                Some('f') => t.is_file(),
                Some('d') => t.is_dir(),
                Some('l') => t.is_symlink(),
                Some('b') => t.is_block_device(),
                Some('c') => t.is_char_device(),
                Some('p') => t.is_fifo(),
                Some(_) => t.is_socket(),
            };
            let last = p.file_name().unwrap_or(p.as_os_str()).to_string_lossy();
            if kind && name.as_ref().is_none_or(|n| n.matches(&last)) {
                println!("{}", named(p));
            }
            Ok(())
        });
    }
    Ok(ok)
}

fn run(c: &Command) -> Result<bool> {
    match c {
        Command::Getstripe(g) => get_stripe(g),
        Command::Setstripe(s) => set_stripe(s),
        Command::Df(d) => show_df(d),
        Command::Path2fid { paths } => {
            for p in paths {
                let fid = lfs::xattr(p, lfs::FID).with_context(|| named(p))?;
                let fid = fid.with_context(|| format!("{}: no FID", named(p)))?;
                match paths.len() {
                    1 => println!("{}", String::from_utf8_lossy(&fid)),
                    _ => println!("{}: {}", named(p), String::from_utf8_lossy(&fid)),
                }
            }
            Ok(true)
        }
        Command::Fid2path { dir, fids } => {
            let m = mounts_of(std::slice::from_ref(dir))?;
            let at = m.first().map_or("", |m| &m.dir);
            for f in fids {
                let name = format!("{}{f}", lfs::PATH);
                let paths = lfs::xattr(Path::new(at), &name).with_context(|| f.clone())?;
                let paths = paths.unwrap_or_default();
                for p in paths.split_inclusive(|b| *b == 0) {
                    let p = String::from_utf8_lossy(p.strip_suffix(b"\0").unwrap_or(p));
                    println!("{at}/{p}");
                }
            }
            Ok(true)
        }
        Command::Osts { path } => list(path, "OST", "OBDS"),
        Command::Mdts { path } => list(path, "MDT", "MDTS"),
        Command::Mkdir { mode, dirs } => {
            let mode = match mode {
                None => 0o777,
                Some(m) => u32::from_str_radix(m, 8).with_context(|| format!("mode '{m}'"))?,
            };
            for d in dirs {
                let b = &mut fs::DirBuilder::new();
                b.mode(mode).create(d).with_context(|| named(d))?;
            }
            Ok(true)
        }
        Command::Find(f) => find(f),
    }
}

/// The established way of single-dash long options of find: `-type f`.
fn arguments() -> Vec<std::ffi::OsString> {
    std::env::args_os()
        .map(|a| match a.to_str() {
            Some("-type") => "--type".into(),
            Some("-name") => "--name".into(),
            Some("-maxdepth") => "--maxdepth".into(),
            _ => a,
        })
        .collect()
}

fn main() -> ExitCode {
    end_with_reader();
    let cli = match Cli::try_parse_from(arguments()) {
        Ok(c) => c,
        Err(e) => {
            // There is nobody to tell if that fails.
            let _ = e.print();
            return ExitCode::from(u8::from(e.use_stderr()));
        }
    };
    match run(&cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("lfs: {e:#}");
            ExitCode::FAILURE
        }
    }
}
