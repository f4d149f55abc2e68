// SPDX-License-Identifier: GPL-2.0

//! What an OST keeps about a client.

use crate::grant::ClientGrant;
use core::any::Any;
use kapi::prelude::*;
use kapi::sync::atomic::Atomic;
use ptlrpc::export::ClientState;
use target::{Client, Request};
use wire::fid::Fid;

/// Objects whose times were set lately that are remembered.
const KEPT: usize = 256;

/// What was agreed on at the latest connect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// Largest transfer, bytes.
    pub(crate) brw_size: u32,
    /// It takes part in grants.
    pub(crate) grant: bool,
    /// It counts what extents cost.
    pub(crate) taxed: bool,
    /// It must not change anything.
    pub(crate) readonly: bool,
    /// It is an MDT.
    pub(crate) mdt: bool,
    /// Numbers of orphans are not used again.
    pub(crate) skip_orphan: bool,
    /// Its data may be in the messages.
    pub(crate) short_io: bool,
    /// Index of the MDT.
    pub(crate) group: u32,
}

/// When times of an object were set.
#[derive(Clone, Copy)]
struct Stamp {
    fid: Fid,
    xid: u64,
    at: Instant,
}

/// A client.
#[pin_data]
pub(crate) struct OfdClient {
    #[pin]
    terms: SpinLock<Terms>,
    /// Taken before the sums of all clients.
    #[pin]
    pub(crate) grant: SpinLock<ClientGrant>,
    /// Writes in a row that asked for an early commit.
    pub(crate) soft_syncs: Atomic<u32>,
    #[pin]
    stamps: Mutex<KVec<Stamp>>,
}

impl ClientState for OfdClient {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl OfdClient {
    pub(crate) fn new() -> Result<Arc<OfdClient>> {
        Arc::pin_init(
            pin_init!(OfdClient {
                terms <- new_spinlock!(Terms::default()),
                grant <- new_spinlock!(ClientGrant::default()),
                soft_syncs: Atomic::<u32>::new(0),
                stamps <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// What was agreed on.
    pub(crate) fn terms(&self) -> Terms {
        *self.terms.lock()
    }

    pub(crate) fn set_terms(&self, terms: Terms) {
        *self.terms.lock() = terms;
    }

    /// The request `xid` has set times of an object: those of writes that were sent before it do
    /// not count any more. Stamps of an `age` are forgotten.
    pub(crate) fn stamp(&self, fid: &Fid, xid: u64, age: Duration) {
        let now = Instant::now();
        let mut stamps = self.stamps.lock();
        stamps.retain(|s| s.fid != *fid && now.duration_since(s.at) < age);
        if stamps.len() >= KEPT {
            // The oldest.
            let _ = stamps.remove(0);
        }
        let stamp = Stamp {
            fid: *fid,
            xid,
            at: now,
        };
        // Without memory times may be a little off.
        let _ = stamps.push(stamp, GFP_KERNEL);
    }

    /// Whether times of a write with this XID are out of date.
    pub(crate) fn is_outdated(&self, fid: &Fid, xid: u64) -> bool {
        let stamps = self.stamps.lock();
        stamps.iter().any(|s| s.fid == *fid && s.xid > xid)
    }
}

/// The client behind a request.
///
/// # Errors
/// `EINVAL`: it is none of an OST.
pub(crate) fn of(export: &ptlrpc::export::Export) -> Result<&OfdClient> {
    Client::of(export)?.own()
}

/// Refuses changes by clients that mounted to read only.
///
/// # Errors
/// `EROFS`.
pub(crate) fn may_write(req: &Request<'_>) -> Result {
    match of(&req.export)?.terms().readonly {
        true => Err(EROFS),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_times_win() {
        let c = OfdClient::new().unwrap();
        let (a, b) = (Fid::new(1 << 40, 1), Fid::new(1 << 40, 2));
        let age = Duration::from_secs(100);
        c.stamp(&a, 10, age);
        assert!(c.is_outdated(&a, 9) && !c.is_outdated(&a, 10) && !c.is_outdated(&b, 9));
        c.stamp(&a, 20, age);
        assert!(c.is_outdated(&a, 15));
        for i in 0..1000 {
            c.stamp(&Fid::new(1 << 41, i), 30, age);
        }
        assert_eq!(c.stamps.lock().len(), KEPT);
        c.stamp(&b, 5, Duration::ZERO);
        assert_eq!(c.stamps.lock().len(), 1);
    }
}
