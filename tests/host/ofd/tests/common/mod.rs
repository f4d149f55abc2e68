// SPDX-License-Identifier: GPL-2.0

//! An OST on a store in memory, and peers that talk to it over TCP.
#![allow(dead_code)]

pub mod client;

use kapi::net::Ipv4Addr;
use kapi::pages::Pages;
use kapi::prelude::*;
use ldlm::core::{Desc, Extent, Mode, Policy, ResId};
use ldlm::msg::{self, ReplyMsg};
use lnet::config::Accept;
use lnet::{Config, Lnet, Sink};
use ofd::{Ofd, OfdConfig};
use osd::Device;
use osd_memory::MemoryDevice;
use ptlrpc::bulk::{ClientBulk, Piece};
use ptlrpc::call::{CallOptions, Reply};
use ptlrpc::export::ClientUuid;
use ptlrpc::import::{Import, ImportConfig};
use ptlrpc::limits::Limits;
use ptlrpc::message::Msg;
use ptlrpc::node::Node;
use target::fld::{Fld, RangeSource};
use target::seq::{Controller, SuperSource};
use target::Server;
use wire::connect::{ChecksumTypes, ConnectData, ConnectFlags, ConnectFlags2};
use wire::fid::Fid;
use wire::msg::{DLM_VERSION, OST_VERSION};
use wire::nid::{Net, Nid};
use wire::obdo::{ObdFl, ObdMd, Obdo};
use wire::opcode::{self, portal};
use wire::ost::{BrwFlags, NiobufRemote, ObdIoobj};
use wire::ostid::OstId;
use wire::seq::{range_type, LuSeqRange, SeqRange};
use zerocopy::{FromBytes, IntoBytes};

pub const PORT: u16 = 29977;
pub const INDEX: u16 = 3;
pub const BODY: u32 = size_of::<Obdo>() as u32;

pub fn nid(a: u8, b: u8) -> Nid {
    Nid::v4(Net::TCP, Ipv4Addr::new(127, 77, a, b))
}

/// Its name: tests run at the same time.
pub fn ost_name(id: u8) -> String {
    format!("test{id}-OST0003")
}

pub fn uuid(id: u8) -> ClientUuid {
    ClientUuid::new(format!("{}_UUID", ost_name(id)).as_bytes()).unwrap()
}

fn limits() -> Limits {
    let mut limits = Limits::DEFAULT;
    limits.at.min = 1;
    limits.at.early_margin = 2;
    limits.at.extra = 3;
    limits
}

pub fn node(n: Nid) -> Result<Arc<Node>> {
    let mut nids = KVec::new();
    nids.push(n, GFP_KERNEL)?;
    let mut c = Config::new(nids);
    c.port = PORT;
    c.accept = Accept::All;
    c.privileged = false;
    Node::start(&Lnet::start(c)?, limits())
}

pub fn bytes(text: &[u8]) -> KVVec<u8> {
    let mut v = KVVec::new();
    v.extend_from_slice(text, GFP_KERNEL).unwrap();
    v
}

/// A node with an OST, and the part of MDT0000 that OSTs need.
pub struct Oss {
    pub id: u8,
    pub device: Arc<MemoryDevice>,
    pub node: Arc<Node>,
    pub server: Arc<Server>,
    pub ofd: Option<Arc<Ofd>>,
    controller: Arc<Controller>,
    fld: Arc<Fld>,
}

impl Oss {
    pub fn new(id: u8) -> Oss {
        Oss::with(id, osd_memory::Config::default())
    }

    pub fn with(id: u8, config: osd_memory::Config) -> Oss {
        let device = MemoryDevice::with(osd_memory::Config {
            ost: true,
            ..config
        });
        let mdt: Arc<dyn Device> = MemoryDevice::new();
        let fld = Fld::open(&mdt, None).unwrap();
        let controller = Controller::open(&mdt, &fld).unwrap();
        let node = node(nid(id, 1)).unwrap();
        let server = Server::start(&node).unwrap();
        let mut oss = Oss {
            id,
            device,
            node,
            server,
            ofd: None,
            controller,
            fld,
        };
        oss.start();
        oss
    }

