// SPDX-License-Identifier: GPL-2.0

//! Bytes that the specification quotes from real systems.

use proptest::prelude::*;
use wire::error::Malformed;
use wire::fid::Fid;
use wire::lov::{
    Component, Composite, CompositeBuilder, FlrState, LcmeFlags, LovCompMdEntry, LovCompMdV1,
    LovMd, LovOstData, LovPattern, Plain, PlainSpec, LUSTRE_EOF,
};
use wire::mdt::{InodeFlags, MdtBody, OpenFlags};
use wire::obdo::{CksumType, ObdFl, ObdMd, Obdo};
use wire::reint::{RecCreate, RecReint, ReintOp};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes from hexadecimal digits; `0*n` stands for n bytes of zero.
fn hex(s: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for word in s.split_whitespace() {
        if let Some(n) = word.strip_prefix("0*") {
            out.extend(vec![0; n.parse::<usize>().unwrap()]);
            continue;
        }
        assert!(word.len() % 2 == 0, "{word}");
        for i in (0..word.len()).step_by(2) {
            out.push(u8::from_str_radix(&word[i..i + 2], 16).unwrap());
        }
    }
    out
}

fn composite(bytes: &[u8]) -> Composite<'_> {
    match LovMd::parse(bytes).unwrap() {
        LovMd::Composite(c) => c,
        other => panic!("{other:?}"),
    }
}

fn plain<'a>(c: &Composite<'a>, i: usize) -> Plain<'a> {
    match c.blob(&c.entries[i]).unwrap() {
        Component::Plain(p) => p,
        Component::Foreign(..) => panic!(),
    }
}

/// The same layout, put together again.
fn rebuild(c: &Composite<'_>) -> Vec<u8> {
    let mut buf = vec![0xff; c.size()];
    let mut b = CompositeBuilder::new(&mut buf, *c.md, c.entries.len()).unwrap();
    for (i, e) in c.entries.iter().enumerate() {
        let p = plain(c, i);
        let spec = PlainSpec {
            pattern: p.pattern(),
            fid: p.md.lmm_oi.to_fid().unwrap(),
            stripe_size: p.md.lmm_stripe_size.get(),
            stripe_count: p.md.lmm_stripe_count.get(),
            layout_gen: p.md.lmm_layout_gen.get(),
            pool: p.pool_name(),
        };
        b.push(*e, |room| spec.write(p.objects, room)).unwrap();
    }
    assert_eq!(b.finish(), Ok(c.size()));
    buf
}

const PFL: &str = "
    d00bd60b 58010000 03000000 0000 0300 0000 00 0*13
    01000000 10000000 0000000000000000 0000100000000000 b0000000 38000000 0*16
    02000000 00000000 0000100000000000 0000400000000000 e8000000 38000000 0*16
    03000000 00000000 0000400000000000 ffffffffffffffff 20010000 38000000 0*16
    d00bd10b 01000000 0100000000000000 0104000002000000 00001000 0100 0000
        0004008002000000 0200000000000000 00000000 01000000
    d00bd10b 01000000 0100000000000000 0104000002000000 00004000 0100 ffff
        0000000000000000 0000000000000000 00000000 ffffffff
    d00bd10b 01000000 0100000000000000 0104000002000000 00004000 ffff ffff
        0000000000000000 0000000000000000 00000000 ffffffff";

/// `spec/ondisk.md` 20.7: a progressive layout right after `lfs setstripe`.
#[test]
fn progressive_layout() {
    let bytes = hex(PFL);
    assert_eq!(bytes.len(), 344);
    let c = composite(&bytes);
    assert_eq!((c.md.lcm_layout_gen.get(), c.entries.len()), (3, 3));
    assert_eq!((c.md.flr_state(), c.mirrors()), (FlrState::None, 1));
    assert_eq!(c.entries[0].flags(), LcmeFlags::INIT);
    assert_eq!(c.entries[2].lcme_end.get(), LUSTRE_EOF);
    let first = plain(&c, 0);
    assert_eq!(
        first.stripes(),
        [LovOstData::new(Fid::new(0x2_8000_0400, 2), 1)]
    );
    assert_eq!(first.stripes()[0].fid(), Ok(Fid::new(0x2_8000_0400, 2)));
    assert!(plain(&c, 1).stripes().is_empty());
    assert_eq!(plain(&c, 2).objects, [LovOstData::dummy()]);
    assert_eq!(plain(&c, 2).md.lmm_stripe_count.get(), 0xffff);
    assert_eq!(rebuild(&c), bytes);
}

