// SPDX-License-Identifier: GPL-2.0

//! Free space: what the store has, and what of it is promised.

use crate::client::OfdClient;
use crate::grant::{Announcement, Books, Item, Shape, Totals};
use kapi::prelude::*;
use osd::{Device, StatFs};

/// How old what is known of the store may be.
const AGE: Duration = Duration::from_secs(1);
/// What making an object may cost, bytes: its name in a directory.
pub(crate) const PER_OBJECT: u64 = 28;
/// Most objects that are made at a time.
pub(crate) const MAX_PRECREATE: u64 = 20_000;
/// Blocks that a new extent may cost.
const TAX_BLOCKS: u64 = 6;
/// Most blocks in an extent: ext4's.
const EXTENT_BLOCKS: u64 = 16384;
/// With less than so many chunks left, the store is asked anew.
const SCARCE: u64 = 32;

struct Inner {
    stat: StatFs,
    /// When the store was asked.
    at: Instant,
    /// Bytes free for all, less what was written since.
    available: u64,
    totals: Totals,
    /// Promised to ourselves, for the objects that MDTs will want.
    own: u64,
}

/// The space of a store.
#[pin_data]
pub(crate) struct Space {
    osd: Arc<dyn Device>,
    shape: Shape,
    #[pin]
    inner: SpinLock<Inner>,
}

/// What a client got for a transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given {
    /// To be told to [`Space::done`].
    pub(crate) total: u64,
    /// More grant, or what it keeps of what it gave back.
    pub(crate) granted: u64,
    /// `granted` is new.
    pub(crate) is_more: bool,
}

fn free(s: &StatFs) -> u64 {
    s.bavail.saturating_mul(s.bsize.into())
}

impl Space {
    /// Asks the store.
    ///
    /// # Errors
    /// `EIO`. `EINVAL`: its blocks are not of a power of two.
    pub(crate) fn new(osd: &Arc<dyn Device>) -> Result<Arc<Space>> {
        let stat = osd.statfs()?;
        let block = u64::from(stat.bsize);
        if !block.is_power_of_two() {
            return Err(EINVAL);
        }
        let shape = Shape {
            block,
            extent_blocks: EXTENT_BLOCKS,
            tax: TAX_BLOCKS * block,
        };
        let available = free(&stat);
        // Enough for half of what can be asked for at once, if that is not much of what there is.
        let own = (MAX_PRECREATE * PER_OBJECT / 2) & !(block - 1);
        let own = if own > available / 16 { 0 } else { own };
        let totals = Totals {
            granted: own,
            ..Totals::default()
        };
        let inner = Inner {
            available,
            stat,
            at: Instant::now(),
            totals,
            own,
        };
        Arc::pin_init(
            pin_init!(Space {
                osd: osd.clone(),
                shape,
                inner <- new_spinlock!(inner),
            }),
            GFP_KERNEL,
        )
    }

