// SPDX-License-Identifier: GPL-2.0

//! Pages of directory entries as `MDS_READPAGE` sends them (`spec/mdt.md` 10).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::{Fid, LuFid};
use crate::flags;

/// Bytes of a page, whatever the CPU's page size.
pub const LU_PAGE_SIZE: usize = 4096;
/// The hash at the end of a directory; no entry has it.
pub const MDS_DIR_END_OFF: u64 = 0xffff_ffff_ffff_fffe;

flags! {
    /// Flags of a page.
    pub struct LuDirpageFlags: u32 {
        /// No entry in it.
        const EMPTY = 0x1;
        /// The next page begins with the hash of the last entry.
        const COLLIDE = 0x2;
    }
}

flags! {
    /// What an entry has.
    pub struct LudaFlags: u32 {
        /// The FID.
        const FID = 0x1;
        /// The file type.
        const TYPE = 0x2;
        /// A hash of 64 bits.
        const HASH_64BIT = 0x4;
        /// The entry is not for the application.
        const IGNORE = 0x8000;
    }
}

/// `lu_dirpage`: the head of a page.
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
pub struct LuDirpage {
    /// The first hash.
    pub ldp_hash_start: U64,
    /// The hash to go on from, or [`MDS_DIR_END_OFF`].
    pub ldp_hash_end: U64,
    /// [`LuDirpageFlags`].
    pub ldp_flags: U32,
    /// 0.
    pub ldp_pad0: U32,
}
assert_layout!(LuDirpage, 24, ldp_hash_end = 8, ldp_flags = 16);

/// `lu_dirent`: the head of an entry; the name follows.
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
pub struct LuDirent {
    /// The object.
    pub lde_fid: LuFid,
    /// Hash of the name.
    pub lde_hash: U64,
    /// Bytes to the next entry, 0 in the last one.
    pub lde_reclen: U16,
    /// Bytes of the name.
    pub lde_namelen: U16,
    /// [`LudaFlags`].
    pub lde_attrs: U32,
}
assert_layout!(
    LuDirent,
    32,
    lde_hash = 16,
    lde_reclen = 24,
    lde_namelen = 26,
    lde_attrs = 28
);

const PAGE_HEAD: usize = size_of::<LuDirpage>();
const ENTRY_HEAD: usize = size_of::<LuDirent>();

/// Bytes of an entry with a name of `namelen` bytes.
pub const fn dirent_size(namelen: usize, with_type: bool) -> usize {
    let end = if with_type {
        // The type stands where the NUL is, or behind it.
        type_offset(namelen) + 2
    } else {
        ENTRY_HEAD + namelen + 1
    };
    end.next_multiple_of(8)
}

const fn type_offset(namelen: usize) -> usize {
    ENTRY_HEAD + namelen.next_multiple_of(2)
}

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirEntry<'a> {
    /// Hash of the name.
    pub hash: u64,
    /// The object, if known.
    pub fid: Option<Fid>,
    /// `S_IFMT` bits, if known.
    pub file_type: Option<u16>,
    /// The name, 1 to 255 bytes.
    pub name: &'a [u8],
}

/// Fills a page with entries.
pub struct DirPageBuilder<'a> {
    page: &'a mut [u8; LU_PAGE_SIZE],
    /// Where the last entry begins.
    last: Option<usize>,
    last_hash: u64,
    /// Where the next one goes.
    end: usize,
    attrs: LudaFlags,
}

