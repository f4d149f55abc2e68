// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for a thread of a service.
//!
//! Nodes take turns, whatever each of them sends: one that floods a service waits for itself. A core
//! without I/O.

use kapi::prelude::*;
use wire::nid::Nid;

/// Which requests go first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Normal,
    High,
}

/// The requests of one class.
struct Lanes<T> {
    /// Of the nodes that have any, in the order of their arrival.
    by_node: RBTree<Nid, Deque<T>>,
    waiting: usize,
    /// Whose turn it was last.
    last: Option<Nid>,
    /// No more of these for a node that has so many threads already.
    threads: u32,
}

impl<T> Lanes<T> {
    fn new(threads: u32) -> Self {
        Lanes {
            by_node: RBTree::new(),
            waiting: 0,
            last: None,
            threads: threads.max(1),
        }
    }

    fn of(&self, node: &Nid) -> usize {
        self.by_node.get(node).map_or(0, Deque::len)
    }

    /// The lane of a node, with room for one more.
    fn lane(&mut self, node: Nid) -> Result<&mut Deque<T>> {
        if self.by_node.get(&node).is_none() {
            let mut lane = Deque::new();
            lane.reserve(1, GFP_KERNEL)?;
            self.by_node.try_create_and_insert(node, lane, GFP_KERNEL)?;
        }
        let lane = self.by_node.get_mut(&node).ok_or(ENOMEM)?;
        lane.reserve(1, GFP_KERNEL)?;
        Ok(lane)
    }

    fn push(&mut self, node: Nid, t: T) -> Result<(), (T, Error)> {
        match self.lane(node) {
            Ok(lane) => {
                // There is room.
                let kept = lane.push_back(t, GFP_KERNEL);
                debug_assert!(kept.is_ok());
                self.waiting += 1;
                Ok(())
            }
            Err(e) => Err((t, e)),
        }
    }

    /// The node behind this one, or the first.
    fn after(&self, node: Option<Nid>) -> Option<Nid> {
        let Some(node) = node else {
            return self.by_node.cursor_front().map(|c| *c.current().0);
        };
        let c = self.by_node.cursor_lower_bound(&node)?;
        match *c.current().0 {
            n if n == node => c.peek_next().map(|n| *n.0),
            n => Some(n),
        }
    }

    /// Whose turn it is. Few are passed over: those that have all the threads they may have.
    fn turn(&self, may: impl Fn(&Nid) -> bool) -> Option<Nid> {
        let mut at = self.last;
        for _ in 0..2 {
            while let Some(n) = self.after(at) {
                if may(&n) {
                    return Some(n);
                }
                at = Some(n);
            }
            at = None;
        }
        None
    }

    fn take(&mut self, node: Nid) -> Option<T> {
        let lane = self.by_node.get_mut(&node)?;
        let t = lane.pop_front();
        if lane.is_empty() {
            drop(self.by_node.remove(&node));
        }
        self.waiting -= usize::from(t.is_some());
        self.last = Some(node);
        t
    }
}

/// What waits, and how many threads work for whom.
pub(crate) struct Queue<T> {
    normal: Lanes<T>,
    high: Lanes<T>,
    /// Threads by the node that they work for. It has room for all threads.
    busy: KVec<(Nid, u32)>,
    max: usize,
}

