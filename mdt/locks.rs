// SPDX-License-Identifier: GPL-2.0

//! The locks that operations take (`mdt.md` 6.1, 6.2).
//!
//! From the root down: a directory before what is in it. Of two directories the one above the
//! other first, else the one with the lower FID; of two objects in them the one with the lower FID.
//! Two names of one directory by their hashes. The lock of renames is before all others.

use kapi::prelude::*;
use ldlm::core::{ibits, Ibits, LockType, Mode, Policy, ResId};
use ldlm::server::{EnqueueReply, LocalLock, LocalOptions, NameLock, Namespace};
use osd::Fid;

/// The resource of an object.
pub(crate) fn resource(fid: &Fid) -> ResId {
    ResId(fid.to_res_name())
}

/// The object that a lock is on.
///
/// # Errors
/// `EPROTO`: there is no lock.
pub(crate) fn object_of(lock: &EnqueueReply) -> Result<Fid> {
    let desc = lock.desc.ok_or(EPROTO)?;
    Ok(Fid::from_res_name(&desc.res.0))
}

/// A policy of bits that are needed and bits that are wished for.
fn policy(bits: u64, wished: u64) -> Policy {
    Policy::Ibits(Ibits {
        bits,
        try_bits: wished & !bits,
        ..Ibits::default()
    })
}

/// The number of a name in the locks of its directory. That of file locks is not one.
pub(crate) fn name_number(name: &[u8]) -> u32 {
    const FLOCK: u32 = LockType::Flock as u32;
    match mdd::name_hash(name) {
        FLOCK => FLOCK + 1,
        h => h,
    }
}

/// Locks bits of an object, waiting for those in the way.
///
/// # Errors
/// `ESHUTDOWN`, `ENOMEM`.
pub(crate) fn lock(ns: &Arc<Namespace>, fid: &Fid, mode: Mode, bits: u64) -> Result<LocalLock> {
    lock_some(ns, fid, mode, bits, 0)
}

/// The same, with bits that are only taken if they are free.
///
/// # Errors
/// As [`lock`]; `EAGAIN`: only wishes, and none came true.
pub(crate) fn lock_some(
    ns: &Arc<Namespace>,
    fid: &Fid,
    mode: Mode,
    bits: u64,
    wished: u64,
) -> Result<LocalLock> {
    let options = LocalOptions::default();
    ns.lock_local(&resource(fid), mode, policy(bits, wished), options)
}

/// The bits that a lock has.
pub(crate) fn bits_of(l: &LocalLock) -> u64 {
    match l.view().map(|v| v.policy) {
        Some(Policy::Ibits(b)) => b.bits,
        _ => 0,
    }
}

/// Locks a name in a directory, to look at it or to change it.
///
/// # Errors
/// As [`lock`].
pub(crate) fn lock_name(
    ns: &Arc<Namespace>,
    dir: &Fid,
    name: &[u8],
    write: bool,
) -> Result<NameLock> {
    lock_number(ns, dir, name_number(name), write)
}

/// The same, by the number of the name.
///
/// # Errors
/// As [`lock`].
pub(crate) fn lock_number(
    ns: &Arc<Namespace>,
    dir: &Fid,
    number: u32,
    write: bool,
) -> Result<NameLock> {
    let options = LocalOptions::default();
    ns.lock_name(&resource(dir), number, write, ibits::UPDATE, options)
}

/// Locks another name to change it, of a directory in which the caller has locked one to change it.
///
/// # Errors
/// As [`lock`].
pub(crate) fn lock_other_number(ns: &Arc<Namespace>, dir: &Fid, number: u32) -> Result<LocalLock> {
    let options = LocalOptions::default();
    ns.lock_other_name(&resource(dir), number, ibits::UPDATE, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_fids() {
        let fid = Fid::new(0x2_0000_0401, 7);
        assert_eq!(Fid::from_res_name(&resource(&fid).0), fid);
    }

    #[test]
    fn numbers() {
        for n in 0..100_000u32 {
            let h = name_number(format!("file{n}").as_bytes());
            assert!(h != 0 && h != 12);
        }
    }
}
