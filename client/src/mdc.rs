// SPDX-License-Identifier: GPL-2.0

//! The MDT as this client sees it: requests for names, attributes and open files.

mod intent;
mod readdir;
mod reint;
mod xattr;

pub use intent::{Found, Handle, LookUp, Looked, OpenWish, Opened};
pub use readdir::DirEntry;
pub use reint::{NewNode, SetAttr};

use crate::config::TargetConfig;
use crate::cred::Cred;
use crate::mgc::VERSION;
use crate::node::ClientNode;
use crate::rpc;
use crate::seq::FidSource;
use crate::target::{Target, TargetEvents};
use kapi::prelude::*;
use ldlm::client::CacheOps;
use ldlm::core::{Ibits, Mode, Policy, ResId};
use ptlrpc::call::{CallOptions, Reply};
use ptlrpc::export::ClientUuid;
use ptlrpc::import::ImportConfig;
use ptlrpc::message::Msg;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc as StdArc;
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::fid::Fid;
use wire::ldlm::LdlmResId;
use wire::mdt::MdtBody;
use wire::msg::MDS_VERSION;
use wire::obdo::ObdMd;
use wire::opcode::{portal, MDS_CONNECT, MDS_DISCONNECT, MDS_GET_ROOT, MDS_STATFS, MDS_SYNC};
use wire::ost::ObdStatfs;
use zerocopy::{FromBytes, IntoBytes};

/// Room for layouts in replies, at first.
const EA_SIZE_START: u32 = 4096;
/// Room for ACLs in replies.
const ACL_SIZE: u32 = 260;

/// The MDT.
pub struct Mdc {
    target: StdArc<Target>,
    fids: FidSource,
    /// Room for layouts, as the MDT's largest one needs it.
    ea_size: AtomicU32,
}

/// The NIDs of a target's nodes, in the order to try.
///
/// # Errors
/// `EINVAL`: there are none.
pub fn peers(config: &TargetConfig, nets: &[wire::nid::Nid]) -> Result<KVec<wire::nid::Nid>> {
    let mut out = KVec::new();
    for n in config.nodes.iter().flatten() {
        if nets.iter().any(|own| own.net() == n.net()) {
            out.push(*n, GFP_KERNEL)?;
        }
    }
    if out.is_empty() {
        return Err(EINVAL);
    }
    Ok(out)
}

/// The resource of an inode.
pub fn resource(fid: Fid) -> ResId {
    ResId(LdlmResId::from_fid(fid).words())
}

/// A policy of inode bits.
pub fn bits(bits: u64) -> Policy {
    Policy::Ibits(Ibits {
        bits,
        ..Ibits::default()
    })
}

impl Mdc {
    /// Begins to connect.
    ///
    /// # Errors
    /// `EINVAL`: no NIDs that can be reached. `ENOMEM`, `EAGAIN`.
    pub fn new(
        node: &ClientNode,
        config: &TargetConfig,
        uuid: &str,
        read_only: bool,
        ops: Arc<dyn CacheOps>,
        events: StdArc<dyn TargetEvents>,
    ) -> Result<Mdc> {
        let mut f = ConnectFlags::IBITS
            | ConnectFlags::NODEVOH
            | ConnectFlags::ATTRFID
            | ConnectFlags::VERSION
            | ConnectFlags::BRW_SIZE
            | ConnectFlags::CANCELSET
            | ConnectFlags::FID
            | ConnectFlags::AT
            | ConnectFlags::LOV_V3
            | ConnectFlags::VBR
            | ConnectFlags::FULL20
            | ConnectFlags::HASH64
            | ConnectFlags::EINPROGRESS
            | ConnectFlags::LVB_TYPE
            | ConnectFlags::LAYOUTLOCK
            | ConnectFlags::MAX_EASIZE
            | ConnectFlags::FLOCK_DEAD
            | ConnectFlags::DISP_STRIPE
            | ConnectFlags::OPEN_BY_FID
            | ConnectFlags::BULK_MBITS
            | ConnectFlags::SUBTREE
            | ConnectFlags::MULTIMODRPCS
            | ConnectFlags::HPREQ_CHECK1
            | ConnectFlags::ACL
            | ConnectFlags::UMASK
            | ConnectFlags::LARGE_ACL
            | ConnectFlags::XATTR
            | ConnectFlags::FLAGS2;
        f.set(ConnectFlags::RDONLY, read_only);
        let mut wanted = ConnectData::default();
        wanted.set_flags(
            f,
            ConnectFlags2::SUM_STATFS
                | ConnectFlags2::OVERSTRIPING
                | ConnectFlags2::INC_XID
                | ConnectFlags2::LSOM
                | ConnectFlags2::GETATTR_PFID
                | ConnectFlags2::REP_MBITS
                | ConnectFlags2::DMV_IMP_INHERIT,
        );
        wanted.ocd_version.set(VERSION);
        wanted.ocd_ibits_known.set(0x7f);
        wanted.ocd_brw_size.set(1 << 20);
        let import = ImportConfig {
            target_uuid: ClientUuid::new(config.uuid.as_bytes())?,
            client_uuid: ClientUuid::new(uuid.as_bytes())?,
            peers: peers(config, node.node().lnet().nids())?,
            request_portal: portal::MDS_REQUEST,
            reply_portal: portal::MDC_REPLY,
            connect_opc: MDS_CONNECT,
            disconnect_opc: MDS_DISCONNECT,
            wanted,
            max_modify: 64,
            part: 0,
        };
        Ok(Mdc {
            target: Target::new(node, import, ops, events, 3)?,
            fids: FidSource::default(),
            ea_size: AtomicU32::new(EA_SIZE_START),
        })
    }

