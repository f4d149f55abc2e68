// SPDX-License-Identifier: GPL-2.0

//! Objects against vectors of bytes.

mod common;

use common::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wire::fid::Fid;
use wire::obdo::{ObdFl, ObdMd};
use wire::opcode::*;
use wire::ost::BrwFlags;

/// No offset is larger.
const END: u64 = 3 << 20;

#[derive(Clone, Debug)]
enum Op {
    /// Position, bytes, what, in the message.
    Write(u64, usize, u8, bool),
    Read(u64, usize, bool),
    Truncate(u64),
    /// Mode, start, end.
    Allocate(u32, u64, u64),
    Seek(u64, bool),
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![0..END, (0..END / 4096).prop_map(|p| p * 4096)]
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![1usize..9000, 1usize..1 << 20, Just(4096)];
    prop_oneof![
        4 => (offset(), len.clone(), 1u8.., any::<bool>()).prop_map(|(p, n, b, s)| {
            let n = if s { n.min(60_000) } else { n };
            Op::Write(p, n, b, s)
        }),
        4 => (offset(), len, any::<bool>()).prop_map(|(p, n, s)| {
            let n = if s { n.min(60_000) } else { n };
            Op::Read(p, n, s)
        }),
        1 => offset().prop_map(Op::Truncate),
        2 => (prop_oneof![Just(0u32), Just(1), Just(3), Just(0x10)], offset(), 1..END / 4)
            .prop_map(|(m, p, n)| Op::Allocate(m, p, p + n)),
        1 => (offset(), any::<bool>()).prop_map(|(p, h)| Op::Seek(p, h)),
    ]
}

/// The bytes of a write tell where they belong.
fn fill(pos: u64, len: usize, seed: u8) -> Vec<u8> {
    (0..len as u64)
        .map(|i| ((pos + i) as u8).wrapping_mul(7).wrapping_add(seed) | 1)
        .collect()
}

fn run(c: &Peer, fid: Fid, model: &mut Vec<u8>, op: &Op) -> Result<(), TestCaseError> {
    let body = |short: bool, valid: ObdMd| {
        let mut o = obdo(fid, valid);
        let f = if short {
            ObdFl::SHORT_IO
        } else {
            ObdFl::empty()
        };
        o.set_flags(f);
        o
    };
    let locked = |valid: ObdMd| {
        let mut o = obdo(fid, valid);
        o.set_flags(ObdFl::SRVLOCK);
        o
    };
    let both = ObdMd::FLSIZE | ObdMd::FLBLOCKS;
    match *op {
        Op::Write(pos, len, seed, short) => {
            let data = fill(pos, len, seed);
            let n = [niobuf(pos, len as u32, BrwFlags::SRVLOCK | BrwFlags::ASYNC)];
            let o = body(short, ObdMd::empty());
            let r = c.write_with(&o, &n, &data).unwrap().check().unwrap();
            prop_assert_eq!(rcs(&r), vec![0]);
            let end = pos as usize + len;
            if model.len() < end {
                model.resize(end, 0);
            }
            model[pos as usize..end].copy_from_slice(&data);
        }
        Op::Read(pos, len, short) => {
            let n = [niobuf(pos, len as u32, BrwFlags::SRVLOCK)];
            let (_, got) = c.read_with(&body(short, ObdMd::empty()), &n).unwrap();
            let mut want = model.get(pos as usize..).unwrap_or(&[]).to_vec();
            if !want.is_empty() {
                // The page of the end comes whole.
                want.resize(model.len().next_multiple_of(4096) - pos as usize, 0);
            }
            want.truncate(len);
            prop_assert!(
                got == want,
                "{} and not {} bytes, or others",
                got.len(),
                want.len()
            );
        }
        Op::Truncate(size) => {
            let mut o = locked(both);
            (o.o_size, o.o_blocks) = (size.into(), u64::MAX.into());
            c.body(OST_PUNCH, portal::OST_IO, &o).unwrap();
            model.resize(size as usize, 0);
        }
        Op::Allocate(mode, start, end) => {
            let mut o = locked(both);
            (o.o_size, o.o_blocks, o.o_nlink) = (start.into(), end.into(), mode.into());
            let o = c.body(OST_FALLOCATE, portal::OST_IO, &o).unwrap();
            if mode & 3 == 0 && model.len() < end as usize {
                model.resize(end as usize, 0);
            }
            if mode & 0x12 != 0 {
                let end = model.len().min(end as usize);
                if let Some(part) = model.get_mut(start as usize..end) {
                    part.fill(0);
                }
            }
            prop_assert_eq!(o.o_size.get(), model.len() as u64);
        }
        Op::Seek(at, hole) => {
            let mut o = locked(ObdMd::empty());
            (o.o_size, o.o_mode) = (at.into(), (3 + u32::from(hole)).into());
            let got = c.main(OST_SEEK, &o).unwrap().o_size.get();
            let tail = model.get(at as usize..).unwrap_or(&[]);
            if hole {
                prop_assert!(got >= at);
                // All before it is data, or zeros that were written.
            } else if let Some(first) = tail.iter().position(|b| *b != 0) {
                prop_assert!(got <= at + first as u64, "{got:#x}");
            }
        }
    }
    Ok(())
}

#[test]
fn objects_are_bytes() {
    let oss = Oss::new(95);
    let (m, c) = (oss.mdt(2), oss.client(3));
    let mut runner = TestRunner::new(Config {
        cases: 12,
        ..Config::default()
    });
    let all = proptest::collection::vec(op(), 1..40);
    let done = runner.run(&all, |ops| {
        let (fid, _) = m.precreate(1);
        let mut model = Vec::new();
        for op in &ops {
            run(&c, fid, &mut model, op)?;
        }
        let a = oss.object(&fid).attr().unwrap();
        prop_assert_eq!(a.size, model.len() as u64);
        Ok(())
    });
    if let Err(e) = done {
        panic!("{e}");
    }
    assert_eq!(oss.ofd().grants().2, 0);
}
