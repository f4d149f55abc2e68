// SPDX-License-Identifier: GPL-2.0

//! The logs in `CONFIGS/`, and changes of several of them at once.

use crate::section::Records;
use kapi::prelude::*;
use osd::{Create, Device, ObjectRef, Walk};
use target::llog::{Log, LogKind};
use target::local;
use wire::cfg::{Cfg, CfgMarker, CmFlags};
use wire::disk::names::{self, Name};
use wire::fid::{oid, seq, Fid};
use wire::llog::rec_type;
use zerocopy::IntoBytes;

/// The log with the parameters of all nodes.
pub(crate) const PARAMS: &[u8] = b"params";
/// Logs that one transaction changes.
const LOGS_AT_ONCE: usize = 8;

/// The directory.
pub(crate) struct Configs {
    osd: Arc<dyn Device>,
    dir: ObjectRef,
}

impl Configs {
    /// Opens it, or makes it, and the empty log of parameters in it.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`, `ENOMEM`.
    pub(crate) fn open(osd: &Arc<dyn Device>) -> Result<Configs> {
        let root = local::root(osd)?;
        let name = names::root::CONFIGS.as_bytes();
        let (what, fid) = (Create::dir(0o755), Fid::local(oid::MGS_CONFIGS));
        let dir = local::find_or_create_fixed(osd, &root, name, &what, &fid)?;
        let configs = Configs {
            osd: osd.clone(),
            dir,
        };
        configs.file(PARAMS)?;
        Ok(configs)
    }

    /// The store.
    pub(crate) fn osd(&self) -> &Arc<dyn Device> {
        &self.osd
    }

    /// The file of a log, if there is one.
    ///
    /// # Errors
    /// `EIO`, `ENOMEM`.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Option<ObjectRef>> {
        match local::find(&self.osd, &self.dir, name)? {
            // Other files live here, too.
            Some(f) if f.fid().seq == seq::LLOG_NAME => Ok(Some(f)),
            _ => Ok(None),
        }
    }

    /// Another file of the directory, if there is one.
    ///
    /// # Errors
    /// `EIO`, `ENOMEM`.
    pub(crate) fn other(&self, name: &[u8]) -> Result<Option<ObjectRef>> {
        local::find(&self.osd, &self.dir, name)
    }

    /// The file of a log, which is made if there is none.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`, `ENOMEM`.
    pub(crate) fn file(&self, name: &[u8]) -> Result<ObjectRef> {
        let what = Create::file(0o644);
        local::find_or_create(&self.osd, &self.dir, name, &what, seq::LLOG_NAME)
    }

    /// The log of this name, if there is one.
    ///
    /// # Errors
    /// `EINVAL`: it is no such log. `EIO`, `ENOMEM`.
    pub(crate) fn log(&self, name: &[u8]) -> Result<Option<Arc<Log>>> {
        match self.find(name)? {
            Some(f) => Ok(Some(Log::open(&f, LogKind::CONFIG)?)),
            None => Ok(None),
        }
    }

    /// Whether a log has no record that counts, or does not exist.
    ///
    /// # Errors
    /// As [`Configs::log`].
    pub(crate) fn is_empty(&self, name: &[u8]) -> Result<bool> {
        Ok(self.log(name)?.is_none_or(|l| l.is_empty()))
    }

    /// Removes a log; none there is none to remove.
    ///
    /// # Errors
    /// `EIO`, `EROFS`.
    pub(crate) fn erase(&self, name: &[u8]) -> Result {
        match local::remove(&self.osd, &self.dir, name) {
            Err(e) if e == ENOENT => Ok(()),
            other => other,
        }
    }

    /// Calls `f` for the names of all logs that begin with `prefix` and have no `-` behind it.
    ///
    /// # Errors
    /// `EIO`, `ENOMEM`, and those of `f`.
    pub(crate) fn for_each(&self, prefix: &[u8], f: &mut dyn FnMut(&[u8]) -> Result) -> Result {
        let mut found: KVVec<Name> = KVVec::new();
        self.dir.readdir(0, &mut |e| {
            let ours = e
                .name
                .strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'-'));
            if ours && e.fid.seq == seq::LLOG_NAME {
                if let Ok(text) = core::str::from_utf8(e.name) {
                    if let Ok(name) = Name::new(format_args!("{text}")) {
                        found.push(name, GFP_KERNEL)?;
                    }
                }
            }
            Ok(Walk::Next)
        })?;
        for name in &found {
            f(name.as_bytes())?;
        }
        Ok(())
    }

    /// Calls `f` for every configuration record of a log that counts.
    ///
    /// # Errors
    /// `EINVAL`: a record that cannot be read. `EIO`, and those of `f`.
    pub(crate) fn scan(&self, log: &Log, f: &mut dyn FnMut(&Cfg<'_>) -> Result<Walk>) -> Result {
        log.for_each(0, &mut |found| {
            if found.rec.kind() != rec_type::OBD_CFG {
                return Err(EINVAL);
            }
            f(&Cfg::parse(found.rec.payload).map_err(|_| EINVAL)?)
        })
    }
}

