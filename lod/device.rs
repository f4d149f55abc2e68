// SPDX-License-Identifier: GPL-2.0

//! The OSTs of a file system, as its MDT sees them (`ost.md` 19).

use crate::allocate::{Allocation, Balance, Source};
use crate::choose;
use crate::layout::Layout;
use crate::pools::Pools;
use crate::space;
use crate::spec::{self, Desc, Spec};
use core::fmt::Write;
use kapi::prelude::*;
use lnet::fail::{self, point};
use osd::Device;
use osp::{Osp, OspConfig, Reservation, View};
use ptlrpc::export::ClientUuid;
use ptlrpc::node::Node;
use wire::lov::{plain_size, LovOstData, LOV_MAX_STRIPE_COUNT};
use wire::nid::Nid;
use wire::ost::ObdStatfs;

/// How long a new file waits for OSTs and for objects of theirs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the longest name of a file system.
const FSNAME_MAX: usize = 8;

/// Whose OSTs they are.
pub struct LodConfig {
    /// Name of the file system.
    pub fsname: KVVec<u8>,
    /// Index of the MDT.
    pub mdt_index: u32,
    /// The MDT's store.
    pub osd: Arc<dyn Device>,
    /// What files are like where nobody says anything else.
    pub desc: Desc,
    /// Bytes that an xattr can have, which limits the stripes of a file.
    pub max_ea: usize,
}

/// The OSTs at some time, by their indices.
pub(crate) struct Set {
    osts: KVec<Arc<Osp>>,
    /// A NID of the server of each.
    servers: KVec<Nid>,
    /// In which order they are taken in turn.
    order: KVec<usize>,
}

impl Set {
    fn empty() -> Set {
        Set {
            osts: KVec::new(),
            servers: KVec::new(),
            order: KVec::new(),
        }
    }

    /// The one with this index.
    pub(crate) fn find(&self, index: u32) -> Option<&Arc<Osp>> {
        let at = self.osts.binary_search_by_key(&index, |o| o.index()).ok()?;
        self.osts.get(at)
    }

    /// These and another one.
    fn with(&self, new: &Arc<Osp>, server: Nid) -> Result<Set> {
        let mut set = Set::empty();
        let mut left = Some((new, server));
        for (o, s) in self.osts.iter().zip(self.servers.iter()) {
            if let Some((new, server)) = left.filter(|n| n.0.index() < o.index()) {
                set.push(new, server)?;
                left = None;
            }
            set.push(o, *s)?;
        }
        if let Some((new, server)) = left {
            set.push(new, server)?;
        }
        set.order = choose::spread(&set.servers)?;
        Ok(set)
    }

    fn push(&mut self, osp: &Arc<Osp>, server: Nid) -> Result {
        self.osts.push(osp.clone(), GFP_KERNEL)?;
        Ok(self.servers.push(server, GFP_KERNEL)?)
    }
}

impl Source for Arc<Osp> {
    type Object = Reservation;

    fn index(&self) -> u32 {
        Osp::index(self)
    }

    fn view(&self) -> View {
        Osp::view(self)
    }

    fn reserve(&self, patience: Duration) -> Result<Reservation> {
        Osp::reserve(self, patience)
    }
}

/// The OSTs of a file system.
#[pin_data]
pub struct Lod {
    node: Arc<Node>,
    config: LodConfig,
    #[pin]
    set: Mutex<Arc<Set>>,
    /// The first OST was added.
    #[pin]
    first: CondVar,
    /// One OST is added after the other.
    #[pin]
    adding: Mutex<()>,
    #[pin]
    desc: Mutex<Desc>,
    #[pin]
    pools: Mutex<Pools>,
    #[pin]
    balance: Mutex<Balance>,
}

/// Text that is put together.
#[derive(Default)]
struct Text(KVVec<u8>);

impl Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        self.0
            .extend_from_slice(s.as_bytes(), GFP_KERNEL)
            .map_err(|_| core::fmt::Error)
    }
}

fn text(args: core::fmt::Arguments<'_>) -> Result<KVVec<u8>> {
    let mut t = Text::default();
    t.write_fmt(args).map_err(|_| ENOMEM)?;
    Ok(t.0)
}

