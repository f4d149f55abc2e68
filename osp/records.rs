// SPDX-License-Identifier: GPL-2.0

//! Changes as records of a log (`ost.md` 13.4). No I/O here.

use crate::changes::{Op, Owner};
use wire::fid::Fid;
use wire::llog::{
    rec_type, LlogSetattr64Rec, LlogSetattr64RecV2, LlogUnlink64Rec, LlogUnlinkRec, Rec,
};
use wire::obdo::ObdMd;
use wire::ostid::OstId;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of the longest record that is written.
pub(crate) const MAX_REC: usize = size_of::<LlogSetattr64RecV2>();
/// Objects that one record may name.
const MAX_COUNT: u32 = 1 << 16;

/// The record of a change, without head and tail: its type, and its bytes in `buf`.
pub(crate) fn write<'a>(fid: &Fid, op: &Op, buf: &'a mut [u8; MAX_REC]) -> (u32, &'a mut [u8]) {
    buf.fill(0);
    let (kind, len) = match op {
        Op::Destroy => {
            let mut rec = LlogUnlink64Rec {
                lur_fid: (*fid).into(),
                ..LlogUnlink64Rec::default()
            };
            rec.lur_count.set(1);
            // There is room for each of them.
            let _ = rec.write_to_prefix(buf);
            (rec_type::MDS_UNLINK64, size_of_val(&rec))
        }
        Op::Owner(owner) => {
            let mut rec = LlogSetattr64RecV2 {
                lsr_oi: OstId::from_fid(*fid),
                ..LlogSetattr64RecV2::default()
            };
            let (valid, [uid, gid, projid]) = owner.fields();
            rec.lsr_valid.set(valid.bits());
            rec.lsr_uid.set(uid);
            rec.lsr_gid.set(gid);
            rec.lsr_projid.set(projid);
            let _ = rec.write_to_prefix(buf);
            (rec_type::MDS_SETATTR64, size_of_val(&rec))
        }
    };
    let (rec, _) = buf.split_at_mut(len);
    (kind, rec)
}

fn owner(valid: u64, uid: u32, gid: u32, projid: u32) -> Op {
    let valid = match ObdMd::from_bits_retain(valid) {
        v if v.is_empty() => ObdMd::FLUID | ObdMd::FLGID,
        v => v,
    };
    Op::Owner(Owner {
        uid: valid.contains(ObdMd::FLUID).then_some(uid),
        gid: valid.contains(ObdMd::FLGID).then_some(gid),
        projid: valid.contains(ObdMd::FLPROJID).then_some(projid),
    })
}

/// What a record says is to be done to which objects, `first` and the `count - 1` behind it; none:
/// it says nothing to OST `index`, or nothing that is known.
pub(crate) fn read(rec: &Rec<'_>, index: u16) -> Option<(Fid, u32, Op)> {
    let (first, count, op) = match rec.kind() {
        rec_type::MDS_UNLINK64 => {
            let r = LlogUnlink64Rec::read_from_bytes(rec.bytes).ok()?;
            (r.lur_fid.into(), r.lur_count.get().max(1), Op::Destroy)
        }
        rec_type::MDS_UNLINK => {
            let r = LlogUnlinkRec::read_from_bytes(rec.bytes).ok()?;
            let fid = match r.lur_oseq.get() {
                0 => Fid::idif(index, r.lur_oid.get())?,
                seq => Fid::new(seq.into(), u32::try_from(r.lur_oid.get()).ok()?),
            };
            (fid, r.lur_count.get().max(1), Op::Destroy)
        }
        rec_type::MDS_SETATTR64 => {
            if let Ok(r) = LlogSetattr64RecV2::read_from_bytes(rec.bytes) {
                let (uid, gid) = (r.lsr_uid.get(), r.lsr_gid.get());
                let op = owner(r.lsr_valid.get(), uid, gid, r.lsr_projid.get());
                (r.lsr_oi.to_fid(index).ok()?, 1, op)
            } else {
                let r = LlogSetattr64Rec::read_from_bytes(rec.bytes).ok()?;
                let op = owner(r.lsr_valid.get(), r.lsr_uid.get(), r.lsr_gid.get(), 0);
                (r.lsr_oi.to_fid(index).ok()?, 1, op)
            }
        }
        _ => return None,
    };
    let is_object = (first.is_norm() || first.is_idif()) && first.oid != 0;
    let fits = count <= MAX_COUNT && first.oid.checked_add(count).is_some();
    (is_object && fits).then_some((first, count, op))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::llog::{frame, Records};

    fn back(fid: Fid, op: Op) -> Option<(Fid, u32, Op)> {
        let mut buf = [0; MAX_REC];
        let (kind, rec) = write(&fid, &op, &mut buf);
        frame(rec, kind, 7).unwrap();
        let rec = Records::new(rec).next().unwrap().unwrap();
        assert_eq!(rec.index(), 7);
        read(&rec, 3)
    }

    #[test]
    fn there_and_back() {
        let owner = Owner {
            uid: Some(7),
            gid: None,
            projid: Some(0),
        };
        for fid in [
            Fid::new(0x2_4000_0400, 9),
            Fid::idif(3, 0x1_2345_6789).unwrap(),
        ] {
            for op in [Op::Destroy, Op::Owner(owner)] {
                assert_eq!(back(fid, op), Some((fid, 1, op)));
            }
        }
        assert_eq!(back(Fid::new(0x2_4000_0400, 0), Op::Destroy), None);
        assert_eq!(back(Fid::ROOT, Op::Destroy), None);
    }

    #[test]
    fn other_forms() {
        let parse = |rec: &mut [u8], kind| {
            frame(rec, kind, 1).unwrap();
            read(&Records::new(rec).next().unwrap().unwrap(), 3)
        };
        let fid = Fid::new(0x2_4000_0400, 9);
        let mut r = LlogSetattr64Rec {
            lsr_oi: OstId::from_fid(fid),
            ..LlogSetattr64Rec::default()
        };
        r.lsr_uid.set(1);
        r.lsr_gid.set(2);
        let op = owner(0, 1, 2, 0);
        assert_eq!(
            parse(r.as_mut_bytes(), rec_type::MDS_SETATTR64),
            Some((fid, 1, op))
        );
        let mut r = LlogUnlinkRec::default();
        r.lur_oid.set(5);
        r.lur_count.set(2);
        let first = Fid::idif(3, 5).unwrap();
        let got = parse(r.as_mut_bytes(), rec_type::MDS_UNLINK);
        assert_eq!(got, Some((first, 2, Op::Destroy)));
        r.lur_count.set(u32::MAX);
        assert_eq!(parse(r.as_mut_bytes(), rec_type::MDS_UNLINK), None);
        let mut short = [0; 40];
        assert_eq!(parse(&mut short, rec_type::MDS_UNLINK64), None);
        assert_eq!(parse(&mut short, rec_type::LLOG_GEN), None);
    }
}