    pub fn start(&mut self) {
        let (c, f) = (self.controller.clone(), self.fld.clone());
        let sequences = move || c.alloc_super(INDEX.into(), range_type::OST);
        let ranges = move |seq: u64, kind: u32| f.lookup(seq, kind);
        let sequences: Arc<dyn SuperSource> = Arc::new(sequences, GFP_KERNEL).unwrap();
        let ranges: Arc<dyn RangeSource> = Arc::new(ranges, GFP_KERNEL).unwrap();
        let config = OfdConfig {
            name: bytes(ost_name(self.id).as_bytes()),
            uuid: uuid(self.id),
            index: INDEX,
            sequences,
            ranges,
        };
        let osd: Arc<dyn Device> = self.device.clone();
        self.ofd = Some(Ofd::start(&self.server, osd, config).unwrap());
    }

    pub fn stop(&mut self) {
        if let Some(o) = self.ofd.take() {
            o.stop(&self.server);
        }
    }

    pub fn ofd(&self) -> &Arc<Ofd> {
        self.ofd.as_ref().unwrap()
    }

    /// An ordinary client.
    pub fn client(&self, n: u8) -> Peer {
        self.peer(n, client_data())
    }

    /// An MDT.
    pub fn mdt(&self, n: u8) -> Peer {
        self.peer(n, mdt_data())
    }

    pub fn peer(&self, n: u8, wanted: ConnectData) -> Peer {
        let p = self.try_peer(n, wanted);
        p.import.wait_full(Duration::from_secs(10)).unwrap();
        p
    }

    pub fn try_peer(&self, n: u8, wanted: ConnectData) -> Peer {
        let node = node(nid(self.id, n)).unwrap();
        let mut peers = KVec::new();
        peers.push(nid(self.id, 1), GFP_KERNEL).unwrap();
        let client = format!("client-{}-{n}", self.id);
        let config = ImportConfig {
            target_uuid: uuid(self.id),
            client_uuid: ClientUuid::new(client.as_bytes()).unwrap(),
            peers,
            request_portal: portal::OST_REQUEST,
            reply_portal: portal::OSC_REPLY,
            connect_opc: opcode::OST_CONNECT,
            disconnect_opc: opcode::OST_DISCONNECT,
            wanted,
            max_modify: 8,
            part: 0,
        };
        let import = Import::new(&node, config, None).unwrap();
        Peer { node, import }
    }

    /// An object that was made ahead, with the mode of such.
    pub fn object(&self, fid: &Fid) -> osd::ObjectRef {
        self.device.object(fid).unwrap()
    }
}

impl Drop for Oss {
    fn drop(&mut self) {
        self.stop();
        self.server.stop();
        self.node.stop();
        self.node.lnet().stop();
    }
}

pub fn client_data() -> ConnectData {
    let mut d = ConnectData::default();
    d.set_flags(
        ConnectFlags::VERSION
            | ConnectFlags::GRANT
            | ConnectFlags::GRANT_PARAM
            | ConnectFlags::SRVLOCK
            | ConnectFlags::BRW_SIZE
            | ConnectFlags::AT
            | ConnectFlags::CKSUM
            | ConnectFlags::FID
            | ConnectFlags::FULL20
            | ConnectFlags::MAXBYTES
            | ConnectFlags::LVB_TYPE
            | ConnectFlags::SHORTIO
            | ConnectFlags::PINGLESS
            | ConnectFlags::OSS_CAPA
            | ConnectFlags::BULK_MBITS
            | ConnectFlags::FLAGS2,
        ConnectFlags2::INC_XID | ConnectFlags2::LSEEK | ConnectFlags2::REP_MBITS,
    );
    d.ocd_version.set(wire::connect::version(2, 17, 0, 0));
    d.ocd_brw_size.set(64 << 20);
    d.ocd_grant.set(128 << 20);
    d.ocd_grant_blkbits = 12;
    d.ocd_cksum_types.set(0xf7);
    d
}

