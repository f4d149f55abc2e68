// SPDX-License-Identifier: GPL-2.0

//! Adaptive time-outs: what a service took of late (spec `ptlrpc.md` §8).

use crate::limits::AdaptiveLimits;
use kapi::prelude::*;

const BINS: usize = 4;

/// The largest of the values seen in the last `at_history` seconds, in four bins of time so that
/// old values go out of the estimate without a list of them.
///
/// A core without a clock: the time comes with every call, in seconds.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// Newest bin first. Zero: nothing was seen.
    bins: [u32; BINS],
    /// When the newest bin began; `None` before the first value.
    start: Option<u64>,
}

impl Estimate {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Estimate {
            bins: [0; BINS],
            start: None,
        }
    }

    /// Moves the bins on to `now`.
    fn shift(&mut self, now: u64, limits: &AdaptiveLimits) {
        let width = u64::from(limits.history / BINS as u32).max(1);
        let Some(start) = self.start else {
            self.start = Some(now);
            return;
        };
        let steps = now.saturating_sub(start) / width;
        if steps == 0 {
            return;
        }
        let n = usize::try_from(steps).unwrap_or(BINS).min(BINS);
        self.bins.rotate_right(n % BINS);
        for b in self.bins.iter_mut().take(n) {
            *b = 0;
        }
        self.start = Some(start + steps * width);
    }

    /// Takes in a value of `seconds`.
    pub fn add(&mut self, seconds: u32, now: u64, limits: &AdaptiveLimits) {
        self.shift(now, limits);
        let v = seconds.clamp(1, limits.max.max(1));
        if let Some(b) = self.bins.first_mut() {
            *b = (*b).max(v);
        }
    }

    /// The estimate in seconds, within the limits.
    pub fn get(&mut self, now: u64, limits: &AdaptiveLimits) -> u32 {
        self.shift(now, limits);
        let worst = self.bins.iter().copied().max().unwrap_or(0);
        worst.max(limits.min).min(limits.max.max(limits.min))
    }
}

impl Default for Estimate {
    fn default() -> Self {
        Self::new()
    }
}

/// What a client allows a request when the service's estimate is `estimate`: `pb_timeout`.
pub fn request_timeout(estimate: u32) -> Duration {
    let e = u64::from(estimate);
    Duration::from_secs(e + e / 4 + 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const L: AdaptiveLimits = AdaptiveLimits {
        min: 5,
        max: 600,
        history: 600,
        early_margin: 5,
        extra: 30,
    };

    #[test]
    fn old_values_go() {
        let mut e = Estimate::new();
        assert_eq!(e.get(1000, &L), 5);
        e.add(40, 1000, &L);
        e.add(20, 1200, &L);
        assert_eq!(e.get(1200, &L), 40);
        assert_eq!(e.get(1599, &L), 40);
        assert_eq!(e.get(1601, &L), 20);
        assert_eq!(e.get(1800, &L), 5);
        e.add(9999, 10_000, &L);
        assert_eq!(e.get(10_000, &L), 600);
        assert_eq!(e.get(1_000_000, &L), 5);
    }

    proptest::proptest! {
        /// Never below the largest value of the last three bins, never above the largest value
        /// of the last four.
        #[test]
        fn between_two_windows(values in proptest::collection::vec((0u64..400, 1u32..600), 1..50)) {
            let mut e = Estimate::new();
            let mut now = 0;
            let mut seen = std::vec::Vec::new();
            for (dt, v) in values {
                now += dt;
                e.add(v, now, &L);
                seen.push((now, v));
                let max = |age: u64| {
                    seen.iter().filter(|(t, _)| t + age > now).map(|(_, v)| *v).max().unwrap_or(0)
                };
                let got = e.get(now, &L);
                proptest::prop_assert!(got >= max(450).max(5));
                proptest::prop_assert!(got <= max(601).max(5));
            }
        }
    }

    #[test]
    fn first_request() {
        assert_eq!(request_timeout(5), Duration::from_secs(11));
    }
}
