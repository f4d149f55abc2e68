// SPDX-License-Identifier: GPL-2.0

//! Where the targets of a file system are: what clients are told when one has moved
//! (`mgs-config.md` 17). Does no I/O.

use kapi::prelude::*;
use wire::mgs::{MgsConfigRes, MgsNidtblEntry};
use wire::nid::Nid;
use wire::svname::SvKind;
use zerocopy::IntoBytes;

/// The version of a table that nothing was entered into.
pub(crate) const FIRST_VERSION: u64 = 2;
/// NIDs of a target that are kept.
pub(crate) const MAX_NIDS: usize = 32;
/// Bytes of a NID in the old numeric form.
const OLD_NID: usize = 8;

struct Entry {
    kind: SvKind,
    index: u16,
    instance: u32,
    version: u64,
    nids: KVec<Nid>,
}

/// The table.
pub(crate) struct NidTable {
    version: u64,
    /// In the order of their versions.
    entries: KVVec<Entry>,
}

impl NidTable {
    /// An empty one, with the version that it had at the end of the last life.
    pub(crate) fn new(version: u64) -> NidTable {
        NidTable {
            version: version.max(FIRST_VERSION),
            entries: KVVec::new(),
        }
    }

    /// A target is at these NIDs now. Returns the new version, to be written down before anybody
    /// hears of it.
    ///
    /// # Errors
    /// `ENOMEM`, `EOVERFLOW`.
    pub(crate) fn enter(
        &mut self,
        kind: SvKind,
        index: u16,
        instance: u32,
        nids: KVec<Nid>,
    ) -> Result<u64> {
        let version = self.version.checked_add(1).ok_or(EOVERFLOW)?;
        self.entries.reserve(1, GFP_KERNEL)?;
        self.entries.retain(|e| (e.kind, e.index) != (kind, index));
        let new = Entry {
            kind,
            index,
            instance,
            version,
            nids,
        };
        self.entries.push_within_capacity(new)?;
        self.version = version;
        Ok(version)
    }

    /// Writes the entries from version `from` on, in units of `unit` bytes, `units` at the most.
    /// NIDs take `nid_size` bytes, or with 0 have the old numeric form.
    ///
    /// # Errors
    /// `EINVAL`: a size that nothing has. `EOVERFLOW`: no NID of a target fits. `ENOMEM`.
    pub(crate) fn read(
        &self,
        from: u64,
        nid_size: u8,
        unit: usize,
        units: usize,
    ) -> Result<(KVVec<u8>, MgsConfigRes)> {
        const HEAD: usize = size_of::<MgsNidtblEntry>();
        let each = match usize::from(nid_size) {
            0 => OLD_NID,
            n if n == size_of::<Nid>() => n,
            _ => return Err(EINVAL),
        };
        if unit < HEAD + each || !unit.is_power_of_two() {
            return Err(EINVAL);
        }
        let mut out = KVVec::new();
        let mut last = self.version;
        // Where the latest entry of the unit begins.
        let mut latest = None;
        let mut complete = true;
        let mut through = from;
        for e in self.entries.iter().filter(|e| e.version >= from) {
            let room = (unit - out.len() % unit) % unit;
            let fits = |n: usize| HEAD + n * each;
            let usable = |nid: &&Nid| nid_size != 0 || nid.to_nid4().is_some();
            let wanted = e.nids.iter().filter(usable).count();
            if fits(wanted) > room {
                if out.len().div_ceil(unit) >= units {
                    complete = false;
                    break;
                }
                if let Some(at) = latest.filter(|_| room > 0) {
                    extend(&mut out, at, room)?;
                }
            }
            // At the begin of a unit now, or there is room for all.
            let count = wanted.min((unit - HEAD) / each).min(usize::from(u8::MAX));
            if count == 0 {
                return Err(EOVERFLOW);
            }
            let head = MgsNidtblEntry {
                mne_version: e.version.into(),
                mne_instance: e.instance.into(),
                mne_index: u32::from(e.index).into(),
                mne_length: u32::try_from(fits(count))?.into(),
                mne_type: match e.kind {
                    SvKind::Mdt => 1,
                    SvKind::Ost => 2,
                },
                mne_nid_type: u8::from(nid_size != 0),
                mne_nid_size: u8::try_from(each)?,
                mne_nid_count: u8::try_from(count)?,
            };
            latest = Some(out.len());
            out.extend_from_slice(head.as_bytes(), GFP_KERNEL)?;
            for nid in e.nids.iter().filter(usable).take(count) {
                match nid.to_nid4() {
                    Some(n) if nid_size == 0 => {
                        out.extend_from_slice(&n.to_le_bytes(), GFP_KERNEL)?
                    }
                    _ => out.extend_from_slice(nid.as_bytes(), GFP_KERNEL)?,
                }
            }
            through = e.version;
        }
        if !complete {
            last = through;
        }
        let res = MgsConfigRes {
            mcr_offset: last.into(),
            mcr_size: self.version.into(),
        };
        Ok((out, res))
    }
}

