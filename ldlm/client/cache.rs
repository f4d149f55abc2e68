// SPDX-License-Identifier: GPL-2.0

//! Asking for locks, finding and using them.

use super::state::{ClientState, ClientView, Entry, List, Table};
use super::traits::{CacheOps, CancelSender};
use crate::core::{flags, Desc, Extent, LockType, Mode, Policy, ResId};
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};

/// How large a cache may be.
#[derive(Clone, Copy, Debug)]
pub struct CacheConfig {
    /// Locks, used and unused: more are refused with ENOMEM.
    pub max_locks: usize,
    /// Unused locks that are kept (`lru_size`).
    pub max_unused: usize,
    /// How long an unused lock is kept (`lru_max_age`).
    pub max_age: Duration,
    /// A lock for writing that was unused for so long goes when another node asks how large the
    /// object is (`dirty_age_limit`).
    pub dirty_age: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig {
            max_locks: 1 << 20,
            max_unused: 50_000,
            max_age: Duration::from_secs(600),
            dirty_age: Duration::from_secs(10),
        }
    }
}

/// What lock is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// The resource.
    pub res: ResId,
    /// The mode.
    pub mode: Mode,
    /// What it shall cover.
    pub policy: Policy,
    /// Flags of the request.
    pub flags: u32,
}

/// The reply to an enqueue.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// `lock_flags`.
    pub flags: u32,
    /// `lock_desc`.
    pub desc: Desc,
    /// `lock_handle`.
    pub cookie: u64,
    /// The value block.
    pub lvb: &'a [u8],
}

#[pin_data]
struct Shared {
    config: CacheConfig,
    ops: Arc<dyn CacheOps>,
    sender: Arc<dyn CancelSender>,
    #[pin]
    table: Mutex<Table>,
    /// Signalled when a lock is granted or lost.
    #[pin]
    changed: CondVar,
    /// Signalled when something is to be given up.
    #[pin]
    todo: CondVar,
    /// Milliseconds, as of the last [`Cache::work`]: exact enough for the age of locks.
    now: Atomic<u64>,
}

/// The locks a node holds at one target. Clones are the same cache.
#[derive(Clone)]
pub struct Cache(Arc<Shared>);

/// A lock in use.
pub struct Held {
    cache: Cache,
    handle: u64,
}

impl Held {
    /// Our handle of the lock: for the enqueue request, and for I/O requests.
    pub fn handle(&self) -> u64 {
        self.handle
    }

    /// A look at it; `None` if it was lost with the connection.
    pub fn view(&self) -> Option<ClientView> {
        self.cache.view(self.handle)
    }

    /// Copies the value block out; how many bytes there were.
    pub fn lvb(&self, out: &mut [u8]) -> usize {
        let t = self.cache.table().lock();
        let Some(e) = t.get(self.handle) else {
            return 0;
        };
        let n = e.lvb.len().min(out.len());
        if let (Some(o), Some(l)) = (out.get_mut(..n), e.lvb.get(..n)) {
            o.copy_from_slice(l);
        }
        n
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.cache.release(self.handle);
    }
}

