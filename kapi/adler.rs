// SPDX-License-Identifier: GPL-2.0

//! Adler-32 (RFC 1950); the kernel has it only inside its zlib.

const BASE: u32 = 65521;
/// The most bytes whose sums fit 32 bits without a reduction.
const NMAX: usize = 5552;

/// Continues the checksum `seed` (1 at the start) over `data`.
pub fn adler32(seed: u32, data: &[u8]) -> u32 {
    let (mut a, mut b) = (seed & 0xffff, seed >> 16);
    for chunk in data.chunks(NMAX) {
        for byte in chunk {
            a = a.wrapping_add((*byte).into());
            b = b.wrapping_add(a);
        }
        a %= BASE;
        b %= BASE;
    }
    (b << 16) | a
}
