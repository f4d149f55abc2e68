// SPDX-License-Identifier: GPL-2.0

//! `last_rcvd`: the target and its clients (`spec/ondisk.md` 9.1, 9.2).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::flags;

/// Bytes of the header.
pub const LR_SERVER_SIZE: u32 = 512;
/// Where the first client is.
pub const LR_CLIENT_START: u32 = 8192;
/// Bytes of a client.
pub const LR_CLIENT_SIZE: u16 = 128;
/// Directories of a sequence in `O/`.
pub const OBJ_SUBDIR_COUNT: u16 = 32;
/// Most clients.
pub const LR_MAX_CLIENTS: u32 = 128 * 1024;

flags! {
    /// Features that do not matter to an old server.
    pub struct LrCompat: u32 {
        /// An OST.
        const OST = 0x2;
        /// An MDT.
        const MDT = 0x4;
        /// Clients of 2.0.
        const V20 = 0x8;
    }
}

flags! {
    /// Features without which the disk may only be read.
    pub struct LrRoCompat: u32 {
        /// `lov_objid`.
        const LOVOBJID = 0x1;
        /// IDIFs have the OST's index.
        const IDX_IN_IDIF = 0x2;
    }
}

flags! {
    /// Features without which the disk may not be used.
    pub struct LrIncompat: u32 {
        /// Groups.
        const GROUPS = 0x1;
        /// An OST.
        const OST = 0x2;
        /// An MDT.
        const MDT = 0x4;
        /// This format of the file.
        const COMMON_LR = 0x8;
        /// FIDs.
        const FID = 0x10;
        /// Size on the MDT.
        const SOM = 0x20;
        /// IAM directories.
        const IAM_DIR = 0x40;
        /// LMA in inodes.
        const LMA = 0x80;
        /// Generations of layouts.
        const LMM_VER = 0x100;
        /// Several object indices.
        const MULTI_OI = 0x200;
        /// Several requests of a client at a time.
        const MULTI_RPCS = 0x400;
    }
}

impl LrRoCompat {
    /// What an MDT understands.
    pub const MDT_SUPPORTED: LrRoCompat = LrRoCompat::LOVOBJID;
    /// What an OST understands.
    pub const OST_SUPPORTED: LrRoCompat = LrRoCompat::IDX_IN_IDIF;
}

impl LrIncompat {
    /// What an MDT understands.
    pub const MDT_SUPPORTED: LrIncompat = LrIncompat::from_bits_retain(0x75c);
    /// What an OST understands.
    pub const OST_SUPPORTED: LrIncompat = LrIncompat::from_bits_retain(0x1a);
    /// What a fresh MDT has.
    pub const MDT_FRESH: LrIncompat = LrIncompat::from_bits_retain(0x20c);
    /// What a fresh OST has.
    pub const OST_FRESH: LrIncompat = LrIncompat::from_bits_retain(0xa);
}

/// `lr_server_data`.
#[derive(PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LrServerData {
    /// UUID of the target.
    pub lsd_uuid: [u8; 40],
    /// Last transaction number of requests without a client slot.
    pub lsd_last_transno: U64,
    /// 0.
    pub lsd_compat14: U64,
    /// How often it was mounted.
    pub lsd_mount_count: U64,
    /// [`LrCompat`].
    pub lsd_feature_compat: U32,
    /// [`LrRoCompat`].
    pub lsd_feature_rocompat: U32,
    /// [`LrIncompat`].
    pub lsd_feature_incompat: U32,
    /// [`LR_SERVER_SIZE`].
    pub lsd_server_size: U32,
    /// [`LR_CLIENT_START`].
    pub lsd_client_start: U32,
    /// [`LR_CLIENT_SIZE`].
    pub lsd_client_size: U16,
    /// Directories of a sequence in `O/`.
    pub lsd_subdir_count: U16,
    /// 0.
    pub lsd_catalog_oid: U64,
    /// 0.
    pub lsd_catalog_ogen: U32,
    /// 0.
    pub lsd_peeruuid: [u8; 40],
    /// Index of the target.
    pub lsd_osd_index: U32,
    /// Most clients with several requests at a time that were ever connected.
    pub lsd_max_clients: U32,
    /// Epoch of version based recovery.
    pub lsd_start_epoch: U32,
    /// 0.
    pub lsd_trans_table: [U64; 16],
    /// 0.
    pub lsd_trans_table_time: U32,
    /// 0.
    pub lsd_expire_intervals: U32,
    /// 0.
    pub lsd_padding: [u8; 224],
}
assert_layout!(
    LrServerData,
    512,
    lsd_last_transno = 40,
    lsd_mount_count = 56,
    lsd_feature_compat = 64,
    lsd_server_size = 76,
    lsd_client_start = 80,
    lsd_client_size = 84,
    lsd_subdir_count = 86,
    lsd_catalog_oid = 88,
    lsd_peeruuid = 100,
    lsd_osd_index = 140,
    lsd_max_clients = 144,
    lsd_start_epoch = 148,
    lsd_trans_table = 152,
    lsd_padding = 288
);

