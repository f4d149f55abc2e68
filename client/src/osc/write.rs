// SPDX-License-Identifier: GPL-2.0

//! Writing: into the cache, and from there to the OST (spec `ost.md` 4.1, 4.4).

use super::object::{split, Object, State};
use super::window::{WINDOW, WINDOW_LEN};
use super::Ost;
use crate::rpc;
use crate::sync::guard;
use kapi::checksum::{adler32, crc32c};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use ldlm::client::Held;
use ldlm::core::Mode;
use ptlrpc::bulk::{ClientBulk, Piece};
use ptlrpc::call::{CallOptions, Outcome};
use std::sync::Arc as StdArc;
use wire::msg::OST_VERSION;
use wire::obdo::{CksumType, ObdFl, ObdMd, OstBody};
use wire::opcode::{portal, OST_WRITE};
use wire::ost::{BrwFlags, NiobufRemote, ObdIoobj};
use zerocopy::IntoBytes;

/// Data of at most so many bytes stand in the message.
pub(super) const SHORT_IO: u32 = 16 << 10;
/// `ioo_max_brw` of such a request.
pub(super) const NO_BULK: u32 = 0xffff << 16;
/// Times that a spoiled transfer is repeated.
const SPOILED_MAX: u32 = 10;
/// Bytes of wanted grant and dirty memory that are told to the server.
const UNDIRTY: u32 = 64 << 20;

/// Data that go to the server in one request.
struct Batch {
    /// Ranges of the object, in order; no two within a page.
    runs: Vec<(u64, u32)>,
    /// The same bytes one after another, at most a MiB each.
    pieces: KVec<Piece>,
    /// The windows they are from, with the ranges within.
    parts: Vec<(u64, u32, u32)>,
    /// Pages, for the grant.
    pages: u64,
    /// The space is promised; the commit may come later.
    cached: bool,
}

/// The checksum of data in pieces.
pub(super) fn checksum<'a>(kind: CksumType, chunks: impl Iterator<Item = &'a [u8]>) -> u32 {
    match kind {
        CksumType::Crc32c => !chunks.fold(!0, crc32c),
        _ => chunks.fold(1, adler32),
    }
}

impl Batch {
    fn bytes(&self) -> u32 {
        self.runs.iter().map(|r| r.1).sum()
    }

    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces
            .iter()
            .flat_map(|p| p.pages.chunks(p.off, p.len))
    }
}

/// Whether something of a window may be sent.
fn sendable(w: &super::window::Window, full_only: bool) -> bool {
    let full = || w.dirty.contains(0, WINDOW_LEN);
    !w.writing && !w.dirty.is_empty() && (!full_only || full())
}

/// Takes what goes into one request out of the windows between `start` and `end`.
fn pick(
    s: &mut State,
    start: u64,
    end: u64,
    full_only: bool,
    bulk_max: usize,
) -> Result<Option<Batch>> {
    let behind = end.div_ceil(WINDOW);
    let first = s
        .windows
        .range(start / WINDOW..behind)
        .find(|(_, w)| sendable(w, full_only))
        .map(|(w, _)| *w);
    let Some(first) = first else { return Ok(None) };
    let mut b = Batch {
        runs: Vec::new(),
        pieces: KVec::new(),
        parts: Vec::new(),
        pages: 0,
        cached: true,
    };
    // Windows that follow each other without a gap go as they are.
    let mut w = first;
    while b.pieces.len() < bulk_max && w < behind {
        let Some(win) = s.windows.get_mut(&w).filter(|w| sendable(w, full_only)) else {
            break;
        };
        let Some((from, to)) = win.dirty.single() else {
            break;
        };
        if w > first && from != 0 {
            break;
        }
        let pages: Pages = win.share(from, to)?.into_iter().collect();
        let piece = Piece {
            pages: Arc::new(pages, GFP_KERNEL)?,
            off: from as usize % PAGE_SIZE,
            len: (to - from) as usize,
        };
        b.pieces.push(piece, GFP_KERNEL)?;
        take(win, w, (from, to), &mut b);
        w += 1;
        // Buffers are cut a MiB after the first page.
        if to != WINDOW_LEN || (w == first + 1 && from != 0) {
            break;
        }
    }
    if b.pieces.is_empty() {
        gather(s, first, behind, full_only, &mut b)?;
    }
    Ok(Some(b))
}