impl<'a> DirPageBuilder<'a> {
    /// An empty page that begins at `hash_start`. Entries get those of `wanted` that they know.
    pub fn new(page: &'a mut [u8; LU_PAGE_SIZE], hash_start: u64, wanted: LudaFlags) -> Self {
        page.fill(0);
        let head = LuDirpage {
            ldp_hash_start: hash_start.into(),
            ..LuDirpage::new_zeroed()
        };
        let mut b = DirPageBuilder {
            page,
            last: None,
            last_hash: 0,
            end: PAGE_HEAD,
            attrs: wanted,
        };
        b.put(0, head.as_bytes());
        b
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.page.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    /// Whether it has no entry yet.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Adds an entry; its hash must not be below that of the one before.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`]: the page is full, finish it with the entry's hash.
    /// [`Malformed::Value`]: not a name.
    pub fn push(&mut self, entry: &DirEntry<'_>) -> Result<()> {
        if entry.name.is_empty() || entry.name.len() > 255 {
            return Err(Malformed::Value);
        }
        let mut attrs = self.attrs & LudaFlags::HASH_64BIT;
        let fid = entry.fid.filter(|_| self.attrs.contains(LudaFlags::FID));
        if fid.is_some() {
            attrs.insert(LudaFlags::FID);
        }
        let file_type = entry
            .file_type
            .filter(|_| self.attrs.contains(LudaFlags::TYPE));
        if file_type.is_some() {
            attrs.insert(LudaFlags::TYPE);
        }
        let at = self.end;
        let size = dirent_size(entry.name.len(), file_type.is_some());
        if at + size > LU_PAGE_SIZE {
            return Err(Malformed::NoRoom);
        }
        let head = LuDirent {
            lde_fid: fid.unwrap_or_default().into(),
            lde_hash: entry.hash.into(),
            lde_reclen: 0.into(),
            lde_namelen: (entry.name.len() as u16).into(),
            lde_attrs: attrs.bits().into(),
        };
        if let Some(last) = self.last {
            self.put(last + 24, &((at - last) as u16).to_le_bytes());
        }
        self.put(at, head.as_bytes());
        self.put(at + ENTRY_HEAD, entry.name);
        if let Some(t) = file_type {
            self.put(at + type_offset(entry.name.len()), &t.to_le_bytes());
        }
        self.last = Some(at);
        self.last_hash = entry.hash;
        self.end = at + size;
        Ok(())
    }

    /// Ends the page: `next` is the hash of the entry that did not fit, `None` at the end of the directory.
    pub fn finish(self, next: Option<u64>) {
        let mut flags = LuDirpageFlags::empty();
        if self.last.is_none() {
            flags.insert(LuDirpageFlags::EMPTY);
        } else if next == Some(self.last_hash) {
            flags.insert(LuDirpageFlags::COLLIDE);
        }
        let mut this = self;
        this.put(8, &next.unwrap_or(MDS_DIR_END_OFF).to_le_bytes());
        this.put(16, &flags.bits().to_le_bytes());
    }
}

/// Reads a page.
#[derive(Clone, Copy)]
pub struct DirPage<'a> {
    /// Its head.
    pub head: &'a LuDirpage,
    page: &'a [u8],
}

impl<'a> DirPage<'a> {
    /// A view of the page.
    ///
    /// # Errors
    /// [`Malformed::Short`]: not even a head.
    pub fn parse(page: &'a [u8]) -> Result<DirPage<'a>> {
        let page = page.get(..LU_PAGE_SIZE).unwrap_or(page);
        let (head, _) = LuDirpage::ref_from_prefix(page).map_err(|_| Malformed::Short)?;
        Ok(DirPage { head, page })
    }

    /// Its flags.
    pub fn flags(&self) -> LuDirpageFlags {
        LuDirpageFlags::from_bits_retain(self.head.ldp_flags.get())
    }

    /// Its entries.
    pub fn entries(&self) -> DirEntries<'a> {
        let empty = self.flags().contains(LuDirpageFlags::EMPTY);
        DirEntries {
            page: self.page,
            next: (!empty).then_some(PAGE_HEAD),
        }
    }
}

/// The entries of a page; ends after the first malformed one.
pub struct DirEntries<'a> {
    page: &'a [u8],
    next: Option<usize>,
}

impl<'a> Iterator for DirEntries<'a> {
    type Item = Result<DirEntry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.next.take()?;
        Some(self.entry(at))
    }
}

