// SPDX-License-Identifier: GPL-2.0

//! Callback time-outs (spec/ldlm.md 15.1, 15.2).

use super::export::ExportLocks;
use super::namespace::Namespace;
use super::run::now_ms;
use crate::core::ExportId;
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;

/// The thread that watches the callback timers of a namespace.
#[pin_data]
pub struct Timers {
    #[pin]
    stop: Mutex<bool>,
    #[pin]
    wake: CondVar,
}

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

impl Timers {
    /// Made ready; [`Timers::run`] is the thread.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Timers {
                stop <- new_mutex!(false),
                wake <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// Watches the namespace until [`Timers::stop`].
    pub fn run(&self, ns: &Arc<Namespace>) {
        let mut stop = self.stop.lock();
        while !*stop {
            stop = self.wake.wait_timeout(stop, PERIOD).0;
            if *stop {
                return;
            }
            drop(stop);
            ns.tick(now_ms());
            stop = self.stop.lock();
        }
    }

    /// Ends [`Timers::run`].
    pub fn stop(&self) {
        *self.stop.lock() = true;
        self.wake.notify_all();
    }
}

impl Namespace {
    /// Evicts the clients whose time to give up a lock is over. `now`: monotonic milliseconds.
    pub fn tick(&self, now: u64) {
        let mut last = None;
        while let Some(exp) = self.next_export(last) {
            last = Some(exp.id());
            if !exp.is_closed() {
                self.expire(&exp, now);
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
                self.timeouts.fetch_add(1, Relaxed);
                exp.close();
                exp.sender.evict("lock callback timer expired");
                return;
            }
        }
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
