// SPDX-License-Identifier: GPL-2.0

//! A disk in memory, `/dev/osdtest`, that records what is written to it, shows what a power cut
//! could have left of that, and fails on demand. For tests; `disk.c` is the driver.
#![no_std]

use core::ffi::{c_char, c_int, c_void, CStr};
use core::ptr::NonNull;
use kapi::error::code::*;
use kapi::error::{Error, Result};

/// Where it is.
pub const PATH: &CStr = c"/dev/osdtest";
/// Bytes in a block; all requests are of whole blocks.
pub const BLOCK: usize = 4096;

/// An entry of the record: a block that was written, or a flush.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Entry {
    block: u32,
    /// Entries of the same request have the same number.
    pub bio: u32,
    flags: u32,
}

impl Entry {
    /// The block; none for a flush alone.
    pub fn block(&self) -> Option<u32> {
        (self.block != u32::MAX).then_some(self.block)
    }

    /// When this is complete, all that was complete before it began is safe.
    pub fn is_flush(&self) -> bool {
        self.flags & 1 != 0
    }

    /// It is safe when it is complete.
    pub fn is_fua(&self) -> bool {
        self.flags & 2 != 0
    }
}

/// What fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Reads.
    pub reads: bool,
    /// Writes and flushes.
    pub writes: bool,
    /// Only requests that touch blocks from the first to below the second; any flush does.
    pub blocks: (u32, u32),
    /// So many do not fail at first,
    pub skip: u32,
    /// so many do then.
    pub times: u32,
}

extern "C" {
    fn osd_disk_new(blocks: u32) -> *mut c_void;
    fn osd_disk_free(d: *mut c_void);
    fn osd_disk_record(d: *mut c_void, on: bool);
    fn osd_disk_entries(d: *mut c_void) -> u32;
    fn osd_disk_entry(d: *mut c_void, i: u32, out: *mut Entry) -> c_int;
    fn osd_disk_replay(d: *mut c_void, i: u32, below: bool) -> c_int;
    fn osd_disk_forget(d: *mut c_void);
    fn osd_disk_settle(d: *mut c_void);
    fn osd_disk_sync(d: *mut c_void);
    fn osd_disk_get(d: *mut c_void, block: u32, out: *mut c_void) -> c_int;
    fn osd_disk_put(d: *mut c_void, block: u32, data: *const c_void) -> c_int;
    fn osd_disk_fail(d: *mut c_void, what: u32, first: u32, end: u32, skip: u32, times: u32);
    fn osd_disk_failed(d: *mut c_void) -> u32;
    fn osd_disk_closed(d: *mut c_void) -> c_int;
    fn osd_disk_paths_begin() -> *mut c_void;
    fn osd_disk_paths_end(old: *mut c_void);
    fn osd_disk_run(command: *const c_char) -> c_int;
}

fn result(rc: c_int) -> Result {
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::from_errno(rc))
    }
}

/// The disk.
///
/// # Invariants
///
/// The pointer is that of a disk, which lives until this is dropped.
pub struct Disk(NonNull<c_void>);

// SAFETY: the driver locks what it has.
unsafe impl Send for Disk {}
// SAFETY: the same.
unsafe impl Sync for Disk {}

impl Disk {
    /// A disk of zeros. There is one at a time.
    ///
    /// # Errors
    /// `ENOMEM`, also if there is one already.
    pub fn new(blocks: u32) -> Result<Disk> {
        // SAFETY: no conditions.
        let d = unsafe { osd_disk_new(blocks) };
        // INVARIANT: just made.
        Ok(Disk(NonNull::new(d).ok_or(ENOMEM)?))
    }

    /// Starts a new record, or ends it. What is recorded stays until the next one.
    pub fn record(&self, on: bool) {
        // SAFETY: a disk, by the invariant.
        unsafe { osd_disk_record(self.0.as_ptr(), on) }
    }

    /// Entries in the record.
    pub fn entries(&self) -> u32 {
        // SAFETY: a disk, by the invariant.
        unsafe { osd_disk_entries(self.0.as_ptr()) }
    }

