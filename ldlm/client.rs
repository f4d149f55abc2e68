// SPDX-License-Identifier: GPL-2.0

//! The client side: the cache of locks that a node holds at one target.
//!
//! A [`Cache`] belongs to one import. A lock is asked for in steps, so that its request may carry
//! whatever an intent needs: [`Cache::prepare`] makes it and gives its handle, the caller sends the
//! enqueue, [`Cache::answered`] takes the reply, [`Cache::wait`] waits for the completion if there
//! is to be one. Users hold a lock through a [`Held`]; without users it stays in the cache, is
//! found again with [`Cache::find`], and goes when the server calls it back, when the cache grows
//! too large or too old, or early, riding in another request.
//!
//! Callbacks are answered at once. What is to be given up is queued; [`Cache::work`], run by a
//! thread of the owner, has the owner drop what it caches under the lock and sends the cancels.

mod cache;
mod callback;
mod cancel;
mod company;
mod replay;
mod state;
mod traits;

#[cfg(test)]
mod tests;

pub use cache::{Answer, Cache, CacheConfig, Held, Want};
pub use replay::ReplayLock;
pub use state::{ClientState, ClientView};
pub use traits::{CacheOps, CancelSender};
