// SPDX-License-Identifier: GPL-2.0

//! Inode numbers of the kernel and what they stand for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use wire::fid::Fid;

/// The number of the directory that is mounted.
pub const ROOT: u64 = 1;

/// What may stay in the kernel's memory of a number, and has to be called back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// Attributes.
    pub attr: bool,
    /// A name.
    pub name: bool,
}

struct Node {
    fid: Fid,
    /// How often the kernel has been told of it.
    count: u64,
    kept: Kept,
    /// Open files, which may have pages in the kernel.
    opens: u32,
}

#[derive(Default)]
struct Table {
    by_ino: HashMap<u64, Node>,
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
        self.table().by_ino.get(&ino).map(|n| n.fid)
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
    pub fn tell(&self, fid: Fid, kept: Kept) -> u64 {
        if fid == self.root {
            return ROOT;
        }
        let mut t = self.table();
        if let Some(ino) = t.by_fid.get(&fid).copied() {
            if let Some(n) = t.by_ino.get_mut(&ino) {
                n.count += 1;
                n.kept.attr |= kept.attr;
                n.kept.name |= kept.name;
            }
            return ino;
        }
        // Two FIDs may flatten to the same number: the second one gets another.
        let mut ino = fid.flatten().max(2);
        while ino <= ROOT || t.by_ino.contains_key(&ino) {
            ino = ino.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1) | (1 << 63);
        }
        let node = Node {
            fid,
            count: 1,
            kept,
            opens: 0,
        };
        t.by_ino.insert(ino, node);
        t.by_fid.insert(fid, ino);
        ino
    }

    /// The kernel has forgotten `n` times what it was told of a number.
    pub fn forget(&self, ino: u64, n: u64) {
        let mut t = self.table();
        let Some(node) = t.by_ino.get_mut(&ino) else {
            return;
        };
        node.count = node.count.saturating_sub(n);
        if node.count == 0 {
            let fid = node.fid;
            t.by_ino.remove(&ino);
            t.by_fid.remove(&fid);
        }
    }

    fn change<T>(&self, ino: u64, f: impl FnOnce(&mut Node) -> T) -> Option<T> {
        self.table().by_ino.get_mut(&ino).map(f)
    }

    /// The kernel is about to be told attributes of a number that it may keep. To be called before
    /// it is looked whether a lock protects them.
    pub fn will_keep_attr(&self, ino: u64) {
        self.change(ino, |n| n.kept.attr = true);
    }

    /// The number whose attributes the kernel has to forget, if it may have kept them.
    pub fn take_attr(&self, fid: &Fid) -> Option<u64> {
        let ino = self.known(fid)?;
        let kept = self.change(ino, |n| std::mem::take(&mut n.kept.attr));
        // The root is always known.
        kept.unwrap_or(ino == ROOT).then_some(ino)
    }

    /// Whether the kernel may have kept names of it, which it has to forget.
    pub fn take_name(&self, fid: &Fid) -> bool {
        let ino = self.known(fid);
        ino.and_then(|i| self.change(i, |n| std::mem::take(&mut n.kept.name)))
            .unwrap_or(false)
    }

    /// A file was opened, or (`open` false) closed.
    pub fn count_open(&self, ino: u64, open: bool) {
        self.change(ino, |n| {
            n.opens = match open {
                true => n.opens.saturating_add(1),
                false => n.opens.saturating_sub(1),
            };
        });
    }

    /// The number of a file that is open.
    pub fn opened(&self, fid: &Fid) -> Option<u64> {
        let ino = self.known(fid)?;
        self.change(ino, |n| n.opens > 0)?.then_some(ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let n = Nodes::new(Fid::ROOT);
        assert_eq!(n.tell(Fid::ROOT, Kept::default()), ROOT);
        assert_eq!(n.fid(ROOT), Some(Fid::ROOT));
        let a = Fid::new(0x2_0000_0401, 7);
        let ino = n.tell(a, Kept::default());
        assert_eq!(ino, a.flatten());
        assert_eq!(
            (n.tell(a, Kept::default()), n.fid(ino), n.known(&a)),
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
        let (x, y) = (n.tell(a, Kept::default()), n.tell(b, Kept::default()));
        assert_ne!(x, y);
        assert_eq!((n.fid(x), n.fid(y)), (Some(a), Some(b)));
    }

    #[test]
    fn what_the_kernel_keeps() {
        let n = Nodes::new(Fid::ROOT);
        let a = Fid::new(0x2_0000_0401, 7);
        let both = Kept {
            attr: true,
            name: true,
        };
        assert_eq!((n.take_attr(&a), n.take_name(&a)), (None, false));
        let ino = n.tell(a, Kept::default());
        assert_eq!((n.take_attr(&a), n.take_name(&a)), (None, false));
        n.tell(a, both);
        n.tell(a, Kept::default());
        assert_eq!((n.take_attr(&a), n.take_name(&a)), (Some(ino), true));
        assert_eq!((n.take_attr(&a), n.take_name(&a)), (None, false));
        n.will_keep_attr(ino);
        assert_eq!(n.take_attr(&a), Some(ino));
        assert_eq!(n.take_attr(&Fid::ROOT), Some(ROOT));
        assert_eq!(n.opened(&a), None);
        n.count_open(ino, true);
        n.count_open(ino, true);
        n.count_open(ino, false);
        assert_eq!(n.opened(&a), Some(ino));
        n.count_open(ino, false);
        assert_eq!(n.opened(&a), None);
    }
}
