// SPDX-License-Identifier: GPL-2.0

//! Containers.

#[path = "../../../../kapi/deque.rs"]
mod deque;
mod rbtree;

pub use deque::Deque;
pub use rbtree::{Cursor, RBTree, RBTreeNode};