/// Takes a range out of what is dirty in a window.
fn take(win: &mut super::window::Window, w: u64, (from, to): (u32, u32), b: &mut Batch) {
    let before = win.dirty.units(PAGE_SIZE as u32);
    win.dirty.remove(from, to);
    b.pages += u64::from(before - win.dirty.units(PAGE_SIZE as u32));
    win.writing = true;
    b.parts.push((w, from, to));
    let at = w * WINDOW + u64::from(from);
    match b.runs.last_mut() {
        Some((off, len)) if *off + u64::from(*len) == at => *len += to - from,
        _ => b.runs.push((at, to - from)),
    }
}

/// Takes scattered ranges together: whole pages but for the start of the first and the end of
/// the last.
fn gather(s: &mut State, first: u64, behind: u64, full_only: bool, b: &mut Batch) -> Result {
    const PAGE: u32 = PAGE_SIZE as u32;
    let mut wanted: Vec<(u64, u32, u32)> = Vec::new();
    let mut pages = 0;
    'all: for (w, win) in s.windows.range(first..behind) {
        if !sendable(win, full_only) {
            continue;
        }
        for (from, to) in win.dirty.iter() {
            let n = to.div_ceil(PAGE) - from / PAGE;
            let joins = wanted.last().is_none_or(|l| l.2 % PAGE == 0) && from % PAGE == 0;
            if !wanted.is_empty() && (!joins || pages + n > WINDOW_LEN / PAGE) {
                break 'all;
            }
            pages += n;
            wanted.push((*w, from, to));
        }
    }
    let mut all = Vec::with_capacity(pages as usize);
    let mut len = 0;
    for &(w, from, end) in &wanted {
        let win = s.windows.get_mut(&w).ok_or(EIO)?;
        all.extend(win.share(from, end)?);
        len += (end - from) as usize;
        take(win, w, (from, end), b);
    }
    let piece = Piece {
        pages: Arc::new(all.into_iter().collect(), GFP_KERNEL)?,
        off: wanted.first().map_or(0, |r| r.1 % PAGE) as usize,
        len,
    };
    b.pieces.push(piece, GFP_KERNEL)?;
    Ok(())
}

impl Object {
    /// Writes `data` at `off`, into the cache if the OST has promised the space, otherwise to the
    /// OST.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`, those of the lock and, of direct writes, of the OST.
    pub fn write(self: &StdArc<Self>, off: u64, data: &[u8]) -> Result {
        let end = off.checked_add(data.len() as u64).ok_or(EFBIG)?;
        let lock = self.lock(Mode::Pw, off, end)?;
        self.write_under(&lock, off, data)
    }

    /// The same under a lock of the caller's, which covers the range.
    ///
    /// # Errors
    /// As [`Object::write`].
    pub fn write_under(self: &StdArc<Self>, _lock: &Held, off: u64, data: &[u8]) -> Result {
        let end = off.checked_add(data.len() as u64).ok_or(EFBIG)?;
        let ost = self.ost()?;
        let mut rest = data;
        for (w, from, to) in split(off, end) {
            let (part, after) = rest.split_at((to - from) as usize);
            rest = after;
            let page = PAGE_SIZE as u32;
            let most = u64::from((to.div_ceil(page) - from / page) * page);
            if !ost.reserve(most) {
                self.write_through(&ost, w * WINDOW + u64::from(from), part)?;
                continue;
            }
            let (used, full) = {
                let mut s = guard(&self.state);
                let win = s.windows.entry(w).or_default();
                let used = u64::from(win.cost(from, to) * page);
                if let Err(e) = win.write(from, part) {
                    drop(s);
                    ost.account(|g| g.give_back(most));
                    return Err(e);
                }
                let full = to == WINDOW_LEN && win.dirty.contains(0, WINDOW_LEN);
                s.attr.size = s.attr.size.max(w * WINDOW + u64::from(to));
                Self::touch(&mut s);
                let aging = std::mem::replace(&mut s.aging, true);
                if !aging {
                    drop(s);
                    ost.queue(self, false);
                }
                (used, full)
            };
            if used < most {
                ost.account(|g| g.give_back(most - used));
            }
            if full && (w + 1) % ost.bulk_max() as u64 == 0 {
                ost.queue(self, true);
            }
        }
        Ok(())
    }

