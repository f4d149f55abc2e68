// SPDX-License-Identifier: GPL-2.0

//! Failures on demand: what test suites set as `fail_loc`, `fail_val` and `fail_err` makes one point
//! of the code fail, or wait (`recovery.md` 18, `admin.md` 12).
//!
//! There is one of it for the machine. While nothing is set, a point costs the look at one number.

use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};

/// The bits of `fail_loc` that say which point.
const ID: u32 = 0xffff;
/// The first hit only.
pub const ONCE: u32 = 0x8000_0000;
/// There was a hit.
pub const FAILED: u32 = 0x4000_0000;
/// Not the first `fail_val` hits.
pub const SKIP: u32 = 0x2000_0000;
/// Only the first `fail_val` hits.
pub const SOME: u32 = 0x1000_0000;
/// One of `fail_val` hits.
pub const RAND: u32 = 0x0800_0000;
/// Any point of this class.
const FAULT: u32 = 0x0200_0000;
/// How often one who waits looks whether that was ended.
const STEP: Duration = Duration::from_millis(100);

/// The points, by the names that they have elsewhere.
#[allow(missing_docs)]
pub mod point {
    pub const MDS_SENDPAGE: u32 = 0x106;
    pub const MDS_OPEN_PACK: u32 = 0x114;
    pub const MDS_REINT_NET_REP: u32 = 0x119;
    pub const MDS_ALL_REPLY_NET: u32 = 0x122;
    pub const MDS_ALL_REQUEST_NET: u32 = 0x123;
    pub const MDS_ALLOC_OBDO: u32 = 0x128;
    pub const MDS_PAUSE_OPEN: u32 = 0x129;
    pub const MDS_CLOSE_NET_REP: u32 = 0x13b;
    pub const MDS_REINT_DELAY: u32 = 0x142;
    pub const MDS_LDLM_REPLY_NET: u32 = 0x157;
    pub const MDS_REINT_MULTI_NET: u32 = 0x159;
    pub const MDS_REINT_MULTI_NET_REP: u32 = 0x15a;
    pub const MDS_INTENT_DELAY: u32 = 0x160;
    pub const OST_ALL_REPLY_NET: u32 = 0x211;
    pub const OST_ALL_REQUEST_NET: u32 = 0x212;
    pub const OST_LDLM_REPLY_NET: u32 = 0x213;
    pub const OST_BRW_PAUSE_BULK: u32 = 0x214;
    pub const OST_ENOSPC: u32 = 0x215;
    pub const OST_EROFS: u32 = 0x216;
    pub const OST_DROP_REQ: u32 = 0x21d;
    pub const OST_BRW_PAUSE_PACK: u32 = 0x224;
    pub const OST_CONNECT_NET2: u32 = 0x225;
    pub const OST_BRW_PAUSE_BULK2: u32 = 0x227;
    pub const OST_PAUSE_PUNCH: u32 = 0x236;
    pub const OST_DISCONNECT_DELAY: u32 = 0x245;
    pub const LDLM_CONVERT_NET: u32 = 0x303;
    pub const LDLM_CANCEL_NET: u32 = 0x304;
    pub const LDLM_ENQUEUE_EXTENT_ERR: u32 = 0x308;
    pub const LDLM_ENQUEUE_OLD_EXPORT: u32 = 0x30e;
    pub const PTLRPC_BULK_PUT_NET: u32 = 0x504;
    pub const PTLRPC_PAUSE_REQ: u32 = 0x50a;
    pub const PTLRPC_DROP_REQ_OPC: u32 = 0x513;
    pub const MGS_ALL_REQUEST_NET: u32 = 0x901;
    pub const MGS_ALL_REPLY_NET: u32 = 0x902;
    pub const MGS_LDLM_REPLY_NET: u32 = 0x90d;
}

static LOC: Atomic<u32> = Atomic::<u32>::new(0);
static VAL: Atomic<u32> = Atomic::<u32>::new(0);
static ERR: Atomic<u32> = Atomic::<u32>::new(0);
static HITS: Atomic<u32> = Atomic::<u32>::new(0);

/// What else has to be so for a hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Plain,
    /// `fail_val` is this number, or -1.
    Value(u32),
    /// It fires once, said or not; `fail_val` is this number, or 0.
    OnceIf(Option<u32>),
}

/// Whether some point is to fail.
#[inline]
pub fn is_on() -> bool {
    LOC.load(Relaxed) != 0
}

/// `fail_loc`.
pub fn loc() -> u32 {
    LOC.load(Relaxed)
}

/// Sets `fail_loc`: the counting begins anew, and who waits at another point goes on.
pub fn set_loc(loc: u32) {
    HITS.store(0, Relaxed);
    LOC.store(loc, Relaxed);
}

/// `fail_val`.
pub fn val() -> u32 {
    VAL.load(Relaxed)
}

/// Sets `fail_val`.
pub fn set_val(val: u32) {
    VAL.store(val, Relaxed);
}

/// `fail_err`.
pub fn err() -> u32 {
    ERR.load(Relaxed)
}

/// Sets `fail_err`.
pub fn set_err(err: u32) {
    ERR.store(err, Relaxed);
}

/// Sets bits of `fail_loc`, if that is still for point `id`. Returns those that were set before.
fn add_bits(id: u32, bits: u32) -> Option<u32> {
    let mut old = LOC.load(Relaxed);
    loop {
        if !is_for(old, id) {
            return None;
        }
        match LOC.cmpxchg(old, old | bits, Relaxed) {
            Ok(_) => return Some(old),
            Err(now) => old = now,
        }
    }
}

