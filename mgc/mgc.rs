// SPDX-License-Identifier: GPL-2.0

//! A server node's client of the MGS: targets register through it, and learn from logs what there
//! is in their file system (`mgs-config.md` 6, 8).
//!
//! An [`Mgc`] is there once a node and MGS. A target registers, follows the logs that concern it
//! ([`Mgc::follow`]), and says when it is up. A log that is followed is read again when the MGS
//! says that it changed, and its [`Follower`] gets all that it says now, as a [`Config`]: followers
//! compare with what they have. Copies of logs on the target serve while the MGS is away.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod client;
mod config;
#[cfg(test)]
mod config_tests;
mod copies;
mod follow;
mod locks;
mod register;
mod remote;

pub use client::{Mgc, MgcConfig};
pub use config::{Config, ConfigReader, Own, Param, Peer, PeerNode, Pool};
pub use copies::Copies;
pub use follow::{Follow, Follower};
pub use register::{Registered, Registration};
