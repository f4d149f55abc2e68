// SPDX-License-Identifier: GPL-2.0

//! The locks of one client.

use super::memory::LockMemory;
use super::traits::AstSender;
use crate::core::ExportId;
use kapi::prelude::*;

/// What a namespace is told of an export when it is attached.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// The export's cookie, not 0.
    pub id: ExportId,
    /// A number for the client's address: the same for all its mounts.
    pub peer: u64,
    /// OBD_CONNECT_LVB_TYPE: value blocks of 56 bytes, not 40.
    pub lvb_type: bool,
    /// OBD_CONNECT_FLOCK_DEAD: it understands a wait that ended because of a deadlock.
    pub flock_dead: bool,
    /// OBD_CONNECT_MDS_MDS: another MDT, never evicted for keeping a lock.
    pub no_timer: bool,
    /// How many locks it may have, if its share of the memory is not less. One that asks for more is told to
    /// ask again (EINPROGRESS), and to give up others.
    pub max_locks: u32,
}

/// What is kept of each lock in the export: when its callback runs out, and when it was sent;
/// milliseconds, 0 for not.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) deadline: u64,
    pub(super) sent: u64,
}

pub(super) struct ExportState {
    /// By the client's handle and ours. What an intent put in place of a lock has its handle.
    locks: RBTree<(u64, u64), Entry>,
    count: u32,
    /// It was told that it has too many.
    crowded: bool,
    /// Its last lock that was thought of when some were to be taken back.
    reclaim_at: (u64, u64),
    /// Disconnected or evicted: no new locks.
    closed: bool,
    /// The smallest deadline there may be, 0 if there is none.
    next_deadline: u64,
    /// Smoothed time from a blocking callback to the cancel, ms.
    estimate: u64,
}

/// An export as its locks know it.
#[pin_data]
pub struct ExportLocks {
    pub(super) options: ExportOptions,
    memory: &'static LockMemory,
    pub(super) sender: Arc<dyn AstSender>,
    #[pin]
    pub(super) state: Mutex<ExportState>,
}

impl ExportLocks {
    pub(super) fn new(
        options: ExportOptions,
        memory: &'static LockMemory,
        sender: Arc<dyn AstSender>,
        estimate: u64,
    ) -> Result<Arc<Self>> {
        let state = ExportState {
            locks: RBTree::new(),
            count: 0,
            crowded: false,
            reclaim_at: (0, 0),
            closed: false,
            next_deadline: 0,
            estimate,
        };
        Arc::pin_init(
            pin_init!(ExportLocks {
                options,
                memory,
                sender,
                state <- new_mutex!(state),
            }),
            GFP_KERNEL,
        )
    }

    /// Its identity.
    pub fn id(&self) -> ExportId {
        self.options.id
    }

    /// How many locks it has, granted and waiting.
    pub fn count(&self) -> u32 {
        self.state.lock().count
    }

    /// Whether it takes no more locks.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Enters a lock.
    ///
    /// # Errors
    /// `ENOTCONN`: disconnected or evicted. `ENOMEM`.
    pub(super) fn add(&self, client_handle: u64, cookie: u64) -> Result {
        let node = RBTreeNode::new((client_handle, cookie), Entry::default(), GFP_KERNEL)?;
        let mut st = self.state.lock();
        if st.closed {
            return Err(ENOTCONN);
        }
        st.locks.insert(node);
        st.count += 1;
        self.memory.hold(1);
        Ok(())
    }

    /// Whether it may have one more. If not, some will be asked for.
    pub(super) fn has_room(&self) -> bool {
        let share = self.memory.share().min(self.options.max_locks.into());
        let mut st = self.state.lock();
        let room = u64::from(st.count) < share;
        st.crowded |= !room;
        room
    }

    /// Whether there was no room for a lock since the last question.
    pub(super) fn take_crowded(&self) -> bool {
        core::mem::take(&mut self.state.lock().crowded)
    }

