// SPDX-License-Identifier: GPL-2.0

//! The data of a transfer: pages between the network and the store.

use crate::layout::{Layout, Piece};
use crate::pool::PagePool;
use kapi::pages::Pages;
use kapi::prelude::*;
use lnet::Sink;
use osd::ObjectRef;
use ptlrpc::bulk::Piece as Given;

/// Pages for each MD of a transfer.
pub(crate) struct Data {
    bufs: KVec<Pages>,
    pool: Option<Arc<PagePool>>,
}

impl Data {
    /// New pages.
    #[cfg(test)]
    pub(crate) fn new(layout: &Layout) -> Result<Data> {
        let mut bufs = KVec::with_capacity(layout.mds.len(), GFP_KERNEL)?;
        for m in layout.mds.iter() {
            bufs.push(Pages::new(m.pages())?, GFP_KERNEL)?;
        }
        Ok(Data { bufs, pool: None })
    }

    /// Pages of a pool, which hold whatever was in them.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn from_pool(pool: &Arc<PagePool>, layout: &Layout) -> Result<Data> {
        let bufs = KVec::with_capacity(layout.mds.len(), GFP_KERNEL)?;
        let mut data = Data {
            bufs,
            pool: Some(pool.clone()),
        };
        for m in layout.mds.iter().filter(|m| m.len > 0) {
            data.bufs.push(pool.take(m.pages())?, GFP_KERNEL)?;
        }
        Ok(data)
    }

    /// A piece, page by page.
    pub(crate) fn chunks(&self, p: &Piece) -> impl Iterator<Item = &[u8]> {
        let (at, len) = (p.at, p.len);
        let buf = self.bufs.get(p.md).into_iter();
        buf.flat_map(move |b| b.chunks(at, len))
    }

    /// All of the transfer from `bytes`.
    ///
    /// # Errors
    /// `EINVAL`: they are too few.
    pub(crate) fn copy_in(&mut self, layout: &Layout, bytes: &[u8]) -> Result {
        let mut rest = bytes;
        for p in layout.pieces.iter() {
            let (now, later) = rest.split_at_checked(p.len).ok_or(EINVAL)?;
            let buf = self.bufs.get_mut(p.md).ok_or(EINVAL)?;
            buf.copy_in(p.at, now)?;
            rest = later;
        }
        Ok(())
    }

    /// All of the transfer to `out`.
    ///
    /// # Errors
    /// `EINVAL`: it does not fit.
    pub(crate) fn copy_out(&self, layout: &Layout, out: &mut [u8]) -> Result {
        let mut rest = out;
        for p in layout.pieces.iter() {
            let (now, later) = rest.split_at_mut_checked(p.len).ok_or(EINVAL)?;
            self.bufs.get(p.md).ok_or(EINVAL)?.copy_out(p.at, now)?;
            rest = later;
        }
        Ok(())
    }

    /// Reads a piece of an object; what is behind its end is zero.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn read(&mut self, o: &ObjectRef, p: &Piece) -> Result {
        let buf = self.bufs.get_mut(p.md).ok_or(EINVAL)?;
        let n = o.read_pages(buf, p.at, p.len, p.pos)?.min(p.len);
        buf.zero(p.at + n, p.len - n)
    }

    /// Writes a piece of an object.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn write(&self, o: &ObjectRef, p: &Piece) -> Result {
        let buf = self.bufs.get(p.md).ok_or(EINVAL)?;
        o.write_pages(buf, p.at, p.len, p.pos)
    }

    /// Where the network puts what it fetches.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn take_sinks(&mut self, layout: &Layout) -> Result<KVec<Sink>> {
        let mut sinks = KVec::with_capacity(layout.mds.len(), GFP_KERNEL)?;
        let bufs = core::mem::take(&mut self.bufs);
        for (pages, m) in bufs.into_iter().zip(layout.mds.iter()) {
            let sink = Sink {
                pages,
                off: m.off,
                len: m.len,
            };
            sinks.push(sink, GFP_KERNEL)?;
        }
        Ok(sinks)
    }

    /// What the network has filled.
    ///
    /// # Errors
    /// `EPROTO`: less than there was to be. `ENOMEM`.
    pub(crate) fn fill(&mut self, sinks: KVec<(Sink, usize)>) -> Result {
        let mut whole = true;
        for (s, len) in sinks {
            whole &= len == s.len;
            self.bufs.push(s.pages, GFP_KERNEL)?;
        }
        match whole {
            true => Ok(()),
            false => Err(EPROTO),
        }
    }

    /// What the network is to send: an MD each, `count` of them; those without data are empty.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn share(&mut self, layout: &Layout, count: usize) -> Result<Shared> {
        let mut pages = KVec::with_capacity(self.bufs.len(), GFP_KERNEL)?;
        for b in core::mem::take(&mut self.bufs) {
            pages.push(Arc::new(b, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let mut given = KVec::with_capacity(count, GFP_KERNEL)?;
        let mut none = None;
        for i in 0..count {
            let md = layout.mds.get(i).filter(|m| m.len > 0);
            let piece = match (md, pages.get(i)) {
                (Some(m), Some(p)) => Given {
                    pages: Clone::clone(p),
                    off: m.off,
                    len: m.len,
                },
                _ => {
                    let empty: Arc<Pages> = match &none {
                        Some(p) => Clone::clone(p),
                        None => Arc::new(Pages::new(0)?, GFP_KERNEL)?,
                    };
                    none = Some(empty.clone());
                    Given {
                        pages: empty,
                        off: 0,
                        len: 0,
                    }
                }
            };
            given.push(piece, GFP_KERNEL)?;
        }
        Ok(Shared { pages, given })
    }

    /// The network has sent it, and the peer has it.
    pub(crate) fn sent(&mut self, pages: KVec<Arc<Pages>>) {
        let Some(pool) = &self.pool else { return };
        for p in pages {
            if let Some(p) = Pages::unshare(p) {
                pool.give(p);
            }
        }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            for b in core::mem::take(&mut self.bufs) {
                pool.give(b);
            }
        }
    }
}

/// Pages that are being sent.
pub(crate) struct Shared {
    /// All of them.
    pub(crate) pages: KVec<Arc<Pages>>,
    /// As the network takes them.
    pub(crate) given: KVec<Given>,
}
