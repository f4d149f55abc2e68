// SPDX-License-Identifier: GPL-2.0

//! Changes to objects that follow changes to files: destroys and new owners (`ost.md` 13.4). They
//! are sent when the MDT's transaction is on disk, and kept until the OST has them on its disk.

use crate::catalog::{Catalog, ChangeLog, Room};
use crate::queue::{Chain, Link};
use crate::requests;
use crate::state::State;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use osd::{Plan, Transaction};
use ptlrpc::call::Outcome;
use ptlrpc::import::Import;
use wire::fid::Fid;
use wire::obdo::ObdMd;

/// Requests in flight.
const IN_FLIGHT: usize = 8;
/// Changes sent and not on the OST's disk.
const MAX_UNCOMMITTED: u32 = 16384;
/// Changes of one OST that may wait, of all kinds.
const MAX_CHANGES: u32 = 1 << 18;
/// When what an OST refused is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How long a stop waits for the OST.
const DRAIN: Duration = Duration::from_secs(20);
/// How often commits are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Who an object belongs to; what is none stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Owner {
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Project.
    pub projid: Option<u32>,
}

impl Owner {
    /// As bodies and records have it: which ids are given, and the user, group and project.
    pub(crate) fn fields(&self) -> (ObdMd, [u32; 3]) {
        let ids = [
            (ObdMd::FLUID, self.uid),
            (ObdMd::FLGID, self.gid),
            (ObdMd::FLPROJID, self.projid),
        ];
        let mut valid = ObdMd::empty();
        for (flag, id) in ids {
            valid.set(flag, id.is_some());
        }
        (valid, ids.map(|(_, id)| id.unwrap_or(0)))
    }
}

/// What is done to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Destroy,
    Owner(Owner),
}

/// A change to an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) fid: Fid,
    pub(crate) op: Op,
    /// The OST's transaction, once it was answered.
    transno: u64,
}

impl Change {
    pub(crate) fn new(fid: Fid, op: Op) -> Change {
        Change {
            fid,
            op,
            transno: 0,
        }
    }
}

/// A request in flight.
struct Slot {
    link: KBox<Link>,
    /// The connection that it went out on.
    connection: u64,
    outcome: Option<Result<Answer>>,
}

/// What an OST said to a change.
struct Answer {
    status: i32,
    transno: u64,
}

struct Shared {
    /// Changes whose transaction is on disk.
    incoming: Chain,
    slots: [Option<Slot>; IN_FLIGHT],
    connected: bool,
    /// Connections there were, this one included.
    connections: u64,
    /// Set at a stop: all is to be sent by then.
    until: Option<Instant>,
}

/// The changes that an OST is still to get.
#[pin_data]
pub(crate) struct Changes {
    /// All that exist, planned ones included.
    count: Atomic<u32>,
    /// Destroys among them.
    destroys: Atomic<u32>,
    catalog: Arc<Catalog>,
    /// What earlier lives left has been sent.
    old_sent: Atomic<bool>,
    /// It was said that changes are not recorded.
    complained: Atomic<bool>,
    #[pin]
    shared: SpinLock<Shared>,
    #[pin]
    work: CondVar,
}

/// Changes that a transaction will bring about.
pub struct Ticket {
    changes: Arc<Changes>,
    /// Where they are recorded, if there is room for it.
    room: Option<Room>,
    chain: Chain,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        while let Some(l) = self.chain.pop() {
            self.changes.forget(&l.change);
        }
    }
}

impl Ticket {
    /// Plans for [`Ticket::record`].
    ///
    /// # Errors
    /// `ENOMEM`; `EFBIG`: too many for one transaction.
    pub fn plan(&self, plan: &mut Plan) -> Result {
        match &self.room {
            Some(room) => room.plan(plan, self.chain.iter().count()),
            None => Ok(()),
        }
    }

    /// Records the changes: they outlive a crash if `tx` does. On a full store that may not be
    /// possible; files can be removed all the same.
    pub fn record(&mut self, tx: &mut Transaction) {
        let Some(room) = &self.room else { return };
        let done = self.chain.try_for_each(|link| room.add(tx, link));
        self.changes.recorded(done);
        // Nothing is added any more.
        self.room = None;
    }

    /// The transaction is on disk: the changes are to be sent. For commit callbacks; it does not
    /// sleep.
    pub fn enqueue(mut self) {
        let mut shared = self.changes.shared.lock();
        while let Some(l) = self.chain.pop() {
            shared.incoming.push(l);
        }
        drop(shared);
        self.changes.work.notify_all();
    }
}

