// SPDX-License-Identifier: GPL-2.0

//! An OST for tests of those who use OSTs: it keeps numbers of objects, and fails when told to.
//! What is in [`Disk`] outlives the server.
#![allow(dead_code)]

use core::any::Any;
use kapi::net::Ipv4Addr;
use kapi::prelude::*;
use lnet::config::Accept;
use lnet::{Config, Lnet};
use ptlrpc::export::{ClientState, ClientUuid, Export, TargetDevice};
use ptlrpc::limits::Limits;
use ptlrpc::node::Node;
use ptlrpc::request::ServerRequest;
use ptlrpc::service::{Handler, Service, ServiceConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc as StdArc, Mutex as StdMutex, MutexGuard};
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::fid::{seq_is_idif, Fid, LuFid};
use wire::nid::{Net, Nid};
use wire::obdo::{ObdFl, ObdMd, Obdo};
use wire::opcode::*;
use wire::ost::ObdStatfs;
use wire::ostid::OstId;
use wire::seq::{range_type, LuSeqRange, SeqRange};
use zerocopy::FromZeros;

const PORT: u16 = 29989;
/// The first sequence that is given out.
pub const FIRST_SEQ: u64 = 0x2_4000_0400;

pub fn nid(a: u8, b: u8) -> Nid {
    Nid::v4(Net::TCP, Ipv4Addr::new(127, 11, a, b))
}

pub fn node(n: Nid) -> Arc<Node> {
    let mut nids = KVec::new();
    nids.push(n, GFP_KERNEL).unwrap();
    let mut c = Config::new(nids);
    c.port = PORT;
    c.accept = Accept::All;
    c.privileged = false;
    let mut limits = Limits::DEFAULT;
    limits.obd_timeout = 4;
    limits.at.min = 1;
    limits.at.early_margin = 2;
    limits.at.extra = 3;
    Node::start(&Lnet::start(c).unwrap(), limits).unwrap()
}

/// What an OST has, and how it behaves.
#[derive(Default)]
pub struct Disk {
    pub index: u16,
    /// The last number of each sequence.
    pub last: BTreeMap<u64, u64>,
    pub objects: BTreeSet<Fid>,
    pub owners: Vec<(Fid, Obdo)>,
    pub transno: u64,
    pub committed: u64,
    /// Nothing is committed.
    pub hold: bool,
    /// No space, and what creations are answered with.
    pub full: bool,
    /// Objects that one creation makes at the most; zero: all.
    pub most: u64,
    /// Destroys are answered with this.
    pub refuse: Option<Error>,
    given: u64,
    pub log: Vec<String>,
}

impl Disk {
    fn fid(&self, seq: u64, id: u64) -> Fid {
        match seq_is_idif(seq) || seq == 0 {
            true => Fid::idif(self.index, id).unwrap(),
            false => Fid::new(seq, id as u32),
        }
    }

    fn id(fid: &Fid) -> (u64, u64) {
        match fid.is_idif() {
            true => (0, fid.idif_id()),
            false => (fid.seq, u64::from(fid.oid)),
        }
    }

    fn change(&mut self) -> u64 {
        self.transno += 1;
        if !self.hold {
            self.committed = self.transno;
        }
        self.transno
    }

    fn create(&mut self, o: &Obdo) -> Result<Obdo> {
        let fid = o.o_oi.to_fid(self.index).map_err(|_| EPROTO)?;
        let (seq, id) = Disk::id(&fid);
        let first = u64::from(seq != 0);
        let last = *self.last.entry(seq).or_insert(first);
        let orphans = o.valid().contains(ObdMd::FLFLAGS) && o.flags().contains(ObdFl::DELORPHAN);
        let mut now = last;
        if orphans && id < last {
            self.objects
                .retain(|f| Disk::id(f).0 != seq || Disk::id(f).1 <= id);
        } else if id > last {
            if self.full {
                return Err(ENOSPC);
            }
            let most = if self.most == 0 { u64::MAX } else { self.most };
            now = id.min(last.saturating_add(most));
            for i in last + 1..=now {
                let f = self.fid(seq, i);
                self.objects.insert(f);
            }
            self.change();
        }
        self.last.insert(seq, now);
        let kind = if orphans { "orphans" } else { "create" };
        self.log.push(format!("{kind} {seq:x} {id:x}"));
        let mut reply = Obdo {
            o_oi: OstId::from_fid(self.fid(seq, now)),
            ..Obdo::default()
        };
        reply.set_valid(ObdMd::FLID | ObdMd::FLGROUP | ObdMd::FLSIZE);
        reply.o_size.set(0x1ff_ffff);
        Ok(reply)
    }

