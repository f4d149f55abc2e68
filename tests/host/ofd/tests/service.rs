// SPDX-License-Identifier: GPL-2.0

//! An OST over real TCP: connects, data, attributes, precreation, locks.

mod common;

use common::*;
use kapi::prelude::*;
use ldlm::core::{flags, Extent, Mode};
use osd::Time;
use wire::connect::{ChecksumTypes, ConnectFlags, ConnectFlags2};
use wire::disk::filter_fid::{FilterFid, XATTR_NAME_FID};
use wire::fid::{Fid, LuFid};
use wire::lvb::OstLvb;
use wire::obdo::{CksumType, ObdFl, ObdMd, Obdo};
use wire::opcode::*;
use wire::ost::{BrwFlags, ObdStatfs};
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn connects() {
    let oss = Oss::new(1);
    let c = oss.client(2);
    let d = c.connect_data();
    // What is not done is not granted.
    assert!(!d
        .flags()
        .intersects(ConnectFlags::PINGLESS | ConnectFlags::OSS_CAPA));
    assert_eq!(
        d.flags2(),
        ConnectFlags2::INC_XID | ConnectFlags2::LSEEK | ConnectFlags2::REP_MBITS
    );
    assert_eq!(d.ocd_brw_size.get(), 4 << 20);
    assert_eq!(d.ocd_maxbytes.get(), 0xffffffff000);
    assert_eq!((d.ocd_grant_blkbits, d.ocd_grant_inobits), (12, 5));
    assert_eq!(
        (d.ocd_grant_tax_kb.get(), d.ocd_grant_max_blks.get()),
        (24, 16384)
    );
    let types = ChecksumTypes::from_bits_retain(d.ocd_cksum_types.get());
    assert!(types.contains(ChecksumTypes::ADLER));
    // 68 blocks are ours, an eighth of the rest at the most, and no more than a chunk.
    assert_eq!(d.ocd_grant.get(), 2 * ((4 << 20) + (24 << 10)));
    assert_eq!(
        oss.ofd().grants().0,
        u64::from(d.ocd_grant.get()) + 68 * 4096
    );
    let (m, refused) = (oss.mdt(3), [(4, 0x3001), (5, INDEX as u32 + 1)]);
    assert!(!m.connect_data().flags().contains(ConnectFlags::GRANT));
    for (n, index) in refused {
        let mut d = mdt_data();
        d.ocd_index.set(index);
        let p = oss.try_peer(n, d);
        assert!(p.import.wait_full(Duration::from_millis(300)).is_err());
    }
    // A read-only client gets no grant.
    let mut d = client_data();
    let f = d.flags() | ConnectFlags::RDONLY;
    d.set_flags(f, d.flags2());
    let r = oss.peer(6, d);
    let got = r.connect_data();
    assert_eq!(got.ocd_grant.get(), 0);
    assert!(!got
        .flags()
        .intersects(ConnectFlags::GRANT | ConnectFlags::GRANT_PARAM));
    let (fid, _) = m.precreate(1);
    assert_eq!(r.write(fid, 0, b"no").err(), Some(EROFS));
    drop(c);
    drop(r);
    assert_eq!(oss.ofd().grants(), (68 * 4096, 0, 0));
}

/// As large as the administrator allows.
#[test]
fn large_transfers() {
    let oss = Oss::new(40);
    let path = format!("obdfilter/{}/brw_size", ost_name(40));
    for refused in ["0", "3", "32", "x"] {
        assert!(kapi::params::write(&path, refused).is_err(), "{refused}");
    }
    kapi::params::write(&path, "16").unwrap();
    let (m, c) = (oss.mdt(41), oss.client(42));
    assert_eq!(c.connect_data().ocd_brw_size.get(), 16 << 20);
    let (fid, _) = m.precreate(1);
    let all = pattern(16 << 20, 3);
    for pos in [0, 8 << 20] {
        c.write(fid, pos, &all).unwrap();
        assert!(c.read(fid, pos, 16 << 20).unwrap() == all);
    }
    // In as many pieces as there are pages.
    let pages = |step| (0..2048u64).map(move |i| (i * step, 4096));
    let n: Vec<_> = pages(8192)
        .map(|(pos, len)| niobuf(pos, len, BrwFlags::SRVLOCK))
        .collect();
    let o = obdo(fid, ObdMd::empty());
    let r = c.write_with(&o, &n, &all[..8 << 20]).unwrap();
    assert_eq!(rcs(&r.check().unwrap()), [0; 2048]);
    assert!(c.read_with(&o, &n).unwrap().1 == all[..8 << 20]);
    let too_much = [niobuf(0, (16 << 20) + 4096, BrwFlags::SRVLOCK)];
    let r = c.write_with(&o, &too_much, &all[..4096]).unwrap();
    assert_eq!(r.check().err(), Some(EOVERFLOW));
}

