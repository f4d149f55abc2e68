// SPDX-License-Identifier: GPL-2.0

//! Messages that others can cause as often as they like.

use crate::sync::atomic::{Atomic, Full, Relaxed};
use crate::time::Instant;

/// Messages that one place in the source may log in a [`PERIOD`].
const BURST: u32 = 10;
/// Nanoseconds.
const PERIOD: u64 = 5_000_000_000;

/// How often one place in the source has logged something of late.
pub struct RateLimit {
    /// When the period began.
    since: Atomic<u64>,
    logged: Atomic<u32>,
    missed: Atomic<u32>,
}

impl RateLimit {
    /// Nothing so far.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> RateLimit {
        RateLimit {
            since: Atomic::<u64>::new(0),
            logged: Atomic::<u32>::new(0),
            missed: Atomic::<u32>::new(0),
        }
    }

    /// Whether one more message may be logged, and how many were not since the last period.
    pub fn pass(&self) -> Option<u32> {
        self.pass_at(Instant::now().as_nanos())
    }

    /// Several threads that come at the same time may log a message more or less.
    fn pass_at(&self, now: u64) -> Option<u32> {
        let since = self.since.load(Relaxed);
        if since == 0 || now.saturating_sub(since) >= PERIOD {
            self.since.store(now.max(1), Relaxed);
            self.logged.store(1, Relaxed);
            return Some(self.missed.xchg(0, Full));
        }
        if self.logged.fetch_add(1, Relaxed) < BURST {
            return Some(0);
        }
        // No more than this, or it would begin anew.
        self.logged.store(BURST, Relaxed);
        self.missed.fetch_add(1, Relaxed);
        None
    }
}

/// Logs a warning that others can cause: some of many, and how many there were of the rest.
#[macro_export]
macro_rules! pr_warn_ratelimited { ($($a:tt)*) => {{
    static LIMIT: $crate::log::RateLimit = $crate::log::RateLimit::new();
    if let Some(missed) = LIMIT.pass() {
        if missed > 0 {
            $crate::pr_warn!("{} more of these:\n", missed);
        }
        $crate::pr_warn!($($a)*);
    }
}} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_many() {
        let l = RateLimit::new();
        let log = |now, n: u32| (0..n).filter_map(|_| l.pass_at(now)).collect::<Vec<_>>();
        assert_eq!(log(7, 25), [0; BURST as usize]);
        assert_eq!(log(7 + PERIOD - 1, 5), []);
        // The next period begins with what was missed.
        assert_eq!(log(7 + PERIOD, 3), [20, 0, 0]);
        assert_eq!(log(7 + 2 * PERIOD, 1), [0]);
        // The clock does not start at 0.
        assert_eq!(RateLimit::new().pass_at(0), Some(0));
    }
}
