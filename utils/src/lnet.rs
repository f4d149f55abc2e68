// SPDX-License-Identifier: GPL-2.0

//! LNet by the ioctls of `/dev/lnet` (spec `lnet.md` §17.6).

use crate::failure::fail;
use anyhow::Result;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use wire::lnet::PID_LUSTRE;
use wire::nid::Nid;

const DEVICE: &str = "/dev/lnet";
const GET_NI: libc::c_ulong = 0xc008_6532;
const UNCONFIGURE: libc::c_ulong = 0xc008_6538;
const CONFIGURE: libc::c_ulong = 0xc008_653b;
const PING: libc::c_ulong = 0xc008_653e;
const VERSION: u32 = 0x1000a;
/// NIDs that a node has at the most.
const NIDS_MAX: usize = 128;

/// `libcfs_ioctl_data`
#[repr(C)]
struct Data {
    len: u32,
    version: u32,
    nid: u64,
    skipped: [u32; 3],
    count: u32,
    rest: [u64; 12],
}

/// `lnet_process_id`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ProcessId {
    nid: u64,
    pid: u32,
    padding: u32,
}

/// `lnet_ioctl_ping_data`
#[repr(C)]
struct PingData {
    len: u32,
    version: u32,
    timeout_ms: u32,
    count: u32,
    flags: u32,
    multi_rail: u32,
    id: ProcessId,
    buf: *mut ProcessId,
    source: u64,
}

const _: () = assert!(size_of::<Data>() == 128 && size_of::<PingData>() == 56);

fn open() -> Result<File> {
    File::open(DEVICE).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV) => fail(
            libc::ENODEV,
            "LNet is not loaded on this node (try: modprobe lnet)",
        ),
        n => fail(n.unwrap_or(libc::EIO), format!("{DEVICE}: {e}")),
    })
}

/// # Safety
/// The ioctl works on a structure such as `arg`, and `arg` points to nothing but memory that is
/// there for it.
unsafe fn ioctl<T>(device: &File, command: libc::c_ulong, arg: &mut T) -> io::Result<()> {
    // SAFETY: by the function's own conditions.
    if unsafe { libc::ioctl(device.as_raw_fd(), command, core::ptr::from_mut(arg)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn data(count: u32) -> Data {
    Data {
        len: size_of::<Data>() as u32,
        version: VERSION,
        nid: 0,
        skipped: [0; 3],
        count,
        rest: [0; 12],
    }
}

/// The NIDs of this node, the loopback first.
///
/// # Errors
/// `ENODEV`: LNet is not loaded. `ENETDOWN`: it is not up.
pub fn nids() -> Result<Vec<Nid>> {
    let device = open()?;
    let mut out = Vec::new();
    loop {
        let mut d = data(u32::try_from(out.len())?);
        // SAFETY: that is the structure of this command, without pointers.
        match unsafe { ioctl(&device, GET_NI, &mut d) } {
            Ok(()) => out.push(Nid::from_nid4(d.nid)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(out),
            Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => {
                return Err(fail(
                    libc::ENETDOWN,
                    "LNet is not up (try: lctl network up)",
                ))
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Starts or stops LNet.
///
/// # Errors
/// `EBUSY`: it is in use. Those of the start.
pub fn configure(up: bool) -> Result<()> {
    let device = open()?;
    let mut d = data(0);
    let command = if up { CONFIGURE } else { UNCONFIGURE };
    // SAFETY: that is the structure of both commands, without pointers.
    unsafe { ioctl(&device, command, &mut d) }.map_err(|e| {
        let errno = e.raw_os_error().unwrap_or(libc::EIO);
        match (up, errno) {
            (false, libc::EBUSY) => fail(errno, "LNET busy: unmount all targets first"),
            _ => fail(errno, format!("LNet: {e}; see dmesg")),
        }
    })
}

/// The NIDs of a node that answers within `seconds`.
///
/// # Errors
/// That of the ping.
pub fn ping(nid: Nid, seconds: u32) -> Result<Vec<Nid>> {
    let device = open()?;
    let nid4 = nid
        .to_nid4()
        .ok_or_else(|| fail(libc::EOPNOTSUPP, format!("{nid}: no IPv4 address")))?;
    let mut ids = [ProcessId::default(); NIDS_MAX];
    let mut d = PingData {
        len: size_of::<PingData>() as u32,
        version: VERSION,
        timeout_ms: seconds.saturating_mul(1000),
        count: NIDS_MAX as u32,
        flags: 0,
        multi_rail: 0,
        id: ProcessId {
            nid: nid4,
            pid: PID_LUSTRE,
            padding: 0,
        },
        buf: ids.as_mut_ptr(),
        source: u64::MAX,
    };
    // SAFETY: that is the structure of this command; its pointer is to `count` elements, which are
    // written to.
    unsafe { ioctl(&device, PING, &mut d) }.map_err(|e| {
        fail(
            e.raw_os_error().unwrap_or(libc::EIO),
            format!("failed to ping {nid}: {e}"),
        )
    })?;
    let n = (d.count as usize).min(NIDS_MAX);
    Ok(ids[..n].iter().map(|id| Nid::from_nid4(id.nid)).collect())
}
