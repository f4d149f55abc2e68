// SPDX-License-Identifier: GPL-2.0

//! An object: its attributes, and what is cached of its data under its locks.

use super::window::{Window, WINDOW, WINDOW_LEN};
use super::Ost;
use crate::attr::now;
use crate::layout::{Layout, Stripe};
use crate::sync::{guard, Condition};
use kapi::prelude::*;
use ldlm::core::{Extent, Mode, ResId};
use std::collections::BTreeMap;
use std::sync::{Arc as StdArc, Mutex as StdMutex, Weak};
use wire::fid::Fid;
use wire::ldlm::LdlmResId;
use wire::lvb::OstLvb;
use wire::obdo::{ObdMd, Obdo, OstLayout};
use wire::ostid::OstId;
use zerocopy::IntoBytes;

/// The file that an object belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The file.
    pub fid: Fid,
    /// Number of the object in it.
    pub stripe: u32,
    /// Its user, for quota.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Bytes of a stripe.
    pub stripe_size: u32,
    /// Stripes.
    pub stripe_count: u32,
}

/// Attributes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ObjectAttr {
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Seconds.
    pub mtime: i64,
    /// Seconds.
    pub atime: i64,
    /// Seconds.
    pub ctime: i64,
}

/// What is known of an object.
#[derive(Default)]
pub(super) struct State {
    pub(super) attr: ObjectAttr,
    /// The modification time that the server has, or a later one.
    pub(super) told: i64,
    pub(super) windows: BTreeMap<u64, Window>,
    /// Locks held: handle, mode and range.
    pub(super) locks: Vec<(u64, Mode, Extent)>,
    /// Why data written earlier are not on the server.
    pub(super) error: Option<Error>,
    /// Writes under way.
    pub(super) writing: u32,
    /// Partly filled windows are to be written too.
    pub(super) urgent: bool,
    /// It is in the queue of what will be written when it is old.
    pub(super) aging: bool,
    /// Transaction of the last write.
    pub(super) transno: u64,
    /// Checksums that were wrong in a row.
    pub(super) spoiled: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// An object.
pub struct Object {
    pub(super) ost: Weak<Ost>,
    pub(super) res: ResId,
    pub(super) id: OstId,
    owner: Owner,
    pub(super) state: StdMutex<State>,
    /// Signalled when something that was under way is done.
    pub(super) changed: Condition,
    /// One asks for locks at a time, so that answers are taken in the order they were given.
    pub(super) asking: StdMutex<()>,
}

/// The windows that a range has a part of, with the part: number, from, to.
pub(super) fn split(start: u64, end: u64) -> impl Iterator<Item = (u64, u32, u32)> {
    let mut pos = start;
    std::iter::from_fn(move || {
        if pos >= end {
            return None;
        }
        let w = pos / WINDOW;
        let stop = end.min((w + 1).saturating_mul(WINDOW));
        let from = (pos % WINDOW) as u32;
        let part = (w, from, from + (stop - pos) as u32);
        pos = stop;
        Some(part)
    })
}

impl Object {
    /// The object of stripe `stripe`, to be asked for by [`Ost::object`].
    pub fn of(ost: &StdArc<Ost>, s: &Stripe, owner: Owner) -> StdArc<Object> {
        let res = ResId(LdlmResId::ost_object(s.fid).words());
        ost.object(res, || Object {
            ost: StdArc::downgrade(ost),
            res,
            id: s.id,
            owner,
            state: StdMutex::new(State {
                uid: owner.uid,
                gid: owner.gid,
                ..State::default()
            }),
            changed: Condition::default(),
            asking: StdMutex::new(()),
        })
    }

    /// The owner of stripe `i` of a file.
    pub fn owner_of(fid: Fid, i: usize, l: &Layout, uid: u32, gid: u32) -> Owner {
        Owner {
            fid,
            stripe: i as u32,
            uid,
            gid,
            stripe_size: l.stripe_size as u32,
            stripe_count: l.stripes.len() as u32,
        }
    }

    pub(super) fn ost(&self) -> Result<StdArc<Ost>> {
        self.ost.upgrade().ok_or(ESHUTDOWN)
    }

