// SPDX-License-Identifier: GPL-2.0

//! What a kind of target does itself.

use crate::client::Client;
use crate::device::Target;
use kapi::prelude::*;
use ldlm::core::{LockView, ResId};
use ldlm::server::{EnqueueReply, EnqueueReq, ExportLocks, Intent, Lvb, LvbClass};
use ptlrpc::export::{ClientState, Export};
use ptlrpc::request::ServerRequest;
use wire::connect::ConnectData;

/// A request of a connected client.
pub struct Request<'a> {
    /// The request and its reply.
    pub rpc: &'a mut ServerRequest,
    /// The target.
    pub target: &'a Arc<Target>,
    /// The client.
    pub export: Arc<Export>,
    /// The client's locks.
    pub locks: Arc<ExportLocks>,
}

impl Request<'_> {
    /// What the target keeps about the client.
    ///
    /// # Errors
    /// `EINVAL`: the export is not one of a target's.
    pub fn client(&self) -> Result<&Client> {
        Client::of(&self.export)
    }

    /// What the service keeps about the client.
    ///
    /// # Errors
    /// `EINVAL`: it is something else.
    pub fn own<T: 'static>(&self) -> Result<&T> {
        self.client()?.own()
    }
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// A reply with this status. What was packed is sent, also with a negative one; without a
    /// packed reply a negative status makes an error reply.
    Reply(i32),
    /// No reply: the client shall send it again.
    Drop,
}

/// The part of a target that its kind makes. Calls come from many threads at once.
pub trait Service: Send + Sync {
    /// Chooses what is granted of `wanted` to a client that connects, for the first time or again:
    /// flags (never one that was not asked for) and the fields that go with them. `data` is a copy
    /// of `wanted` without the flags. Version, instance and the size of the transfer's fields that
    /// all targets share are filled in by the target.
    ///
    /// # Errors
    /// Those of the connect, `ptlrpc.md` 11.3 step 12.
    fn negotiate(
        &self,
        target: &Arc<Target>,
        client: Option<&Arc<Export>>,
        wanted: &ConnectData,
        data: &mut ConnectData,
    ) -> Result;

    /// A client, new or back, is being connected on what was negotiated: the place to note that,
    /// and to fill in what depends on the client.
    ///
    /// # Errors
    /// Those of the connect.
    fn connected(
        &self,
        target: &Arc<Target>,
        export: &Arc<Export>,
        is_new: bool,
        wanted: &ConnectData,
        data: &mut ConnectData,
    ) -> Result {
        let _ = (target, export, is_new, wanted, data);
        Ok(())
    }

    /// What the service keeps about a new client.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn client_state(&self) -> Result<Arc<dyn ClientState>>;

    /// Serves a request: everything but connects, pings and locks. An error is an error reply.
    fn serve(&self, req: &mut Request<'_>) -> Result<Served>;

    /// Executes the intent in buffer 2 of an LDLM_ENQUEUE. It packs the reply, whose buffer 1 is
    /// the `ldlm_reply`, filled in later.
    ///
    /// # Errors
    /// Those of the request itself; `EOPNOTSUPP`: there are no intents here.
    fn intent(&self, req: &mut Request<'_>, enqueue: &EnqueueReq) -> Result<Intent> {
        let _ = (req, enqueue);
        Err(EOPNOTSUPP)
    }

    /// An intent is here again that gave the client `lock`: packs what else was in the reply.
    /// Returns the disposition bits, and the status of the operation.
    ///
    /// # Errors
    /// Those of the request itself; `EOPNOTSUPP`: there are no intents here.
    fn intent_again(&self, req: &mut Request<'_>, lock: &EnqueueReply) -> Result<(u64, i32)> {
        let _ = (req, lock);
        Err(EOPNOTSUPP)
    }

    /// A lock was enqueued, and the reply for it made: the place to put more into the reply.
    fn enqueued(&self, req: &mut Request<'_>, lock: &EnqueueReply) -> Result {
        let _ = (req, lock);
        Ok(())
    }

    /// Whether a request goes before others. Called where nothing may sleep for long.
    fn is_high_priority(&self, target: &Arc<Target>, req: &ServerRequest) -> bool {
        let _ = (target, req);
        false
    }

    /// A client has left, or was evicted: its locks are gone, what it has open goes now.
    fn client_gone(&self, target: &Arc<Target>, export: &Arc<Export>);

    /// The target stops: no request is being served any more; the clients are still known.
    fn stopping(&self, target: &Arc<Target>) {
        let _ = target;
    }

    /// Reads size, times and blocks of the object behind a lock resource.
    ///
    /// # Errors
    /// `ENOENT`: no such object.
    fn read_lvb(&self, res: &ResId) -> Result<Lvb> {
        let _ = res;
        Err(ENOENT)
    }

    /// Which value block goes with a lock.
    fn lvb_class(&self, lock: &LockView) -> LvbClass {
        let _ = lock;
        LvbClass::None
    }

    /// A client's lock is about to go.
    fn cancelling(&self, res: &ResId, lock: &LockView) {
        let _ = (res, lock);
    }
}
