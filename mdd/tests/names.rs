// SPDX-License-Identifier: GPL-2.0

//! Names come, go and move.

use super::*;
use crate::{DirPages, OpenMode, XATTR_ACL_DEFAULT};
use kapi::pages::Pages;
use wire::dirent::{DirPage, LudaFlags, MDS_DIR_END_OFF};
use wire::mdt::InodeFlags;

fn new(w: &mut World, mode: u32) -> NewObject<'static> {
    w.new_object(mode, 0o022)
}

#[test]
fn a_new_file() {
    let mut w = World::new();
    let root = w.root();
    let before = w.attr(&root);
    w.time = before.mtime.sec + 5;
    let mut n = new(&mut w, 0o100666);
    n.security = Some((c"security.selinux", b"label"));
    let f = w.create_as(&user(7), &root, "f", &n, Wish::Default);
    assert_eq!(f.err(), Some(EACCES));
    let f = w.create_as(&ROOT, &root, "f", &n, Wish::Default).unwrap();
    let a = w.attr(&f);
    assert_eq!((a.mode, a.nlink, a.uid, a.version), (0o100644, 1, 0, 1));
    assert_eq!([a.atime, a.mtime, a.ctime].map(|t| t.sec), [w.time; 3]);
    let after = w.attr(&root);
    assert_eq!(after.mtime.sec, w.time);
    assert_eq!((after.version, after.nlink), (before.version, before.nlink));
    assert_eq!(w.run.before, [0, 1, 0, 0]);
    assert_eq!(w.links(&f), [(Fid::ROOT, "f".to_string())]);
    assert_eq!(&f.xattr_vec(c"security.selinux").unwrap()[..], b"label");
    assert_eq!(w.fake.osts().live.len(), 1);
    assert_eq!(w.fake.osts().reserved, 0);
    // The name, and the FID.
    assert_eq!(w.create(&ROOT, &root, "f", 0o100644).err(), Some(EEXIST));
    let mut again = new(&mut w, 0o100666);
    again.fid = *f.fid();
    assert_eq!(
        w.create_as(&ROOT, &root, "g", &again, Wish::Default).err(),
        Some(EEXIST)
    );
}

#[test]
fn what_cannot_be_made() {
    let mut w = World::new();
    let root = w.root();
    let f = w.file(&root, "f");
    let long = "x".repeat(256);
    for (dir, name, mode, error) in [
        (&root, ".", 0o100644, EEXIST),
        (&root, "..", 0o040755, EEXIST),
        (&root, "", 0o100644, EPROTO),
        (&root, "a/b", 0o100644, EPROTO),
        (&root, long.as_str(), 0o100644, ENAMETOOLONG),
        (&root, "a", 0o170000, EOPNOTSUPP),
        (&f, "a", 0o100644, ENOTDIR),
    ] {
        let r = w.create(&ROOT, dir, name, mode);
        assert_eq!(r.err(), Some(error), "{name:?} {mode:o}");
    }
    let mut n = new(&mut w, 0o120777);
    assert_eq!(
        w.create_as(&ROOT, &root, "l", &n, Wish::Default).err(),
        Some(EFAULT)
    );
    n.mode = 0o100644;
    n.security = Some((c"user.x", b""));
    assert_eq!(
        w.create_as(&ROOT, &root, "l", &n, Wish::Default).err(),
        Some(EOPNOTSUPP)
    );
    n.security = None;
    n.fid = Fid::ROOT;
    assert_eq!(
        w.create_as(&ROOT, &root, "l", &n, Wish::Default).err(),
        Some(EINVAL)
    );
    w.fake.osts().fail = Some(ENOSPC);
    assert_eq!(w.create(&ROOT, &root, "l", 0o100644).err(), Some(ENOSPC));
    w.fake.osts().fail = None;
    w.run.fail = Some(EROFS);
    assert_eq!(w.create(&ROOT, &root, "l", 0o100644).err(), Some(EROFS));
    assert_eq!(w.fake.osts().reserved, 0);
    let d = w.mdd.object(&Fid::DOT_LUSTRE).unwrap();
    assert_eq!(w.create(&ROOT, &d, "a", 0o100644).err(), Some(EPERM));
}