#[test]
fn data() {
    let oss = Oss::new(2);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(4);
    assert_eq!(c.read(fid, 0, 4096).unwrap(), b"");
    let big = pattern((3 << 20) + 12345, 1);
    for (pos, len) in [
        (0, 10),
        (5, 4096),
        (4000, 1 << 20),
        (1 << 20, 100_000),
        (77, 3 << 20),
    ] {
        c.write(fid, pos as u64, &big[pos..pos + len]).unwrap();
        let got = c.read(fid, pos as u64, len as u32).unwrap();
        assert!(got == big[pos..pos + len], "{len} bytes at {pos}");
    }
    let size = oss.object(&fid).attr().unwrap().size;
    assert_eq!(size, 77 + (3 << 20));
    // Behind the end is nothing, in the page of the end are zeros.
    assert_eq!(c.read(fid, 1 << 30, 4096).unwrap(), b"");
    let end = size & !4095;
    let got = c.read(fid, end, 8192).unwrap();
    assert_eq!(got.len(), 4096);
    assert_eq!(got[..77], big[end as usize..size as usize]);
    assert!(got[77..].iter().all(|b| *b == 0));
    // Holes are zeros, in one transfer with data.
    c.write(fid, 8 << 20, &big[..4096]).unwrap();
    let n = [
        niobuf(4096, 4096, BrwFlags::SRVLOCK),
        niobuf(5 << 20, 1 << 20, BrwFlags::SRVLOCK),
        niobuf(8 << 20, 8192, BrwFlags::SRVLOCK),
    ];
    let (r, got) = c.read_with(&obdo(fid, ObdMd::empty()), &n).unwrap();
    assert_eq!(r.status, 4096 + (1 << 20) + 4096);
    assert_eq!(got[..4096], big[4096..8192]);
    assert!(got[4096..][..1 << 20].iter().all(|b| *b == 0));
    assert_eq!(got[4096 + (1 << 20)..], big[..4096]);
    // Pages of a pool show nothing of what was in them.
    let (two, _) = m.precreate(1);
    c.write(two, 3 << 20, b"x").unwrap();
    assert!(c.read(two, 0, 3 << 20).unwrap().iter().all(|b| *b == 0));
    // No such object.
    let none = Fid::new(fid.seq, 4000);
    assert_eq!(c.read(none, 0, 4096).err(), Some(ENOENT));
    assert_eq!(c.write(none, 0, b"x").err(), Some(ENOENT));
    assert_eq!(oss.ofd().grants().2, 0);
}

