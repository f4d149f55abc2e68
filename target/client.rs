// SPDX-License-Identifier: GPL-2.0

//! What a target keeps about each of its clients.

use crate::replies::Replies;
use crate::seats::Seat;
use core::any::Any;
use kapi::prelude::*;
use ldlm::server::ExportLocks;
use ptlrpc::export::{ClientState, Export};

/// A client of a target.
#[pin_data]
pub struct Client {
    /// Its slot in `last_rcvd`; none for light connections and for the MGS.
    pub(crate) record: Option<u32>,
    _seat: Seat,
    /// What its kind of service keeps.
    own: Arc<dyn ClientState>,
    #[pin]
    locks: SpinLock<Option<Arc<ExportLocks>>>,
    /// Answers to what it changed.
    #[pin]
    pub(crate) replies: Mutex<Replies>,
    /// Handles of locks that requests work under.
    #[pin]
    busy: SpinLock<KVec<u64>>,
}

impl ClientState for Client {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Client {
    pub(crate) fn new(
        record: Option<u32>,
        seat: Seat,
        own: Arc<dyn ClientState>,
    ) -> Result<Arc<Client>> {
        Arc::pin_init(
            pin_init!(Client {
                record,
                _seat: seat,
                own,
                locks <- new_spinlock!(None),
                replies <- new_mutex!(Replies::new()),
                busy <- new_spinlock!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// The client behind an export.
    ///
    /// # Errors
    /// `EINVAL`: the export is not one of a target's.
    pub fn of(export: &Export) -> Result<&Client> {
        export.state.as_any().downcast_ref().ok_or(EINVAL)
    }

    /// What the service keeps.
    ///
    /// # Errors
    /// `EINVAL`: it is something else.
    pub fn own<T: 'static>(&self) -> Result<&T> {
        self.own.as_any().downcast_ref().ok_or(EINVAL)
    }

    /// Its locks.
    ///
    /// # Errors
    /// `ENOTCONN`: it is only just connecting, or gone.
    pub fn locks(&self) -> Result<Arc<ExportLocks>> {
        self.locks.lock().clone().ok_or(ENOTCONN)
    }

    pub(crate) fn set_locks(&self, locks: Option<Arc<ExportLocks>>) -> Option<Arc<ExportLocks>> {
        core::mem::replace(&mut *self.locks.lock(), locks)
    }

    /// A request works under the lock with this handle from now on until what is returned is
    /// dropped: meanwhile the lock does not time out.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn work_under(&self, cookie: u64) -> Result<UnderLock<'_>> {
        // Room is made without the lock; who comes between finds the room gone and tries again.
        loop {
            let len = {
                let mut busy = self.busy.lock();
                if busy.len() < busy.capacity() {
                    busy.push_within_capacity(cookie).map_err(|_| ENOMEM)?;
                    return Ok(UnderLock {
                        client: self,
                        cookie,
                    });
                }
                busy.len()
            };
            let mut more: KVec<u64> = KVec::with_capacity((len * 2).max(8), GFP_KERNEL)?;
            let mut busy = self.busy.lock();
            if more.capacity() > busy.capacity() {
                for c in busy.iter() {
                    more.push_within_capacity(*c).map_err(|_| ENOMEM)?;
                }
                core::mem::swap(&mut *busy, &mut more);
            }
        }
    }

    /// Whether a request works under this lock.
    pub(crate) fn is_busy(&self, cookie: u64) -> bool {
        self.busy.lock().contains(&cookie)
    }
}

/// A request works under a lock.
pub struct UnderLock<'a> {
    client: &'a Client,
    cookie: u64,
}

impl Drop for UnderLock<'_> {
    fn drop(&mut self) {
        let mut busy = self.client.busy.lock();
        if let Some(i) = busy.iter().position(|c| *c == self.cookie) {
            // The position was found just now.
            let _ = busy.remove(i);
        }
    }
}