#[test]
fn what_directories_pass_on() {
    let mut w = World::new();
    let root = w.root();
    let d = w.dir(&root, "d");
    let change = AttrChange {
        mode: Some(0o2777),
        gid: Some(50),
        projid: Some(9),
        flags: Some(InodeFlags::PROJINHERIT.bits()),
        ..AttrChange::default()
    };
    w.setattr(&ROOT, &d, change).unwrap();
    w.mdd
        .set_directory_default(&mut w.run, &ROOT, &d, b"4 stripes", 0)
        .unwrap();
    let f = w.create(&user(7), &d, "f", 0o102755).unwrap();
    let a = w.attr(&f);
    // He is not in the group.
    assert_eq!((a.mode, a.uid, a.gid, a.projid), (0o100755, 7, 50, 9));
    let wish = w.fake.osts().wishes.pop().unwrap();
    assert_eq!(wish, [None, Some(b"4 stripes".to_vec()), None]);
    let s = w.create(&user(7), &d, "s", 0o040700).unwrap();
    let a = w.attr(&s);
    assert_eq!((a.mode, a.gid, a.projid), (0o042700, 50, 9));
    assert_eq!(a.flags & InodeFlags::PROJINHERIT.bits(), a.flags);
    assert_eq!(&w.mdd.layout(&s).unwrap().unwrap()[..], b"4 stripes");
    assert_eq!(w.attr(&d).nlink, 3);
    w.unlink(&d, "s").unwrap();
    assert_eq!(w.attr(&d).nlink, 2);
}

#[test]
fn default_acls() {
    let mut w = World::new();
    let root = w.root();
    let d = w.dir(&root, "d");
    let acl = super::changes::acl(&[
        (1, 7, !0),
        (2, 6, 8),
        (4, 5, !0),
        (0x10, 7, !0),
        (0x20, 5, !0),
    ]);
    super::changes::set(&mut w, &ROOT, &d, XATTR_ACL_DEFAULT, Some(&acl)).unwrap();
    let mut n = new(&mut w, 0o100664);
    n.umask = 0o077;
    let f = w.create_as(&ROOT, &d, "f", &n, Wish::Default).unwrap();
    assert_eq!(w.attr(&f).mode, 0o100664);
    let got = f.xattr_vec(crate::XATTR_ACL_ACCESS).unwrap();
    let want = super::changes::acl(&[
        (1, 6, !0),
        (2, 6, 8),
        (4, 5, !0),
        (0x10, 6, !0),
        (0x20, 4, !0),
    ]);
    assert_eq!(&got[..], &want[..]);
    let s = w.create(&ROOT, &d, "s", 0o040777).unwrap();
    assert_eq!(&s.xattr_vec(XATTR_ACL_DEFAULT).unwrap()[..], &acl[..]);
    let may = |c: &Creds, want| w.mdd.permission(&f, &w.attr(&f), c, want);
    assert_eq!(may(&user(8), 6), Ok(()));
    assert_eq!(may(&user(8), 1), Err(EACCES));
    assert_eq!(may(&user(9), 4), Ok(()));
    assert_eq!(may(&user(9), 2), Err(EACCES));
}

#[test]
fn links() {
    let mut w = World::new();
    let root = w.root();
    let (d, f) = (w.dir(&root, "d"), w.file(&root, "f"));
    w.link(&f, &d, "g").unwrap();
    assert_eq!(w.run.before, [w.attr(&d).version, 2, 1, 0]);
    assert_eq!(w.attr(&f).version, w.run.last);
    assert_eq!(w.attr(&f).nlink, 2);
    let both = [(Fid::ROOT, "f".to_string()), (*d.fid(), "g".to_string())];
    assert_eq!(w.links(&f), both);
    assert_eq!(w.link(&f, &d, "g"), Err(EEXIST));
    assert_eq!(w.link(&d, &root, "e"), Err(EPERM));
    let r = w.unlink(&root, "f").unwrap();
    assert_eq!((r.fid, r.attr.nlink), (*f.fid(), 1));
    assert_eq!(w.links(&f), both[1..]);
    let r = w.unlink(&d, "g").unwrap();
    assert_eq!(r.attr.nlink, 0);
    assert!(!f.exists() && w.fake.osts().live.is_empty());
    assert_eq!(w.unlink(&d, "g").err(), Some(ENOENT));
}