pub fn mdt_data() -> ConnectData {
    let mut d = ConnectData::default();
    d.set_flags(
        ConnectFlags::VERSION
            | ConnectFlags::INDEX
            | ConnectFlags::AT
            | ConnectFlags::FULL20
            | ConnectFlags::MDS
            | ConnectFlags::SKIP_ORPHAN
            | ConnectFlags::FID
            | ConnectFlags::LVB_TYPE
            | ConnectFlags::BULK_MBITS
            | ConnectFlags::FLAGS2,
        ConnectFlags2::empty(),
    );
    d.ocd_version.set(wire::connect::version(2, 17, 0, 0));
    d.ocd_index.set(INDEX.into());
    d
}

pub fn checksums(types: ChecksumTypes) -> ConnectData {
    let mut d = client_data();
    d.ocd_cksum_types.set(types.bits());
    d
}

/// A client.
pub struct Peer {
    pub node: Arc<Node>,
    pub import: Arc<Import>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.import.disconnect();
        self.node.stop();
        self.node.lnet().stop();
    }
}

/// A body about an object.
pub fn obdo(fid: Fid, valid: ObdMd) -> Obdo {
    let mut o = Obdo {
        o_oi: OstId::from_fid(fid),
        ..Obdo::default()
    };
    o.set_valid(ObdMd::FLID | ObdMd::FLGROUP | valid);
    o
}

pub fn niobuf(pos: u64, len: u32, flags: BrwFlags) -> NiobufRemote {
    NiobufRemote {
        rnb_offset: pos.into(),
        rnb_len: len.into(),
        rnb_flags: flags.bits().into(),
    }
}

/// The data of a transfer as the MDs of a client.
pub fn pieces(data: &[u8], first: usize) -> KVec<Piece> {
    let mut out = KVec::new();
    let mut rest = data;
    let mut off = first % 4096;
    while !rest.is_empty() {
        let n = rest.len().min((1 << 20) - off);
        let (now, later) = rest.split_at(n);
        let mut pages = Pages::new((off + n).div_ceil(4096)).unwrap();
        pages.copy_in(off, now).unwrap();
        let pages = Arc::new(pages, GFP_KERNEL).unwrap();
        let piece = Piece { pages, off, len: n };
        out.push(piece, GFP_KERNEL).unwrap();
        rest = later;
        off = 0;
    }
    out
}

fn sinks(len: usize, first: usize) -> KVec<Sink> {
    let mut out = KVec::new();
    let (mut left, mut off) = (len, first % 4096);
    while left > 0 {
        let n = left.min((1 << 20) - off);
        let pages = Pages::new((off + n).div_ceil(4096)).unwrap();
        out.push(Sink { pages, off, len: n }, GFP_KERNEL).unwrap();
        left -= n;
        off = 0;
    }
    out
}

impl Peer {
    pub fn connect_data(&self) -> ConnectData {
        self.import.connect_data()
    }

    /// Sends buffers; the reply may have these lengths.
    pub fn send(
        &self,
        opc: u32,
        to: u32,
        bufs: &[&[u8]],
        reply: &[u32],
        bulk: Option<ClientBulk>,
    ) -> Result<Reply> {
        let lens: Vec<u32> = bufs.iter().map(|b| b.len() as u32).collect();
        let mut m = Msg::request(opc, OST_VERSION, &lens)?;
        for (i, b) in bufs.iter().enumerate() {
            if !b.is_empty() {
                m.buf_mut(i + 1).ok_or(EINVAL)?.copy_from_slice(b);
            }
        }
        let mut o = CallOptions::new(reply)?;
        o.portal = Some(to);
        o.timeout = Some(20);
        self.import.call(m, o, bulk)
    }

