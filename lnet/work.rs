// SPDX-License-Identifier: GPL-2.0

//! A few threads that do what may block: handshakes, connects.

use kapi::prelude::*;
use kapi::thread::Threads;

struct Queue {
    jobs: Deque<KBox<dyn Once<()>>>,
    /// Threads, and those of them that have nothing to do.
    running: usize,
    idle: usize,
    stopping: bool,
}

/// A pool of threads with a bounded queue. There is one thread as long as one is enough.
#[pin_data]
pub(crate) struct Pool {
    name: &'static str,
    threads_max: usize,
    limit: usize,
    #[pin]
    queue: Mutex<Queue>,
    #[pin]
    work: CondVar,
    #[pin]
    threads: Mutex<Threads>,
}

impl Pool {
    pub(crate) fn start(name: &'static str, threads: usize, limit: usize) -> Result<Arc<Pool>> {
        let pool = Arc::pin_init(
            pin_init!(Pool {
                name,
                threads_max: threads,
                limit,
                queue <- new_mutex!(Queue {
                    jobs: Deque::new(),
                    running: 0,
                    idle: 0,
                    stopping: false,
                }),
                work <- new_condvar!(),
                threads <- new_mutex!(Threads::new()),
            }),
            GFP_KERNEL,
        )?;
        pool.spawn()?;
        Ok(pool)
    }

    /// Another thread. The list of threads is locked all the time: one that [`Pool::stop`] does not see
    /// is not started.
    fn spawn(self: &Arc<Self>) -> Result {
        let mut threads = self.threads.lock();
        let n = {
            let mut q = self.queue.lock();
            if q.stopping || q.running >= self.threads_max {
                return Ok(());
            }
            q.running += 1;
            q.running
        };
        let pool = self.clone();
        threads
            .spawn(format_args!("{}_{n:02}", self.name), move || pool.run())
            .inspect_err(|_| self.queue.lock().running -= 1)
    }

    /// Has `f` called on one of the threads.
    ///
    /// # Errors
    /// `EBUSY`: too many wait. `ESHUTDOWN`, `ENOMEM`.
    pub(crate) fn submit(self: &Arc<Self>, f: impl FnOnce() + Send + 'static) -> Result {
        let job: KBox<dyn Once<()>> = KBox::new(move |()| f(), GFP_KERNEL)?;
        let grow = {
            let mut q = self.queue.lock();
            if q.stopping {
                return Err(ESHUTDOWN);
            }
            if q.jobs.len() >= self.limit {
                return Err(EBUSY);
            }
            q.jobs.push_back(job, GFP_KERNEL)?;
            q.idle < q.jobs.len() && q.running < self.threads_max
        };
        self.work.notify_one();
        if grow {
            // More threads are welcome, not needed.
            let _ = self.spawn();
        }
        Ok(())
    }

    /// Drops what waits, ends the threads.
    pub(crate) fn stop(&self) {
        let jobs = {
            let mut q = self.queue.lock();
            q.stopping = true;
            core::mem::take(&mut q.jobs)
        };
        drop(jobs);
        self.work.notify_all();
        let threads = core::mem::take(&mut *self.threads.lock());
        threads.join();
    }

    fn run(&self) {
        let mut q = self.queue.lock();
        loop {
            if let Some(job) = q.jobs.pop_front() {
                drop(q);
                job.call(());
                q = self.queue.lock();
            } else if q.stopping {
                return;
            } else {
                q.idle += 1;
                q = self.work.wait(q);
                q.idle -= 1;
            }
        }
    }
}
