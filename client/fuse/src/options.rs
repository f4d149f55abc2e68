// SPDX-License-Identifier: GPL-2.0

//! Mount options.

use anyhow::{bail, Context, Result};
use lustre_client::mount::MountOptions;
use rustix::mount::MountFlags;
use std::time::Duration;
use wire::nid::Nid;

/// Who decides about file locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flock {
    /// The file system: they hold on all clients.
    Cluster,
    /// This host.
    Local,
    /// Nobody: there are none.
    Off,
}

/// Options of a mount.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the file system.
    pub fs: MountOptions,
    /// Of the kernel.
    pub flags: MountFlags,
    /// File locks.
    pub flock: Flock,
    /// The NID to use; else the one from which the MGS is reached.
    pub nid: Option<Nid>,
    /// TCP port of all nodes.
    pub port: Option<u16>,
    /// Threads that serve the kernel.
    pub threads: usize,
    /// Where messages go once it is in the background.
    pub log: Option<String>,
    /// Seconds without an answer before a server counts as lost.
    pub obd_timeout: Option<u32>,
}

fn number<T: std::str::FromStr>(word: &str, value: &str) -> Result<T> {
    value
        .parse()
        .ok()
        .with_context(|| format!("option '{word}': not a number: '{value}'"))
}

impl Options {
    /// Reads what stands behind `-o`.
    ///
    /// # Errors
    /// A word that is not known (unless `sloppy`), or a value that makes no sense.
    pub fn parse(text: &str, sloppy: bool) -> Result<Options> {
        let mut o = Options {
            fs: MountOptions::default(),
            flags: MountFlags::empty(),
            flock: Flock::Cluster,
            nid: None,
            port: None,
            threads: 16,
            log: None,
            obd_timeout: None,
        };
        for word in text.split(',').filter(|w| !w.is_empty()) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "ro" => {
                    o.fs.read_only = true;
                    o.flags.insert(MountFlags::RDONLY);
                }
                "rw" => {
                    o.fs.read_only = false;
                    o.flags.remove(MountFlags::RDONLY);
                }
                "flock" => o.flock = Flock::Cluster,
                "localflock" => o.flock = Flock::Local,
                "noflock" => o.flock = Flock::Off,
                "checksum" => o.fs.checksums = true,
                "nochecksum" => o.fs.checksums = false,
                "cache" => {
                    let mib: usize = number(key, value)?;
                    o.fs.cache = mib
                        .checked_mul(1 << 20)
                        .context("option 'cache': too large")?;
                }
                "timeout" => {
                    o.fs.timeout = Duration::from_secs(number::<u32>(key, value)?.into());
                }
                "obd_timeout" => o.obd_timeout = Some(number(key, value)?),
                "log" => o.log = Some(value.into()),
                "threads" => o.threads = number::<usize>(key, value)?.clamp(2, 256),
                "port" => o.port = Some(number(key, value)?),
                "network" => {
                    let nid = Nid::parse(value).ok();
                    o.nid = Some(nid.with_context(|| format!("option 'network': '{value}'"))?);
                }
                "nodev" => o.flags.insert(MountFlags::NODEV),
                "dev" => o.flags.remove(MountFlags::NODEV),
                "nosuid" => o.flags.insert(MountFlags::NOSUID),
                "suid" => o.flags.remove(MountFlags::NOSUID),
                "noexec" => o.flags.insert(MountFlags::NOEXEC),
                "exec" => o.flags.remove(MountFlags::NOEXEC),
                "sync" => o.flags.insert(MountFlags::SYNCHRONOUS),
                "async" => o.flags.remove(MountFlags::SYNCHRONOUS),
                "dirsync" => o.flags.insert(MountFlags::DIRSYNC),
                "noatime" => o.flags.insert(MountFlags::NOATIME),
                "nodiratime" => o.flags.insert(MountFlags::NODIRATIME),
                // What is so anyway, and what is mount(8)'s business.
                "defaults"
                | "atime"
                | "diratime"
                | "relatime"
                | "user_xattr"
                | "acl"
                | "lazystatfs"
                | "auto"
                | "noauto"
                | "_netdev"
                | "nofail"
                | "user"
                | "nouser"
                | "allow_other"
                | "default_permissions" => {}
                k if k.starts_with("x-") || k.starts_with("comment") => {}
                _ if sloppy => {}
                _ => bail!("unknown mount option '{word}'"),
            }
        }
        o.fs.flock = o.flock == Flock::Cluster;
        Ok(o)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let o = Options::parse(
            "ro,nodev,cache=64,,timeout=7,localflock,x-systemd.automount",
            false,
        );
        let o = o.unwrap();
        assert!(o.fs.read_only && !o.fs.flock);
        assert_eq!(o.flags, MountFlags::RDONLY | MountFlags::NODEV);
        assert_eq!(
            (o.fs.cache, o.fs.timeout),
            (64 << 20, Duration::from_secs(7))
        );
        assert!(Options::parse("what", false).is_err());
        assert!(Options::parse("what", true).is_ok());
        for bad in [
            "cache=x",
            "cache=99999999999999999999",
            "network=nowhere",
            "timeout=",
        ] {
            assert!(Options::parse(bad, false).is_err(), "{bad}");
        }
        let o = Options::parse("ro,rw", false).unwrap();
        assert!(!o.fs.read_only && o.flags.is_empty());
    }
}
