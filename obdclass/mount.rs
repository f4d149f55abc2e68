// SPDX-License-Identifier: GPL-2.0

//! Mounting a target and unmounting it (`mgs-config.md` 6, `recovery.md` 16.1).
//!
//! A mount is made of parts, one after the other. Whatever fails, the parts that are there are
//! taken down as those of an unmount are, so that nothing stays behind.

use crate::claims::Claim;
use crate::devices::Entries;
use crate::mgs_link::MgsLink;
use crate::mountdata;
use crate::node::{InUse, ServerNode};
use crate::options::{Options, Role};
use crate::service::Running;
use crate::store;
use crate::target_params;
use crate::text::Why;
use core::any::Any;
use kapi::params::ParamDir;
use kapi::prelude::*;
use mgs::Mgs;
use osd::{Device, StatFs};

/// A device that was opened. Dropped, it is closed; nobody uses its store any more then.
pub trait Backing: Send + Sync {
    /// The content of a file, at most `limit` bytes.
    ///
    /// # Errors
    /// `ENOENT`: there is none. `EFBIG`: it is longer. `EIO`, `ENOMEM`.
    fn read_file(&self, path: &str, limit: usize) -> Result<KVVec<u8>>;

    /// Opens the store, of an OST or of another target.
    ///
    /// # Errors
    /// `EUCLEAN`: it is damaged. `EROFS`, `ENOSPC`, `EIO`, `ENOMEM`.
    fn open(&mut self, ost: bool) -> Result<Arc<dyn Device>>;

    /// For those who know what it is.
    fn as_any(&self) -> &dyn Any;
}

/// Opens devices.
pub trait OpenBacking {
    /// Opens the one at `path`, for this mount alone; with `look`, to read files and change
    /// nothing.
    ///
    /// # Errors
    /// `EINVAL`: it cannot be a target. `EBUSY`: it is in use. `EROFS`, `EIO`, `ENOMEM`.
    fn open(&self, path: &str, look: bool) -> Result<KBox<dyn Backing>>;
}

/// What a mount is made of, in the order in which it is made.
struct Parts {
    claim: Option<Claim>,
    mgs_claim: Option<Claim>,
    backing: Option<KBox<dyn Backing>>,
    osd: Option<Arc<dyn Device>>,
    devices: Entries,
    params: KVec<ParamDir>,
    mgs: Option<(Arc<Mgs>, Arc<ServerNode>)>,
    link: Option<MgsLink>,
    service: Option<Running>,
}

impl Parts {
    const fn new() -> Parts {
        Parts {
            claim: None,
            mgs_claim: None,
            backing: None,
            osd: None,
            devices: Entries::new(),
            params: KVec::new(),
            mgs: None,
            link: None,
            service: None,
        }
    }
}

impl Drop for Parts {
    /// Takes down what is there, the last part first.
    fn drop(&mut self) {
        self.devices.stopping();
        // Nobody reads a parameter of what is about to go.
        self.params.clear();
        if let Some(l) = &self.link {
            // Nothing new is begun.
            l.unfollow();
        }
        drop(self.service.take());
        drop(self.link.take());
        if let Some((m, node)) = self.mgs.take() {
            drop(node.mgs.lock().take());
            m.stop();
        }
        if let Some(osd) = self.osd.take() {
            if let Err(e) = osd.sync() {
                pr_err!("sync at the end: {:?}\n", e);
            }
        }
        // Waits until nobody uses the store.
        drop(self.backing.take());
        self.devices.clear();
        drop(self.mgs_claim.take());
        drop(self.claim.take());
    }
}

/// A mounted target.
#[pin_data]
pub struct Mount {
    options: Options,
    #[pin]
    osd: Mutex<Option<Arc<dyn Device>>>,
    #[pin]
    parts: Mutex<Option<Parts>>,
    // The last to go.
    in_use: InUse,
}

