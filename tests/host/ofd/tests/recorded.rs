// SPDX-License-Identifier: GPL-2.0

//! Requests of real clients and MDTs, from recorded traffic, sent to this OST: its replies are
//! those of a real OST in form, flags, data and checksums.
//!
//! The captures are in `$LUSTRE_SHARED/captures` (default `/shared`); without them the test passes
//! with a message.

mod common;

use common::*;
use kapi::pages::Pages;
use osd::{Create, Device};
use pcap_reader::{captures, Capture, Kind};
use std::collections::{BTreeMap, HashMap};
use wire::fid::Fid;
use wire::lnet::{Command, Header};
use wire::msg::{Message, TYPE_REQUEST};
use wire::nid::Nid;
use wire::obdo::{ObdFl, ObdMd, Obdo};
use wire::opcode::{self, *};
use wire::ost::{BrwFlags, NiobufRemote};
use zerocopy::FromBytes;

/// A message's opcode, status and buffers.
#[derive(Clone)]
struct Rpc {
    opc: u32,
    portal: u32,
    status: i32,
    bufs: Vec<Vec<u8>>,
}

fn parse(portal: u32, payload: &[u8]) -> Option<(bool, u64, Rpc)> {
    let m = Message::parse(payload).ok()?;
    let body = m.body().ok()?;
    let bufs = (1..m.count()).map(|i| m.buf(i).unwrap_or(&[]).to_vec());
    let rpc = Rpc {
        opc: body.pb_opc.get(),
        portal,
        status: body.pb_status.get(),
        bufs: bufs.collect(),
    };
    let is_request = body.pb_type.get() == TYPE_REQUEST;
    Some((is_request, body.pb_mbits.get(), rpc))
}

/// Requests to OSTs with their replies, in order.
fn pairs(c: &Capture) -> Vec<(Rpc, Rpc)> {
    let mut open: HashMap<(Nid, u64), Rpc> = HashMap::new();
    let mut out = Vec::new();
    for item in c.items().unwrap() {
        let Kind::Lnet(l) = item.kind else { continue };
        let Ok(h) = Header::decode4(&l.header) else {
            continue;
        };
        let Command::Put {
            portal: p,
            match_bits: bits,
            ..
        } = h.command
        else {
            continue;
        };
        let (from, to) = (h.src_nid, h.dest_nid);
        if matches!(p, portal::OST_REQUEST | portal::OST_IO | portal::OST_CREATE) {
            if let Some((true, mbits, rpc)) = parse(p, &l.payload) {
                open.insert((from, bits), rpc.clone());
                open.insert((from, mbits), rpc);
            }
        } else if p == portal::OSC_REPLY {
            let found = open.get(&(to, bits)).cloned();
            if let (Some(q), Some((false, _, r))) = (found, parse(p, &l.payload)) {
                if q.opc == r.opc {
                    out.push((q, r));
                }
            }
        }
    }
    out
}

struct Replay {
    client: Peer,
    mdt: Peer,
    // Goes last: the others say goodbye to it.
    oss: Oss,
    locks: HashMap<Fid, u64>,
    counts: BTreeMap<&'static str, usize>,
}

impl Replay {
    /// The object is there, and the client has a lock on it, or nobody has.
    fn object(&mut self, fid: Fid, theirs: bool) -> osd::ObjectRef {
        let o = self.oss.object(&fid);
        if !o.exists() {
            let what = Create::file(0o7666);
            let mut plan = self.oss.device.plan().unwrap();
            plan.create(&o, &what, None).unwrap();
            let mut tx = plan.start().unwrap();
            tx.create(&o, &what, None).unwrap();
            tx.stop().unwrap();
        }
        // Direct I/O, for which the OST takes the lock.
        match (theirs, self.locks.get(&fid).copied()) {
            (true, None) => {
                self.locks.insert(fid, self.client.lock_all(fid));
            }
            (false, Some(cookie)) => {
                self.client.unlock(cookie);
                self.locks.remove(&fid);
            }
            _ => {}
        }
        o
    }

    fn fill(&self, o: &osd::ObjectRef, pos: u64, data: &[u8]) {
        let mut pages = Pages::new(data.len().div_ceil(4096) + 1).unwrap();
        pages.copy_in(0, data).unwrap();
        o.write_pages(&pages, 0, data.len(), pos).unwrap();
    }

