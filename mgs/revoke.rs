// SPDX-License-Identifier: GPL-2.0

//! Telling everybody that a log has changed: whoever reads one holds a lock on its name, and reads
//! on when it is taken away (`mgs-config.md` 8, `ldlm.md` 22.1).

use kapi::prelude::*;
use kapi::thread::JoinHandle;
use ldlm::core::{Mode, Policy, ResId};
use ldlm::server::{LocalOptions, Namespace};
use wire::mgs::{config_lock_name, MgsConfigType};
use wire::svname::FsName;

/// What is to be told: the name of a lock.
type Topic = [u64; 4];

struct State {
    /// Somebody waits for this lock, and has not got it yet.
    asked: KVec<Topic>,
    /// What the thread is to tell.
    queue: KVec<Topic>,
    stopping: bool,
}

/// Takes locks away.
#[pin_data]
pub(crate) struct Revoker {
    #[pin]
    state: Mutex<State>,
    #[pin]
    work: CondVar,
    #[pin]
    thread: Mutex<Option<JoinHandle>>,
}

/// The lock of the logs of a file system, or of where its targets are.
pub(crate) fn topic(fs: FsName, kind: MgsConfigType) -> Topic {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(fs.as_bytes()) {
        *to = *from;
    }
    [u64::from_le_bytes(first), kind as u64, 0, 0]
}

/// The lock of the parameters of all nodes.
pub(crate) fn params_topic() -> Topic {
    config_lock_name(crate::configs::PARAMS, MgsConfigType::Params)
}

impl Revoker {
    /// With nothing to do.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Revoker>> {
        Arc::pin_init(
            pin_init!(Revoker {
                state <- new_mutex!(State {
                    asked: KVec::new(),
                    queue: KVec::new(),
                    stopping: false,
                }),
                work <- new_condvar!(),
                thread <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Starts the thread for [`Revoker::later`].
    ///
    /// # Errors
    /// `ENOMEM`, `EAGAIN`.
    pub(crate) fn start(self: &Arc<Self>, ns: &Arc<Namespace>) -> Result {
        let (me, ns) = (self.clone(), ns.clone());
        let t = kapi::thread::spawn(format_args!("mgs_notify"), move || me.run(&ns))?;
        *self.thread.lock() = Some(t);
        Ok(())
    }

    /// Ends the thread. The namespace has been stopped: nobody waits for a lock any more.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.work.notify_all();
        let thread = self.thread.lock().take();
        if let Some(t) = thread {
            t.join();
        }
    }

    /// Takes a lock away from all who hold it, and returns when they have given it up. What was
    /// written before the call is seen by all who get the lock after it.
    pub(crate) fn now(&self, ns: &Arc<Namespace>, topic: Topic) {
        {
            let mut st = self.state.lock();
            // Whoever waits for the lock has not got it: that comes after what was written, and
            // one turn is enough for all.
            if st.asked.contains(&topic) {
                return;
            }
            // Without memory each takes a turn of his own.
            let _ = st.asked.push(topic, GFP_KERNEL);
        }
        let lock = ns.lock_local(
            &ResId(topic),
            Mode::Ex,
            Policy::Plain,
            LocalOptions::default(),
        );
        // While the lock is still held: who comes from now on has to take it himself.
        self.state.lock().asked.retain(|t| *t != topic);
        if let Err(e) = lock {
            pr_debug!("a change is not told: {:?}\n", e);
        }
    }

    /// Has a lock taken away, soon.
    pub(crate) fn later(&self, topic: Topic) {
        let mut st = self.state.lock();
        if !st.queue.contains(&topic) && st.queue.push(topic, GFP_KERNEL).is_err() {
            pr_err!("no memory to tell of a change\n");
        }
        drop(st);
        self.work.notify_one();
    }

    fn run(&self, ns: &Arc<Namespace>) {
        let mut st = self.state.lock();
        loop {
            if st.stopping {
                return;
            }
            let Some(topic) = st.queue.pop() else {
                st = self.work.wait(st);
                continue;
            };
            drop(st);
            self.now(ns, topic);
            st = self.state.lock();
        }
    }
}
