// SPDX-License-Identifier: GPL-2.0

//! Attributes, xattrs, and who may change them.

use super::*;
use crate::creds::cap;
use crate::{
    CloseAttr, OpenMode, XattrSet, MAY_EXEC, MAY_READ, MAY_WRITE, XATTR_ACL_ACCESS,
    XATTR_ACL_DEFAULT, XATTR_CREATE, XATTR_REPLACE,
};
use core::ffi::CStr;
use wire::disk::som::XATTR_NAME_SOM;
use wire::mdt::InodeFlags;

/// An ACL of entries of tag, permissions and id.
pub(super) fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut v = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        v.extend(tag.to_le_bytes());
        v.extend(perm.to_le_bytes());
        v.extend(id.to_le_bytes());
    }
    v
}

pub(super) fn set(
    w: &mut World,
    c: &Creds,
    o: &ObjectRef,
    name: &CStr,
    value: Option<&[u8]>,
) -> Result<bool> {
    set_as(w, c, o, name, value, 0)
}

fn set_as(
    w: &mut World,
    c: &Creds,
    o: &ObjectRef,
    name: &CStr,
    value: Option<&[u8]>,
    flags: u32,
) -> Result<bool> {
    let what = XattrSet {
        name,
        value,
        flags,
        time: w.time,
    };
    w.mdd.set_xattr(&mut w.run, c, o, &what)
}

const NOTHING: AttrChange = AttrChange {
    mode: None,
    uid: None,
    gid: None,
    projid: None,
    size: None,
    atime: None,
    mtime: None,
    ctime: None,
    flags: None,
    kill_suid: false,
    kill_sgid: false,
    force: false,
    from_open: false,
    owner_override: false,
};

fn mode(m: u32) -> AttrChange {
    AttrChange {
        mode: Some(m),
        ..NOTHING
    }
}

/// A file of user 7 and group 70.
fn owned(w: &mut World, m: u32) -> ObjectRef {
    let root = w.root();
    let name = format!("f{}", w.last);
    let f = w.file(&root, &name);
    let change = AttrChange {
        uid: Some(7),
        gid: Some(70),
        ctime: Some(w.time),
        ..mode(m)
    };
    w.setattr(&ROOT, &f, change).unwrap();
    f
}

#[test]
fn chmod() {
    let mut w = World::new();
    let f = owned(&mut w, 0o644);
    let version = w.attr(&f).version;
    w.time += 10;
    let change = AttrChange {
        ctime: Some(w.time),
        ..mode(0o040755)
    };
    assert_eq!(w.setattr(&user(8), &f, change), Err(EPERM));
    w.setattr(&user(7), &f, change).unwrap();
    let a = w.attr(&f);
    // The type stays.
    assert_eq!((a.mode, a.ctime.sec), (0o100755, w.time));
    assert_eq!((a.version, w.run.before), (w.run.last, [version, 0, 0, 0]));
    // Set-group-id is for members.
    w.setattr(&user(7), &f, mode(0o6755)).unwrap();
    assert_eq!(w.attr(&f).mode, 0o104755);
    let member = Creds::new(7, 7, [NO_GROUP, 70], 0);
    w.setattr(&member, &f, mode(0o6755)).unwrap();
    assert_eq!(w.attr(&f).mode, 0o106755);
    let forced = AttrChange {
        force: true,
        ..mode(0o600)
    };
    w.setattr(&user(8), &f, forced).unwrap();
    assert_eq!(w.attr(&f).mode, 0o100600);
}

