// SPDX-License-Identifier: GPL-2.0

//! Root squash: the superuser of clients is somebody else here (`mdt.md` 19.2).

use core::fmt;
use kapi::prelude::*;
use wire::nid::{Net, Nid};

/// Whom it does not hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spared {
    /// One address.
    One(Nid),
    /// A network.
    All(Net),
}

/// Entries of the list at the most.
const SPARED_MAX: usize = 256;

/// Who the superuser of clients is.
#[derive(Default)]
pub(crate) struct Squash {
    uid: u32,
    gid: u32,
    spared: KVec<Spared>,
}

impl Squash {
    /// Nobody else.
    pub(crate) const fn off() -> Squash {
        Squash {
            uid: 0,
            gid: 0,
            spared: KVec::new(),
        }
    }

    /// Who the superuser at `nid` is: user and group; `None`: himself.
    pub(crate) fn root_is(&self, nid: &Nid) -> Option<(u32, u32)> {
        let spared = self.spared.iter().any(|s| match s {
            Spared::One(n) => n == nid,
            Spared::All(net) => *net == nid.net(),
        });
        (self.uid != 0 && !spared).then_some((self.uid, self.gid))
    }

    /// "uid:gid"; uid 0 turns it off.
    ///
    /// # Errors
    /// `EINVAL`
    pub(crate) fn set_ids(&mut self, text: &str) -> Result {
        let (uid, gid) = text.trim().split_once(':').ok_or(EINVAL)?;
        let uid = uid.parse().map_err(|_| EINVAL)?;
        self.gid = gid.parse().map_err(|_| EINVAL)?;
        self.uid = uid;
        Ok(())
    }

    /// NIDs, and "*@NET" for all of a network, separated by blanks or commas; "NONE" or "clear":
    /// none.
    ///
    /// # Errors
    /// `EINVAL`, `E2BIG`: too many, `ENOMEM`.
    pub(crate) fn set_spared(&mut self, text: &str) -> Result {
        let mut spared = KVec::new();
        let all = text.split(|c: char| c.is_ascii_whitespace() || c == ',');
        for one in all.filter(|s| !s.is_empty() && *s != "NONE" && *s != "clear") {
            if spared.len() == SPARED_MAX {
                return Err(E2BIG);
            }
            let entry = match one.strip_prefix("*@") {
                Some(net) => Spared::All(Net::parse(net).map_err(|_| EINVAL)?),
                None => Spared::One(Nid::parse(one).map_err(|_| EINVAL)?),
            };
            spared.push(entry, GFP_KERNEL)?;
        }
        self.spared = spared;
        Ok(())
    }

    /// As [`Squash::set_ids`] takes it.
    pub(crate) fn show_ids(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "{}:{}", self.uid, self.gid)
    }

    /// As [`Squash::set_spared`] takes it.
    pub(crate) fn show_spared(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (i, s) in self.spared.iter().enumerate() {
            let blank = if i > 0 { " " } else { "" };
            match s {
                Spared::One(n) => write!(out, "{blank}{n}")?,
                Spared::All(n) => write!(out, "{blank}*@{n}")?,
            }
        }
        writeln!(out, "{}", if self.spared.is_empty() { "NONE" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nid(s: &str) -> Nid {
        Nid::parse(s).unwrap()
    }

    #[test]
    fn who_is_spared() {
        let mut s = Squash::off();
        assert_eq!(s.root_is(&nid("10.0.0.1@tcp")), None);
        s.set_ids("99:100").unwrap();
        assert_eq!(s.root_is(&nid("10.0.0.1@tcp")), Some((99, 100)));
        s.set_spared("10.0.0.1@tcp *@tcp1").unwrap();
        assert_eq!(s.root_is(&nid("10.0.0.1@tcp")), None);
        assert_eq!(s.root_is(&nid("10.0.0.2@tcp")), Some((99, 100)));
        assert_eq!(s.root_is(&nid("10.0.0.2@tcp1")), None);
        let mut text = String::new();
        s.show_spared(&mut text).unwrap();
        assert_eq!(text, "10.0.0.1@tcp *@tcp1\n");
        s.set_spared("NONE").unwrap();
        assert_eq!(s.root_is(&nid("10.0.0.1@tcp")), Some((99, 100)));
        s.set_ids("0:0").unwrap();
        assert_eq!(s.root_is(&nid("10.0.0.1@tcp")), None);
    }

    #[test]
    fn nonsense() {
        let mut s = Squash::off();
        for t in ["", "1", "1:", ":1", "a:b", "-1:0", "1:2:3"] {
            assert_eq!(s.set_ids(t), Err(EINVAL), "{t}");
        }
        for t in ["*", "*@", "10.0.0", "x@y"] {
            assert_eq!(s.set_spared(t), Err(EINVAL), "{t}");
        }
    }
}
