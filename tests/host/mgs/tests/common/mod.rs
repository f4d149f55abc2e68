// SPDX-License-Identifier: GPL-2.0

//! An MGS with a store in memory, and nodes that talk to it over TCP.
#![allow(dead_code)]

use kapi::net::Ipv4Addr;
use kapi::prelude::*;
use lnet::config::Accept;
use lnet::{Config, Lnet};
use mgs::Mgs;
use osd::{Device, ObjectRef};
use osd_memory::MemoryDevice;
use ptlrpc::call::{CallOptions, Outcome};
use ptlrpc::export::ClientUuid;
use ptlrpc::import::{Import, ImportConfig};
use ptlrpc::limits::Limits;
use ptlrpc::message::Msg;
use ptlrpc::node::Node;
use target::local;
use target::Server;
use wire::cfg::{Cfg, CfgMarker};
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::llog::{LlogLogHdr, Records};
use wire::mgs::MgsTargetInfo;
use wire::msg::MGS_VERSION;
use wire::nid::{Net, Nid};
use wire::opcode::{portal, MGS_CONNECT, MGS_DISCONNECT, MGS_TARGET_REG};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub const PORT: u16 = 29989;
pub const VIRGIN_MDT: u32 = 0x1002_0061;
pub const VIRGIN_OST: u32 = 0x1002_0062;
pub const RESTART_OST: u32 = 0x1002_0002;

/// The address of node `n` of test `id`.
pub fn nid(id: u8, n: u8) -> Nid {
    Nid::v4(Net::TCP, Ipv4Addr::new(127, 11, id, n))
}

/// A node.
pub fn node(nid: Nid) -> Arc<Node> {
    let mut nids = KVec::new();
    nids.push(nid, GFP_KERNEL).unwrap();
    let mut c = Config::new(nids);
    c.port = PORT;
    c.accept = Accept::All;
    c.privileged = false;
    let mut limits = Limits::DEFAULT;
    limits.at.min = 1;
    // Pings tell sooner that somebody is away.
    limits.obd_timeout = 4;
    Node::start(&Lnet::start(c).unwrap(), limits).unwrap()
}

/// A node with an MGS.
pub struct World {
    pub id: u8,
    pub osd: Arc<dyn Device>,
    pub node: Arc<Node>,
    pub server: Arc<Server>,
    pub mgs: Arc<Mgs>,
}

impl World {
    pub fn new(id: u8) -> World {
        World::on(id, MemoryDevice::new())
    }

    /// On a store that was used before.
    pub fn on(id: u8, osd: Arc<dyn Device>) -> World {
        let node = node(nid(id, 1));
        let server = Server::start(&node).unwrap();
        let mgs = Mgs::start(&server, &osd).unwrap();
        World {
            id,
            osd,
            node,
            server,
            mgs,
        }
    }

    /// The file of a log.
    pub fn file(&self, name: &str) -> Option<ObjectRef> {
        let root = local::root(&self.osd).unwrap();
        let dir = local::find(&self.osd, &root, b"CONFIGS").unwrap().unwrap();
        local::find(&self.osd, &dir, name.as_bytes()).unwrap()
    }

    /// All bytes of a log.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let file = self.file(name).unwrap_or_else(|| panic!("no log {name}"));
        let mut bytes = vec![0; file.attr().unwrap().size as usize];
        let n = file.read(0, &mut bytes).unwrap();
        assert_eq!(n, bytes.len());
        bytes
    }

    /// What a log says, a line a record; records that do not count begin with `-`.
    pub fn text(&self, name: &str) -> Vec<String> {
        log_text(&self.bytes(name))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.mgs.stop();
        self.server.stop();
        self.node.stop();
        self.node.lnet().stop();
    }
}

/// What a log says, a line a record.
pub fn log_text(bytes: &[u8]) -> Vec<String> {
    let head = LlogLogHdr::parse(bytes).unwrap();
    let mut out = Vec::new();
    for chunk in bytes[8192..].chunks(8192) {
        for rec in Records::new(chunk) {
            let rec = rec.unwrap();
            if rec.is_pad() {
                continue;
            }
            let cfg = Cfg::parse(rec.payload).unwrap();
            let off = if head.is_set(rec.index()) { "" } else { "-" };
            let line = match cfg.marker() {
                Some(m) => format!(
                    "marker {:x} {} {:?}",
                    m.cm_flags.get(),
                    string(&m.cm_tgtname),
                    string(&m.cm_comment)
                ),
                None => {
                    let bufs: Vec<_> = (0..cfg.bufcount())
                        .map(|i| string(cfg.buf(i).unwrap()))
                        .collect();
                    format!("{:?} {}", cfg.command().unwrap(), bufs.join(" "))
                }
            };
            out.push(format!("{off}{line}"));
        }
    }
    out
}

/// Text up to its NUL.
pub fn string(b: &[u8]) -> String {
    String::from_utf8_lossy(wire::text::get(b)).into_owned()
}

/// A log with what depends on its writer and the time of day put to zero.
pub fn timeless(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[16..24].fill(0);
    let mut at = 8192;
    while at < bytes.len() {
        at += timeless_chunk(&mut bytes[at..]);
    }
    bytes
}

/// The same with the records of a chunk; how many bytes it has.
pub fn timeless_chunk(bytes: &mut [u8]) -> usize {
    let n = bytes.len().min(8192);
    let chunk = &mut bytes[..n];
    let markers: Vec<usize> = Records::new(chunk)
        .map(|r| r.unwrap())
        .filter(|r| !r.is_pad() && Cfg::parse(r.payload).unwrap().marker().is_some())
        .map(|r| r.offset + 16 + 40)
        .collect();
    for at in markers {
        let m = CfgMarker::mut_from_bytes(&mut chunk[at..at + 160]).unwrap();
        m.cm_vers = 0.into();
        m.cm_createtime = 0.into();
        // Existing servers leave what an earlier name left behind the NUL.
        for field in [&mut m.cm_tgtname, &mut m.cm_comment] {
            let len = wire::text::get(field).len();
            field[len..].fill(0);
        }
    }
    n
}

