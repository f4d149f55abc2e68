// SPDX-License-Identifier: GPL-2.0

//! The host's stand-in for `kapi`: the interface to the operating system that the layers of the
//! module are written against, here on top of `std`.
//!
//! What this crate offers is the contract. The in-kernel `kapi/` has the same names, signatures
//! and behaviour on top of `rust/kernel`, so that a layer compiles unchanged on both sides.
#![feature(derive_coerce_pointee)]

pub mod alloc;
pub mod checksum;
pub mod collections;
pub mod error;
pub mod log;
pub mod net;
#[path = "../../../../kapi/once.rs"]
pub mod once;
pub mod pages;
pub mod params;
pub mod rand;
pub mod sync;
pub mod thread;
pub mod time;

pub mod prelude {
    //! What nearly every file of a layer needs.
    pub use crate::alloc::{
        flags::{GFP_ATOMIC, GFP_KERNEL, GFP_NOFS, GFP_NOWAIT},
        AllocError, Flags, InPlaceInit, KBox, KVBox, KVVec, KVec, VVec,
    };
    pub use crate::collections::{Deque, RBTree, RBTreeNode};
    pub use crate::error::{code::*, Error, Result};
    pub use crate::once::Once;
    pub use crate::sync::{Arc, CondVar, Mutex, MutexGuard, SpinLock, SpinLockGuard};
    pub use crate::time::{Duration, Instant};
    pub use crate::{new_condvar, new_mutex, new_spinlock, try_pin_init};
    pub use crate::{pr_debug, pr_err, pr_info, pr_warn, pr_warn_ratelimited};
    pub use core::pin::Pin;
    pub use pin_init::{pin_data, pin_init, PinInit};
}
