// SPDX-License-Identifier: GPL-2.0

//! Cached data of an object, a MiB at a time: what a bulk buffer can be at most.

use super::ranges::Ranges;
use kapi::pages::{Page, Pages, PAGE_SIZE};
use kapi::prelude::*;

/// Bytes of a window.
pub const WINDOW: u64 = 1 << 20;
/// The same, as lengths within one are counted.
pub const WINDOW_LEN: u32 = WINDOW as u32;
const PAGE: u32 = PAGE_SIZE as u32;
const PAGES: u32 = WINDOW_LEN / PAGE;

/// A window. Offsets are from its start.
#[derive(Default)]
pub struct Window {
    /// As many as there are in a window, or none at all.
    pages: Vec<Option<Page>>,
    /// How many of them there are.
    held: usize,
    /// Bytes that are as on the server, or newer.
    valid: Ranges,
    /// Bytes that are newer.
    pub dirty: Ranges,
    /// Bytes that a read under way will bring.
    pub reading: Ranges,
    /// A write of something in here is under way; the next has to wait for it.
    pub writing: bool,
}

/// The pages that bytes from `start` to before `end` are in: number, and the part of each.
fn by_page(start: u32, end: u32) -> impl Iterator<Item = (usize, usize, usize)> {
    (start / PAGE..end.div_ceil(PAGE)).map(move |p| {
        let first = p * PAGE;
        let (from, to) = (start.max(first) - first, end.min(first + PAGE) - first);
        (p as usize, from as usize, to as usize)
    })
}

impl Window {
    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.held * PAGE_SIZE
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

    fn slot(&mut self, page: usize) -> Result<&mut Option<Page>> {
        if self.pages.is_empty() {
            self.pages.resize_with(PAGES as usize, || None);
        }
        self.pages.get_mut(page).ok_or(EINVAL)
    }

    /// Copies bytes, which are all within the page, to it.
    fn put(&mut self, page: usize, from: usize, bytes: &[u8]) -> Result {
        let slot = self.slot(page)?;
        let new = slot.is_none();
        if bytes.len() == PAGE_SIZE {
            // What is being sent of the old one need not be copied.
            *slot = Some(Page::new());
        }
        let to = slot.get_or_insert_default().bytes_mut();
        let to = to.get_mut(from..from + bytes.len()).ok_or(EINVAL)?;
        to.copy_from_slice(bytes);
        self.held += usize::from(new);
        Ok(())
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
        let mut rest = bytes;
        for (page, from, to) in by_page(start, end) {
            let (part, after) = rest.split_at(to - from);
            rest = after;
            self.put(page, from, part)?;
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
        let mut rest = out;
        for (page, from, to) in by_page(start, end) {
            let (part, after) = rest.split_at_mut(to - from);
            rest = after;
            let page = self.pages.get(page).and_then(Option::as_ref);
            let bytes = page.and_then(|p| p.bytes().get(from..to));
            part.copy_from_slice(bytes.ok_or(EINVAL)?);
        }
        Ok(())
    }

    /// What a read brought: the bytes from `start` to `end`, in pages of which the first is that
    /// of `start`. What is newer here stays.
    ///
    /// # Errors
    /// `ENOMEM`, `EINVAL`.
    pub fn fill(&mut self, start: u32, end: u32, pages: Pages) -> Result {
        let first = (start / PAGE) as usize;
        for (i, new) in pages.into_iter().enumerate() {
            let slot = self.slot(first + i)?;
            if slot.is_none() {
                *slot = Some(new);
                self.held += 1;
                continue;
            }
            let at = (first + i) as u32 * PAGE;
            for (a, b) in self.valid.gaps(at.max(start), (at + PAGE).min(end)) {
                let (from, to) = ((a - at) as usize, (b - at) as usize);
                let bytes = new.bytes().get(from..to).ok_or(EINVAL)?;
                self.put(first + i, from, bytes)?;
            }
        }
        self.valid.add(start, end);
        Ok(())
    }

    /// The pages of bytes that it has, for a request: later changes do not reach them.
    ///
    /// # Errors
    /// `EINVAL`: it does not have them.
    pub fn share(&self, start: u32, end: u32) -> Result<Vec<Page>> {
        by_page(start, end)
            .map(|(p, _, _)| self.pages.get(p).and_then(Clone::clone).ok_or(EINVAL))
            .collect()
    }

    /// Forgets bytes; how many pages are dirty no more.
    pub fn forget(&mut self, start: u32, end: u32) -> u32 {
        let before = self.dirty.units(PAGE);
        self.valid.remove(start, end);
        self.dirty.remove(start, end);
        for (page, from, to) in by_page(start, end) {
            if to - from == PAGE_SIZE {
                let gone = self.pages.get_mut(page).and_then(Option::take);
                self.held -= usize::from(gone.is_some());
            }
        }
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
        let sent = w.share(0, 5).unwrap();
        w.write(0, b"other").unwrap();
        let mut out = [0; 5];
        assert_eq!(&sent[0].bytes()[..5], b"first");
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
                        kept.push(w.share(start, end).unwrap());
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
                        kept.clear();
                    }
                }
            }
            let have = w.pages.iter().flatten().count();
            prop_assert_eq!(w.memory(), have * PAGE_SIZE);
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