#[test]
fn chown() {
    let mut w = World::new();
    let f = owned(&mut w, 0o6755);
    let ids = |uid, gid| AttrChange {
        uid,
        gid,
        ..NOTHING
    };
    let member = Creds::new(7, 7, [70, 71], 0);
    assert_eq!(w.setattr(&member, &f, ids(Some(8), None)), Err(EPERM));
    assert_eq!(w.setattr(&member, &f, ids(None, Some(72))), Err(EPERM));
    assert_eq!(w.setattr(&user(8), &f, ids(Some(7), None)), Err(EPERM));
    assert_eq!(w.setattr(&user(71), &f, ids(None, Some(71))), Err(EPERM));
    // What did not change is not told.
    w.fake.osts().owners.clear();
    w.setattr(&member, &f, ids(Some(7), Some(71))).unwrap();
    let a = w.attr(&f);
    assert_eq!((a.uid, a.gid, a.mode), (7, 71, 0o100755));
    let told = Owner {
        gid: Some(71),
        ..Owner::default()
    };
    assert_eq!(w.fake.osts().owners.pop().map(|o| o.1), Some(told));
    // Not executable for the group: that bit means something else.
    w.setattr(&ROOT, &f, mode(0o6745)).unwrap();
    w.setattr(&ROOT, &f, ids(Some(9), None)).unwrap();
    assert_eq!(w.attr(&f).mode, 0o102745);
    // With a mode, that one counts.
    let both = AttrChange {
        mode: Some(0o4755),
        ..ids(Some(7), Some(70))
    };
    w.setattr(&ROOT, &f, both).unwrap();
    assert_eq!(w.attr(&f).mode, 0o104755);
    // Directories keep theirs.
    let root = w.root();
    let d = w.create(&ROOT, &root, "d", 0o042755).unwrap();
    w.setattr(&ROOT, &d, ids(Some(7), Some(70))).unwrap();
    assert_eq!(w.attr(&d).mode, 0o042755);
    w.fake.osts().fail = Some(EINPROGRESS);
    assert_eq!(w.setattr(&ROOT, &f, ids(Some(1), None)), Err(EINPROGRESS));
    assert_eq!(w.attr(&f).uid, 7);
}

#[test]
fn set_id_bits_go_with_a_write() {
    let mut w = World::new();
    let f = owned(&mut w, 0o6777);
    let kill = AttrChange {
        kill_suid: true,
        kill_sgid: true,
        ..NOTHING
    };
    assert_eq!(w.setattr(&user(8), &f, kill), Err(EPERM));
    let force = true;
    w.setattr(&user(8), &f, AttrChange { force, ..kill })
        .unwrap();
    assert_eq!(w.attr(&f).mode, 0o100777);
}

#[test]
fn times() {
    let mut w = World::new();
    let f = owned(&mut w, 0o664);
    let at = |t| AttrChange {
        atime: Some(t),
        mtime: Some(t),
        ctime: Some(t),
        ..NOTHING
    };
    let version = w.attr(&f).version;
    let ctime = w.attr(&f).ctime;
    w.setattr(&user(7), &f, at(5)).unwrap();
    let a = w.attr(&f);
    assert_eq!((a.atime.sec, a.mtime.sec), (5, 5));
    assert_eq!((a.ctime, a.version), (ctime, version));
    assert_eq!(w.setattr(&user(8), &f, at(6)), Err(EACCES));
    let ctime_only = AttrChange {
        ctime: Some(9),
        ..NOTHING
    };
    assert_eq!(w.setattr(&user(8), &f, ctime_only), Err(EACCES));
    // Bits that are not there, with times: no way around.
    let sly = AttrChange {
        kill_suid: true,
        ..at(6)
    };
    assert_eq!(w.setattr(&user(8), &f, sly), Err(EACCES));
    let sly = AttrChange {
        projid: Some(0),
        ..at(6)
    };
    assert_eq!(w.setattr(&user(8), &f, sly), Err(EACCES));
    // Who may write may touch.
    let member = Creds::new(8, 8, [70, NO_GROUP], 0);
    w.setattr(&member, &f, at(6)).unwrap();
    assert_eq!(w.attr(&f).atime.sec, 6);
}

