// SPDX-License-Identifier: GPL-2.0

//! Bulk data: sparse pages.

use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use std::collections::BTreeMap;

const PAGE: u64 = PAGE_SIZE as u64;
/// As ext4 has it with blocks of 4 KiB.
pub(crate) const MAX_SIZE: u64 = (u32::MAX as u64) * PAGE;

enum Page {
    /// Allocated; reads as zeros.
    Unwritten,
    Data(Box<[u8; PAGE_SIZE]>),
}

impl Page {
    fn bytes(&mut self) -> &mut [u8; PAGE_SIZE] {
        if let Page::Unwritten = self {
            *self = Page::Data(Box::new([0; PAGE_SIZE]));
        }
        match self {
            Page::Data(d) => d,
            Page::Unwritten => unreachable!("filled above"),
        }
    }
}

#[derive(Default)]
pub(crate) struct Bulk {
    pages: BTreeMap<u64, Page>,
}

/// The pieces of a range, page by page: page, first byte in it, bytes.
fn pieces(off: u64, len: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = off + len;
    let mut at = off;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let n = (PAGE - at % PAGE).min(end - at);
            let piece = (at / PAGE, (at % PAGE) as usize, n as usize);
            at += n;
            piece
        })
    })
}

impl Bulk {
    pub(crate) fn count(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Pages of a range that are not there yet.
    pub(crate) fn missing(&self, off: u64, len: u64) -> u64 {
        if len == 0 {
            return 0;
        }
        let (first, last) = (off / PAGE, (off + len - 1) / PAGE);
        last - first + 1 - self.pages.range(first..=last).count() as u64
    }

    pub(crate) fn read(&self, pages: &mut Pages, at: usize, len: usize, pos: u64) -> Result {
        let mut at = at;
        for (page, from, n) in pieces(pos, len as u64) {
            match self.pages.get(&page) {
                Some(Page::Data(d)) => pages.copy_in(at, &d[from..from + n])?,
                _ => pages.zero(at, n)?,
            }
            at += n;
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, pages: &Pages, at: usize, len: usize, pos: u64) -> Result {
        let mut at = at;
        for (page, from, n) in pieces(pos, len as u64) {
            let page = self.pages.entry(page).or_insert(Page::Unwritten);
            pages.copy_out(at, &mut page.bytes()[from..from + n])?;
            at += n;
        }
        Ok(())
    }

    fn zero_part(&mut self, page: u64, from: usize, n: usize) {
        if let Some(Page::Data(d)) = self.pages.get_mut(&page) {
            d[from..from + n].fill(0);
        }
    }

    /// Drops what is behind the end.
    pub(crate) fn cut(&mut self, size: u64) {
        self.pages.split_off(&size.div_ceil(PAGE));
        let from = (size % PAGE) as usize;
        if from > 0 {
            self.zero_part(size / PAGE, from, PAGE_SIZE - from);
        }
    }

    pub(crate) fn punch(&mut self, off: u64, len: u64) {
        for (page, from, n) in self.existing(off, len) {
            if n == PAGE_SIZE {
                self.pages.remove(&page);
            } else {
                self.zero_part(page, from, n);
            }
        }
    }

    fn existing(&self, off: u64, len: u64) -> Vec<(u64, usize, usize)> {
        let end = off.saturating_add(len);
        self.pages
            .range(off / PAGE..end.div_ceil(PAGE))
            .map(|(&p, _)| {
                let from = off.max(p * PAGE);
                let to = end.min((p + 1) * PAGE);
                (p, (from - p * PAGE) as usize, (to - from) as usize)
            })
            .collect()
    }

    pub(crate) fn allocate(&mut self, off: u64, len: u64) {
        for (page, _, _) in pieces(off, len) {
            self.pages.entry(page).or_insert(Page::Unwritten);
        }
    }

    pub(crate) fn zero(&mut self, off: u64, len: u64) {
        for (page, from, n) in pieces(off, len) {
            if n == PAGE_SIZE {
                self.pages.insert(page, Page::Unwritten);
            } else {
                self.pages.entry(page).or_insert(Page::Unwritten);
                self.zero_part(page, from, n);
            }
        }
    }

    pub(crate) fn seek_data(&self, off: u64) -> Option<u64> {
        self.pages
            .range(off / PAGE..)
            .find(|(_, p)| matches!(p, Page::Data(_)))
            .map(|(p, _)| off.max(p * PAGE))
    }

    pub(crate) fn seek_hole(&self, off: u64) -> u64 {
        let mut page = off / PAGE;
        for (&p, what) in self.pages.range(page..) {
            if p != page || !matches!(what, Page::Data(_)) {
                break;
            }
            page += 1;
        }
        off.max(page * PAGE)
    }

    /// First page of a run, pages in it, whether it is unwritten.
    pub(crate) fn run(&self, off: u64) -> Option<(u64, u64, bool)> {
        let unwritten = |p: &Page| matches!(p, Page::Unwritten);
        let mut it = self.pages.range(off / PAGE..);
        let (&first, p) = it.next()?;
        let kind = unwritten(p);
        let more = it
            .enumerate()
            .take_while(|(i, (&n, p))| n == first + 1 + *i as u64 && unwritten(p) == kind)
            .count();
        Some((first * PAGE, (1 + more as u64) * PAGE, kind))
    }
}
