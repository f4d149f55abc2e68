// SPDX-License-Identifier: GPL-2.0

//! The userspace client and the MDT's side of the protocol as peers of an OST.

mod common;

use common::client::{read, Client};
use common::*;
use kapi::prelude::*;
use osd::Device;
use osd_memory::MemoryDevice;
use osp::{Osp, OspConfig};
use ptlrpc::export::ClientUuid;
use wire::fid::Fid;

#[test]
fn two_clients_see_the_same() {
    let oss = Oss::new(71);
    let m = oss.mdt(2);
    let (fid, _) = m.precreate(4);
    let (a, b) = (Client::new(&oss, 3), Client::new(&oss, 4));
    let (x, y) = (a.object(fid), b.object(fid));
    let data = pattern((5 << 20) + 77, 5);
    x.write(0, &data).unwrap();
    // Not written back yet, maybe: the other has it called for.
    assert_eq!(y.glimpse().unwrap().size, data.len() as u64);
    assert!(read(&y, 0, data.len()) == data);
    y.write(1 << 20, b"changed").unwrap();
    assert_eq!(read(&x, 1 << 20, 7), b"changed");
    x.punch(100).unwrap();
    assert_eq!(y.glimpse().unwrap().size, 100);
    assert_eq!(read(&y, 0, 100), data[..100]);
    x.sync().unwrap();
    let attr = oss.object(&fid).attr().unwrap();
    assert_eq!((attr.size, attr.uid, attr.gid), (100, 10, 20));
    assert!(attr.version <= oss.ofd().target().unwrap().last_committed());
}

/// Clients that write in turn into one object: all of it is there.
#[test]
fn many_writers() {
    let oss = Oss::new(72);
    let m = oss.mdt(2);
    let (fid, _) = m.precreate(1);
    let clients: Vec<Client> = (3..6).map(|n| Client::new(&oss, n)).collect();
    const BLOCK: usize = 40_000;
    std::thread::scope(|s| {
        for (i, c) in clients.iter().enumerate() {
            let o = c.object(fid);
            s.spawn(move || {
                for n in 0..20 {
                    let at = n * clients_len() + i;
                    o.write((at * BLOCK) as u64, &[at as u8 + 1; BLOCK])
                        .unwrap();
                }
            });
        }
    });
    fn clients_len() -> usize {
        3
    }
    for c in &clients {
        let got = read(&c.object(fid), 0, 60 * BLOCK);
        for (i, b) in got.chunks(BLOCK).enumerate() {
            assert!(b.iter().all(|v| *v == i as u8 + 1), "block {i}");
        }
    }
    let (_, _, pending) = oss.ofd().grants();
    assert_eq!(pending, 0);
}

/// What an object holds is not written when it is destroyed, and nobody waits for it.
#[test]
fn destroyed_with_data_in_a_cache() {
    let oss = Oss::new(73);
    let m = oss.mdt(2);
    let (fid, _) = m.precreate(1);
    let a = Client::new(&oss, 3);
    let x = a.object(fid);
    x.write(0, &[1; 100_000]).unwrap();
    let o = obdo(fid, wire::obdo::ObdMd::empty());
    let body = zerocopy::IntoBytes::as_bytes(&o);
    let r = m.send(
        wire::opcode::OST_DESTROY,
        wire::opcode::portal::OST_REQUEST,
        &[body, &[0; 104]],
        &[BODY],
        None,
    );
    assert_eq!(r.unwrap().status, 0);
    assert!(!oss.object(&fid).exists());
    assert_eq!(x.glimpse().err(), Some(ENOENT));
}

struct Mdt {
    device: Arc<MemoryDevice>,
    node: Arc<ptlrpc::node::Node>,
    osp: Arc<Osp>,
}

impl Mdt {
    fn new(oss: &Oss, device: &Arc<MemoryDevice>, n: u8) -> Mdt {
        let node = node(nid(oss.id, n)).unwrap();
        let mut peers = KVec::new();
        peers.push(nid(oss.id, 1), GFP_KERNEL).unwrap();
        let osd: Arc<dyn Device> = device.clone();
        let config = OspConfig {
            name: bytes(b"test-OST0003-osc-MDT0000"),
            ost_index: INDEX.into(),
            mdt_index: 0,
            target_uuid: uuid(oss.id),
            client_uuid: ClientUuid::new(b"test-MDT0000-mdtlov_UUID").unwrap(),
            peers,
            osd,
        };
        let osp = Osp::new(&node, config).unwrap();
        Mdt {
            device: device.clone(),
            node,
            osp,
        }
    }

    fn take(&self) -> Fid {
        let r = self.osp.reserve(Duration::from_secs(20)).unwrap();
        let mut plan = self.device.plan().unwrap();
        r.plan(&mut plan).unwrap();
        let mut tx = plan.start().unwrap();
        let fid = r.take(&mut tx).unwrap();
        tx.stop().unwrap();
        fid
    }

    fn destroy(&self, fid: Fid) {
        let ticket = self.osp.destroy([fid].into_iter()).unwrap();
        ticket.enqueue();
    }
}

impl Drop for Mdt {
    fn drop(&mut self) {
        self.osp.stop();
        self.node.stop();
        self.node.lnet().stop();
    }
}

fn eventually(what: &str, mut f: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !f() {
        assert!(std::time::Instant::now() < until, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn an_mdt_uses_objects() {
    let mut oss = Oss::new(74);
    let store = MemoryDevice::new();
    let m = Mdt::new(&oss, &store, 2);
    let taken: Vec<Fid> = (0..100).map(|_| m.take()).collect();
    let mut unique = taken.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 100);
    for f in &taken {
        assert!(oss.object(f).exists(), "{f}");
    }
    assert_eq!((taken[0].seq, taken[0].oid), (0x2_0000_0400, 2));
    m.destroy(taken[0]);
    eventually("destroyed", || !oss.object(&taken[0]).exists());
    let last = taken[99];
    let unused = Fid::new(last.seq, last.oid + 1);
    eventually("made ahead", || oss.object(&unused).exists());
    drop(m);
    // The next life of the MDT: what was not used goes, and its numbers are not used again.
    let m = Mdt::new(&oss, &store, 2);
    let next = m.take();
    assert!(next.oid > last.oid + 1, "{next} after {last}");
    assert!(!oss.object(&unused).exists());
    assert!(oss.object(&last).exists() && oss.object(&next).exists());
    // The OST goes and comes back: the MDT goes on.
    oss.stop();
    oss.start();
    let more: Vec<Fid> = (0..50).map(|_| m.take()).collect();
    assert!(more
        .iter()
        .all(|f| f.oid > next.oid && oss.object(f).exists()));
}