#[test]
fn data_in_messages() {
    let oss = Oss::new(3);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(1);
    let data = pattern(65536, 7);
    let mut o = obdo(fid, ObdMd::empty());
    o.set_flags(ObdFl::SHORT_IO | ObdFl::CKSUM_CRC32C);
    o.add_valid(ObdMd::FLCKSUM);
    for (pos, len) in [(0u64, 1000usize), (3000, 8000), (65536, 65536), (9, 65536)] {
        let n = [niobuf(pos, len as u32, BrwFlags::SRVLOCK)];
        let r = c.write_with(&o, &n, &data[..len]).unwrap().check().unwrap();
        assert_eq!((r.status, rcs(&r)), (0, vec![0]));
        let want = !kapi::checksum::crc32c(!0, &data[..len]);
        assert_eq!(r.msg.get::<Obdo>(1).unwrap().cksum(), want);
        let (r, got) = c.read_with(&o, &n).unwrap();
        assert_eq!(got[..len], data[..len]);
        let b = r.msg.get::<Obdo>(1).unwrap();
        assert_eq!(b.valid(), ObdMd::FLCKSUM | ObdMd::FLFLAGS);
        assert_eq!(b.flags(), ObdFl::CKSUM_CRC32C);
    }
    // As in the capture: the whole page comes back, and nothing behind the end.
    let (fid, _) = m.precreate(1);
    let mut o = obdo(fid, ObdMd::empty());
    o.set_flags(ObdFl::SHORT_IO);
    let n = |pos, len| [niobuf(pos, len, BrwFlags::SRVLOCK)];
    c.write_with(&o, &n(0, 1000), &data[..1000])
        .unwrap()
        .check()
        .unwrap();
    assert_eq!(c.read_with(&o, &n(0, 4096)).unwrap().1.len(), 4096);
    assert_eq!(c.read_with(&o, &n(4096, 4096)).unwrap().1.len(), 0);
}

#[test]
fn checksums_of_all_types() {
    let oss = Oss::new(4);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(1);
    let data = pattern((1 << 20) + 4321, 3);
    let sum = |o: &Obdo| (CksumType::try_from(o.flags()).unwrap(), o.cksum());
    for kind in [
        CksumType::Crc32,
        CksumType::Adler,
        CksumType::Crc32c,
        CksumType::T10Ip512,
        CksumType::T10Ip4k,
        CksumType::T10Crc512,
        CksumType::T10Crc4k,
    ] {
        let mut o = obdo(fid, ObdMd::empty());
        o.set_cksum(kind, 0);
        let n = [niobuf(100, data.len() as u32, BrwFlags::SRVLOCK)];
        let r = c.write_with(&o, &n, &data).unwrap().check().unwrap();
        let written = sum(r.msg.get::<Obdo>(1).unwrap());
        assert_eq!(written.0, kind);
        let n = [niobuf(100, data.len() as u32 - 325, BrwFlags::SRVLOCK)];
        let (r, got) = c.read_with(&o, &n).unwrap();
        assert_eq!(got, data[..data.len() - 325]);
        let read = sum(r.msg.get::<Obdo>(1).unwrap());
        assert_ne!(read, written);
        if kind == CksumType::Adler {
            assert_eq!(written.1, kapi::checksum::adler32(1, &data));
            assert_eq!(read.1, kapi::checksum::adler32(1, &got));
        }
    }
    // One that there is not.
    let mut o = obdo(fid, ObdMd::FLCKSUM);
    o.set_flags(ObdFl::from_bits_retain(0xf000));
    let n = [niobuf(0, 4096, BrwFlags::SRVLOCK)];
    assert_eq!(c.read_with(&o, &n).err(), Some(EPROTO));
    // A wrong one: the data are written, the client sees the difference.
    let mut o = obdo(fid, ObdMd::empty());
    o.set_cksum(CksumType::Adler, 12345);
    let r = c
        .write_with(&o, &n, &data[..4096])
        .unwrap()
        .check()
        .unwrap();
    assert_eq!(rcs(&r), [0]);
    let want = kapi::checksum::adler32(1, &data[..4096]);
    assert_eq!(r.msg.get::<Obdo>(1).unwrap().cksum(), want);
}