    fn statfs(&self) -> ObdStatfs {
        let mut s = ObdStatfs::new_zeroed();
        s.os_type.set(61267);
        s.os_bsize.set(4096);
        s.os_blocks.set(1 << 18);
        s.os_bfree.set(1 << 17);
        s.os_bavail.set(if self.full { 0 } else { 1 << 17 });
        s.os_files.set(1 << 16);
        s.os_ffree.set(1 << 15);
        s.os_namelen.set(255);
        s
    }
}

struct Nothing;

impl ClientState for Nothing {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl TargetDevice for Nothing {
    fn name(&self) -> &str {
        "an OST"
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Clone)]
struct Server {
    disk: StdArc<StdMutex<Disk>>,
    exports: StdArc<StdMutex<BTreeMap<String, Arc<Export>>>>,
}

impl Server {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    fn connect(&self, req: &mut ServerRequest) -> Result {
        let uuid = ClientUuid::from_wire(req.msg().buf(2).ok_or(EPROTO)?)?;
        let mut data = *req.get::<ConnectData>(4)?;
        let known = ConnectFlags::AT
            | ConnectFlags::FULL20
            | ConnectFlags::FID
            | ConnectFlags::SKIP_ORPHAN
            | ConnectFlags::INDEX
            | ConnectFlags::VERSION;
        data.set_flags(data.flags() & known, ConnectFlags2::empty());
        let device: Arc<dyn TargetDevice> = Arc::new(Nothing, GFP_KERNEL)?;
        let state: Arc<dyn ClientState> = Arc::new(Nothing, GFP_KERNEL)?;
        let e = Export::new(req.node().exports(), device, uuid, state, data)?;
        let old = self
            .exports
            .lock()
            .unwrap()
            .insert(uuid.as_str().into(), e.clone());
        if let Some(old) = old {
            old.fail();
        }
        {
            let mut i = e.lock();
            i.connect = data;
            i.conn_cnt = req.body().pb_conn_cnt.get();
            i.nid = Some(req.peer().nid);
        }
        req.reply_handle = e.cookie;
        req.set_export(e);
        req.pack_reply(&[192])?;
        *req.reply_mut()?.get_mut::<ConnectData>(1)? = data;
        Ok(())
    }

