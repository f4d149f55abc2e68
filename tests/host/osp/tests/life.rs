// SPDX-License-Identifier: GPL-2.0

//! An MDT and its OST, which is slow, away, full, or not what it was.

mod ost;

use kapi::prelude::*;
use osd::{Device, Fid};
use osd_memory::MemoryDevice;
use osp::{Osp, OspConfig, Owner, Reservation, Ticket};
use ost::{nid, node, stop, until, Ost, FIRST_SEQ};
use ptlrpc::export::ClientUuid;
use ptlrpc::node::Node;
use wire::fid::oid;
use wire::ost::OsState;

/// Long enough on a busy machine.
const LONG: Duration = Duration::from_secs(30);

fn text(s: &str) -> KVVec<u8> {
    let mut v = KVVec::new();
    v.extend_from_slice(s.as_bytes(), GFP_KERNEL).unwrap();
    v
}

struct Mdt {
    id: u8,
    node: Arc<Node>,
    dev: Arc<MemoryDevice>,
    osp: Arc<Osp>,
    ost: Ost,
}

impl Mdt {
    fn start_osp(id: u8, node: &Arc<Node>, dev: &Arc<MemoryDevice>) -> Arc<Osp> {
        let mut peers = KVec::new();
        peers.push(nid(id, 1), GFP_KERNEL).unwrap();
        let osd: Arc<dyn Device> = dev.clone();
        let config = OspConfig {
            name: text("test-OST0000-osc-MDT0000"),
            ost_index: 0,
            mdt_index: 0,
            target_uuid: ClientUuid::new(b"test-OST0000_UUID").unwrap(),
            client_uuid: ClientUuid::new(b"test-MDT0000-mdtlov_UUID").unwrap(),
            peers,
            osd,
        };
        Osp::new(node, config).unwrap()
    }

    fn with(id: u8, ost: Ost) -> Mdt {
        let node = node(nid(id, 2));
        let dev = MemoryDevice::new();
        let osp = Mdt::start_osp(id, &node, &dev);
        Mdt {
            id,
            node,
            dev,
            osp,
            ost,
        }
    }

    /// An MDT and an OST that is not up yet.
    fn new(id: u8) -> Mdt {
        Mdt::with(id, Ost::new(nid(id, 1), 0))
    }

    fn up(id: u8) -> Mdt {
        let mut ost = Ost::new(nid(id, 1), 0);
        ost.start();
        Mdt::with(id, ost)
    }

    /// Another life of the MDT.
    fn restart(&mut self) {
        self.osp.stop();
        self.osp = Mdt::start_osp(self.id, &self.node, &self.dev);
    }

    fn reserve(&self) -> Reservation {
        self.osp.reserve(LONG).unwrap()
    }

    /// Gives a file an object.
    fn take(&self) -> Fid {
        let r = self.reserve();
        let mut plan = self.dev.plan().unwrap();
        r.plan(&mut plan).unwrap();
        let mut tx = plan.start().unwrap();
        let fid = r.take(&mut tx).unwrap();
        tx.stop().unwrap();
        fid
    }

    fn after(&self, mut t: Ticket) {
        let mut plan = self.dev.plan().unwrap();
        t.plan(&mut plan).unwrap();
        let mut tx = plan.start().unwrap();
        t.record(&mut tx);
        let call = move |r: Result| {
            if r.is_ok() {
                t.enqueue();
            }
        };
        tx.on_commit(KBox::new(call, GFP_KERNEL).unwrap()).unwrap();
        tx.stop().unwrap();
    }

    fn destroy(&self, fid: Fid) {
        self.after(self.osp.destroy([fid].into_iter()).unwrap());
    }

    fn number(&self, oid: u32) -> u64 {
        let mut b = [0; 8];
        let f = self.dev.object(&Fid::local(oid)).unwrap();
        assert_eq!(f.read(0, &mut b).unwrap(), 8);
        u64::from_le_bytes(b)
    }

    fn exists(&self, fid: &Fid) -> bool {
        self.ost.disk().objects.contains(fid)
    }

    fn ready(&self) -> u64 {
        self.osp.view().ready
    }
}

impl Drop for Mdt {
    fn drop(&mut self) {
        self.osp.stop();
        stop(&self.node);
    }
}

#[test]
fn first_start() {
    let m = Mdt::up(1);
    until("objects", || m.ready() == 32);
    let log = m.ost.disk().log.clone();
    let want = ["connect", "orphans 0 1", "sequence", "create 240000400 21"];
    assert_eq!(log, want);
    let f = m.take();
    assert_eq!(f, Fid::new(FIRST_SEQ, 2));
    assert_eq!(m.number(oid::LOV_OBJID), 2);
    assert_eq!(m.number(oid::LOV_OBJSEQ), FIRST_SEQ);
    until("space", || m.osp.statfs().is_some());
    let s = m.osp.statfs().unwrap();
    assert_eq!((s.os_blocks.get(), s.os_fprecreated.get()), (1 << 18, 31));
    let v = m.osp.view();
    assert!(v.active && !v.starting && v.state == OsState::empty());
}