#[test]
fn the_first_write_sets_owners_and_file() {
    let oss = Oss::new(5);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(2);
    let a = oss.object(&fid).attr().unwrap();
    assert_eq!((a.mode, a.uid, a.size, a.nlink), (0o107666, 0, 0, 1));
    assert_eq!(
        (a.mtime, a.ctime, a.atime, a.version),
        (Time::default(), Time::default(), Time::default(), 0)
    );
    assert!(oss
        .object(&fid)
        .xattr_opt(XATTR_NAME_FID)
        .unwrap()
        .is_none());
    let ids = ObdMd::FLUID | ObdMd::FLGID | ObdMd::FLPROJID | ObdMd::FLMTIME | ObdMd::FLCTIME;
    let mut o = obdo(
        fid,
        ids | ObdMd::FLFID | ObdMd::FLPARENT | ObdMd::FLOSTLAYOUT | ObdMd::FLTYPE,
    );
    (o.o_uid, o.o_gid, o.o_projid) = (5.into(), 6.into(), 7.into());
    (o.o_mtime, o.o_ctime) = (1000.into(), 1001.into());
    (o.o_parent_seq, o.o_parent_oid) = (0x2_0000_0401.into(), 9.into());
    (o.o_parent_ver, o.o_stripe_idx) = (77.into(), 2.into());
    o.o_layout.ol_stripe_size.set(4 << 20);
    o.o_layout.ol_stripe_count.set(3);
    let n = [niobuf(0, 8, BrwFlags::SRVLOCK)];
    let r = c.write_with(&o, &n, &[1; 8]).unwrap().check().unwrap();
    let b = *r.msg.get::<Obdo>(1).unwrap();
    assert!(!b.valid().intersects(ObdMd::FLMTIME | ObdMd::FLATIME));
    assert!(b
        .valid()
        .contains(ObdMd::FLSIZE | ObdMd::FLBLOCKS | ObdMd::FLCTIME | ObdMd::FLMODE));
    assert_eq!(
        (b.o_size.get(), b.o_blocks.get(), b.o_mode.get()),
        (8, 8, 0o100666)
    );
    assert_eq!(b.o_ctime.get(), 1001);
    let transno = r.msg.body().pb_transno.get();
    let object = oss.object(&fid);
    let a = object.attr().unwrap();
    assert_eq!((a.mode, a.uid, a.gid, a.projid), (0o100666, 5, 6, 7));
    assert_eq!(
        (a.mtime, a.ctime, a.version),
        (Time::secs(1000), Time::secs(1001), transno)
    );
    let ff = object.xattr_vec(XATTR_NAME_FID).unwrap();
    let ff = FilterFid::parse(&ff).unwrap();
    assert_eq!(
        (ff.parent(), ff.stripe_index()),
        (Fid::new(0x2_0000_0401, 9), 2)
    );
    assert_eq!(ff.ff_layout, o.o_layout);
    // The second does not.
    (o.o_uid, o.o_gid, o.o_projid) = (50.into(), 60.into(), 70.into());
    c.write_with(&o, &n, &[1; 8]).unwrap().check().unwrap();
    let a = object.attr().unwrap();
    assert_eq!((a.uid, a.gid, a.projid), (5, 6, 7));
    // A setattr does, and reading tells.
    let mut s = obdo(fid, ObdMd::FLUID | ObdMd::FLMTIME);
    (s.o_uid, s.o_mtime) = (8.into(), 5.into());
    c.main(OST_SETATTR, &s).unwrap();
    let g = c.main(OST_GETATTR, &obdo(fid, ObdMd::empty())).unwrap();
    assert_eq!((g.o_uid.get(), g.o_gid.get(), g.o_mtime.get()), (8, 6, 5));
    assert_eq!(g.valid().bits(), 0x110000001000fbf);
    assert_eq!((g.flags(), g.o_mode.get()), (ObdFl::FLUSH, 0o100666));
    let other = Fid::new(fid.seq, fid.oid + 1);
    let g = c.main(OST_GETATTR, &obdo(other, ObdMd::empty())).unwrap();
    assert_eq!((g.o_mode.get(), g.o_data_version.get()), (0x8fb6, 0));
    // A size is not set like that.
    assert_eq!(
        c.main(OST_SETATTR, &obdo(fid, ObdMd::FLSIZE)).err(),
        Some(EPERM)
    );
}

