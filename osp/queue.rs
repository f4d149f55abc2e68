// SPDX-License-Identifier: GPL-2.0

//! Chains of changes: they are put together from memory that was there before, so that a commit
//! callback can queue a change and cannot fail.

use crate::catalog::ChangeLog;
use crate::changes::{Change, Op};
use kapi::prelude::*;
use wire::fid::Fid;

/// A change in a chain.
pub(crate) struct Link {
    pub(crate) change: Change,
    /// Where it is on disk.
    pub(crate) record: Option<(Arc<ChangeLog>, u32)>,
    next: Option<KBox<Link>>,
}

impl Link {
    /// A change that is not in a chain yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(fid: Fid, op: Op) -> Result<KBox<Link>> {
        let link = Link {
            change: Change::new(fid, op),
            record: None,
            next: None,
        };
        Ok(KBox::new(link, GFP_KERNEL)?)
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

    /// Takes the last one out, if it is recorded in `log`. Returns its index there.
    pub(crate) fn pop_record(&mut self, log: &Arc<ChangeLog>) -> Option<u32> {
        let (in_log, index) = self.head.as_ref()?.record.as_ref()?;
        if !Arc::ptr_eq(in_log, log) {
            return None;
        }
        let index = *index;
        self.pop();
        Some(index)
    }

    /// Calls `f` for each one.
    ///
    /// # Errors
    /// Those of `f`.
    pub(crate) fn try_for_each(&mut self, mut f: impl FnMut(&mut Link) -> Result) -> Result {
        let mut at = self.head.as_deref_mut();
        while let Some(link) = at {
            f(link)?;
            at = link.next.as_deref_mut();
        }
        Ok(())
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
