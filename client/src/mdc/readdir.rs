// SPDX-License-Identifier: GPL-2.0

//! Reading directories (spec `mdt.md` 10).

use super::Mdc;
use crate::cred::Cred;
use crate::rpc;
use crate::target::Enqueue;
use kapi::pages::Pages;
use kapi::prelude::*;
use ldlm::client::{Held, Want};
use ldlm::core::{flags, ibits, Mode};
use lnet::Sink;
use ptlrpc::bulk::ClientBulk;
use ptlrpc::call::CallOptions;
use wire::dirent::{DirPage, LudaFlags, LU_PAGE_SIZE, MDS_DIR_END_OFF};
use wire::fid::Fid;
use wire::mdt::MdtBody;
use wire::msg::MDS_VERSION;
use wire::obdo::ObdMd;
use wire::opcode::{portal, MDS_READPAGE};
use zerocopy::IntoBytes;

/// Pages of a request at the most: 1 MiB.
const PAGES_MAX: usize = 256;

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// The object; zero: to be looked up.
    pub fid: Fid,
    /// Type bits of the mode; 0: not known.
    pub kind: u32,
    /// Hash of the name.
    pub hash: u64,
}

/// The entries of some pages that are one after another, and the hash to go on from.
fn entries<'a>(
    pages: impl Iterator<Item = &'a [u8]>,
    start: u64,
) -> Result<(Vec<DirEntry>, Option<u64>)> {
    let mut out = Vec::new();
    let mut next = None;
    for page in pages {
        let p = DirPage::parse(page).map_err(|_| EPROTO)?;
        for e in p.entries() {
            let e = e.map_err(|_| EPROTO)?;
            // A page may begin before the hash that was asked for.
            if e.hash < start {
                continue;
            }
            out.push(DirEntry {
                name: e.name.to_vec(),
                fid: e.fid.unwrap_or_default(),
                kind: e.file_type.map_or(0, u32::from),
                hash: e.hash,
            });
        }
        next = Some(p.head.ldp_hash_end.get());
    }
    match next {
        None => Err(EPROTO),
        Some(MDS_DIR_END_OFF) => Ok((out, None)),
        // Pages that do not bring us on would do so for ever.
        Some(n) if n <= start => Err(EIO),
        Some(n) => Ok((out, Some(n))),
    }
}

impl Mdc {
    /// A lock under which the names in a directory may be kept.
    ///
    /// # Errors
    /// Those of the connection, `ESTALE`.
    pub fn lock_dir(&self, dir: Fid, cred: &Cred) -> Result<Option<Held>> {
        let e = self.target.enqueue(&Enqueue {
            want: Want {
                res: super::resource(dir),
                mode: Mode::Pr,
                policy: super::bits(ibits::UPDATE),
                flags: flags::HAS_INTENT,
            },
            cancels: &[],
            intent: &[],
            lvb: None,
            options: CallOptions::new(&[112, 0])?,
            cred,
        })?;
        Ok(e.lock)
    }

    /// Entries of a directory with hashes from `start` on, and where to go on; `None`: that is
    /// the end.
    ///
    /// # Errors
    /// `ENOTDIR`, `ENOENT`, `EPROTO`: pages that make no sense.
    pub fn read_dir(
        &self,
        dir: Fid,
        start: u64,
        cred: &Cred,
    ) -> Result<(Vec<DirEntry>, Option<u64>)> {
        let granted = self.target.connect_data().ocd_brw_size.get() as usize;
        let pages = (granted / LU_PAGE_SIZE).clamp(1, PAGES_MAX);
        let mut b = MdtBody::default();
        cred.fill_body(&mut b, None);
        b.mbo_fid1 = dir.into();
        b.set_valid(ObdMd::FLID);
        b.mbo_size.set(start);
        b.mbo_nlink.set(u32::try_from(pages * LU_PAGE_SIZE)?);
        b.mbo_mode.set((LudaFlags::FID | LudaFlags::TYPE).bits());
        let mut m = rpc::request(MDS_READPAGE, MDS_VERSION, &[b.as_bytes(), &[]])?;
        rpc::sign(&mut m, cred)?;
        let mut sinks = KVec::new();
        sinks.push(Sink::new(Pages::new(pages)?), GFP_KERNEL)?;
        let bulk = ClientBulk::take(portal::MDS_BULK, sinks)?;
        let mut o = CallOptions::new(&[216])?;
        o.portal = Some(portal::MDS_READPAGE);
        let r = self.target.import().call(m, o, Some(bulk))?.check()?;
        let got = r.bulk.ok_or(EPROTO)?.into_received();
        let (sink, len) = got.iter().next().ok_or(EPROTO)?;
        if len % LU_PAGE_SIZE != 0 {
            return Err(EPROTO);
        }
        let n = len / LU_PAGE_SIZE;
        entries(
            (0..n).filter_map(|i| sink.pages.page(i).map(|p| &p[..])),
            start,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::dirent::{DirEntry as Wire, DirPageBuilder};

    #[test]
    fn pages() {
        let mut page = [0; LU_PAGE_SIZE];
        let wanted = LudaFlags::FID | LudaFlags::TYPE | LudaFlags::HASH_64BIT;
        let mut b = DirPageBuilder::new(&mut page, 0, wanted);
        for (hash, name) in [(3, &b"a"[..]), (9, b"bb")] {
            b.push(&Wire {
                hash,
                fid: Some(Fid::new(0x2_0000_0401, hash as u32)),
                file_type: Some(0o100000),
                name,
            })
            .unwrap();
        }
        b.finish(Some(12));
        let (e, next) = entries([&page[..]].into_iter(), 0).unwrap();
        assert_eq!(next, Some(12));
        assert_eq!(e.len(), 2);
        assert_eq!(
            (&*e[1].name, e[1].fid.oid, e[1].kind),
            (&b"bb"[..], 9, 0o100000)
        );
        let (e, _) = entries([&page[..]].into_iter(), 4).unwrap();
        assert_eq!(e.len(), 1);
        // No way on.
        assert_eq!(entries([&page[..]].into_iter(), 12), Err(EIO));
        assert_eq!(entries(std::iter::empty(), 0), Err(EPROTO));
        let mut page = [0; LU_PAGE_SIZE];
        DirPageBuilder::new(&mut page, 0, wanted).finish(None);
        assert_eq!(entries([&page[..]].into_iter(), 0), Ok((Vec::new(), None)));
    }
}