fn is_for(loc: u32, id: u32) -> bool {
    loc != 0 && (loc & ID == id & ID || loc & id & FAULT != 0)
}

#[cold]
fn hit(id: u32, mode: Mode) -> bool {
    let (loc, val) = (LOC.load(Relaxed), VAL.load(Relaxed));
    if !is_for(loc, id) {
        return false;
    }
    if loc & (ONCE | FAILED) == ONCE | FAILED {
        HITS.store(0, Relaxed);
        return false;
    }
    if loc & RAND != 0 && (val < 2 || kapi::rand::u64() % u64::from(val) != 0) {
        return false;
    }
    if loc & SKIP != 0 && HITS.fetch_add(1, Relaxed) < val {
        return false;
    }
    let fits = match mode {
        Mode::Plain | Mode::OnceIf(None) => true,
        Mode::Value(v) => val == u32::MAX || val == v,
        Mode::OnceIf(Some(v)) => val == 0 || val == v,
    };
    if !fits {
        return false;
    }
    let mut once = loc & ONCE;
    if loc & SOME != 0 && !(once != 0 && val > 1) {
        let hits = HITS.fetch_add(1, Relaxed) + 1;
        if hits > val {
            return false;
        }
        if hits == val {
            once = ONCE;
        }
    }
    if matches!(mode, Mode::OnceIf(_)) {
        once = ONCE;
    }
    // Who sets it first has the hit, where there is but one.
    match add_bits(id, once | FAILED) {
        Some(before) if once == 0 || before & FAILED == 0 || loc & FAILED != 0 => {}
        _ => return false,
    }
    pr_warn!("*** cfs_fail_loc={:x}, val={}***\n", id, val);
    true
}

/// Whether point `id` is to fail.
#[inline]
pub fn check(id: u32) -> bool {
    is_on() && hit(id, Mode::Plain)
}

/// Whether point `id` is to fail for `value`, which `fail_val` has to be, or -1.
#[inline]
pub fn check_value(id: u32, value: u32) -> bool {
    is_on() && hit(id, Mode::Value(value))
}

/// Whether point `id` is to fail, which it does once.
#[inline]
pub fn check_once(id: u32) -> bool {
    is_on() && hit(id, Mode::OnceIf(None))
}

/// As [`check_once`], for `value` alone if `fail_val` is not 0.
#[inline]
pub fn check_once_if(id: u32, value: u32) -> bool {
    is_on() && hit(id, Mode::OnceIf(Some(value)))
}

/// Waits at point `id`, until `fail_loc` is set to 0 at the longest. Whether it did. Only where
/// one may sleep.
#[inline]
pub fn pause(id: u32, time: impl FnOnce(u32) -> Duration) -> bool {
    is_on() && wait(id, time(val()))
}

/// The time at a point that takes `fail_val` as seconds.
pub fn seconds(val: u32) -> Duration {
    Duration::from_secs(val.into())
}

#[cold]
fn wait(id: u32, time: Duration) -> bool {
    if !hit(id, Mode::Plain) {
        return false;
    }
    let ms = time.as_millis();
    pr_warn!("cfs_fail_timeout id {:x} sleeping for {}ms\n", id, ms);
    let end = Instant::now() + time;
    while is_on() {
        let left = end.duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        kapi::time::sleep(left.min(STEP));
    }
    pr_warn!("cfs_fail_timeout id {:x} awake\n", id);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of ten times a point fires.
    fn fired(loc: u32, val: u32, f: impl Fn() -> bool) -> Vec<u32> {
        set_val(val);
        set_loc(loc);
        (1..=10).filter(|_| f()).collect()
    }

    #[test]
    fn flags() {
        let plain = || check(0x107);
        let all: Vec<u32> = (1..=10).collect();
        assert!(fired(0, 0, plain).is_empty());
        assert!(fired(0x108, 0, plain).is_empty());
        assert_eq!(fired(0x107, 0, plain), all);
        assert_eq!(loc(), 0x107 | FAILED);
        assert_eq!(fired(0x107 | ONCE, 0, plain), [1]);
        assert_eq!(fired(0x107 | SKIP, 3, plain), all[3..]);
        assert_eq!(fired(0x107 | SKIP | ONCE, 3, plain), [4]);
        assert_eq!(fired(0x107 | SOME, 3, plain), all[..3]);
        assert!(fired(0x107 | RAND, 1, plain).is_empty());
        let some = fired(0x107 | RAND, 2, plain);
        assert!(some.len() <= 10);
        assert_eq!(fired(0x107, 0, || check_once(0x107)), [1]);
        assert_eq!(fired(0x123, 36, || check_once_if(0x123, 36)), [1]);
        assert!(fired(0x123, 36, || check_once_if(0x123, 35)).is_empty());
        assert_eq!(fired(0x215, 2, || check_value(0x215, 2)), all);
        assert_eq!(fired(0x215, u32::MAX, || check_value(0x215, 2)), all);
        assert!(fired(0x215, 1, || check_value(0x215, 2)).is_empty());
        // Waiting, and its end.
        set_loc(0x236 | ONCE);
        let begin = Instant::now();
        assert!(pause(0x236, |_| Duration::from_millis(120)));
        assert!(Instant::now().duration_since(begin) >= Duration::from_millis(120));
        assert!(!pause(0x236, |_| Duration::from_secs(60)));
        set_loc(0);
    }
}
