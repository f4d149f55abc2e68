// SPDX-License-Identifier: GPL-2.0

//! Targets: what `CONFIGS/mountdata` and the label of a device say (spec `mgs-config.md` §1-§3).

use crate::device::NewBox as _;
use crate::failure::fail;
use anyhow::Result;
use std::fmt::Write as _;
use wire::disk::mountdata::{mount_type, LddFlags, LustreDiskData, INDEX_UNASSIGNED, LDD_MAGIC};
use wire::nid::Nid;

/// Indices above this are refused by mkfs (`LOV_V1_INSANE_STRIPE_INDEX`).
pub const INDEX_MAX: u32 = 0xffdf;

/// A target as the tools see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Type and state.
    pub flags: LddFlags,
    /// The file system it is part of; empty for a bare MGS.
    pub fsname: String,
    /// Its index; `None`: not assigned.
    pub index: Option<u32>,
    /// Persistent mount options.
    pub mount_opts: String,
    /// ` key=value` words, each after a blank.
    pub params: String,
    /// A comment.
    pub comment: String,
}

impl Target {
    /// A new one with nothing set.
    pub fn new() -> Target {
        Target {
            flags: LddFlags::from_bits_retain(0),
            fsname: String::new(),
            index: None,
            mount_opts: String::new(),
            params: String::new(),
            comment: String::new(),
        }
    }

    /// Whether it has this flag.
    pub fn has(&self, f: LddFlags) -> bool {
        self.flags.contains(f)
    }

    /// "MDT0000", "OST0001", "MGS".
    fn suffix(&self) -> String {
        let index = self.index.unwrap_or(INDEX_UNASSIGNED);
        if self.has(LddFlags::SV_TYPE_MDT) {
            format!("MDT{index:04x}")
        } else if self.has(LddFlags::SV_TYPE_OST) {
            format!("OST{index:04x}")
        } else {
            "MGS".into()
        }
    }

    /// The name of the service: "lustre-OST0001", "MGS".
    pub fn svname(&self) -> String {
        self.name_with('-')
    }

    fn name_with(&self, separator: char) -> String {
        if self
            .flags
            .intersects(LddFlags::SV_TYPE_MDT | LddFlags::SV_TYPE_OST)
        {
            format!("{}{separator}{}", self.fsname, self.suffix())
        } else {
            self.suffix()
        }
    }

    /// The label of the device, whose separator tells the state.
    pub fn label(&self) -> String {
        let separator = if self.has(LddFlags::WRITECONF) {
            '='
        } else if self.has(LddFlags::VIRGIN) {
            ':'
        } else if self.has(LddFlags::NO_LOCAL_LOGS) {
            '+'
        } else {
            '-'
        };
        self.name_with(separator)
    }

    /// Takes the state from a label, which counts more than what mountdata says.
    pub fn apply_label(&mut self, label: &str) {
        let state = LddFlags::VIRGIN | LddFlags::WRITECONF | LddFlags::NO_LOCAL_LOGS;
        self.flags.remove(state);
        let Some(at) = label.len().checked_sub(8) else {
            return;
        };
        match label.as_bytes().get(at) {
            Some(b':') => self.flags.insert(LddFlags::VIRGIN),
            Some(b'=') => self.flags.insert(LddFlags::WRITECONF),
            Some(b'+') => self.flags.insert(LddFlags::NO_LOCAL_LOGS),
            _ => {}
        }
    }

    /// Values of all `key=` words.
    pub fn param(&self, key: &str) -> Vec<&str> {
        self.params
            .split_ascii_whitespace()
            .filter_map(|w| w.strip_prefix(key)?.strip_prefix('='))
            .collect()
    }

    /// Appends ` key=value`.
    pub fn add_param(&mut self, key: &str, value: &str) -> Result<()> {
        if value.contains(char::is_whitespace) || value.is_empty() {
            return Err(fail(
                libc::EINVAL,
                format!("bad value for {key}: '{value}'"),
            ));
        }
        let word = format!(" {key}={value}");
        if self.params.len() + word.len() >= 4096 {
            return Err(fail(libc::E2BIG, "too many parameters: 4095 bytes at most"));
        }
        self.params += &word;
        Ok(())
    }