#[test]
fn the_mdt_comes_again() {
    let mut m = Mdt::up(2);
    let files: Vec<_> = (0..5).map(|_| m.take()).collect();
    // One that was promised and not used.
    drop(m.reserve());
    m.restart();
    let g = m.take();
    // What belonged to no file is gone, and its numbers are not used again.
    assert!(g.oid > 0x21, "{g:?}");
    assert!(files.iter().all(|f| m.exists(f)));
    assert!(!m.exists(&Fid::new(FIRST_SEQ, 8)) && m.exists(&g));
    assert_eq!(m.number(oid::LOV_OBJID), u64::from(g.oid));
    let log = m.ost.disk().log.clone();
    assert!(log.contains(&"orphans 240000400 6".into()), "{log:?}");
}

#[test]
fn an_ost_that_comes_late() {
    let mut m = Mdt::new(3);
    let v = m.osp.view();
    assert!(!v.active && v.starting);
    assert_eq!(m.osp.reserve(Duration::ZERO).err(), Some(ENOBUFS));
    let short = Duration::from_millis(50);
    assert_eq!(m.osp.reserve(short).err(), Some(ETIMEDOUT));
    m.ost.start();
    m.take();
    assert!(m.osp.view().active);
    m.osp.set_active(false);
    assert!(!m.osp.view().active && !m.osp.view().starting);
    assert_eq!(m.osp.reserve(LONG).err(), Some(ENODEV));
}

#[test]
fn an_ost_that_goes_and_comes() {
    let mut m = Mdt::up(4);
    let files: Vec<_> = (0..4).map(|_| m.take()).collect();
    let promised = m.reserve();
    m.ost.stop();
    until("that it is away", || !m.osp.view().active);
    // Nothing is lost meanwhile.
    m.destroy(files[0]);
    m.destroy(files[1]);
    m.ost.start();
    until("the destroys", || {
        !m.exists(&files[0]) && !m.exists(&files[1])
    });
    // While an object is promised, what is behind the used ones is not destroyed.
    let orphans = |m: &Mdt| {
        let all = m.ost.disk().log.clone();
        all.iter().filter(|l| l.starts_with("orphans")).count()
    };
    assert_eq!(orphans(&m), 1);
    let mut plan = m.dev.plan().unwrap();
    promised.plan(&mut plan).unwrap();
    let mut tx = plan.start().unwrap();
    let late = promised.take(&mut tx).unwrap();
    tx.stop().unwrap();
    let next = m.take();
    assert_eq!(orphans(&m), 2);
    assert!(m.exists(&late) && m.exists(&next) && next.oid > late.oid);
    until("that all is forgotten", || m.osp.pending_changes() == 0);
}

#[test]
fn an_ost_that_lost_something() {
    let mut m = Mdt::up(5);
    let files: Vec<_> = (0..40).map(|_| m.take()).collect();
    m.ost.stop();
    until("that it is away", || !m.osp.view().active);
    // An old copy of it is put in its place.
    {
        let mut disk = m.ost.disk();
        disk.last.insert(FIRST_SEQ, 10);
        disk.objects.retain(|f| f.oid <= 10);
    }
    m.ost.start();
    let f = m.take();
    assert!(!files.contains(&f) && m.exists(&f));
    // Those in between are there again, empty.
    assert!(files.iter().all(|f| m.exists(f)));
}

#[test]
fn an_ost_that_lost_a_change() {
    let mut m = Mdt::up(6);
    let (f, g) = (m.take(), m.take());
    m.ost.disk().hold = true;
    m.destroy(f);
    until("the destroy", || !m.exists(&f));
    m.destroy(g);
    until("the destroy", || !m.exists(&g));
    assert_eq!(m.osp.pending_changes(), 2);
    m.ost.stop();
    {
        let mut disk = m.ost.disk();
        disk.objects.extend([f, g]);
        disk.hold = false;
    }
    m.ost.start();
    until("it once more", || !m.exists(&f) && !m.exists(&g));
    until("that all is forgotten", || m.osp.pending_changes() == 0);
}

