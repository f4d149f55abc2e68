// SPDX-License-Identifier: GPL-2.0

//! Clocks.

pub use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};

/// When somebody looked at the clock last.
static LAST: AtomicU64 = AtomicU64::new(0);

/// A point of the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    pub fn now() -> Instant {
        let mut ts = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `ts` is a valid place for the answer.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
        let now = ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64;
        LAST.store(now, Ordering::Relaxed);
        Instant(now)
    }
    /// A time not long ago, for what happens whenever a message comes and need not be exact: when
    /// anybody looked at the clock last. To look is a system call on some machines.
    pub fn recent() -> Instant {
        match LAST.load(Ordering::Relaxed) {
            0 => Instant::now(),
            last => Instant(last),
        }
    }
    /// Nanoseconds since boot.
    pub fn as_nanos(self) -> u64 {
        self.0
    }
    /// The time since then; zero if it is in the future.
    pub fn elapsed(self) -> Duration {
        Instant::now().duration_since(self)
    }
    /// The time from `earlier` to this; zero if it is the other way round.
    pub fn duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, d: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// The wall clock: time since 1970.
pub fn real() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Sleeps for at least `d`.
pub fn sleep(d: Duration) {
    std::thread::sleep(d)
}