#[test]
fn sizes_and_holes() {
    let oss = Oss::new(6);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(1);
    c.write(fid, 0, &pattern(100_000, 1)).unwrap();
    let punch = |size: u64| {
        let mut o = obdo(fid, ObdMd::FLSIZE | ObdMd::FLBLOCKS | ObdMd::FLMTIME);
        o.set_flags(ObdFl::SRVLOCK);
        (o.o_size, o.o_blocks, o.o_mtime) = (size.into(), u64::MAX.into(), 42.into());
        c.body(OST_PUNCH, portal::OST_IO, &o)
    };
    let o = punch(5000).unwrap();
    assert_eq!((o.valid().bits(), o.o_blocks.get()), (0x21, 16));
    let a = oss.object(&fid).attr().unwrap();
    assert_eq!((a.size, a.mtime), (5000, Time::secs(42)));
    assert!(a.version > 0);
    punch(1 << 30).unwrap();
    assert_eq!(oss.object(&fid).attr().unwrap().size, 1 << 30);
    assert!(c.read(fid, 5000, 4096).unwrap().iter().all(|b| *b == 0));
    assert_eq!(punch(u64::MAX).err(), Some(EFBIG));
    // Without a lock of anybody's.
    let mut o = obdo(fid, ObdMd::FLSIZE | ObdMd::FLBLOCKS);
    o.o_blocks = u64::MAX.into();
    assert_eq!(c.body(OST_PUNCH, portal::OST_IO, &o).err(), Some(ESTALE));
    o.o_blocks = 100.into();
    assert_eq!(c.body(OST_PUNCH, portal::OST_IO, &o).err(), Some(EPROTO));
    punch(0).unwrap();
    let falloc = |mode: u32, start: u64, end: u64| {
        let mut o = obdo(fid, ObdMd::FLSIZE | ObdMd::FLBLOCKS);
        o.set_flags(ObdFl::SRVLOCK);
        (o.o_size, o.o_blocks, o.o_nlink) = (start.into(), end.into(), mode.into());
        c.body(OST_FALLOCATE, portal::OST_IO, &o)
    };
    let o = falloc(0, 0, 2 << 20).unwrap();
    assert_eq!(
        (o.o_size.get(), o.o_blocks.get(), o.valid().bits()),
        (2 << 20, 4096, 0x1bf)
    );
    falloc(3, 4096, 12288).unwrap();
    assert_eq!(oss.object(&fid).attr().unwrap().blocks, 4096 - 16);
    falloc(1, 4 << 20, 5 << 20).unwrap();
    assert_eq!(oss.object(&fid).attr().unwrap().size, 2 << 20);
    assert_eq!(falloc(0, 5, 5).err(), Some(EINVAL));
    assert_eq!(falloc(8, 0, 5).err(), Some(EOPNOTSUPP));
    assert_eq!(falloc(0, 0, u64::MAX).err(), Some(EFBIG));
    falloc(3, 1 << 62, u64::MAX).unwrap();
    // Where data are.
    punch(0).unwrap();
    punch(4 << 20).unwrap();
    c.write(fid, 1 << 20, &[1; 4096]).unwrap();
    let seek = |at: u64, whence: u32| {
        let mut o = obdo(fid, ObdMd::empty());
        (o.o_size, o.o_mode) = (at.into(), whence.into());
        c.main(OST_SEEK, &o).map(|o| o.o_size.get())
    };
    assert_eq!(seek(0, 3), Ok(1 << 20));
    assert_eq!(seek(1 << 20, 4), Ok((1 << 20) + 4096));
    assert_eq!(seek(2 << 20, 3), Ok(i64::from(ENXIO.to_errno()) as u64));
    assert_eq!(seek(100 << 20, 4), Ok(100 << 20));
    assert_eq!(seek(u64::MAX, 4), Err(EPROTO));
    assert_eq!(seek(0, 1), Err(EPROTO));
}

