// SPDX-License-Identifier: GPL-2.0

//! Messages seen on the wire (spec/ldlm.md 28.4, 28.5), and bytes at random.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

/// Bytes from groups of hex digits.
fn hex(s: &str) -> Vec<u8> {
    let digits: Vec<u8> = s
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|d| d as u8)
        .collect();
    digits.chunks(2).map(|p| (p[0] << 4) | p[1]).collect()
}

const Z8: &str = "0000000000000000";

#[test]
fn blocking_callback_of_a_link() {
    let desc = Desc {
        res: ResId([0x2_0000_0401, 3, 0, 0]),
        req_mode: Mode::Ex,
        granted: None,
        policy: Policy::Ibits(Ibits {
            bits: 0x22,
            ..Default::default()
        }),
        cancel_bits: 0x22,
    };
    let (client, server) = (
        u64::from_le_bytes(hex("6da2c1c5845ed527").try_into().unwrap()),
        u64::from_le_bytes(hex("b6b015820b0117df").try_into().unwrap()),
    );
    let want = hex(&std::format!(
        "00000000 00000000 0d000000 00000000 0104000002000000 0300000000000000 {Z8} {Z8}
         01000000 00000000 2200000000000000 2200000000000000 {Z8} {Z8}
         6da2c1c5845ed527 b6b015820b0117df"
    ));
    assert_eq!(callback(0, &desc, client, server)[..], want[..]);
    let m = LockMsg::parse(&want).unwrap();
    assert_eq!(m.desc(), Ok(desc));
    assert_eq!((m.handle(0), m.handle(1), m.handle(2)), (client, server, 0));
}

#[test]
fn completion_callback_of_an_extent() {
    let desc = Desc {
        res: ResId([0x2_4000_0400, 2, 0, 0]),
        req_mode: Mode::Pw,
        granted: Some(Mode::Pw),
        policy: Policy::Extent(Extent::WHOLE),
        cancel_bits: 0,
    };
    let want = hex(&std::format!(
        "00000000 00000000 0b000000 00000000 0004004002000000 0200000000000000 {Z8} {Z8}
         02000000 02000000 {Z8} ffffffffffffffff {Z8} {Z8} 7ba2c1c5845ed527 acdb1dcbdc7f466d"
    ));
    let m = LockMsg::parse(&want).unwrap();
    assert_eq!(m.desc(), Ok(desc));
    assert_eq!(callback(0, &desc, m.handle(0), m.handle(1))[..], want[..]);
    // What no callback may carry is not sent.
    let f = callback(flags::NO_TIMEOUT | flags::AST_SENT, &desc, 0, 0);
    assert_eq!(f[..4], flags::AST_SENT.to_le_bytes());
}

#[test]
fn file_lock_request_and_reply() {
    let req = hex(&std::format!(
        "00000000 01000000 0c000000 00000000 0104000002000000 a501000000000000 {Z8} 0c00000000000000
         02000000 00000000 {Z8} ffffffffffffff7f 008c16068088ffff 00000000 43020000
         86d2c1c5845ed527 {Z8}"
    ));
    let e = LockMsg::parse(&req).unwrap().enqueue(false).unwrap();
    assert_eq!((e.res.0[3], e.mode), (12, Mode::Pw));
    let Policy::Flock(f) = e.policy else { panic!() };
    assert_eq!((f.start, f.end, f.pid), (0, i64::MAX as u64, 0x243));
    let r = EnqueueReply {
        desc: Some(Desc {
            res: e.res,
            req_mode: e.mode,
            granted: Some(e.mode),
            policy: e.policy,
            cancel_bits: 0,
        }),
        cookie: u64::from_le_bytes(hex("fc5f16820b0117df").try_into().unwrap()),
        ..Default::default()
    };
    let mut want = req[..88].to_vec();
    want[4] = 0;
    want[52] = 2;
    want.extend(hex(&std::format!("fc5f16820b0117df {Z8} {Z8}")));
    assert_eq!(reply(&r)[..], want[..]);
    let back = ReplyMsg::parse(&want).unwrap();
    assert_eq!((back.desc, back.cookie), (r.desc, r.cookie));
}