#[test]
fn sizes() {
    let mut w = World::new();
    let f = owned(&mut w, 0o644);
    let size = |n| AttrChange {
        size: Some(n),
        mtime: Some(7),
        ..NOTHING
    };
    let lazy = |w: &mut World, lazy| {
        let told = CloseAttr {
            lazy,
            ..CloseAttr::default()
        };
        w.mdd.close_attr(&mut w.run, &f, &told).unwrap()
    };
    let som = || f.xattr_vec(XATTR_NAME_SOM).unwrap()[8..].to_vec();
    let want = |size: u64, blocks: u64| [size.to_le_bytes(), blocks.to_le_bytes()].concat();
    assert!(lazy(&mut w, Some((8192, 16))));
    assert!(!lazy(&mut w, Some((4096, 16))));
    assert!(lazy(&mut w, Some((4096, 24))));
    assert_eq!(som(), want(8192, 24));
    assert_eq!(w.setattr(&user(8), &f, size(1)), Err(EACCES));
    w.setattr(&user(7), &f, size(4097)).unwrap();
    assert_eq!(som(), want(4097, 16));
    // The size is that of the objects.
    assert_eq!((w.attr(&f).size, w.attr(&f).mtime.sec), (0, 7));
    w.setattr(&ROOT, &f, mode(0o400)).unwrap();
    assert_eq!(w.setattr(&user(7), &f, size(1)), Err(EACCES));
    let owner = AttrChange {
        owner_override: true,
        ..size(1)
    };
    w.setattr(&user(7), &f, owner).unwrap();
    assert_eq!(w.setattr(&user(8), &f, owner), Err(EACCES));
    let exec = OpenMode {
        write: false,
        exec: true,
    };
    w.mdd.count_open(&f, exec).unwrap();
    assert_eq!(w.setattr(&ROOT, &f, size(1)), Err(ETXTBSY));
    let root = w.root();
    let d = w.dir(&root, "d");
    assert_eq!(w.setattr(&ROOT, &d, size(1)), Err(EISDIR));
    let l = w.create(&ROOT, &root, "l", 0o120777).unwrap();
    assert_eq!(w.setattr(&ROOT, &l, size(1)), Err(EINVAL));
    // Without objects the size is here.
    let new = w.new_object(0o100644, 0);
    let n = w.create_as(&ROOT, &root, "n", &new, Wish::None).unwrap();
    w.setattr(&ROOT, &n, size(100)).unwrap();
    assert_eq!(w.attr(&n).size, 100);
    // Objects that it gets later have it, unless it is another one by then.
    let old = w.mdd.reserve_for(&n, None);
    w.setattr(&ROOT, &n, size(200)).unwrap();
    let late = w.mdd.make_layout(&mut w.run, &n, old);
    assert_eq!(late, Err(EINPROGRESS));
    let new = w.mdd.reserve_for(&n, None);
    assert_eq!(w.mdd.make_layout(&mut w.run, &n, new), Ok(true));
    assert_eq!(w.fake.osts().sizes, [100, 200]);
}

#[test]
fn flags_and_projects() {
    let mut w = World::new();
    let f = owned(&mut w, 0o644);
    let flags = |f: InodeFlags| AttrChange {
        flags: Some(f.bits()),
        ..NOTHING
    };
    assert_eq!(
        w.setattr(
            &ROOT,
            &f,
            AttrChange {
                flags: Some(1),
                ..NOTHING
            }
        ),
        Err(EOPNOTSUPP)
    );
    w.setattr(&user(7), &f, flags(InodeFlags::NODUMP)).unwrap();
    assert_eq!(w.attr(&f).flags, InodeFlags::NODUMP.bits());
    assert_eq!(
        w.setattr(&user(8), &f, flags(InodeFlags::NOATIME)),
        Err(EPERM)
    );
    let frozen = flags(InodeFlags::IMMUTABLE);
    assert_eq!(w.setattr(&user(7), &f, frozen), Err(EPERM));
    let project = AttrChange {
        projid: Some(3),
        ..NOTHING
    };
    assert_eq!(w.setattr(&user(7), &f, project), Err(EPERM));
    assert_eq!(
        w.setattr(&user(7), &f, flags(InodeFlags::PROJINHERIT)),
        Err(EPERM)
    );
    w.setattr(&ROOT, &f, project).unwrap();
    assert_eq!(w.attr(&f).projid, 3);
    w.setattr(&ROOT, &f, frozen).unwrap();
    assert_eq!(w.setattr(&ROOT, &f, mode(0o600)), Err(EPERM));
    assert_eq!(set(&mut w, &ROOT, &f, c"user.a", Some(b"")), Err(EPERM));
    assert_eq!(
        w.mdd.permission(&f, &w.attr(&f), &ROOT, MAY_WRITE),
        Err(EACCES)
    );
    w.setattr(&ROOT, &f, flags(InodeFlags::empty())).unwrap();
    w.setattr(&ROOT, &f, mode(0o600)).unwrap();
}

