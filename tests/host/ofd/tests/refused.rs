// SPDX-License-Identifier: GPL-2.0

//! What no client should send: each is refused, nothing else is touched, and the OST goes on.

mod common;

use common::*;
use kapi::prelude::*;
use osd::{Create, Device};
use wire::fid::{oid, seq, Fid, LuFid};
use wire::obdo::{ObdFl, ObdMd, Obdo};
use wire::opcode::*;
use wire::ost::{BrwFlags, NiobufRemote};
use wire::ostid::OstId;
use zerocopy::IntoBytes;

/// Opcodes with a body about an object, and where they go.
const ABOUT_OBJECTS: &[(u32, u32)] = &[
    (OST_GETATTR, portal::OST_REQUEST),
    (OST_SETATTR, portal::OST_REQUEST),
    (OST_SYNC, portal::OST_REQUEST),
    (OST_SEEK, portal::OST_REQUEST),
    (OST_PUNCH, portal::OST_IO),
    (OST_FALLOCATE, portal::OST_IO),
    (OST_READ, portal::OST_IO),
    (OST_WRITE, portal::OST_IO),
];

/// All that an OST serves.
const ALL: &[(u32, u32)] = &[
    (OST_GETATTR, portal::OST_REQUEST),
    (OST_SETATTR, portal::OST_REQUEST),
    (OST_SYNC, portal::OST_REQUEST),
    (OST_SEEK, portal::OST_REQUEST),
    (OST_PUNCH, portal::OST_IO),
    (OST_FALLOCATE, portal::OST_IO),
    (OST_READ, portal::OST_IO),
    (OST_WRITE, portal::OST_IO),
    (OST_CREATE, portal::OST_REQUEST),
    (OST_DESTROY, portal::OST_REQUEST),
    (OST_GET_INFO, portal::OST_REQUEST),
    (OST_SET_INFO, portal::OST_REQUEST),
    (OST_QUOTACTL, portal::OST_REQUEST),
    (OST_LADVISE, portal::OST_IO),
    (SEQ_QUERY, portal::SEQ_DATA),
    (FLD_QUERY, portal::OST_REQUEST),
    (FLD_READ, portal::OST_REQUEST),
    (LDLM_ENQUEUE, portal::OST_REQUEST),
    (LDLM_CONVERT, portal::OST_REQUEST),
    (OUT_UPDATE, portal::OST_REQUEST),
    (QUOTA_DQACQ, portal::OST_REQUEST),
    (MDS_GETATTR, portal::OST_REQUEST),
    (4711, portal::OST_REQUEST),
];

const ROOM: &[u32] = &[4096, 4096];

/// What must not change.
struct Kept {
    victim: Fid,
    last_id: Vec<u8>,
}

impl Kept {
    fn new(oss: &Oss, c: &Peer, fid: Fid) -> Kept {
        c.write(fid, 0, b"somebody else's").unwrap();
        Kept {
            victim: fid,
            last_id: Kept::counter(oss, fid),
        }
    }

    fn counter(oss: &Oss, fid: Fid) -> Vec<u8> {
        let mut b = [0; 16];
        let n = oss.object(&Fid::new(fid.seq, 0)).read(0, &mut b).unwrap();
        b[..n].to_vec()
    }

    fn check(&self, oss: &Oss, c: &Peer) {
        assert_eq!(c.read(self.victim, 0, 15).unwrap(), b"somebody else's");
        assert_eq!(Kept::counter(oss, self.victim), self.last_id);
        let a = oss.object(&self.victim).attr().unwrap();
        assert_eq!((a.size, a.uid, a.gid, a.mode), (15, 0, 0, 0o107666));
        let (_, dirty, pending) = oss.ofd().grants();
        assert_eq!((dirty, pending), (0, 0));
    }
}

/// An OST, an MDT and a client of it, objects of which the first is not to change, and what must not.
struct Scene {
    oss: Oss,
    m: Peer,
    c: Peer,
    fid: Fid,
    last: Fid,
    kept: Kept,
}