#[test]
fn objects_made_ahead() {
    let mut oss = Oss::new(7);
    let m = oss.mdt(2);
    let first = Fid::idif(INDEX, 0).unwrap();
    let last_fid = |m: &Peer, fid: Fid| -> Result<Fid> {
        let r = m.send(
            OST_GET_INFO,
            portal::OST_REQUEST,
            &[b"last_fid\0", LuFid::from(fid).as_bytes()],
            &[16],
            None,
        )?;
        Ok(r.check()?.msg.get::<LuFid>(1)?.get())
    };
    assert_eq!(last_fid(&m, Fid::idif(INDEX, 1).unwrap()), Ok(first));
    let create = |m: &Peer, fid: Fid, orphans: bool| -> Result<Fid> {
        let mut o = obdo(fid, ObdMd::empty());
        o.set_valid(ObdMd::FLGROUP);
        if orphans {
            o.set_flags(ObdFl::DELORPHAN);
        }
        let o = m.main(OST_CREATE, &o)?;
        assert_eq!(o.valid().bits(), 0x1000011);
        assert_eq!(o.o_size.get(), 0x1ffffff);
        o.o_oi.to_fid(0).map_err(|_| EPROTO)
    };
    // The first of an MDT: there is none, so it is made.
    let one = Fid::idif(INDEX, 1).unwrap();
    assert_eq!(create(&m, one, true), Ok(one));
    assert!(oss.object(&one).exists());
    let (fid, last) = m.precreate(300);
    assert_eq!(last.oid, 301);
    assert!(!oss.object(&Fid::new(fid.seq, 1)).exists());
    assert!((2..=301).all(|i| oss.object(&Fid::new(fid.seq, i)).exists()));
    let at = |i| Fid::new(fid.seq, i);
    // Behind what there is: the next number.
    assert_eq!(create(&m, at(300), false), Ok(at(302)));
    assert_eq!(create(&m, last, false), Ok(last));
    let c = oss.client(3);
    c.write(at(5), 0, b"kept").unwrap();
    assert_eq!(create(&c, at(400), false), Err(EPERM));
    // An MDT that used ten of them: the numbers of the rest are not used again.
    assert_eq!(create(&m, at(10), true), Ok(last));
    assert!((2..=10).all(|i| oss.object(&at(i)).exists()));
    assert!((11..=301).all(|i| !oss.object(&at(i)).exists()));
    assert_eq!(create(&m, at(310), false), Ok(at(310)));
    oss.ofd().set_no_create(true);
    assert_eq!(create(&m, at(320), false), Err(EPERM));
    assert_eq!(statfs(&c).os_state.get(), 4);
    oss.ofd().set_no_create(false);
    drop(c);
    drop(m);
    // All of it is there after a restart.
    oss.stop();
    oss.start();
    let m = oss.mdt(2);
    assert_eq!(last_fid(&m, at(1)), Ok(at(310)));
    // Far behind: nothing is destroyed.
    let (c, d) = (at(30_000), at(2));
    assert_eq!(create(&m, c, false), Ok(c));
    assert_eq!(create(&m, d, true), Ok(at(30_001)));
    assert!(oss.object(&at(30_000)).exists());
    assert_eq!(create(&m, Fid { ver: 1, ..at(5) }, false), Err(EBADF));
    for bad in [Fid::new(1, 5), Fid::new(10, 5), Fid::local(11), Fid::ROOT] {
        let mut o = Obdo {
            o_oi: wire::ostid::OstId::from_fid_verbatim(bad),
            ..Obdo::default()
        };
        o.set_valid(ObdMd::FLGROUP);
        assert_eq!(m.main(OST_CREATE, &o).err(), Some(EPROTO), "{bad}");
    }
}

fn statfs(c: &Peer) -> ObdStatfs {
    let r = c
        .send(OST_STATFS, portal::OST_CREATE, &[], &[144], None)
        .unwrap();
    let r = r.check().unwrap();
    ObdStatfs::read_from_prefix(r.msg.buf(1).unwrap())
        .unwrap()
        .0
}

#[test]
fn space_is_told() {
    let oss = Oss::new(8);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (s, t) = (statfs(&c), statfs(&m));
    assert_eq!(
        (s.os_type.get(), s.os_bsize.get(), s.os_granted.get()),
        (0xef53, 4096, 0)
    );
    assert_eq!(t.os_granted.get(), 68);
    assert_eq!(s.os_bavail.get(), t.os_bavail.get() + 68);
    assert_eq!(s.os_blocks.get(), 1 << 20);
    assert!(s.os_fsid.iter().all(|b| *b == 0));
}

