// SPDX-License-Identifier: GPL-2.0

//! A metadata target: the RPC face of the name space (`mdt.md`).
//!
//! What arrives is checked here and turned into operations of `mdd`; here is known which locks an
//! operation needs and which one its client gets, what clients have open, and how replies look.
//! [`Mdt::start`] puts all layers of a target together.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod answer;
mod change;
mod close;
mod connect;
mod create;
mod creds;
mod device;
mod getattr;
mod getxattr;
mod hsm;
mod info;
mod layout;
mod link;
mod locks;
mod message;
mod open;
mod open_files;
mod params;
mod readpage;
mod reint;
mod rename;
mod service;
mod setattr;
mod setxattr;
mod squash;
mod stats;

pub use device::{Mdt, MdtConfig};
pub use lod::{Desc, Pools};