/// `spec/ondisk.md` 20.7: a component on the MDT.
#[test]
fn layout_with_data_on_the_mdt() {
    let bytes = hex("
        d00bd60b d8000000 02000000 0000 0200 0*16
        01000000 10000000 0000000000000000 0000010000000000 80000000 20000000 0*16
        02000000 00000000 0000010000000000 ffffffffffffffff a0000000 38000000 0*16
        d00bd10b 00010000 0300000000000000 0104000002000000 00000100 0000 0000
        d00bd10b 01000000 0300000000000000 0104000002000000 00004000 0100 ffff 0*16 00000000 ffffffff");
    assert_eq!(bytes.len(), 216);
    let c = composite(&bytes);
    let dom = plain(&c, 0);
    assert_eq!(dom.pattern(), LovPattern::MDT);
    assert!(dom.objects.is_empty());
    assert_eq!(rebuild(&c), bytes);
}

/// `spec/ondisk.md` 20.7: two mirrors.
#[test]
fn mirrored_layout() {
    let bytes = hex("
        d00bd60b f0000000 02000000 0100 0200 0100 00 00 0*12
        01000100 10000000 0000000000000000 ffffffffffffffff 80000000 38000000 0*16
        02000200 10000000 0000000000000000 ffffffffffffffff b8000000 38000000 0*16
        d00bd10b 01000000 0500000000000000 0104000002000000 00004000 0100 0000 0004008002000000 0400000000000000 00000000 01000000
        d00bd10b 01000000 0500000000000000 0104000002000000 00004000 0100 0000 0004004002000000 0500000000000000 00000000 00000000");
    let c = composite(&bytes);
    assert_eq!((c.md.flr_state(), c.mirrors()), (FlrState::ReadOnly, 2));
    assert_eq!((c.entries[0].mirror_id(), c.entries[1].mirror_id()), (1, 2));
    assert_eq!(rebuild(&c), bytes);
}

/// `spec/ondisk.md` 20.7: plain layouts, default and list of OSTs; requests are padded.
#[test]
fn plain_layouts() {
    let file = hex(
        "d00bd10b 01000000 0a00000000000000 0104000002000000 00004000 0200 0100
         0004004002000000 0700000000000000 00000000 00000000 0004008002000000 0700000000000000 00000000 01000000",
    );
    let md = LovMd::parse(&file).unwrap();
    assert_eq!((md.size(), md.layout_gen()), (80, 1));

    let default = hex("d00bd10b 01000000 0*16 00002000 0200 ffff");
    assert_eq!(LovMd::parse(&default).unwrap().size(), 32);
    let mut padded = default.clone();
    padded.resize(128, 0);
    let md = LovMd::parse_user(&padded).unwrap();
    assert_eq!(md.size(), 32);

    let list = hex("d00bd50b 01000000 0*16 00000000 0100 0100 0*16 0*16 00000000 01000000 0*56");
    let LovMd::Plain(p) = LovMd::parse_user(&list).unwrap() else {
        panic!()
    };
    assert!(p.is_specific() && p.size() == 72 && p.pool_name().is_none());
    assert_eq!(p.objects[0].l_ost_idx.get(), 1);

    let pool = PlainSpec {
        pattern: LovPattern::RAID0,
        fid: Fid::new(0x2_0000_0401, 1),
        stripe_size: 65536,
        stripe_count: 1,
        layout_gen: 0,
        pool: Some(b"flash"),
    };
    let mut buf = [0xff; 100];
    assert_eq!(pool.write(&[LovOstData::dummy()], &mut buf), Ok(72));
    let LovMd::Plain(p) = LovMd::parse(&buf[..72]).unwrap() else {
        panic!()
    };
    assert_eq!(p.pool_name(), Some(&b"flash"[..]));
    let long = PlainSpec {
        pool: Some(b"a name too long!"),
        ..pool
    };
    assert_eq!(long.write(&[], &mut buf), Err(Malformed::NoRoom));
    assert_eq!(pool.write(&[], &mut buf[..47]), Err(Malformed::NoRoom));

    let released = hex("d00bd10b 01000080 0100000000000000 0104000002000000 00004000 0200 0000");
    assert_eq!(LovMd::parse(&released).unwrap().size(), 32);
    assert_eq!(LovMd::parse(&file[..79]).unwrap_err(), Malformed::Short);
}

/// What is wrong must not pass.
#[test]
fn broken_composites() {
    let good = hex(PFL);
    let broken = |at: usize, with: &[u8]| {
        let mut b = good.clone();
        b[at..at + with.len()].copy_from_slice(with);
        LovMd::parse(&b).map(|_| ()).unwrap_err()
    };
    assert_eq!(broken(4, &[0x57]), Malformed::Short);
    assert_eq!(broken(4, &[0xff; 4]), Malformed::Short);
    assert_eq!(broken(4, &[16, 0]), Malformed::Value);
    assert_eq!(broken(14, &[0, 0]), Malformed::Value);
    assert_eq!(broken(14, &[0xff, 3]), Malformed::Short);
    assert_eq!(broken(14, &[0xff, 0xff]), Malformed::Value);
    assert_eq!(broken(32 + 24, &[0, 0]), Malformed::Value);
    assert_eq!(broken(32 + 24, &[0xff; 8]), Malformed::Short);
    assert_eq!(broken(0xb0, &[0]), Malformed::Magic);
    // The extent [1 MiB, 0).
    assert_eq!(broken(0x50 + 16, &[0; 8]), Malformed::Value);
    assert_eq!(LovMd::parse(&[]).unwrap_err(), Malformed::Short);
    assert_eq!(LovMd::parse(&[0; 64]).unwrap_err(), Malformed::Magic);
    let mut short = good.clone();
    short.pop();
    assert_eq!(LovMd::parse(&short).unwrap_err(), Malformed::Short);

    let mut buf = [0; 400];
    let md = LovCompMdV1::default();
    let b = CompositeBuilder::new(&mut buf, md, 1).unwrap();
    assert_eq!(b.finish(), Err(Malformed::Value));
    let mut b = CompositeBuilder::new(&mut buf, md, 1).unwrap();
    let e = LovCompMdEntry::default();
    b.push(e, |_| Ok(8)).unwrap();
    assert_eq!(b.push(e, |_| Ok(8)), Err(Malformed::Value));
    let mut b = CompositeBuilder::new(&mut buf, md, 1).unwrap();
    assert_eq!(b.push(e, |room| Ok(room.len() + 1)), Err(Malformed::NoRoom));
    assert!(CompositeBuilder::new(&mut buf, md, 0).is_err());
    assert!(CompositeBuilder::new(&mut buf[..79], md, 1).is_err());
}

/// `spec/mdt.md` 27.4: the record of an open that creates, and the body of its reply.
#[test]
fn open_create() {
    let rec = hex("
        06000000 ffffffff 00000000 01000000 00000000 00000000 00000000 00000000
        ffffffff 00000000 0104000002000000 0100000000000000
        0104000002000000 0300000000000000 0000000000000000 b4be036b00000000
        0*24 b6810000 00000000 42000000 02020000 12000000 00000000");
    let generic = RecReint::ref_from_bytes(&rec).unwrap();
    assert_eq!(generic.head.op(), Ok(ReintOp::Open));
    let cr = RecCreate::ref_from_bytes(&rec).unwrap();
    assert_eq!(cr.head.layout_version(), 1);
    assert_eq!(cr.cr_fid1.get(), Fid::new(0x2_0000_0401, 1));
    assert_eq!(cr.cr_fid2.get(), Fid::new(0x2_0000_0401, 3));
    assert_eq!(cr.cr_time.get(), 0x6b03_beb4);
    assert_eq!(
        cr.open_flags(),
        OpenFlags::FMODE_WRITE | OpenFlags::CREAT | OpenFlags::DEFAULT_LMV | OpenFlags::NORESTORE
    );
    assert!(cr.open_flags().may_create_layout());
    assert_eq!((cr.cr_mode.get(), cr.cr_umask.get()), (0o100_666, 0o22));
    let mut new = *cr;
    new.set_open_flags(cr.open_flags());
    assert_eq!(new.as_bytes(), rec);

    let body = hex("
        0104000002000000 0300000000000000 0*16 15b015820b0117df 8f2f028080000011
        0*8 b4be036b00000000 b4be036b00000000 b4be036b00000000 0*24 0*8 00000000 a4810000
        0*8 00000800 00000000 01000000 00000000 00000000 38000000 00000000 80000000
        0*16 0*16 b4be036b00000000 0*16");
    let b = MdtBody::ref_from_bytes(&body).unwrap();
    assert_eq!(b.mbo_fid1.get(), Fid::new(0x2_0000_0401, 3));
    assert_eq!(b.valid().unknown(), 0);
    assert!(b
        .valid()
        .contains(ObdMd::FLEASIZE | ObdMd::FLMODEASIZE | ObdMd::FLBTIME));
    assert_eq!(b.mbo_mode.get(), 0o100_644);
    assert_eq!(b.mbo_flags.get(), InodeFlags::EXTENTS.bits());
    assert_eq!((b.mbo_nlink.get(), b.mbo_eadatasize.get()), (1, 56));
    assert_eq!(b.mbo_max_mdsize.get(), 128);
    assert_eq!(b.mbo_btime.get(), 0x6b03_beb4);
}

/// `spec/ost.md` 23.4: the obdo of a short write.
#[test]
fn short_write() {
    let bytes = hex("
        2d4f180b00008001 0004008002000000 4d00000000000000
        0104000002000000 0000000000000000
        d2c1036b00000000 0000000000000000 d2c1036b00000000
        0070000000000000 00d07e0000000000
        00000000 0080110f 00000000 00000000 00604000 97013d02
        98000000 00000000 0*16
        db2c1ecbdc7f466d
        00004000 01000000 0*16 00000000
        0*12 0070000000000000 0*24");
    let o = Obdo::ref_from_bytes(&bytes).unwrap();
    assert_eq!(o.valid().unknown(), 0);
    assert_eq!(o.o_oi.to_fid(0), Ok(Fid::new(0x2_8000_0400, 0x4d)));
    assert_eq!((o.dirty(), o.o_grant.get()), (0x7000, 0x7e_d000));
    assert_eq!((o.undirty(), o.dropped()), (0x0f11_8000, 0));
    assert_eq!(
        o.flags(),
        ObdFl::SHORT_IO | ObdFl::CKSUM_ADLER | ObdFl::CKSUM_CRC32C
    );
    assert_eq!(CksumType::try_from(o.flags()), Ok(CksumType::T10Ip4k));
    assert_eq!((o.cksum(), o.grant_used()), (0x023d_0197, 0x7000));
    assert_eq!(o.parent(), Some(Fid::new(0x2_0000_0401, 0x98)));
    assert_eq!(o.o_layout.ol_stripe_size.get(), 4 << 20);
}

proptest! {
    /// Whatever the bytes, reading a layout ends, and what it says is within them.
    #[test]
    fn layouts_of_garbage(
        magic in prop_oneof![Just(0x0bd1_0bd0_u32), Just(0x0bd3_0bd0), Just(0x0bd5_0bd0), Just(0x0bd6_0bd0), Just(0x0bd7_0bd0)],
        mut bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 4..300),
    ) {
        bytes[..4].copy_from_slice(&magic.to_le_bytes());
        for parsed in [LovMd::parse(&bytes), LovMd::parse_user(&bytes)].into_iter().flatten() {
            prop_assert!(parsed.size() <= bytes.len());
        }
    }

    /// One wrong byte in a layout is either found or harmless.
    #[test]
    fn layouts_with_a_wrong_byte(at in 0_usize..344, with: u8) {
        let mut bytes = hex(PFL);
        bytes[at] = with;
        if let Ok(LovMd::Composite(c)) = LovMd::parse(&bytes) {
            for e in c.entries {
                prop_assert!(c.blob(e).is_ok());
            }
        }
    }
}
