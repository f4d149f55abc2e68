// SPDX-License-Identifier: GPL-2.0

//! Callback time-outs (spec/ldlm.md 15.1, 15.2).

use super::export::ExportLocks;
use super::namespace::Namespace;
use super::run::now_ms;
use crate::core::ExportId;
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;
use kapi::thread::Periodic;

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// Starts the thread that watches the callback timers of a namespace, and how many locks there are.
///
/// # Errors
/// `ENOMEM`, `EAGAIN`: no thread to be had.
pub fn start_timers(ns: &Arc<Namespace>) -> Result<Periodic> {
    let ns = ns.clone();
    Periodic::start(format_args!("ldlm_elt"), PERIOD, move || {
        ns.tick(now_ms());
        ns.measure();
        ns.relieve();
    })
}

impl Namespace {
    /// Evicts the clients whose time to give up a lock is over. `now`: monotonic milliseconds.
    pub fn tick(&self, now: u64) {
        self.each_export(|exp| self.expire(exp, now));
    }

    /// Calls `f` for each client that has not gone.
    pub(super) fn each_export(&self, mut f: impl FnMut(&ExportLocks)) {
        let mut last = None;
        while let Some(exp) = self.next_export(last) {
            last = Some(exp.id());
            if !exp.is_closed() {
                f(&exp);
            }
        }
    }

    fn expire(&self, exp: &ExportLocks, now: u64) {
        while let Some((client_handle, cookie)) = exp.expired(now) {
            if self.find(cookie).is_none() {
                exp.disarm(client_handle, cookie);
            } else if exp.sender.is_busy(cookie) {
                let more = self.bl_timeout(exp) / 2;
                exp.arm(client_handle, cookie, now, more.max(1));
            } else {
                self.evict(exp, "lock callback timer expired");
                return;
            }
        }
    }

    /// Has a client evicted, which gets no more locks from now on; whether it will be.
    pub(super) fn evict(&self, exp: &ExportLocks, reason: &'static str) -> bool {
        if exp.sender.evict(reason).is_err() {
            return false;
        }
        exp.close();
        self.timeouts.fetch_add(1, Relaxed);
        true
    }

    fn next_export(&self, after: Option<ExportId>) -> Option<Arc<ExportLocks>> {
        let map = self.exports.lock();
        let at = match after {
            None => map.cursor_front(),
            Some(id) => map.cursor_lower_bound(&ExportId(id.0.checked_add(1)?)),
        };
        Some(at?.current().1.clone())
    }
}
