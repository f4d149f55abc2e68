// SPDX-License-Identifier: GPL-2.0

//! What makes targets of devices: a server node and what it has, mounts, the list of devices,
//! the parameters (`mgs-config.md` 5, 6, `admin.md`).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod claims;
pub mod devices;
mod link;
mod mgs_link;
pub mod mount;
pub mod mountdata;
pub mod node;
pub mod options;
pub mod params;
mod pools;
mod scrub;
mod service;
mod settings;
pub mod store;
mod target_params;
pub mod text;
pub mod tree;
