// SPDX-License-Identifier: GPL-2.0

//! A target's light connection to an MDT: for sequences, and who has which (`ost.md` 16 to 18).

use crate::requests;
use kapi::prelude::*;
use ptlrpc::call::CallOptions;
use ptlrpc::export::ClientUuid;
use ptlrpc::import::{Import, ImportConfig};
use ptlrpc::message::Msg;
use ptlrpc::node::Node;
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::msg::MDS_VERSION;
use wire::nid::Nid;
use wire::opcode::{portal, FLD_QUERY, MDS_CONNECT, MDS_DISCONNECT};
use wire::seq::{fld_op, range_type, seq_op, LuSeqRange, SeqRange};

/// The parts in `lm_secflvr` (`ptlrpc.md` 12.1).
const PART_MDT: u8 = 1;
const PART_OST: u8 = 2;
/// How often FLD_QUERY is tried while the MDT cannot say.
const TRIES: u32 = 5;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Who connects where.
pub struct LwpConfig {
    /// "lustre-MDT0000-lwp-OST0000"
    pub name: KVVec<u8>,
    /// "lustre-MDT0000_UUID"
    pub target_uuid: ClientUuid,
    /// "lustre-MDT0000-lwp-OST0000_UUID"
    pub client_uuid: ClientUuid,
    /// A NID per node where the MDT may be, in the order to try.
    pub peers: KVec<Nid>,
    /// Whether we are an MDT; else an OST.
    pub is_mdt: bool,
}

/// A light connection to an MDT.
pub struct Lwp {
    name: KVVec<u8>,
    import: Arc<Import>,
}

fn connect_data(is_mdt: bool) -> ConnectData {
    let mut flags = ConnectFlags::VERSION
        | ConnectFlags::INDEX
        | ConnectFlags::FID
        | ConnectFlags::AT
        | ConnectFlags::LRU_RESIZE
        | ConnectFlags::FULL20
        | ConnectFlags::LVB_TYPE
        | ConnectFlags::LIGHTWEIGHT
        | ConnectFlags::BULK_MBITS;
    if is_mdt {
        flags.insert(ConnectFlags::MDS_MDS);
    }
    let mut data = ConnectData::default();
    data.set_flags(flags, ConnectFlags2::empty());
    data.ocd_version.set(requests::VERSION);
    data
}

impl Lwp {
    /// Begins to connect.
    ///
    /// # Errors
    /// `EINVAL`: no peers. `ENOMEM`.
    pub fn new(node: &Arc<Node>, config: LwpConfig) -> Result<Arc<Lwp>> {
        let import_config = ImportConfig {
            target_uuid: config.target_uuid,
            client_uuid: config.client_uuid,
            peers: config.peers,
            request_portal: portal::MDS_REQUEST,
            reply_portal: portal::MDC_REPLY,
            connect_opc: MDS_CONNECT,
            disconnect_opc: MDS_DISCONNECT,
            wanted: connect_data(config.is_mdt),
            max_modify: 1,
            part: if config.is_mdt { PART_MDT } else { PART_OST },
        };
        let import = Import::new(node, import_config, None)?;
        let lwp = Lwp {
            name: config.name,
            import: import.clone(),
        };
        Arc::new(lwp, GFP_KERNEL).map_err(|e| {
            import.close(ESHUTDOWN);
            e.into()
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// The connection.
    pub fn import(&self) -> &Arc<Import> {
        &self.import
    }

    /// Waits until it is connected.
    ///
    /// # Errors
    /// `ETIMEDOUT`, or why the MDT refuses; `ESHUTDOWN`.
    pub fn wait_connected(&self, timeout: Duration) -> Result {
        self.import.wait_full(timeout)
    }

    fn options(&self, p: u32) -> Result<CallOptions> {
        let mut o = CallOptions::new(&[size_of::<LuSeqRange>() as u32])?;
        o.portal = Some(p);
        // Whoever asks holds a client's request: it can ask again.
        o.no_resend = true;
        o.no_delay = true;
        Ok(o)
    }

    /// Takes a super-sequence for the target with this index.
    ///
    /// # Errors
    /// `ENOTCONN`, `ETIMEDOUT`: the MDT cannot be reached. `EINPROGRESS`, `EAGAIN`: it has none
    /// to give yet. `ENOSPC`: none is left. `EINVAL`: what it gives is nothing.
    pub fn alloc_super(&self, index: u32, is_ost: bool) -> Result<SeqRange> {
        let flags = match is_ost {
            true => range_type::OST,
            false => range_type::MDT,
        };
        let wish = SeqRange {
            start: 0,
            end: 0,
            index,
            flags,
        };
        let options = self.options(portal::SEQ_CONTROLLER)?;
        requests::seq_query(&self.import, seq_op::ALLOC_SUPER, wish, options)
    }

    /// Who has a sequence; `kind` is a [`range_type`].
    ///
    /// # Errors
    /// `ENOENT`: nobody. `EIO`: one of another kind. `EAGAIN`: the MDT cannot say now.
    /// `ENOTCONN`, `ETIMEDOUT`: it cannot be reached.
    pub fn fld_lookup(&self, seq: u64, kind: u32) -> Result<SeqRange> {
        let mut tries = 0;
        loop {
            match self.ask_fld(seq, kind) {
                Err(e) if e == EAGAIN && tries < TRIES => tries += 1,
                other => return other,
            }
            kapi::time::sleep(PAUSE);
        }
    }

    fn ask_fld(&self, seq: u64, kind: u32) -> Result<SeqRange> {
        let len = size_of::<LuSeqRange>() as u32;
        let mut m = Msg::request(FLD_QUERY, MDS_VERSION, &[4, len])?;
        m.buf_mut(1)
            .ok_or(EPROTO)?
            .copy_from_slice(&fld_op::LOOKUP.to_le_bytes());
        let wish = SeqRange {
            start: seq,
            end: 0,
            index: 0,
            flags: kind,
        };
        *m.get_mut::<LuSeqRange>(2)? = wish.into();
        let options = self.options(portal::FLD_REQUEST)?;
        let reply = self.import.call(m, options, None)?.check()?;
        let range = reply.msg.get::<LuSeqRange>(1)?.get();
        if !range.contains(seq) {
            return Err(EPROTO);
        }
        if kind != range_type::ANY && range.flags & range_type::MASK != kind & range_type::MASK {
            return Err(EIO);
        }
        Ok(range)
    }

    /// Ends the connection.
    pub fn stop(&self) {
        self.import.leave();
    }
}