    /// The file's owner has changed: what is written from now on is theirs.
    pub fn set_owner(&self, uid: u32, gid: u32) {
        let mut s = guard(&self.state);
        (s.uid, s.gid) = (uid, gid);
    }

    /// Waits for something under way.
    pub(super) fn wait<'a>(
        &self,
        s: std::sync::MutexGuard<'a, State>,
    ) -> std::sync::MutexGuard<'a, State> {
        self.changed.wait(s)
    }

    /// The body of a request about it.
    pub(super) fn obdo(&self, s: &State) -> Obdo {
        let mut o = Obdo {
            o_oi: self.id,
            ..Obdo::default()
        };
        let f = self.owner.fid;
        o.o_parent_seq.set(f.seq);
        o.o_parent_oid.set(f.oid);
        o.o_parent_ver.set(f.ver);
        o.o_stripe_idx.set(self.owner.stripe);
        o.o_uid.set(s.uid);
        o.o_gid.set(s.gid);
        o.o_layout = OstLayout {
            ol_stripe_size: self.owner.stripe_size.into(),
            ol_stripe_count: self.owner.stripe_count.into(),
            ..OstLayout::default()
        };
        o.set_valid(
            ObdMd::FLID
                | ObdMd::FLGROUP
                | ObdMd::FLFID
                | ObdMd::FLPARENT
                | ObdMd::FLOSTLAYOUT
                | ObdMd::FLUID
                | ObdMd::FLGID,
        );
        o
    }

    /// Whether something is cached that is not on the server.
    pub fn is_dirty(&self) -> bool {
        let s = guard(&self.state);
        s.writing > 0 || s.windows.values().any(|w| !w.dirty.is_empty())
    }

    /// Whether a flush has something to do, or to tell.
    pub fn is_to_flush(&self) -> bool {
        self.is_dirty() || guard(&self.state).error.is_some()
    }

    /// The present value block, for the server.
    pub(super) fn value_block(&self, out: &mut [u8; 64]) -> usize {
        let mut s = guard(&self.state);
        let a = s.attr;
        s.told = s.told.max(a.mtime);
        // Data that are not on disk yet count as a block, so that the file does not look empty.
        let dirty = s.windows.values().any(|w| !w.dirty.is_empty());
        let lvb = OstLvb {
            lvb_size: a.size.into(),
            lvb_mtime: a.mtime.into(),
            lvb_atime: a.atime.into(),
            lvb_ctime: a.ctime.into(),
            lvb_blocks: a.blocks.max(u64::from(dirty)).into(),
            ..OstLvb::default()
        };
        let b = lvb.as_bytes();
        match out.get_mut(..b.len()) {
            Some(o) => {
                o.copy_from_slice(b);
                b.len()
            }
            None => 0,
        }
    }

    /// Takes what the server says about the object. `alone`: nobody but the server knows better.
    pub(super) fn adopt(s: &mut State, lvb: &OstLvb, alone: bool) {
        let new = ObjectAttr {
            size: lvb.lvb_size.get(),
            blocks: lvb.lvb_blocks.get(),
            mtime: lvb.lvb_mtime.get(),
            atime: lvb.lvb_atime.get(),
            ctime: lvb.lvb_ctime.get(),
        };
        s.told = s.told.max(new.mtime);
        let busy = s.writing > 0 || s.windows.values().any(|w| !w.dirty.is_empty());
        if alone && !busy {
            s.told = new.mtime;
            s.attr = new;
            return;
        }
        let a = &mut s.attr;
        a.size = a.size.max(new.size);
        a.blocks = a.blocks.max(new.blocks);
        // Times that we set may be older than those that the server has.
        if !busy || new.ctime > a.ctime {
            (a.mtime, a.atime, a.ctime) = (new.mtime, new.atime, new.ctime);
        }
    }

    /// The size and times as known here: right only under a lock of the whole object.
    pub fn known_attr(&self) -> ObjectAttr {
        guard(&self.state).attr
    }

    /// A lock goes: what is dirty under it is written, or dropped with `discard`; then nothing of
    /// what only it protects is kept.
    pub(super) fn give_up(self: &StdArc<Self>, handle: u64, e: &Extent, discard: bool) {
        let end = e.end.saturating_add(1);
        if discard {
            self.discard(e.start, end);
        } else {
            self.flush_range(e.start, end);
        }
        let mut s = guard(&self.state);
        let s = &mut *s;
        let before = s.locks.len();
        s.locks.retain(|(h, _, _)| *h != handle);
        let ours = s.locks.len() != before;
        let locks = &s.locks;
        s.windows.retain(|w, win| {
            let first = w * WINDOW;
            let (from, to) = (e.start.max(first), end.min(first + WINDOW));
            if from >= to {
                return true;
            }
            let last = Extent::new(from, to - 1);
            if locks.iter().any(|(_, _, l)| l.contains(&last)) {
                return true;
            }
            let (a, b) = ((from - first) as u32, (to - first) as u32);
            if win.is_idle() && (a, b) == (0, WINDOW_LEN) {
                return false;
            }
            // What is dirty now is so under another lock.
            let dirty: Vec<_> = win.dirty.iter().collect();
            let mut clean = super::ranges::Ranges::default();
            clean.add(a, b);
            for (x, y) in dirty {
                clean.remove(x, y);
            }
            for (x, y) in clean.iter() {
                win.forget(x, y);
            }
            true
        });
        if end > s.attr.size {
            // Who gets the lock may change the size. What is left is known to be no shorter than
            // what the other locks cover.
            let covered = s
                .locks
                .iter()
                .map(|(_, _, l)| l.end.saturating_add(1))
                .max();
            s.attr.size = s.attr.size.min(covered.unwrap_or(s.attr.size));
        }
        self.changed.notify_all();
        if let (Ok(ost), true) = (self.ost(), ours) {
            (ost.tell)(self.owner.fid);
        }
    }

    /// Drops what is dirty between `start` and `end`.
    pub(super) fn discard(&self, start: u64, end: u64) {
        let mut pages = 0;
        {
            let mut s = guard(&self.state);
            for (w, win) in s.windows.range_mut(start / WINDOW..) {
                let first = w * WINDOW;
                if first >= end {
                    break;
                }
                let from = start.saturating_sub(first).min(WINDOW) as u32;
                let to = (end - first).min(WINDOW) as u32;
                pages += win.forget(from, to);
            }
        }
        if let (Ok(ost), true) = (self.ost(), pages > 0) {
            ost.account(|g| g.drop_dirty(u64::from(pages) * 4096));
            if ost.evicting.load(std::sync::atomic::Ordering::Acquire) {
                pr_err!("data of {} are lost\n", self.owner.fid);
                guard(&self.state).error.get_or_insert(EIO);
            }
        }
    }

    /// Drops a window if it is clean.
    pub(super) fn drop_clean(&self, w: u64) {
        let mut s = guard(&self.state);
        if s.windows.get(&w).is_some_and(Window::is_idle) {
            s.windows.remove(&w);
        }
    }

    /// What is dirty may not wait any longer.
    pub(super) fn urge(&self) {
        let mut s = guard(&self.state);
        s.urgent = true;
        s.aging = false;
    }

    /// The times, for a request that brings them to the server.
    pub(super) fn tell_times(s: &mut State, o: &mut Obdo) {
        s.told = s.told.max(s.attr.mtime);
        o.o_mtime.set(s.attr.mtime);
        o.o_ctime.set(s.attr.ctime);
        o.add_valid(ObdMd::FLMTIME | ObdMd::FLCTIME);
    }

    /// Something was written just now.
    pub(super) fn touch(s: &mut State) {
        let t = now();
        s.attr.mtime = t;
        s.attr.ctime = t;
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // Nobody knows any more what they protect.
        let Some(ost) = self.ost.upgrade() else {
            return;
        };
        let Ok(target) = ost.target() else { return };
        let s = self.state.get_mut().unwrap_or_else(|e| e.into_inner());
        for (handle, _, _) in s.locks.drain(..) {
            target.locks().cancel(handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let p: Vec<_> = split(WINDOW - 10, 2 * WINDOW + 5).collect();
        assert_eq!(
            p,
            [
                (0, WINDOW_LEN - 10, WINDOW_LEN),
                (1, 0, WINDOW_LEN),
                (2, 0, 5)
            ]
        );
        assert_eq!(split(7, 7).count(), 0);
    }
}
