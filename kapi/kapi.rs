// SPDX-License-Identifier: GPL-2.0

//! The interface to the kernel that the layers of the module are written against: safe
//! abstractions that `rust/kernel` does not have, and the part of those it has that the layers
//! use.
//!
//! All `unsafe` of the module is in this crate. `tests/host/kapi` has the same interface on top of
//! `std`; the two are kept together.

#[doc(hidden)]
pub use kernel as __kernel;

pub mod alloc;
pub mod chardev;
pub mod checksum;
pub mod collections;
mod ffi;
pub mod fs;
pub mod ldiskfs;
pub mod log;
pub mod module_params;
pub mod net;
pub mod once;
pub mod pages;
pub mod params;
pub mod rand;
pub mod sync;
pub mod thread;
pub mod time;

/// Errors are errno values.
pub mod error {
    pub use kernel::error::{code, Error, Result};
}

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
