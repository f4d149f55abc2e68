// SPDX-License-Identifier: GPL-2.0

//! An MDT's connection to an OST.

use crate::catalog::Catalog;
use crate::changes::{Changes, Op, Owner, Sender, Ticket};
use crate::last_used::LastUsed;
use crate::pool::{Empty, Pool};
use crate::precreate::Precreate;
use crate::requests;
use crate::state::{Events, State};
use kapi::prelude::*;
use kapi::thread::Threads;
use osd::{Device, Plan, Transaction};
use ptlrpc::export::ClientUuid;
use ptlrpc::import::{Import, ImportConfig};
use ptlrpc::node::Node;
use wire::fid::Fid;
use wire::nid::Nid;
use wire::opcode::{portal, OST_CONNECT, OST_DISCONNECT};
use wire::ost::{ObdStatfs, OsState};

/// The part that an MDT has in `lm_secflvr` (`ptlrpc.md` 12.1).
const PART_MDT: u8 = 1;

/// Which OST, and how to reach it.
pub struct OspConfig {
    /// "lustre-OST0000-osc-MDT0000"
    pub name: KVVec<u8>,
    /// Index of the OST.
    pub ost_index: u32,
    /// Index of the MDT whose connection it is.
    pub mdt_index: u32,
    /// "lustre-OST0000_UUID"
    pub target_uuid: ClientUuid,
    /// "lustre-MDT0000-mdtlov_UUID"
    pub client_uuid: ClientUuid,
    /// A NID per node where the OST may be, in the order to try.
    pub peers: KVec<Nid>,
    /// The MDT's store, which remembers the last object used.
    pub osd: Arc<dyn Device>,
}

/// What matters when an OST is to be chosen.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// It is connected, and in use.
    pub active: bool,
    /// It is in use, and not connected, or it is not known yet what is there.
    pub starting: bool,
    /// What keeps objects from being made there.
    pub state: OsState,
    /// Objects that are ready.
    pub ready: u64,
    /// Free space, bytes.
    pub free: u64,
}

/// A connection of an MDT to an OST.
#[pin_data]
pub struct Osp {
    name: KVVec<u8>,
    index: u32,
    osd: Arc<dyn Device>,
    import: Arc<Import>,
    state: Arc<State>,
    changes: Arc<Changes>,
    last_used: Arc<LastUsed>,
    #[pin]
    threads: Mutex<Threads>,
}

/// Where the last life of the MDT ended.
fn start_point(last_used: &LastUsed, ost_index: u16, mdt_index: u32) -> Result<(u64, u64)> {
    let (seq, id) = last_used.load()?;
    let idif = |id| Fid::idif(ost_index, id).map(|f| f.seq).ok_or(EINVAL);
    match (seq, id) {
        // MDT0000 begins with the sequence that needs not be asked for.
        (0, 0) if mdt_index == 0 => {
            let seq = idif(1)?;
            last_used.store(seq, 1)?;
            Ok((seq, 1))
        }
        (0, 0) => Ok((0, 0)),
        // From before sequences were written down.
        (0, id) => {
            let seq = idif(id)?;
            last_used.store(seq, id)?;
            Ok((seq, id))
        }
        other => Ok(other),
    }
}

impl Osp {
    /// Begins to connect and to have objects made.
    ///
    /// # Errors
    /// `EINVAL`: no peers, or an index beyond 16 bits, or what is in `lov_objid` is no number.
    /// `ENOMEM`, `EAGAIN`: no threads to be had. `EIO`, `ENOSPC`.
    pub fn new(node: &Arc<Node>, config: OspConfig) -> Result<Arc<Osp>> {
        let ost_index = u16::try_from(config.ost_index)?;
        let last_used = LastUsed::open(&config.osd, ost_index)?;
        let (seq, used) = start_point(&last_used, ost_index, config.mdt_index)?;
        let state = State::new(Pool::new(ost_index, seq, used))?;
        let changes = Changes::new(Catalog::open(&config.osd, ost_index)?)?;
        let events = Events {
            state: state.clone(),
            changes: changes.clone(),
        };
        let import_config = ImportConfig {
            target_uuid: config.target_uuid,
            client_uuid: config.client_uuid,
            peers: config.peers,
            request_portal: portal::OST_REQUEST,
            reply_portal: portal::OSC_REPLY,
            connect_opc: OST_CONNECT,
            disconnect_opc: OST_DISCONNECT,
            wanted: requests::connect_data(config.ost_index, config.mdt_index),
            max_modify: 1,
            part: PART_MDT,
        };
        let import = Import::new(node, import_config, Some(Arc::new(events, GFP_KERNEL)?))?;
        let to_close = import.clone();
        let made = Arc::pin_init(
            pin_init!(Osp {
                name: config.name,
                index: config.ost_index,
                osd: config.osd,
                import,
                state,
                changes,
                last_used,
                threads <- new_mutex!(Threads::new()),
            }),
            GFP_KERNEL,
        );
        let osp: Arc<Osp> = match made {
            Ok(o) => o,
            Err(e) => {
                to_close.close(ESHUTDOWN);
                return Err(e);
            }
        };
        if let Err(e) = osp.spawn(config.mdt_index) {
            osp.stop();
            return Err(e);
        }
        Ok(osp)
    }