#[test]
fn more_links_than_can_be_recorded() {
    let mut w = World::new();
    let root = w.root();
    let f = w.file(&root, "f");
    let name = |i: usize| format!("{i:0250}");
    for i in 0..30 {
        w.link(&f, &root, &name(i)).unwrap();
    }
    let kept = w.links(&f).len();
    assert!((10..20).contains(&kept), "{kept}");
    for i in 0..30 {
        w.unlink(&root, &name(i)).unwrap();
    }
    assert_eq!(w.links(&f), [(Fid::ROOT, "f".to_string())]);
    assert_eq!(w.attr(&f).nlink, 1);
}

#[test]
fn what_cannot_be_removed() {
    let mut w = World::new();
    let root = w.root();
    let d = w.dir(&root, "d");
    let f = w.file(&d, "f");
    assert_eq!(w.unlink(&root, "d").err(), Some(ENOTEMPTY));
    assert_eq!(w.run.before, [0, 1, 0, 0]);
    assert_eq!(w.unlink(&root, ".lustre").err(), Some(EPERM));
    let unlink = |w: &mut World, c: &Creds, name: &[u8]| {
        let r = w.mdd.unlink(&mut w.run, c, &d, name, &f, 0);
        r.err()
    };
    assert_eq!(unlink(&mut w, &user(7), b"f"), Some(EACCES));
    assert_eq!(unlink(&mut w, &ROOT, b"."), Some(EINVAL));
    assert_eq!(unlink(&mut w, &ROOT, b"g"), Some(ENOENT));
    let mode = Some(0o1777);
    let change = AttrChange {
        mode,
        ..AttrChange::default()
    };
    w.setattr(&ROOT, &d, change).unwrap();
    assert_eq!(unlink(&mut w, &user(7), b"f"), Some(EPERM));
    let flags = Some(InodeFlags::IMMUTABLE.bits());
    let change = AttrChange {
        flags,
        ..AttrChange::default()
    };
    w.setattr(&ROOT, &f, change).unwrap();
    assert_eq!(unlink(&mut w, &ROOT, b"f"), Some(EPERM));
    assert_eq!(w.link(&f, &root, "g"), Err(EPERM));
    let change = AttrChange {
        flags: Some(0),
        ..AttrChange::default()
    };
    w.setattr(&ROOT, &f, change).unwrap();
    // Too much waits for an OST: nothing happens, and later it goes.
    w.fake.osts().fail = Some(EINPROGRESS);
    assert_eq!(unlink(&mut w, &ROOT, b"f"), Some(EINPROGRESS));
    w.fake.osts().fail = None;
    w.run.fail = Some(ENOSPC);
    assert_eq!(unlink(&mut w, &ROOT, b"f"), Some(ENOSPC));
    w.run.fail = None;
    assert!(w.mdd.object(f.fid()).is_ok());
    assert_eq!(unlink(&mut w, &ROOT, b"f"), None);
}

