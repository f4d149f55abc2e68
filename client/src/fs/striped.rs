// SPDX-License-Identifier: GPL-2.0

//! A file's objects together: sizes, data, truncation.

use crate::attr::Attr;
use crate::layout::{Layout, Piece};
use crate::osc::{Ask, Asked, Object, ObjectAttr, Ost};
use kapi::prelude::*;
use ldlm::client::Held;
use ldlm::core::Mode;
use std::collections::BTreeMap;
use std::sync::Arc as StdArc;
use wire::fid::Fid;

/// Objects that are asked at the same time at most.
const PARALLEL: usize = 8;

/// Size, blocks and times of a file as its objects have them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
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

impl Extent {
    /// Completes what the MDT says.
    pub fn merge(&self, a: &mut Attr) {
        a.size = self.size;
        a.blocks = self.blocks;
        a.mtime = a.mtime.max(self.mtime);
        a.atime = a.atime.max(self.atime);
        a.ctime = a.ctime.max(self.ctime);
        a.size_valid = true;
    }
}

/// A question for size and times that is under way. It has to be brought to its end. `None`: they
/// were known.
pub struct Glimpse<'a>(Option<Vec<Result<Option<Ask<'a, ObjectAttr>>>>>);

/// The objects of a file.
pub struct Striped {
    layout: Layout,
    objects: Vec<StdArc<Object>>,
}

/// Runs `f` for each, several at a time; the first error.
fn each<T: Sync, R: Send>(all: &[T], f: impl Fn(usize, &T) -> Result<R> + Sync) -> Result<Vec<R>> {
    if all.len() < 2 {
        return all.iter().map(|one| f(0, one)).collect();
    }
    let mut out = Vec::with_capacity(all.len());
    let numbered: Vec<(usize, &T)> = all.iter().enumerate().collect();
    for chunk in numbered.chunks(PARALLEL) {
        let got: Vec<Result<R>> = std::thread::scope(|s| {
            let running: Vec<_> = chunk
                .iter()
                .map(|&(i, t)| {
                    let f = &f;
                    s.spawn(move || f(i, t))
                })
                .collect();
            running
                .into_iter()
                .map(|h| h.join().unwrap_or(Err(EIO)))
                .collect()
        });
        for r in got {
            out.push(r?);
        }
    }
    Ok(out)
}

impl Striped {
    /// The objects of layout `ea` of file `fid`; `None`: there are none. `before` is kept if it
    /// is the same.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: a form that this client does not know. `EPROTO`. `EIO`: an OST that is not
    /// part of the configuration.
    pub fn new(
        osts: &BTreeMap<u32, StdArc<Ost>>,
        fid: Fid,
        ea: &[u8],
        owner: (u32, u32),
        before: Option<StdArc<Striped>>,
    ) -> Result<Option<StdArc<Striped>>> {
        let Some(layout) = Layout::parse(ea)? else {
            return Ok(None);
        };
        if let Some(b) = before.filter(|b| b.layout == layout) {
            b.set_owner(owner.0, owner.1);
            return Ok(Some(b));
        }
        let mut objects = Vec::with_capacity(layout.stripes.len());
        for (i, s) in layout.stripes.iter().enumerate() {
            let ost = osts.get(&s.ost).ok_or(EIO)?;
            let of = Object::owner_of(fid, i, &layout, owner.0, owner.1);
            objects.push(Object::of(ost, s, of));
        }
        Ok(Some(StdArc::new(Striped { layout, objects })))
    }

    /// The layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whose the data are, for quota.
    pub fn set_owner(&self, uid: u32, gid: u32) {
        for o in &self.objects {
            o.set_owner(uid, gid);
        }
    }

    /// Whether something is cached that is not on the OSTs.
    pub fn is_dirty(&self) -> bool {
        self.objects.iter().any(|o| o.is_dirty())
    }

    fn extent(&self, all: impl Iterator<Item = ObjectAttr>) -> Extent {
        let mut e = Extent::default();
        for (i, a) in all.enumerate() {
            e.size = e.size.max(self.layout.file_size(i, a.size));
            e.blocks = e.blocks.saturating_add(a.blocks);
            e.mtime = e.mtime.max(a.mtime);
            e.atime = e.atime.max(a.atime);
            e.ctime = e.ctime.max(a.ctime);
        }
        e
    }

    /// What is known here, whoever else may know better.
    pub fn known(&self) -> Extent {
        self.extent(self.objects.iter().map(|o| o.known_attr()))
    }

