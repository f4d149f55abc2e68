// SPDX-License-Identifier: GPL-2.0

//! Inode numbers of the kernel and what they stand for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use wire::fid::Fid;

/// The number of the directory that is mounted.
pub const ROOT: u64 = 1;

#[derive(Default)]
struct Table {
    /// FID and how often the kernel has been told of it.
    by_ino: HashMap<u64, (Fid, u64)>,
    by_fid: HashMap<Fid, u64>,
}

/// All that the kernel knows.
pub struct Nodes {
    root: Fid,
    table: Mutex<Table>,
}

impl Nodes {
    /// Knows the root alone.
    pub fn new(root: Fid) -> Nodes {
        Nodes {
            root,
            table: Mutex::default(),
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a number stands for.
    pub fn fid(&self, ino: u64) -> Option<Fid> {
        if ino == ROOT {
            return Some(self.root);
        }
        self.table().by_ino.get(&ino).map(|(f, _)| *f)
    }

    /// The number of something that the kernel knows.
    pub fn known(&self, fid: &Fid) -> Option<u64> {
        if *fid == self.root {
            return Some(ROOT);
        }
        self.table().by_fid.get(fid).copied()
    }

    /// The number to show for something that the kernel need not remember.
    pub fn show(&self, fid: &Fid) -> u64 {
        self.known(fid).unwrap_or_else(|| fid.flatten().max(2))
    }

    /// The number of something that the kernel is told of now.
    pub fn tell(&self, fid: Fid) -> u64 {
        if fid == self.root {
            return ROOT;
        }
        let mut t = self.table();
        if let Some(ino) = t.by_fid.get(&fid).copied() {
            if let Some((_, n)) = t.by_ino.get_mut(&ino) {
                *n += 1;
            }
            return ino;
        }
        // Two FIDs may flatten to the same number: the second one gets another.
        let mut ino = fid.flatten().max(2);
        while ino <= ROOT || t.by_ino.contains_key(&ino) {
            ino = ino.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1) | (1 << 63);
        }
        t.by_ino.insert(ino, (fid, 1));
        t.by_fid.insert(fid, ino);
        ino
    }

    /// The kernel has forgotten `n` times what it was told of a number.
    pub fn forget(&self, ino: u64, n: u64) {
        let mut t = self.table();
        let Some((fid, count)) = t.by_ino.get_mut(&ino) else {
            return;
        };
        *count = count.saturating_sub(n);
        if *count == 0 {
            let fid = *fid;
            t.by_ino.remove(&ino);
            t.by_fid.remove(&fid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let n = Nodes::new(Fid::ROOT);
        assert_eq!(n.tell(Fid::ROOT), ROOT);
        assert_eq!(n.fid(ROOT), Some(Fid::ROOT));
        let a = Fid::new(0x2_0000_0401, 7);
        let ino = n.tell(a);
        assert_eq!(ino, a.flatten());
        assert_eq!(
            (n.tell(a), n.fid(ino), n.known(&a)),
            (ino, Some(a), Some(ino))
        );
        n.forget(ino, 1);
        assert_eq!(n.fid(ino), Some(a));
        n.forget(ino, 1);
        assert_eq!((n.fid(ino), n.known(&a)), (None, None));
        n.forget(ino, 1);
    }

    #[test]
    fn same_number() {
        let n = Nodes::new(Fid::ROOT);
        let a = Fid::new(0x2_0000_0401, 0x0100_0007);
        let b = Fid::new(0x2_0000_0402, 7);
        assert_eq!(a.flatten(), b.flatten());
        let (x, y) = (n.tell(a), n.tell(b));
        assert_ne!(x, y);
        assert_eq!((n.fid(x), n.fid(y)), (Some(a), Some(b)));
    }
}
