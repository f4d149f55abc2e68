// SPDX-License-Identifier: GPL-2.0

//! Nodes in one process that mount targets, with stores in memory.

use kapi::net::Ipv4Addr;
use kapi::prelude::*;
use lnet::config::{Accept, Config};
use obdclass::mount::{Backing, Mount, OpenBacking};
use obdclass::node::{NetworkConfig, ServerNode};
use obdclass::text::Why;
use osd::Device;
use osd_memory::MemoryDevice;
use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc as StdArc;
use wire::disk::mountdata::{LustreDiskData, LDD_MAGIC};
use wire::nid::{Net, Nid};
use zerocopy::{FromZeros, IntoBytes};

const PORT: u16 = 19990;

struct Address(Nid);

impl NetworkConfig for Address {
    fn lnet(&self) -> Result<Config> {
        let mut nids = KVec::new();
        nids.push(self.0, GFP_KERNEL)?;
        let mut c = Config::new(nids);
        c.port = PORT;
        c.accept = Accept::All;
        c.privileged = false;
        Ok(c)
    }
}

/// A node at 127.9.`net`.`host`.
fn node(net: u8, host: u8) -> (Arc<ServerNode>, Nid) {
    let nid = Nid::v4(Net::TCP, Ipv4Addr::new(127, 9, net, host));
    let node = ServerNode::new(KBox::new(Address(nid), GFP_KERNEL).unwrap()).unwrap();
    node.set_limits(|l| l.obd_timeout = 20);
    (node, nid)
}

/// A formatted device.
#[derive(Clone)]
struct Disk {
    store: Arc<MemoryDevice>,
    mountdata: Vec<u8>,
    /// How often it was opened for more than a look.
    opened: StdArc<AtomicU32>,
}

