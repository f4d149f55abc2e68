// SPDX-License-Identifier: GPL-2.0

//! LNet messages (spec `lnet.md` §2) and ping information (§12).

use crate::nid::Nid;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The process id of every Lustre node.
pub const PID_LUSTRE: u32 = 12345;
/// Set in the process id of a peer that came from an unprivileged port.
pub const PID_USERFLAG: u32 = 0x8000_0000;
/// The largest payload of a message, bytes.
pub const MAX_PAYLOAD: u32 = 1 << 20;
/// The most fragments of an MD.
pub const MAX_IOV: usize = 256;
/// Number of portals.
pub const PORTALS: u32 = 64;
/// LNet's own portal.
pub const RESERVED_PORTAL: u32 = 0;
/// Match bits of pings and pushes on the reserved portal.
pub const PING_MATCHBITS: u64 = 1 << 63;

/// Names an MD of a node in one of its lives.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct WireHandle {
    /// The node's cookie of this boot.
    pub interface: U64,
    /// The MD.
    pub object: U64,
}

impl WireHandle {
    /// No handle: no acknowledgment wanted.
    pub const NONE: WireHandle = WireHandle {
        interface: U64::MAX_VALUE,
        object: U64::MAX_VALUE,
    };

    /// Whether it names nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// What a message says, besides from whom to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// The target has accepted so many bytes of a PUT.
    Ack {
        /// `ack_wmd` of the PUT.
        dst: WireHandle,
        /// Match bits of the PUT.
        match_bits: u64,
        /// Bytes accepted.
        mlength: u32,
    },
    /// The payload is for an MD at the target.
    Put {
        /// Where the ACK goes, if one is wanted.
        ack: WireHandle,
        /// Match bits.
        match_bits: u64,
        /// Delivered with the event.
        hdr_data: u64,
        /// Portal.
        portal: u32,
        /// Offset, for MDs whose offset the initiator manages.
        offset: u32,
    },
    /// Asks for data of an MD at the target.
    Get {
        /// Where the REPLY goes.
        reply: WireHandle,
        /// Match bits.
        match_bits: u64,
        /// Portal.
        portal: u32,
        /// Offset, for MDs whose offset the initiator manages.
        offset: u32,
        /// Bytes wanted at the most.
        length: u32,
    },
    /// The payload is the answer to a GET.
    Reply {
        /// `return_wmd` of the GET.
        dst: WireHandle,
    },
}

/// A message's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// For whom.
    pub dest_nid: Nid,
    /// From whom.
    pub src_nid: Nid,
    /// For which process.
    pub dest_pid: u32,
    /// From which process.
    pub src_pid: u32,
    /// Bytes that follow.
    pub payload_length: u32,
    /// The rest.
    pub command: Command,
}

/// Why a header is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// Too few bytes.
    Short,
    /// A type that does not exist.
    Type(u32),
    /// More payload than allowed, or payload where there is none.
    Payload(u32),
    /// A portal that does not exist.
    Portal(u32),
    /// A NID that the 8-byte form cannot hold.
    Nid,
}

/// Size of a header with 8-byte NIDs.
pub const HEADER4_SIZE: usize = 72;
/// Size of a header with large NIDs.
pub const HEADER16_SIZE: usize = 96;
/// Size of the command in both.
const COMMAND_SIZE: usize = 40;

