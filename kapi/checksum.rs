// SPDX-License-Identifier: GPL-2.0

//! Checksums.

use crate::ffi;

#[path = "adler.rs"]
mod adler;
pub use adler::adler32;

/// CRC-32C (Castagnoli) as the kernel's `crc32c()`: seed and result without the final inversion.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    // SAFETY: `data` is valid for reads of its length.
    unsafe { ffi::lustre_kapi_crc32c(seed, data.as_ptr().cast(), data.len()) }
}

/// CRC-32 (IEEE, reflected) as the kernel's `crc32_le()`: no inversion.
pub fn crc32(seed: u32, data: &[u8]) -> u32 {
    // SAFETY: `data` is valid for reads of its length.
    unsafe { ffi::lustre_kapi_crc32(seed, data.as_ptr().cast(), data.len()) }
}
