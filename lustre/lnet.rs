// SPDX-License-Identifier: GPL-2.0

//! `/dev/lnet`: the ioctls by which lctl looks at LNet and turns it on and off (`lnet.md` 17.6).

use kapi::chardev::{is_admin, Ioctl, UserPtr};
use kapi::module_params::module_params;
use kapi::net::local_addresses;
use kapi::prelude::*;
use lnet::config::{Accept, Config};
use obdclass::node::{NetworkConfig, ServerNode};
use wire::lnet::PID_LUSTRE;
use wire::nid::Nid;

const GET_NI: u32 = 0xc008_6532;
const UNCONFIGURE: u32 = 0xc008_6538;
const CONFIGURE: u32 = 0xc008_653b;
const PING: u32 = 0xc008_653e;
/// Versions of the structures.
const VERSIONS: [u32; 2] = [0x1000a, 0x1000b];

/// `libcfs_ioctl_data`: its length, and where the fields are that are used.
const DATA_LEN: usize = 128;
const DATA_NID: usize = 8;
const DATA_COUNT: usize = 28;
/// `lnet_ioctl_ping_data`.
const PING_LEN: usize = 56;
const PING_TIMEOUT: usize = 8;
const PING_COUNT: usize = 12;
const PING_NID: usize = 24;
const PING_BUF: usize = 40;
/// The longest a ping may take, seconds.
const PING_MAX: u32 = 180;
/// `lnet_process_id`.
const ID_LEN: usize = 16;

/// The network as the module's parameters have it.
pub(crate) struct FromParams;

impl NetworkConfig for FromParams {
    fn lnet(&self) -> Result<Config> {
        let p = module_params()?;
        let nids = match (p.networks.trim(), p.ip2nets.trim()) {
            ("", "") => Config::parse_networks("tcp"),
            (n, "") => Config::parse_networks(n),
            ("", i) => Config::parse_ip2nets(i, &local_addresses()?),
            _ => {
                pr_err!("LNet: networks and ip2nets are both given: there can be one\n");
                return Err(EINVAL);
            }
        };
        let nids = nids.inspect_err(|e| {
            pr_err!(
                "LNet: networks='{}' ip2nets='{}': {:?}; see /sys/module/lustre/parameters\n",
                p.networks,
                p.ip2nets,
                e
            );
        })?;
        let mut config = Config::new(nids);
        config.accept = match p.accept {
            "secure" => Accept::Secure,
            "all" => Accept::All,
            "none" => Accept::None,
            other => {
                pr_err!("LNet: accept='{}': secure, all or none\n", other);
                return Err(EINVAL);
            }
        };
        config.port = p.accept_port;
        config.timeout = Duration::from_secs(p.sock_timeout.max(1).into());
        config.conns_per_peer = p.conns_per_peer.clamp(1, 8);
        Ok(config)
    }
}

/// Handles the ioctls.
pub(crate) struct Control {
    pub(crate) node: Arc<ServerNode>,
}

/// A structure of the caller's.
struct Block<const N: usize> {
    at: UserPtr,
    bytes: [u8; N],
}

impl<const N: usize> Block<N> {
    fn read(at: UserPtr) -> Result<Block<N>> {
        let mut b = Block { at, bytes: [0; N] };
        at.read(&mut b.bytes)?;
        if (b.u32(0)? as usize) < N || !VERSIONS.contains(&b.u32(4)?) {
            return Err(EINVAL);
        }
        Ok(b)
    }

    fn field<const L: usize>(&self, at: usize) -> Result<[u8; L]> {
        let b = self.bytes.get(at..).and_then(|b| b.get(..L));
        b.and_then(|b| b.try_into().ok()).ok_or(EINVAL)
    }

    fn u32(&self, at: usize) -> Result<u32> {
        Ok(u32::from_ne_bytes(self.field(at)?))
    }

    fn u64(&self, at: usize) -> Result<u64> {
        Ok(u64::from_ne_bytes(self.field(at)?))
    }

    fn set(&mut self, at: usize, value: &[u8]) -> Result {
        let to = self
            .bytes
            .get_mut(at..)
            .and_then(|b| b.get_mut(..value.len()));
        to.ok_or(EINVAL)?.copy_from_slice(value);
        Ok(())
    }

    fn write(&self) -> Result {
        self.at.write(&self.bytes)
    }
}

impl Ioctl for Control {
    fn ioctl(&self, command: u32, arg: UserPtr) -> Result<u32> {
        if command != GET_NI && !is_admin() {
            return Err(EPERM);
        }
        match command {
            CONFIGURE => self.node.up().map(|_| ())?,
            UNCONFIGURE => self.node.down()?,
            GET_NI => self.get_ni(arg)?,
            PING => self.ping(arg)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

impl Control {
    /// The NID with the number that is asked for, the loopback first.
    fn get_ni(&self, arg: UserPtr) -> Result {
        let mut b = Block::<DATA_LEN>::read(arg)?;
        let up = self.node.current().ok_or(ENETDOWN)?;
        let n = b.u32(DATA_COUNT)? as usize;
        let nid = match n.checked_sub(1) {
            None => Nid::LO,
            Some(i) => *up.lnet.nids().get(i).ok_or(ENOENT)?,
        };
        let nid4 = nid.to_nid4().ok_or(EOPNOTSUPP)?;
        b.set(DATA_NID, &nid4.to_ne_bytes())?;
        b.write()
    }

    fn ping(&self, arg: UserPtr) -> Result {
        let mut b = Block::<PING_LEN>::read(arg)?;
        let up = self.node.current().ok_or(ENETDOWN)?;
        let nid = Nid::from_nid4(b.u64(PING_NID)?);
        let ms = b.u32(PING_TIMEOUT)?;
        let ms = match ms {
            1..=0x7fff_ffff => ms.min(PING_MAX * 1000),
            _ => PING_MAX * 1000,
        };
        let nids = up.lnet.ping(nid, Duration::from_millis(ms.into()))?;
        let room = b.u32(PING_COUNT)? as usize;
        let to = UserPtr::from(b.u64(PING_BUF)?);
        let mut n = 0usize;
        for nid in nids.iter().take(room) {
            let Some(nid4) = nid.to_nid4() else {
                continue;
            };
            let mut id = [0u8; ID_LEN];
            let (head, rest) = id.split_at_mut(8);
            head.copy_from_slice(&nid4.to_ne_bytes());
            if let Some(pid) = rest.get_mut(..4) {
                pid.copy_from_slice(&PID_LUSTRE.to_ne_bytes());
            }
            to.add(n * ID_LEN).write(&id)?;
            n += 1;
        }
        b.set(PING_COUNT, &u32::try_from(n)?.to_ne_bytes())?;
        b.write()
    }
}
