// SPDX-License-Identifier: GPL-2.0

//! Random numbers of cryptographic quality.

use std::cell::RefCell;

/// Fills `buf`.
pub fn fill(buf: &mut [u8]) {
    for c in buf.chunks_mut(256) {
        // SAFETY: `c` is valid for writes of its length; 256 bytes never come short.
        unsafe { libc::getrandom(c.as_mut_ptr().cast(), c.len(), 0) };
    }
}

/// Random bytes that a thread has fetched and not given out.
struct Stock {
    bytes: [u8; 256],
    left: usize,
}

thread_local! {
    static STOCK: RefCell<Stock> = const {
        RefCell::new(Stock {
            bytes: [0; 256],
            left: 0,
        })
    };
}

/// A random number.
pub fn u64() -> u64 {
    STOCK.with_borrow_mut(|s| {
        if s.left < 8 {
            fill(&mut s.bytes);
            s.left = s.bytes.len();
        }
        s.left -= 8;
        let mut b = [0; 8];
        b.copy_from_slice(&s.bytes[s.left..s.left + 8]);
        u64::from_ne_bytes(b)
    })
}