impl Scene {
    fn new(id: u8) -> Scene {
        let oss = Oss::new(id);
        let (m, c) = (oss.mdt(2), oss.client(3));
        let (fid, last) = m.precreate(3);
        let kept = Kept::new(&oss, &c, fid);
        Scene {
            oss,
            m,
            c,
            fid,
            last,
            kept,
        }
    }
}

/// Sends the buffers of a transfer; the status.
fn parts(c: &Peer, opc: u32, to: u32, (o, io, nio): (&[u8], &[u8], &[u8]), data: &[u8]) -> i32 {
    let all: [&[u8]; 5] = [o, io, nio, &[], data];
    c.send(opc, to, &all, ROOM, None).unwrap().status
}

/// Sends a transfer; the status.
fn transfer(c: &Peer, opc: u32, to: u32, o: &Obdo, n: &[NiobufRemote]) -> i32 {
    let (o, io, nio) = Peer::brw(o, n, 4);
    parts(c, opc, to, (&o, &io, &nio), &[])
}

#[test]
fn buffers_that_are_missing_or_short() {
    let Scene {
        oss, m, c, kept, ..
    } = Scene::new(31);
    let long = [0xffu8; 300];
    for (opc, to) in ALL {
        for p in [&c, &m] {
            for n in [0usize, 1, 7, 8, 100, 207] {
                let r = p.send(*opc, *to, &[&long[..n]], ROOM, None).unwrap();
                assert!(r.status < 0, "{opc}: {n} bytes: {}", r.status);
            }
            let r = p.send(*opc, *to, &[], ROOM, None).unwrap();
            assert!(r.status < 0, "{opc}: no buffer: {}", r.status);
        }
    }
    kept.check(&oss, &c);
}

#[test]
fn objects_that_are_not_ours() {
    let Scene {
        oss,
        m: _m,
        c,
        fid,
        kept,
        ..
    } = Scene::new(32);
    let id = |first: u64, second: u64| OstId {
        oi_id: first.into(),
        oi_seq: second.into(),
    };
    let foreign = [
        id(0, 0),
        id(1 << 48, 0),
        id(u64::MAX, 0),
        id(5, u64::MAX),
        OstId::from_fid_verbatim(Fid { ver: 1, ..fid }),
        OstId::from_fid_verbatim(Fid::local(oid::LAST_RCVD)),
        OstId::from_fid_verbatim(Fid::local(oid::SEQ_SRV)),
        OstId::from_fid_verbatim(Fid::local(oid::OSD_ROOT)),
        OstId::from_fid_verbatim(Fid::ROOT),
        OstId::from_fid_verbatim(Fid::new(seq::LLOG, 1)),
        OstId::from_fid_verbatim(Fid::new(seq::LLOG_NAME, 1)),
        OstId::from_fid_verbatim(Fid::new(seq::IGIF, 1)),
        OstId::from_fid_verbatim(Fid::new(seq::QUOTA, 1)),
        OstId::from_fid_verbatim(Fid::new(seq::LOCAL_NAME, 1)),
        OstId::from_fid_verbatim(Fid::new(seq::UPDATE_LOG, 1)),
    ];
    for (opc, to) in ABOUT_OBJECTS {
        for oi in foreign {
            let mut o = obdo(fid, ObdMd::FLSIZE | ObdMd::FLBLOCKS);
            (o.o_oi, o.o_blocks) = (oi, u64::MAX.into());
            o.set_flags(ObdFl::SRVLOCK);
            let n = [niobuf(0, 4096, BrwFlags::SRVLOCK)];
            let status = transfer(&c, *opc, *to, &o, &n);
            let refused = [EPROTO.to_errno(), EBADF.to_errno()];
            assert!(refused.contains(&status), "{opc}: {oi:?}: {status}");
        }
        // No object at all.
        let mut o = obdo(fid, ObdMd::empty());
        o.set_valid(ObdMd::FLGROUP);
        let n = [niobuf(0, 4096, BrwFlags::SRVLOCK)];
        let status = transfer(&c, *opc, *to, &o, &n);
        assert_eq!(status, EPROTO.to_errno(), "{opc}");
    }
    // Locks on what is none of them.
    use ldlm::core::{Extent, Mode};
    for bad in [
        Fid::local(oid::LAST_RCVD),
        Fid::new(seq::LLOG, 1),
        Fid::ROOT,
    ] {
        let r = c.lock(bad, Mode::Pr, Extent::WHOLE, 0);
        assert_eq!(r.err(), Some(ENOENT), "{bad}");
    }
    kept.check(&oss, &c);
}

