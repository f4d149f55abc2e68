// SPDX-License-Identifier: GPL-2.0

//! Random numbers that a seed repeats, and which seeds to run.

use std::str::FromStr;

/// SplitMix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// What the environment says, if it says something.
fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok().filter(|t| !t.is_empty())?;
    match text.parse() {
        Ok(n) => Some(n),
        Err(_) => panic!("{name}={text}: a number is needed"),
    }
}

/// How many times longer than usual to run: `LONG`.
pub fn long() -> u64 {
    from_environment("LONG").unwrap_or(1)
}

/// The seeds to run: `SEED` alone, or so many for each of `LONG`.
pub fn seeds(usual: u64) -> Vec<u64> {
    match from_environment("SEED") {
        Some(s) => vec![s],
        None => (1..=usual * long()).collect(),
    }
}
