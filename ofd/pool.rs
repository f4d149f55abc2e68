// SPDX-License-Identifier: GPL-2.0

//! Pages for bulk data that are used again and again, so that they need not be cleared each time.

use crate::layout::MD_SIZE;
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;

/// Pages of a buffer: those of an MD, and one more for data that begin within a page.
const BUFFER: usize = MD_SIZE / PAGE_SIZE;
/// Buffers that are kept: enough for what is usually under way, little beside a server's memory.
const KEPT: usize = 16;
/// Below this it is cheaper to make new ones.
const SMALL: usize = BUFFER / 4;

/// Buffers that nobody uses.
#[pin_data]
pub(crate) struct PagePool {
    #[pin]
    free: SpinLock<KVec<Pages>>,
}

impl PagePool {
    pub(crate) fn new() -> Result<Arc<PagePool>> {
        let free = KVec::with_capacity(KEPT, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(PagePool {
                free <- new_spinlock!(free),
            }),
            GFP_KERNEL,
        )
    }

    /// `n` pages, which may hold what somebody else read or wrote: whoever takes them fills them.
    pub(crate) fn take(&self, n: usize) -> Result<Pages> {
        if (SMALL..=BUFFER).contains(&n) {
            let found = self.free.lock().pop();
            return match found {
                Some(p) => Ok(p),
                None => Pages::new(BUFFER),
            };
        }
        Pages::new(n)
    }

    /// Gives pages back that nobody else uses.
    pub(crate) fn give(&self, pages: Pages) {
        if pages.count() != BUFFER {
            return;
        }
        let mut pages = Some(pages);
        let mut free = self.free.lock();
        if free.len() < KEPT {
            if let Some(p) = pages.take() {
                // There is room: it was made at the beginning.
                let _ = free.push_within_capacity(p);
            }
        }
    }
}