impl Lod {
    /// No OSTs yet.
    ///
    /// # Errors
    /// `EINVAL`: the name of the file system. `ENOMEM`.
    pub fn new(node: &Arc<Node>, config: LodConfig) -> Result<Arc<Lod>> {
        if config.fsname.len() > FSNAME_MAX || !config.fsname.is_ascii() {
            return Err(EINVAL);
        }
        let set = Arc::new(Set::empty(), GFP_KERNEL)?;
        let desc = config.desc;
        Arc::pin_init(
            pin_init!(Lod {
                node: node.clone(),
                config,
                set <- new_mutex!(set),
                first <- new_condvar!(),
                adding <- new_mutex!(()),
                desc <- new_mutex!(desc),
                pools <- new_mutex!(Pools::default()),
                balance <- new_mutex!(Balance::default()),
            }),
            GFP_KERNEL,
        )
    }

    /// The OSTs as they are now.
    pub(crate) fn set(&self) -> Arc<Set> {
        self.set.lock().clone()
    }

    /// The OSTs, waiting for the first one until `deadline`: an MDT hears of new OSTs a moment
    /// after they are mounted, and clients may be faster.
    ///
    /// # Errors
    /// `EIO`: there are none.
    fn some_osts(&self, deadline: Instant) -> Result<Arc<Set>> {
        let mut set = self.set.lock();
        while set.osts.is_empty() {
            let left = deadline.duration_since(Instant::now());
            if left.is_zero() {
                return Err(EIO);
            }
            set = self.first.wait_timeout(set, left).0;
        }
        Ok(set.clone())
    }

    fn osp_config(&self, index: u32, peers: KVec<Nid>) -> Result<OspConfig> {
        let fs = core::str::from_utf8(&self.config.fsname).map_err(|_| EINVAL)?;
        let mdt = self.config.mdt_index;
        let target = text(format_args!("{fs}-OST{index:04x}_UUID"))?;
        let client = text(format_args!("{fs}-MDT{mdt:04x}-mdtlov_UUID"))?;
        Ok(OspConfig {
            name: text(format_args!("{fs}-OST{index:04x}-osc-MDT{mdt:04x}"))?,
            ost_index: index,
            mdt_index: mdt,
            target_uuid: ClientUuid::new(&target)?,
            client_uuid: ClientUuid::new(&client)?,
            peers,
            osd: self.config.osd.clone(),
        })
    }

    /// Adds an OST, with a NID per node where it may be, and begins to connect to it. One that is
    /// there already stays as it is.
    ///
    /// # Errors
    /// `EINVAL`: no peers, or an index beyond 16 bits. `ENOMEM`, `EIO`, `ENOSPC`.
    pub fn add_ost(&self, index: u32, peers: KVec<Nid>) -> Result {
        let server = *peers.first().ok_or(EINVAL)?;
        let _adding = self.adding.lock();
        let old = self.set();
        if old.find(index).is_some() {
            return Ok(());
        }
        let osp = Osp::new(&self.node, self.osp_config(index, peers)?)?;
        let added = self.replace(&old, &osp, server);
        if added.is_err() {
            osp.stop();
        }
        added
    }

    fn replace(&self, old: &Set, osp: &Arc<Osp>, server: Nid) -> Result {
        let new = Arc::new(old.with(osp, server)?, GFP_KERNEL)?;
        self.balance.lock().resize(new.osts.len())?;
        *self.set.lock() = new;
        self.first.notify_all();
        Ok(())
    }

    /// The administrator wants an OST used, or not.
    ///
    /// # Errors
    /// `ENODEV`: there is no such one.
    pub fn set_active(&self, index: u32, on: bool) -> Result {
        self.set().find(index).ok_or(ENODEV)?.set_active(on);
        Ok(())
    }

    /// What files are like where nobody says anything else, from now on.
    pub fn set_desc(&self, desc: Desc) {
        *self.desc.lock() = desc;
    }

    /// What files are like where nobody says anything else.
    pub fn desc(&self) -> Desc {
        *self.desc.lock()
    }

    /// The pools are these from now on; OSTs in them may be added later.
    pub fn set_pools(&self, pools: Pools) {
        let old = core::mem::replace(&mut *self.pools.lock(), pools);
        drop(old);
    }