    /// Writes without cache: there is no promise that the space is there.
    fn write_through(self: &StdArc<Self>, ost: &StdArc<Ost>, off: u64, data: &[u8]) -> Result {
        let end = off + data.len() as u64;
        self.flush_range(off, end);
        let at = (off % PAGE_SIZE as u64) as usize;
        let mut pages = Pages::new((at + data.len()).div_ceil(PAGE_SIZE))?;
        pages.copy_in(at, data)?;
        let mut pieces = KVec::new();
        pieces.push(
            Piece {
                pages: Arc::new(pages, GFP_KERNEL)?,
                off: at,
                len: data.len(),
            },
            GFP_KERNEL,
        )?;
        {
            // What is cached of it is old now; what is being read of it is so, too.
            let mut s = guard(&self.state);
            while s.windows.values().any(|w| !w.reading.is_empty()) {
                s = self.wait(s);
            }
            for (w, from, to) in split(off, end) {
                if let Some(win) = s.windows.get_mut(&w) {
                    win.forget(from, to);
                }
            }
            Self::touch(&mut s);
            s.writing += 1;
        }
        let batch = Batch {
            runs: vec![(off, u32::try_from(data.len())?)],
            pieces,
            parts: Vec::new(),
            pages: 0,
            cached: false,
        };
        let (tx, rx) = std::sync::mpsc::sync_channel(1);
        ost.writes.take();
        self.send(ost, batch, Some(tx));
        let done = rx.recv().unwrap_or(Err(EIO));
        if done.is_ok() {
            let mut s = guard(&self.state);
            s.attr.size = s.attr.size.max(end);
        }
        done
    }

    /// Sends what there is to send: full windows, and the others if that is urgent.
    pub(super) fn write_back(self: &StdArc<Self>) {
        let Ok(ost) = self.ost() else { return };
        loop {
            ost.writes.take();
            let batch = {
                let mut s = guard(&self.state);
                let full_only = !s.urgent;
                let picked = pick(&mut s, 0, u64::MAX, full_only, ost.bulk_max());
                match picked {
                    Ok(Some(b)) => {
                        s.writing += 1;
                        b
                    }
                    other => {
                        // What waits for an earlier write is taken up again when that is done.
                        if s.windows.values().all(|w| w.dirty.is_empty()) {
                            s.urgent = false;
                        }
                        drop(s);
                        if let Err(e) = other {
                            pr_err!("write-back: {:?}\n", e);
                        }
                        return ost.writes.give();
                    }
                }
            };
            self.send(&ost, batch, None);
        }
    }

    /// Writes everything between `start` and `end` that is dirty and waits until it is at the
    /// server. Errors are kept for [`Object::flush`].
    pub(super) fn flush_range(self: &StdArc<Self>, start: u64, end: u64) {
        let Ok(ost) = self.ost() else { return };
        let behind = end.div_ceil(WINDOW);
        loop {
            let mut s = guard(&self.state);
            let range = || start / WINDOW..behind.max(start / WINDOW);
            if s.windows.range(range()).any(|(_, w)| sendable(w, false)) {
                drop(s);
                ost.writes.take();
                s = guard(&self.state);
                let picked = pick(&mut s, start, end, false, ost.bulk_max());
                match picked {
                    Ok(Some(b)) => {
                        s.writing += 1;
                        drop(s);
                        self.send(&ost, b, None);
                    }
                    _ => {
                        drop(s);
                        ost.writes.give();
                    }
                }
                continue;
            }
            if !s.windows.range(range()).any(|(_, w)| w.writing) {
                return;
            }
            drop(self.wait(s));
        }
    }

