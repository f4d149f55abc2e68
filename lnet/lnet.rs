// SPDX-License-Identifier: GPL-2.0

//! LNet: messages between nodes, matched to memory at the receiver (spec `lnet.md`).
//!
//! [`node::Lnet`] is one instance, with its networks. What is received is owned by whoever gets
//! it: a message comes as a buffer of its own, bulk data come in the pages that were attached for
//! them, so nothing is copied and nothing is written to after it was taken back.
//!
//! [`portal`] decides what a message is for; [`socklnd`] moves bytes over TCP.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod budget;
pub mod config;
pub mod event;
pub mod fail;
mod loopback;
pub mod node;
mod ping;
pub mod portal;
mod response;
pub mod socklnd;
mod work;

pub use config::Config;
pub use event::{Event, EventHandler, MessageBuf, Payload, PeerWatcher, ProcessId, Sink};
pub use node::{Lnet, PutArgs};
pub use portal::{Entry, EntryHandle, MatchSpec};
