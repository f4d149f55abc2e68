// SPDX-License-Identifier: GPL-2.0

//! The options of a target's mount, as mount.lustre gives them (`mgs-config.md` 5).

use crate::text::{Text, Why};
use core::fmt::{self, Write};
use kapi::prelude::*;
use wire::disk::mountdata::LddFlags;
use wire::nid::Nid;

/// The longest name of a file system.
const FSNAME_MAX: usize = 8;
/// Indices above this are not to be had.
const INDEX_MAX: u32 = 0xffdf;

/// Options of ext4 that describe what a target's device is mounted with anyway. Some of them are
/// in the mountdata of targets that other servers made.
const GRANTED: &[&str] = &[
    "acl",
    "barrier",
    "errors=remount-ro",
    "extents",
    "iopen_nopriv",
    "mballoc",
    "no_mbcache",
    "nodelalloc",
    "user_xattr",
];

/// What a target is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A metadata target with its index; it may have an MGS on the same device.
    Mdt(u32),
    /// An object storage target with its index.
    Ost(u32),
    /// A management target alone.
    Mgs,
}

/// The options of a mount.
pub struct Options {
    /// "lustre-OST0000", "MGS".
    pub svname: Text,
    /// What the name says.
    pub role: Role,
    /// The block device.
    pub device: Text,
    /// The device has an MGS.
    pub mgs: bool,
    /// That MGS is not to be started.
    pub nomgs: bool,
    /// Nothing but the MGS is to be started.
    pub nosvc: bool,
    /// The nodes where the MGS may be, each with its NIDs.
    pub mgs_nodes: KVec<KVec<Nid>>,
    /// Parameters that the target registers with: "sys.timeout=20".
    pub params: KVec<Text>,
    /// `VIRGIN`, `UPDATE`, `WRITECONF`, `NO_PRIMNODE`, `NO_LOCAL_LOGS` as given.
    pub flags: LddFlags,
    /// Clients of before shall not be waited for.
    pub abort_recovery: bool,
    /// No new objects are to be made on this OST.
    pub no_create: bool,
    /// Options that change nothing here, for `/proc/mounts`.
    pub plain: KVec<&'static str>,
}

/// Options that are known and change nothing in this server: there is no imperative recovery, no
/// scrub and no LFSCK that could be left out.
const PLAIN: &[&str] = &["noir", "noscrub", "skip_lfsck", "localrecov"];

/// Splits the name of a service: file system, type, index.
///
/// # Errors
/// `EINVAL`: not of that form.
pub fn parse_svname(name: &str) -> Result<(&str, Role)> {
    if name == "MGS" || name == "MGT" {
        return Ok(("", Role::Mgs));
    }
    let at = name.len().checked_sub(8).ok_or(EINVAL)?;
    let fsname = name.get(..at).ok_or(EINVAL)?;
    let rest = name.get(at..).ok_or(EINVAL)?;
    let valid = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    if fsname.is_empty() || fsname.len() > FSNAME_MAX || !fsname.bytes().all(valid) {
        return Err(EINVAL);
    }
    let rest = rest.strip_prefix('-').ok_or(EINVAL)?;
    let hex = rest.get(3..).ok_or(EINVAL)?;
    if !hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(EINVAL);
    }
    let index = u32::from_str_radix(hex, 16).map_err(|_| EINVAL)?;
    if index > INDEX_MAX {
        return Err(EINVAL);
    }
    match rest.get(..3) {
        Some("MDT") => Ok((fsname, Role::Mdt(index))),
        Some("OST") => Ok((fsname, Role::Ost(index))),
        _ => Err(EINVAL),
    }
}

/// The NIDs of MGS nodes: commas between those of a node, colons between nodes.
fn add_mgs_nodes(nodes: &mut KVec<KVec<Nid>>, text: &str) -> Result {
    for node in text.split(':').filter(|n| !n.is_empty()) {
        let mut nids = KVec::new();
        for nid in node.split(',').filter(|n| !n.is_empty()) {
            let nid = Nid::parse(nid).map_err(|_| EINVAL)?;
            nids.push(nid, GFP_KERNEL)?;
        }
        nodes.push(nids, GFP_KERNEL)?;
    }
    Ok(())
}

