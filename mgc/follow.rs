// SPDX-License-Identifier: GPL-2.0

//! Logs that are followed: read, and read again when they have changed.

use crate::config::{Config, ConfigReader};
use crate::copies::Copies;
use crate::locks::Locks;
use crate::remote;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use ldlm::core::ResId;
use ptlrpc::import::Import;
use wire::llog::rec_type;
use wire::mgs::{config_lock_name, MgsConfigType};

/// Gets what a log says.
pub trait Follower: Send + Sync {
    /// This is what the log says now, all of it: after the first reading, and whenever it has
    /// changed. Called by one thread at a time, which must not end the following. After an error
    /// it comes again before long.
    ///
    /// # Errors
    /// Whatever kept it from being taken; the first one fails [`crate::Mgc::follow`].
    fn changed(&self, config: &Config) -> Result;
}

/// Where a reading came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Mgs,
    Copy,
}

/// A log that is followed.
#[pin_data]
pub struct Follow {
    name: KVVec<u8>,
    res: ResId,
    /// A log that is not there is an empty one.
    optional: bool,
    copies: Option<Arc<Copies>>,
    follower: Arc<dyn Follower>,
    /// It is to be read again.
    lost: Atomic<bool>,
    /// The records of the latest reading. Held while it is read and taken.
    #[pin]
    records: Mutex<Option<KVVec<u8>>>,
    /// Whether nobody is to be told any more. Held while the follower is told.
    #[pin]
    closed: Mutex<bool>,
}

impl Follow {
    /// Of `name`, whose lock is of this kind.
    pub(crate) fn new(
        name: &[u8],
        kind: MgsConfigType,
        optional: bool,
        copies: Option<Arc<Copies>>,
        follower: Arc<dyn Follower>,
    ) -> Result<Arc<Follow>> {
        let mut bytes = KVVec::new();
        bytes.extend_from_slice(name, GFP_KERNEL)?;
        let res = ResId(config_lock_name(name, kind));
        Arc::pin_init(
            pin_init!(Follow {
                name: bytes,
                res,
                optional,
                copies,
                follower,
                lost: Atomic::<bool>::new(true),
                records <- new_mutex!(None),
                closed <- new_mutex!(false),
            }),
            GFP_KERNEL,
        )
    }

    /// The log's name.
    pub fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// Whether what was read may not be what there is: the MGS is away, or it has just changed.
    pub fn is_stale(&self) -> bool {
        self.lost.load(Relaxed)
    }

    pub(crate) fn is_of(&self, res: &ResId) -> bool {
        self.res == *res
    }

    /// Tells the follower no more; it is not being told when this returns.
    pub(crate) fn close(&self) {
        *self.closed.lock() = true;
    }

    fn tell(&self, config: &Config) -> Result {
        let closed = self.closed.lock();
        if *closed {
            return Err(ESHUTDOWN);
        }
        self.follower.changed(config)
    }

    pub(crate) fn set_lost(&self) {
        self.lost.store(true, Relaxed);
    }

    /// Reads it from the MGS, under its lock.
    fn read_remote(&self, import: &Arc<Import>, locks: &Locks) -> Result<KVVec<u8>> {
        // What changes from here on is heard of.
        self.lost.store(false, Relaxed);
        let read = || {
            let held = locks.take(import, &self.res)?;
            let records = match remote::read(import, &self.name) {
                Err(e) if e == ENOENT && self.optional => Ok(KVVec::new()),
                other => other,
            };
            // It stays in the cache.
            drop(held);
            records
        };
        let records = read();
        if records.is_err() {
            self.set_lost();
        }
        records
    }

    /// What it says, of the MGS or of a copy.
    #[inline(never)]
    fn fetch(
        &self,
        import: &Arc<Import>,
        locks: &Locks,
        copy: bool,
    ) -> Result<(KVVec<u8>, Source)> {
        match (self.read_remote(import, locks), &self.copies) {
            (Ok(r), _) => Ok((r, Source::Mgs)),
            // The MGS answered: that is worth more than a copy.
            (Err(e), _) if e == ENOENT => Err(e),
            (Err(e), Some(copies)) if copy => {
                pr_warn!("{}: the MGS cannot be asked ({:?})\n", self.name(), e);
                let records = match copies.read(&self.name) {
                    Err(e) if e == ENOENT && self.optional => KVVec::new(),
                    other => other?,
                };
                Ok((records, Source::Copy))
            }
            (Err(e), _) => Err(e),
        }
    }

    #[inline(never)]
    fn parse(records: &[u8]) -> Result<KBox<Config>> {
        let mut reader = ConfigReader::default();
        remote::for_each(records, &mut |kind, payload| match kind {
            rec_type::OBD_CFG => reader.apply(payload),
            _ => Err(EINVAL),
        })?;
        Ok(KBox::new(reader.finish()?, GFP_KERNEL)?)
    }

    #[inline(never)]
    fn keep_copy(&self, records: &[u8]) {
        if let Some(copies) = &self.copies {
            if let Err(e) = copies.write(&self.name, records) {
                pr_err!("{}: no copy is kept: {:?}\n", self.name(), e);
            }
        }
    }

    /// Reads it, and tells the follower if it says something new. With `copy`, a copy serves if
    /// the MGS cannot be asked. Who is told does a lot, down to the disk: what is done before has a
    /// stack of its own.
    ///
    /// # Errors
    /// Those of the connection, of the log, and of the follower.
    pub(crate) fn read(&self, import: &Arc<Import>, locks: &Locks, copy: bool) -> Result<Source> {
        let mut known = self.records.lock();
        let (records, source) = self.fetch(import, locks, copy)?;
        if known.as_ref().is_some_and(|k| **k == *records) {
            return Ok(source);
        }
        let config = Self::parse(&records)?;
        if source == Source::Mgs {
            self.keep_copy(&records);
        }
        if let Err(e) = self.tell(&config) {
            self.set_lost();
            return Err(e);
        }
        *known = Some(records);
        Ok(source)
    }
}
