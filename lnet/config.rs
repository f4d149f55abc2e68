// SPDX-License-Identifier: GPL-2.0

//! What an instance is made with (spec `lnet.md` §17.1, §17.3).

use kapi::net::{self, Ipv4Addr};
use kapi::prelude::*;
use wire::nid::{Net, Nid, SOCKLND};

/// From whom connections are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accept {
    /// From privileged ports: the other end is root on its node.
    Secure,
    /// From any port.
    All,
    /// From nobody.
    None,
}

/// What an instance is made with.
pub struct Config {
    /// Our NIDs, without the loopback; the first is the primary one.
    pub nids: KVec<Nid>,
    /// The TCP port of all nodes.
    pub port: u16,
    /// From whom connections are taken.
    pub accept: Accept,
    /// Whether our own connections come from privileged ports.
    pub privileged: bool,
    /// Connections for bulk to a peer, each way.
    pub conns_per_peer: u32,
    /// After how long without progress a connection is given up.
    pub timeout: Duration,
    /// Bytes of received messages that may wait to be served; beyond that, nothing more is read
    /// from connections that send such.
    pub receive_budget: u64,
    /// Connections at the most.
    pub connections_max: usize,
}

impl Config {
    /// The defaults, for these NIDs.
    pub fn new(nids: KVec<Nid>) -> Config {
        Config {
            nids,
            port: wire::socklnd::ACCEPT_PORT,
            accept: Accept::Secure,
            privileged: true,
            conns_per_peer: 1,
            timeout: Duration::from_secs(50),
            receive_budget: 64 << 20,
            connections_max: 32768,
        }
    }

    /// Reads the module parameter `networks`: "tcp", "tcp0(eth0)", "tcp(eth0),tcp1(10.0.0.1)".
    ///
    /// # Errors
    /// `EINVAL`: not of that form, or a network twice. `EPROTONOSUPPORT`: no TCP. `ENODEV`,
    /// `EADDRNOTAVAIL`: no such interface, or no address there.
    pub fn parse_networks(text: &str) -> Result<KVec<Nid>> {
        let mut nids: KVec<Nid> = KVec::new();
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            let (name, interface) = match word.split_once('(') {
                Some((n, rest)) => (n, Some(rest.strip_suffix(')').ok_or(EINVAL)?)),
                None => (word, None),
            };
            let network = Net::parse(name.trim()).map_err(|_| EINVAL)?;
            if network.lnd != SOCKLND {
                return Err(EPROTONOSUPPORT);
            }
            let addr = match interface.map(str::trim) {
                None => net::default_address()?,
                Some(i) => match i.parse::<Ipv4Addr>() {
                    Ok(a) => a,
                    Err(_) => net::interface_address(i)?,
                },
            };
            if nids.iter().any(|n| n.net() == network) {
                return Err(EINVAL);
            }
            nids.push(Nid::v4(network, addr), GFP_KERNEL)?;
        }
        if nids.is_empty() {
            return Err(EINVAL);
        }
        Ok(nids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let text = |s| {
            Config::parse_networks(s).map(|n| n.iter().map(|n| n.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(
            text("tcp(10.0.0.1), tcp1(lo)").unwrap(),
            ["10.0.0.1@tcp", "127.0.0.1@tcp1"]
        );
        assert_eq!(text("").err(), Some(EINVAL));
        assert_eq!(text("tcp(lo").err(), Some(EINVAL));
        assert_eq!(text("tcp(lo),tcp0(10.0.0.1)").err(), Some(EINVAL));
        assert_eq!(text("o2ib(lo)").err(), Some(EPROTONOSUPPORT));
        assert_eq!(text("tcp(nosuchdev0)").err(), Some(ENODEV));
    }
}
