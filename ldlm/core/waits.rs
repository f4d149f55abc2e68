// SPDX-License-Identifier: GPL-2.0

//! Who waits for whose file locks: the graph in which deadlocks are found (spec/ldlm.md 6.5).

use kapi::prelude::*;

/// A process, as far as file locks know it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Who {
    /// The node: exports with the same one are mounts of one client.
    pub(super) peer: u64,
    /// The owner, unique within one client.
    pub(super) owner: u64,
}

/// The waits of all resources of a namespace.
#[derive(Default)]
pub struct FlockWaits {
    /// By who waits and the handle of the waiting lock: for whom.
    waits: RBTree<(Who, u64), Who>,
    len: usize,
}

impl FlockWaits {
    /// Nobody waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `who` waits, with lock `cookie`, for `blocker`.
    pub(super) fn set(&mut self, who: Who, cookie: u64, blocker: Who) -> Result {
        if let Some(w) = self.waits.get_mut(&(who, cookie)) {
            *w = blocker;
            return Ok(());
        }
        let node = RBTreeNode::new((who, cookie), blocker, GFP_KERNEL)?;
        self.waits.insert(node);
        self.len += 1;
        Ok(())
    }

    /// `who` no longer waits with lock `cookie`.
    pub(super) fn clear(&mut self, who: Who, cookie: u64) {
        if self.waits.remove(&(who, cookie)).is_some() {
            self.len -= 1;
        }
    }

    /// Whether `who`, were it to wait for `blocker`, would wait for itself.
    pub(super) fn deadlock(&self, who: Who, blocker: Who) -> bool {
        let mut at = blocker;
        // A chain longer than there are waits runs in a circle without `who`.
        for _ in 0..=self.len {
            if at == who {
                return true;
            }
            match self.first(at) {
                Some(w) => at = w,
                None => return false,
            }
        }
        false
    }

    fn first(&self, who: Who) -> Option<Who> {
        let c = self.waits.cursor_lower_bound(&(who, 0))?;
        let ((w, _), blocker) = c.current();
        (*w == who).then_some(*blocker)
    }
}
