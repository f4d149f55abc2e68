// SPDX-License-Identifier: GPL-2.0

//! What every target shares: its clients, their locks, transaction numbers and what is kept of
//! them on disk, the dispatch of requests (`ptlrpc.md` 9 to 11, `recovery.md`, `ondisk.md` 9).
//!
//! A [`server::Server`] is there once a node: it owns the RPC services and knows the node's
//! targets. A [`Target`] stands on a store and has a [`Service`]: the MGS, an MDT, an OST.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod change;
mod client;
mod connect;
mod device;
mod drops;
pub mod fld;
mod last_rcvd;
pub mod llog;
pub mod local;
mod locks;
pub mod quota;
mod replies;
mod seats;
mod sender;
pub mod seq;
pub mod server;
mod service;
mod silent;

pub use change::Change;
pub use client::{Client, UnderLock};
pub use device::{Target, TargetConfig};
pub use server::Server;
pub use service::{Request, Served, Service};
