// SPDX-License-Identifier: GPL-2.0

//! What to mount: `10.9.0.1@tcp[,NID...][:NID...]:/fsname[/subdir]` (spec `mgs-config.md` 13).

use crate::error::MountError;
use std::net::{ToSocketAddrs, UdpSocket};
use wire::nid::{Net, Nid};

/// A file system to mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountSpec {
    /// Nodes that the MGS may be on, each with its NIDs.
    pub mgs: Vec<Vec<Nid>>,
    /// The file system's name, 1 to 8 bytes.
    pub fsname: String,
    /// The directory to mount, with a leading slash; `None`: the root.
    pub fileset: Option<String>,
}

fn nid(text: &str) -> Result<Nid, MountError> {
    if let Ok(n) = Nid::parse(text) {
        return Ok(n);
    }
    // A host name on some network.
    let bad = || MountError::Spec(format!("'{text}' is neither a NID nor a host name"));
    let (host, net) = text.split_once('@').unwrap_or((text, "tcp"));
    let net = Net::parse(net).map_err(|_| bad())?;
    let addrs = (host, 0).to_socket_addrs().map_err(|_| bad())?;
    for a in addrs {
        if let std::net::IpAddr::V4(v4) = a.ip() {
            return Ok(Nid::v4(net, v4));
        }
    }
    Err(bad())
}

impl MountSpec {
    /// Reads the form of the command line.
    ///
    /// # Errors
    /// [`MountError::Spec`] says what is wrong.
    pub fn parse(text: &str) -> Result<MountSpec, MountError> {
        let bad = |why: &str| MountError::Spec(format!("'{text}': {why}"));
        let (nodes, path) = text
            .split_once(":/")
            .ok_or_else(|| bad("expected MGSNID:/FSNAME, as in 10.0.0.1@tcp:/lustre"))?;
        let mut mgs = Vec::new();
        for node in nodes.split(':') {
            let nids = node.split(',').map(nid).collect::<Result<Vec<_>, _>>()?;
            mgs.push(nids);
        }
        let path = path.trim_end_matches('/');
        let (fsname, sub) = match path.split_once('/') {
            Some((f, s)) => (f, Some(format!("/{}", s.trim_start_matches('/')))),
            None => (path, None),
        };
        let named = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if fsname.is_empty() || fsname.len() > 8 || !fsname.bytes().all(named) {
            return Err(bad(
                "a file system's name has 1 to 8 letters, digits, '_' or '-'",
            ));
        }
        Ok(MountSpec {
            mgs,
            fsname: fsname.into(),
            fileset: sub,
        })
    }

    /// All NIDs of the MGS, in the order to try.
    pub fn mgs_nids(&self) -> impl Iterator<Item = Nid> + '_ {
        self.mgs.iter().flatten().copied()
    }

    /// The NID that this host would reach the MGS from.
    ///
    /// # Errors
    /// [`MountError::NoRoute`].
    pub fn own_nid(&self) -> Result<Nid, MountError> {
        let no_route = |n: &Nid| MountError::NoRoute(n.to_string());
        let first = self.mgs_nids().next().unwrap_or(Nid::ANY);
        let to = first.ipv4().ok_or_else(|| no_route(&first))?;
        // Nothing is sent: connecting only asks for the route.
        let from = UdpSocket::bind(("0.0.0.0", 0))
            .and_then(|s| s.connect((to, 988)).and_then(|()| s.local_addr()))
            .map_err(|_| no_route(&first))?;
        match from.ip() {
            std::net::IpAddr::V4(v4) => Ok(Nid::v4(first.net(), v4)),
            std::net::IpAddr::V6(_) => Err(no_route(&first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let n = |t| Nid::parse(t).unwrap();
        let s = MountSpec::parse("10.9.0.1@tcp:/lustre").unwrap();
        assert_eq!(s.mgs, [[n("10.9.0.1@tcp")]]);
        assert_eq!((s.fsname.as_str(), s.fileset), ("lustre", None));
        let s = MountSpec::parse("10.0.0.1@tcp,10.1.0.1@tcp1:10.0.0.2:/fs/a/b/").unwrap();
        assert_eq!(s.mgs.len(), 2);
        assert_eq!(s.mgs[0], [n("10.0.0.1@tcp"), n("10.1.0.1@tcp1")]);
        assert_eq!(s.fileset.as_deref(), Some("/a/b"));
        for bad in [
            "lustre",
            "10.0.0.1@tcp:/",
            "10.0.0.1@tcp:/ninechars",
            "10.0.0.1@ib7:/fs",
            "10.0.0.1@tcp:/a b",
            ":/fs",
        ] {
            assert!(MountSpec::parse(bad).is_err(), "{bad}");
        }
    }
}
