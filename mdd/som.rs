// SPDX-License-Identifier: GPL-2.0

//! `trusted.som`: size and blocks of a file with objects, as somebody last saw them
//! (`ondisk.md` 7.6).

use kapi::prelude::*;
use osd::ObjectRef;
use wire::disk::som::{LustreSomAttrs, SomFlags, XATTR_NAME_SOM};
use zerocopy::FromBytes;

/// Bytes of the xattr.
pub(crate) type Som = [u8; size_of::<LustreSomAttrs>()];

/// What is known; nothing if that is damaged.
pub(crate) fn read(o: &ObjectRef) -> Result<Option<LustreSomAttrs>> {
    let Some(v) = o.xattr_opt(XATTR_NAME_SOM)? else {
        return Ok(None);
    };
    Ok(LustreSomAttrs::read_from_bytes(&v).ok())
}

fn lazy(size: u64, blocks: u64) -> Som {
    let mut som = LustreSomAttrs::default();
    som.lsa_valid.set(SomFlags::LAZY.bits());
    som.lsa_size.set(size);
    som.lsa_blocks.set(blocks);
    zerocopy::transmute!(som)
}

fn is_lazy(som: &LustreSomAttrs) -> bool {
    som.lsa_valid.get() == SomFlags::LAZY.bits()
}

/// What to store when somebody saw this size; none: no more than is known.
pub(crate) fn grown(o: &ObjectRef, size: u64, blocks: u64) -> Result<Option<Som>> {
    Ok(match read(o)? {
        // What is sure, or was, is not for a guess to replace.
        Some(old) if !is_lazy(&old) && old.lsa_valid.get() != 0 => None,
        Some(old) => {
            let (s, b) = (old.lsa_size.get(), old.lsa_blocks.get());
            (size > s || blocks > b).then(|| lazy(size.max(s), blocks.max(b)))
        }
        None => Some(lazy(size, blocks)),
    })
}

/// What to store when the file is cut or extended to this size.
pub(crate) fn resized(o: &ObjectRef, size: u64) -> Result<Option<Som>> {
    Ok(match read(o)? {
        Some(old) if is_lazy(&old) && old.lsa_size.get() != size => {
            // Never more blocks than the size has.
            let most = size.div_ceil(512).next_multiple_of(8);
            Some(lazy(size, old.lsa_blocks.get().min(most)))
        }
        _ => None,
    })
}