#[test]
fn convert_and_its_reply() {
    let zeros = "00".repeat(40);
    let rest = "00".repeat(24);
    let req = hex(&std::format!(
        "00000000 01000000 {zeros} 04000000 04000000 5100000000000000 {rest} f5a6b0c814149666 {Z8}"
    ));
    let (handle, mode, keep) = LockMsg::parse(&req).unwrap().convert().unwrap();
    assert_eq!((mode, keep), (Mode::Pr, 0x51));
    assert_eq!(handle.to_le_bytes()[..], hex("f5a6b0c814149666")[..]);
    let left = Ibits {
        bits: 0x51,
        ..Default::default()
    };
    let want = hex(&std::format!(
        "00000000 00000000 {zeros} 00000000 00000000 5100000000000000 {rest}
         f08c928085e1ffb2 {Z8} {Z8}"
    ));
    let client = u64::from_le_bytes(hex("f08c928085e1ffb2").try_into().unwrap());
    assert_eq!(convert_reply(0, client, &left)[..], want[..]);
}

#[test]
fn early_cancels_of_an_enqueue() {
    let req = hex(&std::format!(
        "00000000 02000000 0d000000 00000000 0104000002000000 0300000000000000 {Z8} {Z8}
         02000000 00000000 4000000000000000 {Z8} {Z8} {Z8} 058d928085e1ffb2 f5a6b0c814149666"
    ));
    let m = LockMsg::parse(&req).unwrap();
    let c: Vec<u64> = m.cancels_of_enqueue().collect();
    assert_eq!(
        c,
        [u64::from_le_bytes(
            hex("f5a6b0c814149666").try_into().unwrap()
        )]
    );
    // A count beyond the buffer is not believed.
    let mut bad = req.clone();
    bad[4] = 3;
    assert_eq!(LockMsg::parse(&bad).unwrap().handles(0).count(), 0);
    bad[4] = 0;
    assert_eq!(
        LockMsg::parse(&bad).unwrap().cancels_of_enqueue().count(),
        0
    );
    assert_eq!(LockMsg::parse(&bad).unwrap().handles(0).count(), 1);
    assert!(LockMsg::parse(&req[..95]).is_err());
    assert!(LockMsg::parse(&req[..96]).is_ok());
    // And it is what we would send.
    let e = m.enqueue(false).unwrap();
    let d = Desc {
        res: e.res,
        req_mode: e.mode,
        granted: None,
        policy: e.policy,
        cancel_bits: 0,
    };
    let mut out = [0xff; 200];
    let n = request(&mut out, 0, Some(&d), Some(e.client_handle), &c).unwrap();
    assert_eq!(out[..n], req[..]);
}

#[test]
fn what_no_client_sends() {
    let d = Desc {
        res: ResId([1, 2, 3, 4]),
        req_mode: Mode::Cos,
        granted: None,
        policy: Policy::Plain,
        cancel_bits: 0,
    };
    let mut b = [0; 200];
    let n = request(&mut b, 0, Some(&d), Some(1), &[]).unwrap();
    let e = |b: &[u8]| LockMsg::parse(b).unwrap().enqueue(false).map(|e| e.flags);
    assert_eq!(e(&b[..n]), Err(EPROTO));
    b[48..52].copy_from_slice(&3u32.to_le_bytes());
    assert_eq!(e(&b[..n]), Err(EFAULT));
    b[48] = 16;
    b[49] = 0;
    assert_eq!(e(&b[..n]), Ok(0));
    b[8] = 14;
    assert_eq!(e(&b[..n]), Err(EFAULT));
    b[8] = 11;
    b[56] = 1;
    assert_eq!(e(&b[..n]), Err(EPROTO));
    b[56] = 0;
    b[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(e(&b[..n]), Ok(flags::WIRE_REQ));
    b[1] &= !1;
    let f = e(&b[..n]).unwrap();
    assert_eq!(f & (flags::BLOCK_GRANTED | flags::BLOCK_WAIT), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]
    #[test]
    fn anything_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 9u8..16) {
        let mut bytes = bytes;
        if let Some(b) = bytes.get_mut(8..12) {
            b.copy_from_slice(&[kind, 0, 0, 0]);
        }
        if let Ok(m) = LockMsg::parse(&bytes) {
            let _ = m.enqueue(true);
            let _ = m.convert();
            let _ = m.desc();
            prop_assert!(m.handles(0).count() <= bytes.len() / 8);
        }
        let _ = ReplyMsg::parse(&bytes);
    }
}
