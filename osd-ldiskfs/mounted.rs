// SPDX-License-Identifier: GPL-2.0

//! A device, from its mount to its unmount.

use crate::device::Device;
use crate::face::StoreRef;
use crate::store::Store;
use core::ffi::CStr;
use kapi::chardev::UserPtr;
use kapi::ldiskfs::{DataFile, Super};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd::StatFs;

/// How a device is mounted.
#[derive(Clone, Copy, Default, Debug)]
pub struct Options {
    /// Nothing is written to it, not even what a first mount would make.
    pub readonly: bool,
}

/// Whether somebody uses the store.
#[pin_data]
struct Use {
    #[pin]
    over: Mutex<bool>,
    #[pin]
    changed: CondVar,
}

/// What all users of a store share; the last one tells when it goes.
pub(crate) struct User(Arc<Use>);

impl Drop for User {
    fn drop(&mut self) {
        *self.0.over.lock() = true;
        self.0.changed.notify_all();
    }
}

/// A mounted device. Dropped, it waits until nobody uses the store any more: no [`osd::Device`],
/// no object, no transaction; then it unmounts, and returns when ext4 has let go of the device.
/// Not to be dropped in a commit callback.
pub struct Mounted {
    path: KVec<u8>,
    // In this order; none only while it is dropped.
    store: Option<(Arc<Store>, Arc<Use>)>,
    dev: Option<Arc<Device>>,
}

/// Mounts the ext4 device at `path`, for this target alone.
///
/// # Errors
/// `EINVAL`: it cannot be a target, the log says why. `EBUSY`: it is mounted elsewhere. `EROFS`:
/// it cannot be written to, and `readonly` was not asked for. `EIO`, `ENOMEM`, those of `open(2)`.
pub fn mount(path: &CStr, options: &Options) -> Result<Mounted> {
    let mut name = KVec::new();
    name.extend_from_slice(path.to_bytes(), GFP_KERNEL)?;
    Ok(Mounted {
        path: name,
        store: None,
        dev: Some(Device::open(path, options.readonly)?),
    })
}

/// How often a waiting unmount says so.
const PATIENCE: Duration = Duration::from_secs(30);

impl Mounted {
    fn dev(&self) -> Result<&Arc<Device>> {
        self.dev.as_ref().ok_or(ENODEV)
    }

    /// Where the device is, as it was given.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// What the superblock says: UUID, label, features.
    pub fn superblock(&self) -> Result<Super> {
        Ok(self.dev()?.mount().superblock())
    }

    /// Space and inodes.
    ///
    /// # Errors
    /// `EIO`.
    pub fn statfs(&self) -> Result<StatFs> {
        self.dev()?.statfs()
    }

    /// The content of the file at `path` below the root directory, at most `limit` bytes. It
    /// needs no store, so it is how to see what kind of target this is (`CONFIGS/mountdata`).
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`. `EINVAL`: not a file. `EFBIG`: it is longer. `EIO`, `ENOMEM`.
    pub fn read_file(&self, path: &[u8], limit: usize) -> Result<KVVec<u8>> {
        let dev = self.dev()?;
        let mut node = dev.root().clone();
        for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            node = dev.lookup(&node, name)?;
        }
        let attr = node.attr();
        if attr.mode & osd::S_IFMT != osd::S_IFREG {
            return Err(EINVAL);
        }
        let len = usize::try_from(attr.size)?;
        if len > limit {
            return Err(EFBIG);
        }
        let mut pages = Pages::new(len.div_ceil(PAGE_SIZE))?;
        let len = DataFile::open(&node)?.read(&mut pages, 0, len, 0)?;
        let mut out = KVVec::from_elem(0, len, GFP_KERNEL)?;
        pages.copy_out(0, &mut out)?;
        Ok(out)
    }

    /// Opens the store, of an OST or of another target. What a new target lacks is made.
    ///
    /// # Errors
    /// `EBUSY`: it is open. `EUCLEAN`: it cannot be served, the log says why. `EROFS`: it was
    /// never served, and is mounted for reading alone. `ENOSPC`, `EIO`, `ENOMEM`.
    pub fn open(&mut self, ost: bool) -> Result<Arc<dyn osd::Device>> {
        if self.store.is_some() {
            return Err(EBUSY);
        }
        let store = Store::open(self.dev()?.clone(), ost)?;
        let in_use = Arc::pin_init(
            pin_init!(Use { over <- new_mutex!(false), changed <- new_condvar!() }),
            GFP_KERNEL,
        )?;
        let user = Arc::new(User(in_use.clone()), GFP_KERNEL)?;
        let face = Arc::new(StoreRef::new(store.clone(), user), GFP_KERNEL)?;
        self.store = Some((store, in_use));
        Ok(face)
    }

    /// One of ext4's ioctls on the file system, for the process that calls: the label, unused
    /// blocks.
    ///
    /// # Errors
    /// `ENOTTY`: not one that does a target no harm. Those of the ioctl.
    pub fn ioctl(&self, command: u32, arg: UserPtr) -> Result<u32> {
        const GETFSLABEL: u32 = 0x8100_9431;
        const SETFSLABEL: u32 = 0x4100_9432;
        const FITRIM: u32 = 0xc018_5879;
        match command {
            // The label says that the target is registered: lost with the power, it would be taken
            // for another target of the same name.
            SETFSLABEL => {
                let mount = self.dev()?.mount();
                let done = mount.ioctl(command, arg)?;
                mount.sync()?;
                Ok(done)
            }
            GETFSLABEL | FITRIM => self.dev()?.mount().ioctl(command, arg),
            _ => Err(ENOTTY),
        }
    }

    /// Objects of the store in memory, in use or not.
    pub fn in_memory(&self) -> usize {
        self.store.as_ref().map_or(0, |(s, _)| s.in_memory())
    }

    /// Forgets the objects that nobody uses; the next who asks for one reads it from the device.
    pub fn forget(&self) {
        if let Some((store, _)) = &self.store {
            store.shrink();
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The last user may go anywhere, in the journal's thread even; so the end of the store,
        // which waits for the journal, is here.
        if let Some((store, in_use)) = self.store.take() {
            let mut over = in_use.over.lock();
            while !*over {
                let waited;
                (over, waited) = in_use.changed.wait_timeout(over, PATIENCE);
                if waited && !*over {
                    let path = core::str::from_utf8(&self.path).unwrap_or("?");
                    pr_warn!("{}: still in use, the unmount waits\n", path);
                }
            }
            drop(over);
            drop(store);
        }
        if let Some(dev) = self.dev.take() {
            let commits = dev.commits().clone();
            drop(dev);
            commits.give_up();
        }
    }
}