    /// A request of a body; its reply's body.
    pub fn body(&self, opc: u32, to: u32, o: &Obdo) -> Result<Obdo> {
        let r = self
            .send(opc, to, &[o.as_bytes()], &[BODY], None)?
            .check()?;
        Ok(*r.msg.get::<Obdo>(1)?)
    }

    pub fn main(&self, opc: u32, o: &Obdo) -> Result<Obdo> {
        self.body(opc, portal::OST_REQUEST, o)
    }

    /// Has objects made: an MDT's business. The first of them and the last.
    pub fn precreate(&self, n: u32) -> (Fid, Fid) {
        let wish = SeqRange {
            start: 0,
            end: 0,
            index: 0,
            flags: range_type::OST,
        };
        let r = self
            .send(
                opcode::SEQ_QUERY,
                portal::SEQ_DATA,
                &[&1u32.to_le_bytes(), LuSeqRange::from(wish).as_bytes()],
                &[24],
                None,
            )
            .unwrap()
            .check()
            .unwrap();
        let seq = r.msg.get::<LuSeqRange>(1).unwrap().get().start;
        let mut o = obdo(Fid::new(seq, 1 + n), ObdMd::empty());
        o.set_valid(ObdMd::FLGROUP);
        let made = self.main(opcode::OST_CREATE, &o).unwrap();
        let last = made.o_oi.to_fid(INDEX).unwrap();
        assert_eq!(last, Fid::new(seq, 1 + n));
        (Fid::new(seq, 2), last)
    }

    /// Takes a lock; its cookie.
    pub fn lock(
        &self,
        fid: Fid,
        mode: Mode,
        e: Extent,
        flags: u32,
    ) -> Result<(i32, ReplyMsg, Vec<u8>)> {
        let desc = Desc {
            res: ResId(fid.to_ost_res_name()),
            req_mode: mode,
            granted: None,
            policy: Policy::Extent(e),
            cancel_bits: 0,
        };
        let mut req = vec![0; msg::request_len(1)];
        let handle = kapi::rand::u64();
        msg::request(&mut req, flags, Some(&desc), Some(handle), &[])?;
        let mut m = Msg::request(opcode::LDLM_ENQUEUE, DLM_VERSION, &[req.len() as u32])?;
        m.buf_mut(1).ok_or(EINVAL)?.copy_from_slice(&req);
        let mut o = CallOptions::new(&[112, 56])?;
        o.timeout = Some(20);
        let r = self.import.call(m, o, None)?.check()?;
        let answer = ReplyMsg::parse(r.msg.buf(1).ok_or(EPROTO)?)?;
        Ok((r.status, answer, r.msg.buf(2).unwrap_or(&[]).to_vec()))
    }

    pub fn lock_all(&self, fid: Fid) -> u64 {
        let (status, r, _) = self.lock(fid, Mode::Pw, Extent::WHOLE, 0).unwrap();
        assert_eq!(status, 0);
        r.cookie
    }

    /// Gives a lock up.
    pub fn unlock(&self, cookie: u64) {
        let mut req = vec![0; msg::request_len(1)];
        msg::request(&mut req, 0, None, None, &[cookie]).unwrap();
        let mut m = Msg::request(opcode::LDLM_CANCEL, DLM_VERSION, &[req.len() as u32]).unwrap();
        m.buf_mut(1).unwrap().copy_from_slice(&req);
        let mut o = CallOptions::new(&[]).unwrap();
        o.portal = Some(portal::LDLM_CANCEL_REQUEST);
        o.reply_portal = Some(portal::LDLM_CANCEL_REPLY);
        self.import.call(m, o, None).unwrap().check().unwrap();
    }

