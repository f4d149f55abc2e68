// SPDX-License-Identifier: GPL-2.0

//! What the TCP network driver sends besides LNet messages (spec `lnet.md` §4, §5, §7).

use crate::nid::Nid;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The port that all nodes listen on.
pub const ACCEPT_PORT: u16 = 988;
/// The highest port that counts as privileged.
pub const PRIVILEGED_PORT_MAX: u16 = 1023;
/// Magic of a connection request.
pub const ACCEPTOR_MAGIC: u32 = 0xACCE_7100;
/// Magic of a HELLO, and of LNet in general.
pub const PROTO_MAGIC: u32 = 0x4572_6963;

/// Connection request for a NID of the 8-byte form.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConnRequest1 {
    /// [`ACCEPTOR_MAGIC`]
    pub magic: U32,
    /// 1
    pub version: U32,
    /// The NID that is wanted.
    pub nid: U64,
}

/// Connection request for a large NID.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConnRequest2 {
    /// [`ACCEPTOR_MAGIC`]
    pub magic: U32,
    /// 2
    pub version: U32,
    /// The NID that is wanted.
    pub nid: Nid,
}

/// Type of a connection, as the node that holds it sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConnType {
    /// Small messages.
    Control,
    /// Bulk comes in; only acknowledgments go out.
    BulkIn,
    /// Large messages go out.
    BulkOut,
}

/// "Retry later": in place of a type, in the answer to a HELLO.
pub const CONN_NONE: u32 = u32::MAX;

impl ConnType {
    /// From the wire.
    pub fn from_wire(v: u32) -> Option<ConnType> {
        match v {
            1 => Some(ConnType::Control),
            2 => Some(ConnType::BulkIn),
            3 => Some(ConnType::BulkOut),
            _ => None,
        }
    }

    /// As on the wire.
    pub fn to_wire(self) -> u32 {
        match self {
            ConnType::Control => 1,
            ConnType::BulkIn => 2,
            ConnType::BulkOut => 3,
        }
    }

    /// What the other end calls it.
    pub fn inverted(self) -> ConnType {
        match self {
            ConnType::Control => ConnType::Control,
            ConnType::BulkIn => ConnType::BulkOut,
            ConnType::BulkOut => ConnType::BulkIn,
        }
    }
}

/// HELLO of versions 2 and 3.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Hello3 {
    /// [`PROTO_MAGIC`]
    pub magic: U32,
    /// 2 or 3
    pub version: U32,
    /// The sender's NID.
    pub src_nid: U64,
    /// The receiver's NID.
    pub dst_nid: U64,
    /// The sender's process id.
    pub src_pid: U32,
    /// Ignored.
    pub dst_pid: U32,
    /// When the sender's network came up: another number, another life.
    pub src_incarnation: U64,
    /// Ignored.
    pub dst_incarnation: U64,
    /// [`ConnType`] as the sender sees it, or [`CONN_NONE`].
    pub ctype: U32,
    /// Addresses that follow, 4 bytes each; to be ignored.
    pub nips: U32,
}

/// HELLO of version 4.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Hello4 {
    /// [`PROTO_MAGIC`]
    pub magic: U32,
    /// 4
    pub version: U32,
    /// The sender's NID.
    pub src_nid: Nid,
    /// The receiver's NID.
    pub dst_nid: Nid,
    /// The sender's process id.
    pub src_pid: U32,
    /// Ignored.
    pub dst_pid: U32,
    /// As in [`Hello3`].
    pub src_incarnation: U64,
    /// Ignored.
    pub dst_incarnation: U64,
    /// As in [`Hello3`].
    pub ctype: U32,
    /// Zero.
    pub nips: U32,
}

/// The head of every frame after the HELLOs.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Frame {
    /// [`FRAME_NOOP`] or [`FRAME_LNET`]
    pub kind: U32,
    /// Zero in version 3 and later.
    pub csum: U32,
    /// An LNet frame's own cookie: it is to be acknowledged. In a NOOP see the spec.
    pub zc_request: U64,
    /// The cookie that is acknowledged; [`KEEPALIVE`] in a NOOP.
    pub zc_ack: U64,
}

/// A frame of 24 bytes: acknowledgment or keepalive.
pub const FRAME_NOOP: u32 = 0xC0;
/// A frame with an LNet message.
pub const FRAME_LNET: u32 = 0xC1;
/// In place of an acknowledged cookie: a keepalive.
pub const KEEPALIVE: u64 = 1;

const _: () = {
    assert!(size_of::<ConnRequest1>() == 16);
    assert!(size_of::<ConnRequest2>() == 28);
    assert!(size_of::<Hello3>() == 56);
    assert!(size_of::<Hello4>() == 80);
    assert!(size_of::<Frame>() == 24);
};
