// SPDX-License-Identifier: GPL-2.0

//! A Lustre client in userspace, on the same crates as the servers.
//!
//! A [`node::ClientNode`] is this process on the network; a [`mount::Mount`] is one mounted file
//! system, of which a node can have many. Objects are named by FID; every operation takes the
//! [`cred::Cred`] of who asks. What is cached (names, attributes, data) is cached under locks of
//! the servers and dropped when they call them back.
#![forbid(unsafe_code)]

pub mod attr;
pub mod callback;
pub mod config;
pub mod cred;
pub mod error;
pub mod fs;
pub mod layout;
pub mod llog;
pub mod mdc;
pub mod memory;
pub mod mgc;
pub mod mount;
pub mod node;
pub mod osc;
pub mod rpc;
pub mod seq;
pub mod spec;
mod sync;
pub mod target;

pub use kapi::error::{Error, Result};
