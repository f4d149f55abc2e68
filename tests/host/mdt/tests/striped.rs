// SPDX-License-Identifier: GPL-2.0

//! Files with objects on OSTs, all in one process.

mod common;

use common::Striped;
use kapi::prelude::*;
use ldlm::core::{flags, ibits, Mode};
use ldlm::msg::{self, ReplyMsg};
use lustre_client::attr::{Attr, S_IFREG};
use lustre_client::cred::Cred;
use lustre_client::layout::Layout;
use lustre_client::mdc::{Looked, OpenWish, Opened, SetAttr};
use lustre_client::rpc;
use ptlrpc::call::CallOptions;
use wire::fid::Fid;
use wire::ldlm::{IntentOp, LdlmIntent};
use wire::lov::{LovMdsMdV1, LovPattern, LOV_MAGIC_V1};
use wire::mdt::{LayoutIntent, OpenFlags};
use wire::msg::DLM_VERSION;
use wire::obdo::ObdMd;
use wire::opcode::LDLM_ENQUEUE;
use zerocopy::IntoBytes;

impl Striped {
    /// Opens by name, or (without one) what has the FID.
    fn open(&self, name: &[u8], fid: Fid, flags: OpenFlags, layout: &[u8]) -> Result<Opened> {
        let w = OpenWish {
            parent: Fid::ROOT,
            name,
            fid,
            flags,
            mode: S_IFREG | 0o644,
            umask: 0,
            layout,
            group: None,
        };
        let mut o = self.w.c.mdc.open(&w, &self.w.cred)?;
        o.found.lock = None;
        Ok(o)
    }

    fn create(&self, name: &str, flags: OpenFlags, layout: &[u8]) -> Opened {
        let fid = self.w.c.mdc.new_fid().unwrap();
        let flags = OpenFlags::FMODE_WRITE | OpenFlags::CREAT | flags;
        self.open(name.as_bytes(), fid, flags, layout).unwrap()
    }

    fn close(&self, o: &Opened) {
        self.w
            .c
            .mdc
            .close(o.handle.unwrap(), None, &o.found.attr.fid);
    }

    fn layout(&self, name: &str) -> Option<Layout> {
        match self
            .w
            .c
            .mdc
            .look_up((Fid::ROOT, None), name.as_bytes(), Fid::ZERO, &self.w.cred)
        {
            Ok(Looked::Found(f)) => parse(&f.layout),
            _ => panic!("{name} is not there"),
        }
    }

    fn attr(&self, fid: Fid) -> (Attr, ObdMd) {
        let got = self
            .w
            .c
            .mdc
            .getattr(fid, ObdMd::FLGETATTR, 0, &self.w.cred)
            .unwrap();
        (got.attr, got.valid)
    }
}

fn parse(ea: &[u8]) -> Option<Layout> {
    match ea {
        [] => None,
        ea => Layout::parse(ea).unwrap(),
    }
}

/// What `lfs setstripe` asks for.
fn user_md(count: u16, size: u32) -> Vec<u8> {
    let mut md = LovMdsMdV1::default();
    md.lmm_magic.set(LOV_MAGIC_V1);
    md.lmm_pattern.set(LovPattern::RAID0.bits());
    md.lmm_stripe_size.set(size);
    md.lmm_stripe_count.set(count);
    md.lmm_layout_gen.set(0xffff);
    md.as_bytes().to_vec()
}

