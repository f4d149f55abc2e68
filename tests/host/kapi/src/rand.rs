// SPDX-License-Identifier: GPL-2.0

//! Random numbers of cryptographic quality.

/// Fills `buf`.
pub fn fill(buf: &mut [u8]) {
    for c in buf.chunks_mut(256) {
        // SAFETY: `c` is valid for writes of its length; 256 bytes never come short.
        unsafe { libc::getrandom(c.as_mut_ptr().cast(), c.len(), 0) };
    }
}

/// A random number.
pub fn u64() -> u64 {
    let mut b = [0; 8];
    fill(&mut b);
    u64::from_ne_bytes(b)
}
