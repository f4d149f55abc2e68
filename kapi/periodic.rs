// SPDX-License-Identifier: GPL-2.0

//! Threads that do something now and then.

use super::{spawn, JoinHandle};
use crate::prelude::*;
use core::fmt;

#[pin_data]
struct Signal {
    #[pin]
    stop: Mutex<bool>,
    #[pin]
    wake: CondVar,
}

/// A thread that does something now and then. Dropping this ends it: what it is just doing is waited for.
pub struct Periodic {
    signal: Arc<Signal>,
    thread: Option<JoinHandle>,
}

impl Periodic {
    /// Starts a thread that calls `f` every `period`.
    ///
    /// # Errors
    /// `ENOMEM`, `EAGAIN`: no thread to be had.
    pub fn start(
        name: fmt::Arguments<'_>,
        period: Duration,
        mut f: impl FnMut() + Send + 'static,
    ) -> Result<Periodic> {
        let signal = Arc::pin_init(
            pin_init!(Signal {
                stop <- new_mutex!(false),
                wake <- new_condvar!(),
            }),
            GFP_KERNEL,
        )?;
        let own = signal.clone();
        let thread = spawn(name, move || {
            while !own.stops_within(period) {
                f();
            }
        })?;
        Ok(Periodic {
            signal,
            thread: Some(thread),
        })
    }
}

impl Signal {
    /// Waits; whether the thread is to end.
    fn stops_within(&self, period: Duration) -> bool {
        let stop = self.stop.lock();
        if *stop {
            return true;
        }
        *self.wake.wait_timeout(stop, period).0
    }
}

impl Drop for Periodic {
    fn drop(&mut self) {
        *self.signal.stop.lock() = true;
        self.signal.wake.notify_all();
        drop(self.thread.take());
    }
}
