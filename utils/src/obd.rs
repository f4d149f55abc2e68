// SPDX-License-Identifier: GPL-2.0

//! Devices by the ioctls of `/dev/obd` (spec `admin.md` §4.2).

use crate::failure::fail;
use anyhow::Result;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use wire::cfg::{CfgSpec, LcfgCommand};

const DEVICE: &str = "/dev/obd";
const NAME2DEV: libc::c_ulong = 0xc008_667f;
const PARAM: libc::c_ulong = 0x4008_66bb;
const POOL: libc::c_ulong = 0xc008_66bc;
const VERSION: u32 = 0x0001_0004;
const LUSTRE_CFG_TYPE: u32 = 1;
/// Bytes of the inline buffers.
const BULK: usize = 128;

/// An inline buffer: its length, and something that is not null.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Inline {
    len: u32,
    present: u64,
}

/// `obd_ioctl_data`, and its inline buffers.
#[repr(C)]
struct Data {
    len: u32,
    version: u32,
    skipped: [u64; 56],
    dev: u32,
    command: u32,
    nid: u64,
    nal: u32,
    kind: u32,
    plen1: u32,
    pbuf1: *mut u8,
    plen2: u32,
    pbuf2: *mut u8,
    inline: [Inline; 4],
    bulk: [u8; BULK],
}

const _: () = assert!(
    size_of::<Data>() == 576 + BULK
        && core::mem::offset_of!(Data, dev) == 456
        && core::mem::offset_of!(Data, kind) == 476
        && core::mem::offset_of!(Data, pbuf1) == 488
        && core::mem::offset_of!(Data, inline) == 512
);

fn data() -> Data {
    Data {
        len: size_of::<Data>() as u32,
        version: VERSION,
        skipped: [0; 56],
        dev: 0,
        command: 0,
        nid: 0,
        nal: 0,
        kind: 0,
        plen1: 0,
        pbuf1: core::ptr::null_mut(),
        plen2: 0,
        pbuf2: core::ptr::null_mut(),
        inline: [Inline::default(); 4],
        bulk: [0; BULK],
    }
}

fn ioctl(device: &File, command: libc::c_ulong, data: &mut Data) -> io::Result<()> {
    // SAFETY: that is the structure of these commands. Its pointers are null, or to memory of the
    // length beside them that is there for the call.
    if unsafe { libc::ioctl(device.as_raw_fd(), command, core::ptr::from_mut(data)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has the MGS of this node set a parameter for good. `bufs` are those of the record, without
/// their NULs.
///
/// # Errors
/// `ENODEV`: there is no MGS on this node. What the MGS says.
pub fn mgs_param(command: LcfgCommand, bufs: &[&str]) -> Result<()> {
    let done = to_mgs(PARAM, command, bufs)?;
    done.map_err(|e| fail(e.raw_os_error().unwrap_or(libc::EIO), e.to_string()))
}

/// Has the MGS of this node change a pool: "lustre.name", and the UUID of an OST. What the MGS says is
/// the inner result.
///
/// # Errors
/// `ENODEV`: there is no MGS on this node.
pub fn mgs_pool(command: LcfgCommand, pool: &str, ost: Option<&str>) -> Result<io::Result<()>> {
    let bufs = ["", pool, ost.unwrap_or_default()];
    to_mgs(POOL, command, &bufs[..2 + usize::from(ost.is_some())])
}

/// Sends the MGS of this node a record.
fn to_mgs(number: libc::c_ulong, command: LcfgCommand, bufs: &[&str]) -> Result<io::Result<()>> {
    let none = |why: String| {
        fail(
            libc::ENODEV,
            format!("No device found for name MGS: {why}\nThis command must be run on the MGS."),
        )
    };
    let device = File::open(DEVICE).map_err(|e| none(e.to_string()))?;
    let mut d = data();
    d.bulk[..4].copy_from_slice(b"MGS\0");
    d.inline[0] = Inline { len: 4, present: 1 };
    ioctl(&device, NAME2DEV, &mut d).map_err(|e| none(e.to_string()))?;
    let mgs = d.dev;
    let bufs: Vec<Vec<u8>> = bufs
        .iter()
        .map(|b| [b.as_bytes(), b"\0"].concat())
        .collect();
    let bufs: Vec<&[u8]> = bufs.iter().map(Vec::as_slice).collect();
    let spec = CfgSpec::new(command, &bufs);
    let mut cfg = vec![0; spec.size()];
    spec.write(&mut cfg)
        .map_err(|_| fail(libc::EINVAL, "the parameter is too long"))?;
    let mut d = data();
    d.dev = mgs;
    d.kind = LUSTRE_CFG_TYPE;
    d.plen1 = u32::try_from(cfg.len())?;
    d.pbuf1 = cfg.as_mut_ptr();
    Ok(ioctl(&device, number, &mut d))
}
