// SPDX-License-Identifier: GPL-2.0

//! Checksums of bulk data (`ost.md` 4.7).

use crate::data::Data;
use crate::layout::Layout;
use kapi::checksum::{adler32, crc32, crc32c};
use kapi::pages::PAGE_SIZE;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use wire::connect::ChecksumTypes;
use wire::obdo::CksumType;

/// What clients may be offered besides Adler. The two T10 types with CRCs are understood, too, but
/// slow.
const CANDIDATES: [(ChecksumTypes, CksumType); 4] = [
    (ChecksumTypes::CRC32, CksumType::Crc32),
    (ChecksumTypes::CRC32C, CksumType::Crc32c),
    (ChecksumTypes::T10IP512, CksumType::T10Ip512),
    (ChecksumTypes::T10IP4K, CksumType::T10Ip4k),
];

/// The bits of what is offered, once that is known.
static OFFERED: Atomic<u32> = Atomic::<u32>::new(0);

/// What clients are offered: Adler, and what takes at most twice its time on this machine.
pub(crate) fn offered() -> ChecksumTypes {
    let known = OFFERED.load(Relaxed);
    if known != 0 {
        return ChecksumTypes::from_bits_retain(known);
    }
    let adler = time(CksumType::Adler);
    let mut all = ChecksumTypes::ADLER;
    for (bit, kind) in CANDIDATES {
        if time(kind) <= adler.saturating_mul(2) {
            all.insert(bit);
        }
    }
    OFFERED.store(all.bits(), Relaxed);
    all
}

/// Nanoseconds that the sum of some pages takes; the best of a few times, as others run here, too.
fn time(kind: CksumType) -> u64 {
    let page = [0x5a; 1024];
    let once = || {
        let start = Instant::now();
        let s = (0..64).fold(1, |s, _| add(kind, s, 0, &page));
        // A sum that nobody wants is not made.
        core::hint::black_box(s);
        u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    };
    (0..5).map(|_| once()).min().unwrap_or(0)
}

/// CRC-16 of T10 DIF for each byte.
const T10: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            c = (c << 1) ^ if c & 0x8000 != 0 { 0x8bb7 } else { 0 };
            bit += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
};

fn crc_t10dif(data: &[u8]) -> u16 {
    data.iter().fold(0, |c, b| {
        let i = usize::from((c >> 8) as u8 ^ b);
        (c << 8) ^ T10.get(i).copied().unwrap_or(0)
    })
}

/// The Internet checksum, as it lies in memory.
fn ip_guard(data: &[u8]) -> [u8; 2] {
    let mut words = data.chunks_exact(8);
    let mut sum = 0u64;
    for w in &mut words {
        let w = w.first_chunk().copied().map_or(0, u64::from_le_bytes);
        let (s, carry) = sum.overflowing_add(w);
        sum = s + u64::from(carry);
    }
    let mut last = [0u8; 8];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    let (s, carry) = sum.overflowing_add(u64::from_le_bytes(last));
    sum = s + u64::from(carry);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_le_bytes()
}

/// Guards of the sectors of data that begin at `in_page` of a page, summed.
fn guards(seed: u32, in_page: usize, data: &[u8], sector: usize, crc: bool) -> u32 {
    let (mut sum, mut data) = (seed, data);
    let mut first = sector - in_page % sector;
    while !data.is_empty() {
        let (one, rest) = data.split_at(first.min(data.len()));
        let guard = match crc {
            true => crc_t10dif(one).to_be_bytes(),
            false => ip_guard(one),
        };
        sum = adler32(sum, &guard);
        data = rest;
        first = sector;
    }
    sum
}

/// Goes on with the sum `s` over data that begin at `in_page` of a page.
fn add(kind: CksumType, s: u32, in_page: usize, data: &[u8]) -> u32 {
    match kind {
        CksumType::Crc32 => crc32(s, data),
        CksumType::Crc32c => crc32c(s, data),
        CksumType::Adler => adler32(s, data),
        CksumType::T10Ip512 => guards(s, in_page, data, 512, false),
        CksumType::T10Ip4k => guards(s, in_page, data, 4096, false),
        CksumType::T10Crc512 => guards(s, in_page, data, 512, true),
        CksumType::T10Crc4k => guards(s, in_page, data, 4096, true),
    }
}

/// The sum of what is transferred by `layout`.
pub(crate) fn sum(kind: CksumType, layout: &Layout, data: &Data) -> u32 {
    let mut s = match kind {
        CksumType::Crc32 | CksumType::Crc32c => !0,
        _ => 1,
    };
    for p in layout.pieces.iter() {
        let mut at = p.at;
        for chunk in data.chunks(p) {
            // Data lie in their pages as they do in those of the object.
            let in_page = at % PAGE_SIZE;
            s = add(kind, s, in_page, chunk);
            at += chunk.len();
        }
    }
    match kind {
        CksumType::Crc32c => !s,
        _ => s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Range;

    fn of(kind: CksumType, pos: u64, bytes: &[u8]) -> u32 {
        let ranges = [Range {
            pos,
            len: bytes.len() as u32,
        }];
        let layout = Layout::new(&ranges, crate::layout::MD_SIZE).unwrap();
        let mut data = Data::new(&layout).unwrap();
        data.copy_in(&layout, bytes).unwrap();
        sum(kind, &layout, &data)
    }

    #[test]
    fn check_values() {
        let s = |k| of(k, 0, b"123456789");
        assert_eq!(s(CksumType::Crc32), 0x340b_c6d9);
        assert_eq!(s(CksumType::Crc32c), 0xe306_9283);
        assert_eq!(s(CksumType::Adler), 0x091e_01de);
        assert_eq!(crc_t10dif(b"123456789"), 0xd0db);
        // RFC 1071, 3.
        assert_eq!(
            ip_guard(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]),
            [0x22, 0x0d]
        );
        assert_eq!(ip_guard(&[1]), ip_guard(&[1, 0]));
        // The vector of `ost.md` 23.4.
        assert_eq!(adler32(1, &[0xa5, 0xf1]), 0x023d_0197);
    }

    #[test]
    fn sectors_are_those_of_the_object() {
        let bytes: Vec<u8> = (0..10_000u32).map(|i| (i * 7) as u8).collect();
        let expect = |pos: usize, sector: usize| {
            let (mut at, mut guards) = (0, Vec::new());
            while at < bytes.len() {
                let n = (sector - (pos + at) % sector).min(bytes.len() - at);
                guards.extend(ip_guard(&bytes[at..at + n]));
                at += n;
            }
            adler32(1, &guards)
        };
        for pos in [0usize, 100, 511, 4095, 0x10_0001] {
            assert_eq!(
                of(CksumType::T10Ip512, pos as u64, &bytes),
                expect(pos, 512)
            );
            assert_eq!(
                of(CksumType::T10Ip4k, pos as u64, &bytes),
                expect(pos, 4096)
            );
        }
    }

    #[test]
    fn streams_do_not_see_pages() {
        let bytes: Vec<u8> = (0..3 << 20u32).map(|i: u32| (i % 251) as u8).collect();
        assert_eq!(of(CksumType::Adler, 77, &bytes), adler32(1, &bytes));
        assert_eq!(of(CksumType::Crc32c, 77, &bytes), !crc32c(!0, &bytes));
    }
}