const ACK: u32 = 0;
const PUT: u32 = 1;
const GET: u32 = 2;
const REPLY: u32 = 3;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header4 {
    dest_nid: U64,
    src_nid: U64,
    rest: HeaderRest,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header16 {
    dest_nid: Nid,
    src_nid: Nid,
    rest: HeaderRest,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderRest {
    dest_pid: U32,
    src_pid: U32,
    kind: U32,
    payload_length: U32,
    command: [u8; COMMAND_SIZE],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AckWire {
    dst: WireHandle,
    match_bits: U64,
    mlength: U32,
    pad: [u8; 12],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PutWire {
    ack: WireHandle,
    match_bits: U64,
    hdr_data: U64,
    portal: U32,
    offset: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GetWire {
    reply: WireHandle,
    match_bits: U64,
    portal: U32,
    offset: U32,
    length: U32,
    pad: [u8; 4],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ReplyWire {
    dst: WireHandle,
    pad: [u8; 24],
}

const _: () = {
    assert!(size_of::<Header4>() == HEADER4_SIZE);
    assert!(size_of::<Header16>() == HEADER16_SIZE);
    assert!(size_of::<AckWire>() == COMMAND_SIZE);
    assert!(size_of::<PutWire>() == COMMAND_SIZE);
    assert!(size_of::<GetWire>() == COMMAND_SIZE);
    assert!(size_of::<ReplyWire>() == COMMAND_SIZE);
};

impl Command {
    fn decode(kind: u32, b: &[u8; COMMAND_SIZE], payload: u32) -> Result<Command, HeaderError> {
        let command = match kind {
            ACK => {
                let w = AckWire::ref_from_bytes(b).map_err(|_| HeaderError::Short)?;
                Command::Ack {
                    dst: w.dst,
                    match_bits: w.match_bits.get(),
                    mlength: w.mlength.get(),
                }
            }
            PUT => {
                let w = PutWire::ref_from_bytes(b).map_err(|_| HeaderError::Short)?;
                Command::Put {
                    ack: w.ack,
                    match_bits: w.match_bits.get(),
                    hdr_data: w.hdr_data.get(),
                    portal: w.portal.get(),
                    offset: w.offset.get(),
                }
            }
            GET => {
                let w = GetWire::ref_from_bytes(b).map_err(|_| HeaderError::Short)?;
                Command::Get {
                    reply: w.reply,
                    match_bits: w.match_bits.get(),
                    portal: w.portal.get(),
                    offset: w.offset.get(),
                    length: w.length.get(),
                }
            }
            REPLY => Command::Reply {
                dst: ReplyWire::ref_from_bytes(b)
                    .map_err(|_| HeaderError::Short)
                    .map(|w| w.dst)?,
            },
            k => return Err(HeaderError::Type(k)),
        };
        let most = match command {
            Command::Ack { .. } | Command::Get { .. } => 0,
            Command::Put { .. } | Command::Reply { .. } => MAX_PAYLOAD,
        };
        if payload > most {
            return Err(HeaderError::Payload(payload));
        }
        match command {
            Command::Put { portal, .. } | Command::Get { portal, .. } if portal >= PORTALS => {
                Err(HeaderError::Portal(portal))
            }
            c => Ok(c),
        }
    }

    fn encode(&self) -> (u32, [u8; COMMAND_SIZE]) {
        let mut out = [0; COMMAND_SIZE];
        let kind = match *self {
            Command::Ack {
                dst,
                match_bits,
                mlength,
            } => {
                let w = AckWire {
                    dst,
                    match_bits: match_bits.into(),
                    mlength: mlength.into(),
                    pad: [0; 12],
                };
                out.copy_from_slice(w.as_bytes());
                ACK
            }
            Command::Put {
                ack,
                match_bits,
                hdr_data,
                portal,
                offset,
            } => {
                let w = PutWire {
                    ack,
                    match_bits: match_bits.into(),
                    hdr_data: hdr_data.into(),
                    portal: portal.into(),
                    offset: offset.into(),
                };
                out.copy_from_slice(w.as_bytes());
                PUT
            }
            Command::Get {
                reply,
                match_bits,
                portal,
                offset,
                length,
            } => {
                let w = GetWire {
                    reply,
                    match_bits: match_bits.into(),
                    portal: portal.into(),
                    offset: offset.into(),
                    length: length.into(),
                    pad: [0; 4],
                };
                out.copy_from_slice(w.as_bytes());
                GET
            }
            Command::Reply { dst } => {
                let w = ReplyWire { dst, pad: [0; 24] };
                out.copy_from_slice(w.as_bytes());
                REPLY
            }
        };
        (kind, out)
    }
}

impl Header {
    fn from_rest(dest_nid: Nid, src_nid: Nid, r: &HeaderRest) -> Result<Header, HeaderError> {
        let payload_length = r.payload_length.get();
        Ok(Header {
            dest_nid,
            src_nid,
            dest_pid: r.dest_pid.get(),
            src_pid: r.src_pid.get(),
            payload_length,
            command: Command::decode(r.kind.get(), &r.command, payload_length)?,
        })
    }

    fn to_rest(self) -> HeaderRest {
        let (kind, command) = self.command.encode();
        HeaderRest {
            dest_pid: self.dest_pid.into(),
            src_pid: self.src_pid.into(),
            kind: kind.into(),
            payload_length: self.payload_length.into(),
            command,
        }
    }

    /// Reads a header with 8-byte NIDs.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode4(b: &[u8]) -> Result<Header, HeaderError> {
        let (w, _) = Header4::ref_from_prefix(b).map_err(|_| HeaderError::Short)?;
        Self::from_rest(
            Nid::from_nid4(w.dest_nid.get()),
            Nid::from_nid4(w.src_nid.get()),
            &w.rest,
        )
    }

    /// Reads a header with large NIDs.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode16(b: &[u8]) -> Result<Header, HeaderError> {
        let (w, _) = Header16::ref_from_prefix(b).map_err(|_| HeaderError::Short)?;
        Self::from_rest(w.dest_nid, w.src_nid, &w.rest)
    }

    /// Writes it with 8-byte NIDs.
    ///
    /// # Errors
    /// [`HeaderError::Nid`]
    pub fn encode4(self) -> Result<[u8; HEADER4_SIZE], HeaderError> {
        let w = Header4 {
            dest_nid: self.dest_nid.to_nid4().ok_or(HeaderError::Nid)?.into(),
            src_nid: self.src_nid.to_nid4().ok_or(HeaderError::Nid)?.into(),
            rest: self.to_rest(),
        };
        let mut out = [0; HEADER4_SIZE];
        out.copy_from_slice(w.as_bytes());
        Ok(out)
    }

    /// Writes it with large NIDs.
    pub fn encode16(self) -> [u8; HEADER16_SIZE] {
        let w = Header16 {
            dest_nid: self.dest_nid,
            src_nid: self.src_nid,
            rest: self.to_rest(),
        };
        let mut out = [0; HEADER16_SIZE];
        out.copy_from_slice(w.as_bytes());
        out
    }
}

crate::flags! {
    /// What the sender of ping information can do.
    pub struct PingFeatures: u32 {
        /// It has the state of interfaces.
        const NI_STATUS = 0x02;
        /// It does not route.
        const RTE_DISABLED = 0x04;
        /// It takes several interfaces of a peer for one node.
        const MULTI_RAIL = 0x08;
        /// It can be asked for its interfaces, and tells of changes.
        const DISCOVERY = 0x10;
        /// Entries for large NIDs are there (2.16).
        const LARGE_ADDR = 0x20;
        /// The first large NID is the primary one (2.16).
        const PRIMARY_LARGE = 0x40;
        /// A block of NIDs' metadata is there.
        const METADATA = 0x80;
    }
}

/// Magic of ping information.
pub const PING_MAGIC: u32 = 0x7069_6E67;
/// The network interface works.
pub const NI_STATUS_UP: u32 = 0x15AA_C0DE;
/// It does not.
pub const NI_STATUS_DOWN: u32 = 0xDEAD_FACE;

/// Head of ping information.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PingInfo {
    /// [`PING_MAGIC`]
    pub magic: U32,
    /// [`PingFeatures`]
    pub features: U32,
    /// Process id.
    pub pid: U32,
    /// Entries that follow.
    pub nnis: U32,
}

/// An entry of ping information.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PingNi {
    /// The NID.
    pub nid: U64,
    /// Its status; in the first entry the sequence number.
    pub status: U32,
    /// Size of all, in the first entry, if there are large ones.
    pub msg_size: U32,
}

/// Checks ping information and returns its features and entries (spec `lnet.md` §12.4).
/// `None`: it is not valid.
pub fn parse_ping(b: &[u8]) -> Option<(PingFeatures, &[PingNi])> {
    let (head, rest) = PingInfo::ref_from_prefix(b).ok()?;
    let features = PingFeatures::from_bits_retain(head.features.get());
    if head.magic.get() != PING_MAGIC || !features.contains(PingFeatures::NI_STATUS) {
        return None;
    }
    let n = usize::try_from(head.nnis.get())
        .ok()
        .filter(|n| *n >= 1 && *n <= 4096)?;
    let bytes = rest.get(..n.checked_mul(size_of::<PingNi>())?)?;
    let entries = <[PingNi]>::ref_from_bytes(bytes).ok()?;
    let first = entries.first()?;
    (Some(first.nid.get()) == Nid::LO.to_nid4()).then_some((features, entries))
}
