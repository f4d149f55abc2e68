// SPDX-License-Identifier: GPL-2.0

//! What is open, and what becomes of it when its last name goes (`mdt.md` 7.2, 9.4).

use kapi::prelude::*;
use osd::Fid;

/// How a file is open.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OpenMode {
    /// For writing.
    pub write: bool,
    /// For execution: nobody writes meanwhile.
    pub exec: bool,
}

#[derive(Default)]
struct State {
    opens: u32,
    writers: u32,
    execs: u32,
    /// Its last name is about to go.
    unlinking: bool,
    /// It has no name, or gets none.
    orphan: bool,
    /// It never had one, and counts as if it had.
    unnamed: bool,
    /// It is about to be destroyed.
    dying: bool,
}

impl State {
    /// Whether it is to be destroyed from now on, as nobody has it open.
    fn dies(&mut self) -> bool {
        let last = self.opens == 0 && self.orphan && !self.unlinking && !self.dying;
        self.dying |= last;
        last
    }

    fn is_idle(&self) -> bool {
        self.opens == 0 && !self.unlinking && !self.orphan && !self.dying
    }
}

/// What to do with an object whose last name goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It goes with the name.
    Destroy,
    /// It is open: it goes later.
    Keep,
}

/// The objects that are open, or are going.
#[pin_data]
pub(crate) struct Opens {
    #[pin]
    all: Mutex<RBTree<Fid, State>>,
}

impl Opens {
    pub(crate) fn new() -> impl PinInit<Opens> {
        pin_init!(Opens {
            all <- new_mutex!(RBTree::new()),
        })
    }

    fn with<R>(&self, fid: &Fid, f: impl FnOnce(&mut State) -> R) -> Result<R> {
        let mut all = self.all.lock();
        if all.get(fid).is_none() {
            all.try_create_and_insert(*fid, State::default(), GFP_KERNEL)?;
        }
        let state = all.get_mut(fid).ok_or(ENOMEM)?;
        let r = f(state);
        if state.is_idle() {
            all.remove(fid);
        }
        Ok(r)
    }

    /// Like [`Opens::with`], for one that is known; nothing for others.
    fn known<R>(&self, fid: &Fid, f: impl FnOnce(&mut State) -> R) -> Option<R> {
        let mut all = self.all.lock();
        let state = all.get_mut(fid)?;
        let r = f(state);
        if state.is_idle() {
            all.remove(fid);
        }
        Some(r)
    }

    pub(crate) fn is_dying(&self, fid: &Fid) -> bool {
        self.all.lock().get(fid).is_some_and(|s| s.dying)
    }

    pub(crate) fn is_orphan(&self, fid: &Fid) -> bool {
        self.all.lock().get(fid).is_some_and(|s| s.orphan)
    }

    /// Whether no link is left of an object.
    pub(crate) fn is_unlinked(&self, fid: &Fid) -> bool {
        self.all
            .lock()
            .get(fid)
            .is_some_and(|s| s.orphan && !s.unnamed)
    }

    /// An object is made that gets no name: it ends with its last close, or with
    /// [`Opens::abandon`].
    ///
    /// # Errors
    /// `EEXIST`: there is something of this FID. `ENOMEM`.
    pub(crate) fn make_unnamed(&self, fid: &Fid) -> Result {
        self.with(fid, |s| {
            if !s.is_idle() {
                return Err(EEXIST);
            }
            (s.orphan, s.unnamed) = (true, true);
            Ok(())
        })?
    }

    /// Nobody will open what has no name. Whether it is to be destroyed now, with
    /// [`Opens::destroyed`] after that.
    pub(crate) fn abandon(&self, fid: &Fid) -> bool {
        self.known(fid, State::dies).unwrap_or(false)
    }

    /// Counts an open.
    ///
    /// # Errors
    /// `ENOENT`: it is going. `ETXTBSY`: writing and execution exclude each other.
    pub(crate) fn open(&self, fid: &Fid, mode: OpenMode) -> Result {
        self.with(fid, |s| {
            if s.dying {
                return Err(ENOENT);
            }
            if (mode.write && s.execs > 0) || (mode.exec && s.writers > 0) {
                return Err(ETXTBSY);
            }
            s.opens += 1;
            s.writers += u32::from(mode.write);
            s.execs += u32::from(mode.exec);
            Ok(())
        })?
    }

    /// Counts an open less. Whether the object is to be destroyed now, with
    /// [`Opens::destroyed`] after that.
    pub(crate) fn close(&self, fid: &Fid, mode: OpenMode) -> bool {
        self.known(fid, |s| {
            s.opens = s.opens.saturating_sub(1);
            s.writers = s.writers.saturating_sub(u32::from(mode.write));
            s.execs = s.execs.saturating_sub(u32::from(mode.exec));
            s.dies()
        })
        .unwrap_or(false)
    }

    /// Whether somebody executes it.
    pub(crate) fn is_executed(&self, fid: &Fid) -> bool {
        self.all.lock().get(fid).is_some_and(|s| s.execs > 0)
    }

    /// The last name of the object goes; [`Opens::unlinked`] ends that.
    ///
    /// # Errors
    /// `EBUSY`: it is going already. `ENOMEM`.
    pub(crate) fn unlink(&self, fid: &Fid) -> Result<Fate> {
        self.with(fid, |s| {
            if s.dying || s.unlinking || s.orphan {
                return Err(EBUSY);
            }
            s.unlinking = true;
            if s.opens > 0 {
                s.orphan = true;
                Ok(Fate::Keep)
            } else {
                s.dying = true;
                Ok(Fate::Destroy)
            }
        })?
    }

    /// The last name is gone, or not after all (`!ok`). Whether the object is an orphan that was
    /// closed meanwhile, and is to be destroyed now.
    pub(crate) fn unlinked(&self, fid: &Fid, ok: bool) -> bool {
        self.known(fid, |s| {
            s.unlinking = false;
            if !ok {
                s.orphan = false;
                s.dying = false;
                return false;
            }
            let last = s.orphan && s.opens == 0;
            s.dying = last;
            last
        })
        .unwrap_or(false)
    }

    /// An orphan is gone.
    pub(crate) fn destroyed(&self, fid: &Fid) {
        self.known(fid, |s| {
            (s.orphan, s.unnamed, s.dying) = (false, false, false);
        });
    }
}
