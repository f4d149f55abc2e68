// SPDX-License-Identifier: GPL-2.0

//! Buffers made of whole pages, for bulk data: filled from a socket and written to a disk, or the
//! other way round, without a copy in between.

use crate::error::{code::*, Result};
use crate::sync::Arc;

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;

/// An owned run of pages. They need not be contiguous in memory, so they are reached one by one.
///
/// The content of new pages is zero.
pub struct Pages {
    pages: Vec<Box<[u8; PAGE_SIZE]>>,
}

impl Pages {
    /// `n` pages.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(n: usize) -> Result<Pages> {
        let mut pages = Vec::new();
        pages.try_reserve_exact(n).map_err(|_| ENOMEM)?;
        for _ in 0..n {
            pages.push(Box::new([0; PAGE_SIZE]));
        }
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
        self.pages.get(i).map(|p| &**p)
    }
    /// Page `i`.
    pub fn page_mut(&mut self, i: usize) -> Option<&mut [u8; PAGE_SIZE]> {
        self.pages.get_mut(i).map(|p| &mut **p)
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
            let piece = self.pages.get(pos / PAGE_SIZE)?.get(in_page..in_page + n);
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
            self.pages[pos / PAGE_SIZE][in_page..in_page + n].copy_from_slice(&data[..n]);
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
            self.pages[pos / PAGE_SIZE][in_page..in_page + n].fill(0);
            pos += n;
        }
        Ok(())
    }
}