#[test]
fn open_files_without_names() {
    let mut w = World::new();
    let root = w.root();
    let (f, d) = (w.file(&root, "f"), w.dir(&root, "d"));
    let mode = OpenMode {
        write: true,
        exec: false,
    };
    w.mdd.count_open(&f, mode).unwrap();
    w.mdd.count_open(&f, OpenMode::default()).unwrap();
    w.mdd.count_open(&d, OpenMode::default()).unwrap();
    let exec = OpenMode {
        write: false,
        exec: true,
    };
    assert_eq!(w.mdd.count_open(&f, exec), Err(ETXTBSY));
    assert_eq!(w.unlink(&root, "f").unwrap().attr.nlink, 0);
    assert_eq!(w.unlink(&root, "d").unwrap().attr.nlink, 0);
    assert_eq!(w.pending(), [*f.fid(), *d.fid()].into());
    assert_eq!(w.mdd.pending.attr().unwrap().nlink, 3);
    // What its name was is nobody's business.
    let link = XATTR_NAME_LINK;
    let shows = |w: &World, o| {
        let list = w.mdd.list_xattr(o).unwrap();
        let names: Vec<_> = list.split(|b| *b == 0).collect();
        assert!(names.contains(&&b"trusted.lma"[..]) && names.last() == Some(&&b""[..]));
        names.contains(&link.to_bytes())
    };
    let g = w.file(&root, "g");
    assert!(!shows(&w, &f) && shows(&w, &g));
    w.unlink(&root, "g").unwrap();
    assert_eq!(w.mdd.get_xattr(&f, link).err(), Some(ENOENT));
    assert_eq!((w.attr(&f).nlink, w.attr(&d).nlink), (0, 0));
    assert!(w.mdd.is_orphan(f.fid()) && w.mdd.object(f.fid()).is_ok());
    // It is changed like others, but gets no name, and nothing gets one in it.
    w.setattr(
        &ROOT,
        &f,
        AttrChange {
            mode: Some(0o600),
            ..AttrChange::default()
        },
    )
    .unwrap();
    assert_eq!(w.link(&f, &root, "g"), Err(ESTALE));
    assert_eq!(w.create(&ROOT, &d, "x", 0o100644).err(), Some(ENOENT));
    w.mdd.close(f.fid(), mode);
    assert!(f.exists());
    w.mdd.close(f.fid(), OpenMode::default());
    assert!(!f.exists() && w.fake.osts().live.is_empty());
    w.mdd.close(d.fid(), OpenMode::default());
    assert!(w.pending().is_empty());
    assert_eq!(w.mdd.pending.attr().unwrap().nlink, 2);
    assert_eq!(w.mdd.object(f.fid()).err(), Some(ENOENT));
}

#[test]
fn orphans_end_with_the_next_start() {
    let mut w = World::new();
    let root = w.root();
    for i in 0..150 {
        let name = format!("f{i}");
        let f = match i % 10 {
            0 => w.dir(&root, &name),
            _ => w.file(&root, &name),
        };
        w.mdd.count_open(&f, OpenMode::default()).unwrap();
        w.unlink(&root, &name).unwrap();
    }
    let kept = w.file(&root, "kept");
    assert_eq!(w.pending().len(), 150);
    w.restart();
    assert_eq!(w.mdd.clean_orphans().unwrap(), 150);
    assert!(w.pending().is_empty());
    assert_eq!(w.fake.osts().live.len(), 1);
    assert!(kept.exists());
    assert_eq!(w.mdd.pending.attr().unwrap().nlink, 2);
    assert_eq!(w.mdd.clean_orphans().unwrap(), 0);
}

#[test]
fn renames() {
    let mut w = World::new();
    let root = w.root();
    let (a, b) = (w.dir(&root, "a"), w.dir(&root, "b"));
    let f = w.file(&a, "f");
    w.time += 1;
    assert!(w.rename(&ROOT, (&a, "f"), (&b, "g")).unwrap().is_none());
    assert_eq!(w.run.before, [1, 2, 3, 1]);
    assert_eq!(w.links(&f), [(*b.fid(), "g".to_string())]);
    let times = |w: &World, o: &ObjectRef| (w.attr(o).mtime.sec, w.attr(o).ctime.sec);
    assert_eq!(times(&w, &a), (w.time, w.time));
    assert_eq!(times(&w, &b), (w.time, w.time));
    assert_eq!(times(&w, &f), (w.time - 1, w.time));
    assert_eq!(w.attr(&f).version, w.run.last);
    // Over another file, which ends.
    let h = w.file(&b, "h");
    let gone = w.rename(&ROOT, (&b, "g"), (&b, "h")).unwrap().unwrap();
    assert_eq!((gone.fid, gone.attr.nlink), (*h.fid(), 0));
    assert!(!h.exists() && w.fake.osts().live.len() == 1);
    // Over another name of the same file: nothing happens.
    w.link(&f, &a, "l").unwrap();
    let last = w.run.last;
    assert!(w.rename(&ROOT, (&b, "h"), (&a, "l")).unwrap().is_none());
    assert_eq!((w.run.last, w.attr(&f).nlink), (last, 2));
    // Over a name of a file that has others, and over an open one.
    let g = w.file(&b, "g");
    let gone = w.rename(&ROOT, (&b, "g"), (&a, "l")).unwrap().unwrap();
    assert_eq!((gone.fid, gone.attr.nlink), (*f.fid(), 1));
    assert_eq!(w.links(&f), [(*b.fid(), "h".to_string())]);
    w.mdd.count_open(&f, OpenMode::default()).unwrap();
    let gone = w.rename(&ROOT, (&a, "l"), (&b, "h")).unwrap().unwrap();
    assert_eq!((gone.fid, gone.attr.nlink), (*f.fid(), 0));
    assert_eq!(w.pending(), [*f.fid()].into());
    w.mdd.close(f.fid(), OpenMode::default());
    assert!(!f.exists() && g.exists());
}