    /// Removes all ` key=value` words; whether there were any.
    pub fn remove_param(&mut self, key: &str) -> bool {
        let before = self.params.len();
        let kept: Vec<&str> = self
            .params
            .split_ascii_whitespace()
            .filter(|w| w.split_once('=').map_or(*w, |(k, _)| k) != key)
            .collect();
        self.params = kept.iter().flat_map(|w| [" ", w]).collect();
        self.params.len() != before
    }

    /// As it is stored.
    pub fn to_disk(&self) -> Result<Box<LustreDiskData>> {
        let mut d = LustreDiskData::new_box();
        d.ldd_flags.set(self.flags.bits());
        d.ldd_config_ver.set(1);
        d.ldd_mount_type.set(mount_type::LDISKFS);
        d.ldd_svindex.set(self.index.unwrap_or(INDEX_UNASSIGNED));
        for (to, from) in [
            (&mut d.ldd_fsname[..], &self.fsname),
            (&mut d.ldd_svname[..], &self.label()),
            (&mut d.ldd_userdata[..], &self.comment),
            (&mut d.ldd_mount_opts[..], &self.mount_opts),
            (&mut d.ldd_params[..], &self.params),
        ] {
            // One byte stays for the terminator.
            if from.len() >= to.len() {
                return Err(fail(libc::E2BIG, format!("'{from}' is too long")));
            }
            to[..from.len()].copy_from_slice(from.as_bytes());
        }
        Ok(d)
    }

    /// From what is stored.
    pub fn from_disk(d: &LustreDiskData) -> Result<Target> {
        if d.ldd_magic.get() != LDD_MAGIC || d.ldd_feature_incompat.get() != 0 {
            return Err(fail(
                libc::EINVAL,
                "CONFIGS/mountdata is damaged: bad magic or features",
            ));
        }
        let text = |b: &[u8]| {
            let n = b.iter().position(|c| *c == 0).unwrap_or(b.len());
            String::from_utf8_lossy(&b[..n]).into_owned()
        };
        let index = d.ldd_svindex.get();
        Ok(Target {
            flags: LddFlags::from_bits_retain(d.ldd_flags.get()),
            fsname: text(&d.ldd_fsname),
            index: (index != INDEX_UNASSIGNED).then_some(index),
            mount_opts: text(&d.ldd_mount_opts),
            params: text(&d.ldd_params),
            comment: text(&d.ldd_userdata),
        })
    }

    /// The block that scripts parse (spec `admin.md` §6.1).
    pub fn describe(&self, heading: &str, device: &str) -> String {
        let mut words = String::new();
        for (flag, word) in [
            (LddFlags::SV_TYPE_MDT, "MDT"),
            (LddFlags::SV_TYPE_OST, "OST"),
            (LddFlags::SV_TYPE_MGS, "MGS"),
            (LddFlags::NEED_INDEX, "needs_index"),
            (LddFlags::VIRGIN, "first_time"),
            (LddFlags::UPDATE, "update"),
            (LddFlags::WRITECONF, "writeconf"),
            (LddFlags::NO_PRIMNODE, "no_primnode"),
            (LddFlags::NO_LOCAL_LOGS, "nolocallogs"),
        ] {
            if self.has(flag) {
                words += word;
                words.push(' ');
            }
        }
        let index = match self.index {
            Some(i) => i.to_string(),
            None => "unassigned".into(),
        };
        let mut out = format!("\n   {heading}:\n");
        let mut line = |k: &str, v: &str| {
            let _ = writeln!(out, "{:<12}{v}", format!("{k}:"));
        };
        line("Device", device);
        line("Target", &self.label());
        line("Index", &index);
        line("Lustre FS", &self.fsname);
        line("Mount type", "ldiskfs");
        line("Flags", &format!("{:#x}", self.flags.bits()));
        let _ = writeln!(out, "              ({words})");
        let _ = writeln!(out, "Persistent mount opts: {}", self.mount_opts);
        let _ = writeln!(out, "Parameters:{}", self.params);
        if !self.comment.is_empty() {
            let _ = writeln!(out, "Comment: {}", self.comment);
        }
        out.push('\n');
        out
    }
}