impl Disk {
    fn new(fsname: &str, flags: u32, index: u32) -> Disk {
        let mut d = Box::new(LustreDiskData::new_zeroed());
        d.ldd_magic.set(LDD_MAGIC);
        d.ldd_flags.set(flags);
        d.ldd_svindex.set(index);
        d.ldd_fsname[..fsname.len()].copy_from_slice(fsname.as_bytes());
        Disk {
            store: MemoryDevice::new(),
            mountdata: d.as_bytes().to_vec(),
            opened: StdArc::default(),
        }
    }
    fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Backing for Disk {
    fn read_file(&self, path: &str, _: usize) -> Result<KVVec<u8>> {
        assert_eq!(path, "CONFIGS/mountdata");
        let mut v = KVVec::new();
        v.extend_from_slice(&self.mountdata, GFP_KERNEL)?;
        Ok(v)
    }
    fn open(&mut self, _: bool) -> Result<Arc<dyn Device>> {
        Ok(self.store.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl OpenBacking for Disk {
    fn open(&self, path: &str, look: bool) -> Result<KBox<dyn Backing>> {
        assert!(path.starts_with("/dev/"));
        if !look {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        let b: KBox<Disk> = KBox::new(self.clone(), GFP_KERNEL)?;
        Ok(b)
    }
}

fn mount(
    node: &Arc<ServerNode>,
    disk: &Disk,
    options: &str,
) -> Result<Arc<Mount>, (Error, String)> {
    let mut why = Why::new();
    Mount::start(node, disk, options, &mut why).map_err(|e| (e, why.as_str().to_string()))
}

fn devices(node: &Arc<ServerNode>) -> String {
    let mut s = String::new();
    node.devices.show(&mut s).unwrap();
    s
}

fn eventually(what: &str, f: impl Fn() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !f() {
        assert!(std::time::Instant::now() < end, "not in time: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The tree of parameters is that of the process, and each MGS is called MGS: one test at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

const MDT_FIRST: &str = "osd=osd-ldiskfs,mgs,virgin,update,svname=fs-MDT0000,device=/dev/m";
const MDT_AGAIN: &str = "osd=osd-ldiskfs,mgs,svname=fs-MDT0000,device=/dev/m";

fn ost_of(fs: &str, mgs: Nid, index: u32, more: &str) -> String {
    format!("osd=osd-ldiskfs,mgsnode={mgs}{more},svname={fs}-OST{index:04x},device=/dev/o")
}

fn ost(mgs: Nid, index: u32, more: &str) -> String {
    ost_of("fs", mgs, index, more)
}

/// Unmounts.
fn umount(m: Arc<Mount>) {
    m.stop();
    drop(m);
}

#[test]
fn a_file_system() {
    let _alone = alone();
    let ((mds, mgs), (oss0, _), (oss1, _)) = (node(50, 1), node(50, 2), node(50, 3));
    let (m, o0, o1) = (
        Disk::new("fs", 0x65, 0),
        Disk::new("fs", 0x62, 0),
        Disk::new("fs", 0x62, 1),
    );
    let mdt = mount(&mds, &m, MDT_FIRST).unwrap();
    let list = devices(&mds);
    for line in [
        " UP osd-ldiskfs fs-MDT0000-osd fs-MDT0000-osd_UUID ",
        " UP mgs MGS MGS ",
        &format!(" UP mgc MGC{mgs} "),
        " UP mdt fs-MDT0000 fs-MDT0000_UUID ",
    ] {
        assert!(list.contains(line), "{line} in {list}");
    }
    let first = ",virgin,update";
    let ost0 = mount(&oss0, &o0, &ost(mgs, 0, first)).unwrap();
    let ost1 = mount(&oss1, &o1, &ost(mgs, 1, first)).unwrap();
    assert!(devices(&oss0).contains(" UP lwp fs-MDT0000-lwp-OST0000 "));
    // Mounted is mounted.
    let (e, why) = mount(&oss0, &o0, &ost(mgs, 0, "")).err().unwrap();
    assert_eq!(e, EALREADY);
    assert!(
        why.contains("fs-OST0000 is running on this node already"),
        "{why}"
    );
    // Another one of that index: refused, and nothing has happened to it.
    let other = Disk::new("fs", 0x62, 1);
    let (e, why) = mount(&oss0, &other, &ost(mgs, 1, first)).err().unwrap();
    assert_eq!((e, other.opened()), (EADDRINUSE, 0));
    assert!(why.contains("another --index"), "{why}");
    // One that was never registered, and does not say so.
    let stray = Disk::new("fs", 0x02, 7);
    let (e, why) = mount(&oss1, &stray, &ost(mgs, 7, "")).err().unwrap();
    assert_eq!((e, stray.opened()), (ENOENT, 0));
    assert!(why.contains("does not know fs-OST0007"), "{why}");
    // The MDT hears of OSTs that join.
    eventually("the MDT knows both OSTs", || {
        let list = devices(&mds);
        list.contains("fs-OST0000-osc-MDT0000") && list.contains("fs-OST0001-osc-MDT0000")
    });
    // They come and go.
    umount(ost1);
    assert_eq!(devices(&oss1), "");
    assert!(oss1.down().is_ok());
    let ost1 = mount(&oss1, &o1, &ost(mgs, 1, "")).unwrap();
    assert_eq!(ost1.statfs().unwrap().bsize, 4096);
    umount(ost0);
    umount(ost1);
    umount(mdt);
    assert_eq!(devices(&mds), "");
    let mdt = mount(&mds, &m, MDT_AGAIN).unwrap();
    assert!(devices(&mds).contains("fs-OST0001-osc-MDT0000"));
    umount(mdt);
    for n in [&mds, &oss0, &oss1] {
        n.down().unwrap();
    }
}

#[test]
fn an_ost_before_its_mdt() {
    let _alone = alone();
    let ((mgn, mgs), (oss, _), (mds, _)) = (node(51, 1), node(51, 2), node(51, 3));
    let alone = Disk::new("", 0x24, 0xffff);
    let mgt = mount(&mgn, &alone, "mgs,virgin,svname=MGS,device=/dev/g").unwrap();
    let o = Disk::new("late", 0x62, 0);
    let ost = mount(&oss, &o, &ost_of("late", mgs, 0, ",virgin,update")).unwrap();
    assert!(!devices(&oss).contains("lwp"));
    let m = Disk::new("late", 0x61, 0);
    let options = format!("mgsnode={mgs},virgin,update,svname=late-MDT0000,device=/dev/m");
    let mdt = mount(&mds, &m, &options).unwrap();
    assert!(devices(&mds).contains("late-OST0000-osc-MDT0000"));
    eventually("the OST finds the MDT", || {
        devices(&oss).contains(" UP lwp ")
    });
    umount(mdt);
    umount(ost);
    umount(mgt);
    for n in [&mgn, &oss, &mds] {
        n.down().unwrap();
    }
}

#[test]
fn refusals() {
    let _alone = alone();
    let ((n, mgs), nobody) = (node(52, 1), "127.9.52.99@tcp");
    let o = Disk::new("no", 0x62, 0);
    let options = ost_of("no", Nid::parse(nobody).unwrap(), 0, ",virgin,update");
    let (e, why) = mount(&n, &o, &options).err().unwrap();
    assert_eq!((e, o.opened()), (EIO, 0));
    assert!(
        why.contains("does not answer") && why.contains(nobody),
        "{why}"
    );
    let away = "mgsnode=10.0.0.1@tcp9,svname=no-OST0000,device=/dev/o";
    let (e, why) = mount(&n, &o, away).err().unwrap();
    assert_eq!(e, EINVAL);
    assert!(why.contains("on no network of this node"), "{why}");
    let (e, why) = mount(&n, &o, &ost_of("no", mgs, 0, ",quick"))
        .err()
        .unwrap();
    assert_eq!(e, EINVAL);
    assert!(why.contains("unknown mount option 'quick'"), "{why}");
    // Not the target that it is said to be.
    let m = Disk::new("other", 0x65, 0);
    let (e, why) = mount(&n, &m, MDT_FIRST).err().unwrap();
    assert_eq!(e, EINVAL);
    assert!(why.contains("is not fs-MDT0000"), "{why}");
    let mut bad = Disk::new("no", 0x65, 0);
    bad.mountdata.truncate(100);
    assert_eq!(mount(&n, &bad, MDT_FIRST).err().unwrap().0, ENODEV);
    // Nothing is left behind.
    assert_eq!(devices(&n), "");
    n.down().unwrap();
}