#[test]
fn directories_move() {
    let mut w = World::new();
    let root = w.root();
    let (a, b) = (w.dir(&root, "a"), w.dir(&root, "b"));
    let c = w.dir(&a, "c");
    let d = w.dir(&c, "d");
    let root_links = w.attr(&root).nlink;
    let links = |w: &World| [&root, &a, &b, &c].map(|o| w.attr(o).nlink);
    assert_eq!(links(&w), [root_links, 3, 2, 3]);
    w.rename(&ROOT, (&a, "c"), (&b, "c")).unwrap();
    assert_eq!(links(&w), [root_links, 2, 3, 3]);
    assert_eq!(c.lookup(b"..").unwrap(), *b.fid());
    assert!(w.mdd.is_above(b.fid(), d.fid()).unwrap());
    // Into itself, below itself, over what is above it.
    assert_eq!(w.rename(&ROOT, (&root, "b"), (&b, "x")).err(), Some(EINVAL));
    assert_eq!(w.rename(&ROOT, (&root, "b"), (&d, "x")).err(), Some(EINVAL));
    assert_eq!(
        w.rename(&ROOT, (&c, "d"), (&root, "b")).err(),
        Some(ENOTEMPTY)
    );
    assert_eq!(w.rename(&ROOT, (&b, "c"), (&root, "b")).err(), Some(EINVAL));
    // Over an empty one, there and in place.
    w.dir(&a, "e");
    assert_eq!(links(&w), [root_links, 3, 3, 3]);
    w.rename(&ROOT, (&b, "c"), (&a, "e")).unwrap().unwrap();
    assert_eq!(links(&w), [root_links, 3, 2, 3]);
    w.rename(&ROOT, (&root, "a"), (&root, "b"))
        .unwrap()
        .unwrap();
    assert_eq!(w.attr(&root).nlink, root_links - 1);
    assert_eq!(w.links(&c), [(*a.fid(), "e".to_string())]);
    let f = w.file(&root, "f");
    assert_eq!(
        w.rename(&ROOT, (&root, "f"), (&root, "b")).err(),
        Some(EISDIR)
    );
    assert_eq!(
        w.rename(&ROOT, (&root, "b"), (&root, "f")).err(),
        Some(ENOTDIR)
    );
    assert_eq!(
        w.rename(&ROOT, (&root, ".lustre"), (&root, "x")).err(),
        Some(EPERM)
    );
    assert_eq!(
        w.rename(&ROOT, (&root, "f"), (&root, ".lustre")).err(),
        Some(EPERM)
    );
    // Names that are not those of the objects any more.
    let what = Rename {
        from: &root,
        from_name: b"f",
        to: &root,
        to_name: b"b",
        o: &f,
        victim: None,
        time: 0,
    };
    assert_eq!(w.mdd.rename(&mut w.run, &ROOT, &what).err(), Some(EAGAIN));
}

