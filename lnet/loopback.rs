// SPDX-License-Identifier: GPL-2.0

//! Messages to this node itself: several servers on one node talk through here.
//!
//! A thread of its own delivers, so that a sender never finds itself in its own event handler.

use crate::budget::Share;
use crate::event::{Payload, Sink};
use crate::node::{Delivery, Incoming, Lnet, Outgoing};
use kapi::prelude::*;
use kapi::thread::JoinHandle;

/// Messages that may wait.
const QUEUE_MAX: usize = 65536;

struct Queue {
    waiting: Deque<Outgoing>,
    stopping: bool,
}

/// The loopback of an instance.
#[pin_data]
pub(crate) struct Loopback {
    share: Share,
    #[pin]
    queue: Mutex<Queue>,
    #[pin]
    work: CondVar,
    #[pin]
    thread: Mutex<Option<JoinHandle>>,
}

impl Loopback {
    pub(crate) fn start(lnet: &Arc<Lnet>) -> Result<Arc<Loopback>> {
        let share = Share::new()?;
        let lo = Arc::pin_init(
            pin_init!(Loopback {
                share,
                queue <- new_mutex!(Queue { waiting: Deque::new(), stopping: false }),
                work <- new_condvar!(),
                thread <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        let (me, lnet) = (lo.clone(), lnet.clone());
        let h = kapi::thread::spawn(format_args!("lnet_lo"), move || me.run(&lnet))?;
        *lo.thread.lock() = Some(h);
        Ok(lo)
    }

    /// Takes a message; gives it back if that fails.
    pub(crate) fn send(&self, out: Outgoing) -> Result<(), (Outgoing, Error)> {
        {
            let mut q = self.queue.lock();
            if q.stopping {
                return Err((out, ESHUTDOWN));
            }
            if q.waiting.len() >= QUEUE_MAX {
                return Err((out, ENOBUFS));
            }
            if q.waiting.reserve(1, GFP_KERNEL).is_err() {
                return Err((out, ENOMEM));
            }
            let kept = q.waiting.push_back(out, GFP_KERNEL);
            debug_assert!(kept.is_ok());
        }
        self.work.notify_one();
        Ok(())
    }

    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.work.notify_all();
        let thread = self.thread.lock().take();
        if let Some(t) = thread {
            t.join();
        }
    }

    fn run(&self, lnet: &Lnet) {
        let mut q = self.queue.lock();
        loop {
            if let Some(out) = q.waiting.pop_front() {
                drop(q);
                self.deliver(lnet, out);
                q = self.queue.lock();
            } else if q.stopping {
                return;
            } else {
                q = self.work.wait(q);
            }
        }
    }

    fn deliver(&self, lnet: &Lnet, out: Outgoing) {
        let header = out.header;
        match lnet.incoming(&header, &self.share) {
            Incoming::Discard => lnet.sent(out),
            Incoming::Push => {
                lnet.pushed(&header);
                lnet.sent(out);
            }
            Incoming::Later => {
                // Give the services time; the order of messages does not matter to anybody.
                let mut q = self.queue.lock();
                if q.stopping {
                    drop(q);
                    return lnet.send_failed(out, ESHUTDOWN);
                }
                if q.waiting.is_empty() {
                    q = self.work.wait_timeout(q, Duration::from_millis(5)).0;
                }
                if let Err(e) = q.waiting.push_back(out, GFP_KERNEL) {
                    pr_err!("a message to this node is lost: {:?}\n", Error::from(e));
                }
            }
            Incoming::Message { delivery, accept } => {
                let mut out = out;
                let payload = core::mem::replace(&mut out.payload, Payload::Empty);
                match message(payload, accept) {
                    Ok(data) => lnet.delivered(delivery, data),
                    Err(e) => lnet.broken(delivery, None, e),
                }
                lnet.sent(out);
            }
            Incoming::Sink {
                delivery,
                sink,
                accept,
            } => {
                self.fill(lnet, delivery, sink, &out.payload, accept);
                lnet.sent(out);
            }
        }
    }

    fn fill(&self, lnet: &Lnet, d: Delivery, mut sink: Sink, payload: &Payload, accept: usize) {
        let off = sink.off;
        let copied = match payload {
            Payload::Empty => Ok(()),
            Payload::Message(m) => sink.pages.copy_in(off, m.get(..accept).unwrap_or(m)),
            Payload::Pages {
                pages, off: from, ..
            } => {
                let mut at = off;
                pages.chunks(*from, accept).try_for_each(|c| {
                    sink.pages.copy_in(at, c)?;
                    at += c.len();
                    Ok(())
                })
            }
        };
        match copied {
            Ok(()) => lnet.filled(d, sink, accept),
            Err(e) => lnet.broken(d, Some(sink), e),
        }
    }
}

/// The payload as a message of `accept` bytes.
fn message(payload: Payload, accept: usize) -> Result<KVVec<u8>> {
    let mut data = match payload {
        Payload::Empty => KVVec::new(),
        Payload::Message(m) => m,
        Payload::Pages { pages, off, len } => {
            let mut data = KVVec::with_capacity(len, GFP_KERNEL)?;
            for c in pages.chunks(off, len) {
                data.extend_from_slice(c, GFP_KERNEL)?;
            }
            data
        }
    };
    data.truncate(accept);
    Ok(data)
}
