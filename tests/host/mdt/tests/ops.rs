// SPDX-License-Identifier: GPL-2.0

//! Operations of one client, as POSIX has them.

mod common;

use common::World;
use kapi::prelude::*;
use lustre_client::attr::{S_IFDIR, S_IFLNK, S_IFREG};
use lustre_client::cred::Cred;
use lustre_client::mdc::{NewNode, OpenWish, SetAttr};
use lustre_client::rpc;
use ptlrpc::export::ClientUuid;
use ptlrpc::message::Msg;
use stack::{ServerNode, TestClient};
use wire::connect::{ConnectData, ConnectFlags};
use wire::disk::som::HsmFlags;
use wire::fid::{Fid, LuFid};
use wire::mdt::{
    GetinfoFid2path, HsmStateSet, HsmUserState, HsmValid, InodeFlags, MdtBody, OpenFlags,
};
use wire::msg::{ConnectOpFlags, MDS_VERSION, OBD_VERSION};
use wire::obdo::ObdMd;
use wire::opcode::{
    MDS_CONNECT, MDS_GET_INFO, MDS_HSM_STATE_GET, MDS_HSM_STATE_SET, MDS_QUOTACTL, OBD_PING,
};
use wire::quota::{quota_type, ObdQuotactl};
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn mount() {
    let w = World::new();
    assert_eq!(w.c.mdc.root(None).unwrap(), Fid::ROOT);
    let s = w.c.mdc.statfs(false).unwrap();
    assert!(s.os_bsize.get() >= 512 && s.os_type.get() == 0xef53);
    let s = w.c.mdc.statfs(true).unwrap();
    assert_eq!(s.os_state.get(), 0x100);
    let got =
        w.c.mdc
            .getattr(Fid::ROOT, ObdMd::FLGETATTR | ObdMd::FLMODEASIZE, 0, &w.cred)
            .unwrap();
    assert!(got.attr.is_dir() && got.valid.contains(ObdMd::FLMODEASIZE));
    assert_eq!(w.names(Fid::ROOT), [".", ".."]);
    // A directory in place of the root.
    let a = w.mkdir(Fid::ROOT, "a").unwrap();
    let b = w.mkdir(a.fid, "b").unwrap();
    assert_eq!(w.c.mdc.root(Some("/a/b")).unwrap(), b.fid);
    assert_eq!(w.c.mdc.root(Some("//a//")).unwrap(), a.fid);
    assert_eq!(w.c.mdc.root(Some("/a/x")), Err(ENOENT));
    assert_eq!(w.c.mdc.root(Some("/a/../a")), Err(EINVAL));
    w.c.mdc.sync(None, &w.cred).unwrap();
    w.c.mdc.sync(Some(a.fid), &w.cred).unwrap();
    w.stop();
}

#[test]
fn files_and_directories() {
    let w = World::new();
    let d = w.mkdir(Fid::ROOT, "d").unwrap();
    assert_eq!(d.mode, S_IFDIR | 0o755);
    assert_eq!(d.nlink, 2);
    assert_eq!(w.mkdir(Fid::ROOT, "d"), Err(EEXIST));
    assert_eq!(w.look(Fid::ROOT, "d").unwrap().fid, d.fid);
    assert_eq!(w.look(Fid::ROOT, "x"), None);
    let f = w.create(d.fid, "f");
    assert_eq!(f.mode, S_IFREG | 0o644);
    let l = w.make(d.fid, "l", S_IFLNK | 0o777, "../somewhere").unwrap();
    let got =
        w.c.mdc
            .getattr(l.fid, ObdMd::LINKNAME, 13, &w.cred)
            .unwrap();
    assert_eq!(got.ea, b"../somewhere\0");
    let p = w.make(d.fid, "p", 0o010600, "").unwrap();
    assert_eq!(p.mode, 0o010600);
    assert_eq!(w.names(d.fid), [".", "..", "f", "l", "p"]);
    // Links.
    w.c.mdc
        .link(f.fid, Fid::ROOT, b"f2", (None, None), &w.cred)
        .unwrap();
    assert_eq!(w.look(Fid::ROOT, "f2").unwrap().nlink, 2);
    let link = |fid, name: &[u8]| w.c.mdc.link(fid, d.fid, name, (None, None), &w.cred);
    assert_eq!(link(f.fid, b"l"), Err(EEXIST));
    assert_eq!(link(d.fid, b"dd"), Err(EPERM));
    // Names go.
    let left = w.unlink(d.fid, "f", false).unwrap().unwrap();
    assert_eq!((left.fid, left.nlink), (f.fid, 1));
    assert_eq!(w.unlink(Fid::ROOT, "d", true), Err(ENOTEMPTY));
    assert_eq!(w.unlink(Fid::ROOT, "d", false), Err(EISDIR));
    assert_eq!(w.unlink(Fid::ROOT, "f2", true), Err(ENOTDIR));
    assert_eq!(w.unlink(Fid::ROOT, "nothing", false), Err(ENOENT));
    for n in ["l", "p"] {
        assert_eq!(w.unlink(d.fid, n, false).unwrap().unwrap().nlink, 0);
    }
    assert_eq!(w.unlink(Fid::ROOT, "d", true).unwrap().unwrap().nlink, 0);
    assert_eq!(w.unlink(Fid::ROOT, "f2", false).unwrap().unwrap().nlink, 0);
    assert_eq!(w.names(Fid::ROOT), [".", ".."]);
    w.stop();
}

