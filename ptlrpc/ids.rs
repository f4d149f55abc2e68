// SPDX-License-Identifier: GPL-2.0

//! Numbers that name things: XIDs and handle cookies.

use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};

/// What XIDs step by, so that the match bits of as many bulk MDs lie between two of them
/// (spec `ptlrpc.md` §6.1).
pub const XID_STEP: u64 = 128;

/// The counter of a node's XIDs.
pub struct XidSource(Atomic<u64>);

impl XidSource {
    /// Starts from the wall clock, so that numbers of an earlier life do not come again.
    pub fn new() -> Self {
        const YEAR_2004: u64 = 1 << 30;
        let secs = kapi::time::real().as_secs();
        let start = if secs < YEAR_2004 {
            (kapi::rand::u64() >> 2) | (1 << 61)
        } else {
            secs << 20
        };
        XidSource(Atomic::<u64>::new(start & !(XID_STEP - 1)))
    }

    /// The next one.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(XID_STEP, Relaxed)
    }
}

impl Default for XidSource {
    fn default() -> Self {
        Self::new()
    }
}

/// A cookie for a new handle: random, and neither zero nor all ones, which mean "none". That it
/// is not in use already is for the table to see to that it goes into.
pub fn new_cookie() -> u64 {
    loop {
        match kapi::rand::u64() {
            0 | u64::MAX => {}
            c => return c,
        }
    }
}

/// Objects by cookie, in stripes so that look-ups do not meet on one lock.
#[pin_data]
pub struct HandleTable<T: ?Sized> {
    #[pin]
    a: SpinLock<RBTree<u64, Arc<T>>>,
    #[pin]
    b: SpinLock<RBTree<u64, Arc<T>>>,
    #[pin]
    c: SpinLock<RBTree<u64, Arc<T>>>,
    #[pin]
    d: SpinLock<RBTree<u64, Arc<T>>>,
}

impl<T: ?Sized> HandleTable<T> {
    /// An empty table.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(HandleTable {
            a <- new_spinlock!(RBTree::new()),
            b <- new_spinlock!(RBTree::new()),
            c <- new_spinlock!(RBTree::new()),
            d <- new_spinlock!(RBTree::new()),
        })
    }

    fn stripe(&self, cookie: u64) -> &SpinLock<RBTree<u64, Arc<T>>> {
        match cookie & 3 {
            0 => &self.a,
            1 => &self.b,
            2 => &self.c,
            _ => &self.d,
        }
    }

    /// Adds `t` under `cookie`.
    ///
    /// # Errors
    /// `EEXIST`: the cookie is in use: try another. `ENOMEM`.
    pub fn insert(&self, cookie: u64, t: Arc<T>) -> Result {
        let node = RBTreeNode::new(cookie, t, GFP_KERNEL)?;
        let mut tree = self.stripe(cookie).lock();
        if tree.get(&cookie).is_some() {
            drop(tree);
            return Err(EEXIST);
        }
        tree.insert(node);
        Ok(())
    }

    /// Looks up.
    pub fn get(&self, cookie: u64) -> Option<Arc<T>> {
        self.stripe(cookie).lock().get(&cookie).cloned()
    }

    /// Takes out.
    pub fn remove(&self, cookie: u64) -> Option<Arc<T>> {
        self.stripe(cookie).lock().remove(&cookie)
    }
}
