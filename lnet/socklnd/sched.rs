// SPDX-License-Identifier: GPL-2.0

//! Scheduler threads: each reads and writes for its share of the connections.

use super::conn::Conn;
use super::receive::Receiver;
use kapi::net::{Event, Poller};
use kapi::prelude::*;
use kapi::thread::JoinHandle;

/// Events taken at a time.
const BATCH: usize = 32;
/// How often connections that wait for room are tried again.
const RETRY: Duration = Duration::from_millis(5);

struct Inner {
    conns: RBTree<u64, Arc<Conn>>,
    /// Connections with more to do, each once.
    again: Deque<u64>,
    /// Connections that wait for room, each once.
    stalled: Deque<u64>,
    /// There was no memory for an entry of a queue: all connections are looked at.
    rescan: bool,
    stopping: bool,
}

/// A scheduler.
#[pin_data]
pub(crate) struct Scheduler {
    poller: Poller,
    #[pin]
    inner: Mutex<Inner>,
    /// What the connections receive through; empty if one of them has it.
    #[pin]
    buffer: Mutex<KVVec<u8>>,
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
                    stalled: Deque::new(),
                    rescan: false,
                    stopping: false,
                }),
                buffer <- new_mutex!(KVVec::new()),
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
        let registered = self.poller.register(&conn.stream, conn.token);
        if registered.is_err() || conn.is_closed() {
            // Closed by another thread before it was known here.
            self.remove(conn);
        }
        registered
    }

    pub(super) fn remove(&self, conn: &Arc<Conn>) {
        self.poller.unregister(&conn.stream);
        let gone = self.inner.lock().conns.remove(&conn.token);
        drop(gone);
    }

    /// A buffer for a connection that receives.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn take_buffer(&self) -> Result<KVVec<u8>> {
        let b = core::mem::take(&mut *self.buffer.lock());
        if b.is_empty() {
            return Receiver::buffer();
        }
        Ok(b)
    }

    /// It needs it no more.
    pub(super) fn give_buffer(&self, b: KVVec<u8>) {
        let old = core::mem::replace(&mut *self.buffer.lock(), b);
        drop(old);
    }

    /// Has the thread look at a connection though no event comes.
    pub(super) fn again(&self, conn: &Conn) {
        if conn.in_again.set() {
            return;
        }
        {
            let mut inner = self.inner.lock();
            if inner.again.push_back(conn.token, GFP_KERNEL).is_err() {
                conn.in_again.clear();
                inner.rescan = true;
            }
        }
        self.poller.wake();
    }

    fn stall(&self, conn: &Conn) {
        if conn.in_stalled.set() {
            return;
        }
        let mut inner = self.inner.lock();
        if inner.stalled.push_back(conn.token, GFP_KERNEL).is_err() {
            conn.in_stalled.clear();
            inner.rescan = true;
        }
    }

    /// Ends the thread. Not to be called from it.
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
        let mut last_retry = Instant::now();
        loop {
            let timeout = {
                let inner = self.inner.lock();
                if inner.stopping {
                    return;
                }
                if !inner.again.is_empty() || inner.rescan {
                    Some(Duration::ZERO)
                } else if !inner.stalled.is_empty() {
                    Some(RETRY)
                } else {
                    None
                }
            };
            let n = match self.poller.wait(&mut events, timeout) {
                Ok(n) => n,
                Err(e) => {
                    pr_err!("poller: {:?}\n", e);
                    kapi::time::sleep(RETRY);
                    0
                }
            };
            let now = Instant::now();
            for e in events.iter().take(n) {
                if let Some(c) = self.conn(e.token) {
                    self.serve(&c, e, now);
                }
            }
            self.round(|i| &mut i.again, |c| c.in_again.clear(), now);
            if now.duration_since(last_retry) >= RETRY {
                last_retry = now;
                self.round(|i| &mut i.stalled, |c| c.in_stalled.clear(), now);
                self.rescan(now);
            }
        }
    }

    /// Serves those that are in a queue now; what they add comes in the next round.
    fn round(&self, queue: fn(&mut Inner) -> &mut Deque<u64>, taken: fn(&Conn), now: Instant) {
        let mut left = queue(&mut self.inner.lock()).len();
        while left > 0 {
            left -= 1;
            let conn = {
                let mut inner = self.inner.lock();
                let Some(token) = queue(&mut inner).pop_front() else {
                    return;
                };
                inner.conns.get(&token).cloned()
            };
            if let Some(c) = conn {
                taken(&c);
                self.serve(&c, &Self::LOOK, now);
            }
        }
    }

    fn rescan(&self, now: Instant) {
        if !core::mem::take(&mut self.inner.lock().rescan) {
            return;
        }
        let mut at = 0;
        loop {
            let c = {
                let inner = self.inner.lock();
                let Some(cursor) = inner.conns.cursor_lower_bound(&at) else {
                    return;
                };
                cursor.current().1.clone()
            };
            at = c.token.saturating_add(1);
            self.serve(&c, &Self::LOOK, now);
        }
    }

    /// What stands for an event where none came.
    const LOOK: Event = Event {
        token: 0,
        readable: true,
        writable: false,
        closed: false,
    };

    fn serve(&self, c: &Arc<Conn>, e: &Event, now: Instant) {
        let next = c.ready(e, now);
        if next.more {
            self.again(c);
        }
        if next.stalled {
            self.stall(c);
        }
    }
}