    fn spawn(&self, mdt_index: u32) -> Result {
        let work = Precreate {
            state: self.state.clone(),
            import: self.import.clone(),
            last_used: self.last_used.clone(),
            ost_index: u16::try_from(self.index)?,
            mdt_index,
            name: self.copy_name()?,
        };
        let (ost, mdt) = (self.index, mdt_index);
        let mut threads = self.threads.lock();
        threads.spawn(format_args!("osp-pre-{ost}-{mdt}"), move || work.run())?;
        let sender = Sender::new(&self.changes, &self.import, self.copy_name()?, &self.state)?;
        threads.spawn(format_args!("osp-syn-{ost}-{mdt}"), move || sender.run())
    }

    fn copy_name(&self) -> Result<KVVec<u8>> {
        let mut name = KVVec::new();
        name.extend_from_slice(&self.name, GFP_KERNEL)?;
        Ok(name)
    }

    /// Ends it: what is queued is sent, if the OST takes it within some seconds; then the
    /// connection ends. Nobody holds a transaction any more.
    pub fn stop(&self) {
        // What is not committed is not queued yet.
        if let Err(e) = self.osd.sync() {
            pr_err!("{}: sync at the end: {:?}\n", self.name(), e);
        }
        self.state.change(|i| i.stopping = true);
        self.changes.stop();
        let threads = core::mem::take(&mut *self.threads.lock());
        threads.join();
        self.import.disconnect();
    }

    /// Index of the OST.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its name.
    pub fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// Where the OST is, or was, or may be.
    pub fn peer(&self) -> Option<Nid> {
        self.import.peer()
    }

    /// What matters when an OST is to be chosen.
    pub fn view(&self) -> View {
        let inner = self.state.inner.lock();
        let in_use = inner.active && !inner.stopping;
        let mut state = OsState::empty();
        let mut free = 0;
        if let Some(space) = &inner.space {
            let stat = space.stat();
            let bsize = u64::from(stat.os_bsize.get());
            free = stat.os_bavail.get().saturating_mul(bsize);
            state = space.state();
        }
        if inner.pool.is_disabled() {
            state.insert(OsState::NOCREATE);
        }
        View {
            active: in_use && inner.connected,
            starting: in_use && !(inner.connected && inner.pool.is_ready()),
            state,
            ready: match inner.pool.is_ready() {
                true => inner.pool.available(),
                false => 0,
            },
            free,
        }
    }

    /// The administrator wants it used, or not: then no new objects are made there.
    pub fn set_active(&self, on: bool) {
        self.state.change(|i| i.active = on);
    }

    /// How many objects may be ready at the most; zero: none shall be made any more.
    pub fn set_max_create_count(&self, max: u32) {
        self.state.change(|i| i.pool.set_max(max));
    }

    /// Changes to objects that the OST has not got yet, or not on its disk.
    pub fn pending_changes(&self) -> u32 {
        self.changes.len()
    }

    /// Destroys among [`Osp::pending_changes`].
    pub fn pending_destroys(&self) -> u32 {
        self.changes.destroys()
    }

    /// Whether the changes that earlier lives of the MDT left have been sent.
    pub fn old_changes_sent(&self) -> bool {
        self.changes.old_sent()
    }

    /// The space as it was some seconds ago, `os_fprecreated` filled in; `None` if the OST was
    /// never heard.
    pub fn statfs(&self) -> Option<ObdStatfs> {
        let inner = self.state.inner.lock();
        let mut stat = *inner.space.as_ref()?.stat();
        let ready = match inner.pool.is_ready() {
            true => inner.pool.available(),
            false => 0,
        };
        stat.os_fprecreated
            .set(u32::try_from(ready).unwrap_or(u32::MAX));
        if inner.pool.is_disabled() {
            let state = OsState::from_bits_retain(stat.os_state.get()) | OsState::NOCREATE;
            stat.os_state.set(state.bits());
        }
        Some(stat)
    }