#[test]
fn layouts() {
    let s = Striped::new();
    // By default one object, made along with the file.
    let f = s.create("f", OpenFlags::empty(), &[]);
    assert!(f.created && !f.found.attr.size_valid);
    let l = parse(&f.found.layout).unwrap();
    assert_eq!(l.stripes.len(), 1);
    assert_eq!(s.layout("f").unwrap().stripes, l.stripes);
    s.close(&f);
    // As the user wants it, in two steps.
    let g = s.create("g", OpenFlags::DELAY_CREATE, &[]);
    let fid = g.found.attr.fid;
    assert!(g.found.layout.is_empty() && g.found.attr.size_valid);
    let flags = OpenFlags::FMODE_WRITE | OpenFlags::BY_FID | OpenFlags::HAS_EA;
    let wish = user_md(2, 1 << 20);
    let g2 = s.open(b"", fid, flags, &wish).unwrap();
    let l = parse(&g2.found.layout).unwrap();
    assert_eq!((l.stripes.len(), l.stripe_size), (2, 1 << 20));
    assert_eq!(s.open(b"", fid, flags, &wish).err(), Some(EEXIST));
    s.close(&g);
    s.close(&g2);
    // Nonsense.
    let bad = user_md(1, 4096);
    assert_eq!(s.open(b"", fid, flags, &[]).err(), Some(EEXIST));
    let h = s.create("h", OpenFlags::DELAY_CREATE, &[]);
    let hid = h.found.attr.fid;
    assert_eq!(s.open(b"", hid, flags, &bad).err(), Some(EINVAL));
    assert_eq!(s.open(b"", hid, flags, &[0; 128]).err(), Some(EINVAL));
    s.close(&h);
    // The default of a directory.
    let d = s.w.mkdir(Fid::ROOT, "d").unwrap();
    let none = SetAttr::default();
    let m = &s.w.c.mdc;
    m.setattr(d.fid, &none, &wish, None, &s.w.cred).unwrap();
    let got = m.getattr(d.fid, ObdMd::FLDIREA, 4096, &s.w.cred).unwrap();
    assert!(got.valid.contains(ObdMd::FLDIREA) && !got.valid.contains(ObdMd::FLEASIZE));
    let e = s.w.mkdir(d.fid, "e").unwrap();
    let w = OpenWish {
        parent: e.fid,
        name: b"x",
        fid: m.new_fid().unwrap(),
        flags: OpenFlags::FMODE_WRITE | OpenFlags::CREAT,
        mode: S_IFREG | 0o644,
        umask: 0,
        layout: &[],
        group: None,
    };
    let x = m.open(&w, &s.w.cred).unwrap();
    assert_eq!(parse(&x.found.layout).unwrap().stripes.len(), 2);
    m.close(x.handle.unwrap(), None, &x.found.attr.fid);
    drop(x);
    let r = m.setattr(hid, &none, &wish, None, &s.w.cred);
    assert_eq!(r, Err(ENOTDIR));
    let all = m.statfs(true).unwrap();
    assert!(all.os_blocks.get() > 0);
    s.stop();
}

/// An MDT hears of the OSTs after clients do: files wait for them, and keep nobody from their names.
#[test]
fn the_first_osts() {
    let mut s = Striped::without_osts();
    let mdc = s.w.c.mdc.clone();
    let open = move |name: &'static [u8]| {
        let mdc = mdc.clone();
        std::thread::spawn(move || {
            let w = OpenWish {
                parent: Fid::ROOT,
                name,
                fid: mdc.new_fid().unwrap(),
                flags: OpenFlags::FMODE_WRITE | OpenFlags::CREAT,
                mode: S_IFREG | 0o644,
                umask: 0,
                layout: &[],
                group: None,
            };
            let o = mdc.open(&w, &Cred::root()).unwrap();
            mdc.close(o.handle.unwrap(), None, &o.found.attr.fid);
            (o.created, parse(&o.found.layout))
        })
    };
    let (f, g) = (open(b"f"), open(b"g"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!f.is_finished() && !g.is_finished());
    // Somebody is faster.
    s.w.create(Fid::ROOT, "g");
    assert!(!f.is_finished() && !g.is_finished());
    s.add_osts();
    let (created, layout) = f.join().unwrap();
    assert!(created && layout.unwrap().stripes.len() == 1);
    let (created, layout) = g.join().unwrap();
    assert!(!created && layout.unwrap().stripes.len() == 1);
    s.stop();
}

/// A size that a file got before it had objects is there when it has them.
#[test]
fn a_size_before_objects() {
    let s = Striped::new();
    let m = &s.w.c.mdc;
    let f = s.create("f", OpenFlags::DELAY_CREATE, &[]);
    let fid = f.found.attr.fid;
    let size = SetAttr {
        size: Some((5 << 20) | 17),
        ..SetAttr::default()
    };
    m.setattr(fid, &size, &[], None, &s.w.cred).unwrap();
    let (a, valid) = s.attr(fid);
    assert!(valid.contains(ObdMd::FLSIZE) && a.size == (5 << 20) | 17);
    let flags = OpenFlags::FMODE_WRITE | OpenFlags::BY_FID | OpenFlags::HAS_EA;
    let g = s.open(b"", fid, flags, &user_md(2, 1 << 20)).unwrap();
    let l = parse(&g.found.layout).unwrap();
    let size_of = |i: usize| s.object_size(l.stripes[i].ost, &l.stripes[i].fid);
    // Units 0, 2 and 4; 1, 3 and the start of 5.
    assert_eq!((size_of(0), size_of(1)), (3 << 20, (2 << 20) | 17));
    s.close(&f);
    s.close(&g);
    s.stop();
}

