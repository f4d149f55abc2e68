// SPDX-License-Identifier: GPL-2.0

//! Parallel operations on a directory (spec/ldlm.md 19.1).
//!
//! An operation on one name locks the directory weakly, so that it meets those who hold all of it
//! (the clients that cache it), and the name strongly, so that it meets others on the same name
//! only.

use super::local::{LocalLock, LocalOptions};
use super::namespace::Namespace;
use crate::core::{Ibits, Mode, Policy, ResId};
use kapi::prelude::*;

/// A locked name of a directory. Fields are dropped, and locks released, name first.
pub struct NameLock {
    /// The name.
    pub name: LocalLock,
    /// The directory.
    pub dir: LocalLock,
}

/// The resource of a name with this hash.
fn resource(dir: &ResId, hash: u32) -> ResId {
    let [seq, oid, third, _] = dir.0;
    ResId([seq, oid, third, u64::from(hash.max(1))])
}

impl Namespace {
    /// Locks the name with this hash in a directory, for a change (`write`) or for a lookup.
    /// `dir` is the directory's resource, `bits` are UPDATE as a rule.
    ///
    /// # Errors
    /// Those of [`Namespace::lock_local`].
    pub fn lock_name(
        self: &Arc<Self>,
        dir: &ResId,
        hash: u32,
        write: bool,
        bits: u64,
        options: LocalOptions,
    ) -> Result<NameLock> {
        let (weak, strong) = match write {
            true => (Mode::Cw, Mode::Pw),
            false => (Mode::Cr, Mode::Pr),
        };
        let policy = Policy::Ibits(Ibits {
            bits,
            ..Default::default()
        });
        let dir_lock = self.lock_local(dir, weak, policy, options)?;
        let name = self.lock_local(&resource(dir, hash), strong, policy, options)?;
        Ok(NameLock {
            name,
            dir: dir_lock,
        })
    }

    /// Locks another name for a change, in a directory that the caller has locked for one already. The
    /// directory is not locked again: that would wait behind whoever waits for the caller.
    ///
    /// # Errors
    /// Those of [`Namespace::lock_local`].
    pub fn lock_other_name(
        self: &Arc<Self>,
        dir: &ResId,
        hash: u32,
        bits: u64,
        options: LocalOptions,
    ) -> Result<LocalLock> {
        let policy = Policy::Ibits(Ibits {
            bits,
            ..Default::default()
        });
        self.lock_local(&resource(dir, hash), Mode::Pw, policy, options)
    }
}