impl Mount {
    /// Mounts the target that the options `text` describe, and makes it serve. `why` is told what
    /// is wrong and what to do when that fails.
    ///
    /// # Errors
    /// `EALREADY`: it is mounted. `ENODEV`: there is no target on the device. `EINVAL`: another
    /// one, or bad options. `EADDRINUSE`: its index is taken. `EIO`: the MGS cannot be reached.
    /// `ENOENT`: the MGS does not know it. `ENXIO`: its configuration is no use.
    pub fn start(
        node: &Arc<ServerNode>,
        opener: &dyn OpenBacking,
        text: &str,
        why: &mut Why,
    ) -> Result<Arc<Mount>> {
        let mount = Self::prepare(node, text, why)?;
        let mut parts = Parts::new();
        mount.bring_up(opener, &mut parts, why)?;
        *mount.parts.lock() = Some(parts);
        Ok(mount)
    }

    #[inline(never)]
    fn prepare(node: &Arc<ServerNode>, text: &str, why: &mut Why) -> Result<Arc<Mount>> {
        let options = Options::parse(text, why)?;
        let in_use = match node.use_it() {
            Ok(u) => u,
            Err(e) => {
                return why.fail(
                    e,
                    format_args!(
                        "LNet does not start ({e:?}): look at the module parameters networks and \
                         accept_port, and at dmesg"
                    ),
                )
            }
        };
        Arc::pin_init(
            pin_init!(Mount {
                options,
                osd <- new_mutex!(None),
                parts <- new_mutex!(None),
                in_use,
            }),
            GFP_KERNEL,
        )
    }

    /// Makes the parts, one after the other. Each has the stack for itself: below it are ext4 and the
    /// network.
    fn bring_up(&self, opener: &dyn OpenBacking, parts: &mut Parts, why: &mut Why) -> Result {
        let o = &self.options;
        self.claim_and_register(opener, parts, why)?;
        let osd = self.open_store(opener, parts, why)?;
        if o.starts_mgs() {
            self.start_mgs(&osd, parts, why)?;
        }
        self.start_service(&osd, parts, why)?;
        pr_info!("{}: {} is mounted\n", o.svname, o.device);
        *self.osd.lock() = Some(osd);
        Ok(())
    }