#[test]
fn what_a_close_tells() {
    let mut w = World::new();
    let f = owned(&mut w, 0o644);
    let a = w.attr(&f);
    let (t, version) = (a.mtime.sec, a.version);
    let told = |n| CloseAttr {
        atime: Some(n),
        mtime: Some(n),
        ctime: Some(n),
        lazy: None,
    };
    let close = |w: &mut World, n| w.mdd.close_attr(&mut w.run, &f, &told(n)).unwrap();
    assert!(!close(&mut w, t - 1));
    assert!(!close(&mut w, t));
    assert!(close(&mut w, a.ctime.sec + 30));
    let b = w.attr(&f);
    assert_eq!(b.mtime.sec, a.ctime.sec + 30);
    assert_eq!(b.version, version);
    // The modification time was set since the data were written.
    let before = CloseAttr {
        mtime: Some(b.mtime.sec + 1),
        ctime: Some(b.ctime.sec),
        ..CloseAttr::default()
    };
    assert!(!w.mdd.close_attr(&mut w.run, &f, &before).unwrap());
    assert!(close(&mut w, a.ctime.sec + 100));
    assert_eq!(w.attr(&f).atime.sec, a.ctime.sec + 100);
}

#[test]
fn access() {
    let mut w = World::new();
    let f = owned(&mut w, 0o641);
    let may = |c: &Creds, want| w.mdd.permission(&f, &w.attr(&f), c, want).is_ok();
    let can = |c: &Creds| [MAY_READ, MAY_WRITE, MAY_EXEC].map(|m| may(c, m));
    assert_eq!(can(&user(7)), [true, true, false]);
    assert_eq!(
        can(&Creds::new(8, 70, [NO_GROUP; 2], 0)),
        [true, false, false]
    );
    assert_eq!(
        can(&Creds::new(8, 8, [NO_GROUP, 70], 0)),
        [true, false, false]
    );
    assert_eq!(can(&user(8)), [false, false, true]);
    assert_eq!(can(&ROOT), [true, true, true]);
    let reader = Creds::new(0, 0, [NO_GROUP; 2], 1 << cap::DAC_READ_SEARCH);
    assert_eq!(can(&reader), [true, false, true]);
    // Groups are not made of what stands for none.
    let a = Attr {
        gid: NO_GROUP,
        ..w.attr(&f)
    };
    assert_eq!(w.mdd.permission(&f, &a, &user(8), MAY_READ), Err(EACCES));
}