struct Pending {
    name: Name,
    log: Option<Arc<Log>>,
    records: Records,
    /// Payloads that change, and where their records are.
    edits: KVec<(u64, KVVec<u8>)>,
}

/// A change of logs. Up to [`LOGS_AT_ONCE`] logs are changed in one transaction, so that a crash
/// leaves all of it or nothing; beyond that, the logs that were named last change last.
pub(crate) struct Batch<'a> {
    configs: &'a Configs,
    logs: KVec<Pending>,
}

impl<'a> Batch<'a> {
    /// Of nothing.
    pub(crate) fn new(configs: &'a Configs) -> Batch<'a> {
        Batch {
            configs,
            logs: KVec::new(),
        }
    }

    /// The directory.
    pub(crate) fn configs(&self) -> &'a Configs {
        self.configs
    }

    fn pending(&mut self, name: &[u8]) -> Result<&mut Pending> {
        let i = match self.logs.iter().position(|l| l.name.as_bytes() == name) {
            Some(i) => i,
            None => {
                let text = core::str::from_utf8(name).map_err(|_| EINVAL)?;
                let log = self.configs.log(name)?;
                let new = Pending {
                    name: Name::new(format_args!("{text}")).map_err(|_| ENAMETOOLONG)?,
                    log,
                    records: Records::new(),
                    edits: KVec::new(),
                };
                self.logs.push(new, GFP_KERNEL)?;
                self.logs.len() - 1
            }
        };
        self.logs.get_mut(i).ok_or(EINVAL)
    }

    /// What will be appended to a log.
    ///
    /// # Errors
    /// As [`Configs::log`].
    pub(crate) fn records(&mut self, name: &[u8]) -> Result<&mut Records> {
        Ok(&mut self.pending(name)?.records)
    }

    /// Whether a log has nothing that counts, and nothing will be appended.
    ///
    /// # Errors
    /// As [`Configs::log`].
    pub(crate) fn is_empty(&mut self, name: &[u8]) -> Result<bool> {
        let p = self.pending(name)?;
        Ok(p.records.is_empty() && p.log.as_ref().is_none_or(|l| l.is_empty()))
    }

    /// The log as it is now, if there is one.
    ///
    /// # Errors
    /// As [`Configs::log`].
    pub(crate) fn log(&mut self, name: &[u8]) -> Result<Option<Arc<Log>>> {
        Ok(self.pending(name)?.log.clone())
    }

