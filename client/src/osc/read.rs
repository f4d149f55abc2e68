// SPDX-License-Identifier: GPL-2.0

//! Reading: from the cache, into which the OST's data come (spec `ost.md` 4.3).

use super::object::{split, Object};
use super::window::{WINDOW, WINDOW_LEN};
use super::write::{checksum, NO_BULK, SHORT_IO};
use super::Ost;
use crate::rpc;
use crate::sync::guard;
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use ldlm::client::Held;
use ldlm::core::Mode;
use lnet::Sink;
use ptlrpc::bulk::ClientBulk;
use ptlrpc::call::{Call, CallOptions, Outcome, Reply};
use ptlrpc::message::Msg;
use std::collections::VecDeque;
use std::sync::Arc as StdArc;
use wire::msg::OST_VERSION;
use wire::obdo::{CksumType, ObdFl, ObdMd, OstBody};
use wire::opcode::{portal, OST_READ};
use wire::ost::{BrwFlags, NiobufRemote, ObdIoobj};
use zerocopy::IntoBytes;

/// Times that a spoiled transfer is repeated.
const SPOILED_MAX: u32 = 5;

/// A range that is being read: whole pages within one window, or whole windows but for the end of
/// the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    start: u64,
    end: u64,
}

/// Joins what is missing in windows into requests.
fn join(missing: &[(u64, u32, u32)], max: usize) -> Vec<Range> {
    let mut out: Vec<Range> = Vec::new();
    for &(w, a, b) in missing {
        let (start, end) = (w * WINDOW + u64::from(a), w * WINDOW + u64::from(b));
        match out.last_mut() {
            Some(r)
                if r.end == start
                    && r.start % WINDOW == 0
                    && start % WINDOW == 0
                    && (end - r.start).div_ceil(WINDOW) <= max as u64 =>
            {
                r.end = end;
            }
            _ => out.push(Range { start, end }),
        }
    }
    out
}

impl Object {
    /// Reads into `out` from `off`; the caller knows that the object is so long, or wants zeros.
    ///
    /// # Errors
    /// Those of the lock and of the OST.
    pub fn read(self: &StdArc<Self>, off: u64, out: &mut [u8]) -> Result {
        let end = off.checked_add(out.len() as u64).ok_or(EINVAL)?;
        let lock = self.lock(Mode::Pr, off, end)?;
        let mut failed = 0;
        loop {
            let (fetch, wait) = self.plan(off, end)?;
            if fetch.is_empty() && !wait {
                let mut rest = &mut out[..];
                let s = guard(&self.state);
                let mut whole = true;
                for (w, from, to) in split(off, end) {
                    let (part, after) = rest.split_at_mut((to - from) as usize);
                    rest = after;
                    let win = s.windows.get(&w);
                    whole &= win.is_some_and(|w| w.read(from, part).is_ok());
                }
                if whole {
                    return Ok(());
                }
                // Somebody else needed the memory. Again.
                continue;
            }
            for done in self.fetch(fetch, &lock)? {
                match done {
                    Err(e) if e == EBADMSG && failed < SPOILED_MAX => failed += 1,
                    r => r?,
                }
            }
            if wait {
                let s = guard(&self.state);
                let busy = split(off, end).any(|(w, from, to)| {
                    s.windows
                        .get(&w)
                        .is_some_and(|w| !w.has(from, to) && !w.reading.is_empty())
                });
                if busy {
                    drop(self.wait(s));
                }
            }
        }
    }

    /// What is to be fetched for a range, entered as being read; and whether somebody else is
    /// reading a part of it.
    fn plan(&self, off: u64, end: u64) -> Result<(Vec<Range>, bool)> {
        let max = self.ost()?.bulk_max();
        let mut s = guard(&self.state);
        let mut missing = Vec::new();
        let mut wait = false;
        for (w, from, to) in split(off, end) {
            let win = s.windows.entry(w).or_default();
            if win.has(from, to) {
                continue;
            }
            let gaps = win.missing(from, to);
            wait |= !win.reading.is_empty();
            for (a, b) in gaps {
                win.reading.add(a, b);
                missing.push((w, a, b));
            }
        }
        Ok((join(&missing, max), wait))
    }

