// SPDX-License-Identifier: GPL-2.0

//! `/dev/obd`: the ioctls by which lctl finds devices and sets parameters for good (`admin.md` 4.2).

use core::fmt::Write;
use kapi::chardev::{is_admin, Ioctl, UserPtr};
use kapi::prelude::*;
use mgs::PoolChange;
use obdclass::node::ServerNode;
use obdclass::text::Text;
use wire::cfg::{Cfg, LcfgCommand};

const NAME2DEV: u32 = 0xc008_667f;
const GETDEVICE: u32 = 0xc008_6695;
const PARAM: u32 = 0x4008_66bb;
const POOL: u32 = 0xc008_66bc;
const VERSION: u32 = 0x0001_0004;
/// Bytes of `obd_ioctl_data`, and of a whole block at the most.
const HEAD: usize = 576;
const MAX: usize = 65536 + 8192;
/// Where its fields are.
const COUNT: usize = 440;
const DEV: usize = 456;
const TYPE: usize = 476;
const PLEN1: usize = 480;
const PBUF1: usize = 488;
const INLLEN1: usize = 512;
/// `ioc_type` of a block with a `lustre_cfg`.
const LUSTRE_CFG_TYPE: u32 = 1;
/// Bytes of a `lustre_cfg` at the most.
const CFG_MAX: usize = 8192;
/// `ioc_dev` of a device that is named in the fourth buffer.
const BY_NAME: u32 = 0xffff_d0de;
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

fn u64_at(b: &[u8], at: usize) -> Result<u64> {
    let f = b.get(at..).and_then(|b| b.get(..8)).ok_or(EINVAL)?;
    Ok(u64::from_ne_bytes(f.try_into().map_err(|_| EINVAL)?))
}

/// The text in inline buffer `n` of a block, which was checked.
fn inline(b: &[u8], n: usize) -> Result<&str> {
    let mut at = HEAD;
    for i in 0..n {
        at += (u32_at(b, INLLEN1 + 16 * i)? as usize).next_multiple_of(8);
    }
    let len = u32_at(b, INLLEN1 + 16 * n)? as usize;
    let text = b.get(at..).and_then(|b| b.get(..len)).ok_or(EINVAL)?;
    let text = text.split(|c| *c == 0).next().unwrap_or_default();
    Ok(core::str::from_utf8(text)?)
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
        let number = self.node.devices.find(inline(&b, 0)?).ok_or(EINVAL)?;
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
        let number = u64_at(&b, COUNT)?;
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

impl Control {
    /// A record for the MGS (`mgs-config.md` 15): of `lctl conf_param`, `set_param -P`, `pool_new` and the
    /// like.
    fn mgs(&self, command: u32, arg: UserPtr) -> Result {
        let b = read(arg)?;
        let number = match u32_at(&b, DEV)? {
            BY_NAME => self.node.devices.find(inline(&b, 3)?).ok_or(EINVAL)?,
            n => n as usize,
        };
        if self.node.devices.find("MGS") != Some(number) {
            return Err(ENOTTY);
        }
        let mgs = self.node.mgs().ok_or(EINVAL)?;
        let len = u32_at(&b, PLEN1)? as usize;
        if u32_at(&b, TYPE)? != LUSTRE_CFG_TYPE || len > CFG_MAX {
            return Err(EINVAL);
        }
        let mut raw = KVVec::new();
        raw.resize(len, 0, GFP_KERNEL)?;
        UserPtr::from(u64_at(&b, PBUF1)?).read(&mut raw)?;
        let cfg = Cfg::parse(&raw).map_err(|_| EINVAL)?;
        let text = cfg.text(1);
        if command == POOL {
            let change = match cfg.command() {
                Ok(LcfgCommand::PoolNew) => PoolChange::New,
                Ok(LcfgCommand::PoolAdd) => PoolChange::Add(cfg.text(2)),
                Ok(LcfgCommand::PoolRem) => PoolChange::Remove(cfg.text(2)),
                Ok(LcfgCommand::PoolDel) => PoolChange::Destroy,
                _ => return Err(EINVAL),
            };
            return mgs.change_pool(text, change);
        }
        match cfg.command() {
            Ok(LcfgCommand::SetParam) => mgs.set_param(text, cfg.text(2) == b"del"),
            Ok(LcfgCommand::Param) => {
                let dot = text.iter().position(|b| *b == b'.').ok_or(EINVAL)?;
                let device = text.get(..dot).unwrap_or_default();
                let param = text.get(dot + 1..).unwrap_or_default();
                mgs.conf_param(device, param, param.ends_with(b"="))
            }
            _ => Err(EINVAL),
        }
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
            PARAM | POOL => self.mgs(command, arg)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
