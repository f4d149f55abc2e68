// SPDX-License-Identifier: GPL-2.0

//! Cached data of an object, a MiB at a time: what a bulk buffer can be at most.

use super::ranges::Ranges;
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;

/// Bytes of a window.
pub const WINDOW: u64 = 1 << 20;
/// The same, as lengths within one are counted.
pub const WINDOW_LEN: u32 = WINDOW as u32;
const PAGE: u32 = PAGE_SIZE as u32;
const PAGES: u32 = WINDOW_LEN / PAGE;

enum Data {
    None,
    Own(Pages),
    /// Also in a request that is being sent: not to be changed.
    Shared(Arc<Pages>),
}

/// A window. Offsets are from its start.
pub struct Window {
    data: Data,
    /// The first page that there is memory for.
    base: u32,
    /// Bytes that are as on the server, or newer.
    valid: Ranges,
    /// Bytes that are newer.
    pub dirty: Ranges,
    /// Bytes that a read under way will bring.
    pub reading: Ranges,
    /// A write of something in here is under way; the next has to wait for it.
    pub writing: bool,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            data: Data::None,
            base: 0,
            valid: Ranges::default(),
            dirty: Ranges::default(),
            reading: Ranges::default(),
            writing: false,
        }
    }
}

impl Window {
    fn pages(&self) -> Option<&Pages> {
        match &self.data {
            Data::None => None,
            Data::Own(p) => Some(p),
            Data::Shared(p) => Some(p),
        }
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.pages().map_or(0, Pages::len)
    }

    /// Whether nothing is under way with it, so that it may be dropped.
    pub fn is_idle(&self) -> bool {
        self.dirty.is_empty() && self.reading.is_empty() && !self.writing
    }

    /// Whether it holds these bytes.
    pub fn has(&self, start: u32, end: u32) -> bool {
        self.valid.contains(start, end)
    }

    /// What is neither here nor on its way, in whole pages.
    pub fn missing(&self, start: u32, end: u32) -> Vec<(u32, u32)> {
        let mut known = self.valid.clone();
        for (a, b) in self.reading.iter() {
            known.add(a, b);
        }
        let mut out = Ranges::default();
        for (a, b) in known.gaps(start, end) {
            out.add(a & !(PAGE - 1), b.next_multiple_of(PAGE));
        }
        out.iter().collect()
    }

    /// Makes room for, and exclusive, the memory of these bytes.
    fn own(&mut self, start: u32, end: u32) -> Result<&mut Pages> {
        let (first, behind) = (start / PAGE, end.div_ceil(PAGE).min(PAGES));
        let have = self.pages().map_or(0, |p| p.count() as u32);
        let fits = have > 0 && self.base <= first && behind <= self.base + have;
        if !(fits && matches!(self.data, Data::Own(_))) {
            let (mut lo, mut hi) = (first, behind);
            if have > 0 {
                lo = lo.min(self.base);
                hi = hi.max(self.base + have);
                // What grows at its end will grow further.
                if behind > self.base + have {
                    hi = hi.max((self.base + have * 2).min(PAGES));
                }
            }
            let mut new = Pages::new((hi - lo) as usize)?;
            if let Some(old) = self.pages() {
                let mut to = (self.base - lo) as usize * PAGE_SIZE;
                for c in old.chunks(0, old.len()) {
                    new.copy_in(to, c)?;
                    to += c.len();
                }
            }
            self.base = lo;
            self.data = Data::Own(new);
        }
        match &mut self.data {
            Data::Own(p) => Ok(p),
            _ => Err(EIO),
        }
    }

    fn at(&self, off: u32) -> usize {
        (off - self.base * PAGE) as usize
    }

    /// Pages that would become dirty by a write.
    pub fn cost(&self, start: u32, end: u32) -> u32 {
        let mut after = self.dirty.clone();
        after.add(start, end);
        after.units(PAGE) - self.dirty.units(PAGE)
    }

    /// Takes bytes from a writer.
    ///
    /// # Errors
    /// `ENOMEM`; nothing has changed.
    pub fn write(&mut self, start: u32, bytes: &[u8]) -> Result {
        let end = start + u32::try_from(bytes.len())?;
        self.own(start, end)?;
        let at = self.at(start);
        if let Data::Own(p) = &mut self.data {
            p.copy_in(at, bytes)?;
        }
        self.valid.add(start, end);
        self.dirty.add(start, end);
        Ok(())
    }

    /// Gives bytes to a reader; it has them.
    ///
    /// # Errors
    /// `EINVAL`: it has not.
    pub fn read(&self, start: u32, out: &mut [u8]) -> Result {
        let end = start + u32::try_from(out.len())?;
        if !self.has(start, end) {
            return Err(EINVAL);
        }
        match self.pages() {
            Some(p) => p.copy_out(self.at(start), out),
            None => Err(EINVAL),
        }
    }

