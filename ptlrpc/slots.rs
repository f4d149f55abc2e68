// SPDX-License-Identifier: GPL-2.0

//! Slots of modifying requests: one in flight per tag (spec `ptlrpc.md` §6.4).

use kapi::prelude::*;

struct Inner {
    /// A bit per tag in use; bit 0 of the first word is tag 1.
    used: KVec<u64>,
    max: u16,
    taken: u16,
}

/// The slots of an import.
#[pin_data]
pub(crate) struct SlotTable {
    #[pin]
    inner: Mutex<Inner>,
    #[pin]
    free: CondVar,
}

/// The slots of an import.
pub(crate) struct Slots(Arc<SlotTable>);

impl Slots {
    /// `max` slots; one if it is zero.
    pub(crate) fn new(max: u16) -> Result<Slots> {
        let max = max.max(1);
        let used = KVec::from_elem(0, usize::from(max).div_ceil(64), GFP_KERNEL)?;
        Ok(Slots(Arc::pin_init(
            pin_init!(SlotTable {
                inner <- new_mutex!(Inner { used, max, taken: 0 }),
                free <- new_condvar!(),
            }),
            GFP_KERNEL,
        )?))
    }

    /// The target allows at most `max`.
    pub(crate) fn limit(&self, max: u16) {
        let mut inner = self.0.inner.lock();
        let room = u16::try_from(inner.used.len() * 64).unwrap_or(u16::MAX);
        inner.max = max.clamp(1, room);
        drop(inner);
        self.0.free.notify_all();
    }

    /// Waits for a slot; its tag, from 1.
    pub(crate) fn take(&self) -> u16 {
        let mut inner = self.0.inner.lock();
        loop {
            if inner.taken < inner.max {
                let found = inner
                    .used
                    .iter()
                    .enumerate()
                    .find(|(_, w)| **w != u64::MAX)
                    .map(|(i, w)| (i, w.trailing_ones()));
                if let Some((i, bit)) = found {
                    if let Some(w) = inner.used.get_mut(i) {
                        *w |= 1 << bit;
                    }
                    inner.taken += 1;
                    return (i as u16) * 64 + bit as u16 + 1;
                }
            }
            inner = self.0.free.wait(inner);
        }
    }

    /// Gives a slot back; tag 0 is none.
    pub(crate) fn give(&self, tag: u16) {
        let Some(n) = tag.checked_sub(1) else { return };
        let mut inner = self.0.inner.lock();
        if let Some(w) = inner.used.get_mut(usize::from(n / 64)) {
            let bit = 1u64 << (n % 64);
            if *w & bit != 0 {
                *w &= !bit;
                inner.taken -= 1;
            }
        }
        drop(inner);
        self.0.free.notify_one();
    }
}
