// SPDX-License-Identifier: GPL-2.0

//! Fallible allocation: the kernel's boxes and vectors.

pub use kernel::alloc::{AllocError, Flags, KBox, KVBox, KVVec, KVec, VVec};
pub use kernel::init::InPlaceInit;

/// The flags the layers use.
pub mod flags {
    pub use kernel::alloc::flags::{GFP_ATOMIC, GFP_KERNEL, GFP_NOWAIT};

    /// May sleep, may not enter a file system: for use inside a transaction. There the whole task
    /// is in that mode already (`memalloc_nofs`), so the ordinary flags say enough.
    pub const GFP_NOFS: super::Flags = GFP_KERNEL;
}

/// An initialiser whose error type is [`crate::error::Error`].
#[macro_export]
macro_rules! try_pin_init {
    ($($args:tt)*) => { $crate::__kernel::try_pin_init!($($args)*) }
}