    /// Begins to read what is not here of a range that will be wanted soon, if there is a lock for
    /// it already.
    pub fn read_ahead(self: &StdArc<Self>, start: u64, end: u64) {
        let Ok(ost) = self.ost() else { return };
        let size = guard(&self.state).attr.size;
        let end = end.min(size.next_multiple_of(PAGE_SIZE as u64));
        if start >= end {
            return;
        }
        let e = ldlm::core::Extent::new(start, end - 1);
        let Ok(target) = ost.target() else { return };
        let modes = Mode::Pr as u32 | Mode::Pw as u32;
        let policy = ldlm::core::Policy::Extent(e);
        let Some(lock) = target.locks().find(&self.res, modes, &policy) else {
            return;
        };
        let lock = StdArc::new(lock);
        let Ok((fetch, _)) = self.plan(start, end) else {
            return;
        };
        for r in fetch {
            if let Err(e) = self.read_later(&ost, r, lock.clone()) {
                pr_debug!("read-ahead: {:?}\n", e);
                self.end_read(r);
            }
        }
    }

    /// Reads ranges that were announced, several at a time; what became of each.
    fn fetch(self: &StdArc<Self>, all: Vec<Range>, lock: &Held) -> Result<Vec<Result>> {
        let ost = self.ost()?;
        let mut sent: VecDeque<(Range, Result<Arc<Call>>)> = VecDeque::new();
        let mut ended = Vec::with_capacity(all.len());
        for r in all {
            // Who has tickets does not wait for more: its own come back first.
            while !ost.reads.try_take() {
                match sent.pop_front() {
                    Some((r, call)) => ended.push(self.end_fetch(&ost, r, call)),
                    None => {
                        ost.reads.take();
                        break;
                    }
                }
            }
            let request = self.read_request(&ost, r, lock);
            let call = request
                .and_then(|(m, o, bulk)| ost.target().and_then(|t| t.import().begin(m, o, bulk)));
            sent.push_back((r, call));
        }
        for (r, call) in sent {
            ended.push(self.end_fetch(&ost, r, call));
        }
        Ok(ended)
    }

    /// Waits for a read that was sent, and gives its ticket back.
    fn end_fetch(self: &StdArc<Self>, ost: &Ost, r: Range, call: Result<Arc<Call>>) -> Result {
        let outcome = call.and_then(|c| c.wait());
        ost.reads.give();
        let done = outcome.and_then(|reply| self.received(r, reply));
        self.end_read(r);
        done
    }

    /// Sends a read that nobody waits for. The lock is held until the data are here.
    fn read_later(self: &StdArc<Self>, ost: &StdArc<Ost>, r: Range, lock: StdArc<Held>) -> Result {
        if !ost.reads.try_take() {
            return Err(EAGAIN);
        }
        let me = self.clone();
        let send = || -> Result {
            let (m, options, bulk) = self.read_request(ost, r, &lock)?;
            let done: KBox<dyn Once<Outcome>> = KBox::new(
                move |outcome: Outcome| {
                    if let Err(e) = outcome.and_then(|reply| me.received(r, reply)) {
                        pr_debug!("read-ahead: {:?}\n", e);
                    }
                    me.end_read(r);
                    if let Ok(ost) = me.ost() {
                        ost.reads.give();
                    }
                    // Only now may the lock go.
                    drop(lock);
                },
                GFP_KERNEL,
            )?;
            ost.target()?.import().call_async(m, options, bulk, done)
        };
        let sent = send();
        if sent.is_err() {
            ost.reads.give();
        }
        sent
    }

    fn end_read(&self, r: Range) {
        let mut s = guard(&self.state);
        for (w, from, to) in split(r.start, r.end) {
            if let Some(win) = s.windows.get_mut(&w) {
                win.reading.remove(from, to);
            }
        }
        drop(s);
        self.changed.notify_all();
    }

