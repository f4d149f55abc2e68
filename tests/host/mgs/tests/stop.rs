// SPDX-License-Identifier: GPL-2.0

//! A node that goes while the MGS owes it an answer. Failure points are for the whole process: a program of its own.

mod common;

use common::*;
use kapi::prelude::*;
use lnet::fail;
use mgc::{Mgc, MgcConfig, Registration};
use osd::Device;
use osd_memory::MemoryDevice;
use std::time::Instant as StdInstant;
use target::Server;
use wire::disk::mountdata::LddFlags;
use wire::opcode::MGS_TARGET_REG;
use wire::svname::{FsName, SvKind, SvName};

/// A target says again that it is up, and the MGS takes it without a word.
#[test]
fn an_answer_that_never_comes() {
    let osd: Arc<dyn Device> = MemoryDevice::new();
    let w = World::on(31, osd.clone());
    let oss = node(nid(31, 2));
    let server = Server::start(&oss).unwrap();
    let mut nids = KVec::new();
    nids.push(nid(31, 1), GFP_KERNEL).unwrap();
    let mgc = Mgc::start(&server, MgcConfig::new(nids)).unwrap();
    let fs = FsName::new(b"lustre").unwrap();
    for kind in [SvKind::Mdt, SvKind::Ost] {
        let r = Registration {
            fs,
            kind,
            index: Some(0),
            flags: LddFlags::VIRGIN | LddFlags::UPDATE,
            nids: KVec::new(),
            params: KVVec::new(),
        };
        mgc.register(&r).unwrap();
    }
    let name = SvName::new(fs, SvKind::Ost, 0).unwrap();
    mgc.ready(name, 1, &[], false).unwrap();

    fail::set_val(MGS_TARGET_REG);
    fail::set_loc(fail::point::PTLRPC_DROP_REQ_OPC);
    drop(w);
    let w = World::on(31, osd);
    let dropped = || fail::loc() & fail::FAILED != 0;
    let start = StdInstant::now();
    while !dropped() {
        assert!(start.elapsed().as_secs() < 30, "it is not told again");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let start = StdInstant::now();
    mgc.stop();
    let took = start.elapsed();
    assert!(took.as_secs() < 2, "{took:?}");
    fail::set_loc(0);
    server.stop();
    oss.stop();
    oss.lnet().stop();
    drop(w);
}
