// SPDX-License-Identifier: GPL-2.0

//! SEQ: who hands out sequences (`ost.md` 17, `ondisk.md` 10.1). The controller on MDT0000 gives
//! servers super-sequences; each server gives clients, or MDTs, sequences of its own.

use crate::fld::{Along, Fld};
use crate::service::{Request, Served};
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Full, Relaxed};
use osd::{Create, Device, ObjectRef, Plan, Transaction};
use wire::connect::ConnectFlags;
use wire::fid::{oid, seq, seq_is_norm, Fid, SUPER_SEQ_WIDTH};
use wire::opcode::SEQ_QUERY;
use wire::seq::{range_type, seq_op, LuSeqRange, SeqRange};
use zerocopy::{FromBytes, IntoBytes};

/// Sequences that an MDT takes at once.
const WINDOW: u64 = 1000;
/// Bytes of the files.
const LEN: usize = size_of::<LuSeqRange>();

/// The end of all sequences.
const END: u64 = u64::MAX;

/// Where a server gets super-sequences: the controller, or a light connection to it.
pub trait SuperSource: Send + Sync {
    /// Takes one. It is the asker's for good, wherever the answer gets lost.
    ///
    /// # Errors
    /// `ENOSPC`: none is left. `EINPROGRESS`, `ENOTCONN`, ...: not now.
    fn alloc_super(&self) -> Result<SeqRange>;
}

impl<F: Fn() -> Result<SeqRange> + Send + Sync> SuperSource for F {
    fn alloc_super(&self) -> Result<SeqRange> {
        self()
    }
}

/// `seq_ctl` or `seq_srv`: what is left to give.
struct SeqFile {
    file: ObjectRef,
}

impl SeqFile {
    /// Opens it, or makes it.
    fn open(osd: &Arc<dyn Device>, oid: u32) -> Result<SeqFile> {
        let file = osd.object(&Fid::local(oid))?;
        if !file.exists() {
            let what = Create::file(0o644);
            let mut plan = osd.plan()?;
            plan.create(&file, &what, None)?;
            let mut tx = plan.start()?;
            tx.create(&file, &what, None)?;
            tx.stop()?;
        }
        Ok(SeqFile { file })
    }

    /// What is in it; none if it is empty.
    fn read(&self) -> Result<Option<SeqRange>> {
        let mut buf = [0u8; LEN];
        match self.file.read(0, &mut buf)? {
            0 => Ok(None),
            LEN => {
                let r = LuSeqRange::read_from_bytes(&buf).map_err(|_| EINVAL)?.get();
                if !r.is_sane() {
                    pr_err!("{}: not a range of sequences\n", self.file.fid());
                    return Err(EINVAL);
                }
                Ok(Some(r))
            }
            n => {
                pr_err!("{}: {} bytes, not a range\n", self.file.fid(), n);
                Err(EINVAL)
            }
        }
    }

    fn plan(&self, plan: &mut Plan) -> Result {
        plan.write(&self.file, 0, LEN)
    }

    fn write(&self, tx: &mut Transaction, r: SeqRange) -> Result {
        tx.write(&self.file, 0, LuSeqRange::from(r).as_bytes())
    }

    /// Writes it; it is on disk when this returns.
    fn store(&self, osd: &Arc<dyn Device>, r: SeqRange) -> Result {
        let mut plan = osd.plan()?;
        self.plan(&mut plan)?;
        let mut tx = plan.start()?;
        let done = self.write(&mut tx, r);
        tx.set_sync();
        tx.stop()?;
        done
    }
}

/// Cuts up to `width` sequences off the front.
fn cut(space: &mut SeqRange, width: u64) -> SeqRange {
    let n = space.width().min(width);
    let taken = SeqRange {
        end: space.start + n,
        ..*space
    };
    space.start = taken.end;
    taken
}

/// The controller, on MDT0000.
#[pin_data]
pub struct Controller {
    file: SeqFile,
    fld: Arc<Fld>,
    /// What is left. Held over the transaction that gives some of it away.
    #[pin]
    space: Mutex<SeqRange>,
}

/// The controller's file in the transaction that tells FLD.
struct WithSpace<'a> {
    file: &'a SeqFile,
    left: SeqRange,
}

impl Along for WithSpace<'_> {
    fn plan(&self, plan: &mut Plan) -> Result {
        self.file.plan(plan)
    }
    fn run(&self, tx: &mut Transaction) -> Result {
        self.file.write(tx, self.left)
    }
}

