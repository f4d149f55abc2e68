// SPDX-License-Identifier: GPL-2.0

//! Whom to ask for the size of a file (spec/ldlm.md 14).

use super::action::AstTarget;
use super::flags;
use super::lock::{LockView, State};
use super::resource::Resource;
use super::tree::Query;
use super::types::{ibits, Desc, Mode, Policy};
use kapi::prelude::*;

/// Whom a glimpse has to ask.
#[derive(Default)]
pub struct GlimpseScan {
    /// Who caches data, each client once, and the lock that says so.
    pub targets: KVec<(AstTarget, Desc)>,
    /// The object is being destroyed: it has no size any more.
    pub destroying: bool,
}

impl Resource {
    /// Finds holders of byte-range locks that may know of data beyond `size`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn glimpse_extents(&self, size: u64) -> Result<GlimpseScan> {
        let mut scan = GlimpseScan::default();
        for (_, t) in self.granted_trees().filter(|(m, _)| *m != Mode::Pr) {
            let mut at = self.trees.last(t);
            while let Some(ix) = at {
                let Some(l) = self.slab.get(ix) else { break };
                if l.policy.range().1 <= size {
                    break;
                }
                if !l.glimpse {
                    scan.destroying = true;
                    return Ok(scan);
                }
                self.ask(ix, &mut scan)?;
                // A lock taken ahead of use may have no data behind it, and the server's own have
                // none: what counts may be below.
                if l.flags & flags::NO_EXPANSION == 0 && !l.export.is_local() {
                    break;
                }
                at = self.trees.prev(ix);
            }
        }
        Ok(scan)
    }

    /// Finds holders of the data bit of an inode that may have changed it.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn glimpse_dom(&self) -> Result<GlimpseScan> {
        let mut scan = GlimpseScan::default();
        let mut leader = None;
        while let Some(g) = self.groups.next_leader(self.granted_groups, leader) {
            leader = Some(g);
            let key = self.groups.key(g);
            let writes = matches!(key.mode, Mode::Ex | Mode::Pw | Mode::Cw | Mode::Group);
            if key.bits & ibits::DOM == 0 || !writes {
                continue;
            }
            let mut at = Some(g);
            while let Some(ix) = at {
                if self.slab.get(ix).is_some_and(|l| !l.glimpse) {
                    scan.destroying = true;
                    return Ok(scan);
                }
                self.ask(ix, &mut scan)?;
                at = self.groups.next_member(ix);
            }
        }
        Ok(scan)
    }

    /// All clients that hold a lock, once each.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn holders(&self) -> Result<KVec<(AstTarget, Desc)>> {
        let mut scan = GlimpseScan::default();
        let mut r = Ok(());
        self.for_each(|ix, v| {
            if r.is_ok() && v.state == State::Granted {
                r = self.ask(ix.0, &mut scan);
            }
        });
        r.map(|()| scan.targets)
    }

    /// Calls `f` for each held lock on bytes of `range` whose mode `suits`.
    pub fn for_each_overlap(
        &self,
        range: (u64, u64),
        suits: impl Fn(Mode) -> bool,
        mut f: impl FnMut(&LockView),
    ) {
        let q = Query::overlap(range);
        for (_, t) in self.granted_trees().filter(|(m, _)| suits(*m)) {
            let mut at = self.trees.first(t, &q);
            while let Some(ix) = at {
                if let Some(l) = self.slab.get(ix) {
                    f(&l.view());
                }
                at = self.trees.next(ix, &q);
            }
        }
    }

    fn ask(&self, ix: u32, scan: &mut GlimpseScan) -> Result {
        let Some(l) = self.slab.get(ix) else {
            return Ok(());
        };
        // The server's own locks have nothing to tell.
        if l.export.is_local() || scan.targets.iter().any(|t| t.0.export == l.export) {
            return Ok(());
        }
        let to = AstTarget {
            export: l.export,
            client_handle: l.client_handle,
            cookie: l.cookie,
        };
        let desc = Desc {
            res: self.name,
            req_mode: l.req_mode,
            granted: l.granted,
            policy: match l.policy {
                Policy::Ibits(mut b) => {
                    b.try_bits = 0;
                    Policy::Ibits(b)
                }
                p => p,
            },
            cancel_bits: 0,
        };
        scan.targets.push((to, desc), GFP_KERNEL)?;
        Ok(())
    }
}