/// A node that talks to the MGS.
pub struct Peer {
    pub node: Arc<Node>,
    pub import: Arc<Import>,
}

/// What a server node asks of the MGS.
pub fn wanted() -> ConnectData {
    let mut wanted = ConnectData::default();
    wanted.set_flags(
        ConnectFlags::VERSION
            | ConnectFlags::AT
            | ConnectFlags::FULL20
            | ConnectFlags::IMP_RECOV
            | ConnectFlags::LVB_TYPE
            | ConnectFlags::BULK_MBITS
            | ConnectFlags::BARRIER
            | ConnectFlags::MGS_NIDLIST
            | ConnectFlags::FLAGS2,
        ConnectFlags2::REP_MBITS | ConnectFlags2::LARGE_NID,
    );
    wanted.ocd_version.set(wire::connect::version(2, 17, 57, 0));
    wanted
}

/// A registration.
pub struct Reg<'a> {
    pub flags: u32,
    pub index: u32,
    pub instance: u32,
    pub fs: &'a str,
    pub name: &'a str,
    pub nids: &'a [&'a str],
    pub params: &'a str,
}

impl<'a> Reg<'a> {
    pub fn new(flags: u32, index: u32, name: &'a str, nids: &'a [&'a str]) -> Reg<'a> {
        Reg {
            flags,
            index,
            instance: 0,
            fs: "lustre",
            name,
            nids,
            params: "",
        }
    }
}

impl Peer {
    pub fn new(world: &World, n: u8) -> Peer {
        Peer::with(world, n, wanted())
    }

    pub fn with(world: &World, n: u8, wanted: ConnectData) -> Peer {
        let node = node(nid(world.id, n));
        let mut peers = KVec::new();
        peers.push(nid(world.id, 1), GFP_KERNEL).unwrap();
        let uuid = format!("peer-{}-{n}", world.id);
        let config = ImportConfig {
            target_uuid: ClientUuid::new(b"MGS").unwrap(),
            client_uuid: ClientUuid::new(uuid.as_bytes()).unwrap(),
            peers,
            request_portal: portal::MGS_REQUEST,
            reply_portal: portal::MGC_REPLY,
            connect_opc: MGS_CONNECT,
            disconnect_opc: MGS_DISCONNECT,
            wanted,
            max_modify: 1,
            part: 3,
        };
        let import = Import::new(&node, config, None).unwrap();
        import.wait_full(Duration::from_secs(10)).unwrap();
        Peer { node, import }
    }

    /// Sends a request with these buffers, with room for a reply with buffers of these lengths.
    pub fn call(&self, opc: u32, bufs: &[&[u8]], room: &[u32]) -> Outcome {
        let lens: Vec<u32> = bufs.iter().map(|b| b.len() as u32).collect();
        let mut m = Msg::request(opc, MGS_VERSION, &lens)?;
        for (i, b) in bufs.iter().enumerate() {
            m.buf_mut(i + 1).unwrap().copy_from_slice(b);
        }
        self.import.call(m, CallOptions::new(room)?, None)
    }

    /// Status, and the reply's buffer.
    pub fn register(&self, r: &Reg<'_>) -> (i32, Vec<u8>) {
        let mut info = vec![0; size_of::<MgsTargetInfo>()];
        let m = MgsTargetInfo::mut_from_bytes(&mut info).unwrap();
        m.mti_lustre_ver.set(0x0211_3900);
        m.mti_stripe_index.set(r.index);
        m.mti_flags.set(r.flags);
        m.mti_nid_count.set(r.nids.len() as u32);
        m.mti_instance.set(r.instance);
        wire::text::set(&mut m.mti_fsname, r.fs.as_bytes()).unwrap();
        wire::text::set(&mut m.mti_svname, r.name.as_bytes()).unwrap();
        wire::text::set(&mut m.mti_params, r.params.as_bytes()).unwrap();
        let mut list = vec![0; 8 + 64 * r.nids.len()];
        list[4..8].copy_from_slice(&(r.nids.len() as u32).to_le_bytes());
        for (i, n) in r.nids.iter().enumerate() {
            list[8 + 64 * i..][..n.len()].copy_from_slice(n.as_bytes());
        }
        let reply = self
            .call(MGS_TARGET_REG, &[&info, &list], &[info.len() as u32])
            .unwrap();
        (reply.status, reply.msg.buf(1).unwrap_or(&[]).to_vec())
    }

    /// The same; the status must be 0.
    pub fn must_register(&self, r: &Reg<'_>) -> Box<MgsTargetInfo> {
        let (status, bytes) = self.register(r);
        assert_eq!(status, 0, "{}", r.name);
        let mut out = Box::new(MgsTargetInfo::new_zeroed());
        out.as_mut_bytes().copy_from_slice(&bytes);
        out
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.import.disconnect();
        self.node.stop();
        self.node.lnet().stop();
    }
}

/// The steps of a log's markers.
pub fn steps(bytes: &[u8]) -> Vec<u32> {
    let mut out = Vec::new();
    for chunk in bytes[8192..].chunks(8192) {
        for rec in Records::new(chunk)
            .map(|r| r.unwrap())
            .filter(|r| !r.is_pad())
        {
            let cfg = Cfg::parse(rec.payload).unwrap();
            out.extend(cfg.marker().map(|m| m.cm_step.get()));
        }
    }
    out
}
