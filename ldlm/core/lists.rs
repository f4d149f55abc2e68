// SPDX-License-Identifier: GPL-2.0

//! Putting locks on the lists of a resource and taking them off.

use super::groups::Key;
use super::lock::{Lock, State};
use super::resource::{Enqueued, Env, Hint, Resource, Status};
use super::tree::Root;
use super::types::{LockType, Mode, Policy, ALL_MODES};
use super::work::desc_of;
use kapi::prelude::*;

/// The first bit of places in the queue of ordinary locks: GROUP locks go before them.
const ORDINARY: u64 = 1 << 63;

impl Resource {
    /// A waiting lock is granted: by way of a completion.
    pub(super) fn complete(&mut self, ix: u32, env: &mut Env<'_>) {
        let _ = self.unset_waiting(ix);
        if self.kind == LockType::Extent {
            self.expand(ix);
        }
        self.set_granted(ix);
        self.announce(ix);
        self.check_waiters(ix, env);
    }

    /// Puts `ix` at the end of the waiting queue (GROUP locks: before the ordinary ones).
    pub(super) fn set_waiting(&mut self, ix: u32) {
        self.seq += 1;
        let seq = self.seq;
        let Some(l) = self.slab.get(ix) else { return };
        let (mode, range, key) = (l.req_mode, l.wanted(), key_of(l, l.req_mode));
        let pos = if mode == Mode::Group {
            self.group_pos(l.req.gid()).unwrap_or(seq)
        } else {
            ORDINARY | seq
        };
        if let Some(l) = self.slab.get_mut(ix) {
            l.state = State::Waiting;
            l.pos = pos;
        }
        self.n_waiting += 1;
        match self.kind {
            LockType::Extent => {
                if let Some(root) = self.waiting.get_mut(mode.index()) {
                    self.trees.insert(root, ix, range, pos);
                }
            }
            LockType::Flock => self.trees.insert(&mut self.flock_queue, ix, (pos, pos), 0),
            LockType::Plain | LockType::Ibits => {
                self.groups.add(&mut self.waiting_groups, ix, key, false);
            }
        }
    }

    /// The place of waiting GROUP locks with this id.
    fn group_pos(&self, gid: u64) -> Option<u64> {
        let ix = match self.kind {
            LockType::Extent => self.extent_group_waiter(gid),
            _ => self.bits_group_waiter(gid),
        }?;
        Some(self.slab.get(ix)?.pos)
    }

    pub(super) fn unset_waiting(&mut self, ix: u32) -> Hint {
        let Some(l) = self.slab.get(ix) else {
            return Hint::NONE;
        };
        let (mode, range) = (l.req_mode, l.wanted());
        self.n_waiting = self.n_waiting.saturating_sub(1);
        match self.kind {
            LockType::Extent => {
                if let Some(root) = self.waiting.get_mut(mode.index()) {
                    self.trees.remove(root, ix);
                }
            }
            LockType::Flock => self.trees.remove(&mut self.flock_queue, ix),
            LockType::Plain | LockType::Ibits => {
                self.groups.remove(&mut self.waiting_groups, ix, false);
            }
        }
        if mode == Mode::Group {
            return Hint::ALL;
        }
        Hint(Some(range))
    }

    pub(super) fn set_granted(&mut self, ix: u32) {
        let Some(l) = self.slab.get_mut(ix) else {
            return;
        };
        let mode = l.req_mode;
        l.state = State::Granted;
        l.granted = Some(mode);
        let (range, untold, gid) = (l.policy.range(), !l.ast_sent, l.policy.gid());
        let key = key_of(l, mode);
        self.n_granted += 1;
        match self.kind {
            LockType::Extent | LockType::Flock => {
                if mode == Mode::Group {
                    self.group_gid = gid;
                }
                if let Some(root) = self.granted.get_mut(mode.index()) {
                    self.trees.insert(root, ix, range, u64::from(!untold));
                }
            }
            LockType::Plain | LockType::Ibits => {
                self.groups.add(&mut self.granted_groups, ix, key, untold);
            }
        }
    }

    pub(super) fn unset_granted(&mut self, ix: u32) -> Hint {
        let Some(l) = self.slab.get_mut(ix) else {
            return Hint::NONE;
        };
        let Some(mode) = l.granted.take() else {
            return Hint::NONE;
        };
        let (range, untold) = (l.policy.range(), !l.ast_sent);
        self.n_granted = self.n_granted.saturating_sub(1);
        match self.kind {
            LockType::Extent | LockType::Flock => {
                if let Some(root) = self.granted.get_mut(mode.index()) {
                    self.trees.remove(root, ix);
                }
            }
            LockType::Plain | LockType::Ibits => {
                self.groups.remove(&mut self.granted_groups, ix, untold);
            }
        }
        if mode == Mode::Group {
            return Hint::ALL;
        }
        Hint(Some(range))
    }

    /// The outcome of an enqueue that left `ix` as it is now.
    pub(super) fn outcome(&self, ix: u32, status: Status, flags: u32) -> Result<Enqueued> {
        let l = self.slab.get(ix).ok_or(EINVAL)?;
        Ok(Enqueued {
            status,
            flags,
            desc: desc_of(self.name, l),
        })
    }

    /// The modes in which locks are held, with their trees.
    pub(super) fn granted_trees(&self) -> impl Iterator<Item = (Mode, &Root)> {
        ALL_MODES
            .into_iter()
            .zip(&self.granted)
            .filter(|t| !t.1.is_empty())
    }

    /// The modes in which locks wait, with their trees.
    pub(super) fn waiting_trees(&self) -> impl Iterator<Item = (Mode, &Root)> {
        ALL_MODES
            .into_iter()
            .zip(&self.waiting)
            .filter(|t| !t.1.is_empty())
    }
}

/// The group key of a lock.
pub(super) fn key_of(l: &Lock, mode: Mode) -> Key {
    let (bits, try_bits) = l.policy.bits();
    let class = match (mode, &l.policy) {
        (Mode::Group, p) => p.gid(),
        (Mode::Cos, _) => l.client_cookie,
        (Mode::Txn, Policy::Ibits(b)) => u64::from(b.initiator),
        _ => 0,
    };
    Key {
        mode,
        bits,
        try_bits,
        class,
    }
}