    /// The connection and its locks.
    pub fn target(&self) -> &StdArc<Target> {
        &self.target
    }

    /// A FID for something new.
    ///
    /// # Errors
    /// Those of asking for a sequence.
    pub fn new_fid(&self) -> Result<Fid> {
        self.fids.next(self.target.import())
    }

    fn ea_size(&self) -> u32 {
        self.ea_size.load(Ordering::Relaxed)
    }

    /// Learns from a reply how large layouts are.
    fn note_ea_size(&self, b: &MdtBody) {
        if b.valid().contains(ObdMd::FLMODEASIZE) {
            // Nothing that fits no message.
            let n = b.mbo_max_mdsize.get().min(65536);
            self.ea_size.fetch_max(n, Ordering::Relaxed);
        }
    }

    /// Locks of `fid` that conflict with changing `lock_bits`: given up now, to be cancelled along
    /// with the request that makes the change.
    fn cancels(&self, fid: Fid, mode: Mode, lock_bits: u64, out: &mut Vec<u64>) {
        let granted = self.target.connect_data();
        if !granted.flags().contains(ConnectFlags::CANCELSET) {
            return;
        }
        let early = self
            .target
            .locks()
            .early(&resource(fid), mode, &bits(lock_bits), 8);
        if let Ok(v) = early {
            out.extend_from_slice(&v);
        }
    }

    /// Sends a request that changes something.
    fn modify(&self, msg: &mut Msg, cred: &Cred, lens: &[u32]) -> Result<Reply> {
        rpc::sign(msg, cred)?;
        let mut o = CallOptions::new(lens)?;
        o.modifies = true;
        self.target.call(msg, o)
    }

    /// The FID of the root, or of the directory that is mounted in its place.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`: of the directory.
    pub fn root(&self, fileset: Option<&str>) -> Result<Fid> {
        let mut b = MdtBody::default();
        Cred::root().fill_body(&mut b, None);
        let name = fileset.map(|f| rpc::name(f.as_bytes()));
        let msg = match &name {
            Some(n) => rpc::request(MDS_GET_ROOT, MDS_VERSION, &[b.as_bytes(), n])?,
            None => rpc::request(MDS_GET_ROOT, MDS_VERSION, &[b.as_bytes()])?,
        };
        let r = self.target.call(&msg, CallOptions::new(&[216, 0])?)?;
        let fid = r.msg.get::<MdtBody>(1)?.mbo_fid1.get();
        if fid.is_sane() {
            Ok(fid)
        } else {
            Err(EPROTO)
        }
    }

    /// The state of the MDT; with `sum`, where the MDT can do that, of the whole file system.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn statfs(&self, sum: bool) -> Result<ObdStatfs> {
        let can = self.target.connect_data().flags2();
        let mut b = MdtBody::default();
        b.set_valid(ObdMd::FLAGSTATFS);
        let msg = if sum && can.contains(ConnectFlags2::SUM_STATFS) {
            rpc::request(MDS_STATFS, MDS_VERSION, &[b.as_bytes()])?
        } else {
            rpc::request(MDS_STATFS, MDS_VERSION, &[])?
        };
        let r = self.target.call(&msg, CallOptions::new(&[144])?)?;
        let s = r.msg.buf(1).ok_or(EPROTO)?;
        ObdStatfs::read_from_prefix(s)
            .map(|(s, _)| s)
            .map_err(|_| EPROTO)
    }

    /// Has an inode on disk; all of the MDT if there is none.
    ///
    /// # Errors
    /// `ENOENT`, `EIO`.
    pub fn sync(&self, fid: Option<Fid>, cred: &Cred) -> Result {
        let mut b = MdtBody::default();
        cred.fill_body(&mut b, None);
        if let Some(f) = fid {
            b.mbo_fid1 = f.into();
            b.set_valid(ObdMd::FLID);
        }
        let msg = rpc::request(MDS_SYNC, MDS_VERSION, &[b.as_bytes(), &[]])?;
        self.target.call(&msg, CallOptions::new(&[216])?)?;
        Ok(())
    }
}
