// SPDX-License-Identifier: GPL-2.0

//! PTLRPC: requests and replies over LNet (spec `ptlrpc.md`).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod estimate;
pub mod ids;
pub mod limits;