    /// What a read brought: the bytes from `start` to `end`, in pages of which the first is that
    /// of `start`. What is newer here stays.
    ///
    /// # Errors
    /// `ENOMEM`, `EINVAL`.
    pub fn fill(&mut self, start: u32, end: u32, pages: Pages) -> Result {
        if matches!(self.data, Data::None) {
            self.base = start / PAGE;
            self.data = Data::Own(pages);
            self.valid.add(start, end);
            return Ok(());
        }
        for (a, b) in self.valid.gaps(start, end) {
            self.own(a, b)?;
            let mut to = self.at(a);
            if let Data::Own(p) = &mut self.data {
                for c in pages.chunks((a - start) as usize, (b - a) as usize) {
                    p.copy_in(to, c)?;
                    to += c.len();
                }
            }
        }
        self.valid.add(start, end);
        Ok(())
    }

    /// The memory of dirty bytes for a request, and where in it byte `start` is. It is not
    /// changed any more.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn share(&mut self, start: u32) -> Result<(Arc<Pages>, usize)> {
        if let Data::Own(_) = &self.data {
            if let Data::Own(p) = core::mem::replace(&mut self.data, Data::None) {
                self.data = Data::Shared(Arc::new(p, GFP_KERNEL)?);
            }
        }
        match &self.data {
            Data::Shared(p) => Ok((p.clone(), self.at(start))),
            _ => Err(EIO),
        }
    }

    /// Copies bytes to `to` at `off`.
    ///
    /// # Errors
    /// `EINVAL`: it does not have them.
    pub fn gather(&self, start: u32, end: u32, to: &mut Pages, off: usize) -> Result {
        let p = self.pages().ok_or(EINVAL)?;
        let mut at = off;
        for c in p.chunks(self.at(start), (end - start) as usize) {
            to.copy_in(at, c)?;
            at += c.len();
        }
        Ok(())
    }

    /// Forgets bytes; how many pages are dirty no more.
    pub fn forget(&mut self, start: u32, end: u32) -> u32 {
        let before = self.dirty.units(PAGE);
        self.valid.remove(start, end);
        self.dirty.remove(start, end);
        before - self.dirty.units(PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pages(n: usize, byte: u8) -> Pages {
        let mut p = Pages::new(n).unwrap();
        for i in 0..n {
            p.page_mut(i).unwrap().fill(byte);
        }
        p
    }

    #[test]
    fn newer_bytes_stay() {
        let mut w = Window::default();
        w.write(5000, b"new").unwrap();
        assert_eq!(w.missing(0, 8192), [(0, 8192)]);
        w.fill(0, 8192, pages(2, 7)).unwrap();
        let mut out = [0; 8192];
        w.read(0, &mut out).unwrap();
        assert_eq!(&out[4999..5004], b"\x07new\x07");
        assert_eq!(w.dirty.iter().collect::<Vec<_>>(), [(5000, 5003)]);
        assert_eq!(w.cost(5003, 5004), 0);
        assert_eq!(w.cost(0, 4097), 1);
    }

    #[test]
    fn what_is_sent_does_not_change() {
        let mut w = Window::default();
        w.write(0, b"first").unwrap();
        let (sent, at) = w.share(0).unwrap();
        w.write(0, b"other").unwrap();
        let mut out = [0; 5];
        sent.copy_out(at, &mut out).unwrap();
        assert_eq!(&out, b"first");
        w.read(0, &mut out).unwrap();
        assert_eq!(&out, b"other");
    }

    proptest! {
        #[test]
        fn against_an_array(ops in proptest::collection::vec((0_u8..4, 0_u32..WINDOW_LEN, 1_u32..20_000, any::<u8>()), 1..25)) {
            let mut w = Window::default();
            let mut model: Vec<Option<u8>> = vec![None; WINDOW as usize];
            let mut kept = Vec::new();
            for (op, start, len, byte) in ops {
                let end = (start + len).min(WINDOW_LEN);
                let range = start as usize..end as usize;
                match op {
                    0 | 1 => {
                        w.write(start, &vec![byte; range.len()]).unwrap();
                        model[range].fill(Some(byte));
                        kept.push(w.share(start).unwrap());
                    }
                    2 => {
                        let (a, b) = (start & !4095, end.next_multiple_of(4096));
                        w.fill(a, b, pages((b - a) as usize / 4096, byte)).unwrap();
                        for m in &mut model[a as usize..b as usize] {
                            m.get_or_insert(byte);
                        }
                    }
                    _ => {
                        w.forget(start, end);
                        model[range].fill(None);
                    }
                }
            }
            for (a, chunk) in model.chunks(4096).enumerate() {
                for (i, m) in chunk.iter().enumerate().step_by(97) {
                    let at = (a * 4096 + i) as u32;
                    let mut out = [0];
                    prop_assert_eq!(w.read(at, &mut out).ok().map(|()| out[0]), *m);
                }
            }
        }
    }
}
