// SPDX-License-Identifier: GPL-2.0

use super::*;
use osd_memory::MemoryDevice;
use std::collections::BTreeSet;

fn on_disk(osd: &Arc<dyn Device>, oid: u32) -> SeqRange {
    let mut b = [0; LEN];
    let file = osd.object(&Fid::local(oid)).unwrap();
    assert_eq!(file.read(0, &mut b).unwrap(), LEN);
    LuSeqRange::read_from_bytes(&b).unwrap().get()
}

struct Mdt {
    osd: Arc<dyn Device>,
    fld: Arc<Fld>,
    controller: Arc<Controller>,
    server: Arc<SeqServer>,
}

fn mdt(osd: Arc<dyn Device>) -> Mdt {
    let fld = Fld::open(&osd, None).unwrap();
    let controller = Controller::open(&osd, &fld).unwrap();
    let source = controller.source(0, range_type::MDT).unwrap();
    let server = SeqServer::open(&osd, 0, range_type::MDT, source, &fld).unwrap();
    Mdt {
        osd,
        fld,
        controller,
        server,
    }
}

/// The numbers of `ost.md` 17.4 and `ondisk.md` 10.1.
#[test]
fn as_on_a_fresh_file_system() {
    let m = mdt(osd_memory::device());
    assert_eq!(on_disk(&m.osd, oid::SEQ_CTL).start, 0x2_0000_0400);
    assert_eq!(on_disk(&m.osd, oid::SEQ_SRV).width(), 0);
    assert_eq!(m.server.alloc(), Ok(0x2_0000_0400));
    assert_eq!(m.server.alloc(), Ok(0x2_0000_0401));
    let left = on_disk(&m.osd, oid::SEQ_SRV);
    assert_eq!((left.start, left.end), (0x2_0000_0bd0, 0x2_4000_0400));
    assert_eq!(on_disk(&m.osd, oid::SEQ_CTL).start, 0x2_4000_0400);
    let ost = m.controller.alloc_super(0, range_type::OST).unwrap();
    assert_eq!(
        (ost.start, ost.end, ost.index),
        (0x2_4000_0400, 0x2_8000_0400, 0)
    );
    assert!(m.fld.lookup(0x2_4000_0400, range_type::OST).is_ok());
    assert_eq!(m.controller.alloc_super(0, range_type::ANY), Err(EINVAL));
    // The next life begins behind both windows.
    let m = mdt(m.osd);
    assert_eq!(m.server.alloc(), Ok(0x2_0000_0bd0));
    assert_eq!(on_disk(&m.osd, oid::SEQ_SRV).start, 0x2_0000_13a0);
    let next = m.controller.alloc_super(1, range_type::OST).unwrap();
    assert_eq!(next.start, 0x2_8000_0400);
}

/// A window is not used before its write is on disk, and nothing is given twice.
#[test]
fn windows_are_durable() {
    let device = MemoryDevice::new();
    let m = mdt(device.clone());
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        assert!(seen.insert(m.server.alloc().unwrap()));
    }
    device.hold_commits(true);
    for _ in 0..3500 {
        let s = m.server.alloc().unwrap();
        assert!(seen.insert(s));
        let st = m.server.state.lock();
        let (first, durable) = (st.next_write, m.server.on_disk.load(Relaxed));
        // At most the window that follows is not on disk yet.
        assert!(durable + 1 >= first, "window {first}, on disk {durable}");
    }
    device.hold_commits(false);
    let m2 = mdt(m.osd.clone());
    for _ in 0..10 {
        assert!(seen.insert(m2.server.alloc().unwrap()));
    }
}

#[test]
fn an_ost_takes_one_at_a_time() {
    let m = mdt(osd_memory::device());
    let osd: Arc<dyn Device> = MemoryDevice::with(osd_memory::Config {
        ost: true,
        ..Default::default()
    });
    let can = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (yes, controller) = (can.clone(), m.controller.clone());
    let source = move || match yes.load(std::sync::atomic::Ordering::SeqCst) {
        true => controller.alloc_super(3, range_type::OST),
        false => Err(ENOTCONN),
    };
    let source: Arc<dyn SuperSource> = Arc::new(source, GFP_KERNEL).unwrap();
    let nobody = |_: u64, _: u32| Err(ENOTCONN);
    let upstream: Arc<dyn crate::fld::RangeSource> = Arc::new(nobody, GFP_KERNEL).unwrap();
    let fld = Fld::open(&osd, Some(upstream)).unwrap();
    let s = SeqServer::open(&osd, 3, range_type::OST, source, &fld).unwrap();
    assert_eq!(s.alloc(), Err(EINPROGRESS));
    can.store(true, std::sync::atomic::Ordering::SeqCst);
    let first = s.alloc().unwrap();
    assert_eq!(on_disk(&osd, oid::SEQ_SRV).start, first + 1);
    assert_eq!(fld.lookup(first, range_type::OST).unwrap().index, 3);
    // A sequence that is in use is not given, whatever `seq_srv` says.
    let counter = osd.object(&Fid::new(first + 1, 0)).unwrap();
    let mut plan = osd.plan().unwrap();
    plan.create(&counter, &Create::file(0o644), None).unwrap();
    let mut tx = plan.start().unwrap();
    tx.create(&counter, &Create::file(0o644), None).unwrap();
    tx.stop().unwrap();
    assert_eq!(s.alloc(), Ok(first + 2));
}

#[test]
fn the_end_of_all_sequences() {
    let osd = osd_memory::device();
    let file = SeqFile::open(&osd, oid::SEQ_CTL).unwrap();
    let left = SeqRange {
        start: END - 10,
        end: END,
        index: 0,
        flags: 0,
    };
    file.store(&osd, left).unwrap();
    let m = mdt(osd);
    for i in 0..10 {
        assert_eq!(m.server.alloc(), Ok(END - 10 + i));
    }
    assert_eq!(m.server.alloc(), Err(ENOSPC));
}

#[test]
fn damaged_files() {
    let osd = osd_memory::device();
    let file = SeqFile::open(&osd, oid::SEQ_CTL).unwrap();
    let crossed = SeqRange {
        start: 9,
        end: 8,
        index: 0,
        flags: 0,
    };
    file.store(&osd, crossed).unwrap();
    let fld = Fld::open(&osd, None).unwrap();
    assert_eq!(Controller::open(&osd, &fld).err(), Some(EINVAL));
}
