// SPDX-License-Identifier: GPL-2.0

//! Chains of changes: they are put together from memory that was there before, so that a commit
//! callback can queue a change and cannot fail.

use crate::changes::Change;
use kapi::prelude::*;

/// A change in a chain.
pub(crate) struct Link {
    pub(crate) change: Change,
    next: Option<KBox<Link>>,
}

impl Link {
    /// A change that is not in a chain yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(change: Change) -> Result<KBox<Link>> {
        Ok(KBox::new(Link { change, next: None }, GFP_KERNEL)?)
    }
}

/// A chain; the last that was put in comes out first.
#[derive(Default)]
pub(crate) struct Chain {
    head: Option<KBox<Link>>,
}

impl Chain {
    pub(crate) const fn new() -> Chain {
        Chain { head: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    pub(crate) fn push(&mut self, mut link: KBox<Link>) {
        link.next = self.head.take();
        self.head = Some(link);
    }

    pub(crate) fn pop(&mut self) -> Option<KBox<Link>> {
        let mut link = self.head.take()?;
        self.head = link.next.take();
        Some(link)
    }

    /// Puts all of `other` in, as if one by one: what came out of it last comes out first.
    pub(crate) fn push_all(&mut self, mut other: Chain) {
        while let Some(l) = other.pop() {
            self.push(l);
        }
    }

    pub(crate) fn take(&mut self) -> Chain {
        core::mem::take(self)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Change> {
        let mut at = self.head.as_deref();
        core::iter::from_fn(move || {
            let link = at?;
            at = link.next.as_deref();
            Some(&link.change)
        })
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // One by one: a long chain would otherwise take the stack with it.
        while self.pop().is_some() {}
    }
}
