// SPDX-License-Identifier: GPL-2.0

//! Portals: lists of match entries, and which of them a message is for (spec `lnet.md` §9).
//!
//! A core without I/O: it takes a message's header and gives what to do with the payload.

use crate::event::{EventHandler, ProcessId, Sink};
use kapi::pages::Pages;
use kapi::prelude::*;
use wire::lnet::PORTALS;
use wire::nid::Nid;

/// What an entry takes.
#[derive(Clone, Copy, Debug)]
pub struct MatchSpec {
    /// The portal.
    pub portal: u32,
    /// From whom; `None`: from anybody.
    pub peer: Option<Nid>,
    /// The bits to match ...
    pub match_bits: u64,
    /// ... but for these.
    pub ignore_bits: u64,
}

impl MatchSpec {
    fn matches(&self, from: &ProcessId, bits: u64) -> bool {
        self.peer.is_none_or(|n| n == from.nid) && (self.match_bits ^ bits) & !self.ignore_bits == 0
    }

    fn is_unique(&self) -> bool {
        self.ignore_bits == 0
    }
}

/// What an entry is for.
pub enum Entry {
    /// Messages of at most `max` bytes, each in a buffer of its own, until the entry is taken
    /// away. `service`: they count against the receive budget.
    Messages {
        /// Bytes at the most.
        max: u32,
        /// Whether the budget applies.
        service: bool,
    },
    /// Data of one PUT.
    Sink(Sink),
    /// Data for one GET.
    Source {
        /// The pages.
        pages: Arc<Pages>,
        /// Where the data begin.
        off: usize,
        /// How long they are.
        len: usize,
    },
}

/// What became of an entry that was taken away.
pub enum Detached {
    /// It was used up before, or its sink is being filled.
    Used,
    /// It was still there, with its sink if it had one.
    Unused(Option<Sink>),
}

/// Names an entry; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EntryHandle {
    portal: u32,
    id: u64,
}

struct Me {
    id: u64,
    spec: MatchSpec,
    entry: Entry,
    handler: Arc<dyn EventHandler>,
    cookie: u64,
}

/// Whom an event goes to.
#[derive(Clone)]
pub struct Target {
    /// Who is told.
    pub handler: Arc<dyn EventHandler>,
    /// What it was made with.
    pub cookie: u64,
}

/// What to do with the payload of a PUT.
pub enum PutMatch {
    /// Receive it into a buffer of its own and deliver that.
    Message {
        /// To whom.
        target: Target,
        /// Whether the budget applies.
        service: bool,
        /// Bytes that are accepted.
        accept: u32,
    },
    /// Receive it into a sink, which is now the receiver's.
    Sink {
        /// To whom.
        target: Target,
        /// The sink.
        sink: Sink,
        /// Bytes that are accepted.
        accept: u32,
    },
}

/// What to answer a GET with.
pub struct GetMatch {
    /// Whom to tell when it is answered.
    pub target: Target,
    /// The pages.
    pub pages: Arc<Pages>,
    /// Where the data begin.
    pub off: usize,
    /// How long they are.
    pub len: usize,
}

/// The entries of a portal.
#[derive(Default)]
struct Table {
    /// Those with exact bits, by the bits; several may have the same.
    unique: RBTree<(u64, u64), Me>,
    /// Those with ignored bits, in the order of attachment.
    wild: KVec<Me>,
}

impl Table {
    /// The first entry that takes it, by its key or place.
    fn find(&self, from: &ProcessId, bits: u64, fits: impl Fn(&Entry) -> bool) -> Option<Place> {
        let mut key = (bits, 0);
        while let Some(c) = self.unique.cursor_lower_bound(&key) {
            let (k, me) = c.current();
            if k.0 != bits {
                break;
            }
            if me.spec.matches(from, bits) && fits(&me.entry) {
                return Some(Place::Unique(*k));
            }
            key = (bits, k.1.checked_add(1)?);
        }
        self.wild
            .iter()
            .position(|me| me.spec.matches(from, bits) && fits(&me.entry))
            .map(Place::Wild)
    }

    fn get(&self, p: &Place) -> Option<&Me> {
        match p {
            Place::Unique(k) => self.unique.get(k),
            Place::Wild(i) => self.wild.get(*i),
        }
    }

    fn take(&mut self, p: &Place) -> Option<Me> {
        match p {
            Place::Unique(k) => self.unique.remove(k),
            Place::Wild(i) => self.wild.remove(*i).ok(),
        }
    }
}

enum Place {
    Unique((u64, u64)),
    Wild(usize),
}

#[pin_data]
struct Portal {
    #[pin]
    table: Mutex<Table>,
}

/// All portals of an instance.
#[pin_data]
pub struct Portals {
    list: KVec<Pin<KBox<Portal>>>,
    #[pin]
    next: SpinLock<u64>,
}

