// SPDX-License-Identifier: GPL-2.0

//! The `ost_body` of requests and replies (`ost.md` 2).

use kapi::prelude::*;
use ldlm::core::ResId;
use osd::{Attr, SetAttr, Time};
use ptlrpc::request::ServerRequest;
use wire::fid::{seq, Fid};
use wire::obdo::{ObdMd, Obdo};
use wire::ostid::OstId;

/// Bytes of it.
pub(crate) const LEN: u32 = size_of::<Obdo>() as u32;
/// Buffer of it.
pub(crate) const BUF: usize = 1;

/// The FID that an identifier stands for on this OST.
///
/// # Errors
/// `EPROTO`: none that an OST has objects of. `EBADF`: a FID with a version.
pub(crate) fn fid_of(oi: &OstId, index: u16) -> Result<Fid> {
    let fid = oi.to_fid(index).map_err(|_| EPROTO)?;
    if fid.ver != 0 {
        return Err(EBADF);
    }
    own(fid, index)
}

/// A FID as this OST has it: older peers leave the OST's index out of those of sequence 0.
///
/// # Errors
/// `EPROTO`: none that an OST has objects of.
pub(crate) fn own(fid: Fid, index: u16) -> Result<Fid> {
    if !fid.is_on_ost() {
        return Err(EPROTO);
    }
    if fid.is_idif() {
        return Fid::idif(index, fid.idif_id()).ok_or(EPROTO);
    }
    if fid.seq == seq::OST_MDT0 {
        return Fid::idif(index, fid.oid.into()).ok_or(EPROTO);
    }
    Ok(fid)
}

/// Reads the body of a request about an object.
///
/// # Errors
/// `EPROTO`: there is none, or it names no object. `EBADF`.
pub(crate) fn read(rpc: &ServerRequest, index: u16) -> Result<(Obdo, Fid)> {
    let o = *rpc.get::<Obdo>(BUF)?;
    if !o.valid().contains(ObdMd::FLID) || o.o_oi.id() == 0 {
        return Err(EPROTO);
    }
    let fid = fid_of(&o.o_oi, index)?;
    if fid.is_last_id() {
        return Err(EPROTO);
    }
    Ok((o, fid))
}

/// The lock resource of an object.
pub(crate) fn resource(fid: &Fid) -> ResId {
    ResId(fid.to_ost_res_name())
}

/// The identifier in replies: always a FID.
pub(crate) fn set_id(o: &mut Obdo, fid: &Fid) {
    o.o_oi = OstId::from_fid_verbatim(*fid);
    o.add_valid(ObdMd::FLID | ObdMd::FLGROUP);
}

/// Times, size, mode and blocks.
pub(crate) const ATTRS: ObdMd = ObdMd::FLTYPE
    .union(ObdMd::FLMODE)
    .union(ObdMd::FLSIZE)
    .union(ObdMd::FLBLOCKS)
    .union(ObdMd::FLATIME)
    .union(ObdMd::FLMTIME)
    .union(ObdMd::FLCTIME);
/// Owners.
pub(crate) const IDS: ObdMd = ObdMd::FLUID.union(ObdMd::FLGID).union(ObdMd::FLPROJID);

/// Fills in those attributes that are in `which`.
pub(crate) fn set_attrs(o: &mut Obdo, a: &Attr, which: ObdMd) {
    o.add_valid(which);
    if which.intersects(ObdMd::FLMODE | ObdMd::FLTYPE) {
        o.o_mode.set(a.mode);
    }
    if which.contains(ObdMd::FLSIZE) {
        o.o_size.set(a.size);
    }
    if which.contains(ObdMd::FLBLOCKS) {
        o.o_blocks.set(a.blocks);
    }
    if which.contains(ObdMd::FLATIME) {
        o.o_atime.set(a.atime.sec);
    }
    if which.contains(ObdMd::FLMTIME) {
        o.o_mtime.set(a.mtime.sec);
    }
    if which.contains(ObdMd::FLCTIME) {
        o.o_ctime.set(a.ctime.sec);
    }
    if which.contains(ObdMd::FLUID) {
        o.o_uid.set(a.uid);
    }
    if which.contains(ObdMd::FLGID) {
        o.o_gid.set(a.gid);
    }
    if which.contains(ObdMd::FLPROJID) {
        o.o_projid.set(a.projid);
    }
}

/// The times that a request brings.
pub(crate) fn times(o: &Obdo) -> SetAttr {
    let valid = o.valid();
    let when = |bit, sec| valid.contains(bit).then_some(Time::secs(sec));
    SetAttr {
        atime: when(ObdMd::FLATIME, o.o_atime.get()),
        mtime: when(ObdMd::FLMTIME, o.o_mtime.get()),
        ctime: when(ObdMd::FLCTIME, o.o_ctime.get()),
        ..SetAttr::default()
    }
}

/// The owners that a request brings.
pub(crate) fn ids(o: &Obdo) -> SetAttr {
    let valid = o.valid();
    let id = |bit, id| valid.contains(bit).then_some(id);
    SetAttr {
        uid: id(ObdMd::FLUID, o.o_uid.get()),
        gid: id(ObdMd::FLGID, o.o_gid.get()),
        projid: id(ObdMd::FLPROJID, o.o_projid.get()),
        ..SetAttr::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        let norm = Fid::new(0x2_4000_0400, 5);
        let id = |fid| OstId::from_fid_verbatim(fid);
        assert_eq!(fid_of(&id(norm), 3), Ok(norm));
        let own = Fid::idif(3, 77).unwrap();
        assert_eq!(fid_of(&OstId::from_fid(own), 3), Ok(own));
        // From a peer that does not know the index.
        assert_eq!(fid_of(&id(Fid::idif(0, 77).unwrap()), 3), Ok(own));
        for (bad, e) in [
            (Fid { ver: 1, ..norm }, EBADF),
            (Fid::new(seq::LLOG, 1), EPROTO),
            (Fid::local(wire::fid::oid::LAST_RCVD), EPROTO),
            (Fid::ROOT, EPROTO),
            (Fid::new(seq::LLOG_NAME, 1), EPROTO),
            (Fid::igif(100, 5), EPROTO),
            (Fid::new(seq::QUOTA, 1), EPROTO),
        ] {
            assert_eq!(fid_of(&id(bad), 3), Err(e), "{bad}");
        }
        // What would be a counter reads as an object of sequence 0.
        assert_eq!(
            fid_of(&id(Fid::new(0x2_4000_0400, 0)), 3),
            Ok(Fid::idif(3, 0x2_4000_0400).unwrap())
        );
    }
}