impl Controller {
    /// Opens `seq_ctl`, or makes it, with all sequences still to give.
    ///
    /// # Errors
    /// `EINVAL`: it is damaged. `EIO`, `ENOSPC`.
    pub fn open(osd: &Arc<dyn Device>, fld: &Arc<Fld>) -> Result<Arc<Controller>> {
        let file = SeqFile::open(osd, oid::SEQ_CTL)?;
        let space = match file.read()? {
            Some(s) => s,
            None => {
                let all = SeqRange {
                    start: seq::NORMAL,
                    end: END,
                    index: 0,
                    flags: range_type::MDT,
                };
                file.store(osd, all)?;
                all
            }
        };
        Arc::pin_init(
            pin_init!(Controller {
                file,
                fld: fld.clone(),
                space <- new_mutex!(space),
            }),
            GFP_KERNEL,
        )
    }

    /// Gives a target a super-sequence. It is on disk, and FLD knows it, when this returns.
    ///
    /// # Errors
    /// `ENOSPC`: none is left. `EINVAL`: no such kind of target. `EIO`, `EROFS`.
    pub fn alloc_super(&self, index: u32, kind: u32) -> Result<SeqRange> {
        if kind != range_type::MDT && kind != range_type::OST {
            return Err(EINVAL);
        }
        let mut space = self.space.lock();
        let mut left = *space;
        let cut = cut(&mut left, SUPER_SEQ_WIDTH);
        if cut.is_empty() {
            return Err(ENOSPC);
        }
        let range = SeqRange {
            index,
            flags: kind,
            ..cut
        };
        let along = WithSpace {
            file: &self.file,
            left,
        };
        self.fld.insert_along(range, &along)?;
        *space = left;
        Ok(range)
    }

    /// The way to it for the server of the same node.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn source(self: &Arc<Self>, index: u32, kind: u32) -> Result<Arc<dyn SuperSource>> {
        let controller = self.clone();
        Ok(Arc::new(
            OwnController {
                controller,
                index,
                kind,
            },
            GFP_KERNEL,
        )?)
    }
}

/// The controller, for a server of its own node.
struct OwnController {
    controller: Arc<Controller>,
    index: u32,
    kind: u32,
}

impl SuperSource for OwnController {
    fn alloc_super(&self) -> Result<SeqRange> {
        self.controller.alloc_super(self.index, self.kind)
    }
}

/// What a server has.
struct State {
    /// What is left beyond the windows; on disk is nothing else.
    space: SeqRange,
    /// MDT: sequences that may be handed out.
    now: SeqRange,
    /// MDT: those that follow.
    next: SeqRange,
    /// Which write took them from the space.
    next_write: u64,
    /// Number of the last write.
    writes: u64,
}

/// A target that hands out sequences.
#[pin_data]
pub struct SeqServer {
    osd: Arc<dyn Device>,
    file: SeqFile,
    index: u32,
    kind: u32,
    source: Arc<dyn SuperSource>,
    fld: Arc<Fld>,
    /// The last write that is on disk.
    on_disk: Arc<Atomic<u64>>,
    /// Outermost: held over transactions and over the question for a super-sequence. Nobody takes
    /// it in a transaction.
    #[pin]
    state: Mutex<State>,
}