#[test]
fn destroys() {
    let oss = Oss::new(9);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(10);
    let destroy = |p: &Peer, fid: Fid, n: u32| {
        let mut o = obdo(fid, ObdMd::FLOBJCOUNT);
        o.o_misc.set(n);
        p.send(
            OST_DESTROY,
            portal::OST_REQUEST,
            &[o.as_bytes(), &[0; 104]],
            &[BODY],
            None,
        )
        .unwrap()
    };
    c.write(fid, 0, b"data").unwrap();
    assert_eq!(destroy(&c, fid, 1).status, EPERM.to_errno());
    let r = destroy(&m, fid, 1);
    assert_eq!(r.status, 0);
    assert!(r.msg.body().pb_transno.get() > 0);
    let o = r.msg.get::<Obdo>(1).unwrap();
    assert_eq!((o.valid().bits(), o.o_oi.id()), (0, u64::from(fid.oid) + 1));
    assert!(!oss.object(&fid).exists());
    let r = destroy(&m, fid, 1);
    assert_eq!(
        (r.status, r.msg.body().pb_transno.get()),
        (ENOENT.to_errno(), 0)
    );
    let r = destroy(&m, fid, 4);
    assert_eq!(r.status, ENOENT.to_errno());
    assert!((2..6).all(|i| !oss.object(&Fid::new(fid.seq, i)).exists()));
    assert!(oss.object(&Fid::new(fid.seq, 6)).exists());
    assert_eq!(destroy(&m, fid, 0).status, EPROTO.to_errno());
    assert_eq!(destroy(&m, fid, u32::MAX).status, EPROTO.to_errno());
    assert_eq!(destroy(&m, Fid::new(1, 1), 1).status, EPROTO.to_errno());
}

