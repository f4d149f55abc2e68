// SPDX-License-Identifier: GPL-2.0

//! Buffers made of whole pages, for bulk data: filled from a socket and written to a disk, or the
//! other way round, without a copy in between.

use crate::error::{code::*, Result};
use crate::sync::Arc;
use memmap2::MmapOptions;
use std::sync::{Arc as StdArc, Mutex, PoisonError};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;

/// Bytes of memory that the node has: that of a small server.
pub fn total_ram() -> u64 {
    8 << 30
}

/// Memory of a page. Pages that nobody uses are kept for the next.
type Bytes = &'static mut [u8; PAGE_SIZE];

/// Pages come from the kernel so many at once, and mapped: to have each mapped when it is touched
/// first takes far longer than to fill it.
const SLAB: usize = 256;

static SPARE: Mutex<Vec<Bytes>> = Mutex::new(Vec::new());

fn spare() -> std::sync::MutexGuard<'static, Vec<Bytes>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A page with whatever is in it.
fn take() -> Bytes {
    let mut all = spare();
    if let Some(b) = all.pop() {
        return b;
    }
    let slab: &mut [u8] = match MmapOptions::new()
        .len(SLAB * PAGE_SIZE)
        .populate()
        .map_anon()
    {
        Ok(m) => &mut Box::leak(Box::new(m))[..],
        // The allocator's last word is the end of the process.
        Err(_) => vec![0; PAGE_SIZE].leak(),
    };
    let mut new = slab
        .chunks_exact_mut(PAGE_SIZE)
        .filter_map(|c| c.first_chunk_mut());
    let first = new.next();
    all.extend(new);
    drop(all);
    first.unwrap_or_else(|| Box::leak(Box::new([0; PAGE_SIZE])))
}

/// The memory of a page.
struct Frame(Option<Bytes>);

impl Frame {
    fn bytes(&self) -> &[u8; PAGE_SIZE] {
        match &self.0 {
            Some(b) => b,
            None => &[0; PAGE_SIZE],
        }
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        let new = take();
        new.copy_from_slice(self.bytes());
        Frame(Some(new))
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        spare().extend(self.0.take());
    }
}

/// A page that may have several owners, each of whom has its own content as soon as it is changed.
/// For caches of data; the kernel has its page cache for that.
#[derive(Clone)]
pub struct Page(StdArc<Frame>);

impl Page {
    /// A page of zeros.
    pub fn new() -> Page {
        let bytes = take();
        bytes.fill(0);
        Page(StdArc::new(Frame(Some(bytes))))
    }
    /// What is in it.
    pub fn bytes(&self) -> &[u8; PAGE_SIZE] {
        self.0.bytes()
    }
    /// The same, to be changed: a copy, if somebody else has the page too.
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        StdArc::make_mut(&mut self.0).0.get_or_insert_with(take)
    }
}

impl Default for Page {
    fn default() -> Self {
        Page::new()
    }
}

/// An owned run of pages. They need not be contiguous in memory, so they are reached one by one.
///
/// The content of new pages is zero.
pub struct Pages {
    pages: Vec<Page>,
}

impl FromIterator<Page> for Pages {
    fn from_iter<I: IntoIterator<Item = Page>>(pages: I) -> Self {
        Pages {
            pages: pages.into_iter().collect(),
        }
    }
}

impl IntoIterator for Pages {
    type Item = Page;
    type IntoIter = std::vec::IntoIter<Page>;
    fn into_iter(self) -> Self::IntoIter {
        self.pages.into_iter()
    }
}

impl Pages {
    /// `n` pages.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(n: usize) -> Result<Pages> {
        let mut pages = Vec::new();
        pages.try_reserve_exact(n).map_err(|_| ENOMEM)?;
        pages.extend((0..n).map(|_| Page::new()));
        Ok(Pages { pages })
    }
    /// Takes pages back that were shared; none if somebody else still has them.
    pub fn unshare(shared: Arc<Pages>) -> Option<Pages> {
        shared.try_unwrap()
    }
    /// Number of pages.
    pub fn count(&self) -> usize {
        self.pages.len()
    }
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
    /// Page `i`.
    pub fn page(&self, i: usize) -> Option<&[u8; PAGE_SIZE]> {
        self.pages.get(i).map(Page::bytes)
    }
    /// Page `i`.
    pub fn page_mut(&mut self, i: usize) -> Option<&mut [u8; PAGE_SIZE]> {
        self.pages.get_mut(i).map(Page::bytes_mut)
    }
    /// The pieces, none crossing a page, of `len` bytes at `off`; less if the pages end before.
    pub fn chunks(&self, off: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let end = off.saturating_add(len).min(self.len());
        let mut pos = off;
        core::iter::from_fn(move || {
            if pos >= end {
                return None;
            }
            let in_page = pos % PAGE_SIZE;
            let n = (PAGE_SIZE - in_page).min(end - pos);
            let page = self.pages.get(pos / PAGE_SIZE)?;
            let piece = page.bytes().get(in_page..in_page + n);
            pos += n;
            piece
        })
    }
    /// Copies `data` to byte offset `off`.
    ///
    /// # Errors
    /// `EINVAL`: it does not fit; nothing is copied.
    pub fn copy_in(&mut self, off: usize, data: &[u8]) -> Result {
        if off.checked_add(data.len()).is_none_or(|e| e > self.len()) {
            return Err(EINVAL);
        }
        let (mut pos, mut data) = (off, data);
        while !data.is_empty() {
            let in_page = pos % PAGE_SIZE;
            let n = (PAGE_SIZE - in_page).min(data.len());
            self.pages[pos / PAGE_SIZE].bytes_mut()[in_page..in_page + n]
                .copy_from_slice(&data[..n]);
            pos += n;
            data = &data[n..];
        }
        Ok(())
    }
    /// Copies from byte offset `off` to `out`.
    ///
    /// # Errors
    /// `EINVAL`: there are not so many bytes.
    pub fn copy_out(&self, off: usize, out: &mut [u8]) -> Result {
        if off.checked_add(out.len()).is_none_or(|e| e > self.len()) {
            return Err(EINVAL);
        }
        let mut done = 0;
        for c in self.chunks(off, out.len()) {
            out[done..done + c.len()].copy_from_slice(c);
            done += c.len();
        }
        Ok(())
    }
    /// Zeroes `len` bytes at `off`.
    ///
    /// # Errors
    /// `EINVAL`: there are not so many bytes.
    pub fn zero(&mut self, off: usize, len: usize) -> Result {
        let end = off
            .checked_add(len)
            .filter(|e| *e <= self.len())
            .ok_or(EINVAL)?;
        let mut pos = off;
        while pos < end {
            let in_page = pos % PAGE_SIZE;
            let n = (PAGE_SIZE - in_page).min(end - pos);
            self.pages[pos / PAGE_SIZE].bytes_mut()[in_page..in_page + n].fill(0);
            pos += n;
        }
        Ok(())
    }
}