impl Portals {
    /// All empty.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Portals>> {
        let mut list = KVec::with_capacity(PORTALS as usize, GFP_KERNEL)?;
        for _ in 0..PORTALS {
            let p = KBox::pin_init(
                pin_init!(Portal {
                    table <- new_mutex!(Table::default()),
                }),
                GFP_KERNEL,
            )?;
            list.push(p, GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Portals {
                list,
                next <- new_spinlock!(1),
            }),
            GFP_KERNEL,
        )
    }

    fn portal(&self, n: u32) -> Option<&Portal> {
        self.list.get(usize::try_from(n).ok()?).map(|p| &**p)
    }

    /// Attaches an entry.
    ///
    /// # Errors
    /// `EINVAL`: no such portal, or memory that is not there. `ENOMEM`.
    pub fn attach(&self, spec: MatchSpec, entry: Entry, target: Target) -> Result<EntryHandle> {
        let valid = match &entry {
            Entry::Messages { .. } => true,
            Entry::Sink(s) => s.is_valid(),
            Entry::Source { pages, off, len } => {
                off.checked_add(*len).is_some_and(|e| e <= pages.len())
            }
        };
        let portal = self.portal(spec.portal).filter(|_| valid).ok_or(EINVAL)?;
        let id = {
            let mut next = self.next.lock();
            *next += 1;
            *next
        };
        let me = Me {
            id,
            spec,
            entry,
            handler: target.handler,
            cookie: target.cookie,
        };
        if spec.is_unique() {
            let node = RBTreeNode::new((spec.match_bits, id), me, GFP_KERNEL)?;
            portal.table.lock().unique.insert(node);
        } else {
            portal.table.lock().wild.push(me, GFP_KERNEL)?;
        }
        Ok(EntryHandle {
            portal: spec.portal,
            id,
        })
    }

    /// Takes an entry away. No event comes for it afterwards, but one that is on its way already.
    pub fn detach(&self, h: EntryHandle, match_bits: u64) -> Detached {
        let Some(portal) = self.portal(h.portal) else {
            return Detached::Used;
        };
        let me = {
            let mut t = portal.table.lock();
            match t.unique.remove(&(match_bits, h.id)) {
                Some(me) => Some(me),
                None => match t.wild.iter().position(|m| m.id == h.id) {
                    Some(i) => t.wild.remove(i).ok(),
                    None => None,
                },
            }
        };
        match me.map(|m| m.entry) {
            Some(Entry::Sink(s)) => Detached::Unused(Some(s)),
            Some(Entry::Messages { .. } | Entry::Source { .. }) => Detached::Unused(None),
            None => Detached::Used,
        }
    }

    /// Takes all entries of all portals away.
    pub fn clear(&self) {
        for p in self.list.iter() {
            let old = core::mem::take(&mut *p.table.lock());
            drop(old);
        }
    }

    /// What a PUT of `len` bytes is for; `None`: for nobody, it is to be dropped.
    pub fn put(&self, portal: u32, from: &ProcessId, bits: u64, len: u32) -> Option<PutMatch> {
        let mut t = self.portal(portal)?.table.lock();
        let place = t.find(from, bits, |e| {
            matches!(e, Entry::Messages { .. } | Entry::Sink(_))
        })?;
        let me = t.get(&place)?;
        if let Entry::Messages { max, service } = me.entry {
            // A message that is cut off is no message; a reply that is too long is told its
            // length by the few bytes of it that are of use.
            if len > max && service {
                return None;
            }
            return Some(PutMatch::Message {
                target: Target {
                    handler: me.handler.clone(),
                    cookie: me.cookie,
                },
                service,
                accept: len.min(max),
            });
        }
        if let Entry::Sink(sink) = &me.entry {
            if len as usize > sink.len {
                // No room: dropped, and no other entry is tried.
                return None;
            }
        }
        let me = t.take(&place)?;
        drop(t);
        let target = Target {
            handler: me.handler,
            cookie: me.cookie,
        };
        match me.entry {
            Entry::Sink(sink) => Some(PutMatch::Sink {
                accept: len,
                target,
                sink,
            }),
            Entry::Messages { .. } | Entry::Source { .. } => None,
        }
    }

    /// What a GET is answered with; `None`: with nothing, it is to be dropped.
    pub fn get(&self, portal: u32, from: &ProcessId, bits: u64) -> Option<GetMatch> {
        let mut t = self.portal(portal)?.table.lock();
        let place = t.find(from, bits, |e| matches!(e, Entry::Source { .. }))?;
        let me = t.take(&place)?;
        drop(t);
        match me.entry {
            Entry::Source { pages, off, len } => Some(GetMatch {
                target: Target {
                    handler: me.handler,
                    cookie: me.cookie,
                },
                pages,
                off,
                len,
            }),
            Entry::Messages { .. } | Entry::Sink(_) => None,
        }
    }
}
