// SPDX-License-Identifier: GPL-2.0

//! Streams cut into what LNet's TCP driver sends (`spec/lnet.md` 4, 5, 7).

use crate::tcp::{Connection, Stream};
use crate::Ends;

/// An LNet message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lnet {
    /// The frame's header, 24 bytes.
    pub frame: Vec<u8>,
    /// The LNet header, 72 bytes, or 96 on a connection of version 4.
    pub header: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A connection request.
    Request(Vec<u8>),
    /// A HELLO.
    Hello(Vec<u8>),
    /// A frame without message.
    Noop(Vec<u8>),
    /// A message.
    Lnet(Lnet),
}

/// Something that was sent.
#[derive(Clone, Debug)]
pub struct Item {
    /// Seconds since the epoch at which its last byte came.
    pub time: f64,
    /// Number of the connection in the capture.
    pub connection: usize,
    /// From where to where.
    pub ends: Ends,
    /// What.
    pub kind: Kind,
}

const ACCEPTOR_MAGIC: u32 = 0xacce_7100;
const PROTO_MAGIC: u32 = 0x4572_6963;
const NOOP: u32 = 0xc0;
const LNET: u32 = 0xc1;
/// The largest payload.
const MTU: usize = 1 << 20;

struct Cursor<'a> {
    stream: &'a Stream,
    at: usize,
}

impl Cursor<'_> {
    fn word(&self, offset: usize) -> Option<u32> {
        let at = self.at + offset;
        let b = self.stream.bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(b.try_into().ok()?))
    }

    fn take(&mut self, n: usize) -> Option<Vec<u8>> {
        let b = self.stream.bytes.get(self.at..self.at + n)?.to_vec();
        self.at += n;
        Some(b)
    }

    fn size(&self, kind: u32, header: usize) -> Option<usize> {
        match kind {
            NOOP => Some(24),
            LNET => Some(24 + header + self.word(24 + header - 44)? as usize),
            _ => None,
        }
    }

    /// Whether a frame seems to begin here; only asked where a capture begins in mid-stream.
    fn is_frame(&self, header: usize) -> bool {
        let (Some(kind), Some(0)) = (self.word(0), self.word(4)) else {
            return false;
        };
        match kind {
            NOOP => true,
            LNET => {
                self.word(24 + header - 48).is_some_and(|t| t < 4)
                    && self
                        .size(kind, header)
                        .is_some_and(|n| n <= 24 + header + MTU)
            }
            _ => false,
        }
    }
}

/// Appends what the two ends of a connection sent.
pub fn split(connection: usize, c: &Connection, out: &mut Vec<Item>) -> Result<(), String> {
    // The version of the HELLOs tells the form of the headers. Where they are not in the capture
    // it is version 3.
    let header = if c.streams.iter().any(|s| hello_version(s) == Some(4)) {
        96
    } else {
        72
    };
    for (i, s) in c.streams.iter().enumerate() {
        stream(connection, s, i == 0, header, out)?;
    }
    Ok(())
}

fn hello_version(s: &Stream) -> Option<u32> {
    let mut c = Cursor { stream: s, at: 0 };
    if !s.from_start {
        return None;
    }
    if c.word(0)? == ACCEPTOR_MAGIC {
        c.at += request_size(c.word(4)?)?;
    }
    (c.word(0)? == PROTO_MAGIC).then(|| c.word(4))?
}

fn request_size(version: u32) -> Option<usize> {
    match version {
        1 => Some(16),
        2 => Some(28),
        _ => None,
    }
}

fn stream(
    connection: usize,
    s: &Stream,
    active: bool,
    header: usize,
    out: &mut Vec<Item>,
) -> Result<(), String> {
    let mut c = Cursor { stream: s, at: 0 };
    let mut put = |at: usize, kind: Kind| {
        out.push(Item {
            time: s.time(at - 1),
            connection,
            ends: s.ends,
            kind,
        })
    };
    let bad = |c: &Cursor<'_>, what: &str| {
        let from = c.at.min(s.bytes.len());
        let bytes = &s.bytes[from..s.bytes.len().min(from + 32)];
        let (src, dst) = (s.ends.src, s.ends.dst);
        Err(format!("{src} > {dst}, byte {from}: {what}: {bytes:02x?}"))
    };
    if s.bytes.is_empty() {
        return Ok(());
    }
    if s.lost > 0 {
        return bad(
            &Cursor {
                stream: s,
                at: s.bytes.len(),
            },
            "the capture has a hole",
        );
    }
    if s.from_start {
        if active {
            let size = c
                .word(4)
                .filter(|_| c.word(0) == Some(ACCEPTOR_MAGIC))
                .and_then(request_size);
            let Some(request) = size.and_then(|n| c.take(n)) else {
                return bad(&c, "no connection request");
            };
            put(c.at, Kind::Request(request));
        }
        let size = match (c.word(0), c.word(4)) {
            (Some(PROTO_MAGIC), Some(2 | 3)) => c.word(52).map(|ips| 56 + 4 * ips as usize),
            (Some(PROTO_MAGIC), Some(4)) => Some(80),
            // An acceptor may have been given up between the two.
            (None, _) => return Ok(()),
            _ => None,
        };
        let Some(hello) = size.and_then(|n| c.take(n)) else {
            return bad(&c, "no HELLO");
        };
        put(c.at, Kind::Hello(hello));
    } else {
        while c.at < s.bytes.len() && !c.is_frame(header) {
            c.at += 1;
        }
    }
    while c.at < s.bytes.len() {
        // The capture may end within a frame.
        let Some(kind) = c.word(0) else { break };
        let size = match c.size(kind, header) {
            Some(n) if n > 24 + header + MTU => return bad(&c, "no frame"),
            None if kind != LNET => return bad(&c, "no frame"),
            Some(n) if n <= s.bytes.len() - c.at => n,
            _ => break,
        };
        let Some(frame) = c.take(24) else { break };
        let kind = if size == 24 {
            Kind::Noop(frame)
        } else {
            let (Some(header), Some(payload)) = (c.take(header), c.take(size - 24 - header)) else {
                break;
            };
            Kind::Lnet(Lnet {
                frame,
                header,
                payload,
            })
        };
        put(c.at, kind);
    }
    Ok(())
}
