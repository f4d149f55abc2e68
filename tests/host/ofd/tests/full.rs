// SPDX-License-Identifier: GPL-2.0

//! Grants, and an OST without space.

mod common;

use common::*;
use kapi::prelude::*;
use osd::Device;
use wire::fid::Fid;
use wire::obdo::{ObdFl, ObdMd, Obdo};
use wire::opcode::*;
use wire::ost::BrwFlags;
use zerocopy::IntoBytes;

const TAX: u64 = 24 << 10;

fn small(id: u8, blocks: u64) -> Oss {
    Oss::with(
        id,
        osd_memory::Config {
            blocks,
            files: 1000,
            ..Default::default()
        },
    )
}

/// A write of a client that keeps its books.
struct Writer<'a> {
    c: &'a Peer,
    has: u64,
}

impl Writer<'_> {
    fn write(&mut self, fid: Fid, pos: u64, len: usize, paid: bool) -> Result<Obdo> {
        let mut o = obdo(fid, ObdMd::FLGRANT | ObdMd::FLBLOCKS);
        let cost = len.next_multiple_of(4096) as u64 + TAX;
        let mut flags = BrwFlags::SRVLOCK | BrwFlags::ASYNC;
        if paid {
            assert!(cost <= self.has);
            self.has -= cost;
            o.o_data_version.set(cost);
            flags.insert(BrwFlags::FROM_GRANT);
        }
        o.o_blocks.set(cost);
        o.o_grant.set(self.has);
        o.o_mode.set(32 << 20);
        let n = [niobuf(pos, len as u32, flags)];
        let r = self.c.write_with(&o, &n, &vec![7; len])?.check()?;
        let b = *r.msg.get::<Obdo>(1)?;
        assert!(b.valid().contains(ObdMd::FLGRANT));
        self.has += b.o_grant.get();
        match rcs(&r)[0] {
            0 => Ok(b),
            e => Err(Error::from_errno(e)),
        }
    }
}

#[test]
fn granted_writes_always_find_space() {
    let oss = small(51, 4096);
    let (m, c, d) = (oss.mdt(2), oss.client(3), oss.client(4));
    let (fid, other) = m.precreate(4);
    let mut a = Writer {
        c: &c,
        has: c.connect_data().ocd_grant.get().into(),
    };
    let mut b = Writer {
        c: &d,
        has: d.connect_data().ocd_grant.get().into(),
    };
    assert!(a.has > 0 && b.has > 0 && a.has + b.has < 16 << 20);
    let sum = |a: &Writer<'_>, b: &Writer<'_>| a.has + b.has + 8 * 4096;
    // One fills the OST without grant, as far as that goes.
    let mut pos = 0;
    let full = loop {
        match b.write(other, pos, 256 << 10, false) {
            Ok(_) => pos += 256 << 10,
            Err(e) => break e,
        }
        assert!(pos < 16 << 20);
    };
    assert_eq!(full, ENOSPC);
    assert!(pos > 0);
    let free = || oss.device.statfs().unwrap().bavail * 4096;
    assert!(
        free() >= a.has + b.has,
        "{} free, {} promised",
        free(),
        sum(&a, &b)
    );
    // Every byte that was promised can be written.
    for w in [&mut a, &mut b] {
        let file = if w.has % 2 == 0 { fid } else { other };
        let mut at = 64 << 20;
        while w.has >= 8192 + TAX {
            let len = (w.has - TAX).min(1 << 20) & !4095;
            w.write(file, at, len as usize, true).unwrap();
            at += len;
        }
    }
    // What has blocks can be written without any.
    b.write(other, 0, 4096, false).unwrap();
    let (granted, _, pending) = oss.ofd().grants();
    assert_eq!(pending, 0);
    assert!(
        granted <= free() + 68 * 4096,
        "{granted} promised, {} free",
        free()
    );
    drop(c);
    drop(d);
    let own = oss.ofd().grants().0;
    assert!(own == 68 * 4096 || own == 0);
}

#[test]
fn freed_space_is_used_again() {
    let oss = small(52, 4096);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, other) = m.precreate(4);
    let mut pos = 0;
    while c.write(fid, pos, &[1; 1 << 20]).is_ok() {
        pos += 1 << 20;
    }
    assert_eq!(c.write(other, 0, &[1; 1 << 20]).err(), Some(ENOSPC));
    let o = obdo(fid, ObdMd::empty());
    m.send(
        OST_DESTROY,
        portal::OST_REQUEST,
        &[o.as_bytes(), &[0; 104]],
        &[BODY],
        None,
    )
    .unwrap()
    .check()
    .unwrap();
    c.write(other, 0, &[1; 1 << 20]).unwrap();
}

#[test]
fn no_inodes() {
    let oss = small(53, 100_000);
    let m = oss.mdt(2);
    let (fid, _) = m.precreate(10);
    let create = |id: u32| {
        let mut o = obdo(Fid::new(fid.seq, id), ObdMd::empty());
        o.set_valid(ObdMd::FLGROUP);
        m.main(OST_CREATE, &o).map(|o| o.o_oi.id())
    };
    let last = create(5000).unwrap();
    assert!((900..1000).contains(&last), "{last}");
    assert_eq!(create(6000), Err(ENOSPC));
    assert!(oss.object(&Fid::new(fid.seq, last as u32)).exists());
    assert!(!oss.object(&Fid::new(fid.seq, last as u32 + 1)).exists());
}

/// An attempt that is made again was paid for before; a message that is sent again says nothing.
#[test]
fn writes_that_are_made_again() {
    let oss = small(54, 100_000);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(1);
    let before = oss.ofd().grants().0;
    let mut o = obdo(fid, ObdMd::FLGRANT | ObdMd::FLBLOCKS);
    o.set_flags(ObdFl::RECOV_RESEND);
    o.o_data_version.set(4096 + TAX);
    // Has all it wants.
    (o.o_grant, o.o_mode) = ((1 << 30).into(), 0.into());
    let f = BrwFlags::SRVLOCK | BrwFlags::ASYNC | BrwFlags::FROM_GRANT;
    let n = [niobuf(0, 4096, f)];
    c.write_with(&o, &n, &[1; 4096]).unwrap().check().unwrap();
    assert_eq!(oss.ofd().grants().0, before);
    o.set_flags(ObdFl::empty());
    c.write_with(&o, &n, &[1; 4096]).unwrap().check().unwrap();
    assert_eq!(oss.ofd().grants().0, before - 4096 - TAX);
}