#[test]
fn opens() {
    let w = World::new();
    let read = OpenFlags::FMODE_READ;
    assert_eq!(w.open(Fid::ROOT, "f", read).err(), Some(ENOENT));
    let f = w.create(Fid::ROOT, "f");
    let o = w.open(Fid::ROOT, "f", read | OpenFlags::CREAT).unwrap();
    assert!(!o.created && o.found.attr.fid == f.fid);
    let h = o.handle.unwrap();
    let excl = read | OpenFlags::CREAT | OpenFlags::EXCL;
    assert_eq!(w.open(Fid::ROOT, "f", excl).err(), Some(EEXIST));
    let dir = read | OpenFlags::DIRECTORY;
    assert_eq!(w.open(Fid::ROOT, "f", dir).err(), Some(ENOTDIR));
    // Without OSTs there are files all the same.
    let write = OpenFlags::FMODE_WRITE;
    let later = write | OpenFlags::CREAT | OpenFlags::DELAY_CREATE;
    let g = w.open(Fid::ROOT, "g", later).unwrap();
    assert!(g.created && g.found.layout.is_empty() && g.found.attr.size_valid);
    // What is written cannot be executed, and the other way round.
    let exec = OpenFlags::FMODE_EXEC | read;
    let all = SetAttr {
        mode: Some(0o755),
        ..SetAttr::default()
    };
    let fid = g.found.attr.fid;
    w.c.mdc.setattr(fid, &all, &[], None, &w.cred).unwrap();
    assert_eq!(w.open(Fid::ROOT, "g", exec).err(), Some(ETXTBSY));
    w.c.mdc.close(g.handle.unwrap(), None, &g.found.attr.fid);
    // Who may not read it may execute it, and that alone.
    let all = SetAttr {
        mode: Some(0o711),
        ..SetAttr::default()
    };
    w.c.mdc.setattr(fid, &all, &[], None, &w.cred).unwrap();
    let other = |flags| {
        let wish = OpenWish {
            parent: Fid::ROOT,
            name: b"g",
            fid,
            flags,
            mode: S_IFREG,
            umask: 0,
            layout: &[],
            group: None,
        };
        let cred = Cred {
            uid: 500,
            gid: 500,
            groups: Vec::new(),
        };
        let mut o = w.c.mdc.open(&wish, &cred)?;
        o.found.lock = None;
        w.c.mdc.close(o.handle.unwrap(), None, &fid);
        Ok(())
    };
    while other(exec) == Err(ETXTBSY) {
        // The close is on its way.
        std::thread::yield_now();
    }
    assert_eq!(other(exec), Ok(()));
    for flags in [read, exec | write, exec | OpenFlags::TRUNC] {
        assert_eq!(other(flags), Err(EACCES));
    }
    let e = loop {
        match w.open(Fid::ROOT, "g", exec) {
            Err(e) if e == ETXTBSY => std::thread::yield_now(),
            r => break r.unwrap(),
        }
    };
    let later = write | OpenFlags::DELAY_CREATE;
    assert_eq!(w.open(Fid::ROOT, "g", later).err(), Some(ETXTBSY));
    w.c.mdc.close(e.handle.unwrap(), None, &e.found.attr.fid);
    // Directories.
    let d = w.mkdir(Fid::ROOT, "d").unwrap();
    assert_eq!(w.open(Fid::ROOT, "d", write).err(), Some(EISDIR));
    let od = w.open(Fid::ROOT, "d", dir).unwrap();
    w.c.mdc.close(od.handle.unwrap(), None, &d.fid);
    // A link is opened by the client.
    w.make(Fid::ROOT, "l", S_IFLNK | 0o777, "f").unwrap();
    assert!(w.open(Fid::ROOT, "l", read).unwrap().handle.is_none());
    // Unlinked and open: it is there until the close.
    let left = w.unlink(Fid::ROOT, "f", false).unwrap().unwrap();
    assert_eq!(left.nlink, 0);
    assert_ne!(left.flags & InodeFlags::ORPHAN.bits(), 0);
    let valid = ObdMd::FLGETATTR;
    let a = w.c.mdc.getattr(f.fid, valid, 0, &w.cred).unwrap().attr;
    assert_eq!(a.nlink, 0);
    w.c.mdc.close(h, None, &f.fid);
    for _ in 0..1000 {
        if w.c.mdc.getattr(f.fid, valid, 0, &w.cred).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(
        w.c.mdc.getattr(f.fid, valid, 0, &w.cred).err(),
        Some(ENOENT)
    );
    w.stop();
}

#[test]
fn what_a_client_leaves_open() {
    let w = World::new();
    let other = TestClient::connect(&w.node);
    let f = w.create(Fid::ROOT, "f");
    let wish = OpenWish {
        parent: Fid::ROOT,
        name: b"f",
        fid: f.fid,
        flags: OpenFlags::FMODE_READ,
        mode: 0,
        umask: 0,
        layout: &[],
        group: None,
    };
    assert!(other.mdc.open(&wish, &w.cred).unwrap().handle.is_some());
    assert_eq!(w.unlink(Fid::ROOT, "f", false).unwrap().unwrap().nlink, 0);
    let there = |w: &World| w.c.mdc.getattr(f.fid, ObdMd::FLGETATTR, 0, &w.cred).is_ok();
    assert!(there(&w));
    other.stop();
    assert!(!there(&w));
    w.stop();
}

#[test]
fn attributes() {
    let w = World::new();
    let f = w.create(Fid::ROOT, "f");
    let set = |s: SetAttr| w.c.mdc.setattr(f.fid, &s, &[], None, &w.cred);
    let a = set(SetAttr {
        mode: Some(0o640),
        uid: Some(500),
        gid: Some(600),
        ..SetAttr::default()
    })
    .unwrap();
    assert_eq!((a.mode, a.uid, a.gid), (S_IFREG | 0o640, 500, 600));
    let a = set(SetAttr {
        mtime: Some(Some(1000)),
        atime: Some(Some(2000)),
        ..SetAttr::default()
    })
    .unwrap();
    assert_eq!((a.mtime, a.atime), (1000, 2000));
    assert!(a.ctime > 2000);
    assert_eq!(w.look(Fid::ROOT, "f").unwrap().mtime, 1000);
    // Others may not.
    let nobody = Cred {
        uid: 501,
        gid: 501,
        groups: vec![],
    };
    let mode = SetAttr {
        mode: Some(0o777),
        ..SetAttr::default()
    };
    let r = w.c.mdc.setattr(f.fid, &mode, &[], None, &nobody);
    assert_eq!(r, Err(EPERM));
    w.stop();
}

#[test]
fn renames() {
    let w = World::new();
    let (a, b) = (
        w.mkdir(Fid::ROOT, "a").unwrap(),
        w.mkdir(Fid::ROOT, "b").unwrap(),
    );
    let f = w.create(a.fid, "f");
    let g = w.create(b.fid, "g");
    let mv = |from: (Fid, &str), to: (Fid, &str)| {
        let from = (from.0, from.1.as_bytes(), None);
        let to = (to.0, to.1.as_bytes(), None);
        w.c.mdc.rename(from, to, (None, None), &w.cred)
    };
    assert_eq!(mv((a.fid, "f"), (a.fid, "f1")), Ok(None));
    assert_eq!(mv((a.fid, "f1"), (a.fid, "f1")), Ok(None));
    let victim = mv((a.fid, "f1"), (b.fid, "g")).unwrap().unwrap();
    assert_eq!((victim.fid, victim.nlink), (g.fid, 0));
    assert_eq!(w.look(b.fid, "g").unwrap().fid, f.fid);
    assert_eq!(mv((a.fid, "f1"), (b.fid, "h")), Err(ENOENT));
    // Directories, whose kind the client does not tell here.
    assert_eq!(mv((Fid::ROOT, "a"), (b.fid, "a")), Ok(None));
    assert_eq!(w.names(b.fid), [".", "..", "a", "g"]);
    assert_eq!(mv((Fid::ROOT, "b"), (a.fid, "b")), Err(EINVAL));
    assert_eq!(mv((Fid::ROOT, "b"), (b.fid, "b")), Err(EINVAL));
    assert_eq!(mv((b.fid, "a"), (Fid::ROOT, "b")), Err(EINVAL));
    let c = w.mkdir(a.fid, "c").unwrap();
    w.mkdir(c.fid, "e").unwrap();
    assert_eq!(mv((c.fid, "e"), (b.fid, "a")), Err(ENOTEMPTY));
    assert_eq!(mv((b.fid, "g"), (b.fid, "a")), Err(EISDIR));
    assert_eq!(mv((b.fid, "a"), (b.fid, "g")), Err(ENOTDIR));
    assert_eq!(mv((c.fid, "e"), (Fid::ROOT, "e")), Ok(None));
    w.stop();
}

#[test]
fn xattrs() {
    let w = World::new();
    let f = w.create(Fid::ROOT, "f");
    let m = &w.c.mdc;
    m.set_xattr(f.fid, b"user.a", Some(b"value"), 0, &w.cred)
        .unwrap();
    m.set_xattr(f.fid, b"trusted.t", Some(&[7; 3000]), 0, &w.cred)
        .unwrap();
    assert_eq!(m.get_xattr(f.fid, b"user.a", &w.cred).unwrap(), b"value");
    assert_eq!(
        m.get_xattr(f.fid, b"trusted.t", &w.cred).unwrap(),
        [7; 3000]
    );
    assert_eq!(m.get_xattr(f.fid, b"user.b", &w.cred), Err(ENODATA));
    let names = m.list_xattrs(f.fid, &w.cred).unwrap();
    let names: Vec<_> = names.split(|c| *c == 0).collect();
    assert!(names.contains(&&b"user.a"[..]) && names.contains(&&b"trusted.t"[..]));
    let create = |n: &[u8], how| m.set_xattr(f.fid, n, Some(b""), how, &w.cred);
    assert_eq!(create(b"user.a", wire::reint::XATTR_CREATE), Err(EEXIST));
    assert_eq!(create(b"user.b", wire::reint::XATTR_REPLACE), Err(ENODATA));
    create(b"user.b", wire::reint::XATTR_CREATE).unwrap();
    assert_eq!(m.get_xattr(f.fid, b"user.b", &w.cred).unwrap(), b"");
    m.set_xattr(f.fid, b"user.a", None, 0, &w.cred).unwrap();
    assert_eq!(m.get_xattr(f.fid, b"user.a", &w.cred), Err(ENODATA));
    assert_eq!(
        m.set_xattr(f.fid, b"user.a", None, 0, &w.cred),
        Err(ENODATA)
    );
    w.stop();
}

#[test]
fn read_only() {
    let w = World::new();
    w.create(Fid::ROOT, "f");
    let ro = TestClient::connect_with(&w.node, true);
    let d = NewNode {
        parent: Fid::ROOT,
        name: b"d",
        mode: S_IFDIR | 0o755,
        rdev: 0,
        umask: 0,
        target: b"",
        group: None,
    };
    assert_eq!(ro.mdc.create(&d, &w.cred), Err(EROFS));
    let f = w.look(Fid::ROOT, "f").unwrap();
    let read = OpenWish {
        parent: Fid::ROOT,
        name: b"f",
        fid: f.fid,
        flags: OpenFlags::FMODE_READ,
        mode: 0,
        umask: 0,
        layout: &[],
        group: None,
    };
    let mut o = ro.mdc.open(&read, &w.cred).unwrap();
    o.found.lock = None;
    ro.mdc.close(o.handle.unwrap(), Some(&f), &f.fid);
    let write = OpenWish {
        flags: OpenFlags::FMODE_WRITE,
        ..read
    };
    assert_eq!(ro.mdc.open(&write, &w.cred).err(), Some(EROFS));
    let body = MdtBody {
        mbo_fid1: f.fid.into(),
        ..MdtBody::default()
    };
    let change = HsmStateSet::default();
    let bufs = [body.as_bytes(), &[], change.as_bytes()];
    let m = rpc::request(MDS_HSM_STATE_SET, MDS_VERSION, &bufs).unwrap();
    assert_eq!(ro.raw(m, None).unwrap().status, EROFS.to_errno());
    assert_eq!(
        ro.mdc
            .unlink(Fid::ROOT, b"f", Fid::ZERO, false, None, &w.cred),
        Err(EROFS)
    );
    ro.stop();
    w.stop();
}

#[test]
fn squashed() {
    let w = World::new();
    w.mdt.set_param("root_squash", "99:98").unwrap();
    assert_eq!(w.mkdir(Fid::ROOT, "d"), Err(EACCES));
    w.mdt.set_param("nosquash_nids", "*@tcp").unwrap();
    let d = w.make(Fid::ROOT, "d", S_IFDIR | 0o777, "").unwrap();
    let open = SetAttr {
        mode: Some(0o777),
        ..SetAttr::default()
    };
    w.c.mdc.setattr(d.fid, &open, &[], None, &w.cred).unwrap();
    w.mdt.set_param("nosquash_nids", "NONE").unwrap();
    let e = w.mkdir(d.fid, "e").unwrap();
    assert_eq!((e.uid, e.gid), (99, 98));
    assert_eq!(w.mdt.set_param("nothing", ""), Err(ENOENT));
    let param = |n: &str| format!("mdt/{}/{n}", w.mdt.name());
    assert_eq!(
        kapi::params::read(&param("root_squash")).unwrap(),
        "99:98\n"
    );
    assert_eq!(kapi::params::write(&param("root_squash"), "x"), Err(EINVAL));
    kapi::params::write(&param("root_squash"), "0:0").unwrap();
    w.mkdir(Fid::ROOT, "f").unwrap();
    assert!(kapi::params::read(&param("md_stats"))
        .unwrap()
        .contains("mkdir"));
    w.stop();
}

/// A large directory, read in several requests; every name once.
#[test]
fn large_directory() {
    let w = World::new();
    let d = w.mkdir(Fid::ROOT, "d").unwrap();
    for i in 0..500 {
        w.make(
            d.fid,
            &format!("some-rather-long-name-{i:05}"),
            0o010600,
            "",
        )
        .unwrap();
    }
    let names = w.names(d.fid);
    assert_eq!(names.len(), 502);
    assert!(names.windows(2).all(|p| p[0] < p[1]));
    w.stop();
}

/// The path of an object below a client's root, by one of its links; the number to go on with.
fn path(w: &World, fid: Fid, root: Fid, link: u32, room: u32) -> Result<(String, u32)> {
    let ask = GetinfoFid2path {
        gf_fid: fid.into(),
        gf_recno: u64::MAX.into(),
        gf_linkno: link.into(),
        gf_pathlen: room.into(),
    };
    let mut key = b"fid2path\0\0\0\0\0\0\0\0".to_vec();
    key.extend_from_slice(ask.as_bytes());
    key.extend_from_slice(LuFid::from(root).as_bytes());
    let len = 32 + room;
    let m = rpc::request(MDS_GET_INFO, MDS_VERSION, &[&key, &len.to_le_bytes()])?;
    let r = w.c.raw(m, None)?.check()?;
    let b = r.msg.buf(1).unwrap();
    assert_eq!(b.len(), len as usize);
    let (head, text) = GetinfoFid2path::read_from_prefix(b).unwrap();
    let end = text.iter().position(|c| *c == 0).unwrap();
    let text = String::from_utf8(text[..end].to_vec()).unwrap();
    Ok((text, head.gf_linkno.get()))
}

#[test]
fn paths() {
    let w = World::new();
    let a = w.mkdir(Fid::ROOT, "a").unwrap();
    let b = w.mkdir(a.fid, "long-name").unwrap();
    let f = w.create(b.fid, "f");
    let root = Fid::ROOT;
    let link = w.c.mdc.link(f.fid, root, b"g", (None, None), &w.cred);
    link.unwrap();
    let of = |fid, link| path(&w, fid, root, link, 4096);
    assert_eq!(of(root, 0), Ok((String::new(), 0)));
    assert_eq!(of(b.fid, 0), Ok(("a/long-name".into(), 0)));
    assert_eq!(of(f.fid, 0), Ok(("a/long-name/f".into(), 1)));
    assert_eq!(of(f.fid, 1), Ok(("g".into(), 1)));
    assert_eq!(of(f.fid, 7), Ok(("a/long-name/f".into(), 7)));
    assert_eq!(of(Fid::new(f.fid.seq, 0x7000_0000), 0), Err(ENOENT));
    assert_eq!(path(&w, f.fid, root, 0, 10), Err(EOVERFLOW));
    assert_eq!(path(&w, f.fid, root, 0, 13), Err(EOVERFLOW));
    assert_eq!(path(&w, f.fid, root, 0, 14).unwrap().0, "a/long-name/f");
    assert_eq!(path(&w, f.fid, root, 0, 2), Err(EOVERFLOW));
    assert_eq!(path(&w, f.fid, root, 0, 4097), Err(EINVAL));
    assert_eq!(path(&w, f.fid, a.fid, 0, 4096), Err(EXDEV));
    // With a directory in place of the root.
    assert_eq!(w.c.mdc.root(Some("/a")).unwrap(), a.fid);
    assert_eq!(path(&w, f.fid, a.fid, 0, 4096).unwrap().0, "long-name/f");
    assert_eq!(path(&w, f.fid, a.fid, 1, 4096), Err(ENOENT));
    w.stop();
}

/// What was done is there in the next life, whose numbers are others.
#[test]
fn another_life() {
    let store = osd_memory::device();
    let node = ServerNode::start();
    let mdt = node.mdt(store.clone());
    let c = TestClient::connect(&node);
    let fsname = node.fsname.clone();
    let w = World {
        node,
        mdt,
        c,
        cred: Cred::root(),
    };
    let d = w.mkdir(Fid::ROOT, "d").unwrap();
    let f = w.create(d.fid, "f");
    let last = w.mdt.target().last_transno();
    w.stop();
    let mut node = ServerNode::start();
    node.fsname = fsname;
    let mdt = node.mdt(store);
    assert!(mdt.target().last_transno() > last + (1 << 31));
    let c = TestClient::connect(&node);
    let w = World {
        node,
        mdt,
        c,
        cred: Cred::root(),
    };
    assert_eq!(w.look(Fid::ROOT, "d").unwrap().fid, d.fid);
    assert_eq!(w.look(d.fid, "f").unwrap().fid, f.fid);
    let g = w.create(d.fid, "g");
    assert!(g.fid.seq > f.fid.seq);
    w.stop();
}

/// A client that is told so waits for a connection that is lost, and fails nothing meanwhile.
#[test]
fn connections_outlast_breaks() {
    let w = World::new();
    let c = w.c.mdc.target().import().config();
    let lens = [39, 39, 8, size_of::<ConnectData>() as u32, 0];
    let mut m = Msg::request(MDS_CONNECT, OBD_VERSION, &lens).unwrap();
    let somebody = ClientUuid::new(b"somebody").unwrap();
    for (i, uuid) in [(1, &c.target_uuid), (2, &somebody)] {
        m.buf_mut(i).unwrap().copy_from_slice(&uuid.padded()[..39]);
    }
    let mut wanted = c.wanted;
    let flags = wanted.flags() | ConnectFlags::LRU_RESIZE;
    wanted.set_flags(flags, wanted.flags2());
    *m.get_mut::<ConnectData>(4).unwrap() = wanted;
    let op = ConnectOpFlags::INITIAL;
    m.body_mut().unwrap().pb_op_flags.set(op.bits());
    let r = w.c.raw(m, None).unwrap();
    assert_eq!(r.status, 0);
    let op = ConnectOpFlags::from_bits_retain(r.msg.body().pb_op_flags.get());
    assert_eq!(op, ConnectOpFlags::REPLAYABLE);
    // How many locks to keep is told to who asks for it.
    let told = |m: &Msg| (m.body().pb_limit.get(), m.body().pb_slv.get());
    assert_eq!(told(&r.msg), (50 * 8192, 50 * 8192 * 36_000));
    let m = rpc::request(OBD_PING, OBD_VERSION, &[]).unwrap();
    assert_eq!(told(&w.c.raw(m, None).unwrap().msg), (0, 0));
    w.stop();
}

/// The state towards an archive, of which there is none yet.
#[test]
fn hsm_state() {
    let w = World::new();
    let f = w.create(Fid::ROOT, "f").fid;
    let body = |uid: u32| {
        let mut b = MdtBody {
            mbo_fid1: f.into(),
            ..MdtBody::default()
        };
        b.mbo_fsuid.set(uid);
        b.mbo_fsgid.set(uid);
        b.mbo_capability.set(if uid == 0 { u32::MAX } else { 0 });
        b
    };
    let set = |uid, set: HsmFlags, clear: HsmFlags| {
        let change = HsmStateSet {
            hss_valid: (HsmValid::SET | HsmValid::CLEAR).bits().into(),
            hss_setmask: u64::from(set.bits()).into(),
            hss_clearmask: u64::from(clear.bits()).into(),
            ..HsmStateSet::default()
        };
        let b = body(uid);
        let bufs = [b.as_bytes(), &[], change.as_bytes()];
        let m = rpc::request(MDS_HSM_STATE_SET, MDS_VERSION, &bufs).unwrap();
        w.c.raw(m, None).unwrap().status
    };
    let get = || {
        let b = body(0);
        let m = rpc::request(MDS_HSM_STATE_GET, MDS_VERSION, &[b.as_bytes(), &[]]).unwrap();
        let r = w.c.raw(m, None).unwrap();
        assert_eq!(r.status, 0);
        let s = *r.msg.get::<HsmUserState>(2).unwrap();
        HsmFlags::from_bits_retain(s.hus_states.get())
    };
    let (none, errno) = (HsmFlags::empty(), |e: Error| e.to_errno());
    assert_eq!(get(), none);
    // As clients say it after a write.
    assert_eq!(set(0, HsmFlags::DIRTY, none), errno(EINVAL));
    assert_eq!(set(0, HsmFlags::NOARCHIVE, none), 0);
    assert_eq!(get(), HsmFlags::NOARCHIVE);
    assert_eq!(set(7, HsmFlags::NORELEASE, none), errno(EACCES));
    assert_eq!(set(7, HsmFlags::EXISTS, none), errno(EPERM));
    let there = HsmFlags::EXISTS | HsmFlags::ARCHIVED;
    assert_eq!(set(0, there, HsmFlags::NOARCHIVE), 0);
    assert_eq!(set(0, HsmFlags::DIRTY, none), 0);
    assert_eq!(get(), there | HsmFlags::DIRTY);
    assert_eq!(
        set(0, HsmFlags::RELEASED, HsmFlags::DIRTY),
        errno(EOPNOTSUPP)
    );
    assert_eq!(
        set(0, HsmFlags::from_bits_retain(0x1000), none),
        errno(EINVAL)
    );
    assert_eq!(get(), there | HsmFlags::DIRTY);
    w.stop();
}

/// What `lfs quota` asks of an MDT. There are no limits.
#[test]
fn quotas() {
    let w = World::new();
    let ask = |cmd: u32, kind: u32, id: u32| {
        let mut q = ObdQuotactl::default();
        q.qc_cmd.set(cmd);
        q.qc_type.set(kind);
        q.qc_id.set(id);
        // What the last answer left in it does not count.
        q.qc_dqblk.dqb_curspace.set(99);
        let m = rpc::request(MDS_QUOTACTL, MDS_VERSION, &[q.as_bytes()]).unwrap();
        let r = w.c.raw(m, None).unwrap();
        match r.status {
            0 => Ok(r.msg.get::<ObdQuotactl>(1).unwrap().qc_dqblk),
            e => Err(Error::from_errno(e)),
        }
    };
    let (limits, usage) = (0x80_0007, 0x80_0103);
    let before = ask(usage, quota_type::USER, 7).unwrap();
    assert_eq!(
        (before.dqb_curinodes.get(), before.dqb_valid.get()),
        (0, 0xf)
    );
    let f = w.create(Fid::ROOT, "f").fid;
    let owner = SetAttr {
        uid: Some(7),
        ..SetAttr::default()
    };
    w.c.mdc.setattr(f, &owner, &[], None, &w.cred).unwrap();
    let after = ask(usage, quota_type::USER, 7).unwrap();
    assert_eq!(after.dqb_curinodes.get(), 1);
    let l = ask(limits, quota_type::USER, 7).unwrap();
    assert_eq!(l.dqb_valid.get(), 0x35);
    assert_eq!((l.dqb_bhardlimit.get(), l.dqb_curspace.get()), (0, 0));
    assert_eq!(ask(limits, 9, 7).err(), Some(EINVAL));
    // There is nobody who would keep it.
    assert_eq!(ask(0x80_0008, quota_type::USER, 7).err(), Some(EOPNOTSUPP));
    w.stop();
}
