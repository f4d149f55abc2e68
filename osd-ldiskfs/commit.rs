// SPDX-License-Identifier: GPL-2.0

//! What is to be called when a transaction is on disk.

use kapi::ldiskfs::CommitSink;
use kapi::prelude::*;
use osd::Callback;

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

    /// Queues a callback for transaction `tid`, in which the caller has a handle.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn add(&self, tid: u32, call: Callback) -> Result {
        loop {
            let len = {
                let mut list = self.list(tid).lock();
                if list.len() < list.capacity() {
                    return list.push_within_capacity(call).map_err(|_| ENOMEM);
                }
                list.len()
            };
            // A longer list is made without the lock.
            let mut spare = KVVec::new();
            spare.reserve((len * 2).max(64), GFP_NOFS)?;
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

    /// Nothing is committed any more. A journal that gave up leaves callbacks behind, and those
    /// who wait have to hear of it.
    pub(crate) fn give_up(&self) {
        call_all(&self.even, Err(EIO));
        call_all(&self.odd, Err(EIO));
    }
}

fn call_all(list: &SpinLock<KVVec<Callback>>, result: Result) {
    let done = core::mem::take(&mut *list.lock());
    for call in done {
        call.call(result);
    }
}

impl CommitSink for CommitQueue {
    fn committed(&self, tid: u32, aborted: bool) {
        call_all(self.list(tid), if aborted { Err(EIO) } else { Ok(()) });
    }
}