    /// The handle of a lock; each time that of the next, and again from the first.
    pub(super) fn next_to_reclaim(&self) -> Option<u64> {
        let mut st = self.state.lock();
        let (h, c) = st.reclaim_at;
        let after = (h, c.saturating_add(1));
        let next = st.locks.cursor_lower_bound(&after).map(|c| *c.current().0);
        let key = next.or_else(|| st.locks.cursor_front().map(|c| *c.current().0))?;
        st.reclaim_at = key;
        Some(key.1)
    }

    /// Forgets a lock; returns what was kept of it.
    pub(super) fn remove(&self, client_handle: u64, cookie: u64) -> Option<Entry> {
        let mut st = self.state.lock();
        let e = st.locks.remove(&(client_handle, cookie))?;
        st.count = st.count.saturating_sub(1);
        self.memory.hold(-1);
        Some(e)
    }

    /// The lock that the client knows by this handle.
    pub(super) fn by_client_handle(&self, client_handle: u64) -> Option<u64> {
        let st = self.state.lock();
        let c = st.locks.cursor_lower_bound(&(client_handle, 0))?;
        let (h, cookie) = *c.current().0;
        (h == client_handle).then_some(cookie)
    }

    /// No new locks from now on.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// The next lock with a callback outstanding, in order of keys.
    pub(super) fn next_blocked(&self, after: Option<(u64, u64)>) -> Option<(u64, u64)> {
        let st = self.state.lock();
        if st.next_deadline == 0 {
            return None;
        }
        let mut from = match after {
            None => (0, 0),
            Some((h, c)) => (h, c.checked_add(1)?),
        };
        loop {
            let c = st.locks.cursor_lower_bound(&from)?;
            let (k, e) = c.current();
            if e.deadline != 0 {
                return Some(*k);
            }
            from = (k.0, k.1.checked_add(1)?);
        }
    }

    /// Any lock.
    pub(super) fn any(&self) -> Option<(u64, u64)> {
        let st = self.state.lock();
        let c = st.locks.cursor_front()?;
        Some(*c.current().0)
    }

    /// The callback of a lock has been sent: it is to be cancelled within the time-out.
    pub(super) fn arm(&self, client_handle: u64, cookie: u64, now: u64, timeout: u64) {
        if self.options.no_timer {
            return;
        }
        let mut st = self.state.lock();
        let Some(e) = st.locks.get_mut(&(client_handle, cookie)) else {
            return;
        };
        if e.sent == 0 {
            e.sent = now;
        }
        e.deadline = e.deadline.max(now.saturating_add(timeout)).max(1);
        let d = e.deadline;
        if st.next_deadline == 0 || d < st.next_deadline {
            st.next_deadline = d;
        }
    }

    /// The lock was given back in part: the callback has been answered.
    pub(super) fn disarm(&self, client_handle: u64, cookie: u64) {
        if let Some(e) = self.state.lock().locks.get_mut(&(client_handle, cookie)) {
            *e = Entry::default();
        }
    }

    /// A lock whose time is over, if there is one.
    pub(super) fn expired(&self, now: u64) -> Option<(u64, u64)> {
        let mut st = self.state.lock();
        if st.next_deadline == 0 || now < st.next_deadline {
            return None;
        }
        let (mut next, mut found) = (0, None);
        for (k, e) in st.locks.iter().filter(|(_, e)| e.deadline != 0) {
            if e.deadline <= now && found.is_none() {
                found = Some(*k);
            }
            if next == 0 || e.deadline < next {
                next = e.deadline;
            }
        }
        st.next_deadline = next;
        found
    }

    /// How long it took from a callback to the cancel, ms.
    pub(super) fn sample(&self, took: u64) {
        let mut st = self.state.lock();
        let aged = st.estimate - st.estimate / 8;
        st.estimate = aged.saturating_add(took / 8).max(took);
    }

    /// The expected time from a callback to the cancel, ms.
    pub(super) fn estimate(&self) -> u64 {
        self.state.lock().estimate
    }
}
