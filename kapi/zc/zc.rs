// SPDX-License-Identifier: GPL-2.0

//! zerocopy with its derive macros, as the crate is outside the kernel.
#![no_std]

pub use zerocopy::*;
pub use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
