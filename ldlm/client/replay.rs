// SPDX-License-Identifier: GPL-2.0

//! Restarts of the server, and losing the connection for good (spec/ldlm.md 15.5, 17).

use super::cache::Cache;
use super::state::{ClientState, List};
use crate::core::{flags, Desc};
use kapi::prelude::*;

/// A lock to be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayLock {
    /// Our handle.
    pub handle: u64,
    /// Flags of the enqueue: REPLAY, with BLOCK_GRANTED or BLOCK_WAIT.
    pub flags: u32,
    /// The lock.
    pub desc: Desc,
}

impl Cache {
    /// Drops unused locks that need no I/O, without telling the server, which has forgotten them.
    pub fn drop_before_replay(&self) -> usize {
        let mut n = 0;
        let mut at = self.table().lock().first(List::Unused);
        while let Some(handle) = at {
            let (next, view) = {
                let t = self.table().lock();
                (t.next(handle), t.get(handle).map(|e| e.view))
            };
            if view.is_some_and(|v| v.users == 0 && self.ops().droppable(&v)) {
                let mut t = self.table().lock();
                let unused = t
                    .get(handle)
                    .is_some_and(|e| e.view.users == 0 && e.view.state == ClientState::Granted);
                if unused {
                    let gone = t.remove(handle);
                    drop(t);
                    drop(gone);
                    n += 1;
                }
            }
            at = next;
        }
        n
    }

    /// The locks to replay. An enqueue that was never answered is replayed as a new one.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn replays(&self) -> Result<KVec<ReplayLock>> {
        let t = self.table().lock();
        let mut out = KVec::with_capacity(t.len(), GFP_KERNEL)?;
        for e in t.iter() {
            let how = match e.view.state {
                ClientState::Granted if e.flags & flags::CANCEL_ON_BLOCK == 0 => {
                    flags::BLOCK_GRANTED
                }
                // What is still cached under it is protected until it is gone.
                ClientState::GoingAway => flags::BLOCK_GRANTED,
                ClientState::Waiting => flags::BLOCK_WAIT,
                ClientState::Asked => 0,
                ClientState::Granted | ClientState::Failed => continue,
            };
            let granted = (how == flags::BLOCK_GRANTED).then_some(e.view.mode);
            let lock = ReplayLock {
                handle: e.view.handle,
                flags: flags::REPLAY | how,
                desc: Desc {
                    res: e.view.res,
                    req_mode: e.view.mode,
                    granted,
                    policy: e.view.policy,
                    cancel_bits: 0,
                },
            };
            out.push(lock, GFP_KERNEL)?;
        }
        Ok(out)
    }

    /// The server has answered a replay: this is its handle now.
    pub fn replayed(&self, handle: u64, cookie: u64) {
        let mut t = self.table().lock();
        if let Some(e) = t.get_mut(handle) {
            e.view.cookie = cookie;
            // Whoever wanted it back asks again.
            if e.view.state == ClientState::Granted {
                e.view.called_back = false;
            }
        }
    }

    /// All locks are lost: we were evicted, or the mount goes by force. Who waits gets an error;
    /// locks in use stay until their users notice.
    pub fn invalidate(&self) {
        loop {
            let mut t = self.table().lock();
            let next = t
                .iter()
                .find(|e| e.view.state != ClientState::Failed)
                .map(|e| (e.view, e.is_cached()));
            let Some((view, _)) = next else { break };
            t.set_list(view.handle, List::None);
            if let Some(e) = t.get_mut(view.handle) {
                e.view.state = ClientState::Failed;
            }
            let gone = match view.users {
                0 => t.remove(view.handle),
                _ => None,
            };
            drop(t);
            drop(gone);
            if matches!(view.state, ClientState::Granted | ClientState::GoingAway) {
                // Nothing can be written back any more.
                self.ops().give_up(&view, true);
            }
        }
        self.changed().notify_all();
    }
}
