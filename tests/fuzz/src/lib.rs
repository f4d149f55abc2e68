// SPDX-License-Identifier: GPL-2.0

//! What the fuzzers feed: every decoder takes any bytes, and what it makes of them is looked at
//! to the last part. What encodes is compared with what was decoded.
#![forbid(unsafe_code)]

mod blobs;
mod message;
mod network;

pub use blobs::blobs;
pub use message::message;
pub use network::network;
