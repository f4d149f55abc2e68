// SPDX-License-Identifier: GPL-2.0

//! Parameters: from dotted names to files and back (spec `admin.md` §5.1, §5.2).

use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// Where parameters are.
const ROOTS: &[&str] = &[
    "/proc/fs/lustre",
    "/sys/fs/lustre",
    "/sys/kernel/debug/lnet",
    "/sys/kernel/debug/lustre",
];

/// A parameter that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The dotted name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// "obdfilter.lustre-OST0000.exports.10.0.0.1@tcp.uuid" as a path below a root: dots become
/// slashes, but not those of a NID.
pub fn to_path(name: &str) -> String {
    let nid = name.find('@').map(|at| {
        let start = name[..at]
            .rfind(".exports.")
            .map(|i| i + ".exports.".len())
            .or_else(|| name[..at].find("MGC"))
            .unwrap_or(0);
        let end = name[at..].find('.').map_or(name.len(), |i| at + i);
        start..end
    });
    name.char_indices()
        .map(|(i, c)| match c {
            '.' if !nid.as_ref().is_some_and(|r| r.contains(&i)) => '/',
            c => c,
        })
        .collect()
}

fn to_name(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    relative.display().to_string().replace('/', ".")
}

/// All parameters that `pattern` means, sorted.
pub fn find(pattern: &str, recursive: bool) -> Vec<Found> {
    find_below(ROOTS.iter().map(Path::new), pattern, recursive)
}

fn find_below<'a>(
    roots: impl Iterator<Item = &'a Path>,
    pattern: &str,
    recursive: bool,
) -> Vec<Found> {
    let mut out = Vec::new();
    for root in roots {
        let glob = format!("{}/{}", root.display(), to_path(pattern));
        let Ok(paths) = glob::glob(&glob) else {
            continue;
        };
        for path in paths.flatten() {
            add(root, path, recursive, &mut out);
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out.dedup_by(|a, b| a.name == b.name);
    out
}

fn add(root: &Path, path: PathBuf, recursive: bool, out: &mut Vec<Found>) {
    out.push(Found {
        name: to_name(root, &path),
        path: path.clone(),
    });
    if recursive && path.is_dir() && !path.is_symlink() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&path)
            .map(|d| d.flatten().map(|e| e.path()).collect())
            .unwrap_or_default();
        entries.sort();
        for e in entries {
            add(root, e, true, out);
        }
    }
}

/// The value as `get_param` prints it: several lines begin on a line of their own.
pub fn render(name: &str, value: &str, name_too: bool) -> String {
    let value = value.strip_suffix('\n').unwrap_or(value);
    match (name_too, value.contains('\n')) {
        (false, _) if value.is_empty() => String::new(),
        (false, _) => format!("{value}\n"),
        (true, false) => format!("{name}={value}\n"),
        (true, true) => format!("{name}=\n{value}\n"),
    }
}

/// Reads one.
pub fn read(path: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            to_path("osd-ldiskfs.*.kbytesfree"),
            "osd-ldiskfs/*/kbytesfree"
        );
        assert_eq!(
            to_path("mdt.lustre-MDT0000.exports.10.0.0.1@tcp.uuid"),
            "mdt/lustre-MDT0000/exports/10.0.0.1@tcp/uuid"
        );
        assert_eq!(
            to_path("mgc.MGC10.0.0.1@tcp.import"),
            "mgc/MGC10.0.0.1@tcp/import"
        );
    }

    #[test]
    fn output() {
        assert_eq!(render("a", "1\n", true), "a=1\n");
        assert_eq!(render("a", "1\n2\n", true), "a=\n1\n2\n");
        assert_eq!(render("a", "", true), "a=\n");
        assert_eq!(render("a", "", false), "");
        assert_eq!(render("a", "1\n2\n", false), "1\n2\n");
    }

    #[test]
    fn a_tree() -> Result<()> {
        let root = std::env::temp_dir().join(format!("params.{}", std::process::id()));
        fs::create_dir_all(root.join("mdt/fs-MDT0000"))?;
        fs::write(root.join("mdt/fs-MDT0000/uuid"), "u\n")?;
        fs::write(root.join("version"), "1\n")?;
        let names = |p: &str, r| -> Vec<String> {
            find_below([root.as_path()].into_iter(), p, r)
                .into_iter()
                .map(|f| f.name)
                .collect()
        };
        assert_eq!(names("mdt.*.uuid", false), ["mdt.fs-MDT0000.uuid"]);
        assert_eq!(
            names("mdt", true),
            ["mdt", "mdt.fs-MDT0000", "mdt.fs-MDT0000.uuid"]
        );
        assert!(names("nothing", false).is_empty());
        fs::remove_dir_all(&root)?;
        Ok(())
    }
}
