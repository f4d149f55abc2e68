// SPDX-License-Identifier: GPL-2.0

//! `/dev/obd`: the ioctls by which lctl finds devices (`admin.md` 4.2).

use core::fmt::Write;
use kapi::chardev::{is_admin, Ioctl, UserPtr};
use kapi::prelude::*;
use obdclass::node::ServerNode;
use obdclass::text::Text;

const NAME2DEV: u32 = 0xc008_667f;
const GETDEVICE: u32 = 0xc008_6695;
const VERSION: u32 = 0x0001_0004;
/// Bytes of `obd_ioctl_data`, and of a whole block at the most.
const HEAD: usize = 576;
const MAX: usize = 65536 + 8192;
/// Where its fields are.
const COUNT: usize = 440;
const DEV: usize = 456;
const INLLEN1: usize = 512;
/// Room for a line of GETDEVICE.
const LINE_MIN: usize = 128;

/// Handles the ioctls.
pub(crate) struct Control {
    pub(crate) node: Arc<ServerNode>,
}

fn u32_at(b: &[u8], at: usize) -> Result<u32> {
    let f = b.get(at..).and_then(|b| b.get(..4)).ok_or(EINVAL)?;
    Ok(u32::from_ne_bytes(f.try_into().map_err(|_| EINVAL)?))
}

/// The whole block.
fn read(arg: UserPtr) -> Result<KVVec<u8>> {
    let mut head = [0; 8];
    arg.read(&mut head)?;
    let len = u32_at(&head, 0)? as usize;
    if u32_at(&head, 4)? != VERSION || !(HEAD..=MAX).contains(&len) {
        return Err(EINVAL);
    }
    let mut b = KVVec::new();
    b.resize(len, 0, GFP_KERNEL)?;
    arg.read(&mut b)?;
    // Four inline buffers, one after the other.
    let mut end = HEAD;
    for i in 0..4 {
        let n = u32_at(&b, INLLEN1 + 16 * i)? as usize;
        if n > MAX {
            return Err(EINVAL);
        }
        end += n.next_multiple_of(8);
    }
    if end > len {
        return Err(EINVAL);
    }
    Ok(b)
}

impl Control {
    fn name_to_device(&self, arg: UserPtr) -> Result {
        let mut b = read(arg)?;
        let len = u32_at(&b, INLLEN1)? as usize;
        let name = b.get(HEAD..).and_then(|b| b.get(..len)).ok_or(EINVAL)?;
        let name = name.split(|c| *c == 0).next().unwrap_or_default();
        let name = core::str::from_utf8(name).map_err(|_| EINVAL)?;
        let number = self.node.devices.find(name).ok_or(EINVAL)?;
        let to = b.get_mut(DEV..DEV + 4).ok_or(EINVAL)?;
        to.copy_from_slice(&u32::try_from(number)?.to_ne_bytes());
        arg.write(b.get(..HEAD).ok_or(EINVAL)?)
    }

    fn get_device(&self, arg: UserPtr) -> Result {
        let mut b = read(arg)?;
        let room = u32_at(&b, INLLEN1)? as usize;
        if room < LINE_MIN {
            return Err(EINVAL);
        }
        let number = b.get(COUNT..COUNT + 8).ok_or(EINVAL)?;
        let number = u64::from_ne_bytes(number.try_into().map_err(|_| EINVAL)?);
        let mut line = Text::new();
        self.node
            .devices
            .show_one(usize::try_from(number).map_err(|_| ENOENT)?, &mut line)?;
        line.write_char('\0').map_err(|_| ENOMEM)?;
        let line = line.as_str().as_bytes();
        let to = b.get_mut(HEAD..).and_then(|b| b.get_mut(..room));
        let to = to.and_then(|b| b.get_mut(..line.len())).ok_or(EOVERFLOW)?;
        to.copy_from_slice(line);
        arg.write(&b)
    }
}

impl Ioctl for Control {
    fn ioctl(&self, command: u32, arg: UserPtr) -> Result<u32> {
        if !is_admin() {
            return Err(EACCES);
        }
        match command {
            NAME2DEV => self.name_to_device(arg)?,
            GETDEVICE => self.get_device(arg)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
