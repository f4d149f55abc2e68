// SPDX-License-Identifier: GPL-2.0

//! Attributes of objects: truncation, times, and getting data onto the disk (spec `ost.md` 5).

use super::object::{Object, State};
use super::window::{WINDOW, WINDOW_LEN};
use crate::attr::now;
use crate::rpc;
use crate::sync::guard;
use kapi::prelude::*;
use ldlm::core::{Extent, Mode};
use ptlrpc::call::CallOptions;
use std::sync::{Arc as StdArc, MutexGuard};
use wire::msg::OST_VERSION;
use wire::obdo::{ObdMd, Obdo, OstBody};
use wire::opcode::{portal, OST_FALLOCATE, OST_PUNCH, OST_SEEK, OST_SETATTR, OST_SYNC};
use zerocopy::IntoBytes;

impl Object {
    fn ask(&self, opc: u32, o: &Obdo, io: bool, capa: bool) -> Result<(Obdo, u64)> {
        let bufs: &[&[u8]] = match capa {
            true => &[o.as_bytes(), &[]],
            false => &[o.as_bytes()],
        };
        let m = rpc::request(opc, OST_VERSION, bufs)?;
        let mut options = CallOptions::new(&[size_of::<OstBody>() as u32])?;
        if io {
            options.portal = Some(portal::OST_IO);
        }
        let ost = self.ost()?;
        let r = ost.target()?.call(&m, options)?;
        Ok((*r.msg.get::<OstBody>(1)?, r.msg.body().pb_transno.get()))
    }

    /// Cuts the object off at `size`, or lengthens it.
    ///
    /// # Errors
    /// `EFBIG`, those of the lock and of the OST.
    pub fn punch(self: &StdArc<Self>, size: u64) -> Result {
        let _lock = self.lock(Mode::Pw, size, u64::MAX)?;
        self.discard(size, u64::MAX);
        {
            // What is being written of it must not arrive later.
            let mut s = guard(&self.state);
            let busy = |s: &State| {
                let mut w = s.windows.range(size / WINDOW..).map(|(_, w)| w);
                w.any(|w| w.writing || !w.reading.is_empty())
            };
            while busy(&s) {
                s = self.wait(s);
            }
            s.windows.retain(|w, win| {
                let first = w * WINDOW;
                if first >= size {
                    return false;
                }
                if first + WINDOW > size {
                    win.forget((size - first) as u32, WINDOW_LEN);
                }
                true
            });
        }
        let mut o = {
            let mut s = guard(&self.state);
            Self::touch(&mut s);
            let mut o = self.obdo(&s);
            Self::tell_times(&mut s, &mut o);
            o
        };
        o.o_size.set(size);
        o.o_blocks.set(u64::MAX);
        o.add_valid(ObdMd::FLSIZE | ObdMd::FLBLOCKS);
        if let Some(c) = self.write_cookie(size, u64::MAX) {
            o.o_handle.set(c);
            o.add_valid(ObdMd::FLHANDLE);
        }
        let (reply, transno) = self.ask(OST_PUNCH, &o, true, true)?;
        let mut s = guard(&self.state);
        s.attr.size = size;
        if reply.valid().contains(ObdMd::FLBLOCKS) {
            s.attr.blocks = reply.o_blocks.get();
        }
        s.transno = s.transno.max(transno);
        drop(self.forget_read(s, size, u64::MAX));
        self.ost()?.note_change(self);
        Ok(())
    }

