// SPDX-License-Identifier: GPL-2.0

//! Clocks.

use crate::ffi;
use kernel::bindings;

pub use core::time::Duration;

/// A point of the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    pub fn now() -> Instant {
        // SAFETY: no conditions.
        let ns = unsafe { bindings::ktime_get() };
        Instant(u64::try_from(ns).unwrap_or(0))
    }
    /// A time not long ago, for what happens whenever a message comes and need not be exact: when
    /// anybody looked at the clock last. Here that is as cheap as now.
    pub fn recent() -> Instant {
        Instant::now()
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
        let ns = u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(ns))
    }
}

/// The wall clock: time since 1970.
pub fn real() -> Duration {
    // SAFETY: no conditions.
    let ns = unsafe { ffi::lustre_kapi_real_ns() };
    Duration::from_nanos(ns)
}

/// Sleeps for at least `d`.
pub fn sleep(d: Duration) {
    // SAFETY: no conditions but that sleeping is allowed, as for everything that says it sleeps.
    unsafe { ffi::lustre_kapi_sleep(to_jiffies(d)) }
}

/// Rounded up, and one more for the jiffy that has begun.
pub(crate) fn to_jiffies(d: Duration) -> kernel::ffi::c_long {
    let hz = u64::from(bindings::HZ);
    // There is no division of 128 bits in the kernel.
    let part = (u64::from(d.subsec_nanos()) * hz).div_ceil(1_000_000_000);
    let j = d.as_secs().saturating_mul(hz).saturating_add(part + 1);
    kernel::ffi::c_long::try_from(j).unwrap_or(kernel::ffi::c_long::MAX - 1)
}
