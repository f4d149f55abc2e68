// SPDX-License-Identifier: GPL-2.0

//! Open files and directories, by the numbers that the kernel knows them by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A table of what is open.
pub struct Handles<T> {
    next: AtomicU64,
    all: RwLock<HashMap<u64, Arc<T>>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Handles {
            next: AtomicU64::new(1),
            all: RwLock::default(),
        }
    }
}

impl<T> Handles<T> {
    /// Enters something.
    pub fn add(&self, t: T) -> u64 {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(n, Arc::new(t));
        n
    }

    /// Finds it.
    pub fn get(&self, n: u64) -> Option<Arc<T>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&n).cloned()
    }

    /// Takes it out.
    pub fn remove(&self, n: u64) -> Option<Arc<T>> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(&n)
    }
}