#[test]
fn renames_across_owners_and_projects() {
    let mut w = World::new();
    let root = w.root();
    let (a, b) = (w.dir(&root, "a"), w.dir(&root, "b"));
    let chmod = |w: &mut World, o: &ObjectRef, mode| {
        let change = AttrChange {
            mode: Some(mode),
            ..AttrChange::default()
        };
        w.setattr(&ROOT, o, change).unwrap();
    };
    chmod(&mut w, &a, 0o1777);
    chmod(&mut w, &b, 0o1777);
    w.create(&user(7), &a, "f", 0o100644).unwrap();
    w.create(&user(8), &b, "g", 0o100644).unwrap();
    w.create(&user(7), &a, "d", 0o040500).unwrap();
    // Sticky directories keep what is others'.
    assert_eq!(w.rename(&user(8), (&a, "f"), (&b, "x")).err(), Some(EPERM));
    assert_eq!(w.rename(&user(7), (&a, "f"), (&b, "g")).err(), Some(EPERM));
    w.rename(&user(7), (&a, "f"), (&b, "x")).unwrap();
    // A directory that may not be written keeps its "..".
    assert_eq!(w.rename(&user(7), (&a, "d"), (&b, "d")).err(), Some(EACCES));
    w.rename(&user(7), (&a, "d"), (&a, "e")).unwrap();
    let change = AttrChange {
        projid: Some(5),
        flags: Some(InodeFlags::PROJINHERIT.bits()),
        ..AttrChange::default()
    };
    w.setattr(&ROOT, &a, change).unwrap();
    let f = w.find(&b, "x").unwrap();
    assert_eq!(w.link(&f, &a, "x"), Err(EXDEV));
    w.rename(&ROOT, (&b, "x"), (&a, "x")).unwrap();
    assert_eq!(w.attr(&f).projid, 5);
    let owner = Owner {
        projid: Some(5),
        ..Owner::default()
    };
    assert_eq!(w.fake.osts().owners.pop().map(|o| o.1), Some(owner));
    let d = w.dir(&b, "d");
    assert_eq!(w.rename(&ROOT, (&b, "d"), (&a, "d")).err(), Some(EXDEV));
    assert_eq!(d.lookup(b"..").unwrap(), *b.fid());
}

#[test]
fn pages_of_entries() {
    let mut w = World::new();
    let root = w.root();
    let d = w.dir(&root, "d");
    let mut names: BTreeSet<String> = (0..500)
        .map(|i| format!("a rather long name {i}"))
        .collect();
    for n in &names {
        w.file(&d, n);
    }
    names.extend([".".to_string(), "..".to_string()]);
    for hash64 in [true, false] {
        let (mut start, mut seen) = (0, BTreeSet::new());
        while start != MDS_DIR_END_OFF {
            let want = DirPages {
                start,
                wanted: LudaFlags::FID | LudaFlags::TYPE,
                hash64,
            };
            let mut pages = Pages::new(3).unwrap();
            let n = w.mdd.readdir(&d, &want, &mut pages).unwrap();
            for i in 0..n {
                let page = DirPage::parse(pages.page(i).unwrap()).unwrap();
                assert_eq!(page.head.ldp_hash_start.get(), start);
                start = page.head.ldp_hash_end.get();
                for e in page.entries() {
                    let e = e.unwrap();
                    let name = String::from_utf8(e.name.to_vec()).unwrap();
                    let fid = e.fid.unwrap();
                    assert_eq!(fid, w.mdd.lookup(&d, e.name).unwrap());
                    seen.insert(name);
                }
            }
        }
        assert_eq!(seen, names);
    }
    let want = DirPages {
        start: 0,
        wanted: LudaFlags::FID | LudaFlags::TYPE,
        hash64: true,
    };
    let mut pages = Pages::new(1).unwrap();
    w.mdd.readdir(&root, &want, &mut pages).unwrap();
    let page = DirPage::parse(pages.page(0).unwrap()).unwrap();
    let names: Vec<_> = page.entries().map(|e| e.unwrap().name.to_vec()).collect();
    assert_eq!(names, [&b"."[..], b"..", b"d"]);
}
