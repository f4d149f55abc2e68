// SPDX-License-Identifier: GPL-2.0

//! What a journal does: transactions are committed some time later, together, in order.

use osd::Callback;
use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Between the end of a transaction and its commit.
const INTERVAL: Duration = Duration::from_millis(10);

thread_local! {
    static IN_TRANSACTION: Cell<bool> = const { Cell::new(false) };
    static IN_COMMIT: Cell<bool> = const { Cell::new(false) };
}

/// Whether the thread has a transaction.
pub(crate) fn in_transaction() -> bool {
    IN_TRANSACTION.get()
}

/// The thread has a transaction now, or does not any more.
pub(crate) fn set_in_transaction(on: bool) {
    IN_TRANSACTION.set(on);
}

/// Panics in a transaction.
#[track_caller]
pub(crate) fn not_in_transaction(what: &str) {
    assert!(!in_transaction(), "{what} in a transaction");
}

#[derive(Default)]
struct State {
    queue: Vec<Callback>,
    /// The number of the transaction of the journal that runs.
    running: u64,
    /// All before this are on disk.
    done: u64,
    /// Up to here somebody waits.
    wanted: u64,
    held: bool,
    stopped: bool,
}

#[derive(Default)]
pub(crate) struct Commits {
    state: Mutex<State>,
    changed: Condvar,
}

impl Commits {
    pub(crate) fn start() -> Arc<Commits> {
        let c = Arc::new(Commits::default());
        let c2 = c.clone();
        // It ends by itself: the last user of a device may be a callback that this thread calls.
        let thread = std::thread::Builder::new().name("osd-commit".into());
        thread.spawn(move || c2.run()).expect("a thread");
        c
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'a>(&self, s: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(s).unwrap_or_else(|e| e.into_inner())
    }

    fn run(&self) {
        IN_COMMIT.set(true);
        let mut s = self.state();
        loop {
            while s.wanted <= s.done && !s.stopped && (s.held || s.queue.is_empty()) {
                s = self.wait(s);
            }
            if s.wanted <= s.done && !s.stopped {
                let (guard, _) = self
                    .changed
                    .wait_timeout_while(s, INTERVAL, |s| s.wanted <= s.done && !s.stopped)
                    .unwrap_or_else(|e| e.into_inner());
                s = guard;
                if s.held && s.wanted <= s.done && !s.stopped {
                    continue;
                }
            }
            let calls = std::mem::take(&mut s.queue);
            s.running += 1;
            let done = s.running;
            let stopped = s.stopped;
            drop(s);
            for c in calls {
                c.call(Ok(()));
            }
            s = self.state();
            s.done = done;
            self.changed.notify_all();
            if stopped && s.queue.is_empty() {
                return;
            }
        }
    }

    /// A transaction has stopped. Returns what to wait for.
    pub(crate) fn add(&self, calls: Vec<Callback>) -> u64 {
        let mut s = self.state();
        s.queue.extend(calls);
        self.changed.notify_all();
        s.running + 1
    }

    /// Waits until all that has stopped is on disk.
    pub(crate) fn sync(&self) {
        assert!(!IN_COMMIT.get(), "a callback waits for a commit");
        let up_to = self.begin();
        let mut s = self.state();
        while s.done < up_to {
            s = self.wait(s);
        }
    }

    /// Begins a commit.
    pub(crate) fn begin(&self) -> u64 {
        let mut s = self.state();
        s.wanted = s.running + 1;
        self.changed.notify_all();
        s.wanted
    }

    /// Commits only when asked to.
    pub(crate) fn hold(&self, on: bool) {
        self.state().held = on;
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }
}
