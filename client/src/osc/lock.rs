// SPDX-License-Identifier: GPL-2.0

//! Locks of objects (spec `ldlm.md` 7.1, 14).

use super::object::{Object, ObjectAttr};
use super::Ost;
use crate::cred::Cred;
use crate::sync::guard;
use crate::target::{Begun, Enqueue, Enqueued};
use kapi::prelude::*;
use ldlm::client::{Held, Want};
use ldlm::core::{flags, Extent, Mode, Policy};
use ptlrpc::call::CallOptions;
use std::sync::{Arc as StdArc, MutexGuard as StdGuard, TryLockError};
use wire::lvb::OstLvb;

const PAGE_MASK: u64 = 4095;
/// Bytes of a value block.
const LVB_SIZE: u32 = 56;

/// The modes that serve one who needs `mode`.
fn modes(mode: Mode) -> u32 {
    match mode {
        Mode::Pr => Mode::Pr as u32 | Mode::Pw as u32,
        m => m as u32,
    }
}

/// A lock, or a glimpse, that has been asked for. It has to be brought to its end.
pub struct Asked<'a> {
    /// One asks at a time.
    _asking: StdGuard<'a, ()>,
    ost: StdArc<Ost>,
    want: Want,
    begun: Begun,
}

/// What an object needs to be asked.
pub enum Ask<'a, T> {
    /// Nothing: it was known.
    Known(T),
    /// A request is under way.
    Asked(Asked<'a>),
}

/// What an enqueue looks like.
fn enqueue<'a>(want: Want, cancels: &'a [u64], cred: &'a Cred) -> Result<Enqueue<'a>> {
    Ok(Enqueue {
        want,
        cancels,
        intent: &[],
        lvb: Some(2),
        options: CallOptions::new(&[112, LVB_SIZE])?,
        cred,
    })
}

impl Object {
    /// A lock that is held. One that this object does not know of is just being entered, or
    /// (`orphans`: it cannot be that) was its predecessor's, and nothing is known of what it
    /// protects.
    fn find(&self, mode: Mode, e: Extent, orphans: bool) -> Result<Option<Held>> {
        let ost = self.ost()?;
        let locks = ost.target()?.locks();
        let Some(h) = locks.find(&self.res, modes(mode), &Policy::Extent(e)) else {
            return Ok(None);
        };
        let s = guard(&self.state);
        if s.locks.iter().any(|l| l.0 == h.handle()) {
            return Ok(Some(h));
        }
        drop(s);
        if orphans {
            locks.cancel(h.handle());
        }
        Ok(None)
    }

    /// Whether a lock protects all of it.
    pub fn is_whole_locked(&self) -> bool {
        let s = guard(&self.state);
        s.locks.iter().any(|l| l.2.contains(&Extent::WHOLE))
    }

    /// Whether it is known, under a lock, to have the bytes from `start` to before `end`.
    pub fn is_known_to(&self, start: u64, end: u64) -> bool {
        let s = guard(&self.state);
        let e = Extent::new(start, end.saturating_sub(1));
        s.attr.size >= end && s.locks.iter().any(|l| l.2.contains(&e))
    }

    /// A lock on the bytes from `start` to before `end`, for reading (PR) or writing (PW).
    ///
    /// # Errors
    /// `ENOENT`: there is no such object. Those of the connection.
    pub fn lock(&self, mode: Mode, start: u64, end: u64) -> Result<Held> {
        match self.begin_lock(mode, start, end)? {
            Ask::Known(h) => Ok(h),
            Ask::Asked(a) => self.end_lock(a),
        }
    }

