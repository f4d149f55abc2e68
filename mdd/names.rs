// SPDX-License-Identifier: GPL-2.0

//! Names.

use kapi::prelude::*;

/// Whether it may be a name in a directory.
///
/// # Errors
/// `ENAMETOOLONG`: more than 255 bytes. `EPROTO`: empty, or with a '/' or a NUL in it.
pub fn check_name(name: &[u8]) -> Result {
    if name.len() > 255 {
        return Err(ENAMETOOLONG);
    }
    if name.is_empty() || name.iter().any(|c| matches!(c, b'/' | 0)) {
        return Err(EPROTO);
    }
    Ok(())
}

/// Whether a name may be made: `.` and `..` are always there.
pub(crate) fn check_new(name: &[u8]) -> Result {
    check_name(name)?;
    if name == b"." || name == b".." {
        return Err(EEXIST);
    }
    Ok(())
}

/// Whether a name may be removed or moved.
pub(crate) fn check_old(name: &[u8]) -> Result {
    check_name(name)?;
    if name == b"." || name == b".." {
        return Err(EINVAL);
    }
    Ok(())
}

/// A number for the lock of a name in its directory.
pub fn name_hash(name: &[u8]) -> u32 {
    let h = name.iter().fold(0x811c_9dc5_u32, |h, c| {
        (h ^ u32::from(*c)).wrapping_mul(0x0100_0193)
    });
    h.max(1)
}