impl Changes {
    pub(crate) fn new(catalog: Arc<Catalog>) -> Result<Arc<Changes>> {
        Arc::pin_init(
            pin_init!(Changes {
                count: Atomic::<u32>::new(0),
                destroys: Atomic::<u32>::new(0),
                catalog,
                old_sent: Atomic::<bool>::new(false),
                complained: Atomic::<bool>::new(false),
                shared <- new_spinlock!(Shared {
                    incoming: Chain::new(),
                    slots: [const { None }; IN_FLIGHT],
                    connected: false,
                    connections: 0,
                    until: None,
                }),
                work <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// Plans for changes to `objects`. Not in a transaction.
    ///
    /// # Errors
    /// `EINPROGRESS`: too many wait already. `ENOMEM`.
    pub(crate) fn ticket(
        self: &Arc<Self>,
        objects: impl Iterator<Item = Fid>,
        op: Op,
    ) -> Result<Ticket> {
        let room = match self.catalog.room() {
            Ok(room) => Some(room),
            Err(e) if e == ENOMEM => return Err(e),
            Err(e) => {
                self.recorded(Err(e));
                None
            }
        };
        let mut ticket = Ticket {
            changes: self.clone(),
            room,
            chain: Chain::new(),
        };
        for fid in objects {
            if self.count.load(Relaxed) >= MAX_CHANGES {
                return Err(EINPROGRESS);
            }
            let link = Link::new(fid, op)?;
            self.counted(&link.change);
            ticket.chain.push(link);
        }
        Ok(ticket)
    }

    /// Complains when changes are not recorded, once.
    fn recorded(&self, done: Result) {
        match done {
            Err(e) => {
                if !self.complained.xchg(true, Relaxed) {
                    let ost = self.catalog.ost_index();
                    pr_err!(
                        "changes for OST {:04x} are not recorded, a crash loses them: {:?}\n",
                        ost,
                        e
                    );
                }
            }
            Ok(()) if self.complained.load(Relaxed) => self.complained.store(false, Relaxed),
            Ok(()) => {}
        }
    }

    fn counted(&self, c: &Change) {
        self.count.fetch_add(1, Relaxed);
        if c.op == Op::Destroy {
            self.destroys.fetch_add(1, Relaxed);
        }
    }

    /// The change is over, in one way or another.
    fn forget(&self, c: &Change) {
        self.count.fetch_sub(1, Relaxed);
        if c.op == Op::Destroy {
            self.destroys.fetch_sub(1, Relaxed);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// How many of them will give space back on the OST.
    pub(crate) fn destroys(&self) -> u32 {
        self.destroys.load(Relaxed)
    }

    /// Whether what earlier lives left has been sent.
    pub(crate) fn old_sent(&self) -> bool {
        self.old_sent.load(Relaxed)
    }

    /// What became of the connection.
    pub(crate) fn connected(&self, is: bool) {
        let mut shared = self.shared.lock();
        shared.connected = is;
        shared.connections += u64::from(is);
        drop(shared);
        self.work.notify_all();
    }

    /// Has the thread end once all is sent, or after a while. What was committed is queued by now.
    pub(crate) fn stop(&self) {
        self.shared.lock().until = Some(Instant::now() + DRAIN);
        self.work.notify_all();
    }

    fn answered(&self, slot: usize, outcome: Outcome) {
        let answer = outcome.map(|r| Answer {
            status: r.status,
            transno: r.msg.body().pb_transno.get(),
        });
        let mut shared = self.shared.lock();
        if let Some(Some(s)) = shared.slots.get_mut(slot) {
            s.outcome = Some(answer);
        }
        drop(shared);
        self.work.notify_all();
    }
}

/// What the thread that sends keeps for itself.
pub(crate) struct Sender {
    changes: Arc<Changes>,
    import: Arc<Import>,
    /// Told when space came free.
    state: Arc<State>,
    name: KVVec<u8>,
    /// To be sent, the next one on top.
    ready: Chain,
    /// Refused, the latest on top.
    refused: Chain,
    retry_at: Instant,
    /// Done, not on the OST's disk yet, the latest on top.
    done: Chain,
    uncommitted: u32,
    /// Over, and still on our disk.
    over: Chain,
    /// Logs of earlier lives, the next one last. What is new waits for them.
    old: KVec<Arc<ChangeLog>>,
    /// What was on the OST's disk at the latest look.
    committed: u64,
    /// The connection at the latest look.
    connection: u64,
}

impl Sender {
    pub(crate) fn new(
        changes: &Arc<Changes>,
        import: &Arc<Import>,
        name: KVVec<u8>,
        state: &Arc<State>,
    ) -> Result<Sender> {
        Ok(Sender {
            changes: changes.clone(),
            import: import.clone(),
            state: state.clone(),
            name,
            ready: Chain::new(),
            refused: Chain::new(),
            retry_at: Instant::now(),
            done: Chain::new(),
            uncommitted: 0,
            over: Chain::new(),
            old: changes.catalog.old()?,
            committed: 0,
            connection: 0,
        })
    }

    /// The thread.
    pub(crate) fn run(mut self) {
        loop {
            self.load();
            let (again, committed) = self.collect();
            self.settle(again, committed);
            self.changes.catalog.cancel(&mut self.over);
            if self.refused_due() {
                let refused = self.refused.take();
                self.ready.push_all(refused);
            }
            self.send();
            if self.wait() {
                break;
            }
        }
        let mut left = 0u32;
        let incoming = self.changes.shared.lock().incoming.take();
        let chains = [self.ready.take(), self.refused.take(), self.done.take()];
        for mut chain in chains.into_iter().chain([incoming]) {
            while let Some(l) = chain.pop() {
                self.changes.forget(&l.change);
                left += 1;
            }
        }
        self.changes.catalog.cancel(&mut self.over);
        self.changes.catalog.close();
        if left > 0 {
            pr_info!(
                "{}: {} changes to objects are left for the next start\n",
                self.name(),
                left
            );
        }
    }

    /// Takes what an earlier life left, when there is nothing else of it.
    fn load(&mut self) {
        while self.ready.is_empty() {
            let Some(log) = self.old.pop() else { return };
            let loaded = self.changes.catalog.load(&log);
            match loaded {
                Ok(chain) => self.ready = chain,
                Err(e) => pr_err!("{}: changes of an earlier life: {:?}\n", self.name(), e),
            }
            for c in self.ready.iter() {
                self.changes.counted(c);
            }
            if self.ready.is_empty() {
                if let Err(e) = self.changes.catalog.remove_if_over(&log) {
                    pr_err!("{}: an empty log of changes: {:?}\n", self.name(), e);
                }
            }
        }
    }

    fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// Takes what was answered and what is new. Whether the connection is another one, and what
    /// the OST has on disk.
    fn collect(&mut self) -> (bool, u64) {
        // Before the look at the connection: what it says is of that one, or of one before.
        let committed = self.import.last_committed();
        let mut over: [Option<Slot>; IN_FLIGHT] = [const { None }; IN_FLIGHT];
        let (again, connected, incoming) = {
            let mut shared = self.changes.shared.lock();
            for (slot, to) in shared.slots.iter_mut().zip(over.iter_mut()) {
                if slot.as_ref().is_some_and(|s| s.outcome.is_some()) {
                    *to = slot.take();
                }
            }
            let incoming = match self.ready.is_empty() && self.old.is_empty() {
                true => {
                    self.changes.old_sent.store(true, Relaxed);
                    shared.incoming.take()
                }
                false => Chain::new(),
            };
            let again = self.connection != shared.connections;
            self.connection = shared.connections;
            (again, shared.connected, incoming)
        };
        self.ready.push_all(incoming);
        for slot in over.into_iter().flatten() {
            if let Some(outcome) = slot.outcome {
                self.over(slot.link, slot.connection, outcome);
            }
        }
        let same = connected && !again;
        (again, if same { committed } else { self.committed })
    }

    fn over(&mut self, mut link: KBox<Link>, connection: u64, outcome: Result<Answer>) {
        let answer = match outcome {
            Ok(a) if connection == self.connection => a,
            // The connection: when it is there again, this is sent again. What was said on an
            // earlier one may be lost by now.
            _ => return self.ready.push(link),
        };
        let gone = answer.status == ENOENT.to_errno();
        if answer.status < 0 && !gone {
            if self.refused.is_empty() {
                // Once for all that follow.
                pr_info!(
                    "{}: {} of {}: {:?}, tried again later\n",
                    self.name(),
                    match link.change.op {
                        Op::Destroy => "destroy",
                        Op::Owner(_) => "setattr",
                    },
                    link.change.fid,
                    Error::from_errno(answer.status)
                );
                self.retry_at = Instant::now() + RETRY;
            }
            return self.refused.push(link);
        }
        // The news of a commit can be here before the answers that it is about.
        if gone || answer.transno <= self.committed {
            return self.finish(link);
        }
        link.change.transno = answer.transno;
        self.uncommitted += 1;
        self.done.push(link);
    }

    fn finish(&mut self, link: KBox<Link>) {
        self.changes.forget(&link.change);
        if link.change.op == Op::Destroy {
            // If the OST was full, it may not be any more.
            self.state.space_came_free();
        }
        self.over.push(link);
    }

    /// Forgets what the OST has on disk. After a new connection the rest is sent again: the OST
    /// may have lost it, and to do it twice does no harm. What the OST says in its new life is no
    /// help there: its numbers are above those of the old one, lost or not.
    fn settle(&mut self, again: bool, committed: u64) {
        if committed == self.committed && !again {
            return;
        }
        self.committed = committed;
        let mut keep = Chain::new();
        let mut done = self.done.take();
        while let Some(l) = done.pop() {
            if l.change.transno <= committed {
                self.uncommitted -= 1;
                self.finish(l);
            } else if again {
                self.uncommitted -= 1;
                self.ready.push(l);
            } else {
                keep.push(l);
            }
        }
        self.done.push_all(keep);
    }

    fn refused_due(&self) -> bool {
        !self.refused.is_empty() && self.retry_at <= Instant::now()
    }

    fn send(&mut self) {
        let over = self.changes.shared.lock().until;
        while self.uncommitted < MAX_UNCOMMITTED && over.is_none_or(|t| Instant::now() < t) {
            let Some(link) = self.ready.pop() else { return };
            let fid = link.change.fid;
            // What is refused comes before later changes of the same object.
            if self.refused.iter().any(|c| c.fid == fid) {
                self.refused.push(link);
                continue;
            }
            if let Err(link) = self.send_one(link) {
                return self.ready.push(link);
            }
        }
    }

    /// Sends one, or gives it back.
    fn send_one(&mut self, link: KBox<Link>) -> core::result::Result<(), KBox<Link>> {
        let prepared = requests::change(&link.change);
        let free = {
            let mut shared = self.changes.shared.lock();
            let fid = link.change.fid;
            let connection = shared.connections;
            let mut slots = shared.slots.iter();
            // Never two requests for one object at once.
            let busy = slots.any(|s| s.as_ref().is_some_and(|s| s.link.change.fid == fid));
            let free = shared.slots.iter().position(Option::is_none);
            match (free, busy || !shared.connected || prepared.is_err()) {
                (Some(n), false) => {
                    if let Some(slot) = shared.slots.get_mut(n) {
                        *slot = Some(Slot {
                            link,
                            connection,
                            outcome: None,
                        });
                    }
                    n
                }
                _ => return Err(link),
            }
        };
        let changes = self.changes.clone();
        let sent = prepared.and_then(|(m, options)| {
            let done = KBox::new(move |o: Outcome| changes.answered(free, o), GFP_KERNEL)?;
            self.import.call_async(m, options, None, done)
        });
        if let Err(e) = sent {
            self.changes.answered(free, Err(e));
        }
        Ok(())
    }

    /// Waits for something to do; true: it is time to end.
    fn wait(&self) -> bool {
        let shared = self.changes.shared.lock();
        let mut slots = shared.slots.iter().flatten();
        let answered = slots.any(|s| s.outcome.is_some());
        let in_flight = shared.slots.iter().any(Option::is_some);
        let more = !shared.incoming.is_empty() || !self.old.is_empty();
        let to_send = !self.ready.is_empty() || more;
        if let (Some(until), false) = (shared.until, in_flight) {
            let all_sent = !to_send && self.refused.is_empty();
            if all_sent || !shared.connected || Instant::now() >= until {
                return true;
            }
        }
        if answered || shared.connections != self.connection || (self.ready.is_empty() && more) {
            return false;
        }
        let waiting = to_send || in_flight || !self.done.is_empty() || !self.refused.is_empty();
        if waiting {
            drop(self.changes.work.wait_timeout(shared, TICK));
        } else {
            drop(self.changes.work.wait(shared));
        }
        false
    }
}