    /// Entry `i` of the record.
    ///
    /// # Errors
    /// `EINVAL`: there is none.
    pub fn entry(&self, i: u32) -> Result<Entry> {
        let mut e = Entry::default();
        // SAFETY: a disk, by the invariant, and an entry to be filled.
        result(unsafe { osd_disk_entry(self.0.as_ptr(), i, &mut e) })?;
        Ok(e)
    }

    /// Writes what entry `i` wrote, below what was written since the disk was settled, or above it.
    ///
    /// # Errors
    /// `EINVAL`: there is none.
    pub fn replay(&self, i: u32, below: bool) -> Result {
        // SAFETY: a disk, by the invariant.
        result(unsafe { osd_disk_replay(self.0.as_ptr(), i, below) })
    }

    /// Takes back what was written since the disk was settled. Nobody uses the device.
    pub fn forget(&self) {
        // SAFETY: a disk, by the invariant.
        unsafe { osd_disk_forget(self.0.as_ptr()) }
    }

    /// What was written stays.
    pub fn settle(&self) {
        // SAFETY: a disk, by the invariant.
        unsafe { osd_disk_settle(self.0.as_ptr()) }
    }

    /// What the file system on it has in memory is written, if one is mounted.
    pub fn sync(&self) {
        // SAFETY: a disk, by the invariant.
        unsafe { osd_disk_sync(self.0.as_ptr()) }
    }

    /// A block as it is.
    ///
    /// # Errors
    /// `EINVAL`: no such block, or not its length.
    pub fn get(&self, block: u32, out: &mut [u8]) -> Result {
        if out.len() != BLOCK {
            return Err(EINVAL);
        }
        // SAFETY: a disk, by the invariant, and room for a block.
        result(unsafe { osd_disk_get(self.0.as_ptr(), block, out.as_mut_ptr().cast()) })
    }

    /// Changes a block. Nobody uses the device.
    ///
    /// # Errors
    /// `EINVAL`: no such block, or not its length. `ENOMEM`.
    pub fn put(&self, block: u32, data: &[u8]) -> Result {
        if data.len() != BLOCK {
            return Err(EINVAL);
        }
        // SAFETY: a disk, by the invariant, and the data of a block.
        result(unsafe { osd_disk_put(self.0.as_ptr(), block, data.as_ptr().cast()) })
    }

    /// Waits until nobody has the device open, and nothing of it is cached. Not for a process that
    /// closed it itself, which does so when it leaves the kernel.
    ///
    /// # Errors
    /// `EBUSY`: somebody has it.
    pub fn closed(&self) -> Result {
        // SAFETY: a disk, by the invariant.
        result(unsafe { osd_disk_closed(self.0.as_ptr()) })
    }

    /// From now on this fails; none: nothing does.
    pub fn fail(&self, fault: Option<Fault>) {
        let (what, f) = match fault {
            Some(f) => (u32::from(f.reads) | u32::from(f.writes) << 1, f),
            None => (
                0,
                Fault {
                    reads: false,
                    writes: false,
                    blocks: (0, 0),
                    skip: 0,
                    times: 0,
                },
            ),
        };
        let (first, end) = f.blocks;
        // SAFETY: a disk, by the invariant.
        unsafe { osd_disk_fail(self.0.as_ptr(), what, first, end, f.skip, f.times) }
    }

    /// Requests that failed since [`Disk::fail`].
    pub fn failed(&self) -> u32 {
        // SAFETY: a disk, by the invariant.
        unsafe { osd_disk_failed(self.0.as_ptr()) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // SAFETY: a disk, by the invariant, and nobody has it any more.
        unsafe { osd_disk_free(self.0.as_ptr()) }
    }
}

/// Runs a program, given by its path, its words divided by spaces, and waits for its end. Returns its exit status.
///
/// # Errors
/// It could not be started, or was killed.
pub fn run(command: &CStr) -> Result<i32> {
    // SAFETY: a C string.
    let rc = unsafe { osd_disk_run(command.as_ptr()) };
    if rc < 0 {
        return Err(Error::from_errno(rc));
    }
    Ok(rc)
}

/// Calls `f` with the paths of the first process: a thread of the kernel has none of its own.
pub fn with_paths<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: taken back below, in the same thread.
    let old = unsafe { osd_disk_paths_begin() };
    let r = f();
    // SAFETY: what the thread had before.
    unsafe { osd_disk_paths_end(old) };
    r
}
