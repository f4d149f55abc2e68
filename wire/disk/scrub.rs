// SPDX-License-Identifier: GPL-2.0

//! `OI_scrub`: state of the object index (`spec/ondisk.md` 15.1).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::flags;

/// Magic number.
pub const SCRUB_MAGIC_V2: u32 = 0x4c5f_e253;
/// Magic number of old files.
pub const SCRUB_MAGIC_V1: u32 = 0x4c5f_d252;
/// Files of the object index unless told otherwise.
pub const OSD_OI_FID_NR: u16 = 64;
/// Most files of the object index.
pub const OSD_OI_FID_NR_MAX: u16 = 1024;
/// [`ScrubFile::sf_internal_flags`]: no formats of 1.8 or 2.3.
pub const SIF_NO_HANDLE_OLD_FID: u16 = 1;

flags! {
    /// Flags of a [`ScrubFile`].
    pub struct ScrubFlags: u64 {
        /// Index files were made anew.
        const RECREATED = 0x1;
        /// The index cannot be trusted.
        const INCONSISTENT = 0x2;
        /// Started by itself.
        const AUTO = 0x4;
        /// Upgraded from 1.8.
        const UPGRADE = 0x8;
    }
}

/// How far a scrub is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum ScrubStatus {
    /// Never ran.
    Init = 0,
    /// Runs.
    Scanning = 1,
    /// Done.
    Completed = 2,
    /// Failed.
    Failed = 3,
    /// Stopped.
    Stopped = 4,
    /// Paused by an umount.
    Paused = 5,
    /// Interrupted.
    Crashed = 6,
}

impl TryFrom<u16> for ScrubStatus {
    type Error = Malformed;

    fn try_from(v: u16) -> Result<ScrubStatus> {
        Ok(match v {
            0 => ScrubStatus::Init,
            1 => ScrubStatus::Scanning,
            2 => ScrubStatus::Completed,
            3 => ScrubStatus::Failed,
            4 => ScrubStatus::Stopped,
            5 => ScrubStatus::Paused,
            6 => ScrubStatus::Crashed,
            _ => return Err(Malformed::Value),
        })
    }
}

/// A bit for each file of the index.
pub type Files = [u8; 128];

/// Whether file `i` is among `files`.
pub fn has(files: &Files, i: usize) -> bool {
    files.get(i / 8).is_some_and(|b| b & (1 << (i % 8)) != 0)
}

/// Adds file `i` to `files`.
pub fn mark(files: &mut Files, i: usize) {
    if let Some(b) = files.get_mut(i / 8) {
        *b |= 1 << (i % 8);
    }
}

/// `scrub_file`.
#[derive(PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ScrubFile {
    /// UUID of the file system.
    pub sf_uuid: [u8; 16],
    /// [`ScrubFlags`].
    pub sf_flags: U64,
    /// [`SCRUB_MAGIC_V2`].
    pub sf_magic: U32,
    /// [`ScrubStatus`].
    pub sf_status: U16,
    /// 1: stop at a failure, 2: change nothing.
    pub sf_param: U16,
    /// When the last one was complete, seconds.
    pub sf_time_last_complete: U64,
    /// When the latest one started, seconds.
    pub sf_time_latest_start: U64,
    /// When it last wrote this, seconds.
    pub sf_time_last_checkpoint: U64,
    /// The inode that it started from.
    pub sf_pos_latest_start: U64,
    /// The inode that it was at.
    pub sf_pos_last_checkpoint: U64,
    /// The first inode with a wrong entry.
    pub sf_pos_first_inconsistent: U64,
    /// Inodes looked at.
    pub sf_items_checked: U64,
    /// Entries changed.
    pub sf_items_updated: U64,
    /// Failures.
    pub sf_items_failed: U64,
    /// Entries changed before the scan came to them.
    pub sf_items_updated_prior: U64,
    /// Inodes without need.
    pub sf_items_noscrub: U64,
    /// Inodes with an IGIF.
    pub sf_items_igif: U64,
    /// How long it ran, seconds.
    pub sf_run_time: U32,
    /// How often it was complete.
    pub sf_success_count: U32,
    /// Files of the object index.
    pub sf_oi_count: U16,
    /// [`SIF_NO_HANDLE_OLD_FID`].
    pub sf_internal_flags: U16,
    /// 0.
    pub sf_reserved_1: U32,
    /// 0.
    pub sf_reserved_2: [U64; 16],
    /// Which index files were made anew.
    pub sf_oi_bitmap: Files,
}
assert_layout!(
    ScrubFile,
    400,
    sf_flags = 16,
    sf_magic = 24,
    sf_status = 28,
    sf_param = 30,
    sf_time_last_complete = 32,
    sf_pos_latest_start = 56,
    sf_items_checked = 80,
    sf_items_noscrub = 112,
    sf_run_time = 128,
    sf_success_count = 132,
    sf_oi_count = 136,
    sf_internal_flags = 138,
    sf_reserved_2 = 144,
    sf_oi_bitmap = 272
);

