// SPDX-License-Identifier: GPL-2.0

//! Threads that end together.

use super::{spawn, JoinHandle};
use crate::alloc::{flags::GFP_KERNEL, KVec};
use crate::error::Result;
use core::fmt;

/// Threads that end together. Dropping this waits for their end, which somebody has to bring about
/// before.
#[derive(Default)]
pub struct Threads(KVec<JoinHandle>);

impl Threads {
    /// None.
    pub const fn new() -> Threads {
        Threads(KVec::new())
    }

    /// Starts one more. There is room for its handle before it runs: a handle that is dropped waits
    /// for a thread that nobody has told to end.
    ///
    /// # Errors
    /// `ENOMEM`, `EAGAIN`: no thread to be had.
    pub fn spawn<F: FnOnce() + Send + 'static>(
        &mut self,
        name: fmt::Arguments<'_>,
        f: F,
    ) -> Result {
        self.0.reserve(1, GFP_KERNEL)?;
        Ok(self.0.push(spawn(name, f)?, GFP_KERNEL)?)
    }

    /// Forgets those that have ended.
    pub fn reap(&mut self) {
        self.0.retain(|t| !t.is_finished());
    }

    /// Waits for their end.
    pub fn join(self) {}
}