    #[inline(never)]
    fn claim_and_register(
        &self,
        opener: &dyn OpenBacking,
        parts: &mut Parts,
        why: &mut Why,
    ) -> Result {
        let o = &self.options;
        parts.claim = Some(self.claim(o.svname.as_str(), why)?);
        if o.starts_mgs() && o.role != Role::Mgs {
            parts.mgs_claim = Some(self.claim("MGS", why)?);
        }
        if o.starts_service() && !o.starts_mgs() {
            // So that nothing on the device has changed when the MGS is away, or says no.
            let link = parts.link.insert(MgsLink::open(&self.in_use, o, why)?);
            drop(self.look(opener, true, why)?);
            link.register(why)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn open_store(
        &self,
        opener: &dyn OpenBacking,
        parts: &mut Parts,
        why: &mut Why,
    ) -> Result<Arc<dyn Device>> {
        let (o, svname) = (&self.options, self.options.svname.as_str());
        let backing = parts.backing.insert(self.look(opener, false, why)?);
        let osd = match backing.open(matches!(o.role, Role::Ost(_))) {
            Ok(osd) => parts.osd.insert(osd).clone(),
            Err(e) => {
                let dev = &o.device;
                return why.fail(
                    e,
                    format_args!("{dev}: the store of the target does not open ({e:?}): see dmesg"),
                );
            }
        };
        parts.devices.add(
            &self.in_use.node().devices,
            "osd-ldiskfs",
            format_args!("{svname}-osd"),
            format_args!("{svname}-osd_UUID"),
        )?;
        let params = store::params(&osd, svname, o.device.as_str())?;
        parts.params.push(params, GFP_KERNEL)?;
        Ok(osd)
    }

    #[inline(never)]
    fn start_mgs(&self, osd: &Arc<dyn Device>, parts: &mut Parts, why: &mut Why) -> Result {
        let (o, node) = (&self.options, self.in_use.node());
        match Mgs::start(&self.in_use.server, osd) {
            Ok(m) => {
                *node.mgs.lock() = Some(m.clone());
                parts.mgs = Some((m, node.clone()));
            }
            Err(e) => {
                return why.fail(e, format_args!("the MGS does not start ({e:?}): see dmesg"))
            }
        }
        parts.devices.add(
            &node.devices,
            "mgs",
            format_args!("MGS"),
            format_args!("MGS"),
        )?;
        if let Some(t) = parts.mgs.as_ref().and_then(|(m, _)| m.target().ok()) {
            let params = target_params::mgs(&t, o.device.as_str())?;
            parts.params.push(params, GFP_KERNEL)?;
            let params = target_params::namespace(&t, format_args!("MGS"))?;
            parts.params.push(params, GFP_KERNEL)?;
        }
        if o.starts_service() {
            let link = parts.link.insert(MgsLink::open(&self.in_use, o, why)?);
            link.register(why)?;
        }
        Ok(())
    }

    fn start_service(&self, osd: &Arc<dyn Device>, parts: &mut Parts, why: &mut Why) -> Result {
        let Some(link) = &parts.link else {
            return Ok(());
        };
        let running = Running::start(&self.in_use, &self.options, osd, link, why)?;
        link.ready(running.instance());
        parts.service = Some(running);
        match link.has_registered() {
            true => mountdata::registered(osd),
            false => Ok(()),
        }
    }

    fn claim(&self, name: &str, why: &mut Why) -> Result<Claim> {
        match self.in_use.node().claims.claim(name) {
            Err(e) if e == EALREADY => why.fail(
                e,
                format_args!(
                    "{name} is running on this node already: see 'lctl dl' and /proc/mounts"
                ),
            ),
            other => other,
        }
    }

    /// Opens the device, and sees that the target is on it.
    fn look(
        &self,
        opener: &dyn OpenBacking,
        look: bool,
        why: &mut Why,
    ) -> Result<KBox<dyn Backing>> {
        let dev = self.options.device.as_str();
        let backing = match opener.open(dev, look) {
            Ok(b) => b,
            Err(e) if e == EBUSY => {
                return why.fail(
                    e,
                    format_args!(
                        "{dev} is in use: unmount what is mounted from it, see 'lsblk {dev}'"
                    ),
                )
            }
            Err(e) if e == EROFS => {
                return why.fail(e, format_args!("{dev} is read-only: a target writes to it"))
            }
            Err(e) => {
                return why.fail(
                    e,
                    format_args!(
                    "{dev} cannot be mounted as ext4 ({e:?}): see dmesg, and run 'e2fsck -f {dev}'"
                ),
                )
            }
        };
        match backing.read_file(mountdata::FILE, mountdata::FILE_MAX) {
            Ok(bytes) => mountdata::check(&bytes, &self.options, why)?,
            Err(e) if e == ENOENT || e == ENOTDIR => {
                return why.fail(
                    ENODEV,
                    format_args!("{dev} has not been formatted with mkfs.lustre"),
                )
            }
            Err(e) => {
                let file = mountdata::FILE;
                return why.fail(e, format_args!("{dev}: {file} cannot be read ({e:?})"));
            }
        }
        Ok(backing)
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Calls `f` with the opened device.
    ///
    /// # Errors
    /// `ESHUTDOWN`: it has been stopped. Those of `f`.
    pub fn with_backing<R>(&self, f: impl FnOnce(&dyn Backing) -> Result<R>) -> Result<R> {
        let parts = self.parts.lock();
        let backing = parts.as_ref().and_then(|p| p.backing.as_ref());
        f(&**backing.ok_or(ESHUTDOWN)?)
    }

    /// Space and objects.
    ///
    /// # Errors
    /// `EIO`. `ESHUTDOWN`: it has been stopped.
    pub fn statfs(&self) -> Result<StatFs> {
        let osd = self.osd.lock().clone();
        osd.ok_or(ESHUTDOWN)?.statfs()
    }

    /// Ends the service, and closes the device.
    pub fn stop(&self) {
        let osd = self.osd.lock().take();
        drop(osd);
        let parts = self.parts.lock().take();
        if let Some(p) = parts {
            drop(p);
            pr_info!(
                "{}: {} is unmounted\n",
                self.options.svname,
                self.options.device
            );
        }
    }
}
