// SPDX-License-Identifier: GPL-2.0

//! What is agreed on with a client (`ost.md` 3).

use crate::cksum;
use crate::client::{OfdClient, Terms};
use crate::device::Ofd;
use kapi::prelude::*;
use ptlrpc::export::Export;
use target::Client;
use wire::connect::{ChecksumTypes, ConnectData, ConnectFlags, ConnectFlags2};

/// Transfers of clients that say nothing of their size.
const OLD_BRW_SIZE: u32 = 1 << 20;
/// The largest object: that of ext4 with blocks of 4 KiB, less one.
pub(crate) const MAX_BYTES: u64 = 0xfff_ffff_f000;
/// Log2 of what an inode may cost.
const INODE_BITS: u8 = 5;

/// What is supported.
const FLAGS: ConnectFlags = ConnectFlags::VERSION
    .union(ConnectFlags::INDEX)
    .union(ConnectFlags::MDS)
    .union(ConnectFlags::GRANT)
    .union(ConnectFlags::GRANT_PARAM)
    .union(ConnectFlags::GRANT_SHRINK)
    .union(ConnectFlags::SRVLOCK)
    .union(ConnectFlags::BRW_SIZE)
    .union(ConnectFlags::CANCELSET)
    .union(ConnectFlags::LRU_RESIZE)
    .union(ConnectFlags::AT)
    .union(ConnectFlags::CKSUM)
    .union(ConnectFlags::FID)
    .union(ConnectFlags::VBR)
    .union(ConnectFlags::SKIP_ORPHAN)
    .union(ConnectFlags::FULL20)
    .union(ConnectFlags::LAYOUTLOCK)
    .union(ConnectFlags::HASH64)
    .union(ConnectFlags::MAXBYTES)
    .union(ConnectFlags::EINPROGRESS)
    .union(ConnectFlags::LVB_TYPE)
    .union(ConnectFlags::LIGHTWEIGHT)
    .union(ConnectFlags::SHORTIO)
    .union(ConnectFlags::BULK_MBITS)
    .union(ConnectFlags::HPREQ_CHECK1)
    .union(ConnectFlags::RDONLY)
    .union(ConnectFlags::FLAGS2);
const FLAGS2: ConnectFlags2 = ConnectFlags2::INC_XID
    .union(ConnectFlags2::LSEEK)
    .union(ConnectFlags2::REP_MBITS)
    .union(ConnectFlags2::LOCKAHEAD);

impl Ofd {
    /// Chooses flags and what goes with them, but for grants.
    ///
    /// # Errors
    /// `EPROTO`: what is asked for makes no sense. `EBADF`: it is for another OST.
    pub(crate) fn agree(
        &self,
        client: Option<&Arc<Export>>,
        wanted: &ConnectData,
        data: &mut ConnectData,
    ) -> Result {
        let asked = wanted.flags();
        let mut f = asked & FLAGS;
        let f2 = wanted.flags2() & FLAGS2;
        if asked.contains(ConnectFlags::SKIP_ORPHAN) && !asked.contains(ConnectFlags::MDS) {
            return Err(EPROTO);
        }
        if let Some(e) = client {
            let known = Client::of(e)?.own::<OfdClient>()?.terms();
            if known.group != 0 && known.group != wanted.ocd_group.get() {
                return Err(EPROTO);
            }
        }
        if f.contains(ConnectFlags::INDEX) && wanted.ocd_index.get() != u32::from(self.index()) {
            return Err(EBADF);
        }
        if f.contains(ConnectFlags::BRW_SIZE) {
            let size = wanted.ocd_brw_size.get().min(self.brw_size());
            if size == 0 {
                return Err(EPROTO);
            }
            data.ocd_brw_size.set(size);
        }
        if f.contains(ConnectFlags::CKSUM) {
            let types = ChecksumTypes::from_bits_retain(wanted.ocd_cksum_types.get());
            let types = types & cksum::offered();
            if types.is_empty() {
                return Err(EPROTO);
            }
            data.ocd_cksum_types.set(types.bits());
        }
        if f.contains(ConnectFlags::MAXBYTES) {
            data.ocd_maxbytes.set(MAX_BYTES);
        }
        if asked.contains(ConnectFlags::RDONLY) || !f.contains(ConnectFlags::GRANT) {
            let all = ConnectFlags::GRANT | ConnectFlags::GRANT_PARAM | ConnectFlags::GRANT_SHRINK;
            f.remove(all);
            data.ocd_grant.set(0);
        }
        if f.contains(ConnectFlags::GRANT_PARAM) {
            let shape = self.space().shape();
            data.ocd_grant_blkbits = shape.block.trailing_zeros() as u8;
            data.ocd_grant_inobits = INODE_BITS;
            data.ocd_grant_tax_kb.set((shape.tax >> 10) as u16);
            data.ocd_grant_max_blks.set(shape.extent_blocks as u32);
        }
        data.set_flags(f, f2);
        Ok(())
    }

    /// A client is being connected on what was agreed on.
    ///
    /// # Errors
    /// `EIO`: the store does not say how much is free.
    pub(crate) fn admit(
        &self,
        export: &Arc<Export>,
        is_new: bool,
        wanted: &ConnectData,
        data: &mut ConnectData,
    ) -> Result {
        let f = data.flags();
        let brw_size = match f.contains(ConnectFlags::BRW_SIZE) {
            true => data.ocd_brw_size.get(),
            false => OLD_BRW_SIZE,
        };
        let client = Client::of(export)?.own::<OfdClient>()?;
        let has_grant = f.contains(ConnectFlags::GRANT);
        client.set_terms(Terms {
            brw_size,
            grant: has_grant,
            taxed: f.contains(ConnectFlags::GRANT_PARAM),
            readonly: wanted.flags().contains(ConnectFlags::RDONLY),
            mdt: f.contains(ConnectFlags::MDS),
            skip_orphan: f.contains(ConnectFlags::SKIP_ORPHAN),
            short_io: f.contains(ConnectFlags::SHORTIO),
            group: wanted.ocd_group.get(),
        });
        if has_grant {
            let want = u64::from(wanted.ocd_grant.get());
            let has = self.space().connect(client, want, is_new)?;
            // What does not fit stays a secret: the client can only use what it knows of.
            data.ocd_grant.set(u32::try_from(has).unwrap_or(u32::MAX));
        }
        Ok(())
    }
}