impl<'a> DirEntries<'a> {
    fn entry(&mut self, at: usize) -> Result<DirEntry<'a>> {
        let rest = self.page.get(at..).ok_or(Malformed::Short)?;
        let (head, _) = LuDirent::ref_from_prefix(rest).map_err(|_| Malformed::Short)?;
        let attrs = LudaFlags::from_bits_retain(head.lde_attrs.get());
        let namelen = usize::from(head.lde_namelen.get());
        let has_type = attrs.contains(LudaFlags::TYPE);
        let reclen = usize::from(head.lde_reclen.get());
        let rest = match reclen {
            0 => rest,
            n if n < dirent_size(namelen, has_type) => return Err(Malformed::Value),
            n => rest.get(..n).ok_or(Malformed::Short)?,
        };
        let name = rest
            .get(ENTRY_HEAD..ENTRY_HEAD + namelen)
            .ok_or(Malformed::Short)?;
        if name.is_empty() {
            return Err(Malformed::Value);
        }
        let file_type = if has_type {
            let bytes = rest
                .get(type_offset(namelen)..)
                .and_then(|b| b.first_chunk())
                .ok_or(Malformed::Short)?;
            Some(u16::from_le_bytes(*bytes))
        } else {
            None
        };
        if reclen != 0 {
            self.next = Some(at + reclen);
        }
        Ok(DirEntry {
            hash: head.lde_hash.get(),
            fid: attrs.contains(LudaFlags::FID).then(|| head.lde_fid.get()),
            file_type,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const ALL: LudaFlags = LudaFlags::from_bits_retain(7);

    fn entry(oid: u32, hash: u64, t: u16, name: &[u8]) -> DirEntry<'_> {
        DirEntry {
            hash,
            fid: Some(Fid::new(0x2_0000_0401, oid)),
            file_type: Some(t),
            name,
        }
    }

    /// The page of `spec/mdt.md` 27.5.
    #[test]
    fn observed_page() {
        let mut page = [0xff; LU_PAGE_SIZE];
        let mut b = DirPageBuilder::new(&mut page, 0, ALL);
        b.push(&entry(7, 0x311e_6950_c47c_14aa, 0x2000, b"cdev"))
            .unwrap();
        b.push(&entry(1, 0x4925_c0de_cdcf_1c27, 0x4000, b"."))
            .unwrap();
        b.push(&entry(2, 0x7727_8d53_dd79_b2fc, 0x4000, b"d1"))
            .unwrap();
        b.finish(None);
        let want: Vec<u8> = hex(
            "0000000000000000 feffffffffffffff 00000000 00000000
             0104000002000000 0700000000000000 aa147cc450691e31 2800 0400 07000000 63646576 0020 0000
             0104000002000000 0100000000000000 271ccfcddec02549 2800 0100 07000000 2e00 0040 00000000
             0104000002000000 0200000000000000 fcb279dd538d2777 0000 0200 07000000 6431 0040 00000000",
        );
        assert_eq!(page[..want.len()], want);
        assert!(page[want.len()..].iter().all(|&b| b == 0));
        let names: Vec<_> = DirPage::parse(&page)
            .unwrap()
            .entries()
            .map(|e| e.unwrap().name)
            .collect();
        assert_eq!(names, [&b"cdev"[..], b".", b"d1"]);
    }

    fn hex(s: &str) -> Vec<u8> {
        let digits: Vec<u8> = s.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|d| u8::from_str_radix(core::str::from_utf8(d).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn sizes() {
        assert_eq!(dirent_size(255, true), 296);
        assert_eq!((dirent_size(4, true), dirent_size(6, true)), (40, 40));
        assert_eq!((dirent_size(7, true), dirent_size(7, false)), (48, 40));
    }

    #[test]
    fn empty_and_colliding() {
        let mut page = [0; LU_PAGE_SIZE];
        DirPageBuilder::new(&mut page, 5, ALL).finish(None);
        let p = DirPage::parse(&page).unwrap();
        assert_eq!(p.flags(), LuDirpageFlags::EMPTY);
        assert_eq!(p.head.ldp_hash_end.get(), MDS_DIR_END_OFF);
        assert_eq!(p.entries().count(), 0);

        let mut b = DirPageBuilder::new(&mut page, 5, ALL);
        b.push(&entry(1, 9, 0x8000, b"x")).unwrap();
        b.finish(Some(9));
        assert_eq!(
            DirPage::parse(&page).unwrap().flags(),
            LuDirpageFlags::COLLIDE
        );
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            list in proptest::collection::vec((any::<u64>(), any::<u32>(), any::<bool>(),
                proptest::collection::vec(any::<u8>(), 1..256)), 0..100)
        ) {
            let mut page = [0; LU_PAGE_SIZE];
            let mut b = DirPageBuilder::new(&mut page, 0, ALL);
            let mut fit = Vec::new();
            for (hash, oid, typed, name) in &list {
                let mut e = entry(*oid, *hash, 0x8000, name);
                if !typed {
                    e.file_type = None;
                }
                match b.push(&e) {
                    Ok(()) => fit.push(e),
                    Err(e) => {
                        prop_assert_eq!(e, Malformed::NoRoom);
                        prop_assert!(fit.len() > 10);
                        break;
                    }
                }
            }
            b.finish(None);
            let read: Vec<_> = DirPage::parse(&page).unwrap().entries().map(|e| e.unwrap()).collect();
            prop_assert_eq!(read, fit);
        }

        #[test]
        fn garbage_ends(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            if let Ok(p) = DirPage::parse(&bytes) {
                prop_assert!(p.entries().count() <= LU_PAGE_SIZE / ENTRY_HEAD);
            }
        }
    }
}
