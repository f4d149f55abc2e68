// SPDX-License-Identifier: GPL-2.0

//! Exports: the server's side of a connection between one client and one target.

use crate::ids::{new_cookie, HandleTable};
use crate::import::Import;
use crate::request::Shared;
use core::any::Any;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use wire::connect::{ConnectData, ConnectFlags};
use wire::nid::Nid;

/// What a target keeps about a client: its own type behind `Any`.
pub trait ClientState: Any + Send + Sync {
    /// For downcasting.
    fn as_any(&self) -> &dyn Any;
}

/// A target as the RPC layer sees it: exports name it, requests are handed to it.
pub trait TargetDevice: Any + Send + Sync {
    /// "lustre-OST0000", "MGS".
    fn name(&self) -> &str;
    /// For downcasting.
    fn as_any(&self) -> &dyn Any;
}

/// What of an export changes. Protected by one lock; nothing sleeps under it.
pub struct ExportInner {
    /// What was negotiated at the latest connect.
    pub connect: ConnectData,
    /// Where the client is.
    pub nid: Option<Nid>,
    /// Generation of the client's connection; requests of an older one are dropped.
    pub conn_cnt: u32,
    /// The client's cookie for us: proof of identity at a reconnect, `pb_handle` of callbacks.
    pub client_cookie: u64,
    /// Connected now; false for one made from `last_rcvd` whose client was not seen yet.
    pub connected: bool,
    /// A connect of this client is being worked on.
    pub connecting: bool,
    /// Highest `pb_last_xid` seen.
    pub last_xid: u64,
    /// When the client was last heard of.
    pub last_heard: Instant,
    /// The way back to the client, for lock callbacks.
    pub reverse: Option<Arc<Import>>,
    /// Requests queued or running, by XID: what a resend looks for.
    rpcs: RBTree<u64, Arc<Shared>>,
}

/// One client of one target.
#[pin_data]
pub struct Export {
    /// The cookie that the client puts into `pb_handle`.
    pub cookie: u64,
    /// The target.
    pub target: Arc<dyn TargetDevice>,
    /// The client's UUID, 39 bytes at most.
    pub client_uuid: ClientUuid,
    /// The target type's own state about the client.
    pub state: Arc<dyn ClientState>,
    failed: Atomic<bool>,
    rpc_count: Atomic<u32>,
    #[pin]
    inner: SpinLock<ExportInner>,
}

/// A client's UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientUuid {
    bytes: [u8; 40],
}

impl ClientUuid {
    /// From a buffer of a connect request, which ends it with a NUL.
    ///
    /// # Errors
    /// `EINVAL`: empty, too long, not terminated or not ASCII.
    pub fn from_wire(buf: &[u8]) -> Result<ClientUuid> {
        let n = buf.iter().position(|c| *c == 0).ok_or(EINVAL)?;
        Self::new(buf.get(..n).ok_or(EINVAL)?)
    }

    /// From its text.
    ///
    /// # Errors
    /// `EINVAL`: empty, too long or not ASCII.
    pub fn new(text: &[u8]) -> Result<ClientUuid> {
        if text.is_empty() || !text.is_ascii() {
            return Err(EINVAL);
        }
        let mut bytes = [0; 40];
        bytes
            .get_mut(..39)
            .and_then(|b| b.get_mut(..text.len()))
            .ok_or(EINVAL)?
            .copy_from_slice(text);
        Ok(ClientUuid { bytes })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let n = self.bytes.iter().position(|c| *c == 0).unwrap_or(39);
        self.bytes
            .get(..n)
            .and_then(|b| core::str::from_utf8(b).ok())
            .unwrap_or("?")
    }

    /// The text, padded with NULs to the 40 bytes that disks and messages have.
    pub fn padded(&self) -> &[u8; 40] {
        &self.bytes
    }
}

impl core::fmt::Display for ClientUuid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Export {
    /// A new export with a cookie of its own, entered into `table`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(
        table: &HandleTable<Export>,
        target: Arc<dyn TargetDevice>,
        client_uuid: ClientUuid,
        state: Arc<dyn ClientState>,
        connect: ConnectData,
    ) -> Result<Arc<Export>> {
        loop {
            let (device, client) = (target.clone(), state.clone());
            let export = Arc::pin_init(
                try_pin_init!(Export {
                    cookie: new_cookie(),
                    target: device,
                    client_uuid,
                    state: client,
                    failed: Atomic::<bool>::new(false),
                    rpc_count: Atomic::<u32>::new(0),
                    inner <- new_spinlock!(ExportInner {
                        connect,
                        nid: None,
                        conn_cnt: 0,
                        client_cookie: 0,
                        connected: false,
                        connecting: false,
                        last_xid: 0,
                        last_heard: Instant::now(),
                        reverse: None,
                        rpcs: RBTree::new(),
                    }),
                }),
                GFP_KERNEL,
            )?;
            match table.insert(export.cookie, export.clone()) {
                Ok(()) => return Ok(export),
                Err(EEXIST) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The part that changes, locked.
    pub fn lock(&self) -> SpinLockGuard<'_, ExportInner> {
        self.inner.lock()
    }

    /// Whether the client was evicted or has left: its requests get `ENOTCONN`.
    pub fn is_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Ends it; true for the one caller that did so first and has the cleaning to do.
    pub fn fail(&self) -> bool {
        !self.failed.xchg(true, kapi::sync::atomic::Full)
    }

    /// The negotiated connect data.
    pub fn connect_data(&self) -> ConnectData {
        self.inner.lock().connect
    }

    /// Whether a flag was granted.
    pub fn has(&self, flag: ConnectFlags) -> bool {
        self.inner.lock().connect.flags().contains(flag)
    }

    /// The way back to the client.
    pub fn reverse_import(&self) -> Option<Arc<Import>> {
        self.inner.lock().reverse.clone()
    }

    /// The client's NID.
    pub fn nid(&self) -> Option<Nid> {
        self.inner.lock().nid
    }

    /// Requests of this client in the server.
    pub fn requests_in_progress(&self) -> u32 {
        self.rpc_count.load(Relaxed)
    }

    /// Enters a request that arrived. False if it is a resend of one that is still here and takes
    /// over its place: the new one is to be dropped (spec `ptlrpc.md` §9.1 step 9).
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn enter(&self, xid: u64, shared: &Arc<Shared>) -> Result<bool> {
        let node = RBTreeNode::new(xid, shared.clone(), GFP_KERNEL)?;
        let mut inner = self.inner.lock();
        if inner
            .rpcs
            .get(&xid)
            .is_some_and(|old| old.take_over(shared))
        {
            return Ok(false);
        }
        let before = inner.rpcs.insert(node);
        drop(inner);
        if before.is_none() {
            self.rpc_count.add(1, Relaxed);
        }
        Ok(true)
    }

    /// The request is done with.
    pub(crate) fn leave(&self, xid: u64, shared: &Arc<Shared>) {
        let mut inner = self.inner.lock();
        // A resend may have its place.
        let ours = inner.rpcs.get(&xid).is_some_and(|s| Arc::ptr_eq(s, shared));
        let gone = match ours {
            true => inner.rpcs.remove_node(&xid),
            false => None,
        };
        drop(inner);
        if gone.is_some() {
            self.rpc_count.fetch_sub(1, Relaxed);
        }
    }
}