/// Each word of a body, with values that make no sense.
#[test]
fn every_field_of_a_body() {
    let Scene {
        oss,
        m: _m,
        c,
        last,
        kept,
        ..
    } = Scene::new(33);
    let values = [0u64, 1, 1 << 31, u32::MAX.into(), 1 << 63, u64::MAX];
    let words = size_of::<Obdo>() / 8;
    for (opc, to) in ABOUT_OBJECTS {
        for word in 0..words {
            // Which object it is, the test before is about.
            if (1..3).contains(&word) {
                continue;
            }
            for v in values {
                let mut o = obdo(last, ObdMd::from_bits_retain(!0));
                (o.o_blocks, o.o_mode) = (u64::MAX.into(), 3.into());
                let valid = ObdMd::FLSIZE | ObdMd::FLBLOCKS | ObdMd::FLFLAGS;
                o.set_valid(valid | ObdMd::FLID);
                o.set_flags(ObdFl::SRVLOCK);
                o.as_mut_bytes()[word * 8..][..8].copy_from_slice(&v.to_le_bytes());
                // No transfer without MDs: a niobuf that is refused.
                let n = [niobuf(0, 0, BrwFlags::empty())];
                transfer(&c, *opc, *to, &o, &n);
            }
        }
    }
    kept.check(&oss, &c);
    // The OST goes on.
    c.write(last, 0, b"still here").unwrap();
    assert_eq!(c.read(last, 0, 10).unwrap(), b"still here");
}

