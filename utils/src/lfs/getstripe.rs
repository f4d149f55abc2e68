// SPDX-License-Identifier: GPL-2.0

//! Showing layouts, in the established form.

use std::fmt::Write;
use wire::lov::{Component, Composite, LcmeFlags, LovMd, LovPattern, Plain, LUSTRE_EOF};

/// One thing to show instead of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Only {
    /// Number of stripes.
    Count,
    /// Bytes of a stripe.
    Size,
    /// Index of the first OST.
    Index,
    /// The pool.
    Pool,
}

fn pattern(p: LovPattern) -> String {
    let names = [
        (LovPattern::RAID0, "raid0"),
        (LovPattern::MDT, "mdt"),
        (LovPattern::OVERSTRIPING, "overstriped"),
        (LovPattern::F_RELEASED, "released"),
    ];
    let all: Vec<&str> = names
        .iter()
        .filter(|(b, _)| p.contains(*b))
        .map(|(_, n)| *n)
        .collect();
    match all.is_empty() {
        true => format!("{:x}", p.bits()),
        false => all.join(","),
    }
}

/// -1 for "all", or "any".
fn signed(n: u16) -> String {
    match n {
        u16::MAX => "-1".into(),
        n => n.to_string(),
    }
}

fn pool(p: &Plain<'_>) -> Option<String> {
    p.pool_name()
        .map(|n| String::from_utf8_lossy(n).into_owned())
}

fn first_ost(p: &Plain<'_>) -> String {
    match p.stripes().first() {
        Some(o) => o.l_ost_idx.get().to_string(),
        // Of a layout without objects: where it is to begin.
        None => signed(p.md.lmm_layout_gen.get()),
    }
}

fn plain(out: &mut String, p: &Plain<'_>, indent: &str) {
    // A String takes everything.
    let _ = writeln!(
        out,
        "{indent}lmm_stripe_count:  {}\n\
         {indent}lmm_stripe_size:   {}\n\
         {indent}lmm_pattern:       {}\n\
         {indent}lmm_layout_gen:    {}\n\
         {indent}lmm_stripe_offset: {}",
        signed(p.md.lmm_stripe_count.get()),
        p.md.lmm_stripe_size.get(),
        pattern(p.pattern()),
        match p.stripes().is_empty() {
            true => 0,
            false => p.md.lmm_layout_gen.get(),
        },
        first_ost(p),
    );
    if let Some(n) = pool(p) {
        let _ = writeln!(out, "{indent}lmm_pool:          {n}");
    }
}

fn objects(out: &mut String, p: &Plain<'_>, indent: &str) {
    for (i, o) in p.stripes().iter().enumerate() {
        let fid = o.fid().unwrap_or_default();
        let index = o.l_ost_idx.get();
        let _ = writeln!(out, "{indent}- {i}: {{ l_ost_idx: {index}, l_fid: {fid} }}");
    }
}

fn flags(f: LcmeFlags) -> String {
    let names = [
        (LcmeFlags::INIT, "init"),
        (LcmeFlags::STALE, "stale"),
        (LcmeFlags::PREF_RD, "prefrd"),
        (LcmeFlags::PREF_WR, "prefwr"),
        (LcmeFlags::OFFLINE, "offline"),
        (LcmeFlags::NOSYNC, "nosync"),
        (LcmeFlags::EXTENSION, "extension"),
    ];
    let all: Vec<&str> = names
        .iter()
        .filter(|(b, _)| f.contains(*b))
        .map(|(_, n)| *n)
        .collect();
    match all.is_empty() {
        true => "0".into(),
        false => all.join(","),
    }
}

fn composite(out: &mut String, c: &Composite<'_>) -> Option<()> {
    let _ = writeln!(
        out,
        "  lcm_layout_gen:    {}\n  lcm_mirror_count:  {}\n  lcm_entry_count:   {}",
        c.md.lcm_layout_gen.get(),
        c.mirrors(),
        c.entries.len()
    );
    for e in c.entries {
        let end = match e.lcme_end.get() {
            LUSTRE_EOF => "EOF".to_string(),
            n => n.to_string(),
        };
        let _ = writeln!(
            out,
            "    lcme_id:             {}\n    lcme_mirror_id:      {}\n    \
             lcme_flags:          {}\n    lcme_extent.e_start: {}\n    \
             lcme_extent.e_end:   {end}",
            e.lcme_id.get(),
            e.mirror_id(),
            flags(e.flags()),
            e.lcme_start.get(),
        );
        if let Component::Plain(p) = c.blob(e).ok()? {
            plain(out, &p, "      ");
            if !p.stripes().is_empty() {
                out.push_str("      lmm_objects:\n");
                objects(out, &p, "      ");
            }
        }
        out.push('\n');
    }
    Some(())
}

