// SPDX-License-Identifier: GPL-2.0

//! NIDs: the addresses of LNet (spec `lnet.md` §1).

use core::fmt;
use core::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// LND type of TCP.
pub const SOCKLND: u8 = 2;
/// LND type of the loopback.
pub const LOLND: u8 = 9;
/// LND types that have names, with their names.
const LNDS: [(u8, &str); 8] = [
    (SOCKLND, "tcp"),
    (5, "o2ib"),
    (LOLND, "lo"),
    (13, "gni"),
    (14, "gip"),
    (16, "kfi"),
    (18, "efa"),
    (19, "bxi3f"),
];

/// A network: an LND type and a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Net {
    /// LND type.
    pub lnd: u8,
    /// Number.
    pub num: u16,
}

/// Text that is no NID or no network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError;

impl Net {
    /// `tcp`
    pub const TCP: Net = Net {
        lnd: SOCKLND,
        num: 0,
    };
    /// `lo`
    pub const LO: Net = Net { lnd: LOLND, num: 0 };

    /// Reads "tcp", "tcp1", "o2ib0".
    ///
    /// # Errors
    /// [`ParseError`]
    pub fn parse(text: &str) -> Result<Net, ParseError> {
        let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
        // "o2ib" has a digit inside; only the ones at the end are the number.
        let (name, number) = text.split_at(text.len() - digits);
        let lnd = LNDS.iter().find(|(_, n)| *n == name).ok_or(ParseError)?.0;
        let num = match number {
            "" => 0,
            _ if lnd == LOLND => return Err(ParseError),
            n => n.parse().map_err(|_| ParseError)?,
        };
        Ok(Net { lnd, num })
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match LNDS.iter().find(|(l, _)| *l == self.lnd) {
            Some((_, name)) => f.write_str(name)?,
            None => return write!(f, "<{}:{}>", self.lnd, self.num),
        }
        if self.num != 0 {
            write!(f, "{}", self.num)?;
        }
        Ok(())
    }
}

/// A NID in its large form, 20 bytes; its order is the order of the bytes, as the protocol's
/// comparisons have it.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Nid {
    size: u8,
    lnd: u8,
    num: [u8; 2],
    addr: [u8; 16],
}

impl Nid {
    /// The wildcard.
    pub const ANY: Nid = Nid {
        size: 0xff,
        lnd: 0xff,
        num: [0xff; 2],
        addr: [0xff; 16],
    };
    /// `0@lo`
    pub const LO: Nid = Nid::v4(Net::LO, Ipv4Addr::UNSPECIFIED);

    /// From a network and an IPv4 address (or any number of 32 bits).
    pub const fn v4(net: Net, addr: Ipv4Addr) -> Nid {
        let a = addr.octets();
        Nid {
            size: 0,
            lnd: net.lnd,
            num: net.num.to_be_bytes(),
            addr: [a[0], a[1], a[2], a[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    /// From the 8-byte form.
    pub fn from_nid4(nid4: u64) -> Nid {
        if nid4 == u64::MAX {
            return Nid::ANY;
        }
        let mut n = Nid::v4(
            Net {
                lnd: (nid4 >> 48) as u8,
                num: (nid4 >> 32) as u16,
            },
            Ipv4Addr::from(nid4 as u32),
        );
        n.size = 0;
        n
    }

    /// The 8-byte form, if there is one.
    pub fn to_nid4(self) -> Option<u64> {
        if self.is_any() {
            return Some(u64::MAX);
        }
        if self.size != 0 {
            return None;
        }
        let [a, b, c, d, ..] = self.addr;
        Some(
            (u64::from(self.lnd) << 48)
                | (u64::from(u16::from_be_bytes(self.num)) << 32)
                | u64::from(u32::from_be_bytes([a, b, c, d])),
        )
    }

    /// Whether it is the wildcard.
    pub fn is_any(&self) -> bool {
        self.lnd == 0xff
    }

    /// Whether it is `0@lo`.
    pub fn is_lo(&self) -> bool {
        self.lnd == LOLND
    }

    /// Its network.
    pub fn net(&self) -> Net {
        Net {
            lnd: self.lnd,
            num: u16::from_be_bytes(self.num),
        }
    }

    /// Its IPv4 address, if it has one.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        let [a, b, c, d, ..] = self.addr;
        (self.size == 0).then(|| Ipv4Addr::new(a, b, c, d))
    }

    /// Reads "10.0.0.1@tcp", "10.0.0.1" (on tcp), "0@lo".
    ///
    /// # Errors
    /// [`ParseError`]: no NID of IPv4 form.
    pub fn parse(text: &str) -> Result<Nid, ParseError> {
        let (addr, net) = match text.split_once('@') {
            Some((a, n)) => (a, Net::parse(n)?),
            None => (text, Net::TCP),
        };
        if net.lnd == LOLND {
            return if addr == "0" {
                Ok(Nid::LO)
            } else {
                Err(ParseError)
            };
        }
        let addr: Ipv4Addr = addr.parse().map_err(|_| ParseError)?;
        Ok(Nid::v4(net, addr))
    }
}

impl fmt::Display for Nid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return f.write_str("<?>");
        }
        match (self.lnd, self.ipv4()) {
            (LOLND, Some(a)) => write!(f, "{}@{}", u32::from(a), self.net()),
            (_, Some(a)) => write!(f, "{a}@{}", self.net()),
            (_, None) => {
                let a = core::net::Ipv6Addr::from(self.addr);
                write!(f, "{a}@{}", self.net())
            }
        }
    }
}

impl fmt::Debug for Nid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const _: () = assert!(size_of::<Nid>() == 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let n = Nid::parse("192.168.1.10@tcp").unwrap();
        assert_eq!(n.to_nid4(), Some(0x0002_0000_C0A8_010A));
        assert_eq!(Nid::from_nid4(0x0002_0000_C0A8_010A), n);
        assert_eq!(n.to_string(), "192.168.1.10@tcp");
        assert_eq!(Nid::parse("192.168.1.10"), Ok(n));
        assert_eq!(Nid::parse("192.168.1.10@tcp0"), Ok(n));
        assert_eq!(Nid::LO.to_nid4(), Some(0x0009_0000_0000_0000));
        assert_eq!(Nid::LO.to_string(), "0@lo");
        assert_eq!(Nid::ANY.to_nid4(), Some(u64::MAX));
        assert_eq!(Nid::from_nid4(u64::MAX), Nid::ANY);
        assert_eq!(
            Nid::parse("10.0.0.1@o2ib3").unwrap().to_string(),
            "10.0.0.1@o2ib3"
        );
        for bad in [
            "",
            "@tcp",
            "10.0.0@tcp",
            "10.0.0.1@",
            "1@lo",
            "0@lo1",
            "10.0.0.1@tcp99999",
        ] {
            assert_eq!(Nid::parse(bad), Err(ParseError), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nid4_round_trip(addr: u32, num: u16) {
            let n = Nid::v4(Net { lnd: SOCKLND, num }, Ipv4Addr::from(addr));
            proptest::prop_assert_eq!(Nid::from_nid4(n.to_nid4().unwrap()), n);
            proptest::prop_assert_eq!(Nid::parse(&n.to_string()), Ok(n));
        }

        #[test]
        fn any_bytes_print(bytes: [u8; 20]) {
            let n = Nid::read_from_bytes(&bytes).unwrap();
            let _ = n.to_string();
            let _ = n.to_nid4();
        }
    }
}
