// SPDX-License-Identifier: GPL-2.0

//! Every layout that goes over the wire or to disk, once.
//!
//! Structures have the bytes' order in their types ([`zerocopy::little_endian`] and, where a format
//! says so, [`zerocopy::big_endian`]), no padding and no alignment, so a view of received bytes costs
//! nothing and cannot be misread. Field names are those of the existing implementation; numbers
//! with meaning are [`flags!`] or enums with `TryFrom`. Nothing here allocates or does I/O:
//! builders write into the caller's bytes and tell the size that they need.
//!
//! Formats: `spec/*.md`.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[macro_use]
mod layout;

pub mod cfg;
pub mod changelog;
pub mod connect;
pub mod dirent;
pub mod disk;
pub mod error;
pub mod fid;
pub mod fiemap;
pub mod flags;
pub mod ldlm;
pub mod llog;
pub mod lmv;
pub mod lnet;
pub mod lov;
pub mod lvb;
pub mod mdt;
pub mod mgs;
pub mod msg;
pub mod nid;
pub mod obdo;
pub mod opcode;
pub mod ost;
pub mod ostid;
pub mod out;
pub mod quota;
pub mod reint;
pub mod seq;
pub mod socklnd;
pub mod svname;
pub mod text;
