// SPDX-License-Identifier: GPL-2.0

//! PTLRPC: requests and replies over LNet (spec `ptlrpc.md`).
//!
//! A [`node::Node`] has [`service::Service`]s, which take requests and answer them, and
//! [`import::Import`]s, by which it calls other nodes. A target's clients are its
//! [`export::Export`]s.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod bulk;
pub mod call;
mod connect;
mod early;
pub mod estimate;
pub mod export;
pub mod ids;
pub mod import;
pub mod limits;
pub mod message;
mod net;
pub mod node;
mod queue;
pub mod request;
pub mod service;
mod slots;
mod upkeep;
