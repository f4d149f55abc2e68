// SPDX-License-Identifier: GPL-2.0

//! `mount -t lustre`: targets as mounts of the kernel's.

use core::any::Any;
use core::ffi::CStr;
use core::fmt;
use kapi::chardev::UserPtr;
use kapi::fs::{FileSystem, Mounted, StatFs};
use kapi::prelude::*;
use obdclass::mount::{Backing, Mount, OpenBacking};
use obdclass::node::ServerNode;
use obdclass::text::{Text, Why};

/// What superblocks of targets tell.
pub(crate) const MAGIC: u32 = 0x0bd0_0bd1;

/// A device with ext4.
struct Device(osd_ldiskfs::Mounted);

impl Backing for Device {
    fn read_file(&self, path: &str, limit: usize) -> Result<KVVec<u8>> {
        self.0.read_file(path.as_bytes(), limit)
    }

    fn open(&mut self, ost: bool) -> Result<Arc<dyn osd::Device>> {
        self.0.open(ost)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Opens devices with ext4.
struct Opener;

impl OpenBacking for Opener {
    fn open(&self, path: &str, look: bool) -> Result<KBox<dyn Backing>> {
        let path = Text::format(format_args!("{path}\0"))?;
        let path = CStr::from_bytes_with_nul(path.as_str().as_bytes()).map_err(|_| EINVAL)?;
        let mounted = osd_ldiskfs::mount(path, &osd_ldiskfs::Options { readonly: look })?;
        let device: KBox<dyn Backing> = KBox::new(Device(mounted), GFP_KERNEL)?;
        Ok(device)
    }
}

/// What mounts.
pub(crate) struct Targets {
    pub(crate) node: Arc<ServerNode>,
}

impl FileSystem for Targets {
    fn mount(
        &self,
        _source: &str,
        options: &str,
        why: &mut dyn fmt::Write,
    ) -> Result<KBox<dyn Mounted>> {
        let mut reason = Why::new();
        // The memory first: once the target runs, nothing here can fail.
        let room = KBox::<Target>::new_uninit(GFP_KERNEL)?;
        match Mount::start(&self.node, &Opener, options, &mut reason) {
            Ok(m) => {
                let target: KBox<Target> = KBox::write(room, Target(m));
                Ok(target)
            }
            Err(e) => {
                // Without a reason the error has to speak for itself.
                let _ = why.write_str(reason.as_str());
                Err(e)
            }
        }
    }
}

/// A mounted target.
struct Target(Arc<Mount>);

impl Mounted for Target {
    fn statfs(&self) -> Result<StatFs> {
        let s = self.0.statfs()?;
        Ok(StatFs {
            blocks: s.blocks,
            bfree: s.bfree,
            bavail: s.bavail,
            files: s.files,
            ffree: s.ffree,
            bsize: s.bsize,
            namelen: s.namelen,
        })
    }

    fn show_options(&self, out: &mut dyn fmt::Write) -> Result {
        self.0.options().show(out)
    }

    fn ioctl(&self, command: u32, arg: UserPtr) -> Result<u32> {
        self.0.with_backing(|b| {
            let device: &Device = b.as_any().downcast_ref().ok_or(ENOTTY)?;
            device.0.ioctl(command, arg)
        })
    }

    fn umount_begin(&self) {
        // Whatever an unmount waits for, it waits for some seconds at the most.
    }

    fn umount(&self) {
        self.0.stop();
    }
}
