// SPDX-License-Identifier: GPL-2.0

//! Mounting, serving, and ending.

use crate::front::Front;
use crate::notify::Notifier;
use crate::options::{Flock, Options};
use anyhow::{bail, Context, Result};
use fuser::{Config, Session, SessionACL};
use lustre_client::mount::Mount;
use lustre_client::node::{ClientNode, NodeOptions};
use lustre_client::spec::MountSpec;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::mount::{unmount, UnmountFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::nid::Nid;

/// Where the kernel's side of FUSE is.
const DEVICE: &str = "/dev/fuse";

fn open_device() -> Result<OwnedFd> {
    let f = OpenOptions::new().read(true).write(true).open(DEVICE);
    let f = f.with_context(|| {
        format!("cannot open {DEVICE}: is the kernel's FUSE there (modprobe fuse)?")
    })?;
    Ok(f.into())
}

fn mount_point(dir: &str) -> Result<PathBuf> {
    let path = Path::new(dir)
        .canonicalize()
        .with_context(|| format!("cannot mount at {dir}"))?;
    if !path.is_dir() {
        bail!("cannot mount at {dir}: not a directory");
    }
    Ok(path)
}

/// Where it is noted which addresses are in use.
const RUN: &str = "/run/lustre-fuse";

/// How long an address that is in use is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes an address for this process: servers know clients by their addresses, and would answer
/// one in place of the other.
fn claim(nid: &Nid) -> Result<File> {
    std::fs::create_dir_all(RUN).with_context(|| format!("cannot make {RUN}"))?;
    let path = format!("{RUN}/{nid}");
    let f = File::create(&path).with_context(|| format!("cannot make {path}"))?;
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&f, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(f),
            // One that was unmounted just now may have data to write back yet.
            Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(Errno::WOULDBLOCK) => bail!(
                "another lustre-fuse uses {nid} already: each mount needs an address of its own \
                 (-o network=NID)"
            ),
            Err(e) => return Err(e).with_context(|| format!("cannot lock {path}")),
        }
    }
}

/// Mounts `source` at `dir`, calls `ready`, and serves until it is unmounted.
///
/// # Errors
/// Why it could not be mounted.
pub fn serve(
    source: &str,
    dir: &str,
    options: &Options,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    // What can be checked without the network comes first.
    let spec = MountSpec::parse(source)?;
    let at = mount_point(dir)?;
    if !rustix::process::geteuid().is_root() {
        bail!("only root can mount");
    }
    let device = open_device()?;
    let nid = match options.nid {
        Some(n) => n,
        None => spec.own_nid()?,
    };
    if spec.mgs_nids().any(|n| n == nid) {
        bail!(
            "{nid} is the MGS's own address: on a server's host, this client needs an address of \
             its own (-o network=NID)"
        );
    }
    let _ours = claim(&nid)?;
    let mut how = NodeOptions::new(nid);
    if let Some(p) = options.port {
        how.port = p;
    }
    if let Some(t) = options.obd_timeout {
        how.limits.obd_timeout = t;
    }
    let node = ClientNode::start(&how)
        .map_err(lustre_client::error::MountError::Network)
        .with_context(|| format!("cannot use {nid}"))?;
    let done = Mount::new(&node, &spec, options.fs.clone())
        .map_err(anyhow::Error::from)
        .and_then(|fs| {
            let r = run(source, &at, options, device, &fs, ready);
            // Whatever happened: what is cached is written back, and the servers know.
            fs.stop();
            r
        });
    node.stop();
    done
}

fn run(
    source: &str,
    at: &Path,
    options: &Options,
    device: OwnedFd,
    fs: &Arc<Mount>,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
        device.as_raw_fd()
    );
    let notifier = Notifier::start(device.try_clone()?)?;
    let data = std::ffi::CString::new(data)?;
    rustix::mount::mount(source, at, "fuse.lustre", options.flags, data.as_c_str())
        .with_context(|| format!("cannot mount at {}", at.display()))?;
    let leave = || {
        // It may be gone already.
        let _ = unmount(at, UnmountFlags::DETACH);
    };
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(options.threads);
    config.clone_fd = true;
    let front = Front::new(fs.clone(), notifier.clone(), options.flock);
    fs.watch(front.watcher());
    let session = Session::from_fd(front, device, SessionACL::All, config);
    let session = match session {
        Ok(s) => s,
        Err(e) => {
            leave();
            notifier.stop();
            return Err(e).context("the kernel's FUSE refuses");
        }
    };
    let ended = on_signals(at.to_path_buf())
        .and_then(|()| ready())
        .and_then(|()| session.run().context("serving the kernel"));
    // If all went well somebody has unmounted it, and what is there now is not ours.
    if ended.is_err() {
        leave();
    }
    notifier.stop();
    ended
}

/// Unmounts when the process is asked to end.
fn on_signals(at: PathBuf) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                // Who still uses it keeps it until they are done.
                if unmount(&at, UnmountFlags::empty()).is_err() {
                    let _ = unmount(&at, UnmountFlags::DETACH);
                }
            }
        })?;
    Ok(())
}

/// Whether file locks come to us.
pub fn takes_locks(f: Flock) -> bool {
    f != Flock::Local
}
