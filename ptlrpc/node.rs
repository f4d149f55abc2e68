// SPDX-License-Identifier: GPL-2.0

//! A node: everything of PTLRPC that there is once per LNet instance.

use crate::call::Outcome;
use crate::early::EarlyReplies;
use crate::export::Export;
use crate::ids::{HandleTable, XidSource};
use crate::import::Import;
use crate::limits::Limits;
use crate::net::Listening;
use crate::service::Service;
use kapi::prelude::*;
use kapi::thread::Threads;
use lnet::{Lnet, PeerWatcher};
use wire::nid::Nid;

/// Threads that run the completion functions of asynchronous calls.
const WORKERS: usize = 2;

/// A piece of work for a worker thread.
type Job = KBox<dyn Once<()>>;

struct Jobs {
    queue: Deque<Job>,
    stopping: bool,
}

/// Hears of peers whose connections have broken.
struct Watch(Arc<Node>);

impl PeerWatcher for Watch {
    fn peer_down(&self, nid: Nid) {
        let node = self.0.clone();
        // Whoever tells may hold locks.
        if let Err(e) = self.0.spawn_job(move || node.peer_down(nid)) {
            pr_debug!("the loss of {} is not told: {:?}\n", nid, e);
        }
    }
}

/// A node.
#[pin_data]
pub struct Node {
    lnet: Arc<Lnet>,
    xids: XidSource,
    #[pin]
    limits: SpinLock<Limits>,
    #[pin]
    exports: HandleTable<Export>,
    #[pin]
    early: EarlyReplies,
    /// Services by request portal.
    #[pin]
    services: Mutex<RBTree<u32, (Arc<Service>, Listening)>>,
    #[pin]
    imports: Mutex<KVec<Arc<Import>>>,
    #[pin]
    jobs: Mutex<Jobs>,
    #[pin]
    work: CondVar,
    #[pin]
    tick: CondVar,
    #[pin]
    threads: Mutex<Threads>,
}

impl Node {
    /// Starts one on `lnet`.
    ///
    /// # Errors
    /// `ENOMEM`, `EAGAIN`: no threads to be had.
    pub fn start(lnet: &Arc<Lnet>, limits: Limits) -> Result<Arc<Node>> {
        let node = Arc::pin_init(
            try_pin_init!(Node {
                lnet: lnet.clone(),
                xids: XidSource::new(),
                limits <- new_spinlock!(limits),
                exports <- HandleTable::new(),
                early <- EarlyReplies::new(),
                services <- new_mutex!(RBTree::new()),
                imports <- new_mutex!(KVec::new()),
                jobs <- new_mutex!(Jobs {
                    queue: Deque::new(),
                    stopping: false,
                }),
                work <- new_condvar!(),
                tick <- new_condvar!(),
                threads <- new_mutex!(Threads::new()),
            }),
            GFP_KERNEL,
        )?;
        let watch = Arc::new(Watch(node.clone()), GFP_KERNEL);
        let started = watch
            .map_err(Error::from)
            .map(|w| lnet.watch_peers(Some(w)))
            .and_then(|()| node.spawn_threads());
        if let Err(e) = started {
            node.stop();
            return Err(e);
        }
        Ok(node)
    }

    fn spawn_threads(self: &Arc<Self>) -> Result {
        let mut threads = self.threads.lock();
        for i in 0..WORKERS {
            let node = self.clone();
            threads.spawn(format_args!("ptlrpcd_{i:02}"), move || node.run_jobs())?;
        }
        let node = self.clone();
        threads.spawn(format_args!("ll_ping"), move || node.run_timer())?;
        let node = self.clone();
        threads.spawn(format_args!("ptlrpc_at"), move || node.early.run())
    }

    /// Ends it: imports are closed, threads end. Services are stopped before, by their owners.
    pub fn stop(self: &Arc<Self>) {
        // It knows us, and we know it.
        self.lnet.watch_peers(None);
        let imports = core::mem::take(&mut *self.imports.lock());
        for i in imports {
            i.close(ESHUTDOWN);
        }
        self.jobs.lock().stopping = true;
        self.work.notify_all();
        self.tick.notify_all();
        self.early.stop();
        let threads = core::mem::take(&mut *self.threads.lock());
        threads.join();
    }

    /// The network.
    pub fn lnet(&self) -> &Arc<Lnet> {
        &self.lnet
    }

