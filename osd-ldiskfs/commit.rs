// SPDX-License-Identifier: GPL-2.0

//! What is to be called when a transaction is on disk.

use kapi::ldiskfs::CommitSink;
use kapi::prelude::*;

/// Called with `Ok` when the transaction is on disk, with an error if it never will be.
pub type Callback = KBox<dyn Once<Result>>;

/// The callbacks of a device.
///
/// jbd2 has at most two transactions that are not on disk: the running one, and the one before it
/// that is being committed. So there is a list for even numbers and one for odd ones.
#[pin_data]
pub(crate) struct CommitQueue {
    #[pin]
    even: SpinLock<KVVec<Callback>>,
    #[pin]
    odd: SpinLock<KVVec<Callback>>,
}

impl CommitQueue {
    /// An empty queue.
    pub(crate) fn new() -> Result<Arc<CommitQueue>> {
        Arc::pin_init(
            pin_init!(CommitQueue {
                even <- new_spinlock!(KVVec::new()),
                odd <- new_spinlock!(KVVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    fn list(&self, tid: u32) -> &SpinLock<KVVec<Callback>> {
        if tid % 2 == 0 {
            &self.even
        } else {
            &self.odd
        }
    }

    /// Queues a callback for transaction `tid`, which is still running. Without memory it is
    /// given back: then the caller waits for the commit itself.
    pub(crate) fn add(&self, tid: u32, call: Callback) -> Result<(), Callback> {
        loop {
            let mut spare = KVVec::new();
            let len = {
                let mut list = self.list(tid).lock();
                if list.len() < list.capacity() {
                    return list.push_within_capacity(call).map_err(|e| e.0);
                }
                list.len()
            };
            // A longer list is made without the lock.
            if spare.reserve((len * 2).max(64), GFP_NOFS).is_err() {
                return Err(call);
            }
            let mut list = self.list(tid).lock();
            if spare.capacity() > list.len() {
                for c in list.drain_all() {
                    // There is room for all of them.
                    if spare.push_within_capacity(c).is_err() {
                        break;
                    }
                }
                core::mem::swap(&mut *list, &mut spare);
            }
        }
    }
}

impl CommitSink for CommitQueue {
    fn committed(&self, tid: u32, aborted: bool) {
        let done = core::mem::take(&mut *self.list(tid).lock());
        for call in done {
            call.call(if aborted { Err(EIO) } else { Ok(()) });
        }
    }
}