/// What the last word was, to which the next may belong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    /// A list of NIDs of the MGS.
    Nids,
    /// A parameter, whose value may have commas in it.
    Param,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// `EINVAL`: an option that is not known, or has a bad value, or one that is needed is
    /// missing. `EOPNOTSUPP`: known, but not here. `ENOMEM`.
    pub fn parse(text: &str, why: &mut Why) -> Result<Options> {
        let mut o = Options {
            svname: Text::new(),
            role: Role::Mgs,
            device: Text::new(),
            mgs: false,
            nomgs: false,
            nosvc: false,
            mgs_nodes: KVec::new(),
            params: KVec::new(),
            flags: LddFlags::from_bits_retain(0),
            abort_recovery: false,
            no_create: false,
            plain: KVec::new(),
        };
        let mut open = Open::Nothing;
        for word in text.split(',').filter(|w| !w.is_empty()) {
            open = o.word(word, open, why)?;
        }
        if o.svname.is_empty() {
            return why.fail(
                EINVAL,
                format_args!("no svname: mount targets with 'mount -t lustre'"),
            );
        }
        if o.device.is_empty() {
            return why.fail(EINVAL, format_args!("no device"));
        }
        let Ok((_, role)) = parse_svname(o.svname.as_str()) else {
            let name = &o.svname;
            return why.fail(
                EINVAL,
                format_args!("'{name}' is no name of a target, such as lustre-OST0000"),
            );
        };
        o.role = role;
        if role == Role::Mgs && !o.mgs {
            return why.fail(EINVAL, format_args!("an MGS without the option mgs"));
        }
        if role != Role::Mgs && !o.mgs && o.mgs_nodes.is_empty() {
            return why.fail(
                EINVAL,
                format_args!("where is the MGS? Set it with 'tunefs.lustre --mgsnode=NID'"),
            );
        }
        Ok(o)
    }

    fn word(&mut self, word: &str, open: Open, why: &mut Why) -> Result<Open> {
        let (key, value) = match word.split_once('=') {
            Some((k, v)) => (k, Some(v)),
            None => (word, None),
        };
        let bad = |why: &mut Why| -> Result<Open> {
            why.fail(
                EINVAL,
                format_args!("the mount option '{word}' has a bad value"),
            )
        };
        match (key, value) {
            ("svname", Some(v)) => self.svname = Text::copy(v)?,
            ("device", Some(v)) => self.device = Text::copy(v)?,
            ("osd", Some("osd-ldiskfs")) => {}
            ("osd", _) => {
                return why.fail(
                    EOPNOTSUPP,
                    format_args!("'{word}': only osd-ldiskfs is known here"),
                )
            }
            ("mgsnode", Some(v)) => {
                if add_mgs_nodes(&mut self.mgs_nodes, v).is_err() {
                    return bad(why);
                }
                return Ok(Open::Nids);
            }
            ("param", Some(v)) => {
                self.params.push(Text::copy(v)?, GFP_KERNEL)?;
                return Ok(Open::Param);
            }
            ("mgsname", Some(_)) | ("mgssec", Some("null")) => {}
            ("recovery_time_soft" | "recovery_time_hard", Some(v)) => {
                if v.parse::<u32>().is_err() {
                    return bad(why);
                }
            }
            ("mgs", None) => self.mgs = true,
            ("nomgs", None) => self.nomgs = true,
            ("nosvc", None) => self.nosvc = true,
            ("virgin", None) => self.flags.insert(LddFlags::VIRGIN),
            ("update", None) => self.flags.insert(LddFlags::UPDATE),
            ("writeconf", None) => self.flags.insert(LddFlags::WRITECONF),
            ("noprimnode", None) => self.flags.insert(LddFlags::NO_PRIMNODE),
            ("nolocallogs", None) => self.flags.insert(LddFlags::NO_LOCAL_LOGS),
            ("abort_recov" | "abort_recovery" | "abort_recov_mdt" | "abort_recovery_mdt", None) => {
                self.abort_recovery = true;
            }
            ("no_create" | "no_precreate", None) => self.no_create = true,
            ("rdonly_dev" | "network" | "exclude" | "noclient" | "mgssec", _) => {
                return why.fail(
                    EOPNOTSUPP,
                    format_args!("the mount option '{word}' is not offered by this server"),
                )
            }
            _ => return self.other(word, open, why),
        }
        Ok(Open::Nothing)
    }

    /// A word that is no option of ours: it goes on what came before, or is ext4's.
    fn other(&mut self, word: &str, open: Open, why: &mut Why) -> Result<Open> {
        if let Some(p) = PLAIN.iter().find(|p| **p == word) {
            self.plain.push(p, GFP_KERNEL)?;
            return Ok(Open::Nothing);
        }
        if GRANTED.contains(&word) {
            return Ok(Open::Nothing);
        }
        if open == Open::Nids {
            // "10.0.0.1@tcp,10.0.0.1@tcp1:10.0.0.2@tcp": the first goes on the last node.
            let (first, rest) = word.split_once(':').unwrap_or((word, ""));
            if let Ok(nid) = Nid::parse(first) {
                if let Some(node) = self.mgs_nodes.last_mut() {
                    node.push(nid, GFP_KERNEL)?;
                }
                if add_mgs_nodes(&mut self.mgs_nodes, rest).is_ok() {
                    return Ok(Open::Nids);
                }
            }
        }
        if open == Open::Param {
            if let Some(p) = self.params.last_mut() {
                write!(p, ",{word}").map_err(|_| ENOMEM)?;
                return Ok(Open::Param);
            }
        }
        why.fail(
            EINVAL,
            format_args!(
                "unknown mount option '{word}'; Documentation/mount.md has those there are"
            ),
        )
    }

    /// The file system that the target is part of; empty for an MGS alone.
    pub fn fsname(&self) -> &str {
        parse_svname(self.svname.as_str()).map_or("", |(f, _)| f)
    }

    /// Whether an MGS is to be started.
    pub fn starts_mgs(&self) -> bool {
        self.mgs && !self.nomgs
    }

    /// Whether an MDT or OST is to be started.
    pub fn starts_service(&self) -> bool {
        self.role != Role::Mgs && !self.nosvc
    }

    /// Prints them for `/proc/mounts`, each with a comma in front (`admin.md` 6.2).
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn show(&self, out: &mut dyn fmt::Write) -> Result {
        let print = |out: &mut dyn fmt::Write| -> fmt::Result {
            write!(out, ",svname={}", self.svname)?;
            for (set, word) in [
                (self.abort_recovery, "abort_recov"),
                (self.nosvc, "nosvc"),
                (self.nomgs, "nomgs"),
                (self.mgs, "mgs"),
            ] {
                if set {
                    write!(out, ",{word}")?;
                }
            }
            for word in self.plain.iter() {
                write!(out, ",{word}")?;
            }
            for node in self.mgs_nodes.iter() {
                for (i, nid) in node.iter().enumerate() {
                    write!(out, "{}{nid}", if i == 0 { ",mgsnode=" } else { ":" })?;
                }
            }
            write!(out, ",osd=osd-ldiskfs")
        };
        print(out).map_err(|_| ENOMEM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Options, (Error, String)> {
        let mut why = Why::new();
        Options::parse(text, &mut why).map_err(|e| (e, why.as_str().to_string()))
    }

    const OST: &str = "errors=remount-ro,osd=osd-ldiskfs,mgsnode=192.168.1.1@tcp,virgin,update,\
                       param=sys.timeout=20,svname=lustre-OST0000,device=/dev/sdb";

    #[test]
    fn first_mount_of_an_ost() {
        let o = parse(OST).unwrap();
        assert_eq!((o.role, o.fsname()), (Role::Ost(0), "lustre"));
        assert_eq!(o.flags, LddFlags::VIRGIN | LddFlags::UPDATE);
        assert_eq!(o.mgs_nodes.len(), 1);
        assert_eq!(o.params[0].as_str(), "sys.timeout=20");
        assert!(o.starts_service() && !o.starts_mgs());
        let mut shown = String::new();
        o.show(&mut shown).unwrap();
        assert_eq!(
            shown,
            ",svname=lustre-OST0000,mgsnode=192.168.1.1@tcp,osd=osd-ldiskfs"
        );
    }

    #[test]
    fn lists_with_commas() {
        let o = parse(
            "mgsnode=10.0.0.1@tcp,10.1.0.1@tcp1:10.0.0.2@tcp,10.1.0.2@tcp1,mgsnode=10.0.0.3@tcp,\
             param=failover.node=10.0.0.8@tcp,10.1.0.8@tcp1:10.0.0.9@tcp,acl,\
             svname=a-MDT0010,device=/dev/x,nosvc",
        )
        .unwrap();
        let nodes: Vec<usize> = o.mgs_nodes.iter().map(|n| n.len()).collect();
        assert_eq!(nodes, [2, 2, 1]);
        assert_eq!(o.params.len(), 1);
        assert_eq!(
            o.params[0].as_str(),
            "failover.node=10.0.0.8@tcp,10.1.0.8@tcp1:10.0.0.9@tcp"
        );
        assert_eq!(o.role, Role::Mdt(16));
        assert!(!o.starts_service());
    }

    #[test]
    fn refusals() {
        let err = |t: &str| parse(t).err().unwrap();
        let (e, text) = err(&format!("{OST},fast"));
        assert_eq!(e, EINVAL);
        assert!(text.contains("unknown mount option 'fast'"), "{text}");
        let (e, text) = err(&format!("{OST},noclient"));
        assert_eq!(e, EOPNOTSUPP);
        assert!(text.contains("'noclient' is not offered"), "{text}");
        assert_eq!(err("mgs").0, EINVAL);
        assert_eq!(err("svname=MGS,mgs").0, EINVAL);
        assert!(err("svname=l-OST0000,device=/dev/x")
            .1
            .contains("--mgsnode"));
        assert!(err("mgsnode=nowhere,svname=l-OST0000,device=/dev/x")
            .1
            .contains("mgsnode"));
        assert_eq!(err("osd=osd-zfs,svname=MGS,device=x,mgs").0, EOPNOTSUPP);
        for name in [
            "lustre",
            "-OST0000",
            "l-OST00g0",
            "l-OST000",
            "l-OSTffff",
            "l-XXX0001",
        ] {
            assert!(parse_svname(name).is_err(), "{name}");
        }
        assert_eq!(
            parse_svname("a-b-MDT00ff").unwrap(),
            ("a-b", Role::Mdt(255))
        );
        assert!(parse("mgs,svname=MGS,device=/dev/x").unwrap().starts_mgs());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z=,:@.0-9ä-]{0,80}") {
            let _ = parse(&text);
            let _ = parse_svname(&text);
        }
    }
}