impl LrServerData {
    /// A view of the file's bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`]; [`Malformed::Value`]: a size is 0, or no place for the clients.
    pub fn parse(bytes: &[u8]) -> Result<&LrServerData> {
        let (lsd, _) = LrServerData::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        if lsd.lsd_server_size.get() == 0
            || lsd.lsd_client_start.get() < LR_SERVER_SIZE
            || usize::from(lsd.lsd_client_size.get()) < size_of::<LsdClientData>()
        {
            return Err(Malformed::Value);
        }
        Ok(lsd)
    }

    /// Writes the header of a file that was empty: UUID, index and the fixed sizes. Features are
    /// left to the caller.
    pub fn init(&mut self, uuid: &[u8], index: u32) -> Result<()> {
        self.as_mut_bytes().fill(0);
        crate::text::set(&mut self.lsd_uuid, uuid)?;
        self.lsd_server_size.set(LR_SERVER_SIZE);
        self.lsd_client_start.set(LR_CLIENT_START);
        self.lsd_client_size.set(LR_CLIENT_SIZE);
        self.lsd_subdir_count.set(OBJ_SUBDIR_COUNT);
        self.lsd_osd_index.set(index);
        Ok(())
    }

    /// Features that do not matter to an old server.
    pub fn compat(&self) -> LrCompat {
        LrCompat::from_bits_retain(self.lsd_feature_compat.get())
    }

    /// Features without which the disk may only be read.
    pub fn rocompat(&self) -> LrRoCompat {
        LrRoCompat::from_bits_retain(self.lsd_feature_rocompat.get())
    }

    /// Features without which the disk may not be used.
    pub fn incompat(&self) -> LrIncompat {
        LrIncompat::from_bits_retain(self.lsd_feature_incompat.get())
    }

    /// Where client `slot` is in the file.
    pub fn client_offset(&self, slot: u32) -> u64 {
        u64::from(self.lsd_client_start.get())
            + u64::from(slot) * u64::from(self.lsd_client_size.get())
    }
}

/// `lsd_client_data`.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LsdClientData {
    /// UUID of the client; the slot is free if it begins with 0.
    pub lcd_uuid: [u8; 40],
    /// Last transaction.
    pub lcd_last_transno: U64,
    /// Its request.
    pub lcd_last_xid: U64,
    /// Its result.
    pub lcd_last_result: U32,
    /// Dispositions and the like.
    pub lcd_last_data: U32,
    /// Last transaction of a close.
    pub lcd_last_close_transno: U64,
    /// Its request.
    pub lcd_last_close_xid: U64,
    /// Its result.
    pub lcd_last_close_result: U32,
    /// Its data.
    pub lcd_last_close_data: U32,
    /// Versions before the last transaction.
    pub lcd_pre_versions: [U64; 4],
    /// Epoch of the last transaction.
    pub lcd_last_epoch: U32,
    /// Not 0: a client with several requests at a time, the key of its replies.
    pub lcd_generation: U32,
}
assert_layout!(
    LsdClientData,
    128,
    lcd_last_transno = 40,
    lcd_last_xid = 48,
    lcd_last_result = 56,
    lcd_last_data = 60,
    lcd_last_close_transno = 64,
    lcd_last_close_xid = 72,
    lcd_last_close_result = 80,
    lcd_last_close_data = 84,
    lcd_pre_versions = 88,
    lcd_last_epoch = 120,
    lcd_generation = 124
);

impl LsdClientData {
    /// Whether the slot is free.
    pub fn is_free(&self) -> bool {
        self.lcd_uuid[0] == 0
    }

    /// The larger of the two transactions.
    pub fn last_transno(&self) -> u64 {
        self.lcd_last_transno
            .get()
            .max(self.lcd_last_close_transno.get())
    }

    /// The later of the two requests.
    pub fn last_xid(&self) -> u64 {
        self.lcd_last_xid.get().max(self.lcd_last_close_xid.get())
    }
}
