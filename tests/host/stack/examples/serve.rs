// SPDX-License-Identifier: GPL-2.0

//! A whole file system in one process, with stores in memory: for trying clients by hand.
//!
//! `serve [OSTS]` prints what to mount and serves until its input ends.

use kapi::prelude::*;
use lnet::config::Accept;
use lnet::{Config, Lnet};
use mgs::Mgs;
use ptlrpc::call::CallOptions;
use ptlrpc::export::ClientUuid;
use ptlrpc::import::{Import, ImportConfig};
use ptlrpc::message::Msg;
use ptlrpc::node::Node;
use stack::{limits, new_nid, ServerNode, PORT};
use target::Server;
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::mgs::MgsTargetInfo;
use wire::msg::MGS_VERSION;
use wire::nid::Nid;
use wire::opcode::{portal, MGS_CONNECT, MGS_DISCONNECT, MGS_TARGET_REG};
use zerocopy::{FromBytes, IntoBytes};

/// `mti_flags` of targets that start for the first time.
const VIRGIN_MDT: u32 = 0x1002_0061;
const VIRGIN_OST: u32 = 0x1002_0062;

fn node(nid: Nid) -> Arc<Node> {
    let mut nids = KVec::new();
    nids.push(nid, GFP_KERNEL).unwrap();
    let mut c = Config::new(nids);
    c.port = PORT;
    c.accept = Accept::All;
    c.privileged = false;
    Node::start(&Lnet::start(c).unwrap(), limits()).unwrap()
}

/// A node that registers targets.
fn registrar(mgs: Nid) -> Arc<Import> {
    let mut wanted = ConnectData::default();
    wanted.set_flags(
        ConnectFlags::VERSION
            | ConnectFlags::AT
            | ConnectFlags::FULL20
            | ConnectFlags::BULK_MBITS
            | ConnectFlags::MGS_NIDLIST
            | ConnectFlags::FLAGS2,
        ConnectFlags2::REP_MBITS | ConnectFlags2::LARGE_NID,
    );
    wanted.ocd_version.set(wire::connect::version(2, 17, 57, 0));
    let mut peers = KVec::new();
    peers.push(mgs, GFP_KERNEL).unwrap();
    let config = ImportConfig {
        target_uuid: ClientUuid::new(b"MGS").unwrap(),
        client_uuid: ClientUuid::new(b"registrar").unwrap(),
        peers,
        request_portal: portal::MGS_REQUEST,
        reply_portal: portal::MGC_REPLY,
        connect_opc: MGS_CONNECT,
        disconnect_opc: MGS_DISCONNECT,
        wanted,
        max_modify: 1,
        part: 3,
    };
    let import = Import::new(&node(new_nid()), config, None).unwrap();
    import.wait_full(Duration::from_secs(10)).unwrap();
    import
}

fn register(import: &Arc<Import>, fs: &str, name: &str, index: u32, flags: u32, nid: Nid) {
    let mut info = vec![0; size_of::<MgsTargetInfo>()];
    let m = MgsTargetInfo::mut_from_bytes(&mut info).unwrap();
    m.mti_lustre_ver.set(0x0211_3900);
    m.mti_stripe_index.set(index);
    m.mti_flags.set(flags);
    m.mti_nid_count.set(1);
    wire::text::set(&mut m.mti_fsname, fs.as_bytes()).unwrap();
    wire::text::set(&mut m.mti_svname, name.as_bytes()).unwrap();
    let nid = nid.to_string();
    let mut list = vec![0; 8 + 64];
    list[4..8].copy_from_slice(&1_u32.to_le_bytes());
    list[8..8 + nid.len()].copy_from_slice(nid.as_bytes());
    let lens = [info.len() as u32, list.len() as u32];
    let mut msg = Msg::request(MGS_TARGET_REG, MGS_VERSION, &lens).unwrap();
    msg.buf_mut(1).unwrap().copy_from_slice(info.as_bytes());
    msg.buf_mut(2).unwrap().copy_from_slice(&list);
    let options = CallOptions::new(&[info.len() as u32]).unwrap();
    let reply = import.call(msg, options, None).unwrap();
    assert_eq!(reply.status, 0, "{name}");
}

fn main() {
    let osts: u32 = std::env::args()
        .nth(1)
        .map_or(2, |n| n.parse().expect("a number of OSTs"));
    let mgs_nid = new_nid();
    let mgs_server = Server::start(&node(mgs_nid)).unwrap();
    let mgs = Mgs::start(&mgs_server, &osd_memory::device()).unwrap();
    let (mds, oss) = (ServerNode::start(), ServerNode::start());
    let mdt = mds.mdt(osd_memory::device());
    let mut all = Vec::new();
    for index in 0..osts {
        let store = osd_memory::MemoryDevice::with(osd_memory::Config {
            ost: true,
            ..osd_memory::Config::default()
        });
        all.push(oss.ost(store, index as u16, &mds.fsname, &mdt));
        let mut nids = KVec::new();
        nids.push(oss.nid, GFP_KERNEL).unwrap();
        mdt.add_ost(index, nids).unwrap();
    }
    let import = registrar(mgs_nid);
    let name = format!("{}-MDT0000", mds.fsname);
    register(&import, &mds.fsname, &name, 0, VIRGIN_MDT, mds.nid);
    for i in 0..osts {
        let name = format!("{}-OST{i:04x}", mds.fsname);
        register(&import, &mds.fsname, &name, i, VIRGIN_OST, oss.nid);
    }
    println!("{mgs_nid}:/{} port {PORT}", mds.fsname);
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    mdt.stop();
    for o in &all {
        o.stop(&oss.server);
    }
    mgs.stop();
}