    /// The buffers of a transfer.
    pub fn brw(o: &Obdo, niobufs: &[NiobufRemote], mds: u32) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let mut io = ObdIoobj {
            ioo_oid: o.o_oi,
            ioo_bufcnt: (niobufs.len() as u32).into(),
            ..ObdIoobj::default()
        };
        io.set_max_brw(mds);
        (
            o.as_bytes().to_vec(),
            io.as_bytes().to_vec(),
            niobufs.as_bytes().to_vec(),
        )
    }

    /// Writes by bulk, or in the message.
    /// MDs that a transfer may have.
    fn mds(&self) -> u32 {
        (self.connect_data().ocd_brw_size.get() >> 20).max(4)
    }

    pub fn write_with(&self, o: &Obdo, niobufs: &[NiobufRemote], data: &[u8]) -> Result<Reply> {
        let short = o.flags().contains(ObdFl::SHORT_IO);
        let (o, io, nio) = Peer::brw(o, niobufs, if short { 0 } else { self.mds() });
        let inline = if short { data } else { &[] };
        let bulk = match short {
            true => None,
            false => {
                let first = niobufs[0].rnb_offset.get() as usize;
                Some(ClientBulk::give(portal::OST_BULK, pieces(data, first))?)
            }
        };
        let n = niobufs.len() as u32;
        self.send(
            opcode::OST_WRITE,
            portal::OST_IO,
            &[&o, &io, &nio, &[], inline],
            &[BODY, 4 * n],
            bulk,
        )
    }

    pub fn read_with(&self, o: &Obdo, niobufs: &[NiobufRemote]) -> Result<(Reply, Vec<u8>)> {
        let short = o.flags().contains(ObdFl::SHORT_IO);
        let len: u32 = niobufs.iter().map(|n| n.rnb_len.get()).sum();
        let (o, io, nio) = Peer::brw(o, niobufs, if short { 0 } else { self.mds() });
        let first = niobufs[0].rnb_offset.get() as usize;
        let bulk = match short {
            true => None,
            false => Some(ClientBulk::take(
                portal::OST_BULK,
                sinks(len as usize, first),
            )?),
        };
        let room = if short { len } else { 0 };
        let mut r = self
            .send(
                opcode::OST_READ,
                portal::OST_IO,
                &[&o, &io, &nio, &[], &[]],
                &[BODY, room],
                bulk,
            )?
            .check()?;
        let mut data = Vec::new();
        if short {
            data = r.msg.buf(2).ok_or(EPROTO)?.to_vec();
        } else if let Some(b) = r.bulk.take() {
            for (s, n) in b.into_received() {
                let at = data.len();
                data.resize(at + n, 0);
                s.pages.copy_out(s.off, &mut data[at..])?;
            }
        }
        assert_eq!(data.len(), r.status as usize);
        Ok((r, data))
    }

    /// Writes, with a lock of the server's.
    pub fn write(&self, fid: Fid, pos: u64, data: &[u8]) -> Result<Reply> {
        let n = [niobuf(pos, data.len() as u32, BrwFlags::SRVLOCK)];
        let r = self
            .write_with(&obdo(fid, ObdMd::empty()), &n, data)?
            .check()?;
        for rc in r.msg.buf(2).ok_or(EPROTO)?.chunks_exact(4) {
            let rc = i32::from_le_bytes(rc.try_into().unwrap());
            if rc < 0 {
                return Err(Error::from_errno(rc));
            }
        }
        Ok(r)
    }

    pub fn read(&self, fid: Fid, pos: u64, len: u32) -> Result<Vec<u8>> {
        let n = [niobuf(pos, len, BrwFlags::SRVLOCK)];
        Ok(self.read_with(&obdo(fid, ObdMd::empty()), &n)?.1)
    }
}

pub fn pattern(n: usize, seed: u32) -> Vec<u8> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2654435761).wrapping_add(seed) >> 13) as u8)
        .collect()
}

pub fn rcs(r: &Reply) -> Vec<i32> {
    let b = r.msg.buf(2).unwrap();
    b.chunks_exact(4)
        .map(|c| i32::read_from_bytes(c).unwrap())
        .collect()
}
