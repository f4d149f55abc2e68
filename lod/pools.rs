// SPDX-License-Identifier: GPL-2.0

//! Named sets of OSTs (`ost.md` 19.5). No I/O here.

use kapi::prelude::*;
use wire::error::Malformed;
use wire::lov::PoolName;

struct Pool {
    name: PoolName,
    osts: KVec<u32>,
}

/// The pools of a file system.
#[derive(Default)]
pub struct Pools(KVec<Pool>);

impl Pools {
    /// None.
    pub fn new() -> Pools {
        Pools::default()
    }

    /// Adds one of these OSTs.
    ///
    /// # Errors
    /// `EINVAL`, `ENAMETOOLONG`: the name. `EEXIST`. `ENOMEM`.
    pub fn add(&mut self, name: &[u8], osts: KVec<u32>) -> Result {
        let name = PoolName::new(name).map_err(|e| match e {
            Malformed::NoRoom => ENAMETOOLONG,
            _ => EINVAL,
        })?;
        if self.find(&name).is_some() {
            return Err(EEXIST);
        }
        Ok(self.0.push(Pool { name, osts }, GFP_KERNEL)?)
    }

    fn find(&self, name: &PoolName) -> Option<&[u32]> {
        let found = self.0.iter().find(|p| p.name == *name)?;
        Some(&found.osts)
    }

    /// The OSTs of one.
    pub(crate) fn osts(&self, name: &[u8]) -> Option<&[u32]> {
        self.find(&PoolName::new(name).ok()?)
    }

    /// Whether an OST may be taken for a file of this pool. A pool that is not known or is empty
    /// restricts nothing.
    pub(crate) fn allow(&self, name: &PoolName, ost: u32) -> bool {
        self.find(name)
            .is_none_or(|osts| osts.is_empty() || osts.contains(&ost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn osts(all: &[u32]) -> KVec<u32> {
        let mut v = KVec::new();
        v.extend_from_slice(all, GFP_KERNEL).unwrap();
        v
    }

    #[test]
    fn pools() {
        let name = |n: &str| PoolName::new(n.as_bytes()).unwrap();
        let mut p = Pools::new();
        p.add(b"fast", osts(&[1, 3])).unwrap();
        p.add(b"empty", osts(&[])).unwrap();
        assert_eq!(p.add(b"fast", osts(&[])), Err(EEXIST));
        assert_eq!(p.add(b"none", osts(&[])), Err(EINVAL));
        assert_eq!(p.add(&[b'x'; 16], osts(&[])), Err(ENAMETOOLONG));
        assert_eq!(p.osts(b"fast"), Some(&[1, 3][..]));
        assert_eq!((p.osts(b"empty"), p.osts(b"slow")), (Some(&[][..]), None));
        assert!(p.allow(&name("fast"), 1) && !p.allow(&name("fast"), 2));
        assert!(p.allow(&name("empty"), 2) && p.allow(&name("slow"), 2));
    }
}