    /// Reserves an object, waiting for it `patience` long.
    ///
    /// # Errors
    /// `ENOBUFS`: there is none, and there was no patience, or none shall be made. `ENOSPC`: the
    /// OST is full. `ENODEV`: not in use. `ETIMEDOUT`: none came in time.
    pub fn reserve(self: &Arc<Self>, patience: Duration) -> Result<Reservation> {
        let deadline = Instant::now() + patience;
        let mut commit = true;
        let mut inner = self.state.inner.lock();
        loop {
            if inner.stopping || !inner.active {
                return Err(ENODEV);
            }
            // What is ready on an OST that is away is no use to a new file.
            let reserved = match inner.connected {
                true => inner.pool.reserve(),
                false => Err(Empty::ForNow),
            };
            match reserved {
                Ok(()) => {
                    self.state.work.notify_one();
                    return Ok(Reservation {
                        osp: self.clone(),
                        chosen: None,
                        taken: false,
                    });
                }
                Err(Empty::Disabled) => return Err(ENOBUFS),
                Err(Empty::ForNow) if patience.is_zero() => {
                    self.state.work.notify_one();
                    return Err(ENOBUFS);
                }
                Err(Empty::ForNow) => {}
            }
            if inner.status == Some(ENOSPC) {
                if self.changes.destroys() == 0 {
                    return Err(ENOSPC);
                }
                if commit {
                    // Objects are destroyed when the transactions that end their files are on disk.
                    drop(inner);
                    self.osd.start_commit();
                    commit = false;
                    inner = self.state.inner.lock();
                    continue;
                }
            }
            let left = deadline.duration_since(Instant::now());
            if left.is_zero() {
                return Err(ETIMEDOUT);
            }
            self.state.work.notify_one();
            inner = self.state.objects.wait_timeout(inner, left).0;
        }
    }

    /// Plans for the end of objects; see [`Ticket::enqueue`].
    ///
    /// # Errors
    /// `EINPROGRESS`: too many changes wait for this OST. `ENOMEM`.
    pub fn destroy(&self, objects: impl Iterator<Item = Fid>) -> Result<Ticket> {
        self.changes.ticket(objects, Op::Destroy)
    }

    /// Plans for another owner of objects; see [`Ticket::enqueue`].
    ///
    /// # Errors
    /// As [`Osp::destroy`].
    pub fn set_owner(&self, objects: impl Iterator<Item = Fid>, owner: Owner) -> Result<Ticket> {
        self.changes.ticket(objects, Op::Owner(owner))
    }
}

/// An object to be had. Dropped, it goes back to the pool.
pub struct Reservation {
    osp: Arc<Osp>,
    /// Handed out already.
    chosen: Option<Fid>,
    taken: bool,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.taken && self.chosen.is_none() {
            self.osp.state.change(|i| i.pool.release());
        }
    }
}

impl Reservation {
    /// The OST.
    pub fn osp(&self) -> &Arc<Osp> {
        &self.osp
    }

    /// Plans for [`Reservation::take`].
    ///
    /// # Errors
    /// `ENOMEM`, `EIO`.
    pub fn plan(&self, plan: &mut Plan) -> Result {
        self.osp.last_used.plan(plan)
    }

    /// Gives the object, which nobody uses yet, a size before it is taken. If it is not taken
    /// then, it belongs to nobody; should a later one be used, it stays.
    ///
    /// # Errors
    /// `EINPROGRESS`: the OST cannot do that now. Why it refuses.
    pub fn set_size(&mut self, size: u64) -> Result {
        let osp = &self.osp;
        let fid = match self.chosen {
            Some(f) => f,
            None => osp.state.change(|i| i.pool.take()).ok_or(EIO)?,
        };
        self.chosen = Some(fid);
        requests::set_size(&osp.import, fid, size).map_err(|e| match e {
            e if e == ENOTCONN || e == ETIMEDOUT || e == EAGAIN || e == EIO => EINPROGRESS,
            e => e,
        })
    }

    /// Takes the object: from now on it belongs to the caller, if `tx` gets to the disk.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`: the object belongs to nobody; should a later one be used, it stays.
    pub fn take(mut self, tx: &mut Transaction) -> Result<Fid> {
        let state = &self.osp.state;
        let chosen = self.chosen;
        let (fid, written) = self.osp.last_used.in_order(|last_used| {
            let taken = state.change(|i| Some((chosen.or_else(|| i.pool.take())?, i.pool.used())));
            let (fid, id) = taken.ok_or(EIO)?;
            Ok::<_, Error>((fid, last_used.write(tx, id)))
        })?;
        // The pool does not count it as promised any more, written or not.
        self.taken = true;
        written.map(|()| fid)
    }
}
