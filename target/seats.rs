// SPDX-License-Identifier: GPL-2.0

//! How many clients a node may have at a target: each takes memory, and a slot in `last_rcvd`.

use kapi::prelude::*;
use wire::nid::Nid;

/// Clients of one node: many mounts, and those of its lives that were not yet given up.
const MAX: u32 = 1024;

/// Clients by their node.
#[pin_data]
pub(crate) struct Seats {
    #[pin]
    taken: Mutex<RBTree<Nid, u32>>,
}

/// A client's seat; dropping it leaves it to another one.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    node: Nid,
}

impl Seats {
    pub(crate) fn new() -> Result<Arc<Seats>> {
        Arc::pin_init(
            pin_init!(Seats {
                taken <- new_mutex!(RBTree::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// A seat for a client on that node.
    ///
    /// # Errors
    /// `EUSERS`: there are too many. `ENOMEM`.
    pub(crate) fn take(self: &Arc<Self>, node: Nid) -> Result<Seat> {
        let new = RBTreeNode::new(node, 1, GFP_KERNEL)?;
        let mut taken = self.taken.lock();
        match taken.get_mut(&node) {
            Some(n) if *n >= MAX => return Err(EUSERS),
            Some(n) => *n += 1,
            None => {
                taken.insert(new);
            }
        }
        drop(taken);
        Ok(Seat {
            seats: self.clone(),
            node,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        match taken.get_mut(&self.node) {
            Some(n) if *n > 1 => *n -= 1,
            _ => {
                taken.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapi::net::Ipv4Addr;
    use std::vec::Vec;
    use wire::nid::Net;

    #[test]
    fn bounded() -> Result {
        let seats = Seats::new()?;
        let node = |n| Nid::v4(Net::TCP, Ipv4Addr::new(10, 0, 0, n));
        let mut all = (0..MAX)
            .map(|_| seats.take(node(1)))
            .collect::<Result<Vec<_>>>()?;
        assert_eq!(seats.take(node(1)).err(), Some(EUSERS));
        let other = seats.take(node(2))?;
        all.pop();
        let again = seats.take(node(1))?;
        assert_eq!(seats.take(node(1)).err(), Some(EUSERS));
        drop((all, other, again));
        assert!(seats.taken.lock().is_empty());
        Ok(())
    }
}
