// SPDX-License-Identifier: GPL-2.0

//! What targets keep on disk besides objects (`spec/ondisk.md`).

pub mod filter_fid;
pub mod iam;
pub mod last_rcvd;
pub mod linkea;
pub mod lma;
pub mod mountdata;
pub mod names;
pub mod oi;
pub mod reply_data;
pub mod scrub;
pub mod som;