    /// Writes everything that is dirty and waits for it.
    ///
    /// # Errors
    /// Why data written since the last flush are not at the server.
    pub fn flush(self: &StdArc<Self>) -> Result {
        self.flush_range(0, u64::MAX);
        match guard(&self.state).error.take() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// Has everything dirty written soon.
    ///
    /// # Errors
    /// Why data written earlier are not at the server.
    pub fn start_flush(self: &StdArc<Self>) -> Result {
        let (error, dirty) = {
            let mut s = guard(&self.state);
            let dirty = s.windows.values().any(|w| !w.dirty.is_empty());
            s.urgent |= dirty;
            (s.error.take(), dirty)
        };
        if dirty {
            self.ost()?.queue(self, true);
        }
        error.map_or(Ok(()), Err)
    }

    fn build(
        &self,
        ost: &Ost,
        b: &mut Batch,
    ) -> Result<(ptlrpc::message::Msg, Option<ClientBulk>, u32)> {
        let end = b.runs.last().map_or(0, |r| r.0 + u64::from(r.1));
        let cookie = self.write_cookie(b.runs.first().map_or(0, |r| r.0), end);
        let mut o = {
            let mut s = guard(&self.state);
            let mut o = self.obdo(&s);
            Self::tell_times(&mut s, &mut o);
            o
        };
        o.add_valid(ObdMd::FLBLOCKS | ObdMd::FLGRANT);
        if let Some(c) = cookie {
            o.o_handle.set(c);
            o.add_valid(ObdMd::FLHANDLE);
        }
        let (dirty, avail, dropped) = ost.account(|g| g.announce());
        o.o_blocks.set(dirty);
        o.o_grant.set(avail);
        o.o_misc.set(dropped);
        o.o_mode.set(UNDIRTY);
        let short = b.runs.len() == 1 && b.bytes() <= SHORT_IO && ost.has_short_io();
        if short {
            o.set_flags(ObdFl::SHORT_IO);
        }
        let mut sum = 0;
        if let Some(kind) = ost.checksum() {
            sum = checksum(kind, b.chunks());
            o.set_cksum(kind, sum);
        }
        let mut io = ObdIoobj {
            ioo_oid: self.id,
            ..ObdIoobj::default()
        };
        io.ioo_bufcnt.set(u32::try_from(b.runs.len())?);
        if short {
            io.ioo_max_brw.set(NO_BULK);
        } else {
            io.set_max_brw(ost.bulk_max() as u32);
        }
        let flags = match b.cached {
            true => BrwFlags::ASYNC | BrwFlags::FROM_GRANT,
            false => BrwFlags::SYNC | BrwFlags::WRITE,
        };
        let bufs: Vec<_> = b
            .runs
            .iter()
            .map(|(off, len)| NiobufRemote {
                rnb_offset: (*off).into(),
                rnb_len: (*len).into(),
                rnb_flags: flags.bits().into(),
            })
            .collect();
        let inline: Vec<u8> = match short {
            true => b.chunks().flatten().copied().collect(),
            false => Vec::new(),
        };
        let m = rpc::request(
            OST_WRITE,
            OST_VERSION,
            &[o.as_bytes(), io.as_bytes(), bufs.as_bytes(), &[], &inline],
        )?;
        let pieces = core::mem::take(&mut b.pieces);
        let bulk = match short {
            true => None,
            false => Some(ClientBulk::give(portal::OST_BULK, pieces)?),
        };
        Ok((m, bulk, sum))
    }

    /// Sends a batch, for which a ticket has been taken and `writing` counted.
    fn send(
        self: &StdArc<Self>,
        ost: &StdArc<Ost>,
        mut b: Batch,
        tell: Option<std::sync::mpsc::SyncSender<Result>>,
    ) {
        let n = b.runs.len() as u32;
        let built = self.build(ost, &mut b);
        let b = StdArc::new(b);
        let sent = built.and_then(|(m, bulk, sum)| {
            let mut options = CallOptions::new(&[size_of::<OstBody>() as u32, 4 * n])?;
            options.portal = Some(portal::OST_IO);
            let (o, tell, b) = (self.clone(), tell.clone(), b.clone());
            let done: KBox<dyn Once<Outcome>> = KBox::new(
                move |r: Outcome| {
                    let r = r.and_then(|r| o.wrote(&b, r, sum));
                    o.written(&b, r, tell);
                },
                GFP_KERNEL,
            )?;
            let target = ost.target()?;
            target.import().call_async(m, options, bulk, done)
        });
        if let Err(e) = sent {
            self.written(&b, Err(e), tell);
        }
    }

    /// Reads the reply of a write. `Ok(false)`: the data were spoiled on the way.
    fn wrote(self: &StdArc<Self>, b: &Batch, r: ptlrpc::call::Reply, sum: u32) -> Result<bool> {
        let ost = self.ost()?;
        let r = r.check()?;
        let o = r.msg.get::<OstBody>(1)?;
        let valid = o.valid();
        if valid.contains(ObdMd::FLGRANT) {
            ost.account(|g| g.add(o.o_grant.get()));
        }
        let rcs = r.msg.buf(2).ok_or(EPROTO)?;
        for i in 0..b.runs.len() {
            let rc = rcs.get(4 * i..4 * i + 4).and_then(|b| b.first_chunk());
            match i32::from_le_bytes(*rc.ok_or(EPROTO)?) {
                0 => {}
                n if n < 0 => return Err(Error::from_errno(n)),
                _ => return Err(EPROTO),
            }
        }
        if valid.contains(ObdMd::FLCKSUM) && sum != 0 && o.cksum() != sum {
            return Ok(false);
        }
        let mut s = guard(&self.state);
        if valid.contains(ObdMd::FLBLOCKS) {
            s.attr.blocks = o.o_blocks.get();
        }
        let transno = r.msg.body().pb_transno.get();
        s.transno = s.transno.max(transno);
        drop(s);
        ost.note_change(self);
        Ok(true)
    }

    /// A write is over.
    fn written(
        self: &StdArc<Self>,
        b: &Batch,
        r: Result<bool>,
        tell: Option<std::sync::mpsc::SyncSender<Result>>,
    ) {
        let mut clean = Vec::new();
        let mut again = false;
        let mut paid = b.pages * PAGE_SIZE as u64;
        {
            let mut s = guard(&self.state);
            s.writing -= 1;
            let spoiled = match r {
                Ok(false) => s.spoiled < SPOILED_MAX,
                _ => false,
            };
            s.spoiled = if spoiled { s.spoiled + 1 } else { 0 };
            for &(w, from, to) in &b.parts {
                let Some(win) = s.windows.get_mut(&w) else {
                    continue;
                };
                win.writing = false;
                if spoiled {
                    // It is dirty as before, and paid for.
                    let page = PAGE_SIZE as u32;
                    let cost = u64::from(win.cost(from, to) * page);
                    win.dirty.add(from, to);
                    paid -= cost.min(paid);
                } else if r.is_err() {
                    let newer: Vec<_> = win.dirty.iter().collect();
                    let mut lost = super::ranges::Ranges::default();
                    lost.add(from, to);
                    for (a, b) in newer {
                        lost.remove(a, b);
                    }
                    for (a, b) in lost.iter() {
                        win.forget(a, b);
                    }
                }
                if win.is_idle() {
                    clean.push((w, win.memory()));
                }
            }
            if spoiled {
                s.urgent = true;
            }
            let failed = match r {
                Err(e) => Some(e),
                Ok(false) if !spoiled => Some(EIO),
                _ => None,
            };
            if let (Some(e), None) = (failed, &tell) {
                s.error.get_or_insert(e);
            }
            again |= s.urgent && s.windows.values().any(|w| !w.dirty.is_empty());
        }
        self.changed.notify_all();
        if let Ok(ost) = self.ost() {
            ost.writes.give();
            if b.cached {
                ost.account(|g| g.written(paid));
            }
            for (w, n) in clean {
                ost.clean.add(self, w, n);
            }
            if again {
                ost.queue(self, true);
            }
        }
        if let Some(t) = tell {
            let told = r.and_then(|good| if good { Ok(()) } else { Err(EIO) });
            // Whoever waited is still there.
            let _ = t.send(told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(s: &mut State, off: u64, len: u64) {
        for (w, from, to) in split(off, off + len) {
            let bytes = vec![w as u8; (to - from) as usize];
            s.windows.entry(w).or_default().write(from, &bytes).unwrap();
        }
    }

    /// Runs, lengths of pieces, pages.
    type Picked = (Vec<(u64, u32)>, Vec<usize>, u64);

    fn next(s: &mut State, full_only: bool) -> Option<Picked> {
        let b = pick(s, 0, u64::MAX, full_only, 4).unwrap()?;
        let lens = b.pieces.iter().map(|p| p.len).collect();
        Some((b.runs.clone(), lens, b.pages))
    }

    #[test]
    fn long_runs() {
        let mut s = State::default();
        write(&mut s, 0, 5 * WINDOW + 100);
        assert_eq!(
            next(&mut s, true),
            Some((vec![(0, 4 * WINDOW_LEN)], vec![1 << 20; 4], 1024))
        );
        assert_eq!(
            next(&mut s, false),
            Some((
                vec![(4 * WINDOW, WINDOW_LEN + 100)],
                vec![1 << 20, 100],
                257
            ))
        );
        assert_eq!(next(&mut s, false), None);
        // What is being written waits.
        write(&mut s, 0, 10);
        assert_eq!(next(&mut s, false), None);
        s.windows.get_mut(&0).unwrap().writing = false;
        assert_eq!(next(&mut s, true), None);
        assert_eq!(next(&mut s, false), Some((vec![(0, 10)], vec![10], 1)));
    }

    #[test]
    fn an_unaligned_start_ends_with_its_window() {
        let mut s = State::default();
        write(&mut s, 100, WINDOW);
        assert_eq!(
            next(&mut s, false),
            Some((vec![(100, WINDOW_LEN - 100)], vec![(1 << 20) - 100], 256))
        );
        assert_eq!(
            next(&mut s, false),
            Some((vec![(WINDOW, 100)], vec![100], 1))
        );
    }

    #[test]
    fn scattered() {
        let mut s = State::default();
        for page in [1_u64, 5, 300] {
            write(&mut s, page * 4096, 4096);
        }
        write(&mut s, 310 * 4096 + 5, 10);
        let b = pick(&mut s, 0, u64::MAX, false, 4).unwrap().unwrap();
        let want = [(4096, 4096), (5 * 4096, 4096), (300 * 4096, 4096)];
        assert_eq!(b.runs, want);
        assert_eq!(b.pieces.len(), 1);
        let bytes: Vec<u8> = b.chunks().flatten().copied().collect();
        assert_eq!(bytes.len(), 3 * 4096);
        assert_eq!((bytes[0], bytes[8192]), (0, 1));
        assert_eq!(b.pages, 3);
        // The rest of that window waits for this one.
        assert_eq!(next(&mut s, false), None);
    }

    #[test]
    fn checksums() {
        let nine = [&b"1234"[..], b"56789"];
        assert_eq!(checksum(CksumType::Crc32c, nine.into_iter()), 0xe306_9283);
        assert_eq!(checksum(CksumType::Adler, nine.into_iter()), 0x091e_01de);
    }
}