#[test]
fn changes_follow_commits() {
    let m = Mdt::up(7);
    let (f, g) = (m.take(), m.take());
    m.dev.commit_all();
    m.dev.hold_commits(true);
    let owner = Owner {
        uid: Some(7),
        gid: None,
        projid: Some(9),
    };
    m.after(m.osp.set_owner([f, g].into_iter(), owner).unwrap());
    m.destroy(f);
    // A plan that comes to nothing.
    drop(m.osp.destroy([g].into_iter()).unwrap());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(m.osp.pending_changes(), 3);
    assert!(m.exists(&f) && m.ost.disk().owners.is_empty());
    m.dev.hold_commits(false);
    until("the destroy", || !m.exists(&f));
    until("both owners", || m.ost.disk().owners.len() == 2);
    let (_, o) = m.ost.disk().owners[0];
    assert_eq!((o.o_uid.get(), o.o_projid.get()), (7, 9));
    assert!(!o.valid().contains(wire::obdo::ObdMd::FLGID));
    // In the order in which they were made.
    let log = m.ost.disk().log.clone();
    let at = |what: String| log.iter().position(|l| *l == what);
    assert!(at(format!("setattr {:x}", f.oid)) < at(format!("destroy {:x}", f.oid)));
    // One that is not there is as good as destroyed.
    m.destroy(f);
    until("that all is forgotten", || m.osp.pending_changes() == 0);
}

#[test]
fn a_stop_sends_what_waits() {
    let mut m = Mdt::up(8);
    let files: Vec<_> = (0..100).map(|_| m.take()).collect();
    m.dev.hold_commits(true);
    for f in &files {
        m.destroy(*f);
    }
    m.restart();
    assert!(!files.iter().any(|f| m.exists(f)));
    // One that is away is not waited for.
    m.dev.hold_commits(false);
    let f = m.take();
    m.ost.stop();
    m.destroy(f);
    let begun = Instant::now();
    m.osp.stop();
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}

/// Names in `O/1`: logs.
fn logs(m: &Mdt) -> usize {
    // Numbers are given one after the other.
    let log = |n| m.dev.object(&Fid::new(1, n)).unwrap();
    (1..100).filter(|n| log(*n).exists()).count()
}

#[test]
fn what_waits_outlives_the_mdt() {
    let mut m = Mdt::up(12);
    let files: Vec<_> = (0..200).map(|_| m.take()).collect();
    m.ost.disk().refuse = Some(EIO);
    let owner = Owner {
        uid: Some(7),
        gid: None,
        projid: None,
    };
    let (gone, kept) = files.split_at(150);
    m.after(m.osp.set_owner(kept.iter().copied(), owner).unwrap());
    for f in gone {
        m.destroy(*f);
    }
    m.dev.commit_all();
    // The OST does nothing for it, until another life of the MDT.
    m.ost.stop();
    until("that it is away", || !m.osp.view().active);
    m.osp.stop();
    m.ost.disk().refuse = None;
    m.ost.start();
    assert!(gone.iter().all(|f| m.exists(f)));
    // The catalog, and the log.
    assert_eq!(logs(&m), 2);
    m.restart();
    until("the destroys", || !gone.iter().any(|f| m.exists(f)));
    until("the owners", || m.ost.disk().owners.len() == kept.len());
    until("that all is forgotten", || m.osp.pending_changes() == 0);
    until("the end of the old log", || logs(&m) == 1);
    // In the next life there is nothing left to do.
    let sent = |m: &Mdt| {
        let log = m.ost.disk().log.clone();
        log.iter().filter(|l| l.contains("destroy")).count()
    };
    let before = sent(&m);
    m.restart();
    m.take();
    assert_eq!((sent(&m), m.osp.pending_changes()), (before, 0));
}

#[test]
fn a_full_ost() {
    let m = Mdt::up(9);
    until("objects", || m.ready() == 32);
    m.ost.disk().full = true;
    let files: Vec<_> = (0..32).map(|_| m.take()).collect();
    let error = m.osp.reserve(LONG).err();
    assert_eq!(error, Some(ENOSPC));
    until("that it is full", || {
        m.osp.view().state.contains(OsState::ENOSPC)
    });
    // A destroy that is not committed yet promises space.
    m.dev.hold_commits(true);
    m.destroy(files[0]);
    m.ost.disk().full = false;
    let r = m.osp.reserve(LONG).unwrap();
    drop(r);
    assert!(!m.exists(&files[0]));
}

#[test]
fn a_slow_ost() {
    let m = Mdt::up(10);
    m.ost.disk().most = 3;
    let mut files: Vec<_> = (0..50).map(|_| m.take()).collect();
    assert!(files.iter().all(|f| m.exists(f)));
    files.dedup();
    assert_eq!(files.len(), 50);
}

#[test]
fn none_wanted() {
    let m = Mdt::up(11);
    until("objects", || m.ready() > 0);
    m.osp.set_max_create_count(0);
    assert_eq!(m.osp.reserve(LONG).err(), Some(ENOBUFS));
    assert!(m.osp.view().state.contains(OsState::NOCREATE));
    m.osp.set_max_create_count(100);
    m.take();
}
