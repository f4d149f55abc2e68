// SPDX-License-Identifier: GPL-2.0

//! Parameters that logs set: those of a target's own log, and those of `params`, which are set as
//! `lctl set_param` does (`mgs-config.md` 15, `admin.md` 5.1, 5.5).

use crate::text::Text;
use core::fmt::Write;
use kapi::params;
use kapi::prelude::*;
use mgc::{Config, Follower, Param};

/// The path that a dotted name stands for: dots become slashes, but not those of a NID.
fn to_path(name: &str) -> Result<Text> {
    let nid = name.find('@').map(|at| {
        let before = name.get(..at).unwrap_or_default();
        let exports = before.rfind(".exports.").map(|i| i + ".exports.".len());
        let start = exports.or_else(|| before.find("MGC")).unwrap_or(0);
        let behind = name.get(at..).and_then(|n| n.find('.'));
        start..behind.map_or(name.len(), |i| at + i)
    });
    let mut path = Text::new();
    for (i, c) in name.char_indices() {
        let dot = c == '.' && !nid.as_ref().is_some_and(|r| r.contains(&i));
        path.write_char(if dot { '/' } else { c })
            .map_err(|_| ENOMEM)?;
    }
    Ok(path)
}

/// Whether a part of a path is what a pattern means: `*` is any text, `?` any character.
fn part_matches(pattern: &[u8], part: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the latest `*` is, and where what it stands for ends.
    let mut star: Option<(usize, usize)> = None;
    while t < part.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || Some(c) == part.get(t) => {
                p += 1;
                t += 1;
            }
            _ => {
                // It stands for one more.
                let Some((at, end)) = star else { return false };
                star = Some((at, end + 1));
                (p, t) = (at + 1, end + 1);
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == b'*')
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(p), Some(t)) if part_matches(p.as_bytes(), t.as_bytes()) => {}
            _ => return false,
        }
    }
}

/// Sets what the path `pattern` means, below `dir` alone if that is not empty. Returns how many
/// there are. What does not take the value is told to the administrator.
fn set(pattern: &str, value: &str, dir: &str) -> Result<usize> {
    let inside = |path: &str| {
        let rest = path.strip_prefix(dir);
        dir.is_empty() || rest.is_some_and(|r| r.starts_with('/'))
    };
    let found = params::find(&|path| inside(path) && matches(pattern, path))?;
    for p in found.iter().filter(|p| p.writable()) {
        if let Err(e) = p.store(value) {
            pr_warn!("parameter {}={}: {:?}\n", pattern, value, e);
        }
    }
    Ok(found.len())
}

/// "path=value"
fn parts(setting: &Text) -> Option<(&str, &str)> {
    setting.as_str().split_once('=')
}

/// Settings of a log.
#[derive(Default)]
struct Settings {
    /// What the log says.
    wanted: KVec<Text>,
    /// What it said when it was followed last.
    set: KVec<Text>,
}

impl Settings {
    /// Sets what is new. `missing` is told of what is not there.
    fn apply(&mut self, missing: impl Fn(&str)) -> Result {
        // A new value stands in the place of the old one, not behind it.
        let mut now = KVec::new();
        for s in self.wanted.iter() {
            now.push(Text::copy(s.as_str())?, GFP_KERNEL)?;
            if self.set.iter().any(|old| old.as_str() == s.as_str()) {
                continue;
            }
            if let Some((path, value)) = parts(s) {
                if set(path, value, "")? == 0 {
                    missing(path);
                }
            }
        }
        self.set = now;
        Ok(())
    }
}

/// The parameters of `params`.
#[pin_data]
pub(crate) struct Global {
    #[pin]
    settings: Mutex<Settings>,
}

impl Global {
    /// None yet.
    pub(crate) fn new() -> Result<Arc<Global>> {
        Arc::pin_init(
            pin_init!(Global {
                settings <- new_mutex!(Settings::default()),
            }),
            GFP_KERNEL,
        )
    }

    /// Sets those of a directory that is new.
    pub(crate) fn apply_below(&self, dir: &str) -> Result {
        let settings = self.settings.lock();
        for (path, value) in settings.wanted.iter().filter_map(parts) {
            set(path, value, dir)?;
        }
        Ok(())
    }
}

impl Follower for Global {
    fn changed(&self, config: &Config) -> Result {
        let mut wanted = KVec::new();
        for p in config.params.iter().filter(|p| p.global) {
            let Ok(text) = core::str::from_utf8(&p.text) else {
                continue;
            };
            if let Some((name, value)) = text.split_once('=') {
                let path = to_path(name)?;
                wanted.push(Text::format(format_args!("{path}={value}"))?, GFP_KERNEL)?;
            }
        }
        let mut settings = self.settings.lock();
        settings.wanted = wanted;
        // Most are for clients.
        settings.apply(|_| {})
    }
}

/// Where a parameter of a log is, if it is one of a target: "ost.degraded" of "lustre-OST0000" is
/// "obdfilter/lustre-OST0000/degraded".
fn own_path(device: &str, name: &str) -> Result<Option<Text>> {
    let Some((kind, rest)) = name.split_once('.') else {
        return Ok(None);
    };
    let rest = to_path(rest)?;
    let path = match kind {
        "mdt" | "mdd" => Text::format(format_args!("{kind}/{device}/{rest}")),
        "lod" | "lov" => {
            let device = device.strip_suffix("-mdtlov").unwrap_or(device);
            Text::format(format_args!("lod/{device}-mdtlov/{rest}"))
        }
        "ost" | "obdfilter" => Text::format(format_args!("obdfilter/{device}/{rest}")),
        "osd" => Text::format(format_args!("osd-ldiskfs/{device}/{rest}")),
        "osc" => Text::format(format_args!("osp/{device}/{rest}")),
        // Those of the node.
        "sys" => Ok(rest),
        _ => return Ok(None),
    };
    path.map(Some)
}

