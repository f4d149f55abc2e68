// SPDX-License-Identifier: GPL-2.0

//! Files without a name: they live as long as they are open.

mod common;

use common::{Striped, World};
use kapi::prelude::*;
use lustre_client::attr::S_IFREG;
use lustre_client::layout::Layout;
use lustre_client::mdc::{OpenWish, Opened};
use wire::fid::Fid;
use wire::mdt::OpenFlags;
use wire::obdo::ObdMd;

const NAME: &[u8] = b".\x0c\x13\x14\x12:VOLATILE:0000:1A254B78:fd=03";
const VOLATILE: OpenFlags = OpenFlags::VOLATILE
    .union(OpenFlags::CREAT)
    .union(OpenFlags::EXCL)
    .union(OpenFlags::FMODE_WRITE);

fn wish(parent: Fid, fid: Fid, name: &[u8], flags: OpenFlags) -> OpenWish<'_> {
    OpenWish {
        parent,
        name,
        fid,
        flags,
        mode: S_IFREG | 0o600,
        umask: 0,
        layout: &[],
        group: None,
    }
}

fn open(w: &World, parent: Fid, name: &[u8], flags: OpenFlags) -> Result<Opened> {
    let fid = w.c.mdc.new_fid().unwrap();
    let mut o = w.c.mdc.open(&wish(parent, fid, name, flags), &w.cred)?;
    o.found.lock = None;
    Ok(o)
}

fn nlink(w: &World, fid: Fid) -> Result<u32> {
    let got = w.c.mdc.getattr(fid, ObdMd::FLGETATTR, 0, &w.cred)?;
    Ok(got.attr.nlink)
}

#[test]
fn it_ends_with_its_last_close() {
    let w = World::new();
    let d = w.mkdir(Fid::ROOT, "d").unwrap().fid;
    let before = nlink(&w, d).unwrap();
    let a = open(&w, d, NAME, VOLATILE | OpenFlags::DELAY_CREATE).unwrap();
    // The same name is no other file's.
    let b = open(&w, d, NAME, VOLATILE | OpenFlags::DELAY_CREATE).unwrap();
    assert!(a.created && b.created);
    let (fa, fb) = (a.found.attr.fid, b.found.attr.fid);
    assert_ne!(fa, fb);
    assert_eq!(a.found.attr.nlink, 1);
    assert_eq!((nlink(&w, fa), nlink(&w, fb)), (Ok(1), Ok(1)));
    let name = std::str::from_utf8(NAME).unwrap();
    assert!(w.look(d, name).is_none() && w.names(d).len() == 2);
    assert_eq!(nlink(&w, d), Ok(before));
    // It is open twice.
    let flags = OpenFlags::FMODE_READ | OpenFlags::BY_FID;
    let again = w.c.mdc.open(&wish(fa, fa, b"", flags), &w.cred).unwrap();
    w.c.mdc.close(a.handle.unwrap(), None, &fa);
    assert_eq!(nlink(&w, fa), Ok(1));
    w.c.mdc.close(again.handle.unwrap(), None, &fa);
    w.c.mdc.close(b.handle.unwrap(), None, &fb);
    for f in [fa, fb] {
        for _ in 0..1000 {
            if nlink(&w, f) == Err(ENOENT) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(nlink(&w, f), Err(ENOENT));
    }
    // The directory never had anything in it.
    w.unlink(Fid::ROOT, "d", true).unwrap();
    w.stop();
}

#[test]
fn what_is_refused() {
    let w = World::new();
    let d = w.mkdir(Fid::ROOT, "d").unwrap().fid;
    let f = w.create(Fid::ROOT, "f").fid;
    let refused = |parent, name: &[u8], flags| open(&w, parent, name, flags).err();
    assert_eq!(refused(d, b"other", VOLATILE), Some(EINVAL));
    let flags = OpenFlags::VOLATILE | OpenFlags::FMODE_WRITE;
    assert_eq!(refused(d, NAME, flags), Some(EINVAL));
    let flags = VOLATILE | OpenFlags::BY_FID;
    assert_eq!(refused(d, NAME, flags), Some(EINVAL));
    assert_eq!(refused(f, NAME, VOLATILE), Some(ENOTDIR));
    w.unlink(Fid::ROOT, "d", true).unwrap();
    assert_eq!(refused(d, NAME, VOLATILE), Some(ESTALE));
    // The FID of another file, which is left alone.
    let wish = wish(Fid::ROOT, f, NAME, VOLATILE | OpenFlags::DELAY_CREATE);
    assert_eq!(w.c.mdc.open(&wish, &w.cred).err(), Some(EEXIST));
    assert_eq!(nlink(&w, f), Ok(1));
    w.unlink(Fid::ROOT, "f", false).unwrap();
    assert_eq!(nlink(&w, f), Err(ENOENT));
    w.stop();
}

/// It has objects as other files have, and they go with it.
#[test]
fn with_objects() {
    let s = Striped::new();
    let o = open(&s.w, Fid::ROOT, NAME, VOLATILE).unwrap();
    let l = Layout::parse(&o.found.layout).unwrap().unwrap();
    let (ost, fid) = (l.stripes[0].ost, l.stripes[0].fid);
    assert!(s.has_object(ost, &fid));
    s.w.c.mdc.close(o.handle.unwrap(), None, &o.found.attr.fid);
    for _ in 0..2000 {
        if !s.has_object(ost, &fid) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!s.has_object(ost, &fid));
    s.stop();
}
