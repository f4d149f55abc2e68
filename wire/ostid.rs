// SPDX-License-Identifier: GPL-2.0

//! Identifiers of OST objects and of logs: a FID, or its older form (`spec/ost.md` 2.1).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::{seq, Fid};

/// `ost_id`: a union of {id, sequence} and a FID; the second word tells which.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct OstId {
    /// Object number, or the FID's sequence.
    pub oi_id: U64,
    /// 0 (the first word is a number), all ones (a default layout), or the FID's oid and version.
    pub oi_seq: U64,
}
assert_layout!(OstId, 16, oi_seq = 8);

/// What an [`OstId`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OstIdKind {
    /// A number in sequence 0 of the OST at hand.
    Legacy(u64),
    /// The mark of a default layout.
    Default,
    /// A FID.
    Fid(Fid),
}

impl OstId {
    /// The form that goes to the wire and into layouts: IDIF and sequence 0 as a number, others as a FID.
    pub fn from_fid(fid: Fid) -> OstId {
        let (first, second) = if fid.is_idif() {
            (fid.idif_id(), 0)
        } else if fid.seq == seq::OST_MDT0 {
            (u64::from(fid.oid), 0)
        } else {
            (fid.seq, (u64::from(fid.ver) << 32) | u64::from(fid.oid))
        };
        OstId {
            oi_id: first.into(),
            oi_seq: second.into(),
        }
    }

    /// The FID's bytes as they are, IDIF included (what an OST echoes in replies).
    pub fn from_fid_verbatim(fid: Fid) -> OstId {
        OstId {
            oi_id: fid.seq.into(),
            oi_seq: ((u64::from(fid.ver) << 32) | u64::from(fid.oid)).into(),
        }
    }

    /// Which of the forms it has.
    pub fn kind(&self) -> OstIdKind {
        match self.oi_seq.get() {
            0 => OstIdKind::Legacy(self.oi_id.get()),
            u64::MAX => OstIdKind::Default,
            low => OstIdKind::Fid(Fid {
                seq: self.oi_id.get(),
                oid: low as u32,
                ver: (low >> 32) as u32,
            }),
        }
    }

    /// The FID of the object on OST `ost_index`.
    ///
    /// # Errors
    /// [`Malformed::Value`]: the mark of a default layout, or a number of more than 48 bits.
    pub fn to_fid(&self, ost_index: u16) -> Result<Fid> {
        match self.kind() {
            OstIdKind::Legacy(id) => Fid::idif(ost_index, id).ok_or(Malformed::Value),
            OstIdKind::Default => Err(Malformed::Value),
            OstIdKind::Fid(fid) => Ok(fid),
        }
    }

    /// The number in the sequence: 48 bits in sequence 0 and IDIF, 32 in others.
    pub fn id(&self) -> u64 {
        match self.kind() {
            OstIdKind::Legacy(id) => id,
            OstIdKind::Default => 0,
            OstIdKind::Fid(fid) if fid.is_idif() => fid.idif_id(),
            OstIdKind::Fid(fid) => u64::from(fid.oid),
        }
    }
}

/// An identifier that is always {oid, sequence}: `lmm_oi` of a layout and, with a generation, the
/// identifier of a log. The words stand the other way round than in a FID.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct OidSeq {
    /// `f_oid`.
    pub oi_id: U64,
    /// `f_seq`.
    pub oi_seq: U64,
}
assert_layout!(OidSeq, 16, oi_seq = 8);

impl OidSeq {
    /// The FID's identifier; its version is lost.
    pub fn from_fid(fid: Fid) -> OidSeq {
        OidSeq {
            oi_id: u64::from(fid.oid).into(),
            oi_seq: fid.seq.into(),
        }
    }

    /// The FID.
    ///
    /// # Errors
    /// [`Malformed::Value`]: the number has more than 32 bits.
    pub fn to_fid(&self) -> Result<Fid> {
        let oid = u32::try_from(self.oi_id.get()).map_err(|_| Malformed::Value)?;
        Ok(Fid::new(self.oi_seq.get(), oid))
    }
}

/// `llog_logid`: which log.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct LlogLogid {
    /// The log's FID.
    pub lgl_oi: OidSeq,
    /// 0; in logs of the oldest format the generation of inode `lgl_oi.oi_id`.
    pub lgl_ogen: U32,
}
assert_layout!(LlogLogid, 20, lgl_ogen = 16);

impl LlogLogid {
    /// The identifier of the log with this FID.
    pub fn from_fid(fid: Fid) -> LlogLogid {
        LlogLogid {
            lgl_oi: OidSeq::from_fid(fid),
            lgl_ogen: 0.into(),
        }
    }

    /// The log's FID.
    ///
    /// # Errors
    /// [`Malformed::Value`]: the number has more than 32 bits.
    pub fn to_fid(&self) -> Result<Fid> {
        if self.lgl_ogen.get() != 0 {
            let ino = u32::try_from(self.lgl_oi.oi_id.get()).map_err(|_| Malformed::Value)?;
            return Ok(Fid::igif(ino, self.lgl_ogen.get()));
        }
        self.lgl_oi.to_fid()
    }

    /// Whether it names no log.
    pub fn is_zero(&self) -> bool {
        self.lgl_oi.oi_id.get() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let norm = Fid::new(0x2_8000_0400, 0x3f7);
        let id = OstId::from_fid(norm);
        assert_eq!(
            id.as_bytes(),
            [0, 4, 0, 0x80, 2, 0, 0, 0, 0xf7, 3, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(id.kind(), OstIdKind::Fid(norm));
        assert_eq!((id.to_fid(9), id.id()), (Ok(norm), 0x3f7));

        let idif = Fid::idif(2, 0x5_0000_0007).unwrap();
        let id = OstId::from_fid(idif);
        assert_eq!(id.kind(), OstIdKind::Legacy(0x5_0000_0007));
        assert_eq!(id.to_fid(2), Ok(idif));
        assert_eq!(OstId::from_fid_verbatim(idif).to_fid(0), Ok(idif));
        assert_eq!(OstId::from_fid_verbatim(idif).id(), 0x5_0000_0007);

        let default = OstId {
            oi_id: 0.into(),
            oi_seq: u64::MAX.into(),
        };
        assert_eq!(default.to_fid(0), Err(Malformed::Value));
        let large = OstId {
            oi_id: u64::MAX.into(),
            oi_seq: 0.into(),
        };
        assert_eq!(large.to_fid(0), Err(Malformed::Value));
    }

    #[test]
    fn logs() {
        let log = LlogLogid::from_fid(Fid::new(10, 3));
        assert_eq!((log.as_bytes()[0], log.as_bytes()[8]), (3, 10));
        assert_eq!(log.to_fid(), Ok(Fid::new(10, 3)));
        let old = LlogLogid {
            lgl_oi: OidSeq::from_fid(Fid::new(0, 77)),
            lgl_ogen: 5.into(),
        };
        assert_eq!(old.to_fid(), Ok(Fid::igif(77, 5)));
        assert!(!old.is_zero() && LlogLogid::default().is_zero());
    }
}