/// What closes tell of the size is kept, as a hint.
#[test]
fn lazy_size() {
    let s = Striped::new();
    let f = s.create("f", OpenFlags::empty(), &[]);
    let fid = f.found.attr.fid;
    let lazy = ObdMd::FLLAZYSIZE | ObdMd::FLLAZYBLOCKS;
    assert!(!s.attr(fid).1.intersects(lazy | ObdMd::FLSIZE));
    let told = Attr {
        size: 12345,
        blocks: 24,
        mtime: 2_000_000_000,
        ctime: 2_000_000_000,
        ..f.found.attr
    };
    s.w.c.mdc.close(f.handle.unwrap(), Some(&told), &fid);
    let mut tries = 0;
    let (a, valid) = loop {
        let (a, valid) = s.attr(fid);
        if valid.contains(lazy) || tries > 1000 {
            break (a, valid);
        }
        tries += 1;
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(valid.contains(lazy) && !valid.intersects(ObdMd::FLSIZE));
    assert_eq!((a.size, a.blocks, a.mtime), (12345, 24, 2_000_000_000));
    s.stop();
}

/// IT_LAYOUT: the lock of the reply, and the layout.
fn ask_layout(s: &Striped, fid: Fid, opc: u32, mode: Mode) -> (i32, ReplyMsg, Vec<u8>) {
    let mut d = vec![0; 104];
    let desc = ldlm::core::Desc {
        res: lustre_client::mdc::resource(fid),
        req_mode: mode,
        granted: None,
        policy: lustre_client::mdc::bits(ibits::LAYOUT),
        cancel_bits: 0,
    };
    let handle = kapi::rand::u64();
    msg::request(&mut d, flags::HAS_INTENT, Some(&desc), Some(handle), &[]).unwrap();
    let i = LdlmIntent {
        opc: IntentOp::LAYOUT.bits().into(),
    };
    let mut l = LayoutIntent::default();
    l.lai_opc.set(opc);
    l.lai_end.set(4096);
    let mut m = rpc::request(
        LDLM_ENQUEUE,
        DLM_VERSION,
        &[&d, i.as_bytes(), l.as_bytes(), &[]],
    )
    .unwrap();
    rpc::sign(&mut m, &Cred::root()).unwrap();
    let mut o = CallOptions::new(&[1 << 16]).unwrap();
    o.modifies = true;
    let r = s.w.c.mdc.target().import().call(m, o, None).unwrap();
    let lock = ReplyMsg::parse(r.msg.buf(1).unwrap()).unwrap();
    (r.status, lock, r.msg.buf(2).unwrap().to_vec())
}

#[test]
fn layout_intents() {
    let s = Striped::new();
    let f = s.create("f", OpenFlags::empty(), &[]);
    let fid = f.found.attr.fid;
    let (status, lock, ea) = ask_layout(&s, fid, 0, Mode::Cr);
    assert_eq!(
        (status, lock.flags, lock.res1, lock.res2),
        (0, 0x1000, 1, 0)
    );
    assert_eq!(lock.desc.unwrap().granted, Some(Mode::Cr));
    assert_eq!(ea, f.found.layout);
    // To write where there are objects changes nothing.
    let (status, lock, ea) = ask_layout(&s, fid, 2, Mode::Ex);
    assert_eq!(
        (status, lock.flags, lock.res1, lock.res2),
        (0, 0x1001, 1, 0)
    );
    assert_eq!(lock.desc.unwrap().granted, Some(Mode::Cr));
    assert_eq!(ea, f.found.layout);
    // Where there is none yet it makes one.
    let g = s.create("g", OpenFlags::DELAY_CREATE, &[]);
    let (status, lock, ea) = ask_layout(&s, g.found.attr.fid, 2, Mode::Ex);
    assert_eq!((status, lock.res2), (0, 0));
    assert_eq!(parse(&ea).unwrap().stripes.len(), 1);
    assert_eq!(s.layout("g").unwrap().stripes, parse(&ea).unwrap().stripes);
    // What is not done.
    for (opc, want) in [(1, EOPNOTSUPP), (9, EOPNOTSUPP), (10, EINVAL)] {
        let (status, lock, ea) = ask_layout(&s, fid, opc, Mode::Ex);
        assert_eq!((status, lock.cookie), (301, 0));
        assert_eq!(lock.res2 as i64 as i32, want.to_errno());
        assert!(ea.is_empty());
    }
    s.close(&f);
    s.close(&g);
    s.stop();
}
