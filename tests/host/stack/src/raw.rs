// SPDX-License-Identifier: GPL-2.0

//! Peers that do not do what peers should: bytes over TCP.

use crate::PORT;
use kapi::net::{SocketAddrV4, TcpStream};
use kapi::prelude::*;
use ptlrpc::message::Msg;
use wire::connect::{version, ConnectData, ConnectFlags, ConnectFlags2};
use wire::lnet::{Command, Header, WireHandle, HEADER4_SIZE, PID_LUSTRE};
use wire::msg::{ConnectOpFlags, OBD_VERSION};
use wire::nid::Nid;
use wire::opcode::{portal, MDS_CONNECT, OBD_PING};
use wire::socklnd::{
    ConnRequest1, ConnType, Frame, Hello3, ACCEPTOR_MAGIC, FRAME_LNET, PROTO_MAGIC,
};
use zerocopy::{FromBytes, IntoBytes};

/// How long a step may take.
const STEP: Duration = Duration::from_secs(10);

/// A connection to a node.
pub struct RawPeer {
    stream: TcpStream,
    own: Nid,
    server: Nid,
}

/// What came.
pub struct RawMessage {
    /// From which portal.
    pub portal: u32,
    /// The message.
    pub msg: Msg,
}

impl RawPeer {
    /// Opens a connection from `own` and says nothing.
    ///
    /// # Errors
    /// What the socket says.
    pub fn silent(server: Nid, own: Nid) -> Result<RawPeer> {
        let addr = |n: Nid, port| SocketAddrV4::new(n.ipv4().unwrap(), port);
        let stream = TcpStream::connect(Some(addr(own, 0)), addr(server, PORT), STEP)?;
        Ok(RawPeer {
            stream,
            own,
            server,
        })
    }

    /// Opens one by the rules.
    ///
    /// # Errors
    /// What the socket says; `EALREADY`: it is not welcome.
    pub fn connect(server: Nid, own: Nid) -> Result<RawPeer> {
        let p = Self::silent(server, own)?;
        let request = ConnRequest1 {
            magic: ACCEPTOR_MAGIC.into(),
            version: 1.into(),
            nid: server.to_nid4().unwrap().into(),
        };
        let hello = Hello3 {
            magic: PROTO_MAGIC.into(),
            version: 3.into(),
            src_nid: own.to_nid4().unwrap().into(),
            dst_nid: server.to_nid4().unwrap().into(),
            src_pid: PID_LUSTRE.into(),
            dst_pid: 0.into(),
            src_incarnation: 1.into(),
            dst_incarnation: 0.into(),
            ctype: ConnType::Control.to_wire().into(),
            nips: 0.into(),
        };
        p.send(&[request.as_bytes(), hello.as_bytes()].concat())?;
        let mut answer = [0; size_of::<Hello3>()];
        p.stream.recv_exact(&mut answer, STEP)?;
        match Hello3::read_from_bytes(&answer).unwrap().ctype.get() {
            1 => Ok(p),
            _ => Err(EALREADY),
        }
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    /// `ETIMEDOUT`: the node does not read. What the socket says.
    pub fn send(&self, b: &[u8]) -> Result {
        self.stream.send_all(b, STEP)
    }

    /// Sends of them what there is room for.
    ///
    /// # Errors
    /// `EAGAIN`: there is none. What the socket says.
    pub fn try_send(&self, b: &[u8]) -> Result<usize> {
        self.stream.try_send(b, &[], false)
    }

    /// The bytes of a message to a portal.
    pub fn put(&self, portal: u32, match_bits: u64, msg: Msg) -> Vec<u8> {
        let body = msg.into_bytes().unwrap();
        let header = Header {
            dest_nid: self.server,
            src_nid: self.own,
            dest_pid: PID_LUSTRE,
            src_pid: PID_LUSTRE,
            payload_length: body.len() as u32,
            command: Command::Put {
                ack: WireHandle::NONE,
                match_bits,
                hdr_data: 0,
                portal,
                offset: 0,
            },
        };
        let frame = Frame {
            kind: FRAME_LNET.into(),
            csum: 0.into(),
            zc_request: 0.into(),
            zc_ack: 0.into(),
        };
        [frame.as_bytes(), &header.encode4().unwrap(), &body].concat()
    }

    /// The bytes of a message to an MDT with a body of so many bytes.
    pub fn put_of(&self, len: u32) -> Vec<u8> {
        let m = Msg::request(OBD_PING, OBD_VERSION, &[len]).unwrap();
        self.put(portal::MDS_REQUEST, 1, m)
    }

    /// The bytes of a ping that nobody asked for, which gets an error as its answer.
    pub fn ping(&self, xid: u64) -> Vec<u8> {
        let m = Msg::request(OBD_PING, OBD_VERSION, &[]).unwrap();
        self.put(portal::MDS_REQUEST, xid, m)
    }

    /// The bytes of a connect to an MDT: the first of that client, or a later one.
    pub fn mds_connect(&self, xid: u64, target: &str, client: &str, conn_cnt: u32) -> Vec<u8> {
        let mut data = ConnectData::default();
        data.set_flags(
            ConnectFlags::VERSION
                | ConnectFlags::IBITS
                | ConnectFlags::FID
                | ConnectFlags::BRW_SIZE
                | ConnectFlags::FULL20
                | ConnectFlags::FLAGS2,
            ConnectFlags2::empty(),
        );
        data.ocd_version.set(version(2, 17, 57, 0));
        data.ocd_ibits_known.set(0x7f);
        data.ocd_brw_size.set(1 << 20);
        let lens = [39, 39, 8, size_of::<ConnectData>() as u32, 0];
        let mut m = Msg::request(MDS_CONNECT, OBD_VERSION, &lens).unwrap();
        for (i, uuid) in [(1, target), (2, client)] {
            m.buf_mut(i).unwrap()[..uuid.len()].copy_from_slice(uuid.as_bytes());
        }
        m.buf_mut(3).unwrap().copy_from_slice(&1_u64.to_le_bytes());
        *m.get_mut::<ConnectData>(4).unwrap() = data;
        let body = m.body_mut().unwrap();
        body.pb_conn_cnt.set(conn_cnt);
        if conn_cnt == 1 {
            body.pb_op_flags.set(ConnectOpFlags::INITIAL.bits());
        }
        self.put(portal::MDS_REQUEST, xid, m)
    }

    /// The next message.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `ECONNRESET`; `EPROTO`: it is none.
    pub fn receive(&self, timeout: Duration) -> Result<RawMessage> {
        let mut head = [0; size_of::<Frame>() + HEADER4_SIZE];
        self.stream.recv_exact(&mut head, timeout)?;
        let header = head[size_of::<Frame>()..].try_into().unwrap();
        let header = Header::decode4(header).map_err(|_| EPROTO)?;
        let Command::Put { portal, .. } = header.command else {
            return Err(EPROTO);
        };
        let mut body = vec![0; header.payload_length as usize];
        self.stream.recv_exact(&mut body, STEP)?;
        let mut bytes = KVVec::new();
        bytes.extend_from_slice(&body, GFP_KERNEL)?;
        Ok(RawMessage {
            portal,
            msg: Msg::parse(bytes)?,
        })
    }
}
