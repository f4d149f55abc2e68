// SPDX-License-Identifier: GPL-2.0

//! The MGS: it keeps the logs that say which targets a file system has and how they are set up,
//! registers targets, and tells everybody when something changes (`mgs-config.md`).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod client;
mod config_read;
mod configs;
mod copy;
mod fs;
mod llog;
mod nidtbl;
mod param_calls;
mod params;
mod pools;
mod register;
mod revoke;
mod section;
mod service;
mod target_logs;
mod versions;
mod words;

pub use pools::PoolChange;
pub use service::Mgs;
