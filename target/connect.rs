// SPDX-License-Identifier: GPL-2.0

//! Clients come and go (`ptlrpc.md` 11).

use crate::client::Client;
use crate::device::Target;
use crate::sender::Sender;
use kapi::prelude::*;
use ldlm::core::ExportId;
use ldlm::server::ExportOptions;
use ptlrpc::export::{ClientUuid, Export, TargetDevice};
use ptlrpc::import::{Import, ImportConfig};
use ptlrpc::request::ServerRequest;
use wire::connect::{version, ConnectData, ConnectFlags};
use wire::msg::ConnectOpFlags;
use wire::nid::Nid;
use wire::opcode::{portal, LDLM_BL_CALLBACK, MGS_CONNECT};

/// What we say we are: the release whose protocol this is.
pub(crate) const VERSION: u32 = version(2, 17, 0, 0);
/// Largest bulk transfer, bytes.
pub(crate) const MAX_BRW: u32 = 16 << 20;
/// Largest connect data that a client may send, bytes.
const MAX_CONNECT_DATA: usize = 8 * size_of::<ConnectData>();

/// A NID as a number that is the same for all mounts of a client.
fn peer_number(nid: &Nid) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for b in zerocopy::IntoBytes::as_bytes(nid) {
        h = (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
    }
    h
}

/// A connect request, read.
struct Asked {
    uuid: ClientUuid,
    cookie: u64,
    data: ConnectData,
    initial: bool,
    conn_cnt: u32,
    nid: Nid,
}

impl Asked {
    fn read(rpc: &ServerRequest) -> Result<Asked> {
        let uuid = ClientUuid::from_wire(rpc.msg().buf(2).ok_or(EINVAL)?)?;
        let cookie = rpc
            .msg()
            .buf(3)
            .and_then(|b| b.first_chunk::<8>())
            .ok_or(EPROTO)?;
        let raw = rpc.msg().buf(4).ok_or(EPROTO)?;
        if raw.len() > MAX_CONNECT_DATA {
            return Err(EPROTO);
        }
        let data = *rpc.get::<ConnectData>(4)?;
        if !data.flags().contains(ConnectFlags::FULL20) {
            return Err(EPROTO);
        }
        let op = ConnectOpFlags::from_bits_retain(rpc.body().pb_op_flags.get());
        if op.contains(ConnectOpFlags::LIBCLIENT) {
            return Err(EPROTO);
        }
        Ok(Asked {
            uuid,
            cookie: u64::from_le_bytes(*cookie),
            data,
            initial: op.contains(ConnectOpFlags::INITIAL),
            conn_cnt: rpc.body().pb_conn_cnt.get(),
            nid: rpc.peer().nid,
        })
    }

    fn is_light(&self) -> bool {
        self.data.flags().contains(ConnectFlags::LIGHTWEIGHT)
    }

    fn is_server(&self) -> bool {
        let f = self.data.flags();
        f.intersects(ConnectFlags::MDS | ConnectFlags::MDS_MDS) || self.is_light()
    }
}

/// What is to be done with an export that is there already.
enum Known {
    /// The client is back.
    Again(Arc<Export>),
    /// It is another life of the client: the old one ends.
    Replace(Arc<Export>),
}

/// Marks an export as being connected, until dropped.
struct Connecting(Arc<Export>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.lock().connecting = false;
    }
}

impl Target {
    /// A connect request for this target.
    pub(crate) fn connect(self: &Arc<Self>, rpc: &mut ServerRequest) -> Result {
        if self.is_stopping() {
            return Err(ENODEV);
        }
        let asked = Asked::read(rpc)?;
        let known = self.exports.lock().get(&asked.uuid).cloned();
        let mut again = None;
        if let Some(e) = known.filter(|e| !e.is_failed()) {
            match self.judge(rpc, &asked, e)? {
                Known::Again(e) => again = Some(e),
                Known::Replace(e) => {
                    self.evict(&e, "its node connects anew");
                }
            }
        }
        let (export, is_new) = match again {
            Some(e) => (e, false),
            None => (self.new_client(&asked)?, true),
        };
        let _connecting = Connecting(export.clone());
        let result = self.admit(rpc, &asked, &export, is_new);
        if result.is_err() && is_new {
            self.end_client(&export);
        }
        result
    }