#[test]
fn acls() {
    let mut w = World::new();
    let f = owned(&mut w, 0o640);
    let long = acl(&[
        (1, 6, !0),
        (2, 4, 9),
        (4, 0, !0),
        (8, 6, 90),
        (0x10, 6, !0),
        (0x20, 0, !0),
    ]);
    let set = |w: &mut World, c: &Creds, name, v: Option<&[u8]>| set(w, c, &f, name, v);
    assert_eq!(
        set(&mut w, &user(8), XATTR_ACL_ACCESS, Some(&long)),
        Err(EPERM)
    );
    assert_eq!(
        set(&mut w, &user(7), XATTR_ACL_DEFAULT, Some(&long)),
        Err(EACCES)
    );
    assert_eq!(
        set(&mut w, &user(7), XATTR_ACL_ACCESS, Some(&long[..20])),
        Err(EINVAL)
    );
    assert_eq!(
        set(&mut w, &user(7), XATTR_ACL_ACCESS, Some(b"ab")),
        Err(EINVAL)
    );
    assert_eq!(
        set(&mut w, &user(7), XATTR_ACL_ACCESS, Some(&long)),
        Ok(true)
    );
    // The group bits are the mask now.
    assert_eq!(w.attr(&f).mode, 0o100660);
    let may = |w: &World, c: &Creds, want| w.mdd.permission(&f, &w.attr(&f), c, want).is_ok();
    assert!(may(&w, &user(9), MAY_READ) && !may(&w, &user(9), MAY_WRITE));
    assert!(may(&w, &user(90), MAY_WRITE) && !may(&w, &user(70), MAY_READ));
    let change = AttrChange {
        mode: Some(0o604),
        ..NOTHING
    };
    w.setattr(&user(7), &f, change).unwrap();
    // As in Linux: with an empty mask nobody is looked for in the ACL.
    assert!(may(&w, &user(90), MAY_READ) && may(&w, &user(10), MAY_READ));
    assert!(!may(&w, &user(70), MAY_READ));
    let got = f.xattr_vec(XATTR_ACL_ACCESS).unwrap();
    let want = acl(&[
        (1, 6, !0),
        (2, 4, 9),
        (4, 0, !0),
        (8, 6, 90),
        (0x10, 0, !0),
        (0x20, 4, !0),
    ]);
    assert_eq!(&got[..], &want[..]);
    // One that says no more than a mode.
    let short = acl(&[(1, 7, !0), (4, 5, !0), (0x20, 1, !0)]);
    assert_eq!(
        set(&mut w, &user(7), XATTR_ACL_ACCESS, Some(&short)),
        Ok(true)
    );
    assert_eq!(w.attr(&f).mode, 0o100751);
    assert!(f.xattr_opt(XATTR_ACL_ACCESS).unwrap().is_none());
    assert_eq!(set(&mut w, &user(7), XATTR_ACL_ACCESS, None), Ok(true));
}

#[test]
fn bad_acls() {
    use crate::acl::check;
    let good = [(1, 7, !0), (4, 5, !0), (0x20, 1, !0)];
    assert_eq!(check(&acl(&good)), Ok(()));
    let mut other = acl(&good);
    other[0] = 3;
    assert_eq!(check(&other), Err(EOPNOTSUPP));
    for bad in [
        &[][..],
        &good[..2],
        &[(1, 8, !0), (4, 5, !0), (0x20, 1, !0)],
        &[(1, 7, !0), (1, 7, !0), (4, 5, !0), (0x20, 1, !0)],
        &[(4, 5, !0), (1, 7, !0), (0x20, 1, !0)],
        &[(1, 7, !0), (2, 7, 5), (4, 5, !0), (0x20, 1, !0)],
        &[(1, 7, !0), (3, 7, 5), (4, 5, !0), (0x20, 1, !0)],
        &[(1, 7, !0), (4, 5, !0), (0x20, 1, !0), (0x40, 1, !0)],
    ] {
        assert_eq!(check(&acl(bad)), Err(EINVAL), "{bad:?}");
    }
    assert_eq!(check(&acl(&good)[..27]), Err(EINVAL));
}

