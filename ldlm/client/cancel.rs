// SPDX-License-Identifier: GPL-2.0

//! Giving locks up.

use super::cache::Cache;
use super::state::{ClientState, ClientView, List};
use super::traits::{Cookies, BATCH};
use crate::core::{Mode, Policy, ResId};
use kapi::prelude::*;

impl Cache {
    /// Gives up what is to be given up: called back, or unused for too long or too many. Drops
    /// what is cached under the locks, then sends the cancels. Returns how many there were.
    pub fn work(&self) -> usize {
        self.age();
        let mut all = 0;
        loop {
            let mut batch = Cookies::new();
            // Without memory they go one by one.
            let room = match batch.reserve(BATCH, GFP_KERNEL) {
                Ok(()) => BATCH,
                Err(_) => 0,
            };
            let mut n = 0;
            while n < room.max(1) {
                let Some((view, discard)) = self.next_doomed() else {
                    break;
                };
                self.ops().give_up(&view, discard);
                let gone = self.table().lock().remove(view.handle);
                drop(gone);
                n += 1;
                if view.cookie != 0 && batch.push_within_capacity(view.cookie).is_err() {
                    self.sender().cancel(&[view.cookie]);
                }
            }
            if !batch.is_empty() {
                self.sender().cancel(&batch);
            }
            if n == 0 && !self.doom_company() {
                return all;
            }
            all += n;
        }
    }

    /// Sleeps until there is something for [`Cache::work`], or for `limit`.
    pub fn wait_for_work(&self, limit: Duration) {
        let mut t = self.table().lock();
        let crowded = t.list_len(List::Unused) > self.config().max_unused;
        if t.first(List::Doomed).is_none() && !crowded {
            let _ = self.todo().wait_timeout(t, limit);
        }
    }

    fn next_doomed(&self) -> Option<(ClientView, bool)> {
        let mut t = self.table().lock();
        let handle = t.first(List::Doomed)?;
        t.set_list(handle, List::None);
        let e = t.get(handle)?;
        Some((e.view, e.discard))
    }

    /// Dooms unused locks that are too many or too old.
    fn age(&self) {
        let limit = u64::try_from(self.config().max_age.as_millis()).unwrap_or(u64::MAX);
        let now = self.tick();
        let mut t = self.table().lock();
        while let Some(handle) = t.first(List::Unused) {
            let many = t.list_len(List::Unused) > self.config().max_unused;
            let Some(e) = t.get(handle) else { return };
            if !many && now.saturating_sub(e.unused_at) < limit {
                return;
            }
            t.doom(handle);
        }
    }

    /// Gives up all unused locks at the next [`Cache::work`]: `lru_size=clear`, and umount.
    pub fn clear(&self) {
        let mut t = self.table().lock();
        while let Some(handle) = t.first(List::Unused) {
            t.doom(handle);
        }
        drop(t);
        self.todo().notify_all();
    }

    /// Early cancel: takes unused locks of a resource that conflict with an operation out of the
    /// cache, up to `max`, for their handles to ride in its request. What is cached under them is
    /// dropped before this returns. Locks that have been called back go their own way.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn early(&self, res: &ResId, mode: Mode, policy: &Policy, max: usize) -> Result<KVec<u64>> {
        let mut out = KVec::with_capacity(max.min(BATCH), GFP_KERNEL)?;
        while out.len() < max.min(BATCH) {
            let mut t = self.table().lock();
            let found = t.find_in(res, |e| {
                e.is_usable()
                    && e.is_cached()
                    && e.view.users == 0
                    && e.view.cookie != 0
                    && !e.view.mode.compatible_with(mode)
                    && meets(&e.view.policy, policy)
            });
            let Some(handle) = found else { break };
            t.set_list(handle, List::None);
            let Some(e) = t.get_mut(handle) else { break };
            e.view.state = ClientState::GoingAway;
            let (view, discard) = (e.view, e.discard);
            drop(t);
            self.ops().give_up(&view, discard);
            let gone = self.table().lock().remove(handle);
            drop(gone);
            out.push(view.cookie, GFP_KERNEL)?;
        }
        Ok(out)
    }

    /// Gives one lock up, unused or when its users leave.
    pub fn cancel(&self, handle: u64) {
        let mut t = self.table().lock();
        let Some(e) = t.get_mut(handle) else { return };
        e.view.called_back = true;
        if e.view.users == 0 && e.view.state == ClientState::Granted {
            t.doom(handle);
        }
        drop(t);
        self.todo().notify_one();
    }
}

fn meets(a: &Policy, b: &Policy) -> bool {
    match (a, b) {
        (Policy::Plain, Policy::Plain) => true,
        (Policy::Extent(a), Policy::Extent(b)) => a.overlaps(b),
        (Policy::Ibits(a), Policy::Ibits(b)) => a.bits & b.bits != 0,
        _ => false,
    }
}