    fn judge(
        self: &Arc<Self>,
        rpc: &ServerRequest,
        asked: &Asked,
        export: Arc<Export>,
    ) -> Result<Known> {
        let mut inner = export.lock();
        if inner.connecting {
            return Err(EALREADY);
        }
        if asked.is_server() && asked.initial {
            drop(inner);
            return Ok(Known::Replace(export));
        }
        if asked.initial && inner.nid.is_some_and(|n| n != asked.nid) {
            return Err(EALREADY);
        }
        if inner.client_cookie != asked.cookie {
            // The UUID is random: another life of the same client does not have it. A light
            // connection keeps it.
            return Err(EALREADY);
        }
        let names_it = rpc.body().pb_handle.get() == export.cookie;
        if !names_it && export.requests_in_progress() > 0 {
            return Err(EBUSY);
        }
        inner.connecting = true;
        drop(inner);
        Ok(Known::Again(export))
    }

    fn new_client(self: &Arc<Self>, asked: &Asked) -> Result<Arc<Export>> {
        let seat = self.seats.take(asked.nid)?;
        let slot = match &self.last_rcvd {
            Some(l) if !asked.is_light() => Some(l.add(self.osd(), &asked.uuid)?),
            _ => None,
        };
        let make = |seat| -> Result<Arc<Export>> {
            let state = Client::new(slot, seat, self.service().client_state()?)?;
            let device: Arc<dyn TargetDevice> = self.clone();
            let table = self.node().exports();
            let export = Export::new(table, device, asked.uuid, state, asked.data)?;
            export.lock().connecting = true;
            let place = RBTreeNode::new(asked.uuid, export.clone(), GFP_KERNEL);
            let entered = place.and_then(|p| {
                let mut exports = self.exports.lock();
                if exports.get(&asked.uuid).is_some() {
                    return Err(EALREADY);
                }
                exports.insert(p);
                Ok(())
            });
            if let Err(e) = entered {
                export.fail();
                drop(table.remove(export.cookie));
                return Err(e);
            }
            Ok(export)
        };
        let made = make(seat);
        if let (Err(_), Some(l), Some(s)) = (&made, &self.last_rcvd, slot) {
            if let Err(e) = l.remove(self.osd(), s, 0) {
                pr_err!("{}: slot {} stays taken: {:?}\n", self.name(), s, e);
            }
        }
        made
    }

    /// Negotiates, and puts the connection into effect.
    fn admit(
        self: &Arc<Self>,
        rpc: &mut ServerRequest,
        asked: &Asked,
        export: &Arc<Export>,
        is_new: bool,
    ) -> Result {
        let client = Client::of(export)?;
        let mut data = asked.data;
        data.set_flags(ConnectFlags::empty(), Default::default());
        let known = (!is_new).then_some(export);
        self.service()
            .negotiate(self, known, &asked.data, &mut data)?;
        let granted = data.flags();
        if !data.is_subset_of(&asked.data) {
            pr_err!("{}: grants what was not asked for\n", self.name());
            return Err(EPROTO);
        }
        if granted.contains(ConnectFlags::BRW_SIZE) {
            if asked.data.ocd_brw_size.get() == 0 {
                return Err(EPROTO);
            }
            let size = data.ocd_brw_size.get().min(MAX_BRW);
            data.ocd_brw_size.set(size);
        }
        data.ocd_version.set(VERSION);
        data.ocd_instance.set(self.instance());
        self.service()
            .connected(self, export, is_new, &asked.data, &mut data)?;
        if is_new {
            self.attach_locks(client, export, asked, granted)?;
        }
        let reverse = self.way_back(rpc, asked, &data)?;
        let old = {
            let mut inner = export.lock();
            if asked.conn_cnt <= inner.conn_cnt && !is_new {
                drop(inner);
                reverse.close(ENOTCONN);
                return Err(EALREADY);
            }
            inner.conn_cnt = asked.conn_cnt;
            inner.connect = data;
            inner.nid = Some(asked.nid);
            inner.client_cookie = asked.cookie;
            inner.connected = true;
            inner.last_xid = 0;
            inner.last_heard = Instant::now();
            inner.reverse.replace(reverse)
        };
        if let Some(i) = old {
            i.close(ENOTCONN);
        }
        let mut op = ConnectOpFlags::empty();
        let is_mgs = rpc.opc() == MGS_CONNECT;
        if !is_new || (is_mgs && asked.conn_cnt > 1) {
            op.insert(ConnectOpFlags::RECONNECT);
        }
        if !is_mgs {
            // Clients keep requests until they are committed, and wait for a connection that is lost
            // instead of failing what is under way.
            op.insert(ConnectOpFlags::REPLAYABLE);
        }
        rpc.op_flags = op.bits();
        rpc.reply_handle = export.cookie;
        rpc.set_export(export.clone());
        rpc.pack_reply(&[size_of::<ConnectData>() as u32])?;
        *rpc.reply_mut()?.get_mut::<ConnectData>(1)? = data;
        pr_debug!("{}: {} is connected\n", self.name(), asked.uuid);
        Ok(())
    }