    /// Size and times as they are now, wherever the newest data are.
    ///
    /// # Errors
    /// Those of the OSTs.
    pub fn glimpse(&self) -> Result<Extent> {
        if self.is_locked() {
            return Ok(self.known());
        }
        let all = Self::ask_all(
            &self.objects,
            |o| o.begin_glimpse(),
            |o, a| o.end_glimpse(a),
        )?;
        Ok(self.extent(all.into_iter()))
    }

    /// Asks for size and times, without waiting for others who ask.
    pub fn begin_glimpse(&self) -> Glimpse<'_> {
        if self.is_locked() {
            return Glimpse(None);
        }
        let asked = self.objects.iter().map(|o| o.try_begin_glimpse());
        Glimpse(Some(asked.collect()))
    }

    /// Waits for what was asked for.
    ///
    /// # Errors
    /// As [`Striped::glimpse`].
    pub fn end_glimpse(&self, g: Glimpse<'_>) -> Result<Extent> {
        let Some(asked) = g.0 else {
            return Ok(self.known());
        };
        let answers: Vec<Result<ObjectAttr>> = self
            .objects
            .iter()
            .zip(asked)
            .map(|(o, a)| match a? {
                Some(Ask::Known(a)) => Ok(a),
                Some(Ask::Asked(a)) => o.end_glimpse(a),
                None => o.glimpse(),
            })
            .collect();
        let all: Result<Vec<_>> = answers.into_iter().collect();
        Ok(self.extent(all?.into_iter()))
    }

    /// Takes locks of all that there is and will be: for writing of the first object, where a new
    /// file is written first, for reading of the others, so that readers elsewhere do not want them
    /// back.
    ///
    /// # Errors
    /// Those of the OSTs.
    pub fn own(&self) -> Result {
        let Some((first, others)) = self.objects.split_first() else {
            return Ok(());
        };
        let write = first.begin_lock(Mode::Pw, 0, u64::MAX);
        let read = Self::ask_all(others, |o| o.begin_glimpse(), |o, a| o.end_glimpse(a));
        if let Ask::Asked(a) = write? {
            first.end_lock(a)?;
        }
        read.map(|_| ())
    }

    /// Asks objects at once, and waits for their answers; the first error.
    fn ask_all<T>(
        objects: &[StdArc<Object>],
        begin: impl for<'a> Fn(&'a StdArc<Object>) -> Result<Ask<'a, T>>,
        end: impl for<'a> Fn(&'a StdArc<Object>, Asked<'a>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut out = Vec::with_capacity(objects.len());
        for some in objects.chunks(PARALLEL) {
            let asked: Vec<_> = some.iter().map(|o| (o, begin(o))).collect();
            // What was asked for has to be waited for, errors or not.
            let answers: Vec<Result<T>> = asked
                .into_iter()
                .map(|(o, a)| match a? {
                    Ask::Known(t) => Ok(t),
                    Ask::Asked(a) => end(o, a),
                })
                .collect();
            for a in answers {
                out.push(a?);
            }
        }
        Ok(out)
    }

    /// Whether locks protect the size.
    pub fn is_locked(&self) -> bool {
        self.objects.iter().all(|o| o.is_whole_locked())
    }

    fn object(&self, p: &Piece) -> Result<&StdArc<Object>> {
        self.objects.get(p.stripe).ok_or(EIO)
    }

    /// Reads what there is of `len` bytes at `off`.
    ///
    /// # Errors
    /// Those of the OSTs.
    pub fn read(&self, off: u64, len: usize) -> Result<Vec<u8>> {
        let mut len = len as u64;
        let behind = |len: u64| {
            self.layout.pieces(off, len).any(|p| {
                self.object(&p)
                    .is_ok_and(|o| !o.is_known_to(p.object_off, p.object_off + p.len))
            })
        };
        if behind(len) {
            // Something of it may be behind the end.
            let size = self.glimpse()?.size;
            len = len.min(size.saturating_sub(off));
        }
        let mut out = vec![0; usize::try_from(len)?];
        let pieces: Vec<Piece> = self.layout.pieces(off, len).collect();
        if pieces.len() > 1 {
            for p in &pieces {
                self.object(p)?
                    .read_ahead(p.object_off, p.object_off + p.len);
            }
        }
        let mut rest = &mut out[..];
        for p in &pieces {
            let (part, after) = rest.split_at_mut(usize::try_from(p.len)?);
            rest = after;
            self.object(p)?.read(p.object_off, part)?;
        }
        Ok(out)
    }

    /// Begins to read the bytes from `start` to before `end`, which will be wanted soon.
    pub fn read_ahead(&self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        for (i, o) in self.objects.iter().enumerate() {
            if let Some((a, b)) = self.layout.object_range(i, start, end - 1) {
                o.read_ahead(a, b.saturating_add(1));
            }
        }
    }

    /// Writes `data` at `off`.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`, those of the OSTs.
    pub fn write(&self, off: u64, data: &[u8]) -> Result {
        let mut rest = data;
        for p in self.layout.pieces(off, data.len() as u64) {
            let (part, after) = rest.split_at(usize::try_from(p.len)?);
            rest = after;
            self.object(&p)?.write(p.object_off, part)?;
        }
        Ok(())
    }

    /// Locks of all there is and will be, for writing.
    fn lock_all(&self) -> Result<Vec<Held>> {
        // In the order of the stripes: who else wants all of them waits at the first one.
        let all = self.objects.iter();
        all.map(|o| o.lock(Mode::Pw, 0, u64::MAX)).collect()
    }

    /// Writes `data` where the file ends; where that was.
    ///
    /// # Errors
    /// As [`Striped::write`].
    pub fn append(&self, data: &[u8]) -> Result<u64> {
        let locks = self.lock_all()?;
        let off = self.known().size;
        let mut rest = data;
        for p in self.layout.pieces(off, data.len() as u64) {
            let (part, after) = rest.split_at(usize::try_from(p.len)?);
            rest = after;
            let lock = locks.get(p.stripe).ok_or(EIO)?;
            self.object(&p)?.write_under(lock, p.object_off, part)?;
        }
        Ok(off)
    }

    /// Cuts the file off at `size`, or lengthens it.
    ///
    /// # Errors
    /// Those of the OSTs.
    pub fn punch(&self, size: u64) -> Result {
        each(&self.objects, |i, o| {
            o.punch(self.layout.object_size(i, size))
        })?;
        Ok(())
    }

    /// Sets times, seconds.
    ///
    /// # Errors
    /// Those of the OSTs.
    pub fn set_times(&self, atime: Option<i64>, mtime: Option<i64>, ctime: i64) -> Result {
        // What others have written and not sent has newer times, and must not arrive later.
        let past = [atime, mtime].iter().flatten().any(|t| *t < ctime);
        let _locks = past.then(|| self.lock_all()).transpose()?;
        let to_tell = |o: &&StdArc<Object>| o.note_times(atime, mtime, ctime);
        let rest: Vec<_> = self.objects.iter().filter(to_tell).collect();
        each(&rest, |_, o| o.set_times(atime, mtime, ctime))?;
        Ok(())
    }

    /// Writes back everything and waits for it.
    ///
    /// # Errors
    /// Why data written earlier are not at the OSTs.
    pub fn flush(&self) -> Result {
        let dirty: Vec<_> = self.objects.iter().filter(|o| o.is_to_flush()).collect();
        each(&dirty, |_, o| o.flush())?;
        Ok(())
    }

    /// Has everything written back soon.
    ///
    /// # Errors
    /// Why data written earlier are not at the OSTs.
    pub fn start_flush(&self) -> Result {
        let mut done = Ok(());
        for o in &self.objects {
            done = done.and(o.start_flush());
        }
        done
    }

    /// Has everything on disk.
    ///
    /// # Errors
    /// Why it is not.
    pub fn sync(&self) -> Result {
        each(&self.objects, |_, o| o.sync())?;
        Ok(())
    }

    /// fallocate(2).
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the OSTs cannot. `ENOSPC`.
    pub fn fallocate(&self, mode: u32, start: u64, end: u64) -> Result {
        each(&self.objects, |i, o| {
            match self.layout.object_range(i, start, end.saturating_sub(1)) {
                Some((a, b)) => o.fallocate(mode, a, b.saturating_add(1)),
                None => Ok(()),
            }
        })?;
        Ok(())
    }

    /// The next data or hole at or behind `off` in a file of `size` bytes. `None`: no data.
    ///
    /// # Errors
    /// Those of the OSTs.
    pub fn seek(&self, off: u64, hole: bool, size: u64) -> Result<Option<u64>> {
        if hole {
            for p in self.layout.pieces(off, size.saturating_sub(off)) {
                let end = p.object_off + p.len;
                let at = self.object(&p)?.seek(p.object_off, true)?;
                match at {
                    Some(at) if at >= end => {}
                    Some(at) => return Ok(Some(p.file_off + at.saturating_sub(p.object_off))),
                    None => return Ok(Some(p.file_off)),
                }
            }
            return Ok(Some(size));
        }
        let found = each(&self.objects, |i, o| {
            let Some((from, _)) = self.layout.object_range(i, off, u64::MAX) else {
                return Ok(None);
            };
            let at = o.seek(from, false)?;
            // The place in the file of a byte of an object: where a file would end with it.
            Ok(at.map(|at| self.layout.file_size(i, at.saturating_add(1)) - 1))
        })?;
        Ok(found.into_iter().flatten().filter(|at| *at < size).min())
    }
}
