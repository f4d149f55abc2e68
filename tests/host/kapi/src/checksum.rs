// SPDX-License-Identifier: GPL-2.0

//! Checksums.

#[path = "../../../../kapi/adler.rs"]
mod adler;
pub use adler::adler32;

/// CRC-32C (Castagnoli) as the kernel's `crc32c()`: seed and result without the final inversion.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, data)
}

/// CRC-32 (IEEE, reflected) as the kernel's `crc32_le()`: no inversion.
pub fn crc32(seed: u32, data: &[u8]) -> u32 {
    let mut crc = seed;
    for b in data {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    crc
}
