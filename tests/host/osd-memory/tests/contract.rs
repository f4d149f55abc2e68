// SPDX-License-Identifier: GPL-2.0

//! The store in memory notices what breaks the contract, and commits when it should.

use kapi::pages::Pages;
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, SetAttr};
use osd_memory::{Config, MemoryDevice};
use std::sync::atomic::{AtomicBool, Ordering};
use wire::fid::oid;

fn root(d: &MemoryDevice) -> ObjectRef {
    d.object(&Fid::local(oid::OSD_ROOT)).unwrap()
}

fn file(d: &MemoryDevice, n: u32, name: &[u8]) -> ObjectRef {
    let (o, root) = (d.object(&Fid::new(0x2_0000_0400, n)).unwrap(), root(d));
    let mut plan = d.plan().unwrap();
    let what = Create::file(0o644);
    plan.create(&o, &what, Some((&root, name))).unwrap();
    plan.insert(&root, &o).unwrap();
    let mut run = plan.start().unwrap();
    run.create(&o, &what, Some((&root, name))).unwrap();
    run.insert(&root, name, &o).unwrap();
    run.stop().unwrap();
    o
}

#[test]
#[should_panic(expected = "not planned for")]
fn attributes_need_a_plan() {
    let d = MemoryDevice::new();
    let o = file(&d, 1, b"a");
    let mut run = d.plan().unwrap().start().unwrap();
    let _ = run.set_attr(&o, &SetAttr::default());
}

#[test]
#[should_panic(expected = "id 7 was not planned for")]
fn owners_need_a_plan() {
    let d = MemoryDevice::new();
    let o = file(&d, 1, b"a");
    let mut plan = d.plan().unwrap();
    plan.attr(&o, &SetAttr::default()).unwrap();
    let mut run = plan.start().unwrap();
    let set = SetAttr {
        uid: Some(7),
        ..SetAttr::default()
    };
    let _ = run.set_attr(&o, &set);
}

#[test]
#[should_panic(expected = "of 9 bytes was not planned for")]
fn long_xattrs_need_a_plan() {
    let d = MemoryDevice::new();
    let o = file(&d, 1, b"a");
    let mut plan = d.plan().unwrap();
    plan.xattr(&o, 8).unwrap();
    let mut run = plan.start().unwrap();
    let _ = run.set_xattr(&o, c"trusted.a", &[0; 9]);
}

#[test]
#[should_panic(expected = "without a name")]
fn objects_need_a_name() {
    let d = MemoryDevice::new();
    let o = d.object(&Fid::new(0x2_0000_0400, 1)).unwrap();
    let mut plan = d.plan().unwrap();
    plan.create(&o, &Create::file(0), None).unwrap();
    let mut run = plan.start().unwrap();
    run.create(&o, &Create::file(0), None).unwrap();
    run.stop().unwrap();
}

#[test]
#[should_panic(expected = "in a transaction")]
fn bulk_data_goes_outside() {
    let d = MemoryDevice::new();
    let o = file(&d, 1, b"a");
    let _run = d.plan().unwrap().start().unwrap();
    let _ = o.write_pages(&Pages::new(1).unwrap(), 0, 1, 0);
}

#[test]
fn one_transaction_a_thread() {
    let d = MemoryDevice::new();
    let run = d.plan().unwrap().start().unwrap();
    assert_eq!(d.plan().unwrap().start().err(), Some(EDEADLK));
    run.stop().unwrap();
    d.plan().unwrap().start().unwrap().stop().unwrap();
}

#[test]
fn files_with_fixed_numbers_have_their_names() {
    let d = MemoryDevice::new();
    let (o, root) = (d.object(&Fid::local(oid::LAST_RCVD)).unwrap(), root(&d));
    assert_eq!(root.lookup(b"last_rcvd").err(), Some(ENOENT));
    let mut plan = d.plan().unwrap();
    plan.create(&o, &Create::file(0o644), None).unwrap();
    plan.insert(&root, &o).unwrap();
    plan.write(&o, 0, 8).unwrap();
    let mut run = plan.start().unwrap();
    run.create(&o, &Create::file(0o644), None).unwrap();
    run.write(&o, 0, &[1; 8]).unwrap();
    run.insert(&root, b"last_rcvd", &o).unwrap();
    run.stop().unwrap();
    assert_eq!(root.lookup(b"last_rcvd").unwrap(), *o.fid());
}

#[test]
fn commits_come_when_asked_for() {
    let d = MemoryDevice::new();
    d.hold_commits(true);
    let seen = std::sync::Arc::new(AtomicBool::new(false));
    let flag = || {
        let seen = seen.clone();
        let call = move |r: Result| seen.store(r.is_ok(), Ordering::SeqCst);
        KBox::new(call, GFP_KERNEL).unwrap()
    };
    let mut run = d.plan().unwrap().start().unwrap();
    run.on_commit(flag()).unwrap();
    run.stop().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!seen.load(Ordering::SeqCst));
    d.commit_all();
    assert!(seen.swap(false, Ordering::SeqCst));
    let mut run = d.plan().unwrap().start().unwrap();
    run.on_commit(flag()).unwrap();
    run.set_sync();
    run.stop().unwrap();
    assert!(seen.swap(false, Ordering::SeqCst));
    d.hold_commits(false);
    let mut run = d.plan().unwrap().start().unwrap();
    run.on_commit(flag()).unwrap();
    // Dropped, it stops.
    drop(run);
    for _ in 0..1000 {
        if seen.load(Ordering::SeqCst) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never committed");
}

#[test]
fn a_store_is_full_at_last() {
    let d = MemoryDevice::with(Config {
        ost: true,
        blocks: 20,
        files: 100,
    });
    let o = d.object(&Fid::new(0x2_8000_0400, 1)).unwrap();
    let mut plan = d.plan().unwrap();
    plan.create(&o, &Create::file(0), None).unwrap();
    let mut run = plan.start().unwrap();
    run.create(&o, &Create::file(0), None).unwrap();
    run.stop().unwrap();
    let free = d.statfs().unwrap().bfree;
    let pages = Pages::new(20).unwrap();
    let len = free as usize * 4096;
    assert_eq!(o.write_pages(&pages, 0, len + 1, 0).err(), Some(ENOSPC));
    o.write_pages(&pages, 0, len, 0).unwrap();
    assert_eq!(d.statfs().unwrap().bfree, 0);
    assert_eq!(o.attr().unwrap().blocks, free * 8);
    o.punch(0, 4096).unwrap();
    assert_eq!(d.statfs().unwrap().bfree, 1);
    // A write in place takes nothing.
    o.write_pages(&pages, 0, 4096, 8192).unwrap();
    assert_eq!(d.statfs().unwrap().bfree, 1);
}