    /// Asks for such a lock, if there is none.
    ///
    /// # Errors
    /// `ENOMEM`, `ESHUTDOWN`.
    pub fn begin_lock(&self, mode: Mode, start: u64, end: u64) -> Result<Ask<'_, Held>> {
        let last = end.saturating_sub(1).max(start) | PAGE_MASK;
        let e = Extent::new(start & !PAGE_MASK, last);
        if let Some(h) = self.find(mode, e, false)? {
            return Ok(Ask::Known(h));
        }
        let asking = guard(&self.asking);
        if let Some(h) = self.find(mode, e, true)? {
            return Ok(Ask::Known(h));
        }
        let ost = self.ost()?;
        // Our own locks in the way need not be called back.
        let locks = ost.target()?.locks();
        let own = locks.early(&self.res, mode, &Policy::Extent(e), 8)?;
        self.ask_lock(asking, ost, mode, e, 0, &own).map(Ask::Asked)
    }

    fn ask_lock<'a>(
        &self,
        asking: StdGuard<'a, ()>,
        ost: StdArc<Ost>,
        mode: Mode,
        e: Extent,
        flags: u32,
        cancels: &[u64],
    ) -> Result<Asked<'a>> {
        let want = Want {
            res: self.res,
            mode,
            policy: Policy::Extent(e),
            flags,
        };
        let begun = ost
            .target()?
            .begin(&enqueue(want, cancels, &Cred::root())?)?;
        Ok(Asked {
            _asking: asking,
            ost,
            want,
            begun,
        })
    }

    fn answer(a: Asked<'_>) -> Result<Enqueued> {
        let cred = Cred::root();
        let again = enqueue(a.want, &[], &cred)?;
        a.ost.target()?.finish(&again, a.begun, None)
    }

    /// Waits for a lock that was asked for.
    ///
    /// # Errors
    /// As [`Object::lock`].
    pub fn end_lock(&self, a: Asked<'_>) -> Result<Held> {
        let held = Self::answer(a)?.lock.ok_or(EPROTO)?;
        self.locked(&held)?;
        Ok(held)
    }

    /// Enters a lock that has just been granted, and what came with it.
    fn locked(&self, held: &Held) -> Result {
        let view = held.view().ok_or(EIO)?;
        let Policy::Extent(e) = view.policy else {
            return Err(EPROTO);
        };
        let mut bytes = [0; LVB_SIZE as usize];
        let n = held.lvb(&mut bytes);
        let lvb = OstLvb::parse(bytes.get(..n).unwrap_or(&[])).map_err(|_| EPROTO)?;
        if let Some(errno) = lvb.errno() {
            return Err(Error::from_errno(errno));
        }
        let mut s = guard(&self.state);
        let alone = s.locks.is_empty();
        Self::adopt(&mut s, &lvb, alone);
        s.locks.push((view.handle, view.mode, e));
        Ok(())
    }

    /// The attributes of the object as they are now, wherever the newest data are.
    ///
    /// # Errors
    /// `ENOENT`: there is no such object. Those of the connection.
    pub fn glimpse(&self) -> Result<ObjectAttr> {
        match self.begin_glimpse()? {
            Ask::Known(a) => Ok(a),
            Ask::Asked(a) => self.end_glimpse(a),
        }
    }

    /// Asks for the attributes, if they are not known.
    ///
    /// # Errors
    /// `ENOMEM`, `ESHUTDOWN`.
    pub fn begin_glimpse(&self) -> Result<Ask<'_, ObjectAttr>> {
        match self.find(Mode::Pr, Extent::WHOLE, false)? {
            Some(_) => Ok(Ask::Known(self.known_attr())),
            None => self.glimpse_under(guard(&self.asking)),
        }
    }

    /// The same for those who have asked for others already, and so may not wait here. `None`:
    /// somebody else is asking.
    ///
    /// # Errors
    /// As [`Object::begin_glimpse`].
    pub fn try_begin_glimpse(&self) -> Result<Option<Ask<'_, ObjectAttr>>> {
        let asking = match self.asking.try_lock() {
            Ok(a) => a,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        self.glimpse_under(asking).map(Some)
    }

    fn glimpse_under<'a>(&self, asking: StdGuard<'a, ()>) -> Result<Ask<'a, ObjectAttr>> {
        if self.find(Mode::Pr, Extent::WHOLE, true)?.is_some() {
            return Ok(Ask::Known(self.known_attr()));
        }
        let ost = self.ost()?;
        self.ask_lock(asking, ost, Mode::Pr, Extent::WHOLE, flags::HAS_INTENT, &[])
            .map(Ask::Asked)
    }

    /// Waits for attributes that were asked for.
    ///
    /// # Errors
    /// As [`Object::glimpse`].
    pub fn end_glimpse(&self, a: Asked<'_>) -> Result<ObjectAttr> {
        let got = Self::answer(a)?;
        if let Some(held) = &got.lock {
            self.locked(held)?;
            return Ok(self.known_attr());
        }
        let error = i32::try_from(got.answer.res1 as i64).unwrap_or(0);
        if error < 0 {
            return Err(Error::from_errno(error));
        }
        let bytes = got.reply.msg.buf(2).unwrap_or(&[]);
        let lvb = OstLvb::parse(bytes).map_err(|_| EPROTO)?;
        if let Some(errno) = lvb.errno() {
            return Err(Error::from_errno(errno));
        }
        let mut s = guard(&self.state);
        let alone = s.locks.is_empty();
        Self::adopt(&mut s, &lvb, alone);
        let mut a = s.attr;
        // Others have told the server what we cannot know.
        a.size = a.size.max(lvb.lvb_size.get());
        Ok(a)
    }

    /// The cookie of a lock of ours for writing that covers the range, for requests to name.
    pub(super) fn write_cookie(&self, start: u64, end: u64) -> Option<u64> {
        let e = Extent::new(start, end.saturating_sub(1));
        let handle = {
            let s = guard(&self.state);
            let found = s
                .locks
                .iter()
                .find(|(_, m, l)| *m == Mode::Pw && l.contains(&e));
            found.map(|(h, _, _)| *h)?
        };
        let ost = self.ost().ok()?;
        let view = ost.target().ok()?.locks().view(handle)?;
        (view.cookie != 0).then_some(view.cookie)
    }
}