/// The layout of a file or directory named `name`. `None`: the bytes are no layout.
pub fn show(name: &str, ea: &[u8], is_dir: bool) -> Option<String> {
    let mut out = format!("{name}\n");
    match LovMd::parse(ea).or_else(|_| LovMd::parse_user(ea)).ok()? {
        LovMd::Plain(p) if is_dir => {
            out.push_str(&one_line(&p));
        }
        LovMd::Plain(p) => {
            plain(&mut out, &p, "");
            if !p.stripes().is_empty() {
                out.push_str("\tobdidx\t\t objid\t\t objid\t\t group\n");
            }
            for o in p.stripes() {
                let fid = o.fid().ok()?;
                let _ = writeln!(
                    out,
                    "\t{:>6}\t{:>14}\t{:>13}\t{:>14}",
                    o.l_ost_idx.get(),
                    fid.oid,
                    format!("{:#x}", fid.oid),
                    format!("{:#x}", fid.seq)
                );
            }
            out.push('\n');
        }
        LovMd::Composite(c) => composite(&mut out, &c)?,
        LovMd::Foreign(..) => out.push_str("lfm_magic:         0x0BD70BD0\n"),
    }
    Some(out)
}

/// A default layout, in a line.
fn one_line(p: &Plain<'_>) -> String {
    let mut s = format!(
        "stripe_count:  {} stripe_size:   {} pattern:       {} stripe_offset: {}",
        signed(p.md.lmm_stripe_count.get()),
        p.md.lmm_stripe_size.get(),
        match p.md.lmm_pattern.get() {
            // The default of the default.
            0 => "raid0".to_string(),
            _ => pattern(p.pattern()),
        },
        signed(p.md.lmm_layout_gen.get()),
    );
    if let Some(n) = pool(p) {
        let _ = write!(s, " pool:          {n}");
    }
    s.push_str("\n\n");
    s
}

/// What is shown of a directory without a layout of its own.
pub fn show_default(name: &str) -> String {
    format!(
        "{name}\nstripe_count:  1 stripe_size:   4194304 pattern:       0 stripe_offset: -1\n\n"
    )
}

/// One value of a layout. `None`: the bytes are no layout.
pub fn value(ea: &[u8], only: Only) -> Option<String> {
    let one = |p: &Plain<'_>| match only {
        Only::Count => signed(p.md.lmm_stripe_count.get()),
        Only::Size => p.md.lmm_stripe_size.get().to_string(),
        Only::Index => first_ost(p),
        Only::Pool => pool(p).unwrap_or_default(),
    };
    match LovMd::parse(ea).or_else(|_| LovMd::parse_user(ea)).ok()? {
        LovMd::Plain(p) => Some(one(&p)),
        LovMd::Composite(c) => {
            // That of the last component in use.
            let e = c.entries.iter().rev();
            let mut init = e.filter(|e| e.flags().contains(LcmeFlags::INIT));
            match c.blob(init.next()?).ok()? {
                Component::Plain(p) => Some(one(&p)),
                _ => None,
            }
        }
        LovMd::Foreign(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::fid::Fid;
    use wire::lov::{LovOstData, PlainSpec};

    fn layout(count: u16, objects: &[LovOstData], gen: u16, pool: Option<&[u8]>) -> Vec<u8> {
        let spec = PlainSpec {
            pattern: LovPattern::RAID0,
            fid: Fid::new(0x2_0000_0401, 9),
            stripe_size: 1 << 20,
            stripe_count: count,
            layout_gen: gen,
            pool,
        };
        let mut ea = vec![0; spec.size(objects.len())];
        spec.write(objects, &mut ea).unwrap();
        ea
    }

    /// What an existing lfs printed for this layout.
    #[test]
    fn established_form() {
        let objects = [
            LovOstData::new(Fid::new(0x2_4000_0400, 3), 0),
            LovOstData::new(Fid::new(0x2_8000_0400, 3), 1),
        ];
        let want = "\
/mnt/lustre/d0/striped
lmm_stripe_count:  2
lmm_stripe_size:   1048576
lmm_pattern:       raid0
lmm_layout_gen:    0
lmm_stripe_offset: 0
\tobdidx\t\t objid\t\t objid\t\t group
\t     0\t             3\t          0x3\t   0x240000400
\t     1\t             3\t          0x3\t   0x280000400

";
        let ea = layout(2, &objects, 0, None);
        assert_eq!(show("/mnt/lustre/d0/striped", &ea, false).unwrap(), want);
        assert_eq!(value(&ea, Only::Count).unwrap(), "2");
        assert_eq!(value(&ea, Only::Index).unwrap(), "0");
        assert_eq!(value(&ea, Only::Pool).unwrap(), "");
    }

    #[test]
    fn defaults() {
        let ea = layout(0xffff, &[], 0xffff, Some(b"fast"));
        let text = show("d", &ea, true).unwrap();
        assert_eq!(
            text,
            "d\nstripe_count:  -1 stripe_size:   1048576 pattern:       raid0 \
             stripe_offset: -1 pool:          fast\n\n"
        );
        assert_eq!(value(&ea, Only::Count).unwrap(), "-1");
        assert_eq!(show("d", b"nonsense", false), None);
        assert_eq!(value(b"", Only::Size), None);
    }
}