impl ScrubFile {
    /// A view of the file's bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`], [`Malformed::Magic`]; [`Malformed::Value`]: a count of index files that is no power of two.
    pub fn parse(bytes: &[u8]) -> Result<&ScrubFile> {
        let (sf, _) = ScrubFile::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        if !matches!(sf.sf_magic.get(), SCRUB_MAGIC_V1 | SCRUB_MAGIC_V2) {
            return Err(Malformed::Magic);
        }
        let n = sf.sf_oi_count.get();
        if n != 0 && (!n.is_power_of_two() || n > OSD_OI_FID_NR_MAX) {
            return Err(Malformed::Value);
        }
        Ok(sf)
    }

    /// Writes the state of a fresh file system.
    pub fn init(&mut self, uuid: &[u8; 16], oi_count: u16) {
        self.as_mut_bytes().fill(0);
        self.sf_uuid = *uuid;
        self.sf_magic.set(SCRUB_MAGIC_V2);
        self.sf_internal_flags.set(SIF_NO_HANDLE_OLD_FID);
        self.sf_oi_count.set(oi_count);
    }

    /// [`ScrubFile::sf_flags`] as a set.
    pub fn flags(&self) -> ScrubFlags {
        ScrubFlags::from_bits_retain(self.sf_flags.get())
    }

    /// Adds flags.
    pub fn flag(&mut self, flags: ScrubFlags) {
        self.sf_flags.set((self.flags() | flags).bits());
    }

    /// How far it is; none that is known: as if it had never run.
    pub fn status(&self) -> ScrubStatus {
        ScrubStatus::try_from(self.sf_status.get()).unwrap_or(ScrubStatus::Init)
    }

    /// Says how far it is.
    pub fn set_status(&mut self, s: ScrubStatus) {
        self.sf_status.set(s as u16);
    }

    /// Whether a scan was begun, and is to go on where it was.
    pub fn is_unfinished(&self) -> bool {
        matches!(
            self.status(),
            ScrubStatus::Scanning | ScrubStatus::Paused | ScrubStatus::Crashed
        )
    }

    /// File `i` of the index is made anew.
    pub fn recreate(&mut self, i: usize) {
        self.flag(ScrubFlags::RECREATED);
        mark(&mut self.sf_oi_bitmap, i);
    }

    /// Counts from zero, for a new scan.
    pub fn restart(&mut self) {
        for n in [
            &mut self.sf_items_checked,
            &mut self.sf_items_updated,
            &mut self.sf_items_failed,
            &mut self.sf_items_updated_prior,
            &mut self.sf_items_noscrub,
            &mut self.sf_items_igif,
            &mut self.sf_pos_first_inconsistent,
        ] {
            n.set(0);
        }
        self.sf_run_time.set(0);
        self.set_status(ScrubStatus::Init);
    }

    /// A scan came to its end; the files in `damaged` are still to be made anew.
    pub fn complete(&mut self, damaged: &Files, now: u64) {
        self.sf_oi_bitmap = *damaged;
        self.sf_flags.set(0);
        if damaged.iter().any(|b| *b != 0) {
            self.flag(ScrubFlags::RECREATED);
        }
        self.sf_time_last_complete.set(now);
        self.sf_success_count
            .set(self.sf_success_count.get().saturating_add(1));
    }
}
