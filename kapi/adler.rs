// SPDX-License-Identifier: GPL-2.0

//! Adler-32 (RFC 1950); the kernel has it only inside its zlib, a byte at a time.

const BASE: u64 = 65521;
/// Bytes whose sums are far from 64 bits.
const REDUCE: usize = 1 << 16;
/// Words whose weighted sums fit lanes of 16 bits: 255 * (1 + 2 + ... + 16) does.
const WORDS: usize = 16;
const BLOCK: usize = 8 * WORDS;
/// Every other byte.
const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
/// The sum of four lanes comes out as the highest one, if it fits.
const ONES: u64 = 0x0001_0001_0001_0001;
/// The sum of four lanes, each as often as its number says.
const NUMBERS: u64 = 0x0000_0001_0002_0003;

/// The sum of four lanes.
fn wide_sum(lanes: u64) -> u64 {
    let two = (lanes & 0xffff_0000_ffff) + ((lanes >> 16) & 0xffff_0000_ffff);
    (two & 0xffff_ffff) + (two >> 32)
}

/// What a block adds: the sum of its bytes, and their sum with each counted as often as bytes from
/// it to the end of the block.
///
/// Eight bytes at a time, in lanes of 16 bits. A byte `i` of word `k` counts `8 * (WORDS - k) - i`
/// times: the first part is the sum of what the lanes hold after each word.
fn block(data: &[u8]) -> (u64, u64) {
    let (mut even, mut odd, mut evens, mut odds) = (0, 0, 0, 0);
    for w in data.chunks_exact(8) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(w);
        let w = u64::from_le_bytes(bytes);
        even += w & EVEN;
        odd += (w >> 8) & EVEN;
        evens += even;
        odds += odd;
    }
    let sum = (even + odd).wrapping_mul(ONES) >> 48;
    let of_odd = odd.wrapping_mul(ONES) >> 48;
    let back = 2 * ((even + odd).wrapping_mul(NUMBERS) >> 48) + of_odd;
    (sum, 8 * (wide_sum(evens) + wide_sum(odds)) - back)
}

/// Continues the checksum `seed` (1 at the start) over `data`.
pub fn adler32(seed: u32, data: &[u8]) -> u32 {
    let (mut a, mut b) = (u64::from(seed & 0xffff), u64::from(seed >> 16));
    for part in data.chunks(REDUCE) {
        let blocks = part.chunks_exact(BLOCK);
        let rest = blocks.remainder();
        for bytes in blocks {
            let (sum, weighted) = block(bytes);
            b += BLOCK as u64 * a + weighted;
            a += sum;
        }
        for byte in rest {
            a += u64::from(*byte);
            b += a;
        }
        a %= BASE;
        b %= BASE;
    }
    ((b << 16) | a) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is defined.
    fn slow(seed: u32, data: &[u8]) -> u32 {
        let (mut a, mut b) = (seed & 0xffff, seed >> 16);
        for byte in data {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        (b << 16) | a
    }

    #[test]
    fn is_what_it_is_defined_to_be() {
        assert_eq!(adler32(1, b"123456789"), 0x091e_01de);
        let mut x = 1_u32;
        let mut random = [0; 3 * REDUCE + 77];
        for b in &mut random {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *b = (x >> 24) as u8;
        }
        let full = [255; 2 * REDUCE + 127];
        for data in [&random[..], &full] {
            for len in (0..600).chain([REDUCE - 1, REDUCE, REDUCE + 1, data.len()]) {
                for at in [0, 1, 7] {
                    let part = &data[at.min(data.len() - len)..][..len];
                    for seed in [1, 0xfff0_fff0] {
                        assert_eq!(adler32(seed, part), slow(seed, part), "{len} from {at}");
                    }
                }
            }
        }
    }
}