    /// Calls `f` with the UUIDs of the OSTs of a pool.
    ///
    /// # Errors
    /// `ENOENT`: no such pool. `ENOMEM`. Those of `f`.
    pub fn pool_osts(
        &self,
        name: &[u8],
        f: &mut dyn FnMut(core::fmt::Arguments<'_>) -> Result,
    ) -> Result {
        let mut osts = KVec::new();
        let pools = self.pools.lock();
        osts.extend_from_slice(pools.osts(name).ok_or(ENOENT)?, GFP_KERNEL)?;
        drop(pools);
        let fs = core::str::from_utf8(&self.config.fsname).map_err(|_| EINVAL)?;
        for index in osts {
            f(format_args!("{fs}-OST{index:04x}_UUID"))?;
        }
        Ok(())
    }

    /// The OSTs, by their indices.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn osts(&self) -> Result<KVec<Arc<Osp>>> {
        let set = self.set();
        let mut osts = KVec::with_capacity(set.osts.len(), GFP_KERNEL)?;
        for o in &set.osts {
            osts.push(o.clone(), GFP_KERNEL)?;
        }
        Ok(osts)
    }

    /// Space and objects of all OSTs together, in blocks of the largest size that one has; `None`:
    /// none was heard yet.
    pub fn statfs(&self) -> Option<ObdStatfs> {
        let set = self.set();
        space::sum(set.osts.iter().filter_map(|o| o.statfs()))
    }

    /// Bytes of the largest layout that is made.
    pub fn max_ea(&self) -> usize {
        plain_size(true, self.max_stripes())
    }

    fn max_stripes(&self) -> usize {
        let room = self.config.max_ea.saturating_sub(plain_size(true, 0));
        let fit = (room / size_of::<LovOstData>()).saturating_sub(1);
        fit.min(LOV_MAX_STRIPE_COUNT.into()).max(1)
    }

    /// Chooses OSTs and reserves objects on them for a new file: `user` is what was asked for,
    /// `parent` and `root` are the defaults of the directories. It may wait for OSTs some seconds,
    /// so no transaction is running.
    ///
    /// # Errors
    /// Those of the wish: `EINVAL`, `ENAMETOOLONG`; `EOPNOTSUPP`: a kind of layout that is not made.
    /// `ENOSPC`: all OSTs are full, or not in use. `EFBIG`: too few OSTs from the wished-for one on.
    /// `EINPROGRESS`: later there may be objects. `EIO`: the file system has no OSTs. `ENOMEM`.
    pub fn prepare(
        &self,
        user: Option<&[u8]>,
        parent: Option<&[u8]>,
        root: Option<&[u8]>,
    ) -> Result<Layout> {
        if fail::check(point::MDS_ALLOC_OBDO) {
            return Err(ENOMEM);
        }
        let deadline = Instant::now() + PATIENCE;
        let spec = Spec::complete(user, parent, root, &self.desc())?;
        let set = self.some_osts(deadline)?;
        let mut order = KVec::with_capacity(set.order.len(), GFP_KERNEL)?;
        {
            let pools = self.pools.lock();
            // A list of OSTs says more than a pool.
            let pool = spec.pool.as_ref().filter(|_| spec.osts.is_empty());
            for i in &set.order {
                let index = set.osts.get(*i).ok_or(EINVAL)?.index();
                if pool.is_none_or(|p| pools.allow(p, index)) {
                    order.push_within_capacity(*i)?;
                }
            }
        }
        let allocation = Allocation::new(&set.osts, &order, deadline)?;
        let taken = allocation.run(&spec, self.max_stripes(), &self.balance)?;
        let mut reserved = KVec::with_capacity(taken.len(), GFP_KERNEL)?;
        for (_, r) in taken {
            reserved.push_within_capacity(r)?;
        }
        Layout::new(&spec, reserved)
    }

    /// What a directory is to have as default layout when a user asks for this; `None`: none.
    ///
    /// # Errors
    /// `EINVAL`, `EOPNOTSUPP`: the wish. `ENOMEM`.
    pub fn directory_default(&self, user: &[u8]) -> Result<Option<KVVec<u8>>> {
        spec::directory_default(user)
    }

    /// Ends it: what is queued for the OSTs is sent, if they take it soon; then the connections
    /// end. Nobody makes or removes files any more.
    pub fn stop(&self) {
        let set = self.set();
        for o in &set.osts {
            o.stop();
        }
    }
}
