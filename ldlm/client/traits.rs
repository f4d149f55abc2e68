// SPDX-License-Identifier: GPL-2.0

//! What a cache of locks needs from the layers around it.

use super::state::ClientView;
use kapi::prelude::*;

/// Sends to the server the locks are from.
pub trait CancelSender: Send + Sync {
    /// Sends LDLM_CANCEL for these locks of the server's handles, as one request or several. Not
    /// to wait for the answer. If the connection is lost and comes back it has to be sent again:
    /// the server may be waiting for it.
    fn cancel(&self, cookies: &[u64]);
}

/// The user of the locks: it knows what is cached under them.
pub trait CacheOps: Send + Sync {
    /// The lock is about to go: write back what is dirty under it (or, with `discard`, drop it),
    /// drop what is cached. May wait for the server; the lock is still there meanwhile, and finds
    /// no new users.
    fn give_up(&self, lock: &ClientView, discard: bool);

    /// The present value block for a glimpse, up to 64 bytes into `lvb`; how many. `None`: nothing
    /// to tell.
    fn glimpse(&self, lock: &ClientView, lvb: &mut [u8; 64]) -> Option<usize>;

    /// The lock has been granted by a completion, for owners that do not wait.
    fn granted(&self, lock: &ClientView, lvb: &[u8]);

    /// Whether an unused lock may be dropped before it is replayed to a restarted server: nothing
    /// that needs I/O is cached under it.
    fn droppable(&self, lock: &ClientView) -> bool;
}

/// How many cancels are sent at once at most: what fits a request of a page (spec/ldlm.md 11.2).
pub(super) const BATCH: usize = 380;

/// A list of server handles.
pub(super) type Cookies = KVec<u64>;