    /// Changes the markers of a target with this comment that are not skipped: `change` gets each.
    /// Returns how many there were.
    ///
    /// # Errors
    /// `EINVAL`: a record that cannot be read. `EIO`, `ENOMEM`.
    pub(crate) fn mark(
        &mut self,
        name: &[u8],
        target: &[u8],
        comment: &[u8],
        change: &dyn Fn(&mut CfgMarker),
    ) -> Result<u32> {
        let Some(log) = self.log(name)? else {
            return Ok(0);
        };
        let mut n = 0;
        let mut edits: KVec<(u64, KVVec<u8>)> = KVec::new();
        log.for_each(0, &mut |found| {
            let cfg = Cfg::parse(found.rec.payload).map_err(|_| EINVAL)?;
            let (Some(m), Some([])) = (cfg.marker(), cfg.buf(0)) else {
                return Ok(Walk::Next);
            };
            if m.flags().contains(CmFlags::SKIP)
                || wire::text::get(&m.cm_tgtname) != target
                || wire::text::get(&m.cm_comment) != comment
            {
                return Ok(Walk::Next);
            }
            edits.push(
                (found.at, marked(found.rec.payload, m, change)?),
                GFP_KERNEL,
            )?;
            n += 1;
            Ok(Walk::Next)
        })?;
        let p = self.pending(name)?;
        for e in edits {
            p.edits.push(e, GFP_KERNEL)?;
        }
        Ok(n)
    }

    /// Replaces the payload of the record at byte `at` of a log.
    ///
    /// # Errors
    /// As [`Configs::log`].
    pub(crate) fn edit(&mut self, name: &[u8], at: u64, payload: KVVec<u8>) -> Result {
        Ok(self.pending(name)?.edits.push((at, payload), GFP_KERNEL)?)
    }

    /// Does it all.
    ///
    /// # Errors
    /// `ENOSPC`: a log, or the store, is full. `EFBIG`: too much for a transaction. `EIO`, `EROFS`.
    pub(crate) fn commit(mut self) -> Result {
        self.logs
            .retain(|p| !p.records.is_empty() || !p.edits.is_empty());
        // An empty file is an empty log: no harm is done if nothing comes of it.
        for p in self.logs.iter_mut() {
            if p.log.is_none() {
                let file = self.configs.file(p.name.as_bytes())?;
                p.log = Some(Log::open(&file, LogKind::CONFIG)?);
            }
        }
        for group in self.logs.chunks_mut(LOGS_AT_ONCE) {
            let mut plan = self.configs.osd.plan()?;
            for p in group.iter() {
                let log = p.log.as_ref().ok_or(EINVAL)?;
                if !log.has_room(p.records.len()) {
                    return Err(ENOSPC);
                }
                if !p.records.is_empty() {
                    log.plan_append(&mut plan, p.records.bytes())?;
                }
                for (at, payload) in &p.edits {
                    log.plan_rewrite(&mut plan, *at, payload.len())?;
                }
            }
            let mut tx = plan.start()?;
            let mut work = || -> Result {
                for p in group.iter_mut() {
                    let log = p.log.as_ref().ok_or(EINVAL)?;
                    for (at, payload) in &p.edits {
                        log.rewrite(&mut tx, *at, payload)?;
                    }
                    for rec in p.records.iter_mut() {
                        log.append(&mut tx, rec_type::OBD_CFG, rec)?;
                    }
                }
                Ok(())
            };
            let done = work();
            tx.stop()?;
            done?;
        }
        Ok(())
    }
}

/// The payload of a marker's record with its marker changed.
pub(crate) fn marked(
    payload: &[u8],
    marker: &CfgMarker,
    change: &dyn Fn(&mut CfgMarker),
) -> Result<KVVec<u8>> {
    let mut bytes = KVVec::new();
    bytes.extend_from_slice(payload, GFP_KERNEL)?;
    let mut m = *marker;
    change(&mut m);
    // Buffer 0 of a marker is empty: buffer 1 is behind the lengths of the two.
    let at = size_of::<wire::cfg::LustreCfg>() + 8;
    bytes
        .get_mut(at..at + size_of::<CfgMarker>())
        .ok_or(EINVAL)?
        .copy_from_slice(m.as_bytes());
    Ok(bytes)
}

/// Lets a section not count, from now on.
pub(crate) fn skip(m: &mut CfgMarker) {
    let flags = m.flags() | CmFlags::SKIP;
    m.cm_flags.set(flags.bits());
    m.cm_canceltime.set(kapi::time::real().as_secs());
}
