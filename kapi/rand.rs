// SPDX-License-Identifier: GPL-2.0

//! Random numbers of cryptographic quality.

use kernel::bindings;

/// Fills `buf`.
pub fn fill(buf: &mut [u8]) {
    // SAFETY: `buf` is valid for writes of its length.
    unsafe { bindings::get_random_bytes(buf.as_mut_ptr().cast(), buf.len()) }
}

/// A random number.
pub fn u64() -> u64 {
    let mut b = [0; 8];
    fill(&mut b);
    u64::from_ne_bytes(b)
}
