// SPDX-License-Identifier: GPL-2.0

//! How full the targets are.

use std::fmt::Write;

/// A target's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// "MDT" or "OST".
    pub kind: String,
    /// Its index.
    pub index: u32,
    /// Its UUID.
    pub uuid: String,
    /// Its numbers, or the errno of asking for them.
    pub state: Result<Numbers, i32>,
}

/// How much there is and how much of it is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// All: KiB, or inodes.
    pub all: u64,
    /// Free.
    pub free: u64,
    /// Free for users.
    pub avail: u64,
}

/// Reads the lines that the file system gives; `inodes` instead of space.
pub fn parse(text: &str, inodes: bool) -> Option<Vec<Target>> {
    let mut out = Vec::new();
    for line in text.lines() {
        let w: Vec<&str> = line.split_whitespace().collect();
        let (kind, index, uuid, rest) = match w.as_slice() {
            [k, i, u, rest @ ..] => (*k, i.parse().ok()?, *u, rest),
            _ => return None,
        };
        let state = match rest {
            ["error", e] => Err(e.parse().ok()?),
            all => {
                let n: Vec<u64> = all.iter().map_while(|n| n.parse().ok()).collect();
                let [bsize, blocks, bfree, bavail, files, ffree] = *n.as_slice() else {
                    return None;
                };
                let kib = |n: u64| {
                    let n = u128::from(n) * u128::from(bsize) / 1024;
                    u64::try_from(n).unwrap_or(u64::MAX)
                };
                Ok(match inodes {
                    false => Numbers {
                        all: kib(blocks),
                        free: kib(bfree),
                        avail: kib(bavail),
                    },
                    true => Numbers {
                        all: files,
                        free: ffree,
                        avail: ffree,
                    },
                })
            }
        };
        out.push(Target {
            kind: kind.into(),
            index,
            uuid: uuid.into(),
            state,
        });
    }
    Some(out)
}

/// A number as it is, or with a unit: KiB if `unit` is K.
fn number(n: u64, human: bool, inodes: bool) -> String {
    if !human {
        return n.to_string();
    }
    let units: &[char] = match inodes {
        true => &[' ', 'k', 'M', 'G', 'T', 'P'],
        false => &['K', 'M', 'G', 'T', 'P', 'E'],
    };
    let base = if inodes { 1000.0 } else { 1024.0 };
    let mut v = n as f64;
    let mut unit = units.iter();
    let mut u = unit.next().copied().unwrap_or(' ');
    while v >= base {
        let Some(next) = unit.next() else { break };
        v /= base;
        u = *next;
    }
    match u {
        ' ' => format!("{v:.0}"),
        u => format!("{v:.1}{u}"),
    }
}

fn percent(n: &Numbers, inodes: bool) -> String {
    let used = n.all.saturating_sub(n.free);
    // Of what users can have, as df(1) counts.
    let of = match inodes {
        true => n.all,
        false => used.saturating_add(n.avail),
    };
    match of {
        0 => "-".into(),
        of => format!(
            "{}%",
            (u128::from(used) * 100).div_ceil(u128::from(of)).min(100)
        ),
    }
}

fn line(out: &mut String, name: &str, n: &Numbers, at: &str, human: bool, inodes: bool) {
    let f = |n| number(n, human, inodes);
    let used = n.all.saturating_sub(n.free);
    let p = percent(n, inodes);
    let (a, u, v) = (f(n.all), f(used), f(n.avail));
    // A String takes everything.
    let _ = writeln!(out, "{name:<20}  {a:>10}  {u:>10}  {v:>10} {p:>4}  {at} ");
}

/// The table that lfs df prints for a file system at `dir`.
pub fn table(all: &[Target], dir: &str, human: bool, inodes: bool) -> String {
    let mut out = String::new();
    let (a, u, v, p) = match (inodes, human) {
        (true, _) => ("Inodes", "IUsed", "IFree", "IUse%"),
        (false, true) => ("bytes", "Used", "Available", "Use%"),
        (false, false) => ("1K-blocks", "Used", "Available", "Use%"),
    };
    let _ = writeln!(
        out,
        "{:<20}  {a:>10}  {u:>10}  {v:>10} {p}  Mounted on",
        "UUID"
    );
    let mut sum = Numbers::default();
    let mut mdt = Numbers::default();
    for t in all {
        match &t.state {
            Ok(n) => {
                let at = format!("{dir}[{}:{}]", t.kind, t.index);
                line(&mut out, &t.uuid, n, &at, human, inodes);
                let to = if t.kind == "MDT" { &mut mdt } else { &mut sum };
                to.all = to.all.saturating_add(n.all);
                to.free = to.free.saturating_add(n.free);
                to.avail = to.avail.saturating_add(n.avail);
            }
            Err(e) => {
                let why = std::io::Error::from_raw_os_error(*e).to_string();
                let why = why.split(" (os error").next().unwrap_or("").to_string();
                let _ = writeln!(out, "{:<20}: {why}", t.uuid);
            }
        }
    }
    if inodes {
        // A file needs an inode, and an object at least.
        let used = mdt.all.saturating_sub(mdt.free);
        let free = mdt.free.min(sum.free);
        sum = Numbers {
            all: used.saturating_add(free),
            free,
            avail: free,
        };
    }
    out.push('\n');
    line(&mut out, "filesystem_summary:", &sum, dir, human, inodes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "MDT 0 lustre-MDT0000_UUID 4096 11644 11230 9760 25600 25325\n\
                        OST 0 lustre-OST0000_UUID 4096 18423 18075 16356 18432 18211\n\
                        OST 1 lustre-OST0001_UUID 4096 18423 18075 16356 18432 18211\n";

    /// What an existing lfs printed for these numbers.
    #[test]
    fn established_form() {
        let all = parse(TEXT, false).unwrap();
        let want = "\
UUID                   1K-blocks        Used   Available Use%  Mounted on
lustre-MDT0000_UUID        46576        1656       39040   5%  /mnt/lustre[MDT:0] 
lustre-OST0000_UUID        73692        1392       65424   3%  /mnt/lustre[OST:0] 
lustre-OST0001_UUID        73692        1392       65424   3%  /mnt/lustre[OST:1] 

filesystem_summary:       147384        2784      130848   3%  /mnt/lustre 
";
        assert_eq!(table(&all, "/mnt/lustre", false, false), want);
    }

    #[test]
    fn others() {
        let all = parse(TEXT, true).unwrap();
        let t = table(&all, "/m", false, true);
        assert!(
            t.contains("filesystem_summary:        25600         275       25325"),
            "{t}"
        );
        let all = parse("OST 3 x_UUID error 107\n", false).unwrap();
        let t = table(&all, "/m", true, false);
        assert!(
            t.contains("x_UUID              : Transport endpoint is not connected"),
            "{t}"
        );
        assert!(t.contains("  -  /m"), "{t}");
        assert_eq!(parse("OST 3 x", false), None);
        assert_eq!(parse("nonsense", false), None);
        assert_eq!(number(73692, true, false), "72.0M");
        assert_eq!(number(999, true, true), "999");
    }
}
