// SPDX-License-Identifier: GPL-2.0

//! What is granted to clients that connect (`mdt.md` 2).

use kapi::prelude::*;
use ldlm::core::ibits;
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};

/// Changes that one client may have under way. The reply to each is kept until the client has it.
const MAX_MOD_RPCS: u16 = 8;
/// Largest bulk transfer, bytes: pages of a directory.
const BRW_SIZE: u32 = 1 << 20;
/// Largest value of an xattr, bytes.
pub(crate) const MAX_EASIZE: usize = 65536;
/// Bits of inode locks that are granted: all but data.
pub(crate) const IBITS: u64 = ibits::FULL & !ibits::DOM;

const FLAGS: ConnectFlags = ConnectFlags::RDONLY
    .union(ConnectFlags::MDS)
    .union(ConnectFlags::VERSION)
    .union(ConnectFlags::ACL)
    .union(ConnectFlags::XATTR)
    .union(ConnectFlags::LARGE_ACL)
    .union(ConnectFlags::IBITS)
    .union(ConnectFlags::ATTRFID)
    .union(ConnectFlags::NODEVOH)
    .union(ConnectFlags::BRW_SIZE)
    .union(ConnectFlags::CANCELSET)
    .union(ConnectFlags::LRU_RESIZE)
    .union(ConnectFlags::AT)
    .union(ConnectFlags::FID)
    .union(ConnectFlags::VBR)
    .union(ConnectFlags::LOV_V3)
    .union(ConnectFlags::MAX_EASIZE)
    .union(ConnectFlags::FULL20)
    .union(ConnectFlags::LAYOUTLOCK)
    .union(ConnectFlags::HASH64)
    .union(ConnectFlags::JOBSTATS)
    .union(ConnectFlags::UMASK)
    .union(ConnectFlags::EINPROGRESS)
    .union(ConnectFlags::LVB_TYPE)
    .union(ConnectFlags::LIGHTWEIGHT)
    .union(ConnectFlags::FLOCK_DEAD)
    .union(ConnectFlags::DISP_STRIPE)
    .union(ConnectFlags::OPEN_BY_FID)
    .union(ConnectFlags::MULTIMODRPCS)
    .union(ConnectFlags::SUBTREE)
    .union(ConnectFlags::BULK_MBITS)
    .union(ConnectFlags::FLAGS2);

const FLAGS2: ConnectFlags2 = ConnectFlags2::SUM_STATFS
    .union(ConnectFlags2::LOCK_CONVERT)
    .union(ConnectFlags2::INC_XID)
    .union(ConnectFlags2::LSOM)
    .union(ConnectFlags2::GETATTR_PFID)
    .union(ConnectFlags2::REP_MBITS);

/// Fills in `data`, a copy of `wanted` without flags.
///
/// # Errors
/// `EBADE`: the client does not name objects by FIDs. `EPROTO`: it takes no pages.
pub(crate) fn negotiate(wanted: &ConnectData, data: &mut ConnectData) -> Result {
    let asked = wanted.flags();
    if !asked.contains(ConnectFlags::FID) {
        return Err(EBADE);
    }
    let flags = asked.intersection(FLAGS);
    data.set_flags(flags, wanted.flags2().intersection(FLAGS2));
    let known = match flags.contains(ConnectFlags::IBITS) {
        true => wanted.ocd_ibits_known.get() & IBITS,
        false => 0,
    };
    data.ocd_ibits_known.set(known);
    let brw = match flags.contains(ConnectFlags::BRW_SIZE) {
        true => wanted.ocd_brw_size.get().min(BRW_SIZE) & !4095,
        false => BRW_SIZE,
    };
    if brw == 0 {
        return Err(EPROTO);
    }
    data.ocd_brw_size.set(brw);
    data.ocd_max_easize.set(u32::try_from(MAX_EASIZE)?);
    data.ocd_maxmodrpcs
        .set(match flags.contains(ConnectFlags::MULTIMODRPCS) {
            true => MAX_MOD_RPCS,
            false => 0,
        });
    // What only data on the MDT needs.
    data.ocd_grant.set(0);
    data.ocd_cksum_types.set(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_no_more_than_asked() {
        let mut wanted = ConnectData::default();
        wanted.set_flags(
            ConnectFlags::FID | ConnectFlags::IBITS | ConnectFlags::GRANT | ConnectFlags::FLAGS2,
            ConnectFlags2::BATCH_RPC | ConnectFlags2::LSOM,
        );
        wanted.ocd_ibits_known.set(u64::MAX);
        let mut data = wanted;
        negotiate(&wanted, &mut data).unwrap();
        assert!(data.is_subset_of(&wanted));
        assert!(!data.flags().contains(ConnectFlags::GRANT));
        assert_eq!(data.flags2(), ConnectFlags2::LSOM);
        assert_eq!(data.ocd_ibits_known.get(), IBITS);
        assert_eq!(data.ocd_max_easize.get(), 65536);
        assert_eq!(data.ocd_maxmodrpcs.get(), 0);
    }

    #[test]
    fn refuses() {
        let mut wanted = ConnectData::default();
        let mut data = wanted;
        assert_eq!(negotiate(&wanted, &mut data), Err(EBADE));
        wanted.set_flags(
            ConnectFlags::FID | ConnectFlags::BRW_SIZE,
            Default::default(),
        );
        wanted.ocd_brw_size.set(4095);
        assert_eq!(negotiate(&wanted, &mut data), Err(EPROTO));
    }

    /// The client gives up a mount without these.
    #[test]
    fn what_clients_insist_on() {
        let must = ConnectFlags::FID | ConnectFlags::ATTRFID | ConnectFlags::FULL20;
        assert!(FLAGS.contains(must | ConnectFlags::LVB_TYPE | ConnectFlags::LAYOUTLOCK));
    }
}
