// SPDX-License-Identifier: GPL-2.0

//! Names of pools (`spec/mgs-config.md` 1, `spec/mdt.md` 20.4).

use super::LOV_MAXPOOLNAME;
use crate::error::{Malformed, Result};
use crate::text;

/// Names that say that there is no pool.
pub const NO_POOL: [&[u8]; 2] = [b"none", b"ignore"];
/// The name that stands for the pool of the level above.
pub const INHERIT_POOL: &[u8] = b"inherit";

/// The name of a pool, as layouts have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolName([u8; LOV_MAXPOOLNAME]);

impl PoolName {
    /// The name of a pool that can be made.
    ///
    /// # Errors
    /// [`Malformed::Value`]: empty, with a character that none can have, or one that stands for no pool.
    /// [`Malformed::NoRoom`]: too long.
    pub fn new(name: &[u8]) -> Result<PoolName> {
        let good = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        // Parameters have the name, too, and those of dots alone would be directories.
        let dots = name.iter().all(|b| *b == b'.');
        let taken = dots || NO_POOL.contains(&name) || name == INHERIT_POOL;
        if taken || !name.iter().all(good) {
            return Err(Malformed::Value);
        }
        PoolName::found(name)
    }

    /// A name that stands in a layout, whatever it is like.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`]: too long.
    pub fn found(name: &[u8]) -> Result<PoolName> {
        let mut field = [0; LOV_MAXPOOLNAME];
        text::set(&mut field, name)?;
        Ok(PoolName(field))
    }

    /// It, without a NUL.
    pub fn as_bytes(&self) -> &[u8] {
        text::get(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for bad in [
            &b""[..],
            b"a/b",
            b"..",
            b"none",
            b"ignore",
            b"inherit",
            b"a b",
        ] {
            assert_eq!(PoolName::new(bad), Err(Malformed::Value));
        }
        assert_eq!(PoolName::new(&[b'x'; 16]), Err(Malformed::NoRoom));
        assert_eq!(PoolName::new(&[b'x'; 15]).unwrap().as_bytes(), [b'x'; 15]);
        assert_eq!(PoolName::new(b"a-b_c.d").unwrap().as_bytes(), b"a-b_c.d");
    }
}
