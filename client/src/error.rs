// SPDX-License-Identifier: GPL-2.0

//! Why a mount failed, in words that say what to do.

use kapi::error::Error;
use std::fmt;

/// Why a mount failed.
#[derive(Clone, Debug)]
pub enum MountError {
    /// What is to be mounted makes no sense.
    Spec(String),
    /// There is no route to this NID.
    NoRoute(String),
    /// The network could not be started.
    Network(Error),
    /// No MGS answers at these NIDs.
    Mgs(String, Error),
    /// The MGS does not know the file system.
    NoSuchFs(String, String),
    /// The configuration that the MGS has makes no sense.
    Config(String),
    /// The MDT does not let us in.
    Mdt(String, Error),
    /// Something else.
    Other(&'static str, Error),
}

impl MountError {
    /// The errno for it, negative.
    pub fn errno(&self) -> i32 {
        use kapi::error::code::*;
        let e = match self {
            MountError::Spec(_) => EINVAL,
            MountError::NoRoute(_) => EHOSTUNREACH,
            MountError::NoSuchFs(..) => ENOENT,
            MountError::Config(_) => EINVAL,
            MountError::Network(e)
            | MountError::Mgs(_, e)
            | MountError::Mdt(_, e)
            | MountError::Other(_, e) => *e,
        };
        e.to_errno()
    }
}

/// The words for an errno.
pub fn text(e: Error) -> String {
    std::io::Error::from_raw_os_error(-e.to_errno()).to_string()
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountError::Spec(s) => f.write_str(s),
            MountError::NoRoute(n) => write!(
                f,
                "no route to the MGS at {n}: check the address, and the network of this host"
            ),
            MountError::Network(e) => write!(
                f,
                "cannot start the network: {} (ports below 1024 need root; is another client \
                 using this address?)",
                text(*e)
            ),
            MountError::Mgs(n, e) => write!(
                f,
                "no answer from the MGS at {n}: {}; check that the MGS is mounted there, and that \
                 TCP port 988 can be reached",
                text(*e)
            ),
            MountError::NoSuchFs(fs, mgs) => write!(
                f,
                "the MGS at {mgs} has no log '{fs}-client': is '{fs}' the file system's name, and \
                 have its MDT and OSTs been started once?"
            ),
            MountError::Config(s) => write!(f, "the configuration from the MGS is unusable: {s}"),
            MountError::Mdt(t, e) => write!(
                f,
                "cannot connect to {t}: {}; check that its server is up",
                text(*e)
            ),
            MountError::Other(what, e) => write!(f, "{what}: {}", text(*e)),
        }
    }
}

impl std::error::Error for MountError {}
