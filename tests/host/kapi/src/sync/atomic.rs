// SPDX-License-Identifier: GPL-2.0

//! Atomics with the kernel's interface: the ordering is a value of its own type.

use core::sync::atomic::Ordering as O;

/// No ordering.
pub struct Relaxed;
/// Later accesses stay later.
pub struct Acquire;
/// Earlier accesses stay earlier.
pub struct Release;
/// A full barrier.
pub struct Full;

/// An ordering for read-modify-write operations.
pub trait Ordering {
    #[doc(hidden)]
    const RMW: O;
}
impl Ordering for Relaxed {
    const RMW: O = O::Relaxed;
}
impl Ordering for Acquire {
    const RMW: O = O::Acquire;
}
impl Ordering for Release {
    const RMW: O = O::Release;
}
impl Ordering for Full {
    const RMW: O = O::SeqCst;
}
/// An ordering for loads.
pub trait AcquireOrRelaxed {
    #[doc(hidden)]
    const LOAD: O;
}
impl AcquireOrRelaxed for Relaxed {
    const LOAD: O = O::Relaxed;
}
impl AcquireOrRelaxed for Acquire {
    const LOAD: O = O::Acquire;
}
/// An ordering for stores.
pub trait ReleaseOrRelaxed {
    #[doc(hidden)]
    const STORE: O;
}
impl ReleaseOrRelaxed for Relaxed {
    const STORE: O = O::Relaxed;
}
impl ReleaseOrRelaxed for Release {
    const STORE: O = O::Release;
}

/// Types that an [`Atomic`] holds: `i32`, `i64`, `u32`, `u64`, `bool`.
pub trait AtomicType: Copy {
    #[doc(hidden)]
    type Repr;
    #[doc(hidden)]
    fn make(v: Self) -> Self::Repr;
    #[doc(hidden)]
    fn load(r: &Self::Repr, o: O) -> Self;
    #[doc(hidden)]
    fn store(r: &Self::Repr, v: Self, o: O);
    #[doc(hidden)]
    fn xchg(r: &Self::Repr, v: Self, o: O) -> Self;
    #[doc(hidden)]
    fn cmpxchg(r: &Self::Repr, old: Self, new: Self, o: O) -> Result<Self, Self>;
}
/// Types that can be added atomically.
pub trait AtomicAdd: AtomicType {
    #[doc(hidden)]
    fn fetch_add(r: &Self::Repr, v: Self, o: O) -> Self;
    #[doc(hidden)]
    fn fetch_sub(r: &Self::Repr, v: Self, o: O) -> Self;
}

fn failure(o: O) -> O {
    match o {
        O::SeqCst => O::SeqCst,
        O::Acquire => O::Acquire,
        _ => O::Relaxed,
    }
}

macro_rules! atomic {
    ($($t:ty, $r:ty);*) => { $(
        impl AtomicType for $t {
            type Repr = $r;
            fn make(v: Self) -> $r { <$r>::new(v) }
            fn load(r: &$r, o: O) -> Self { r.load(o) }
            fn store(r: &$r, v: Self, o: O) { r.store(v, o) }
            fn xchg(r: &$r, v: Self, o: O) -> Self { r.swap(v, o) }
            fn cmpxchg(r: &$r, old: Self, new: Self, o: O) -> Result<Self, Self> {
                r.compare_exchange(old, new, o, failure(o))
            }
        }
    )* }
}
macro_rules! atomic_add {
    ($($t:ty),*) => { $(
        impl AtomicAdd for $t {
            fn fetch_add(r: &Self::Repr, v: Self, o: O) -> Self { r.fetch_add(v, o) }
            fn fetch_sub(r: &Self::Repr, v: Self, o: O) -> Self { r.fetch_sub(v, o) }
        }
    )* }
}
atomic!(i32, core::sync::atomic::AtomicI32; i64, core::sync::atomic::AtomicI64;
        u32, core::sync::atomic::AtomicU32; u64, core::sync::atomic::AtomicU64;
        bool, core::sync::atomic::AtomicBool);
atomic_add!(i32, i64, u32, u64);

/// An atomic value.
pub struct Atomic<T: AtomicType>(T::Repr);

impl Atomic<i32> {
    /// A new one.
    pub const fn new(v: i32) -> Self {
        Atomic(core::sync::atomic::AtomicI32::new(v))
    }
}
impl Atomic<i64> {
    /// A new one.
    pub const fn new(v: i64) -> Self {
        Atomic(core::sync::atomic::AtomicI64::new(v))
    }
}
impl Atomic<u32> {
    /// A new one.
    pub const fn new(v: u32) -> Self {
        Atomic(core::sync::atomic::AtomicU32::new(v))
    }
}
impl Atomic<u64> {
    /// A new one.
    pub const fn new(v: u64) -> Self {
        Atomic(core::sync::atomic::AtomicU64::new(v))
    }
}
impl Atomic<bool> {
    /// A new one.
    pub const fn new(v: bool) -> Self {
        Atomic(core::sync::atomic::AtomicBool::new(v))
    }
}

impl<T: AtomicType> Atomic<T> {
    /// Reads.
    pub fn load<P: AcquireOrRelaxed>(&self, _: P) -> T {
        T::load(&self.0, P::LOAD)
    }
    /// Writes.
    pub fn store<P: ReleaseOrRelaxed>(&self, v: T, _: P) {
        T::store(&self.0, v, P::STORE)
    }
    /// Writes; returns what was there.
    pub fn xchg<P: Ordering>(&self, v: T, _: P) -> T {
        T::xchg(&self.0, v, P::RMW)
    }
    /// Writes `new` if `old` is there; `Err` has what was there otherwise.
    pub fn cmpxchg<P: Ordering>(&self, old: T, new: T, _: P) -> Result<T, T> {
        T::cmpxchg(&self.0, old, new, P::RMW)
    }
}
impl<T: AtomicAdd> Atomic<T> {
    /// Adds.
    pub fn add(&self, v: T, _: Relaxed) {
        T::fetch_add(&self.0, v, O::Relaxed);
    }
    /// Adds; returns what was there.
    pub fn fetch_add<P: Ordering>(&self, v: T, _: P) -> T {
        T::fetch_add(&self.0, v, P::RMW)
    }
    /// Subtracts; returns what was there.
    pub fn fetch_sub<P: Ordering>(&self, v: T, _: P) -> T {
        T::fetch_sub(&self.0, v, P::RMW)
    }
}
