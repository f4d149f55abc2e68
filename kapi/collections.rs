// SPDX-License-Identifier: GPL-2.0

//! Containers.

#[path = "deque.rs"]
mod deque;

pub use deque::Deque;
pub use kernel::rbtree::{Cursor, RBTree, RBTreeNode};
