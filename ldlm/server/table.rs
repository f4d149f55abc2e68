// SPDX-License-Identifier: GPL-2.0

//! Resources by name, locks by handle. Both tables are striped.

use super::lvb::LvbState;
use crate::core::{LockIx, LockType, ResId, Resource};
use kapi::prelude::*;

/// Kept apart for the sake of the stack: a resource is large while it is on it.
#[inline(never)]
fn new_node(name: &ResId, kind: LockType) -> Result<Arc<Node>> {
    let state = NodeState {
        core: Resource::new(*name, kind),
        dead: false,
    };
    Arc::pin_init(
        pin_init!(Node {
            name: *name,
            kind,
            state <- new_mutex!(state),
            granted <- new_condvar!(),
            lvb <- new_mutex!(LvbState::default()),
        }),
        GFP_KERNEL,
    )
}

/// Stripes of either table, a power of two: a server with 100,000 locks has 200 in each.
const STRIPES: usize = 512;

/// A resource and what the shell keeps with it.
#[pin_data]
pub(super) struct Node {
    pub(super) name: ResId,
    pub(super) kind: LockType,
    #[pin]
    pub(super) state: Mutex<NodeState>,
    /// Signalled when some lock of the server itself is granted.
    #[pin]
    pub(super) granted: CondVar,
    #[pin]
    pub(super) lvb: Mutex<LvbState>,
}

pub(super) struct NodeState {
    pub(super) core: Resource,
    /// Taken out of the table: look it up again.
    pub(super) dead: bool,
}

#[pin_data]
struct ResStripe {
    #[pin]
    map: Mutex<RBTree<ResId, Arc<Node>>>,
}

#[derive(Clone)]
pub(super) struct LockRef {
    pub(super) node: Arc<Node>,
    pub(super) ix: LockIx,
}

#[pin_data]
struct HandleStripe {
    #[pin]
    map: Mutex<RBTree<u64, LockRef>>,
}

/// Where a walk over the resources is.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    stripe: usize,
    last: Option<ResId>,
}

pub(super) struct Tables {
    resources: KVec<Pin<KBox<ResStripe>>>,
    handles: KVec<Pin<KBox<HandleStripe>>>,
}

impl Tables {
    pub(super) fn new() -> Result<Self> {
        let mut t = Tables {
            resources: KVec::with_capacity(STRIPES, GFP_KERNEL)?,
            handles: KVec::with_capacity(STRIPES, GFP_KERNEL)?,
        };
        for _ in 0..STRIPES {
            let r = KBox::pin_init(
                pin_init!(ResStripe { map <- new_mutex!(RBTree::new()) }),
                GFP_KERNEL,
            )?;
            t.resources.push(r, GFP_KERNEL)?;
            let h = KBox::pin_init(
                pin_init!(HandleStripe { map <- new_mutex!(RBTree::new()) }),
                GFP_KERNEL,
            )?;
            t.handles.push(h, GFP_KERNEL)?;
        }
        Ok(t)
    }

    fn res_stripe(&self, name: &ResId) -> Result<&ResStripe> {
        let [a, b, c, d] = name.0;
        let h = (a ^ b.rotate_left(17) ^ c.rotate_left(34) ^ d.rotate_left(51))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let i = (h >> 32) as usize % STRIPES;
        Ok(self.resources.get(i).ok_or(EINVAL)?)
    }

    fn handle_stripe(&self, cookie: u64) -> Result<&HandleStripe> {
        Ok(self.handles.get(cookie as usize % STRIPES).ok_or(EINVAL)?)
    }

    /// The resource with this name, made if need be.
    ///
    /// # Errors
    /// `EPROTO`: it has another type. `ENOMEM`.
    pub(super) fn get_or_create(&self, name: &ResId, kind: LockType) -> Result<Arc<Node>> {
        let mut map = self.res_stripe(name)?.map.lock();
        if let Some(n) = map.get(name) {
            if n.kind != kind {
                return Err(EPROTO);
            }
            return Ok(n.clone());
        }
        let node = new_node(name, kind)?;
        map.try_create_and_insert(*name, node.clone(), GFP_KERNEL)?;
        Ok(node)
    }

    /// The resource with this name.
    pub(super) fn get(&self, name: &ResId) -> Option<Arc<Node>> {
        let map = self.res_stripe(name).ok()?.map.lock();
        map.get(name).cloned()
    }

    /// Drops the resource if it has no locks.
    pub(super) fn drop_if_empty(&self, node: &Arc<Node>) {
        let Ok(stripe) = self.res_stripe(&node.name) else {
            return;
        };
        let mut map = stripe.map.lock();
        let mut st = node.state.lock();
        if st.dead || !st.core.is_empty() {
            return;
        }
        st.dead = true;
        drop(st);
        map.remove(&node.name);
    }

    /// Calls `f` for each resource; those made meanwhile may be left out.
    pub(super) fn for_each(&self, mut f: impl FnMut(&Arc<Node>)) {
        self.walk(&mut Place::default(), |node| {
            f(node);
            true
        });
    }

    /// Calls `f` for the resources behind `at` until it is false. True if that were all: the next walk
    /// begins at the first.
    pub(super) fn walk(&self, at: &mut Place, mut f: impl FnMut(&Arc<Node>) -> bool) -> bool {
        while let Some(stripe) = self.resources.get(at.stripe) {
            let node = {
                let map = stripe.map.lock();
                match at.last {
                    None => map.values().next().cloned(),
                    Some(n) => map.cursor_lower_bound(&n).and_then(|c| {
                        if *c.current().0 == n {
                            c.peek_next().map(|(_, v)| v.clone())
                        } else {
                            Some(c.current().1.clone())
                        }
                    }),
                }
            };
            let Some(node) = node else {
                *at = Place {
                    stripe: at.stripe + 1,
                    last: None,
                };
                continue;
            };
            at.last = Some(node.name);
            if !f(&node) {
                return false;
            }
        }
        *at = Place::default();
        true
    }

    /// Memory for one entry of the handle table.
    pub(super) fn handle_node(cookie: u64, r: LockRef) -> Result<RBTreeNode<u64, LockRef>> {
        RBTreeNode::new(cookie, r, GFP_KERNEL)
    }

    /// Enters a lock under its handle. False, if the handle is in use.
    pub(super) fn add_handle(&self, cookie: u64, node: RBTreeNode<u64, LockRef>) -> bool {
        let Ok(stripe) = self.handle_stripe(cookie) else {
            return false;
        };
        let mut map = stripe.map.lock();
        if map.get(&cookie).is_some() {
            return false;
        }
        map.insert(node);
        true
    }

    /// The lock with this handle.
    pub(super) fn handle(&self, cookie: u64) -> Option<LockRef> {
        let map = self.handle_stripe(cookie).ok()?.map.lock();
        map.get(&cookie).cloned()
    }

    /// Forgets a handle.
    pub(super) fn remove_handle(&self, cookie: u64) {
        if let Ok(stripe) = self.handle_stripe(cookie) {
            let gone = stripe.map.lock().remove(&cookie);
            drop(gone);
        }
    }
}
