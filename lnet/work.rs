// SPDX-License-Identifier: GPL-2.0

//! A few threads that do what may block: handshakes, connects.

use kapi::prelude::*;
use kapi::thread::Threads;

struct Queue {
    jobs: Deque<KBox<dyn Once<()>>>,
    stopping: bool,
}

/// A pool of threads with a bounded queue.
#[pin_data]
pub(crate) struct Pool {
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
                limit,
                queue <- new_mutex!(Queue { jobs: Deque::new(), stopping: false }),
                work <- new_condvar!(),
                threads <- new_mutex!(Threads::new()),
            }),
            GFP_KERNEL,
        )?;
        for i in 0..threads {
            let p = pool.clone();
            let mut threads = pool.threads.lock();
            let started = threads.spawn(format_args!("{name}_{i:02}"), move || p.run());
            drop(threads);
            if let Err(e) = started {
                pool.stop();
                return Err(e);
            }
        }
        Ok(pool)
    }

    /// Has `f` called on one of the threads.
    ///
    /// # Errors
    /// `EBUSY`: too many wait. `ESHUTDOWN`, `ENOMEM`.
    pub(crate) fn submit(&self, f: impl FnOnce() + Send + 'static) -> Result {
        let job: KBox<dyn Once<()>> = KBox::new(move |()| f(), GFP_KERNEL)?;
        {
            let mut q = self.queue.lock();
            if q.stopping {
                return Err(ESHUTDOWN);
            }
            if q.jobs.len() >= self.limit {
                return Err(EBUSY);
            }
            q.jobs.push_back(job, GFP_KERNEL)?;
        }
        self.work.notify_one();
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
                q = self.work.wait(q);
            }
        }
    }
}