/// The parameters of a target's own log.
#[derive(Default)]
pub(crate) struct Own(Settings);

impl Own {
    /// This is what the log says now.
    pub(crate) fn take(&mut self, params: &[Param]) -> Result {
        let mut wanted = KVec::new();
        for p in params {
            let text = core::str::from_utf8(&p.text);
            let (Ok(device), Ok(text)) = (core::str::from_utf8(&p.device), text) else {
                continue;
            };
            let Some((name, value)) = text.split_once('=') else {
                continue;
            };
            match own_path(device, name)? {
                Some(path) => {
                    wanted.push(Text::format(format_args!("{path}={value}"))?, GFP_KERNEL)?;
                }
                None => pr_info!("{}: parameter {} is not followed\n", device, name),
            }
        }
        self.0.wanted = wanted;
        Ok(())
    }

    /// Sets what is new. The target is there.
    pub(crate) fn apply(&mut self) -> Result {
        self.0
            .apply(|path| pr_warn!("there is no parameter {}\n", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::tune_number;
    use kapi::params::ParamDir;
    use kapi::sync::atomic::{Atomic, Relaxed};

    #[test]
    fn patterns() {
        for (pattern, path, want) in [
            ("timeout", "timeout", true),
            ("timeout", "a/timeout", false),
            ("obdfilter/*/degraded", "obdfilter/l-OST0000/degraded", true),
            (
                "obdfilter/*/degraded",
                "obdfilter/l-OST0000/x/degraded",
                false,
            ),
            (
                "obdfilter/l-*1/degraded",
                "obdfilter/l-OST0000/degraded",
                false,
            ),
            ("obdfilter/*-*0*/d*d", "obdfilter/l-OST0000/degraded", true),
            ("osd-*/*/a?c", "osd-ldiskfs/x/abc", true),
            ("osd-*/*/a?c", "osd-ldiskfs/x/ac", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, path), want, "{pattern} {path}");
        }
        let path = |n| to_path(n).unwrap().as_str().to_owned();
        assert_eq!(path("mdt.*.uuid"), "mdt/*/uuid");
        assert_eq!(
            path("mdt.l-MDT0000.exports.10.0.0.1@tcp.uuid"),
            "mdt/l-MDT0000/exports/10.0.0.1@tcp/uuid"
        );
    }

    fn config(params: &[(&str, &str, bool)]) -> Config {
        let mut c = Config::default();
        for (device, text, global) in params {
            let bytes = |s: &str| Text::copy(s).unwrap().to_bytes().unwrap();
            let p = Param {
                device: bytes(device),
                text: bytes(text),
                global: *global,
            };
            c.params.push(p, GFP_KERNEL).unwrap();
        }
        c
    }

    struct Value {
        value: Arc<Atomic<u64>>,
        _dir: ParamDir,
    }

    fn value(dir: &str, name: &str) -> Value {
        let v = Arc::new(Atomic::<u64>::new(0), GFP_KERNEL).unwrap();
        let d = ParamDir::new(format_args!("{dir}")).unwrap();
        let (get, put) = (v.clone(), v.clone());
        tune_number(
            &d,
            name,
            move || get.load(Relaxed),
            move |n| {
                put.store(n, Relaxed);
                Ok(())
            },
        )
        .unwrap();
        Value { value: v, _dir: d }
    }

    impl Value {
        fn get(&self) -> u64 {
            self.value.load(Relaxed)
        }
    }

    #[test]
    fn global_ones() {
        let a = value("testg/s-OST0000", "x");
        let b = value("testg/s-OST0001", "x");
        let g = Global::new().unwrap();
        let all = ("general", "testg.*.x=5", true);
        let one = ("s", "testg.s-OST0001.x=6", true);
        let other = ("s", "osc.*.max_dirty_mb=9", true);
        g.changed(&config(&[all, one, other])).unwrap();
        assert_eq!((a.get(), b.get()), (5, 6));
        // Set by hand since, and nothing new in the log.
        a.value.store(7, Relaxed);
        g.changed(&config(&[all, one, ("s", "testg.none=1", true)]))
            .unwrap();
        assert_eq!((a.get(), b.get()), (7, 6));
        g.changed(&config(&[("general", "testg.*.x=8", true), one]))
            .unwrap();
        assert_eq!((a.get(), b.get()), (8, 8));
        // A directory that comes later.
        let c = value("testg/s-OST0002", "x");
        let near = value("testg/s-OST00020", "x");
        g.apply_below("testg/s-OST0002").unwrap();
        assert_eq!((c.get(), near.get()), (8, 0));
    }

    #[test]
    fn own_ones() {
        let ost = value("obdfilter/own-OST0000", "x");
        let lod = value("lod/own-MDT0000-mdtlov", "x");
        let osp = value("osp/own-OST0000-osc-MDT0000", "x");
        let mut own = Own::default();
        own.take(
            &config(&[
                ("own-OST0000", "ost.x=1", false),
                ("own-MDT0000", "lod.x=2", false),
                ("own-MDT0000-mdtlov", "lov.x=3", false),
                ("own-OST0000-osc-MDT0000", "osc.x=4", false),
                ("own", "quota.mdt=u", false),
                ("own-MDT0000", "mdt.nothing=u", false),
            ])
            .params,
        )
        .unwrap();
        assert_eq!((ost.get(), lod.get(), osp.get()), (0, 0, 0));
        own.apply().unwrap();
        assert_eq!((ost.get(), lod.get(), osp.get()), (1, 3, 4));
    }
}
