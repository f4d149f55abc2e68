// SPDX-License-Identifier: GPL-2.0

//! Named sets of OSTs (`ost.md` 19.5). No I/O here.

use crate::spec::PoolName;
use kapi::prelude::*;

struct Pool {
    name: PoolName,
    osts: KVec<u32>,
}

/// The pools of a file system.
#[derive(Default)]
pub(crate) struct Pools(KVec<Pool>);

impl Pools {
    fn find(&mut self, name: &PoolName) -> Result<&mut Pool> {
        let mut all = self.0.iter_mut();
        all.find(|p| p.name == *name).ok_or(ENOENT)
    }

    /// Makes an empty one.
    ///
    /// # Errors
    /// `EEXIST`, `ENOMEM`.
    pub(crate) fn make(&mut self, name: PoolName) -> Result {
        if self.0.iter().any(|p| p.name == name) {
            return Err(EEXIST);
        }
        let osts = KVec::new();
        Ok(self.0.push(Pool { name, osts }, GFP_KERNEL)?)
    }

    /// Ends an empty one.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTEMPTY`.
    pub(crate) fn end(&mut self, name: PoolName) -> Result {
        if !self.find(&name)?.osts.is_empty() {
            return Err(ENOTEMPTY);
        }
        self.0.retain(|p| p.name != name);
        Ok(())
    }

    /// Puts an OST into one.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `ENOMEM`.
    pub(crate) fn add(&mut self, name: PoolName, ost: u32) -> Result {
        let pool = self.find(&name)?;
        if pool.osts.contains(&ost) {
            return Err(EEXIST);
        }
        Ok(pool.osts.push(ost, GFP_KERNEL)?)
    }

    /// Takes an OST out of one.
    ///
    /// # Errors
    /// `ENOENT`: the pool, or it is not in it.
    pub(crate) fn remove(&mut self, name: PoolName, ost: u32) -> Result {
        let pool = self.find(&name)?;
        if !pool.osts.contains(&ost) {
            return Err(ENOENT);
        }
        pool.osts.retain(|o| *o != ost);
        Ok(())
    }

    /// Whether an OST may be taken for a file of this pool. A pool that is not known or is empty
    /// restricts nothing.
    pub(crate) fn allow(&self, name: &PoolName, ost: u32) -> bool {
        match self.0.iter().find(|p| p.name == *name) {
            Some(p) => p.osts.is_empty() || p.osts.contains(&ost),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools() {
        let name = |n: &str| PoolName::new(n.as_bytes()).unwrap();
        let mut p = Pools::default();
        let fast = name("fast");
        assert_eq!(p.add(fast, 1), Err(ENOENT));
        p.make(fast).unwrap();
        assert_eq!(p.make(fast), Err(EEXIST));
        assert!(p.allow(&fast, 7));
        p.add(fast, 1).unwrap();
        assert_eq!(p.add(fast, 1), Err(EEXIST));
        assert!(p.allow(&fast, 1) && !p.allow(&fast, 7));
        assert!(p.allow(&name("slow"), 7));
        assert_eq!(p.end(fast), Err(ENOTEMPTY));
        assert_eq!(p.remove(fast, 2), Err(ENOENT));
        p.remove(fast, 1).unwrap();
        p.end(fast).unwrap();
        assert_eq!(p.end(fast), Err(ENOENT));
    }

    #[test]
    fn names() {
        assert_eq!(PoolName::new(b"").err(), Some(EINVAL));
        assert_eq!(PoolName::new(b"a/b").err(), Some(EINVAL));
        assert_eq!(PoolName::new(b"none").err(), Some(EINVAL));
        assert_eq!(PoolName::new(&[b'x'; 16]).err(), Some(ENAMETOOLONG));
        assert!(PoolName::new(&[b'x'; 15]).is_ok());
    }
}