    fn work(&self, req: &mut ServerRequest) -> Result<u64> {
        if req.opc() == OST_CONNECT {
            self.disk().log.push("connect".into());
            self.connect(req)?;
            return Ok(0);
        }
        req.connected()?;
        let obdo = |req: &ServerRequest| req.get::<Obdo>(1).copied();
        match req.opc() {
            OBD_PING | OST_DISCONNECT => req.pack_reply(&[])?,
            OST_STATFS => {
                let s = self.disk().statfs();
                req.pack_reply(&[size_of::<ObdStatfs>() as u32])?;
                *req.reply_mut()?.get_mut::<ObdStatfs>(1)? = s;
            }
            OST_GET_INFO => {
                assert_eq!(req.msg().buf(1), Some(&b"last_fid\0"[..]));
                let asked: Fid = (*req.get::<LuFid>(2)?).into();
                let disk = self.disk();
                let seq = Disk::id(&asked).0;
                let last = disk.fid(seq, disk.last.get(&seq).copied().unwrap_or(0));
                drop(disk);
                req.pack_reply(&[size_of::<LuFid>() as u32])?;
                *req.reply_mut()?.get_mut::<LuFid>(1)? = last.into();
            }
            OST_CREATE => {
                let reply = self.disk().create(&obdo(req)?)?;
                self.answer(req, reply)?;
            }
            OST_DESTROY | OST_SETATTR => {
                let o = obdo(req)?;
                let mut disk = self.disk();
                if let Some(e) = disk.refuse {
                    return Err(e);
                }
                let fid = o.o_oi.to_fid(disk.index).map_err(|_| EPROTO)?;
                let name = if req.opc() == OST_DESTROY {
                    "destroy"
                } else {
                    "setattr"
                };
                disk.log.push(format!("{name} {:x}", fid.oid));
                if !disk.objects.contains(&fid) {
                    return Err(ENOENT);
                }
                if req.opc() == OST_DESTROY {
                    disk.objects.remove(&fid);
                } else {
                    disk.owners.push((fid, o));
                }
                let transno = disk.change();
                drop(disk);
                self.answer(req, o)?;
                return Ok(transno);
            }
            SEQ_QUERY => {
                let mut disk = self.disk();
                let start = FIRST_SEQ + disk.given;
                disk.given += 1;
                disk.log.push("sequence".into());
                drop(disk);
                let range = SeqRange {
                    start,
                    end: start + 1,
                    index: 0,
                    flags: range_type::OST,
                };
                req.pack_reply(&[size_of::<LuSeqRange>() as u32])?;
                *req.reply_mut()?.get_mut::<LuSeqRange>(1)? = range.into();
            }
            _ => return Err(EOPNOTSUPP),
        }
        Ok(0)
    }

    fn answer(&self, req: &mut ServerRequest, o: Obdo) -> Result {
        req.pack_reply(&[size_of::<Obdo>() as u32])?;
        *req.reply_mut()?.get_mut::<Obdo>(1)? = o;
        Ok(())
    }
}

impl Handler for Server {
    fn handle(&self, mut req: KBox<ServerRequest>) {
        match self.work(&mut req) {
            Ok(transno) => {
                req.transno = transno;
                req.last_committed = self.disk().committed;
                req.reply(0)
            }
            Err(e) => req.error(e),
        }
    }
}

/// An OST that may be down.
pub struct Ost {
    nid: Nid,
    disk: StdArc<StdMutex<Disk>>,
    up: Option<(Arc<Node>, Vec<Arc<Service>>)>,
}

impl Ost {
    /// A new one; it is down.
    pub fn new(nid: Nid, index: u16) -> Ost {
        let disk = Disk {
            index,
            ..Disk::default()
        };
        Ost {
            nid,
            disk: StdArc::new(StdMutex::new(disk)),
            up: None,
        }
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    pub fn start(&mut self) {
        let node = node(self.nid);
        let server = Server {
            disk: self.disk.clone(),
            exports: StdArc::default(),
        };
        let portals = [portal::OST_REQUEST, portal::OST_CREATE, portal::SEQ_DATA];
        let services = portals.map(|request_portal| {
            let config = ServiceConfig {
                name: "ost",
                request_portal,
                reply_portal: portal::OSC_REPLY,
                max_request: 1 << 16,
                threads_min: 2,
                threads_max: 8,
                queue_max: 10_000,
            };
            let handler: Arc<dyn Handler> = Arc::new(server.clone(), GFP_KERNEL).unwrap();
            Service::start(&node, config, handler).unwrap()
        });
        self.up = Some((node, services.into()));
    }

    /// As by a power cut; what was not committed stays, though: to lose it is for the test.
    pub fn stop(&mut self) {
        if let Some((node, services)) = self.up.take() {
            for s in services {
                s.stop();
            }
            stop(&node);
        }
    }
}

impl Drop for Ost {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn stop(node: &Arc<Node>) {
    node.stop();
    node.lnet().stop();
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut f: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if f() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}
