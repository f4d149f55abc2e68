// SPDX-License-Identifier: GPL-2.0

//! Closures that are called once, behind a box.

use crate::alloc::KBox;

/// What can be called once with an `A`: any closure that does so. `KBox<dyn Once<A>>` stands for
/// `Box<dyn FnOnce(A)>`, which the kernel's boxes cannot be called as.
pub trait Once<A>: Send {
    /// Calls it and frees it.
    fn call(self: KBox<Self>, a: A);
}

impl<A, F: FnOnce(A) + Send> Once<A> for F {
    fn call(self: KBox<Self>, a: A) {
        KBox::into_inner(self)(a)
    }
}
