// SPDX-License-Identifier: GPL-2.0

//! Each request, good and bad.

mod common;

use common::*;
use kapi::pages::Pages;
use kapi::prelude::*;
use lnet::Sink;
use ptlrpc::bulk::ClientBulk;
use ptlrpc::call::CallOptions;
use ptlrpc::message::Msg;
use wire::connect::{ConnectFlags, ConnectFlags2};
use wire::llog::{LlogLogHdr, LlogdBody};
use wire::mgs::{MgsConfigBody, MgsConfigRes};
use wire::msg::MGS_VERSION;
use wire::opcode::*;
use wire::ostid::LlogLogid;
use zerocopy::{FromZeros, IntoBytes};

const BODY: usize = size_of::<LlogdBody>();
const A: &[&str] = &["10.0.0.1@tcp"];
const B: &[&str] = &["10.0.0.2@tcp", "10.1.0.2@tcp1"];

fn name(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// Status, and the identifier.
fn open(p: &Peer, body: &LlogdBody, text: &[u8]) -> (i32, LlogLogid) {
    let bufs = [body.as_bytes(), text, &[0; 216]];
    let r = p
        .call(LLOG_ORIGIN_HANDLE_CREATE, &bufs, &[BODY as u32])
        .unwrap();
    let id = r
        .msg
        .get::<LlogdBody>(1)
        .map_or(LlogLogid::default(), |b| b.lgd_logid);
    (r.status, id)
}

fn block(p: &Peer, opc: u32, body: &LlogdBody) -> (i32, Option<LlogdBody>, Vec<u8>) {
    let r = p
        .call(opc, &[body.as_bytes()], &[BODY as u32, 8192])
        .unwrap();
    let b = r.msg.get::<LlogdBody>(1).ok().copied();
    (r.status, b, r.msg.buf(2).unwrap_or(&[]).to_vec())
}

#[test]
fn reading_logs() {
    let w = World::new(11);
    let p = Peer::new(&w, 2);
    p.must_register(&Reg::new(VIRGIN_MDT, 0, "lustre-MDT0000", A));
    for i in 0..30 {
        p.must_register(&Reg::new(VIRGIN_OST, i, &format!("lustre-OST{i:04x}"), B));
    }
    let zero = LlogdBody::default();
    assert_eq!(
        open(&p, &zero, &name("lustre-sptlrpc")),
        (-2, LlogLogid::default())
    );
    for bad in [
        "nodemap",
        "mountdata",
        "..",
        ".",
        "lustre-client/x",
        "lustre-OST0099",
    ] {
        assert_eq!(open(&p, &zero, &name(bad)).0, -2, "{bad}");
    }
    assert_eq!(open(&p, &zero, b"\0").0, EPROTO.to_errno());
    let (status, id) = open(&p, &zero, &name("lustre-client"));
    assert_eq!(status, 0);
    let mut body = LlogdBody {
        lgd_logid: id,
        lgd_llh_flags: 4.into(),
        lgd_len: 8192.into(),
        lgd_cur_offset: 8192.into(),
        ..zero
    };
    assert_eq!(open(&p, &body, &name("")), (0, id));
    let r = p
        .call(LLOG_ORIGIN_HANDLE_READ_HEADER, &[body.as_bytes()], &[8192])
        .unwrap();
    assert_eq!(r.msg.buf(1).unwrap(), &w.bytes("lustre-client")[..8192]);
    let head = LlogLogHdr::parse(r.msg.buf(1).unwrap()).unwrap();
    let (last, log) = (head.last_index(), w.bytes("lustre-client"));
    let mut offset = 8192;
    let mut next = 1;
    while next <= last {
        body.lgd_index.set(next);
        let (status, b, bytes) = block(&p, LLOG_ORIGIN_HANDLE_NEXT_BLOCK, &body);
        let b = b.unwrap();
        assert_eq!((status, bytes.len()), (0, 8192));
        let end = log.len().min(offset + 8192);
        assert_eq!(bytes[..end - offset], log[offset..end]);
        assert!(bytes[end - offset..].iter().all(|b| *b == 0));
        assert_eq!(b.lgd_cur_offset.get(), end as u64);
        next = b.lgd_saved_index.get() + 1;
        // The other direction finds the same chunk by any index in it.
        body.lgd_index.set(next - 1);
        assert_eq!(block(&p, LLOG_ORIGIN_HANDLE_PREV_BLOCK, &body).2, bytes);
        offset = end;
    }
    assert_eq!((offset, next), (log.len(), last + 1));
    body.lgd_index.set(last + 1);
    let (status, b, _) = block(&p, LLOG_ORIGIN_HANDLE_NEXT_BLOCK, &body);
    assert_eq!(status, EBADR.to_errno());
    let b = b.unwrap();
    assert_eq!(
        (b.lgd_saved_index.get(), b.lgd_cur_offset.get()),
        (last, log.len() as u64)
    );

    // What is not there, or not a log, or not of this kind.
    let next = |body: &LlogdBody| block(&p, LLOG_ORIGIN_HANDLE_NEXT_BLOCK, body).0;
    let with = |f: &dyn Fn(&mut LlogdBody)| {
        let mut b = body;
        f(&mut b);
        next(&b)
    };
    assert_eq!(with(&|b| b.lgd_ctxt_idx.set(18)), EPROTO.to_errno());
    assert_eq!(with(&|b| b.lgd_ctxt_idx.set(2)), EOPNOTSUPP.to_errno());
    assert_eq!(with(&|b| b.lgd_llh_flags.set(2)), EINVAL.to_errno());
    assert_eq!(
        with(&|b| b.lgd_logid.lgl_oi.oi_id.set(999)),
        ESTALE.to_errno()
    );
    assert_eq!(
        with(&|b| b.lgd_logid.lgl_oi.oi_id.set(1 << 40)),
        EINVAL.to_errno()
    );
    assert_eq!(
        with(&|b| b.lgd_logid.lgl_oi.oi_seq.set(0x2_0000_0001)),
        ENOENT.to_errno()
    );
    for opc in [
        LLOG_ORIGIN_HANDLE_CREATE,
        LLOG_ORIGIN_HANDLE_READ_HEADER,
        LLOG_ORIGIN_HANDLE_NEXT_BLOCK,
    ] {
        for len in [0, BODY - 1] {
            let r = p.call(opc, &[&vec![0; len]], &[8192, 8192]).unwrap();
            assert_eq!(r.status, EPROTO.to_errno(), "{opc} {len}");
        }
    }
    // The log of parameters is empty, and there.
    let (status, id) = open(&p, &zero, &name("params"));
    assert_eq!(
        (status, id.lgl_oi.oi_id.get(), id.lgl_oi.oi_seq.get()),
        (0, 2, 10)
    );
    body.lgd_logid = id;
    body.lgd_index.set(1);
    assert_eq!(next(&body), EBADR.to_errno());
    for opc in [MGS_EXCEPTION, MGS_TARGET_DEL, 504, 509, MDS_STATFS] {
        assert_eq!(p.call(opc, &[], &[]).unwrap().status, EOPNOTSUPP.to_errno());
    }
}

#[test]
fn bad_registrations() {
    let w = World::new(12);
    let p = Peer::new(&w, 2);
    let status = |r: &Reg<'_>| p.register(r).0;
    let ost = |index| Reg::new(VIRGIN_OST, index, "lustre-OST0000", B);
    // Neither an MDT nor an OST, or both.
    for kind in [0x1002_0060, 0x1002_0063, 0x1002_0064] {
        let r = Reg {
            flags: kind,
            ..ost(0)
        };
        assert_eq!(status(&r), EINVAL.to_errno());
    }
    for fs in ["", "a/b", "toolongname", "params", "nodemap"] {
        assert_eq!(status(&Reg { fs, ..ost(0) }), EINVAL.to_errno(), "{fs}");
    }
    assert_eq!(status(&ost(0xffff)), ERANGE.to_errno());
    assert_eq!(status(&ost(u32::MAX)), ERANGE.to_errno());
    assert_eq!(
        status(&Reg {
            nids: &[],
            ..ost(0)
        }),
        EINVAL.to_errno()
    );
    assert_eq!(
        status(&Reg {
            nids: &["0@lo"],
            ..ost(0)
        }),
        EINVAL.to_errno()
    );
    assert_eq!(
        status(&Reg {
            flags: 0x2002_0062,
            ..ost(0)
        }),
        EINVAL.to_errno()
    );
    assert_eq!(
        status(&Reg {
            flags: 0x4002_0002,
            ..ost(0)
        }),
        EINVAL.to_errno()
    );
    let far = Reg {
        flags: 0x4002_0002,
        instance: 1,
        ..ost(0)
    };
    assert_eq!(status(&far), ENOENT.to_errno());
    // Short, or without the list of NIDs.
    for bufs in [&[][..], &[&[0; 4543][..]], &[&[0; 4544][..]]] {
        let r = p.call(MGS_TARGET_REG, bufs, &[4544]).unwrap();
        assert!(r.status < 0);
    }
    assert!(w.file("lustre-client").is_none() && w.file("lustre-OST0000").is_none());
    // Refused means: error and flag.
    p.must_register(&ost(0));
    let before = w.bytes("lustre-client");
    let (s, reply) = p.register(&ost(0));
    assert_eq!((s, reply.len()), (EADDRINUSE.to_errno(), 4544));
    assert_eq!(
        u32::from_le_bytes(reply[12..16].try_into().unwrap()),
        VIRGIN_OST | 0x4000
    );
    assert_eq!(
        status(&Reg {
            params: "failover.node=10.0.0.2@tcp",
            ..ost(7)
        }),
        EADDRNOTAVAIL.to_errno()
    );
    assert_eq!(
        status(&Reg {
            params: "failover.node=junk",
            ..ost(7)
        }),
        EINVAL.to_errno()
    );
    assert_eq!(
        status(&Reg {
            params: "sys.timeout=many",
            ..ost(7)
        }),
        EINVAL.to_errno()
    );
    assert_eq!(w.bytes("lustre-client"), before);
    // None of the attempts has taken index 7.
    p.must_register(&ost(7));
    assert_eq!(
        p.must_register(&Reg {
            flags: RESTART_OST,
            ..ost(7)
        })
        .mti_flags
        .get(),
        RESTART_OST
    );
    assert_eq!(
        status(&Reg {
            flags: RESTART_OST,
            ..ost(8)
        }),
        ENOENT.to_errno()
    );
    assert_eq!(
        p.must_register(&Reg {
            flags: VIRGIN_OST | 0x10,
            ..ost(0)
        })
        .mti_stripe_index
        .get(),
        1
    );
}

/// The forms of old targets: numbers, and text behind the structure.
#[test]
fn old_forms() {
    let w = World::new(13);
    let mut old = wanted();
    let flags = old
        .flags()
        .difference(ConnectFlags::MGS_NIDLIST | ConnectFlags::IMP_RECOV);
    old.set_flags(flags, ConnectFlags2::REP_MBITS);
    let p = Peer::with(&w, 2, old);
    assert!(!p
        .import
        .connect_data()
        .flags()
        .contains(ConnectFlags::MGS_NIDLIST));
    let mut info = vec![0; 4544];
    info[12..16].copy_from_slice(&0x62_u32.to_le_bytes());
    // More than there is room for.
    info[16..20].copy_from_slice(&1000_u32.to_le_bytes());
    info[24..30].copy_from_slice(b"lustre");
    info[88..102].copy_from_slice(b"lustre-OST0000");
    info[192..200].copy_from_slice(&0x0002_0000_0a00_0002_u64.to_le_bytes());
    let r = p.call(MGS_TARGET_REG, &[&info], &[4544]).unwrap();
    assert_eq!(r.status, 0);
    let log = w.text("lustre-client");
    assert!(
        log.contains(&"AddUuid  10.0.0.2@tcp".to_string()),
        "{log:?}"
    );
    // Text behind: the answer is as long as the request.
    info[4] = 1;
    info[12..16].copy_from_slice(&0x2_0062_u32.to_le_bytes());
    info[16..20].copy_from_slice(&2_u32.to_le_bytes());
    info.resize(4544 + 128, 0);
    info[4544..4556].copy_from_slice(b"10.0.0.3@tcp");
    info[4608..4621].copy_from_slice(b"10.1.0.3@tcp1");
    let r = p.call(MGS_TARGET_REG, &[&info], &[4544 + 128]).unwrap();
    assert_eq!((r.status, r.msg.buf(1).unwrap().len()), (0, 4544 + 128));
    let log = w.text("lustre-client");
    assert_eq!(
        log.iter().filter(|l| *l == "AddUuid  10.0.0.3@tcp").count(),
        2
    );
}

fn config_read(
    p: &Peer,
    body: &MgsConfigBody,
    room: usize,
) -> (i32, Option<MgsConfigRes>, Vec<u8>) {
    let mut m = Msg::request(MGS_CONFIG_READ, MGS_VERSION, &[80]).unwrap();
    *m.get_mut::<MgsConfigBody>(1).unwrap() = *body;
    let mut sinks = KVec::new();
    sinks
        .push(Sink::new(Pages::new(room).unwrap()), GFP_KERNEL)
        .unwrap();
    let bulk = ClientBulk::take(portal::MGS_BULK, sinks).unwrap();
    let r = p
        .import
        .call(m, CallOptions::new(&[16]).unwrap(), Some(bulk))
        .unwrap();
    let res = r.msg.get::<MgsConfigRes>(1).ok().copied();
    let mut out = Vec::new();
    for (sink, len) in r.bulk.unwrap().into_received() {
        let mut bytes = vec![0; len];
        sink.pages.copy_out(0, &mut bytes).unwrap();
        out.extend(bytes);
    }
    (r.status, res, out)
}

#[test]
fn where_targets_are() {
    let osd: Arc<dyn osd::Device> = osd_memory::MemoryDevice::new();
    let w = World::on(14, osd.clone());
    let p = Peer::new(&w, 2);
    let mut body = MgsConfigBody::new_zeroed();
    let ask = |body: &mut MgsConfigBody, text: &str, offset: u64| {
        body.mcb_name = [0; 64];
        body.mcb_name[..text.len()].copy_from_slice(text.as_bytes());
        body.mcb_offset.set(offset);
        body.mcb_type.set(2);
        body.mcb_nm_cur_pass = 20;
        body.mcb_bits = 12;
        body.mcb_units.set(256);
        *body
    };
    let q = ask(&mut body, "lustre-cliir", 1);
    assert_eq!(config_read(&p, &q, 256).0, ENOENT.to_errno());
    p.must_register(&Reg::new(VIRGIN_MDT, 0, "lustre-MDT0000", A));
    // Nothing to tell is told, too.
    let (status, res, bytes) = config_read(&p, &q, 256);
    let res = res.unwrap();
    assert_eq!((status, bytes.len()), (0, 0));
    assert_eq!((res.mcr_offset.get(), res.mcr_size.get()), (2, 2));
    let ready = Reg {
        instance: 3,
        ..Reg::new(0x4002_0061, 0, "lustre-MDT0000", A)
    };
    assert_eq!(p.must_register(&ready).mti_flags.get(), 0x4002_0061);
    let (status, res, bytes) = config_read(&p, &q, 256);
    assert_eq!(
        (status, res.unwrap().mcr_offset.get(), bytes.len()),
        (0, 3, 44)
    );
    assert_eq!(bytes[8..12], 3_u32.to_le_bytes());
    let q = ask(&mut body, "lustre-mdtir", 4);
    assert_eq!(config_read(&p, &q, 256).2.len(), 0);
    for bad in ["lustre-client", "lustre", "-cliir"] {
        let q = ask(&mut body, bad, 1);
        assert_eq!(config_read(&p, &q, 1).0, EINVAL.to_errno(), "{bad}");
    }
    let mut q = ask(&mut body, "lustre-cliir", 1);
    for (kind, want) in [(0, EOPNOTSUPP), (1, EINVAL), (5, EINVAL), (77, EINVAL)] {
        q.mcb_type.set(kind);
        assert_eq!(config_read(&p, &q, 1).0, want.to_errno());
    }
    let mut q = ask(&mut body, "lustre-cliir", 1);
    q.mcb_bits = 255;
    assert_eq!(config_read(&p, &q, 1).0, EINVAL.to_errno());
    q.mcb_bits = 30;
    assert_eq!(config_read(&p, &q, 1).0, EINVAL.to_errno());
    let mut q = ask(&mut body, "nodemap", 0);
    q.mcb_type.set(4);
    q.mcb_nm_cur_pass = 0;
    let (status, res, bytes) = config_read(&p, &q, 256);
    assert_eq!((status, bytes.len()), (0, 4096));
    assert_eq!(
        res.unwrap().as_bytes(),
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0\0\0\0\0"
    );
    assert_eq!(bytes[..16], *b"\x6c\x6b\x6d\x8a\0\0\x02\0\0\0\0\0\0\0\0\0");
    assert_eq!(bytes[24..31], *b"default");
    // Versions go on after a restart.
    drop(p);
    drop(w);
    let w = World::on(14, osd);
    let p = Peer::new(&w, 2);
    assert_eq!(p.must_register(&ready).mti_flags.get(), 0x4002_0061);
    let q = ask(&mut body, "lustre-cliir", 1);
    let (_, res, bytes) = config_read(&p, &q, 256);
    assert_eq!((res.unwrap().mcr_offset.get(), bytes.len()), (4, 44));
}

#[test]
fn set_info() {
    let w = World::new(15);
    let p = Peer::new(&w, 2);
    let send = |text: &str, len: usize| {
        let mut b = vec![0; len];
        b[..text.len()].copy_from_slice(text.as_bytes());
        let r = p.call(MGS_SET_INFO, &[&b], &[1024]).unwrap();
        (r.status, r.msg.buf(1).unwrap_or(&[]).to_vec() == b)
    };
    assert_eq!(
        send("lustre-MDT0000.lov.stripesize=1048576", 1024),
        (0, true)
    );
    for bad in ["", "x", "lustre.lov.other=1", "lov.stripesize=1"] {
        assert_eq!(send(bad, 1024).0, EINVAL.to_errno(), "{bad}");
    }
    assert_eq!(send(&"x.".repeat(512), 1024).0, EINVAL.to_errno());
    assert_eq!(send("x", 1000).0, EPROTO.to_errno());
}