impl SeqServer {
    /// Opens `seq_srv`, or makes it, for the target with this index and kind ([`range_type`]).
    ///
    /// # Errors
    /// `EINVAL`: it is damaged. `EIO`, `ENOSPC`.
    pub fn open(
        osd: &Arc<dyn Device>,
        index: u32,
        kind: u32,
        source: Arc<dyn SuperSource>,
        fld: &Arc<Fld>,
    ) -> Result<Arc<SeqServer>> {
        let file = SeqFile::open(osd, oid::SEQ_SRV)?;
        let none = SeqRange {
            start: 0,
            end: 0,
            index,
            flags: kind,
        };
        let space = match file.read()? {
            Some(s) => SeqRange {
                index,
                flags: kind,
                ..s
            },
            None => {
                file.store(osd, none)?;
                none
            }
        };
        let state = State {
            space,
            now: none,
            next: none,
            next_write: 0,
            writes: 0,
        };
        let on_disk = Arc::new(Atomic::<u64>::new(0), GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(SeqServer {
                osd: osd.clone(),
                file,
                index,
                kind,
                source,
                fld: fld.clone(),
                on_disk,
                state <- new_mutex!(state),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes a sequence that nobody had before, nor will have after a crash.
    ///
    /// # Errors
    /// `EINPROGRESS`: not now, as MDT0000 cannot be reached. `ENOSPC`: none is left. `EIO`,
    /// `EROFS`.
    pub fn alloc(&self) -> Result<u64> {
        let mut st = self.state.lock();
        if self.kind == range_type::OST {
            self.alloc_one(&mut st)
        } else {
            self.alloc_of_window(&mut st)
        }
    }

    /// Makes sure that something is left.
    fn refill(&self, st: &mut State) -> Result {
        if !st.space.is_empty() {
            return Ok(());
        }
        let got = self.source.alloc_super().map_err(|e| {
            // About this target's connection, not about that of who asks.
            if e == ENOTCONN || e == ETIMEDOUT || e == ESHUTDOWN || e == EAGAIN {
                EINPROGRESS
            } else {
                e
            }
        })?;
        if got.is_empty() || !seq_is_norm(got.start) {
            return Err(EINVAL);
        }
        let range = SeqRange {
            index: self.index,
            flags: self.kind,
            ..got
        };
        self.fld.insert(range)?;
        st.space = range;
        Ok(())
    }

    fn alloc_one(&self, st: &mut State) -> Result<u64> {
        loop {
            self.refill(st)?;
            let mut left = st.space;
            let taken = cut(&mut left, 1).start;
            // A target that was restored from a backup may have used it.
            if self.osd.object(&Fid::new(taken, 0))?.exists() {
                st.space = left;
                continue;
            }
            self.file.store(&self.osd, left)?;
            st.space = left;
            return Ok(taken);
        }
    }

    fn alloc_of_window(&self, st: &mut State) -> Result<u64> {
        if st.now.is_empty() {
            self.next_window(st)?;
        }
        Ok(cut(&mut st.now, 1).start)
    }

    /// A window may be used once the write that took it from the space is on disk.
    fn next_window(&self, st: &mut State) -> Result {
        if st.next.is_empty() {
            self.refill(st)?;
            let mut left = st.space;
            let (now, next) = (cut(&mut left, WINDOW), cut(&mut left, WINDOW));
            self.write(st, left, true)?;
            (st.space, st.now, st.next) = (left, now, next);
            return Ok(());
        }
        if self.on_disk.load(Relaxed) < st.next_write {
            self.osd.sync()?;
        }
        st.now = st.next;
        st.next.start = st.next.end;
        // What is at hand does for a while if this fails.
        if self.refill(st).is_ok() {
            let mut left = st.space;
            let next = cut(&mut left, WINDOW);
            if self.write(st, left, false).is_ok() {
                (st.space, st.next) = (left, next);
            }
        }
        Ok(())
    }

    fn write(&self, st: &mut State, left: SeqRange, sync: bool) -> Result {
        let mut plan = self.osd.plan()?;
        self.file.plan(&mut plan)?;
        let (number, on_disk) = (st.writes + 1, self.on_disk.clone());
        let call = KBox::new(
            move |r: Result| {
                if r.is_ok() {
                    raise(&on_disk, number);
                }
            },
            GFP_KERNEL,
        )?;
        let mut tx = plan.start()?;
        let done = self
            .file
            .write(&mut tx, left)
            .and_then(|()| tx.on_commit(call));
        if sync {
            tx.set_sync();
        }
        tx.stop()?;
        done?;
        (st.writes, st.next_write) = (number, number);
        Ok(())
    }
}

fn raise(to: &Atomic<u64>, value: u64) {
    let mut seen = to.load(Relaxed);
    while seen < value {
        match to.cmpxchg(seen, value, Full) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

/// Whether an export is that of a server.
fn is_server(req: &Request<'_>) -> bool {
    let f = req.export.connect_data().flags();
    f.intersects(ConnectFlags::LIGHTWEIGHT | ConnectFlags::MDS | ConnectFlags::MDS_MDS)
}

/// SEQ_QUERY: of sequences at `server`, of super-sequences at `controller`.
///
/// # Errors
/// `EPROTO`: not such a request. `EINVAL`: this target does not give what is asked for, or it is
/// nothing that is given. `EPERM`: super-sequences are for servers.
pub fn serve(
    req: &mut Request<'_>,
    server: Option<&SeqServer>,
    controller: Option<&Controller>,
) -> Result<Served> {
    if req.rpc.opc() != SEQ_QUERY {
        return Err(EOPNOTSUPP);
    }
    let op = *req.rpc.get::<zerocopy::little_endian::U32>(1)?;
    let asked = req.rpc.get::<LuSeqRange>(2)?.get();
    let given = match (op.get(), server, controller) {
        (seq_op::ALLOC_META, Some(s), _) => s.alloc().map(|seq| SeqRange {
            start: seq,
            end: seq + 1,
            ..asked
        }),
        (seq_op::ALLOC_SUPER, _, Some(c)) => {
            if !is_server(req) {
                return Err(EPERM);
            }
            c.alloc_super(asked.index, asked.flags)
        }
        _ => return Err(EINVAL),
    };
    req.rpc.pack_reply(&[LEN as u32])?;
    match given {
        Ok(r) => {
            *req.rpc.reply_mut()?.get_mut::<LuSeqRange>(1)? = r.into();
            Ok(Served::Reply(0))
        }
        Err(e) => Ok(Served::Reply(e.to_errno())),
    }
}

#[cfg(test)]
mod tests;