    /// What matters of the store.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    fn chunk(&self, client: &OfdClient) -> u64 {
        let terms = client.terms();
        self.shape.chunk(terms.brw_size.into(), terms.taxed)
    }

    fn ask(&self) -> Result {
        let stat = self.osd.statfs()?;
        let mut i = self.inner.lock();
        i.stat = stat;
        i.available = free(&stat);
        i.at = Instant::now();
        Ok(())
    }

    /// Asks the store if it was not asked for a while, or if little seems to be left.
    ///
    /// # Errors
    /// `EIO`.
    pub(crate) fn refresh(&self, chunk: u64) -> Result {
        let due = {
            let i = self.inner.lock();
            let left = i.available.saturating_sub(i.totals.granted);
            i.at.elapsed() >= AGE || left < chunk.saturating_mul(SCARCE)
        };
        match due {
            true => self.ask(),
            false => Ok(()),
        }
    }

    fn books<R>(&self, client: &OfdClient, f: impl FnOnce(&mut Books<'_>) -> R) -> R {
        let chunk = self.chunk(client);
        let mut c = client.grant.lock();
        let mut i = self.inner.lock();
        let available = i.available;
        let mut books = Books {
            client: &mut c,
            totals: &mut i.totals,
            shape: self.shape,
            available,
            chunk,
        };
        f(&mut books)
    }

    /// A client connects and wants so much grant; what it has then.
    ///
    /// # Errors
    /// `EIO`.
    pub(crate) fn connect(&self, client: &OfdClient, want: u64, is_new: bool) -> Result<u64> {
        self.refresh(self.chunk(client))?;
        Ok(self.books(client, |b| b.connect(want, is_new)))
    }

    /// A client reads, or tells of its grant without writing. What it keeps of what it gives back
    /// as `shrink`.
    pub(crate) fn told(&self, client: &OfdClient, a: &Announcement, shrink: bool) -> u64 {
        self.books(client, |b| {
            b.announce(a);
            if shrink {
                b.shrink(a.has)
            } else {
                0
            }
        })
    }

    /// A client writes: space is found for `items`.
    ///
    /// # Errors
    /// `EIO`.
    pub(crate) fn write(
        &self,
        client: &OfdClient,
        told: Option<&Announcement>,
        items: &mut [Item],
        used: u64,
        free_ride: bool,
        shrink: bool,
    ) -> Result<Given> {
        let chunk = self.chunk(client);
        self.refresh(chunk)?;
        let short = {
            let i = self.inner.lock();
            i.available.saturating_sub(i.totals.granted) < chunk
        };
        if short && items.iter().any(|i| !i.from_grant) {
            // What was freed counts once that is on disk.
            self.osd.sync()?;
            self.ask()?;
        }
        let taxed = client.terms().taxed;
        Ok(self.books(client, |b| {
            if let Some(a) = told {
                b.announce(a);
            }
            let used = if taxed { used } else { 0 };
            let mut given = Given {
                total: b.take(items, used, free_ride),
                ..Given::default()
            };
            match told {
                Some(a) if shrink => given.granted = b.shrink(a.has),
                Some(a) => {
                    given.granted = b.allocate(a.has, a.wants, true);
                    given.is_more = true;
                }
                None => {}
            }
            given
        }))
    }

    /// A write is over. `written`: its blocks are taken now. `told`: the client will learn what it
    /// was granted.
    pub(crate) fn done(&self, client: &OfdClient, given: &Given, written: bool, told: bool) {
        self.books(client, |b| {
            b.done(given.total);
            if !told && given.is_more {
                b.take_back(given.granted);
            }
        });
        if written {
            let mut i = self.inner.lock();
            i.available = i.available.saturating_sub(given.total);
        }
    }

    /// A client has left.
    pub(crate) fn close(&self, client: &OfdClient) {
        self.books(client, |b| b.close());
    }

    /// What the store has, what of it is promised, and what we keep for new objects, bytes.
    ///
    /// # Errors
    /// `EIO`.
    pub(crate) fn stat(&self) -> Result<(StatFs, Totals, u64)> {
        if self.inner.lock().at.elapsed() >= AGE {
            self.ask()?;
        }
        let i = self.inner.lock();
        Ok((i.stat, i.totals, i.own))
    }

    /// The sums.
    pub(crate) fn totals(&self) -> Totals {
        self.inner.lock().totals
    }

    /// Whether so many objects may be made; how many of them.
    ///
    /// # Errors
    /// `ENOSPC`: none. `EIO`.
    pub(crate) fn objects(&self, wanted: u64) -> Result<u64> {
        self.ask()?;
        let i = self.inner.lock();
        let promised = i.totals.granted.saturating_sub(i.own);
        let left = i.available.saturating_sub(promised);
        if left < free_floor(&i.stat) {
            return Err(ENOSPC);
        }
        let fit = (left / PER_OBJECT).min(i.stat.ffree);
        match wanted.min(fit) {
            0 => Err(ENOSPC),
            n => Ok(n),
        }
    }
}

/// What is left free for data that clients have: a little of the whole.
fn free_floor(s: &StatFs) -> u64 {
    (s.blocks / 1024).saturating_mul(s.bsize.into())
}