    fn check(&mut self, q: &Rpc, r: &Rpc) {
        let Some(name) = opcode::name(q.opc) else {
            return;
        };
        let about_object = matches!(
            q.opc,
            OST_GETATTR
                | OST_SETATTR
                | OST_SYNC
                | OST_SEEK
                | OST_PUNCH
                | OST_FALLOCATE
                | OST_READ
                | OST_WRITE
        );
        if r.status < 0 || (!about_object && q.opc != OST_STATFS) {
            return;
        }
        let q = q.clone();
        let mut object = None;
        if about_object {
            let o = *Obdo::ref_from_prefix(&q.bufs[0]).unwrap().0;
            let fid = o.o_oi.to_fid(INDEX).unwrap();
            if !fid.is_norm() {
                return;
            }
            let ours = o.flags().contains(ObdFl::SRVLOCK)
                || matches!(q.opc, OST_READ | OST_WRITE)
                    && NiobufRemote::ref_from_prefix(&q.bufs[2])
                        .is_ok_and(|(n, _)| n.flags().contains(BrwFlags::SRVLOCK));
            object = Some(self.object(fid, !ours));
        }
        let from_client = q.opc == OST_READ
            || q.opc == OST_WRITE
            || q.opc == OST_PUNCH
            || Obdo::ref_from_prefix(q.bufs.first().map_or(&[], |b| b))
                .is_ok_and(|(o, _)| o.valid().contains(ObdMd::FLFID));
        let peer = if from_client { &self.client } else { &self.mdt };
        let lens: Vec<u32> = r.bufs.iter().map(|b| b.len().max(8) as u32).collect();
        let mine = match q.opc {
            OST_READ | OST_WRITE => {
                let mut o = *Obdo::ref_from_prefix(&q.bufs[0]).unwrap().0;
                // Locks are others than then.
                o.o_handle.set(0);
                let n = <[NiobufRemote]>::ref_from_bytes(&q.bufs[2])
                    .unwrap()
                    .to_vec();
                let short = o.flags().contains(ObdFl::SHORT_IO);
                let object = object.as_ref().unwrap();
                let end = n.last().unwrap().end().unwrap();
                if q.opc == OST_WRITE {
                    let data = match short {
                        true => q.bufs[4].clone(),
                        false => pattern(n.iter().map(|n| n.rnb_len.get() as usize).sum(), 1),
                    };
                    let data = &data[..n.iter().map(|n| n.rnb_len.get() as usize).sum()];
                    peer.write_with(&o, &n, data).unwrap()
                } else {
                    if short {
                        self.fill(object, n[0].rnb_offset.get(), &r.bufs[1]);
                    } else {
                        let len: u32 = n.iter().map(|n| n.rnb_len.get()).sum();
                        if r.status as u32 != len {
                            return;
                        }
                        let size = object.attr().unwrap().size.max(end);
                        object.truncate(size).unwrap();
                    }
                    let (mine, data) = peer.read_with(&o, &n).unwrap();
                    if short {
                        assert!(data == r.bufs[1], "{name}: data");
                    }
                    mine
                }
            }
            _ => {
                if q.opc == OST_SEEK {
                    self.fill(object.as_ref().unwrap(), 0, &[1; 4096]);
                }
                let bufs: Vec<&[u8]> = q.bufs.iter().map(|b| &b[..]).collect();
                peer.send(q.opc, q.portal, &bufs, &lens, None).unwrap()
            }
        };
        *self.counts.entry(name).or_default() += 1;
        assert_eq!(mine.status, r.status, "{name}: status");
        for (i, b) in r.bufs.iter().enumerate() {
            let b2 = mine.msg.buf(i + 1).unwrap_or(&[]);
            assert_eq!(b2.len(), b.len(), "{name}: buffer {i}");
        }
        if !about_object {
            return;
        }
        let theirs = *Obdo::ref_from_prefix(&r.bufs[0]).unwrap().0;
        let ours = *mine.msg.get::<Obdo>(1).unwrap();
        let mut differs = ours.valid().bits() ^ theirs.valid().bits();
        if q.opc == OST_READ || q.opc == OST_WRITE {
            // A message that was sent again then is a new one now.
            differs &= !ObdMd::FLGRANT.bits();
        }
        assert_eq!(
            differs,
            0,
            "{name}: {:#x} and not {:#x}",
            ours.valid().bits(),
            theirs.valid().bits()
        );
        assert_eq!(ours.o_oi, theirs.o_oi, "{name}: object");
        let short = ours.flags().contains(ObdFl::SHORT_IO);
        if theirs.valid().contains(ObdMd::FLFLAGS) {
            let quota = ObdFl::NO_USRQUOTA | ObdFl::NO_GRPQUOTA | ObdFl::NO_PRJQUOTA;
            assert_eq!(ours.flags(), theirs.flags() - quota, "{name}: flags");
        }
        let same_data = q.opc == OST_WRITE && short
            || q.opc == OST_READ && r.bufs.get(1).is_some_and(|b| !b.is_empty());
        if same_data && theirs.valid().contains(ObdMd::FLCKSUM) {
            assert_eq!(ours.cksum(), theirs.cksum(), "{name}: checksum");
            *self.counts.entry("checksums").or_default() += 1;
        }
        if q.opc == OST_WRITE {
            assert_eq!(ours.o_mode, theirs.o_mode, "{name}: mode");
            let n = NiobufRemote::ref_from_prefix(&q.bufs[2]).unwrap().0;
            assert!(!n.flags().contains(BrwFlags::COMPRESSED));
        }
    }
}

#[test]
fn replies_are_those_of_a_real_ost() {
    let Some(all) = captures() else { return };
    let oss = Oss::new(91);
    let (client, mdt) = (oss.client(3), oss.mdt(2));
    let mut replay = Replay {
        oss,
        client,
        mdt,
        locks: HashMap::new(),
        counts: BTreeMap::new(),
    };
    for path in all {
        let c = Capture::open(&path).unwrap();
        for (q, r) in pairs(&c) {
            replay.check(&q, &r);
        }
    }
    for (k, n) in &replay.counts {
        println!("{n:6} {k}");
    }
    for must in [
        "OST_READ",
        "OST_WRITE",
        "OST_SETATTR",
        "OST_PUNCH",
        "OST_STATFS",
        "checksums",
    ] {
        assert!(replay.counts.get(must).is_some_and(|n| *n > 0), "{must}");
    }
}