impl Cache {
    /// An empty cache.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(
        config: CacheConfig,
        ops: Arc<dyn CacheOps>,
        sender: Arc<dyn CancelSender>,
    ) -> Result<Self> {
        let shared = Arc::pin_init(
            pin_init!(Shared {
                config,
                ops,
                sender,
                table <- new_mutex!(Table::default()),
                changed <- new_condvar!(),
                todo <- new_condvar!(),
                now: Atomic::<u64>::new(now_ms()),
            }),
            GFP_KERNEL,
        )?;
        Ok(Cache(shared))
    }

    pub(super) fn table(&self) -> &Mutex<Table> {
        &self.0.table
    }

    pub(super) fn ops(&self) -> &dyn CacheOps {
        &*self.0.ops
    }

    pub(super) fn sender(&self) -> &dyn CancelSender {
        &*self.0.sender
    }

    pub(super) fn config(&self) -> &CacheConfig {
        &self.0.config
    }

    pub(super) fn changed(&self) -> &CondVar {
        &self.0.changed
    }

    pub(super) fn todo(&self) -> &CondVar {
        &self.0.todo
    }

    fn now(&self) -> u64 {
        self.0.now.load(Relaxed)
    }

    /// Looks at the clock.
    pub(super) fn tick(&self) -> u64 {
        let now = now_ms();
        self.0.now.store(now, Relaxed);
        now
    }

    /// A look at a lock.
    pub fn view(&self, handle: u64) -> Option<ClientView> {
        self.table().lock().get(handle).map(|e| e.view)
    }

    /// Locks, and unused ones among them.
    pub fn counts(&self) -> (usize, usize) {
        let mut t = self.table().lock();
        (t.len(), t.list_len(List::Unused))
    }

    /// Makes a lock that is about to be asked for.
    ///
    /// # Errors
    /// `ENOMEM`: no memory, or too many locks.
    pub fn prepare(&self, want: &Want) -> Result<Held> {
        let view = ClientView {
            handle: 0,
            cookie: 0,
            res: want.res,
            mode: want.mode,
            policy: want.policy,
            state: ClientState::Asked,
            called_back: false,
            users: 1,
        };
        let entry = Entry::new(view, want.flags & flags::INHERIT);
        let salt = kapi::rand::u64();
        let mut t = self.table().lock();
        if t.len() >= self.config().max_locks {
            return Err(ENOMEM);
        }
        let handle = t.insert(entry, salt)?;
        drop(t);
        Ok(Held {
            cache: self.clone(),
            handle,
        })
    }

    /// Takes the reply of the enqueue. True: the lock is held; false: [`Cache::wait`] for it.
    ///
    /// # Errors
    /// `EPROTO`: the reply makes no sense. `ENOTCONN`: the cache has been invalidated meanwhile.
    /// `ENOMEM`. The lock is of no use then; drop it.
    pub fn answered(&self, held: &Held, a: &Answer<'_>) -> Result<bool> {
        let done = self.adopt(held, a);
        if done.is_err() {
            // The server has a lock that we do not.
            let mut t = self.table().lock();
            if let Some(e) = t.get_mut(held.handle) {
                e.view.cookie = a.cookie;
                e.view.called_back = true;
                if e.view.state != ClientState::Failed {
                    e.view.state = ClientState::Granted;
                }
            }
        }
        done
    }

    fn adopt(&self, held: &Held, a: &Answer<'_>) -> Result<bool> {
        let mut lvb = KVec::new();
        lvb.extend_from_slice(a.lvb, GFP_KERNEL)?;
        let mut t = self.table().lock();
        let e = t.get_mut(held.handle).ok_or(ENOTCONN)?;
        let view = &mut e.view;
        if view.state == ClientState::Failed {
            return Err(ENOTCONN);
        }
        view.cookie = a.cookie;
        e.flags |= a.flags & flags::INHERIT;
        e.discard |= a.flags & flags::DISCARD_DATA != 0;
        if a.flags & flags::AST_SENT != 0 {
            view.called_back = true;
        }
        if view.state == ClientState::Granted {
            // The completion was faster than the reply, and is the newer one.
            return Ok(true);
        }
        if a.desc.policy.lock_type() != view.policy.lock_type() {
            return Err(EPROTO);
        }
        if a.flags & flags::LOCK_CHANGED != 0 {
            if !fits(&view.policy, &a.desc.policy) {
                return Err(EPROTO);
            }
            view.mode = a.desc.req_mode;
            view.policy = a.desc.policy;
            t.move_to(held.handle, a.desc.res)?;
        }
        let e = t.get_mut(held.handle).ok_or(ENOTCONN)?;
        if a.flags & (flags::BLOCK_GRANTED | flags::BLOCK_WAIT) != 0 {
            e.view.state = ClientState::Waiting;
            return Ok(false);
        }
        e.view.state = ClientState::Granted;
        e.lvb = lvb;
        drop(t);
        self.changed().notify_all();
        Ok(true)
    }

    /// Waits until the lock is granted.
    ///
    /// # Errors
    /// `ETIMEDOUT`: not within `limit`. `EDEADLK`: the server ended the wait of a file lock.
    /// `EINTR`: it was ended by an unlock. `EIO`: the connection was lost.
    pub fn wait(&self, held: &Held, limit: Option<Duration>) -> Result {
        let start = Instant::now();
        let mut t = self.table().lock();
        loop {
            let e = t.get(held.handle).ok_or(EIO)?;
            match e.view.state {
                ClientState::Granted | ClientState::GoingAway => return Ok(()),
                ClientState::Failed if e.flags & flags::FLOCK_DEADLOCK != 0 => return Err(EDEADLK),
                ClientState::Failed if e.view.cookie == 0 => return Err(EINTR),
                ClientState::Failed => return Err(EIO),
                ClientState::Asked | ClientState::Waiting => {}
            }
            let turn = Duration::from_secs(60);
            let turn = match limit {
                Some(l) => turn.min(l.checked_sub(start.elapsed()).ok_or(ETIMEDOUT)?),
                None => turn,
            };
            t = self.changed().wait_timeout(t, turn).0;
        }
    }

    /// Finds a lock that is held, covers `policy` and has one of `modes` (a mask), and uses it.
    pub fn find(&self, res: &ResId, modes: u32, policy: &Policy) -> Option<Held> {
        let mut t = self.table().lock();
        let handle = t.find_in(res, |e| {
            e.is_usable()
                && e.is_cached()
                && e.view.mode as u32 & modes != 0
                && covers(&e.view.policy, policy)
        })?;
        t.set_list(handle, List::None);
        t.get_mut(handle)?.view.users += 1;
        drop(t);
        Some(Held {
            cache: self.clone(),
            handle,
        })
    }

    /// One user less. The last one of a lock that is wanted back has it given up; otherwise it
    /// stays for the next.
    fn release(&self, handle: u64) {
        let mut t = self.table().lock();
        let Some(e) = t.get_mut(handle) else { return };
        e.view.users = e.view.users.saturating_sub(1);
        if e.view.users != 0 {
            return;
        }
        let (state, back, cached) = (e.view.state, e.view.called_back, e.is_cached());
        let flock = e.view.policy.lock_type() == LockType::Flock;
        match state {
            ClientState::Granted if !flock && (back || !cached) => {
                t.doom(handle);
                drop(t);
                self.todo().notify_one();
            }
            ClientState::Granted if cached => {
                e.unused_at = self.now();
                t.set_list(handle, List::Unused);
                let crowded = t.list_len(List::Unused) > self.config().max_unused;
                drop(t);
                if crowded {
                    self.todo().notify_one();
                }
            }
            ClientState::GoingAway => {}
            // File locks, and what never came to be, leave nothing. A late completion finds no
            // lock, and its answer has the server cancel.
            _ => {
                let gone = t.remove(handle);
                drop(t);
                drop(gone);
            }
        }
    }
}

fn now_ms() -> u64 {
    Instant::now().as_nanos() / 1_000_000
}

/// Whether a lock that covers `have` serves one who needs `need`.
fn covers(have: &Policy, need: &Policy) -> bool {
    match (have, need) {
        (Policy::Plain, Policy::Plain) => true,
        (Policy::Extent(h), Policy::Extent(n)) => h.contains(n),
        (Policy::Ibits(h), Policy::Ibits(n)) => h.bits & n.bits == n.bits,
        _ => false,
    }
}

/// Whether the server may give `got` to one who asked for `want`.
fn fits(want: &Policy, got: &Policy) -> bool {
    match (want, got) {
        (Policy::Extent(w), Policy::Extent(g)) => g.contains(&Extent { gid: 0, ..*w }),
        _ => true,
    }
}
