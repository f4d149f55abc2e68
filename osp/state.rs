// SPDX-License-Identifier: GPL-2.0

//! What the threads of an OSP, its users and its connection share.

use crate::changes::Changes;
use crate::pool::Pool;
use crate::space::Space;
use kapi::prelude::*;
use ptlrpc::import::ImportEvents;
use wire::connect::ConnectData;

/// What changes. No memory is allocated and nothing is waited for under its lock.
pub(crate) struct Inner {
    pub(crate) pool: Pool,
    /// The import is connected.
    pub(crate) connected: bool,
    /// Counts connections.
    pub(crate) generation: u64,
    /// The administrator's word.
    pub(crate) active: bool,
    pub(crate) stopping: bool,
    /// Why the latest attempt to get objects failed.
    pub(crate) status: Option<Error>,
    /// Not before this time is another attempt made.
    pub(crate) retry_at: Option<Instant>,
    pub(crate) space: Option<Space>,
    /// When the space was asked for.
    pub(crate) space_asked: Option<Instant>,
    /// A question for the space is under way.
    pub(crate) asking: bool,
}

/// What is shared.
#[pin_data]
pub(crate) struct State {
    #[pin]
    pub(crate) inner: Mutex<Inner>,
    /// There is work for the thread.
    #[pin]
    pub(crate) work: CondVar,
    /// There may be objects.
    #[pin]
    pub(crate) objects: CondVar,
}

impl State {
    pub(crate) fn new(pool: Pool) -> Result<Arc<State>> {
        Arc::pin_init(
            pin_init!(State {
                inner <- new_mutex!(Inner {
                    pool,
                    connected: false,
                    generation: 0,
                    active: true,
                    stopping: false,
                    status: None,
                    retry_at: None,
                    space: None,
                    space_asked: None,
                    asking: false,
                }),
                work <- new_condvar!(),
                objects <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// An object is gone: a full OST has space again, perhaps.
    pub(crate) fn space_came_free(&self) {
        let mut inner = self.inner.lock();
        if inner.space.as_ref().is_some_and(Space::is_full) {
            inner.space_asked = None;
            drop(inner);
            self.work.notify_all();
        }
    }

    /// Changes something, and lets all look at it again.
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        let r = f(&mut self.inner.lock());
        self.work.notify_all();
        self.objects.notify_all();
        r
    }
}

/// Tells both threads of the connection.
pub(crate) struct Events {
    pub(crate) state: Arc<State>,
    pub(crate) changes: Arc<Changes>,
}

impl ImportEvents for Events {
    fn active(&self, _: &ConnectData) {
        // First: nothing is to be asked before it is known that the connection is another.
        self.changes.connected(true);
        self.state.change(|i| {
            i.connected = true;
            i.generation += 1;
            i.retry_at = None;
            i.space_asked = None;
            i.pool.forget();
        });
    }

    fn disconnected(&self) {
        self.state.change(|i| i.connected = false);
        self.changes.connected(false);
    }
}