/// The entry at `at` takes the rest of its unit.
fn extend(out: &mut KVVec<u8>, at: usize, room: usize) -> Result {
    const LENGTH: usize = core::mem::offset_of!(MgsNidtblEntry, mne_length);
    out.resize(out.len() + room, 0, GFP_KERNEL)?;
    let len = u32::try_from(out.len() - at)?;
    out.get_mut(at + LENGTH..at + LENGTH + 4)
        .ok_or(EINVAL)?
        .copy_from_slice(&len.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;
    use wire::nid::Net;
    use zerocopy::FromBytes;

    fn nid(n: u32) -> Nid {
        Nid::v4(Net::TCP, core::net::Ipv4Addr::from(n))
    }

    fn nids(all: &[u32]) -> KVec<Nid> {
        let mut v = KVec::new();
        for n in all {
            v.push(nid(*n), GFP_KERNEL).unwrap();
        }
        v
    }

    /// The reply of `spec/mgs-config.md` 21.3.
    #[test]
    fn as_observed() {
        let mut t = NidTable::new(0);
        let (mgs, oss) = (0xc0a8_4d01, 0xc0a8_4d03);
        assert_eq!(t.enter(SvKind::Mdt, 0, 1, nids(&[mgs])), Ok(3));
        assert_eq!(t.enter(SvKind::Ost, 0, 1, nids(&[oss])), Ok(4));
        assert_eq!(t.enter(SvKind::Ost, 1, 1, nids(&[oss])), Ok(5));
        let (bytes, res) = t.read(1, 20, 4096, 256).unwrap();
        assert_eq!((res.mcr_offset.get(), res.mcr_size.get()), (5, 5));
        assert_eq!(bytes.len(), 132);
        let want = b"\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x2c\0\0\0\x01\x01\x14\x01\
                     \0\x02\0\0\xc0\xa8\x4d\x01\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(bytes[..44], want[..]);
        // It comes back: an entry with a new version, at the end.
        assert_eq!(t.enter(SvKind::Mdt, 0, 2, nids(&[mgs])), Ok(6));
        let (bytes, res) = t.read(6, 20, 4096, 4).unwrap();
        assert_eq!((bytes.len(), res.mcr_offset.get()), (44, 6));
        let (bytes, res) = t.read(7, 0, 4096, 4).unwrap();
        assert_eq!(
            (bytes.len(), res.mcr_offset.get(), res.mcr_size.get()),
            (0, 6, 6)
        );
        let (bytes, _) = t.read(6, 0, 4096, 4).unwrap();
        assert_eq!((bytes.len(), bytes[21], bytes[22]), (32, 0, 8));
        for (size, unit) in [(8, 4096), (20, 32), (20, 4095)] {
            assert_eq!(t.read(1, size, unit, 4).err(), Some(EINVAL));
        }
        assert_eq!(t.read(1, 20, 4096, 0).unwrap().0.len(), 0);
    }

    proptest! {
        #[test]
        fn a_reader_gets_all(
            counts in proptest::collection::vec(1_usize..33, 1..60),
            units in 1_usize..5, large: bool,
        ) {
            let mut t = NidTable::new(0);
            for (i, n) in counts.iter().enumerate() {
                let all: Vec<u32> = (0..*n as u32).collect();
                t.enter(SvKind::Ost, i as u16, 1, nids(&all)).unwrap();
            }
            let unit = 1024;
            let mut next = 1;
            let mut got = Vec::new();
            loop {
                let (bytes, res) = t.read(next, if large { 20 } else { 0 }, unit, units).unwrap();
                prop_assert!(bytes.len() <= unit * units);
                let mut at = 0;
                while at < bytes.len() {
                    let (e, _) = MgsNidtblEntry::ref_from_prefix(&bytes[at..]).unwrap();
                    let len = e.mne_length.get() as usize;
                    prop_assert!(at / unit == (at + len - 1) / unit);
                    prop_assert!(e.mne_version.get() >= next);
                    next = e.mne_version.get() + 1;
                    got.push((e.mne_index.get() as usize, usize::from(e.mne_nid_count)));
                    at += len;
                }
                if res.mcr_offset == res.mcr_size {
                    break;
                }
                prop_assert_eq!(res.mcr_offset.get() + 1, next);
            }
            let want: Vec<_> = counts.iter().copied().enumerate().collect();
            prop_assert_eq!(got, want);
        }
    }
}