#[test]
fn xattrs() {
    let mut w = World::new();
    let f = owned(&mut w, 0o644);
    let v = Some(&b"value"[..]);
    assert_eq!(
        set_as(&mut w, &user(7), &f, c"user.a", v, XATTR_REPLACE),
        Err(ENODATA)
    );
    assert_eq!(
        set_as(&mut w, &user(7), &f, c"user.a", v, XATTR_CREATE),
        Ok(true)
    );
    assert_eq!(
        set_as(&mut w, &user(7), &f, c"user.a", v, XATTR_CREATE),
        Err(EEXIST)
    );
    assert_eq!(w.attr(&f).version, w.run.last);
    assert_eq!(&w.mdd.get_xattr(&f, c"user.a").unwrap()[..], b"value");
    assert_eq!(w.mdd.get_xattr(&f, c"user.b").err(), Some(ENODATA));
    assert_eq!(set(&mut w, &user(7), &f, c"user.b", None), Err(ENODATA));
    let names = w.mdd.list_xattr(&f).unwrap();
    let mut names: Vec<_> = names.split(|c| *c == 0).filter(|n| !n.is_empty()).collect();
    names.sort();
    let all: [&[u8]; 4] = [b"trusted.link", b"trusted.lma", b"trusted.lov", b"user.a"];
    assert_eq!(names, all);
    assert_eq!(
        set_as(&mut w, &user(7), &f, c"user.a", None, XATTR_REPLACE),
        Ok(true)
    );
    // Name spaces.
    assert_eq!(set(&mut w, &user(7), &f, c"trusted.a", v), Err(EPERM));
    assert_eq!(set(&mut w, &ROOT, &f, c"trusted.a", v), Ok(true));
    let last = w.run.last;
    for ours in [
        c"trusted.lov",
        c"trusted.lma",
        c"trusted.link",
        c"trusted.fid",
    ] {
        assert_eq!(set(&mut w, &ROOT, &f, ours, v), Ok(false));
        assert_eq!(set(&mut w, &ROOT, &f, ours, None), Ok(false));
    }
    assert_eq!(w.run.last, last);
    assert_eq!(set(&mut w, &user(8), &f, c"security.a", v), Err(EPERM));
    assert_eq!(set(&mut w, &user(7), &f, c"security.a", v), Ok(true));
    for unknown in [c"system.a", c"a", c"lustre.mdt", c"lustre.lov.add"] {
        assert_eq!(set(&mut w, &ROOT, &f, unknown, v), Err(EOPNOTSUPP));
    }
    // Sizes.
    let long = std::ffi::CString::new(format!("user.{}", "x".repeat(251))).unwrap();
    assert_eq!(set(&mut w, &ROOT, &f, &long, v), Err(ERANGE));
    let big = vec![0; 65537];
    assert_eq!(set(&mut w, &ROOT, &f, c"user.a", Some(&big)), Err(E2BIG));
    assert_eq!(set(&mut w, &ROOT, &f, c"user.a", Some(&big[1..])), Ok(true));
    // Others than files and directories have none of the user's.
    let root = w.root();
    let l = w.create(&ROOT, &root, "l", 0o120777).unwrap();
    assert_eq!(set(&mut w, &ROOT, &l, c"user.a", v), Err(EPERM));
    let d = w.create(&ROOT, &root, "d", 0o041777).unwrap();
    assert_eq!(set(&mut w, &user(7), &d, c"user.a", v), Err(EPERM));
}

#[test]
fn layouts() {
    let mut w = World::new();
    let root = w.root();
    let d = w.dir(&root, "d");
    let lov = c"lustre.lov";
    assert_eq!(set(&mut w, &user(7), &d, lov, Some(b"wide")), Err(EPERM));
    assert_eq!(set(&mut w, &ROOT, &d, lov, Some(b"bad")), Err(EINVAL));
    assert_eq!(set(&mut w, &ROOT, &d, lov, Some(b"wide")), Ok(true));
    assert_eq!(&w.mdd.get_xattr(&d, lov).unwrap()[..], b"wide");
    assert_eq!(set(&mut w, &ROOT, &d, lov, None), Ok(true));
    assert!(w.mdd.get_xattr(&d, lov).unwrap().is_empty());
    w.mdd
        .set_directory_default(&mut w.run, &ROOT, &root, b"all", 0)
        .unwrap();
    let new = w.new_object(0o100644, 0);
    let f = w.create_as(&ROOT, &d, "f", &new, Wish::None).unwrap();
    assert!(w.mdd.layout(&f).unwrap().is_none());
    let r = w
        .mdd
        .set_directory_default(&mut w.run, &ROOT, &f, b"all", 0);
    assert_eq!(r, Err(ENOTDIR));
    assert_eq!(set(&mut w, &ROOT, &f, lov, Some(b"mine")), Ok(true));
    let wish = w.fake.osts().wishes.pop().unwrap();
    assert_eq!(wish, [Some(b"mine".to_vec()), None, Some(b"all".to_vec())]);
    assert_eq!(set(&mut w, &ROOT, &f, lov, Some(b"mine")), Err(EEXIST));
    let layout = w.mdd.reserve_for(&f, None);
    assert_eq!(w.mdd.make_layout(&mut w.run, &f, layout), Ok(false));
    w.unlink(&d, "f").unwrap();
    assert!(w.fake.osts().live.is_empty());
}
