// SPDX-License-Identifier: GPL-2.0

//! What we say of ourselves to those who ping (spec `lnet.md` §12).

use kapi::prelude::*;
use wire::lnet::{PingFeatures, PingInfo, PingNi, NI_STATUS_UP, PID_LUSTRE, PING_MAGIC};
use wire::nid::Nid;
use zerocopy::IntoBytes;

/// The part of our ping information that a GET asks for.
///
/// # Errors
/// `ENOMEM`. `EINVAL`: a NID that has no place in it.
pub(crate) fn info(nids: &[Nid], offset: u32, length: u32) -> Result<KVVec<u8>> {
    let features = PingFeatures::NI_STATUS
        | PingFeatures::RTE_DISABLED
        | PingFeatures::MULTI_RAIL
        | PingFeatures::DISCOVERY;
    let head = PingInfo {
        magic: PING_MAGIC.into(),
        features: features.bits().into(),
        pid: PID_LUSTRE.into(),
        nnis: u32::try_from(nids.len() + 1)?.into(),
    };
    let mut all: KVVec<u8> = KVVec::new();
    all.extend_from_slice(head.as_bytes(), GFP_KERNEL)?;
    // The loopback is first; its status is the sequence number, which never changes here.
    for nid in core::iter::once(&Nid::LO).chain(nids) {
        let e = PingNi {
            nid: nid.to_nid4().ok_or(EINVAL)?.into(),
            status: NI_STATUS_UP.into(),
            msg_size: 0.into(),
        };
        all.extend_from_slice(e.as_bytes(), GFP_KERNEL)?;
    }
    let from = (offset as usize).min(all.len());
    let to = from.saturating_add(length as usize).min(all.len());
    let mut out: KVVec<u8> = KVVec::new();
    out.extend_from_slice(all.get(from..to).unwrap_or(&[]), GFP_KERNEL)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_demand() -> Result {
        let nid = Nid::parse("10.0.0.1@tcp").unwrap();
        let all = info(&[nid], 0, 272)?;
        let (features, nis) = wire::lnet::parse_ping(&all).unwrap();
        assert_eq!(features.bits(), 0x1e);
        assert_eq!(nis.len(), 2);
        assert_eq!(Some(nis[1].nid.get()), nid.to_nid4());
        assert_eq!(all.len(), 48);
        assert_eq!(info(&[nid], 0, 20)?.len(), 20);
        assert_eq!(info(&[nid], 40, 272)?.len(), 8);
        assert_eq!(info(&[nid], u32::MAX, u32::MAX)?.len(), 0);
        Ok(())
    }
}
