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
    /// Lists of CPU partitions in brackets mean nothing here, and `lo` is there anyway.
    ///
    /// # Errors
    /// `EINVAL`: not of that form, or a network twice. `EPROTONOSUPPORT`: no TCP. `ENODEV`,
    /// `EADDRNOTAVAIL`: no such interface, or no address there.
    pub fn parse_networks(text: &str) -> Result<KVec<Nid>> {
        let mut nids: KVec<Nid> = KVec::new();
        for word in Words(text) {
            add_network(word?, &mut nids)?;
        }
        if nids.is_empty() {
            return Err(EINVAL);
        }
        Ok(nids)
    }

    /// Reads the module parameter `ip2nets` on a node with these addresses:
    /// "tcp 10.0.*.*; tcp1(eth1) 192.168.1.[2-8/2]". Every rule that matches adds its networks.
    ///
    /// # Errors
    /// As [`Config::parse_networks`]. `ENOENT`: no rule matches.
    pub fn parse_ip2nets(text: &str, addresses: &[Ipv4Addr]) -> Result<KVec<Nid>> {
        let mut nids: KVec<Nid> = KVec::new();
        for rule in text.split([';', '\n']) {
            let rule = rule.split('#').next().unwrap_or_default().trim();
            if rule.is_empty() {
                continue;
            }
            let (networks, patterns) = rule.split_once(char::is_whitespace).ok_or(EINVAL)?;
            let mut matches = false;
            for pattern in patterns.split_whitespace() {
                for a in addresses {
                    matches |= matches_address(pattern, a)?;
                }
            }
            if matches {
                for word in Words(networks) {
                    add_network(word?, &mut nids)?;
                }
            }
        }
        if nids.is_empty() {
            return Err(ENOENT);
        }
        Ok(nids)
    }
}

/// What is between the commas that are not in brackets.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = Result<&'a str>;

    fn next(&mut self) -> Option<Result<&'a str>> {
        if self.0.is_empty() {
            return None;
        }
        let mut depth = 0u32;
        let mut end = self.0.len();
        for (i, c) in self.0.char_indices() {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' if depth == 0 => return Some(Err(EINVAL)),
                ')' | ']' => depth -= 1,
                ',' if depth == 0 => {
                    end = i;
                    break;
                }
                _ => {}
            }
        }
        if depth != 0 {
            self.0 = "";
            return Some(Err(EINVAL));
        }
        let word = self.0.get(..end).unwrap_or_default();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(Ok(word.trim()))
    }
}

/// Without a list of CPU partitions at the end.
fn without_cpts(word: &str) -> &str {
    match word.split_once('[') {
        Some((w, rest)) if rest.ends_with(']') => w.trim(),
        _ => word,
    }
}

/// Adds the NID of one word of `networks`.
fn add_network(word: &str, nids: &mut KVec<Nid>) -> Result {
    let (name, interface) = match word.split_once('(') {
        Some((n, rest)) => {
            let (inner, after) = rest.split_once(')').ok_or(EINVAL)?;
            if !without_cpts(after.trim()).is_empty() {
                return Err(EINVAL);
            }
            (n, Some(without_cpts(inner.trim())))
        }
        None => (without_cpts(word), None),
    };
    let name = name.trim();
    if name.is_empty() || name == "lo" {
        return Ok(());
    }
    let network = Net::parse(name).map_err(|_| EINVAL)?;
    if network.lnd != SOCKLND {
        return Err(EPROTONOSUPPORT);
    }
    let addr = match interface {
        None => net::default_address()?,
        Some(i) => match i.parse::<Ipv4Addr>() {
            Ok(a) => a,
            Err(_) => net::interface_address(i)?,
        },
    };
    if nids.iter().any(|n| n.net() == network) {
        return Err(EINVAL);
    }
    Ok(nids.push(Nid::v4(network, addr), GFP_KERNEL)?)
}

/// Whether an address is meant by a pattern of four parts: numbers, `*`, or lists in brackets.
fn matches_address(pattern: &str, address: &Ipv4Addr) -> Result<bool> {
    let mut parts = pattern.split('.');
    let mut all = true;
    for octet in address.octets() {
        all &= matches_octet(parts.next().ok_or(EINVAL)?, octet)?;
    }
    match parts.next() {
        None => Ok(all),
        Some(_) => Err(EINVAL),
    }
}

fn matches_octet(part: &str, octet: u8) -> Result<bool> {
    let number = |t: &str| t.trim().parse::<u8>().map_err(|_| EINVAL);
    if part == "*" {
        return Ok(true);
    }
    let Some(list) = part.strip_prefix('[') else {
        return Ok(number(part)? == octet);
    };
    let mut found = false;
    for range in list.strip_suffix(']').ok_or(EINVAL)?.split(',') {
        let (range, step) = match range.split_once('/') {
            Some((r, s)) => (r, number(s)?),
            None => (range, 1),
        };
        let (from, to) = match range.split_once('-') {
            Some((f, t)) => (number(f)?, number(t)?),
            None => (number(range)?, number(range)?),
        };
        if from > to || step == 0 {
            return Err(EINVAL);
        }
        found |= (from..=to).contains(&octet) && (octet - from) % step == 0;
    }
    Ok(found)
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
        assert_eq!(
            text("lo,tcp(127.0.0.2[0,1])[2], tcp1(lo)").unwrap(),
            ["127.0.0.2@tcp", "127.0.0.1@tcp1"]
        );
        assert_eq!(text("tcp(lo)x").err(), Some(EINVAL));
        assert_eq!(text("tcp)").err(), Some(EINVAL));
        assert_eq!(text("tcp[").err(), Some(EINVAL));
    }

    #[test]
    fn networks_by_address() {
        let here = [Ipv4Addr::new(10, 0, 3, 7), Ipv4Addr::new(192, 168, 1, 6)];
        let text = |s| {
            Config::parse_ip2nets(s, &here)
                .map(|n| n.iter().map(|n| n.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(
            text("tcp(10.0.3.7) 10.0.*.*; tcp1(192.168.1.6) 192.168.1.[1,2-8/2] # ours").unwrap(),
            ["10.0.3.7@tcp", "192.168.1.6@tcp1"]
        );
        assert_eq!(text("tcp(lo) 10.0.3.[1-7/4]").err(), Some(ENOENT));
        assert_eq!(text("tcp(lo) 10.0.3.[1-7/3]").unwrap(), ["127.0.0.1@tcp"]);
        assert_eq!(text("tcp(lo) 10.0.3").err(), Some(EINVAL));
        assert_eq!(text("tcp(lo) 10.0.3.7.1").err(), Some(EINVAL));
        assert_eq!(text("tcp(lo) 10.0.3.[7-1]").err(), Some(EINVAL));
        assert_eq!(text("tcp(lo)").err(), Some(EINVAL));
        assert_eq!(
            text("tcp(lo) 11.*.*.*\ntcp1(lo) *.*.*.*").unwrap(),
            ["127.0.0.1@tcp1"]
        );
    }
}
