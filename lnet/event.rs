// SPDX-License-Identifier: GPL-2.0

//! What is sent and received, and who is told.

use crate::budget::Charge;
use kapi::pages::Pages;
use kapi::prelude::*;
use wire::nid::Nid;

/// A process of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProcessId {
    /// The node.
    pub nid: Nid,
    /// The process: [`wire::lnet::PID_LUSTRE`] for all kernels.
    pub pid: u32,
}

/// Data to send.
pub enum Payload {
    /// None.
    Empty,
    /// A message.
    Message(KVVec<u8>),
    /// Bulk data: `len` bytes of `pages` at byte `off`. The pages are not changed until the
    /// message is gone and the reference dropped.
    Pages {
        /// The pages.
        pages: Arc<Pages>,
        /// Where the data begin, bytes.
        off: usize,
        /// How long they are, bytes.
        len: usize,
    },
}

impl Payload {
    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Payload::Empty => 0,
            Payload::Message(m) => m.len(),
            Payload::Pages { len, .. } => *len,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it lies within its memory, and is no longer than a message may be.
    pub(crate) fn is_valid(&self) -> bool {
        let within = match self {
            Payload::Pages { pages, off, len } => {
                off.checked_add(*len).is_some_and(|end| end <= pages.len())
            }
            _ => true,
        };
        within && self.len() <= wire::lnet::MAX_PAYLOAD as usize
    }
}

/// Pages that data are received into.
pub struct Sink {
    /// The pages.
    pub pages: Pages,
    /// Where the data go, bytes.
    pub off: usize,
    /// Room for them, bytes.
    pub len: usize,
}

impl Sink {
    /// All of some pages.
    pub fn new(pages: Pages) -> Sink {
        let len = pages.len();
        Sink { pages, off: 0, len }
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.off
            .checked_add(self.len)
            .is_some_and(|end| end <= self.pages.len())
    }
}

/// A message that was received; it counts against the receive budget as long as it lives.
pub struct MessageBuf {
    /// The bytes.
    pub data: KVVec<u8>,
    pub(crate) charge: Option<Charge>,
}

impl MessageBuf {
    /// The bytes, and what they count against the budget.
    pub fn into_parts(self) -> (KVVec<u8>, Option<Charge>) {
        (self.data, self.charge)
    }
}

/// What happened.
pub enum Event {
    /// A message came to an entry that takes messages.
    Message {
        /// From whom.
        from: ProcessId,
        /// To which of our NIDs.
        self_nid: Nid,
        /// Its match bits.
        match_bits: u64,
        /// What the sender added.
        hdr_data: u64,
        /// The offset that the sender named.
        offset: u32,
        /// Its bytes.
        buf: MessageBuf,
    },
    /// Data came into a sink, by a PUT or as the reply to our GET.
    Filled {
        /// The sink, given back.
        sink: Sink,
        /// How many bytes of it are filled.
        len: usize,
    },
    /// A peer has read an entry's data.
    Read,
    /// The peer has accepted so many bytes of our PUT.
    Ack {
        /// Bytes.
        mlength: u32,
    },
    /// It will not happen any more.
    Failed {
        /// Why.
        error: Error,
        /// The sink, given back if there was one and nothing holds it.
        sink: Option<Sink>,
    },
}

/// Who is told. Called on the threads of the network, without locks; must not sleep for long.
pub trait EventHandler: Send + Sync {
    /// Something happened to what was made with `cookie`.
    fn event(&self, cookie: u64, event: Event);
}

/// Who is told about peers.
pub trait PeerWatcher: Send + Sync {
    /// The last connection to a peer has broken: what was sent may not have arrived.
    fn peer_down(&self, nid: Nid);
}