#[test]
fn syncs() {
    let oss = Oss::new(10);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(1);
    oss.device.hold_commits(true);
    let committed = || oss.ofd().target().unwrap().last_committed();
    let n = [niobuf(0, 5, BrwFlags::SRVLOCK | BrwFlags::ASYNC)];
    let write = |f: BrwFlags| {
        let n = [niobuf(0, 5, f | BrwFlags::SRVLOCK)];
        let r = c
            .write_with(&obdo(fid, ObdMd::empty()), &n, b"hello")
            .unwrap()
            .check()
            .unwrap();
        r.msg.body().pb_transno.get()
    };
    let _ = n;
    let t = write(BrwFlags::ASYNC);
    assert!(committed() < t);
    let o = obdo(fid, ObdMd::FLSIZE | ObdMd::FLBLOCKS);
    let r = c.main(OST_SYNC, &o).unwrap();
    assert_eq!(r.valid().bits(), 0x10001bf);
    assert!(committed() >= t);
    // A write that cannot wait is on disk when it is answered.
    let t = write(BrwFlags::empty());
    assert!(committed() >= t);
    // Many that ask for it begin a commit.
    let t = write(BrwFlags::ASYNC);
    for _ in 0..20 {
        write(BrwFlags::ASYNC | BrwFlags::SOFT_SYNC);
    }
    let until = Instant::now() + Duration::from_secs(5);
    while committed() < t && until.duration_since(Instant::now()) > Duration::ZERO {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(committed() >= t);
}

#[test]
fn locks_and_their_values() {
    let oss = Oss::new(11);
    let (m, c, d) = (oss.mdt(2), oss.client(3), oss.client(4));
    let (fid, _) = m.precreate(2);
    let lvb = |b: &[u8]| OstLvb::parse(b).unwrap();
    // Nobody has a lock: a question for the size gets one.
    let (status, r, b) = d
        .lock(fid, Mode::Pr, Extent::WHOLE, flags::HAS_INTENT)
        .unwrap();
    assert_eq!((status, lvb(&b)), (0, OstLvb::default()));
    d.unlock(r.cookie);
    let none = Fid::new(fid.seq, 4000);
    assert_eq!(c.lock(none, Mode::Pr, Extent::WHOLE, 0).err(), Some(ENOENT));
    let cookie = c.lock_all(fid);
    // Data under a lock that is named, and under one that is found.
    let mut o = obdo(fid, ObdMd::FLHANDLE);
    o.o_handle.set(cookie);
    let n = [niobuf(0, 100, BrwFlags::ASYNC)];
    c.write_with(&o, &n, &[5; 100]).unwrap().check().unwrap();
    o.o_handle.set(4711);
    c.write_with(&o, &n, &[5; 100]).unwrap().check().unwrap();
    let (_, got) = c.read_with(&o, &n).unwrap();
    assert_eq!(got, [5; 100]);
    // Under somebody else's, there is none.
    o.o_handle.set(cookie);
    let r = d.write_with(&o, &n, &[6; 100]).unwrap();
    assert_eq!(r.status, ESTALE.to_errno());
    assert_eq!(d.read_with(&o, &n).err(), Some(ESTALE));
    c.unlock(cookie);
    let r = c.write_with(&o, &n, &[6; 100]).unwrap();
    assert_eq!(r.status, ESTALE.to_errno());
    let (status, _, b) = d
        .lock(fid, Mode::Pr, Extent::WHOLE, flags::HAS_INTENT)
        .unwrap();
    assert_eq!(
        (status, lvb(&b).lvb_size.get(), lvb(&b).lvb_blocks.get()),
        (0, 100, 8)
    );
}

/// An OST that lost its power lost objects that its MDT gave away: they are made again, and who
/// asks for them before is to wait.
#[test]
fn lost_objects_are_waited_for() {
    let mut oss = Oss::new(15);
    let m = oss.mdt(2);
    let (fid, last) = m.precreate(10);
    drop(m);
    oss.stop();
    oss.start();
    let (m, c) = (oss.mdt(2), oss.client(3));
    let ask = |fid| c.lock(fid, Mode::Pr, Extent::WHOLE, 0).map(|r| r.0);
    let lost = Fid::new(fid.seq, last.oid + 20);
    assert_eq!(ask(lost).err(), Some(EINPROGRESS));
    assert_eq!(ask(fid), Ok(0));
    // No MDT has had anything to do with these.
    assert_eq!(ask(Fid::new(fid.seq + 1, 5)).err(), Some(ENOENT));
    let mut o = obdo(lost, ObdMd::FLGROUP);
    o.set_flags(ObdFl::DELORPHAN);
    m.main(OST_CREATE, &o).unwrap();
    assert_eq!(ask(lost), Ok(0));
    assert_eq!(ask(Fid::new(fid.seq, lost.oid + 1)).err(), Some(ENOENT));
}

/// What was written under a lock is on disk when others can see it.
#[test]
fn a_lock_that_goes_brings_data_to_disk() {
    let oss = Oss::new(12);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(1);
    oss.device.hold_commits(true);
    let cookie = c.lock_all(fid);
    let n = [niobuf(0, 5, BrwFlags::ASYNC)];
    let r = c
        .write_with(&obdo(fid, ObdMd::empty()), &n, b"hello")
        .unwrap()
        .check()
        .unwrap();
    let t = r.msg.body().pb_transno.get();
    assert!(oss.ofd().target().unwrap().last_committed() < t);
    c.unlock(cookie);
    assert!(oss.ofd().target().unwrap().last_committed() >= t);
}

/// Times that a client set are not changed by writes that it sent before.
#[test]
fn times_in_the_order_of_requests() {
    let oss = Oss::new(13);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let (fid, _) = m.precreate(1);
    let mut o = obdo(fid, ObdMd::FLMTIME);
    o.o_mtime.set(100);
    let n = [niobuf(0, 5, BrwFlags::SRVLOCK)];
    c.write_with(&o, &n, b"hello").unwrap().check().unwrap();
    assert_eq!(oss.object(&fid).attr().unwrap().mtime, Time::secs(100));
    let mut s = obdo(fid, ObdMd::FLMTIME | ObdMd::FLATIME);
    (s.o_mtime, s.o_atime) = (7.into(), 8.into());
    c.main(OST_SETATTR, &s).unwrap();
    let a = oss.object(&fid).attr().unwrap();
    assert_eq!((a.mtime, a.atime), (Time::secs(7), Time::secs(8)));
    // A later write does change them.
    o.o_mtime.set(101);
    c.write_with(&o, &n, b"hello").unwrap().check().unwrap();
    assert_eq!(oss.object(&fid).attr().unwrap().mtime, Time::secs(101));
}
