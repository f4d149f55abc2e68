// SPDX-License-Identifier: GPL-2.0

//! An ordered map with the interface of the kernel's `RBTree`.

use crate::alloc::Flags;
use crate::error::Result;
use std::collections::btree_map::{self, BTreeMap};
use std::ops::Bound;

/// An ordered map.
pub struct RBTree<K, V>(BTreeMap<K, V>);

/// Memory for one entry, with its content: inserting it cannot fail.
pub struct RBTreeNode<K, V>(K, V);

impl<K, V> RBTreeNode<K, V> {
    /// Allocates.
    pub fn new(key: K, value: V, _flags: Flags) -> Result<RBTreeNode<K, V>> {
        Ok(RBTreeNode(key, value))
    }
    /// The content.
    pub fn to_key_value(self) -> (K, V) {
        (self.0, self.1)
    }
}

impl<K: Ord, V> Default for RBTree<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> RBTree<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        RBTree(BTreeMap::new())
    }
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// All entries in order.
    pub fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.0.iter()
    }
    /// All entries in order.
    pub fn iter_mut(&mut self) -> btree_map::IterMut<'_, K, V> {
        self.0.iter_mut()
    }
    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &'_ K> {
        self.0.keys()
    }
    /// All values in order.
    pub fn values(&self) -> impl Iterator<Item = &'_ V> {
        self.0.values()
    }
    /// All values in order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &'_ mut V> {
        self.0.values_mut()
    }
}

impl<K: Ord, V> RBTree<K, V> {
    /// Inserts; returns the entry that was replaced.
    pub fn try_create_and_insert(
        &mut self,
        key: K,
        value: V,
        flags: Flags,
    ) -> Result<Option<RBTreeNode<K, V>>> {
        Ok(self.insert(RBTreeNode::new(key, value, flags)?))
    }
    /// Inserts; returns the entry that was replaced.
    pub fn insert(&mut self, node: RBTreeNode<K, V>) -> Option<RBTreeNode<K, V>> {
        let old = self.0.remove_entry(&node.0);
        self.0.insert(node.0, node.1);
        old.map(|(k, v)| RBTreeNode(k, v))
    }
    /// Looks up.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }
    /// Looks up.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }
    /// Takes out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }
    /// Takes out, keeping the memory.
    pub fn remove_node(&mut self, key: &K) -> Option<RBTreeNode<K, V>> {
        self.0.remove_entry(key).map(|(k, v)| RBTreeNode(k, v))
    }
    /// The first entry whose key is `key` or greater.
    pub fn cursor_lower_bound(&self, key: &K) -> Option<Cursor<'_, K, V>> {
        let current = self
            .0
            .range((Bound::Included(key), Bound::Unbounded))
            .next()?;
        Some(Cursor {
            tree: &self.0,
            current,
        })
    }
    /// The first entry.
    pub fn cursor_front(&self) -> Option<Cursor<'_, K, V>> {
        Some(Cursor {
            tree: &self.0,
            current: self.0.first_key_value()?,
        })
    }
    /// The last entry.
    pub fn cursor_back(&self) -> Option<Cursor<'_, K, V>> {
        Some(Cursor {
            tree: &self.0,
            current: self.0.last_key_value()?,
        })
    }
}

/// A position in a map.
pub struct Cursor<'a, K, V> {
    tree: &'a BTreeMap<K, V>,
    current: (&'a K, &'a V),
}

impl<K: Ord, V> Cursor<'_, K, V> {
    /// The entry here.
    pub fn current(&self) -> (&K, &V) {
        self.current
    }
    /// The next entry, if there is one.
    pub fn peek_next(&self) -> Option<(&K, &V)> {
        let after = (Bound::Excluded(self.current.0), Bound::Unbounded);
        self.tree.range(after).next()
    }
    /// The previous entry, if there is one.
    pub fn peek_prev(&self) -> Option<(&K, &V)> {
        let before = (Bound::Unbounded, Bound::Excluded(self.current.0));
        self.tree.range(before).next_back()
    }
}
