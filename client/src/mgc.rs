// SPDX-License-Identifier: GPL-2.0

//! The connection to the MGS: reading configurations, and hearing that they change (spec
//! `mgs-config.md` 8, 13).

use crate::cred::Cred;
use crate::error::MountError;
use crate::llog::{self, Record};
use crate::node::ClientNode;
use crate::spec::MountSpec;
use crate::target::{Enqueue, Target, TargetEvents};
use kapi::prelude::*;
use ldlm::client::{CacheOps, ClientView, Held, Want};
use ldlm::core::{Mode, Policy, ResId};
use ptlrpc::call::CallOptions;
use ptlrpc::export::ClientUuid;
use ptlrpc::import::ImportConfig;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc as StdArc, Mutex as StdMutex};
use wire::connect::{version, ConnectData, ConnectFlags, ConnectFlags2};
use wire::ldlm::{ConfigLock, LdlmResId};
use wire::opcode::{portal, MGS_CONNECT, MGS_DISCONNECT};

/// The version that we claim: that of the protocol we speak.
pub const VERSION: u32 = version(2, 17, 0, 0);

/// Knows whether the configuration may have changed.
#[derive(Default)]
struct Changed(AtomicBool);

struct Ops(StdArc<Changed>);

impl CacheOps for Ops {
    fn give_up(&self, _: &ClientView, _: bool) {
        self.0 .0.store(true, Ordering::Release);
    }
    fn glimpse(&self, _: &ClientView, _: &mut [u8; 64]) -> Option<usize> {
        None
    }
    fn granted(&self, _: &ClientView, _: &[u8]) {}
    fn droppable(&self, _: &ClientView) -> bool {
        true
    }
}

impl TargetEvents for Changed {}

/// A connection to the MGS.
pub struct Mgc {
    target: StdArc<Target>,
    changed: StdArc<Changed>,
    nids: String,
    fsname: String,
    /// Index of the last record that was read.
    last: StdMutex<u32>,
}

impl Mgc {
    /// Connects to the MGS of `spec`.
    ///
    /// # Errors
    /// [`MountError::Mgs`].
    pub fn connect(
        node: &ClientNode,
        spec: &MountSpec,
        uuid: &str,
        timeout: Duration,
    ) -> Result<Mgc, MountError> {
        let nids: Vec<String> = spec.mgs_nids().map(|n| n.to_string()).collect();
        let nids = nids.join(", ");
        let failed = |e| MountError::Mgs(nids.clone(), e);
        let changed = StdArc::new(Changed::default());
        let target = Self::target(node, spec, uuid, &changed).map_err(failed)?;
        if let Err(e) = target.import().wait_full(timeout) {
            target.stop();
            return Err(failed(e));
        }
        Ok(Mgc {
            target,
            changed,
            nids,
            fsname: spec.fsname.clone(),
            last: StdMutex::new(0),
        })
    }

    fn target(
        node: &ClientNode,
        spec: &MountSpec,
        uuid: &str,
        changed: &StdArc<Changed>,
    ) -> Result<StdArc<Target>> {
        let mut wanted = ConnectData::default();
        wanted.set_flags(
            ConnectFlags::VERSION
                | ConnectFlags::AT
                | ConnectFlags::FULL20
                | ConnectFlags::BULK_MBITS
                | ConnectFlags::FLAGS2,
            ConnectFlags2::REP_MBITS,
        );
        wanted.ocd_version.set(VERSION);
        let mut peers = KVec::new();
        for n in spec.mgs_nids() {
            peers.push(n, GFP_KERNEL)?;
        }
        let config = ImportConfig {
            target_uuid: ClientUuid::new(b"MGS")?,
            client_uuid: ClientUuid::new(uuid.as_bytes())?,
            peers,
            request_portal: portal::MGS_REQUEST,
            reply_portal: portal::MGC_REPLY,
            connect_opc: MGS_CONNECT,
            disconnect_opc: MGS_DISCONNECT,
            wanted,
            max_modify: 1,
            part: 3,
        };
        let ops: Arc<dyn CacheOps> = Arc::new(Ops(changed.clone()), GFP_KERNEL)?;
        Target::new(node, config, ops, changed.clone(), 1)
    }

    fn lock(&self) -> Result<Held> {
        let name = LdlmResId::config(self.fsname.as_bytes(), ConfigLock::Config);
        let res = ResId(name.map_err(|_| EINVAL)?.words());
        let e = self.target.enqueue(&Enqueue {
            want: Want {
                res,
                mode: Mode::Cr,
                policy: Policy::Plain,
                flags: 0,
            },
            cancels: &[],
            intent: &[],
            lvb: None,
            options: CallOptions::new(&[112, 0])?,
            cred: &Cred::root(),
        })?;
        e.lock.ok_or(EPROTO)
    }

    fn read(&self, last: u32) -> Result<Vec<Record>> {
        // What changes from here on is heard of.
        self.changed.0.store(false, Ordering::Release);
        let _lock = self.lock()?;
        llog::read(
            self.target.import(),
            &format!("{}-client", self.fsname),
            last,
        )
    }

    /// Reads the log of the file system, all of it.
    ///
    /// # Errors
    /// [`MountError::NoSuchFs`], [`MountError::Mgs`].
    pub fn log(&self) -> Result<Vec<Record>, MountError> {
        match self.read(0) {
            Ok(r) => {
                self.advance(&r);
                Ok(r)
            }
            Err(e) if e == ENOENT => {
                Err(MountError::NoSuchFs(self.fsname.clone(), self.nids.clone()))
            }
            Err(e) => Err(MountError::Mgs(self.nids.clone(), e)),
        }
    }

    fn advance(&self, records: &[Record]) {
        if let (Some(r), Ok(mut last)) = (records.last(), self.last.lock()) {
            *last = r.index;
        }
    }

    /// What has been written to the log since it was read last, if anything may have been.
    ///
    /// # Errors
    /// Those of the connection; ask again later.
    pub fn news(&self) -> Result<Vec<Record>> {
        if !self.changed.0.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        let last = self.last.lock().map_or(0, |l| *l);
        let r = match self.read(last) {
            Ok(r) => r,
            Err(e) => {
                self.changed.0.store(true, Ordering::Release);
                return Err(e);
            }
        };
        self.advance(&r);
        Ok(r)
    }

    /// Ends it.
    pub fn stop(&self) {
        self.target.stop();
    }
}