#[test]
fn transfers_that_make_no_sense() {
    let Scene {
        oss,
        m: _m,
        c,
        last,
        kept,
        ..
    } = Scene::new(34);
    let ours = BrwFlags::SRVLOCK;
    let lone = |pos, len| vec![niobuf(pos, len, ours)];
    type Case = (&'static str, Vec<NiobufRemote>, fn(&mut Vec<u8>), Error);
    let same: fn(&mut Vec<u8>) = |_| {};
    let cases: Vec<Case> = vec![
        ("empty", lone(0, 0), same, EPROTO),
        ("end of numbers", lone(u64::MAX, 4096), same, EPROTO),
        (
            "behind the largest",
            lone(i64::MAX as u64, 4096),
            same,
            EPROTO,
        ),
        ("too much", lone(0, (4 << 20) + 4096), same, EOVERFLOW),
        ("far too much", lone(0, u32::MAX), same, EOVERFLOW),
        (
            "twice",
            [lone(0, 4096), lone(0, 4096)].concat(),
            same,
            EPROTO,
        ),
        (
            "backwards",
            [lone(8192, 4096), lone(0, 4096)].concat(),
            same,
            EPROTO,
        ),
        (
            "a gap in a page",
            [lone(0, 100), lone(4096, 100)].concat(),
            same,
            EPROTO,
        ),
        (
            "within a page",
            [lone(0, 4096), lone(5000, 100)].concat(),
            same,
            EPROTO,
        ),
        (
            "half a lock",
            vec![niobuf(0, 4096, ours), niobuf(4096, 4096, BrwFlags::empty())],
            same,
            EFAULT,
        ),
        (
            "no lock",
            vec![niobuf(0, 4096, BrwFlags::empty())],
            same,
            ESTALE,
        ),
        (
            "no room",
            lone(0, 4096),
            |io| io[18..20].copy_from_slice(&2u16.to_le_bytes()),
            EPROTO,
        ),
        (
            "two objects",
            lone(0, 4096),
            |io| io.extend([0; 24]),
            EPROTO,
        ),
        (
            "half an object",
            lone(0, 4096),
            |io| io.truncate(20),
            EPROTO,
        ),
        ("no ranges", lone(0, 4096), |io| io[20..24].fill(0), EPROTO),
        (
            "more ranges than there are",
            lone(0, 4096),
            |io| io[20] = 2,
            EPROTO,
        ),
        (
            "very many ranges",
            lone(0, 4096),
            |io| io[20..24].fill(0xff),
            EPROTO,
        ),
    ];
    for (opc, what) in [(OST_READ, "read"), (OST_WRITE, "write")] {
        for (name, n, change, want) in &cases {
            let (o, mut io, nio) = Peer::brw(&obdo(last, ObdMd::empty()), n, 4);
            change(&mut io);
            let status = parts(&c, opc, portal::OST_IO, (&o, &io, &nio), &[]);
            assert_eq!(status, want.to_errno(), "{what}: {name}");
        }
        // By the wrong door.
        let (o, io, nio) = Peer::brw(&obdo(last, ObdMd::empty()), &lone(0, 4096), 4);
        let status = parts(&c, opc, portal::OST_REQUEST, (&o, &io, &nio), &[]);
        assert_eq!(status, EPROTO.to_errno(), "{what}");
        // Half a range.
        let status = parts(&c, opc, portal::OST_IO, (&o, &io, &nio[..12]), &[]);
        assert_eq!(status, EPROTO.to_errno(), "{what}");
        // Data in the message: too many, in parts, or not all there.
        let mut o = obdo(last, ObdMd::empty());
        o.set_flags(ObdFl::SHORT_IO);
        for (n, data, e) in [
            (lone(0, 65537), vec![0; 8192], EPROTO),
            (
                [lone(0, 4096), lone(4096, 4096)].concat(),
                vec![0; 8192],
                EPROTO,
            ),
            (lone(0, 4096), vec![0; 4095], EPROTO),
        ] {
            if opc == OST_READ && data.len() == 4095 {
                continue;
            }
            let (o, io, nio) = Peer::brw(&o, &n, 0);
            let status = parts(&c, opc, portal::OST_IO, (&o, &io, &nio), &data);
            assert_eq!(status, e.to_errno(), "{what} in a message");
        }
    }
    kept.check(&oss, &c);
}

/// A client that does not have the room that it tells of gets no answer; nothing is lost by that.
#[test]
fn data_that_nobody_takes() {
    let Scene {
        oss,
        m: _m,
        c,
        last,
        kept,
        ..
    } = Scene::new(35);
    c.write(last, 0, &[1; 8192]).unwrap();
    let (o, io, nio) = Peer::brw(
        &obdo(last, ObdMd::empty()),
        &[niobuf(0, 4096, BrwFlags::SRVLOCK)],
        1,
    );
    let mut x =
        ptlrpc::message::Msg::request(OST_READ, wire::msg::OST_VERSION, &[208, 24, 16, 0, 0])
            .unwrap();
    for (i, b) in [&o, &io, &nio].into_iter().enumerate() {
        x.buf_mut(i + 1).unwrap().copy_from_slice(b);
    }
    let mut options = ptlrpc::call::CallOptions::new(ROOM).unwrap();
    options.portal = Some(portal::OST_IO);
    options.timeout = Some(2);
    options.no_resend = true;
    let r = c.import.call(x, options, None);
    assert!(r.is_err());
    c.import.wait_full(Duration::from_secs(10)).unwrap();
    kept.check(&oss, &c);
}

#[test]
fn questions_about_nothing() {
    let Scene {
        oss,
        m,
        c,
        fid,
        kept,
        ..
    } = Scene::new(36);
    let info = |p: &Peer, opc: u32, key: &[u8], value: &[u8]| {
        let r = p.send(opc, portal::OST_REQUEST, &[key, value], ROOM, None);
        r.unwrap().status
    };
    let unknown = EOPNOTSUPP.to_errno();
    for key in [&b""[..], b"x", b"last_fi", b"fid2path", &[0xff; 200]] {
        assert_eq!(info(&c, OST_GET_INFO, key, &[0; 16]), unknown);
        assert_eq!(info(&c, OST_SET_INFO, key, &[0; 208]), unknown);
    }
    let fid_of = |f: Fid| LuFid::from(f);
    let last = |p: &Peer, f: Fid| info(p, OST_GET_INFO, b"last_fid\0", fid_of(f).as_bytes());
    assert_eq!(last(&c, fid), EPERM.to_errno());
    for bad in [
        Fid::ROOT,
        Fid::local(11),
        Fid::new(1, 1),
        Fid::new(10, 0),
        Fid::new(12, 0),
    ] {
        assert_eq!(last(&m, bad), EPROTO.to_errno(), "{bad}");
    }
    assert_eq!(
        info(&m, OST_GET_INFO, b"last_fid\0", &[0; 15]),
        EPROTO.to_errno()
    );
    // Maps of extents: room that is not there, flags that are not known, objects of others.
    let map = |f: Fid, len: u64, flags: u32, count: u32, room: usize| {
        let mut key = vec![0u8; 248];
        key[..8].copy_from_slice(b"fiemap\0\0");
        key[8..216].copy_from_slice(obdo(f, ObdMd::empty()).as_bytes());
        key[224..232].copy_from_slice(&len.to_le_bytes());
        key[232..236].copy_from_slice(&flags.to_le_bytes());
        key[240..244].copy_from_slice(&count.to_le_bytes());
        info(&c, OST_GET_INFO, &key, &vec![0; room])
    };
    assert_eq!(map(fid, u64::MAX, 0x4000_0001, 5, 32 + 5 * 56), 0);
    assert_eq!(map(fid, u64::MAX, 0, 0, 32), 0);
    assert_eq!(map(fid, u64::MAX, 0, 6, 32 + 5 * 56), EPROTO.to_errno());
    assert_eq!(map(fid, u64::MAX, 0, u32::MAX, 32), EPROTO.to_errno());
    assert_eq!(map(fid, u64::MAX, 2, 0, 32), EBADR.to_errno());
    assert_eq!(map(fid, u64::MAX, 0, 0, 31), EPROTO.to_errno());
    assert_eq!(
        map(Fid::new(fid.seq, 99), u64::MAX, 0, 0, 32),
        ENOENT.to_errno()
    );
    kept.check(&oss, &c);
    // A grant that is given back and was never there.
    let mut o = obdo(fid, ObdMd::FLGRANT | ObdMd::FLBLOCKS);
    o.set_flags(ObdFl::SHRINK_GRANT);
    (o.o_grant, o.o_blocks, o.o_misc) = (u64::MAX.into(), u64::MAX.into(), u32::MAX.into());
    assert_eq!(info(&c, OST_SET_INFO, b"grant_shrink\0", o.as_bytes()), 0);
    let (granted, _, _) = oss.ofd().grants();
    assert!(granted <= oss.device.statfs().unwrap().bavail * 4096);
    drop(c);
    assert_eq!(oss.ofd().grants(), (68 * 4096, 0, 0));
}

/// A counter of objects that was damaged on disk: nothing is made in that sequence.
#[test]
fn a_counter_out_of_range() {
    let oss = Oss::new(37);
    let m = oss.mdt(2);
    let in_seq = |n: u64| Fid::new(0x2_4000_0400 + n, 0);
    for (n, last) in [(0, u64::MAX), (1, 1 << 32)] {
        let counter = oss.object(&in_seq(n));
        let what = Create::file(0o666);
        let mut plan = oss.device.plan().unwrap();
        plan.create(&counter, &what, None).unwrap();
        plan.write(&counter, 0, 8).unwrap();
        let mut tx = plan.start().unwrap();
        tx.create(&counter, &what, None).unwrap();
        tx.write(&counter, 0, &last.to_le_bytes()).unwrap();
        tx.stop().unwrap();
        let mut o = obdo(Fid::new(in_seq(n).seq, 5), ObdMd::empty());
        o.set_valid(ObdMd::FLGROUP);
        assert_eq!(m.main(OST_CREATE, &o).err(), Some(EINVAL));
        let asked = LuFid::from(in_seq(n));
        let bufs: [&[u8]; 2] = [b"last_fid\0", asked.as_bytes()];
        let r = m.send(OST_GET_INFO, portal::OST_REQUEST, &bufs, ROOM, None);
        assert_eq!(r.unwrap().status, EFAULT.to_errno());
    }
    // Others are as before.
    m.precreate(3);
}
