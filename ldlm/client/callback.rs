// SPDX-License-Identifier: GPL-2.0

//! Callbacks of the server (spec/ldlm.md 10). Each returns the status to answer with, at once.

use super::cache::Cache;
use super::state::ClientState;
use crate::core::{flags, Desc, Policy};
use kapi::prelude::*;

/// Flags a callback may carry.
const KNOWN: u32 = flags::AST | flags::AST_SENT;
/// ELDLM_NO_LOCK_DATA.
const NO_LOCK_DATA: i32 = -303;

impl Cache {
    /// LDLM_BL_CALLBACK for our lock `handle`: the server wants it back, all of it.
    pub fn blocking(&self, handle: u64, cookie: u64, f: u32) -> i32 {
        if f & !KNOWN != 0 {
            return EPROTO.to_errno();
        }
        let mut t = self.table().lock();
        let Some(e) = t.get_mut(handle) else {
            return EINVAL.to_errno();
        };
        if matches!(e.view.state, ClientState::GoingAway | ClientState::Failed) {
            // A cancel that has not left yet goes all the same.
            return 0;
        }
        if e.view.cookie == 0 {
            e.view.cookie = cookie;
        }
        e.view.called_back = true;
        e.discard |= f & flags::DISCARD_DATA != 0;
        if e.view.users == 0 && e.view.state == ClientState::Granted {
            let now = self.tick();
            self.doom_wanted(&mut t, handle, now);
            drop(t);
            self.todo().notify_one();
        }
        0
    }

    /// LDLM_CP_CALLBACK: our lock `handle` is granted as `desc` says, or its wait is over.
    pub fn completion(&self, handle: u64, cookie: u64, desc: &Desc, f: u32, lvb: &[u8]) -> i32 {
        if f & !KNOWN != 0 {
            return EPROTO.to_errno();
        }
        let mut bytes = KVec::new();
        if bytes.extend_from_slice(lvb, GFP_KERNEL).is_err() {
            return ENOMEM.to_errno();
        }
        let mut t = self.table().lock();
        let Some(e) = t.get_mut(handle) else {
            return EINVAL.to_errno();
        };
        match e.view.state {
            ClientState::Asked | ClientState::Waiting => {}
            // It came twice.
            ClientState::Granted | ClientState::GoingAway => return 0,
            ClientState::Failed => return EINVAL.to_errno(),
        }
        if desc.policy.lock_type() != e.view.policy.lock_type() {
            return EPROTO.to_errno();
        }
        e.flags |= f & flags::FLOCK_DEADLOCK;
        e.discard |= f & flags::DISCARD_DATA != 0;
        e.view.called_back |= f & flags::AST_SENT != 0;
        let Some(mode) = desc.granted.filter(|_| f & flags::FLOCK_DEADLOCK == 0) else {
            e.view.state = ClientState::Failed;
            e.view.cookie = 0;
            drop(t);
            self.changed().notify_all();
            return 0;
        };
        e.view.cookie = cookie;
        e.view.mode = mode;
        if !matches!(desc.policy, Policy::Plain) {
            e.view.policy = desc.policy;
        }
        e.view.state = ClientState::Granted;
        e.lvb = bytes;
        if t.move_to(handle, desc.res).is_err() {
            if let Some(e) = t.get_mut(handle) {
                e.view.state = ClientState::Failed;
            }
            return EINVAL.to_errno();
        }
        let view = t.get(handle).map(|e| e.view);
        drop(t);
        self.changed().notify_all();
        if let Some(v) = view {
            self.ops().granted(&v, lvb);
        }
        0
    }

    /// LDLM_GL_CALLBACK: what is the object like now? Status, and bytes of the value block.
    pub fn glimpse(&self, handle: u64, lvb: &mut [u8; 64]) -> (i32, usize) {
        let view = self.table().lock().get(handle).map(|e| e.view);
        let held = |s| matches!(s, ClientState::Granted | ClientState::GoingAway);
        match view {
            None => (EINVAL.to_errno(), 0),
            Some(v) if !held(v.state) => (NO_LOCK_DATA, 0),
            Some(v) => match self.ops().glimpse(&v, lvb) {
                Some(n) => {
                    self.looked_at(handle);
                    (0, n.min(lvb.len()))
                }
                None => (NO_LOCK_DATA, 0),
            },
        }
    }
}