    /// Forgets what is cached of a range that the OST has just changed, and what reads bring that began before:
    /// those ahead of anybody's wish may begin at any time. What was written meanwhile is newer.
    fn forget_read<'a>(
        &self,
        mut s: MutexGuard<'a, State>,
        start: u64,
        end: u64,
    ) -> MutexGuard<'a, State> {
        let range = start / WINDOW..end.div_ceil(WINDOW);
        let reads = |s: &State| {
            let mut all = s.windows.range(range.clone());
            all.any(|(_, w)| !w.reading.is_empty())
        };
        while reads(&s) {
            s = self.wait(s);
        }
        for (w, win) in s.windows.range_mut(range) {
            let first = w * WINDOW;
            let a = start.saturating_sub(first).min(WINDOW) as u32;
            let b = (end - first).min(WINDOW) as u32;
            for (a, b) in win.dirty.gaps(a, b) {
                win.forget(a, b);
            }
        }
        s
    }

    /// Notes times that are set; whether the OST has to be told of them by
    /// [`Object::set_times`].
    pub fn note_times(&self, atime: Option<i64>, mtime: Option<i64>, ctime: i64) -> bool {
        // What is on its way has the old times, and must not arrive later.
        let mut s = guard(&self.state);
        while s.writing > 0 {
            s = self.wait(s);
        }
        let dirty = s.windows.values().any(|w| !w.dirty.is_empty());
        // The newest time counts; one that is older there need not be told.
        let older = |set: Option<i64>, have: i64| set.is_none_or(|t| have <= t);
        let whole = |l: &(u64, Mode, Extent)| l.2.contains(&Extent::WHOLE);
        let known = s.locks.iter().any(whole);
        if known && !dirty && older(mtime, s.attr.mtime) && older(atime, s.attr.atime) {
            return false;
        }
        // What is to be written brings the times along; until then the server may not say a newer one.
        let told_later = dirty && older(mtime, s.told) && older(atime, s.attr.atime);
        s.attr.ctime = ctime;
        s.attr.mtime = mtime.unwrap_or(s.attr.mtime);
        s.attr.atime = atime.unwrap_or(s.attr.atime);
        !told_later
    }

    /// Tells the OST of times, seconds.
    ///
    /// # Errors
    /// Those of the OST.
    pub fn set_times(
        self: &StdArc<Self>,
        atime: Option<i64>,
        mtime: Option<i64>,
        ctime: i64,
    ) -> Result {
        let mut o = self.obdo(&guard(&self.state));
        let mut valid = ObdMd::FLID
            | ObdMd::FLGROUP
            | ObdMd::FLFID
            | ObdMd::FLPARENT
            | ObdMd::FLOSTLAYOUT
            | ObdMd::FLCTIME;
        o.o_ctime.set(ctime);
        if let Some(t) = mtime {
            valid.insert(ObdMd::FLMTIME);
            o.o_mtime.set(t);
        }
        if let Some(t) = atime {
            valid.insert(ObdMd::FLATIME);
            o.o_atime.set(t);
        }
        o.set_valid(valid);
        let (_, transno) = self.ask(OST_SETATTR, &o, false, true)?;
        let mut s = guard(&self.state);
        s.transno = s.transno.max(transno);
        drop(s);
        self.ost()?.note_change(self);
        Ok(())
    }

    /// Writes back what is dirty and has it on disk.
    ///
    /// # Errors
    /// Why data are not.
    pub fn sync(self: &StdArc<Self>) -> Result {
        self.flush()?;
        let (transno, mut o) = {
            let s = guard(&self.state);
            (s.transno, self.obdo(&s))
        };
        let committed = self.ost()?.target()?.import().last_committed();
        if transno <= committed {
            return Ok(());
        }
        o.set_valid(
            ObdMd::FLID
                | ObdMd::FLGROUP
                | ObdMd::FLFID
                | ObdMd::FLPARENT
                | ObdMd::FLSIZE
                | ObdMd::FLBLOCKS,
        );
        o.o_blocks.set(i64::MAX as u64);
        self.ask(OST_SYNC, &o, false, true)?;
        Ok(())
    }

    /// Allocates, or with other `mode` bits of fallocate(2) frees or zeroes, a range.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the OST cannot. `ENOSPC`.
    pub fn fallocate(self: &StdArc<Self>, mode: u32, start: u64, end: u64) -> Result {
        let _lock = self.lock(Mode::Pw, start, u64::MAX)?;
        self.flush()?;
        let mut o = self.obdo(&guard(&self.state));
        o.o_size.set(start);
        o.o_blocks.set(end);
        o.o_nlink.set(mode);
        let now = now();
        o.o_mtime.set(now);
        o.o_ctime.set(now);
        let times = ObdMd::FLMTIME | ObdMd::FLCTIME;
        o.add_valid(ObdMd::FLSIZE | ObdMd::FLBLOCKS | times);
        let (reply, transno) = self.ask(OST_FALLOCATE, &o, true, true)?;
        let mut s = guard(&self.state);
        if reply.valid().contains(ObdMd::FLSIZE) {
            s.attr.size = reply.o_size.get();
        }
        if reply.valid().contains(ObdMd::FLBLOCKS) {
            s.attr.blocks = reply.o_blocks.get();
        }
        (s.attr.mtime, s.attr.ctime) = (now, now);
        s.transno = s.transno.max(transno);
        drop(self.forget_read(s, start, end));
        Ok(())
    }

    /// The next byte of data (`hole` false) or hole at or behind `off`; `None`: none.
    ///
    /// # Errors
    /// Those of the OST.
    pub fn seek(self: &StdArc<Self>, off: u64, hole: bool) -> Result<Option<u64>> {
        let _lock = self.lock(Mode::Pr, off, u64::MAX)?;
        self.flush()?;
        let mut o = self.obdo(&guard(&self.state));
        o.o_size.set(off);
        o.o_mode.set(if hole { 4 } else { 3 });
        o.set_valid(ObdMd::FLID | ObdMd::FLGROUP);
        let (reply, _) = self.ask(OST_SEEK, &o, false, false)?;
        let at = reply.o_size.get() as i64;
        match u64::try_from(at) {
            Ok(at) => Ok(Some(at)),
            Err(_) if at == i64::from(ENXIO.to_errno()) => Ok(None),
            Err(_) => Err(Error::from_errno(i32::try_from(at)?)),
        }
    }

    /// The last transaction that changed it, as far as this client knows.
    pub fn transno(&self) -> u64 {
        guard(&self.state).transno
    }
}