    fn attach_locks(
        self: &Arc<Self>,
        client: &Client,
        export: &Arc<Export>,
        asked: &Asked,
        granted: ConnectFlags,
    ) -> Result {
        let options = ExportOptions {
            id: ExportId(export.cookie),
            peer: peer_number(&asked.nid),
            lvb_type: granted.contains(ConnectFlags::LVB_TYPE),
            flock_dead: granted.contains(ConnectFlags::FLOCK_DEAD),
            no_timer: granted.contains(ConnectFlags::MDS_MDS),
            max_locks: self.max_locks(),
        };
        let sender = Arc::new(
            Sender {
                target: self.clone(),
                export: export.clone(),
            },
            GFP_KERNEL,
        )?;
        let locks = self.namespace().attach(options, sender)?;
        client.set_locks(Some(locks));
        Ok(())
    }

    /// The way back to the client, for lock callbacks.
    fn way_back(
        &self,
        rpc: &ServerRequest,
        asked: &Asked,
        granted: &ConnectData,
    ) -> Result<Arc<Import>> {
        let mut peers = KVec::new();
        peers.push(asked.nid, GFP_KERNEL)?;
        let config = ImportConfig {
            target_uuid: asked.uuid,
            client_uuid: *self.uuid(),
            peers,
            request_portal: portal::LDLM_CB_REQUEST,
            reply_portal: portal::LDLM_CB_REPLY,
            connect_opc: LDLM_BL_CALLBACK,
            disconnect_opc: LDLM_BL_CALLBACK,
            wanted: *granted,
            max_modify: 1,
            part: 0,
        };
        Import::reverse(rpc.node(), config, asked.cookie, 0)
    }

    /// Throws a client out. It learns of it from its next request.
    pub fn evict(self: &Arc<Self>, export: &Arc<Export>, reason: &str) {
        if export.is_failed() {
            return;
        }
        pr_warn!(
            "{}: evicting client {} at {}: {}\n",
            self.name(),
            export.client_uuid,
            export.nid().unwrap_or(Nid::LO),
            reason
        );
        self.end_client(export);
    }

    /// Ends an export: requests with its cookie get `ENOTCONN` from now on, its locks go, what it
    /// has open goes, its slot is free. Returns the number of the transaction that freed the slot
    /// of an MDT's client, 0 otherwise.
    pub(crate) fn end_client(self: &Arc<Self>, export: &Arc<Export>) -> u64 {
        if !export.fail() {
            return 0;
        }
        drop(self.node().exports().remove(export.cookie));
        {
            let mut exports = self.exports.lock();
            let mine = exports
                .get(&export.client_uuid)
                .is_some_and(|e| Arc::ptr_eq(e, export));
            let gone = if mine {
                exports.remove_node(&export.client_uuid)
            } else {
                None
            };
            drop(exports);
            drop(gone);
        }
        let Ok(client) = Client::of(export) else {
            return 0;
        };
        if let Some(locks) = client.set_locks(None) {
            self.namespace().detach(&locks);
        }
        self.service().client_gone(self, export);
        let reverse = export.lock().reverse.take();
        if let Some(i) = reverse {
            i.close(ENOTCONN);
        }
        if let (Some(l), Some(slot)) = (&self.last_rcvd, client.record) {
            if let Err(e) = l.remove(self.osd(), slot, self.last_transno()) {
                pr_err!("{}: slot {}: {:?}\n", self.name(), slot, e);
            }
        }
        0
    }
}
