// SPDX-License-Identifier: GPL-2.0

//! The object storage service: an OST (`ost.md`).
//!
//! An [`Ofd`] serves the objects of one store. What decides is apart from what does: grants
//! (`grant`), the way bulk data are cut (`layout`), attributes that a change brings (`change`) are
//! plain functions of what goes in.
//!
//! A write puts its data on the device first, outside of transactions; the transaction that gives
//! it its number, times and owners follows, so the journal brings both to disk in this order.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod attr;
mod body;
mod brw;
mod change;
mod cksum;
mod client;
mod connect;
mod create;
mod data;
mod destroy;
mod device;
mod fiemap;
mod grant;
mod groups;
mod info;
mod layout;
mod lock;
mod params;
mod pool;
mod punch;
mod read;
mod space;
mod stats;
mod write;

pub use device::{Ofd, OfdConfig};
pub use stats::{Counter, Op};
