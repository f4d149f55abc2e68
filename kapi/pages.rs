// SPDX-License-Identifier: GPL-2.0

//! Buffers made of whole pages, for bulk data: filled from a socket and written to a disk, or the
//! other way round, without a copy in between.

use crate::alloc::{flags::GFP_KERNEL, KVVec};
use crate::error::{code::*, Result};
use crate::ffi;
use crate::sync::Arc;
use core::pin::Pin;
use kernel::bindings;

/// Bytes in a page.
pub const PAGE_SIZE: usize = kernel::page::PAGE_SIZE;

/// Bytes of memory that the node has.
pub fn total_ram() -> u64 {
    // SAFETY: no conditions.
    unsafe { ffi::lustre_kapi_total_ram() }
}

/// An owned run of pages. They need not be contiguous in memory, so they are reached one by one.
///
/// The content of new pages is zero.
///
/// # Invariants
///
/// Each element of `pages` describes one whole page, mapped in the kernel's address space, that we
/// hold a reference to. Others may hold references too (a socket that has not yet seen the peer's
/// acknowledgement), but read only.
pub struct Pages {
    pages: KVVec<bindings::bio_vec>,
}

// SAFETY: pages belong to no thread.
unsafe impl Send for Pages {}
// SAFETY: a shared reference only gives read access to the content.
unsafe impl Sync for Pages {}

impl Pages {
    /// `n` pages.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(n: usize) -> Result<Pages> {
        let mut all = Pages {
            pages: KVVec::with_capacity(n, GFP_KERNEL)?,
        };
        for _ in 0..n {
            // SAFETY: no conditions but that sleeping is allowed.
            let page = unsafe { ffi::lustre_kapi_page_alloc() };
            if page.is_null() {
                return Err(ENOMEM);
            }
            // INVARIANT: the page is new, the reference is ours.
            let bv = bindings::bio_vec {
                bv_page: page,
                bv_len: PAGE_SIZE as u32,
                bv_offset: 0,
            };
            if all.pages.push(bv, GFP_KERNEL).is_err() {
                // SAFETY: the reference is ours, and nobody else has one.
                unsafe { ffi::lustre_kapi_page_put(page) };
                return Err(ENOMEM);
            }
        }
        Ok(all)
    }
    /// Takes pages back that were shared; none if somebody else still has them.
    pub fn unshare(shared: Arc<Pages>) -> Option<Pages> {
        let mut only = Pin::into_inner(Arc::into_unique_or_drop(shared)?);
        let none = Pages {
            pages: KVVec::new(),
        };
        Some(core::mem::replace(&mut *only, none))
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
    /// The `struct page` of page `i`.
    pub(crate) fn raw_page(&self, i: usize) -> Option<*mut bindings::page> {
        self.pages.get(i).map(|p| p.bv_page)
    }
    /// All pages, as the kernel's iterators want them.
    pub(crate) fn raw(&self) -> &[bindings::bio_vec] {
        &self.pages
    }
    /// Page `i`.
    pub fn page(&self, i: usize) -> Option<&[u8; PAGE_SIZE]> {
        let page = self.raw_page(i)?;
        // SAFETY: the page is mapped and ours by the type's invariant, so it is valid for reads as
        // long as `self` is borrowed, and written to only through a mutable borrow.
        Some(unsafe { &*ffi::lustre_kapi_page_address(page).cast() })
    }
    /// Page `i`.
    pub fn page_mut(&mut self, i: usize) -> Option<&mut [u8; PAGE_SIZE]> {
        let page = self.raw_page(i)?;
        // SAFETY: as above; `self` is borrowed mutably, so there is no other reference.
        Some(unsafe { &mut *ffi::lustre_kapi_page_address(page).cast() })
    }
    /// The pieces, none crossing a page, of `len` bytes at `off`; less if the pages end before.
    pub fn chunks(&self, off: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let end = off.saturating_add(len).min(self.len());
        let mut pos = off;
        core::iter::from_fn(move || {
            let (i, range, n) = piece(pos, end)?;
            pos += n;
            self.page(i)?.get(range)
        })
    }
    /// Copies `data` to byte offset `off`.
    ///
    /// # Errors
    /// `EINVAL`: it does not fit; nothing is copied.
    pub fn copy_in(&mut self, off: usize, data: &[u8]) -> Result {
        let end = self.check(off, data.len())?;
        let (mut pos, mut data) = (off, data);
        while let Some((i, range, n)) = piece(pos, end) {
            let to = self.page_mut(i).and_then(|p| p.get_mut(range));
            let (from, rest) = data.split_at_checked(n).ok_or(EINVAL)?;
            to.ok_or(EINVAL)?.copy_from_slice(from);
            pos += n;
            data = rest;
        }
        Ok(())
    }
    /// Copies from byte offset `off` to `out`.
    ///
    /// # Errors
    /// `EINVAL`: there are not so many bytes.
    pub fn copy_out(&self, off: usize, out: &mut [u8]) -> Result {
        self.check(off, out.len())?;
        let mut out = out;
        for from in self.chunks(off, out.len()) {
            let (to, rest) = out.split_at_mut_checked(from.len()).ok_or(EINVAL)?;
            to.copy_from_slice(from);
            out = rest;
        }
        Ok(())
    }
    /// Zeroes `len` bytes at `off`.
    ///
    /// # Errors
    /// `EINVAL`: there are not so many bytes.
    pub fn zero(&mut self, off: usize, len: usize) -> Result {
        let end = self.check(off, len)?;
        let mut pos = off;
        while let Some((i, range, n)) = piece(pos, end) {
            let to = self.page_mut(i).and_then(|p| p.get_mut(range));
            to.ok_or(EINVAL)?.fill(0);
            pos += n;
        }
        Ok(())
    }
    /// The end of a range that is within.
    fn check(&self, off: usize, len: usize) -> Result<usize> {
        off.checked_add(len)
            .filter(|end| *end <= self.len())
            .ok_or(EINVAL)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        for p in &self.pages {
            // SAFETY: by the type's invariant the reference is ours, and this gives it up.
            unsafe { ffi::lustre_kapi_page_put(p.bv_page) }
        }
    }
}

/// Of the bytes from `pos` to `end`, those in the first page: which page, where in it, how many.
fn piece(pos: usize, end: usize) -> Option<(usize, core::ops::Range<usize>, usize)> {
    if pos >= end {
        return None;
    }
    let start = pos % PAGE_SIZE;
    let n = (PAGE_SIZE - start).min(end - pos);
    Some((pos / PAGE_SIZE, start..start + n, n))
}
