// SPDX-License-Identifier: GPL-2.0

//! Copies of logs on a target, for the time when the MGS is away (`mgs-config.md` 6, 16).

use crate::remote;
use kapi::prelude::*;
use osd::{Create, Device, ObjectRef, Walk};
use target::llog::{Log, LogKind};
use target::local;
use wire::disk::names;
use wire::fid::{oid, seq, Fid};
use wire::llog::{rec_size, rec_type, LlogRecHdr};

/// Bytes of records that one transaction copies.
const AT_ONCE: usize = 64 << 10;

/// The directory with the copies of a target.
#[pin_data]
pub struct Copies {
    osd: Arc<dyn Device>,
    dir: ObjectRef,
    /// One copy is written at a time.
    #[pin]
    writing: Mutex<()>,
}

impl Copies {
    /// That of the target on this store: `CONFIGS/`, which is made if it is missing.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`, `ENOMEM`.
    pub fn open(osd: &Arc<dyn Device>) -> Result<Arc<Copies>> {
        let root = local::root(osd)?;
        let fid = Fid::local(oid::MGS_CONFIGS);
        let name = names::root::CONFIGS.as_bytes();
        let dir = local::find_or_create_fixed(osd, &root, name, &Create::dir(0o755), &fid)?;
        Arc::pin_init(
            pin_init!(Copies {
                osd: osd.clone(),
                dir,
                writing <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )
    }

    /// The records of a copy, one behind the other.
    ///
    /// # Errors
    /// `ENOENT`: there is no copy. `EINVAL`, `EIO`: it is damaged. `ENOMEM`.
    pub(crate) fn read(&self, name: &[u8]) -> Result<KVVec<u8>> {
        let file = local::find(&self.osd, &self.dir, name)?.ok_or(ENOENT)?;
        let log = Log::open(&file, LogKind::CONFIG)?;
        let mut out = KVVec::new();
        log.for_each(0, &mut |found| {
            if found.rec.kind() == rec_type::OBD_CFG {
                out.extend_from_slice(found.rec.bytes, GFP_KERNEL)?;
            }
            Ok(Walk::Next)
        })?;
        Ok(out)
    }

    /// Replaces a copy by these records. Until all of them are there, the old copy stays.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`, `EROFS`, `ENOMEM`.
    pub(crate) fn write(&self, name: &[u8], records: &[u8]) -> Result {
        let _writing = self.writing.lock();
        let mut temporary: KVVec<u8> = KVVec::new();
        temporary.extend_from_slice(name, GFP_KERNEL)?;
        temporary.push(b'T', GFP_KERNEL)?;
        match local::remove(&self.osd, &self.dir, &temporary) {
            Err(e) if e != ENOENT => return Err(e),
            _ => {}
        }
        let what = Create::file(0o644);
        let file = local::find_or_create(&self.osd, &self.dir, &temporary, &what, seq::LLOG_NAME)?;
        let log = Log::open(&file, LogKind::CONFIG)?;
        let mut some: KVec<KVVec<u8>> = KVec::new();
        let mut bytes = 0;
        remote::for_each(records, &mut |_, payload| {
            let mut rec = KVVec::from_elem(0u8, rec_size(payload.len()), GFP_KERNEL)?;
            let from = size_of::<LlogRecHdr>();
            rec.get_mut(from..from + payload.len())
                .ok_or(EINVAL)?
                .copy_from_slice(payload);
            bytes += rec.len();
            some.push(rec, GFP_KERNEL)?;
            if bytes >= AT_ONCE {
                self.append(&log, &mut some)?;
                bytes = 0;
            }
            Ok(())
        })?;
        self.append(&log, &mut some)?;
        local::rename(&self.osd, &self.dir, &temporary, name)
    }

    fn append(&self, log: &Log, records: &mut KVec<KVVec<u8>>) -> Result {
        if records.is_empty() {
            return Ok(());
        }
        let mut plan = self.osd.plan()?;
        log.plan_append(&mut plan, records.iter().fold(0, |n, r| n + r.len()))?;
        let mut tx = plan.start()?;
        let mut work = || -> Result {
            for rec in records.iter_mut() {
                log.append(&mut tx, rec_type::OBD_CFG, rec)?;
            }
            Ok(())
        };
        let done = work();
        tx.stop()?;
        records.clear();
        done
    }
}