    fn read_request(
        &self,
        ost: &Ost,
        r: Range,
        lock: &Held,
    ) -> Result<(Msg, CallOptions, Option<ClientBulk>)> {
        let len = u32::try_from(r.end - r.start)?;
        let mut o = self.obdo(&guard(&self.state));
        if let Some(v) = lock.view().filter(|v| v.cookie != 0) {
            o.o_handle.set(v.cookie);
            o.add_valid(ObdMd::FLHANDLE);
        }
        let short = len <= SHORT_IO && ost.has_short_io();
        if short {
            o.set_flags(ObdFl::SHORT_IO);
        }
        if let Some(kind) = ost.checksum() {
            o.set_cksum(kind, 0);
        }
        let mut io = ObdIoobj {
            ioo_oid: self.id,
            ..ObdIoobj::default()
        };
        io.ioo_bufcnt.set(1);
        if short {
            io.ioo_max_brw.set(NO_BULK);
        } else {
            io.set_max_brw(ost.bulk_max() as u32);
        }
        let buf = NiobufRemote {
            rnb_offset: r.start.into(),
            rnb_len: len.into(),
            rnb_flags: (BrwFlags::READ | BrwFlags::SYNC).bits().into(),
        };
        let m = rpc::request(
            OST_READ,
            OST_VERSION,
            &[o.as_bytes(), io.as_bytes(), buf.as_bytes(), &[], &[]],
        )?;
        let inline = if short { len } else { 0 };
        let mut options = CallOptions::new(&[size_of::<OstBody>() as u32, inline])?;
        options.portal = Some(portal::OST_IO);
        let bulk = match short {
            true => None,
            false => {
                let mut sinks = KVec::new();
                for (_, from, to) in split(r.start, r.end) {
                    let n = (to - from) as usize;
                    sinks.push(Sink::new(Pages::new(n.div_ceil(PAGE_SIZE))?), GFP_KERNEL)?;
                }
                Some(ClientBulk::take(portal::OST_BULK, sinks)?)
            }
        };
        Ok((m, options, bulk))
    }

    /// Takes the data of a reply.
    fn received(self: &StdArc<Self>, r: Range, reply: Reply) -> Result {
        let reply = reply.check()?;
        let got = usize::try_from(reply.status)?;
        if got as u64 > r.end - r.start {
            return Err(EPROTO);
        }
        let o = *reply.msg.get::<OstBody>(1)?;
        let mut parts: Vec<(Pages, usize)> = Vec::new();
        match reply.bulk {
            Some(b) => {
                for (sink, len) in b.into_received() {
                    parts.push((sink.pages, len));
                }
            }
            None => {
                let bytes = reply.msg.buf(2).and_then(|b| b.get(..got)).ok_or(EPROTO)?;
                let len = (r.end - r.start) as usize;
                let mut pages = Pages::new(len.div_ceil(PAGE_SIZE))?;
                pages.copy_in(0, bytes)?;
                parts.push((pages, got));
            }
        }
        if parts.iter().map(|p| p.1).sum::<usize>() != got {
            return Err(EPROTO);
        }
        if o.valid().contains(ObdMd::FLCKSUM) {
            let kind = CksumType::try_from(o.flags()).unwrap_or(CksumType::Adler);
            if matches!(kind, CksumType::Crc32c | CksumType::Adler) {
                let chunks = parts.iter().flat_map(|(p, n)| p.chunks(0, *n));
                if checksum(kind, chunks) != o.cksum() {
                    pr_warn!("data read from the OST are spoiled\n");
                    return Err(EBADMSG);
                }
            }
        }
        let mut clean = Vec::new();
        {
            let mut s = guard(&self.state);
            for ((w, from, to), (mut pages, n)) in split(r.start, r.end).zip(parts) {
                // What the object does not have is zero.
                pages.zero(n, pages.len() - n)?;
                let win = s.windows.entry(w).or_default();
                let before = win.memory();
                win.fill(from, to.min(WINDOW_LEN), pages)?;
                clean.push((w, win.memory().saturating_sub(before)));
            }
        }
        if let Ok(ost) = self.ost() {
            for (w, n) in clean {
                ost.clean.add(self, w, n);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_whole_windows() {
        let full = WINDOW_LEN;
        let r = |start, end| Range { start, end };
        let all = [(0, 0, full), (1, 0, full), (2, 0, full), (3, 0, 4096)];
        assert_eq!(join(&all, 4), [r(0, 3 * WINDOW + 4096)]);
        assert_eq!(
            join(&all, 2),
            [r(0, 2 * WINDOW), r(2 * WINDOW, 3 * WINDOW + 4096)]
        );
        let parts = [(0, 4096, full), (1, 0, full)];
        assert_eq!(join(&parts, 4), [r(4096, WINDOW), r(WINDOW, 2 * WINDOW)]);
        let gap = [(0, 0, 4096), (0, 8192, 12288)];
        assert_eq!(join(&gap, 4), [r(0, 4096), r(8192, 12288)]);
    }
}
