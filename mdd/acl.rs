// SPDX-License-Identifier: GPL-2.0

//! POSIX ACLs, in the form that xattrs have on the wire (`mdt.md` 11.3).

use crate::creds::Creds;
use core::ffi::CStr;
use kapi::prelude::*;
use osd::{Attr, ObjectRef};
use wire::mdt::{PosixAclXattrEntry, POSIX_ACL_XATTR_VERSION};
use zerocopy::{FromBytes, IntoBytes};

/// The access ACL.
pub const XATTR_ACL_ACCESS: &CStr = c"system.posix_acl_access";
/// The ACL that new entries of a directory get.
pub const XATTR_ACL_DEFAULT: &CStr = c"system.posix_acl_default";

const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

const HEADER: usize = 4;
const ENTRY: usize = size_of::<PosixAclXattrEntry>();

/// The ACL of an object, if it has one.
pub(crate) fn read(o: &ObjectRef, name: &CStr) -> Result<Option<KVVec<u8>>> {
    match o.xattr_opt(name) {
        Ok(v) => Ok(v.filter(|v| v.len() > HEADER)),
        // The store has none.
        Err(e) if e == EOPNOTSUPP => Ok(None),
        Err(e) => Err(e),
    }
}

fn entries(acl: &[u8]) -> impl Iterator<Item = PosixAclXattrEntry> + '_ {
    acl.get(HEADER..)
        .unwrap_or_default()
        .chunks_exact(ENTRY)
        .filter_map(|b| PosixAclXattrEntry::read_from_bytes(b).ok())
}

/// Whether the bytes are an ACL: each entry known, in order, none twice, a mask where one is
/// needed.
///
/// # Errors
/// `EINVAL`; `EOPNOTSUPP`: another version.
pub(crate) fn check(acl: &[u8]) -> Result {
    let version = acl.first_chunk::<HEADER>().ok_or(EINVAL)?;
    if u32::from_le_bytes(*version) != POSIX_ACL_XATTR_VERSION {
        return Err(EOPNOTSUPP);
    }
    if (acl.len() - HEADER) % ENTRY != 0 {
        return Err(EINVAL);
    }
    let mut last = 0;
    let (mut seen, mut named) = (0_u16, false);
    for e in entries(acl) {
        let tag = e.e_tag.get();
        if e.e_perm.get() & !7 != 0 || tag < last || !tag.is_power_of_two() || tag > OTHER {
            return Err(EINVAL);
        }
        let many = matches!(tag, USER | GROUP);
        if !many && seen & tag != 0 {
            return Err(EINVAL);
        }
        named |= many;
        seen |= tag;
        last = tag;
    }
    let all = USER_OBJ | GROUP_OBJ | OTHER;
    if seen & all != all || (named && seen & MASK == 0) {
        return Err(EINVAL);
    }
    Ok(())
}

/// The permissions that an ACL gives the caller, who is not the owner.
pub(crate) fn granted(acl: &[u8], a: &Attr, c: &Creds, want: u32) -> Result<u32> {
    let find = |tag: u16| entries(acl).find(move |e| e.e_tag.get() == tag);
    let perm = |e: &PosixAclXattrEntry| u32::from(e.e_perm.get());
    let mask = find(MASK).map_or(7, |m| perm(&m));
    if let Some(e) = entries(acl).find(|e| e.e_tag.get() == USER && e.e_id.get() == c.uid) {
        return Ok(perm(&e) & mask);
    }
    let mut found = None;
    for e in entries(acl) {
        let mine = match e.e_tag.get() {
            GROUP_OBJ => c.in_group(a.gid),
            GROUP => c.in_group(e.e_id.get()),
            _ => false,
        };
        if mine {
            let p = perm(&e) & mask;
            // The first group that gives all that is wanted counts.
            if want & !p == 0 {
                return Ok(p);
            }
            found = Some(0);
        }
    }
    let other = find(OTHER).ok_or(EIO)?;
    Ok(found.unwrap_or(perm(&other)))
}

/// The permission bits of a mode that say the same as the ACL does about owner, group and others.
pub(crate) fn mode_bits(acl: &[u8]) -> u32 {
    let mut mode = 0;
    let mut mask = None;
    for e in entries(acl) {
        let p = u32::from(e.e_perm.get());
        match e.e_tag.get() {
            USER_OBJ => mode |= p << 6,
            GROUP_OBJ => mode |= p << 3,
            OTHER => mode |= p,
            MASK => mask = Some(p),
            _ => {}
        }
    }
    match mask {
        Some(m) => (mode & !0o070) | (m << 3),
        None => mode,
    }
}

/// Whether the ACL says no more than a mode can.
pub(crate) fn is_minimal(acl: &[u8]) -> bool {
    entries(acl).all(|e| matches!(e.e_tag.get(), USER_OBJ | GROUP_OBJ | OTHER))
}

fn update(acl: &mut [u8], f: impl Fn(u16, u32) -> Option<u32>) {
    let body = acl.get_mut(HEADER..).unwrap_or_default();
    for b in body.chunks_exact_mut(ENTRY) {
        let Ok(mut e) = PosixAclXattrEntry::read_from_bytes(b) else {
            continue;
        };
        if let Some(p) = f(e.e_tag.get(), e.e_perm.get().into()) {
            e.e_perm.set(p as u16);
            b.copy_from_slice(e.as_bytes());
        }
    }
}

/// What a chmod makes of an ACL.
pub(crate) fn chmod(acl: &mut [u8], mode: u32) {
    let has_mask = entries(acl).any(|e| e.e_tag.get() == MASK);
    update(acl, |tag, _| match tag {
        USER_OBJ => Some((mode >> 6) & 7),
        GROUP_OBJ if !has_mask => Some((mode >> 3) & 7),
        MASK => Some((mode >> 3) & 7),
        OTHER => Some(mode & 7),
        _ => None,
    });
}

/// What an object made with `mode` gets from the default ACL of its directory: its mode, and the
/// ACL itself if that says more.
pub(crate) fn inherit(default: &[u8], mode: u32) -> Result<(u32, Option<KVVec<u8>>)> {
    let mut acl = KVVec::new();
    acl.extend_from_slice(default, GFP_NOFS)?;
    let has_mask = entries(default).any(|e| e.e_tag.get() == MASK);
    update(&mut acl, |tag, p| match tag {
        USER_OBJ => Some(p & (mode >> 6)),
        GROUP_OBJ if !has_mask => Some(p & (mode >> 3)),
        MASK => Some(p & (mode >> 3)),
        OTHER => Some(p & mode),
        _ => None,
    });
    let mode = (mode & !0o777) | mode_bits(&acl);
    let acl = (!is_minimal(&acl)).then_some(acl);
    Ok((mode, acl))
}