impl Default for Target {
    fn default() -> Self {
        Self::new()
    }
}

/// Checks the name of a file system.
pub fn check_fsname(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 8 {
        return Err(fail(
            libc::EINVAL,
            format!("bad file system name '{name}': it has 1 to 8 characters"),
        ));
    }
    if !name
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
    {
        return Err(fail(
            libc::EINVAL,
            format!("bad file system name '{name}': only letters, digits, '_' and '-'"),
        ));
    }
    Ok(())
}

/// Reads an index, decimal or 0x-hexadecimal.
pub fn parse_index(text: &str) -> Result<u32> {
    let n = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    match n {
        Some(n) if n <= INDEX_MAX => Ok(n),
        Some(_) => Err(fail(
            libc::ERANGE,
            format!("index {text} is too large: at most {INDEX_MAX:#x}"),
        )),
        None => Err(fail(
            libc::EINVAL,
            format!("bad index '{text}': a number, or 0x and hex digits"),
        )),
    }
}

/// Checks a list of NIDs of one node: `nid[,nid...]`.
pub fn check_nids(list: &str) -> Result<()> {
    for nid in list.split([',', ':']) {
        Nid::parse(nid).map_err(|_| {
            fail(
                libc::EINVAL,
                format!("bad NID '{nid}': an address, '@' and a network, such as 192.168.1.1@tcp"),
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ost() -> Target {
        let mut t = Target::new();
        t.flags = LddFlags::SV_TYPE_OST | LddFlags::VIRGIN | LddFlags::UPDATE;
        t.fsname = "lustre".into();
        t.index = Some(10);
        t
    }

    #[test]
    fn names_and_labels() {
        let mut t = ost();
        assert_eq!(t.svname(), "lustre-OST000a");
        assert_eq!(t.label(), "lustre:OST000a");
        t.apply_label("lustre-OST000a");
        assert!(!t.has(LddFlags::VIRGIN));
        t.apply_label("lustre=OST000a");
        assert_eq!(t.label(), "lustre=OST000a");
        let mut m = Target::new();
        m.flags = LddFlags::SV_TYPE_MGS | LddFlags::VIRGIN;
        assert_eq!(m.label(), "MGS");
    }

    #[test]
    fn disk_round_trip() -> Result<()> {
        let mut t = ost();
        t.add_param("mgsnode", "10.0.0.1@tcp")?;
        t.mount_opts = "errors=remount-ro".into();
        let back = Target::from_disk(&*t.to_disk()?)?;
        assert_eq!(back, t);
        assert_eq!(back.param("mgsnode"), ["10.0.0.1@tcp"]);
        Ok(())
    }

    #[test]
    fn params() -> Result<()> {
        let mut t = ost();
        t.add_param("a.b", "1")?;
        t.add_param("c", "2")?;
        assert!(t.remove_param("a.b"));
        assert!(!t.remove_param("a.b"));
        assert_eq!(t.params, " c=2");
        assert!(t.add_param("c", "a b").is_err());
        Ok(())
    }

    #[test]
    fn refusals() {
        assert!(check_fsname("ninechars").is_err());
        assert!(check_fsname("a/b").is_err());
        assert!(check_fsname("my-fs_1").is_ok());
        assert_eq!(parse_index("0x10").ok(), Some(16));
        assert!(parse_index("65535").is_err());
        assert!(parse_index("x").is_err());
        assert!(check_nids("10.0.0.1@tcp,10.0.0.2@tcp1").is_ok());
        assert!(check_nids("nowhere").is_err());
    }
}
