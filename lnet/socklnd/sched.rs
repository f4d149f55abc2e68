// SPDX-License-Identifier: GPL-2.0

//! Scheduler threads: each reads and writes for its share of the connections.

use super::conn::Conn;
use kapi::net::{Event, Poller};
use kapi::prelude::*;
use kapi::thread::JoinHandle;

/// Events taken at a time.
const BATCH: usize = 32;
/// How often connections that wait for room are tried again.
const RETRY: Duration = Duration::from_millis(5);

struct Inner {
    conns: RBTree<u64, Arc<Conn>>,
    /// Connections with more to do, or that wait for room.
    again: Deque<u64>,
    stopping: bool,
}

/// A scheduler.
#[pin_data]
pub(crate) struct Scheduler {
    poller: Poller,
    #[pin]
    inner: Mutex<Inner>,
    #[pin]
    thread: Mutex<Option<JoinHandle>>,
}

impl Scheduler {
    pub(super) fn start(index: usize) -> Result<Arc<Scheduler>> {
        let s = Arc::pin_init(
            try_pin_init!(Scheduler {
                poller: Poller::new()?,
                inner <- new_mutex!(Inner {
                    conns: RBTree::new(),
                    again: Deque::new(),
                    stopping: false,
                }),
                thread <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        let me = s.clone();
        let h = kapi::thread::spawn(format_args!("socknal_sd{index:02}"), move || me.run())?;
        *s.thread.lock() = Some(h);
        Ok(s)
    }

    pub(super) fn add(&self, conn: &Arc<Conn>) -> Result {
        {
            let mut inner = self.inner.lock();
            if inner.stopping {
                return Err(ESHUTDOWN);
            }
            inner
                .conns
                .try_create_and_insert(conn.token, conn.clone(), GFP_KERNEL)?;
        }
        if let Err(e) = self.poller.register(&conn.stream, conn.token) {
            self.inner.lock().conns.remove(&conn.token);
            return Err(e);
        }
        Ok(())
    }

    pub(super) fn remove(&self, conn: &Arc<Conn>) {
        self.poller.unregister(&conn.stream);
        let gone = self.inner.lock().conns.remove(&conn.token);
        drop(gone);
    }

    /// Has the thread look at a connection though no event comes.
    pub(super) fn again(&self, token: u64) {
        let queued = self.inner.lock().again.push_back(token, GFP_KERNEL);
        if queued.is_err() {
            pr_err!("no memory to come back to a connection\n");
        }
        self.poller.wake();
    }

    /// Ends the thread. The connections are closed by their peers.
    pub(super) fn stop(&self) {
        self.inner.lock().stopping = true;
        self.poller.wake();
        let thread = self.thread.lock().take();
        drop(thread);
        let conns = core::mem::take(&mut self.inner.lock().conns);
        for c in conns.values() {
            c.close(ESHUTDOWN);
        }
    }

    fn conn(&self, token: u64) -> Option<Arc<Conn>> {
        self.inner.lock().conns.get(&token).cloned()
    }

    fn run(&self) {
        let mut events = [Event::default(); BATCH];
        loop {
            let (waiting, stopping) = {
                let inner = self.inner.lock();
                (inner.again.len(), inner.stopping)
            };
            if stopping {
                return;
            }
            let timeout = if waiting > 0 { Some(RETRY) } else { None };
            let n = match self.poller.wait(&mut events, timeout) {
                Ok(n) => n,
                Err(e) => {
                    pr_err!("poller: {:?}\n", e);
                    kapi::time::sleep(RETRY);
                    0
                }
            };
            for e in events.iter().take(n) {
                if let Some(c) = self.conn(e.token) {
                    self.serve(&c, e.readable, e.writable);
                }
            }
            // Those that were there before; what they add comes in the next round.
            let mut round = self.inner.lock().again.len();
            while round > 0 {
                round -= 1;
                let Some(token) = self.inner.lock().again.pop_front() else {
                    break;
                };
                if let Some(c) = self.conn(token) {
                    self.serve(&c, true, true);
                }
            }
        }
    }

    fn serve(&self, c: &Arc<Conn>, readable: bool, writable: bool) {
        if c.ready(readable, writable)
            && self
                .inner
                .lock()
                .again
                .push_back(c.token, GFP_KERNEL)
                .is_err()
        {
            c.close(ENOMEM);
        }
    }
}