impl<T> Queue<T> {
    /// For `max` requests and `threads` threads.
    ///
    /// Requests that wait for their sender (for bulk data, for a lock) hold their thread meanwhile: one
    /// node has half of the threads at the most, or three quarters with those of high priority.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(max: usize, threads: u32) -> Result<Self> {
        Ok(Queue {
            normal: Lanes::new(threads / 2),
            high: Lanes::new(threads - threads / 4),
            busy: KVec::with_capacity(threads as usize, GFP_KERNEL)?,
            max,
        })
    }

    /// Requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.normal.waiting + self.high.waiting
    }

    /// Requests of one class that wait.
    pub(crate) fn waiting(&self, class: Class) -> usize {
        match class {
            Class::Normal => self.normal.waiting,
            Class::High => self.high.waiting,
        }
    }

    /// Adds a request; gives it back if that fails.
    ///
    /// # Errors
    /// `EBUSY`: too many wait. `ENOMEM`.
    pub(crate) fn push(&mut self, from: Nid, class: Class, t: T) -> Result<(), (T, Error)> {
        // A node may have as many as there is room for others: half of all if it is the only one.
        // So there is always room for one that has none.
        let mine = self.normal.of(&from) + self.high.of(&from);
        if mine >= self.max.saturating_sub(self.len()) {
            return Err((t, EBUSY));
        }
        match class {
            Class::Normal => self.normal.push(from, t),
            Class::High => self.high.push(from, t),
        }
    }

    /// The next request of a class, for a thread that says when it is [`Queue::done`].
    pub(crate) fn pop(&mut self, class: Class) -> Option<T> {
        let lanes = match class {
            Class::Normal => &mut self.normal,
            Class::High => &mut self.high,
        };
        let (busy, most) = (&mut self.busy, lanes.threads);
        let threads = |n: &Nid| busy.iter().find(|b| b.0 == *n).map_or(0, |b| b.1);
        let node = lanes.turn(|n| threads(n) < most)?;
        let t = lanes.take(node)?;
        match busy.iter_mut().find(|b| b.0 == node) {
            Some(b) => b.1 += 1,
            None => {
                let kept = busy.push_within_capacity((node, 1));
                debug_assert!(kept.is_ok());
            }
        }
        Some(t)
    }

    /// A thread has done a request of that node.
    pub(crate) fn done(&mut self, from: &Nid) {
        if let Some(b) = self.busy.iter_mut().find(|b| b.0 == *from) {
            b.1 -= 1;
        }
        self.busy.retain(|b| b.1 > 0);
    }

    /// Takes out all that waits.
    pub(crate) fn clear(&mut self) -> impl Sized {
        let take = |l: &mut Lanes<T>| {
            l.waiting = 0;
            core::mem::take(&mut l.by_node)
        };
        (take(&mut self.normal), take(&mut self.high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapi::net::Ipv4Addr;
    use std::vec::Vec;
    use wire::nid::Net;

    fn nid(n: u8) -> Nid {
        Nid::v4(Net::TCP, Ipv4Addr::new(10, 0, 0, n))
    }

    fn push(q: &mut Queue<u32>, n: u8, what: u32) -> Result {
        q.push(nid(n), Class::Normal, what).map_err(|(_, e)| e)
    }

    #[test]
    fn nodes_take_turns() -> Result {
        let mut q = Queue::new(100, 64)?;
        for i in 0..20 {
            push(&mut q, 1, i)?;
        }
        push(&mut q, 2, 100)?;
        push(&mut q, 2, 101)?;
        push(&mut q, 3, 200)?;
        let mut order = Vec::new();
        while let Some(t) = q.pop(Class::Normal) {
            order.push(t);
        }
        assert_eq!(order[..6], [0, 100, 200, 1, 101, 2]);
        assert_eq!((order.len(), q.len()), (23, 0));
        Ok(())
    }

    #[test]
    fn room_for_others() -> Result {
        let mut q = Queue::new(100, 64)?;
        let filled = |q: &mut Queue<u32>, n| (0..1000).find(|_| push(q, n, 0).is_err());
        assert_eq!(filled(&mut q, 1), Some(50));
        assert_eq!(filled(&mut q, 2), Some(25));
        for n in 3..60 {
            push(&mut q, n, 0)?;
            if q.len() == 99 {
                break;
            }
        }
        // Of the last place nobody is sure, but one that has none.
        assert_eq!(push(&mut q, 1, 0), Err(EBUSY));
        push(&mut q, 99, 0)?;
        assert_eq!(push(&mut q, 100, 0), Err(EBUSY));
        Ok(())
    }

    #[test]
    fn threads_are_shared() -> Result {
        let mut q = Queue::new(100, 8)?;
        for i in 0..10 {
            push(&mut q, 1, i)?;
            q.push(nid(1), Class::High, 100 + i).map_err(|(_, e)| e)?;
        }
        push(&mut q, 2, 200)?;
        let mut normal = Vec::new();
        while let Some(t) = q.pop(Class::Normal) {
            normal.push(t);
        }
        normal.sort();
        assert_eq!(normal, [0, 1, 2, 3, 200]);
        assert_eq!(q.pop(Class::High), Some(100));
        assert_eq!(q.pop(Class::High), Some(101));
        assert_eq!(q.pop(Class::High), None);
        // One of high priority is done: another may follow, but no normal one.
        q.done(&nid(1));
        assert_eq!(q.pop(Class::Normal), None);
        assert_eq!(q.pop(Class::High), Some(102));
        for _ in 0..3 {
            q.done(&nid(1));
        }
        assert_eq!(q.pop(Class::Normal), Some(4));
        Ok(())
    }
}
