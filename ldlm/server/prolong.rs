// SPDX-License-Identifier: GPL-2.0

//! Locks and the I/O that works under them (spec/ldlm.md 15.3, 15.4).

use super::export::ExportLocks;
use super::namespace::Namespace;
use super::run::now_ms;
use crate::core::{ExportId, LockType, LockView, Mode, Policy, ResId, State};
use kapi::prelude::*;

/// What an I/O request found of its client's locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cover {
    /// Locks of the client on the range. None: the request stems from a lock already taken away,
    /// and is answered with ESTALE.
    pub locks: u32,
    /// Those of them that have been called back: the request is urgent, and their time-out has
    /// been extended.
    pub called_back: u32,
}

impl Namespace {
    /// Finds the locks of `exp` under which an I/O on bytes `range` (both inclusive) runs, and
    /// gives those that have been called back another `extend`. `handle` is the lock that the
    /// request names, if any. To be called when it arrives and again when it is done.
    pub fn prolong(
        &self,
        exp: &ExportLocks,
        res: &ResId,
        range: (u64, u64),
        write: bool,
        handle: Option<u64>,
        extend: Duration,
    ) -> Cover {
        let mut cover = Cover::default();
        let extend = u64::try_from(extend.as_millis()).unwrap_or(u64::MAX);
        let mut one = |v: &LockView| {
            cover.locks += 1;
            if v.ast_sent {
                cover.called_back += 1;
                exp.arm(v.client_handle, v.cookie, now_ms(), extend);
            }
        };
        if let Some(r) = handle.and_then(|h| self.tables.handle(h).map(|r| (r, h))) {
            let (r, cookie) = r;
            let named = r.node.state.lock().core.find(r.ix, cookie);
            let usable = named.filter(|v| r.node.name == *res && covers(v, exp.id(), range, write));
            if let Some(v) = usable {
                one(&v);
                return cover;
            }
        }
        if let Some(node) = self.tables.get(res) {
            let st = node.state.lock();
            let suits = |m: Mode| suits(m, write);
            match node.kind {
                LockType::Extent => st.core.for_each_overlap(range, suits, |v| {
                    if v.export == exp.id() {
                        one(v);
                    }
                }),
                _ => st.core.for_each(|_, v| {
                    if covers(v, exp.id(), range, write) {
                        one(v);
                    }
                }),
            }
        }
        cover
    }
}

fn suits(m: Mode, write: bool) -> bool {
    matches!(m, Mode::Pw | Mode::Group) || (m == Mode::Pr && !write)
}

/// Whether this is a lock of the client that covers the whole range.
fn covers(v: &LockView, of: ExportId, range: (u64, u64), write: bool) -> bool {
    let there = match v.policy {
        Policy::Extent(e) => e.start <= range.0 && range.1 <= e.end,
        Policy::Ibits(b) => b.bits & crate::core::ibits::DOM != 0,
        Policy::Plain | Policy::Flock(_) => false,
    };
    there
        && v.export == of
        && v.state == State::Granted
        && v.granted.is_some_and(|m| suits(m, write))
}