    /// A new XID.
    pub fn next_xid(&self) -> u64 {
        self.xids.next()
    }

    /// The time-outs.
    pub fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    /// Changes the time-outs.
    pub fn set_limits(&self, change: impl FnOnce(&mut Limits)) {
        change(&mut self.limits.lock())
    }

    /// All exports of the node's targets, by cookie.
    pub fn exports(&self) -> &HandleTable<Export> {
        &self.exports
    }

    pub(crate) fn early_replies(&self) -> &EarlyReplies {
        &self.early
    }

    /// Gives the service its portal.
    pub(crate) fn attach(self: &Arc<Self>, service: &Arc<Service>) -> Result {
        let portal = service.config().request_portal;
        let mut services = self.services.lock();
        if services.get(&portal).is_some() {
            return Err(EEXIST);
        }
        let listening = crate::net::listen(&self.lnet, service)?;
        services.try_create_and_insert(portal, (service.clone(), listening), GFP_KERNEL)?;
        Ok(())
    }

    pub(crate) fn detach(&self, service: &Arc<Service>) {
        let portal = service.config().request_portal;
        let mut services = self.services.lock();
        let mine = services
            .get(&portal)
            .is_some_and(|(s, _)| Arc::ptr_eq(s, service));
        if !mine {
            return;
        }
        if let Some((_, listening)) = services.remove(&portal) {
            crate::net::unlisten(&self.lnet, listening);
        }
    }

    pub(crate) fn add_import(&self, import: &Arc<Import>) -> Result {
        self.imports.lock().push(import.clone(), GFP_KERNEL)?;
        Ok(())
    }

    pub(crate) fn remove_import(&self, import: &Arc<Import>) {
        self.imports.lock().retain(|i| !Arc::ptr_eq(i, import));
    }

    /// The import whose own cookie is `cookie`: whom a lock callback is for.
    pub fn import_by_cookie(&self, cookie: u64) -> Option<Arc<Import>> {
        let imports = self.imports.lock();
        imports.iter().find(|i| i.own_cookie() == cookie).cloned()
    }

    /// Has `f` called with `outcome` on a worker thread.
    pub(crate) fn run(&self, f: KBox<dyn Once<Outcome>>, outcome: Outcome) {
        if let Err(e) = self.spawn_job(move || f.call(outcome)) {
            pr_err!("a completion is lost: {:?}\n", e);
        }
    }

    /// Has `f` called on a worker thread, soon.
    ///
    /// # Errors
    /// `ENOMEM`, `ESHUTDOWN`.
    pub fn spawn_job(&self, f: impl FnOnce() + Send + 'static) -> Result {
        let job: Job = KBox::new(move |()| f(), GFP_KERNEL)?;
        {
            let mut jobs = self.jobs.lock();
            if jobs.stopping {
                return Err(ESHUTDOWN);
            }
            jobs.queue.push_back(job, GFP_KERNEL)?;
        }
        self.work.notify_one();
        Ok(())
    }

    fn run_jobs(&self) {
        let mut jobs = self.jobs.lock();
        loop {
            if let Some(job) = jobs.queue.pop_front() {
                drop(jobs);
                job.call(());
                jobs = self.jobs.lock();
                continue;
            }
            if jobs.stopping {
                return;
            }
            jobs = self.work.wait(jobs);
        }
    }

    fn run_timer(&self) {
        loop {
            let jobs = self.jobs.lock();
            if jobs.stopping {
                return;
            }
            let (jobs, _) = self.tick.wait_timeout(jobs, Duration::from_secs(1));
            if jobs.stopping {
                return;
            }
            drop(jobs);
            for i in self.all_imports() {
                i.tick();
            }
        }
    }

    /// All imports; none if there is no memory for that.
    fn all_imports(&self) -> KVec<Arc<Import>> {
        let mut all: KVec<Arc<Import>> = KVec::new();
        let imports = self.imports.lock();
        if all.reserve(imports.len(), GFP_KERNEL).is_err() {
            return all;
        }
        for i in imports.iter() {
            if all.push_within_capacity(i.clone()).is_err() {
                break;
            }
        }
        all
    }

    /// The last connection to `nid` has broken.
    fn peer_down(&self, nid: Nid) {
        for i in self.all_imports() {
            if i.peer() == Some(nid) {
                i.broken();
            }
        }
    }
}
