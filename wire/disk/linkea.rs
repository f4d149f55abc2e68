// SPDX-License-Identifier: GPL-2.0

//! `trusted.link`: under which names an object stands where (`spec/ondisk.md` 7.5).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::{Fid, LuFidBe};

/// Name of the xattr.
pub const XATTR_NAME_LINK: &core::ffi::CStr = c"trusted.link";
/// Magic number.
pub const LINK_EA_MAGIC: u32 = 0x11ea_f1df;
/// Most bytes of the xattr. Links that do not fit are left out.
pub const MAX_LINKEA_SIZE: usize = 4096;

/// `link_ea_header`.
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
pub struct LinkEaHeader {
    /// [`LINK_EA_MAGIC`].
    pub leh_magic: U32,
    /// How many links.
    pub leh_reccount: U32,
    /// Bytes in all.
    pub leh_len: U64,
    /// Since when links are missing, seconds; 0: none is.
    pub leh_overflow_time: U32,
    /// 0.
    pub leh_padding: U32,
}
assert_layout!(
    LinkEaHeader,
    24,
    leh_reccount = 4,
    leh_len = 8,
    leh_overflow_time = 16
);

const HEADER: usize = size_of::<LinkEaHeader>();
/// Length and FID before a name.
const ENTRY_HEAD: usize = 2 + size_of::<LuFidBe>();

/// A link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link<'a> {
    /// The directory.
    pub parent: Fid,
    /// The name there.
    pub name: &'a [u8],
}

impl Link<'_> {
    fn size(&self) -> usize {
        ENTRY_HEAD + self.name.len()
    }
}

/// Reads the xattr.
#[derive(Clone, Copy)]
pub struct LinkEa<'a> {
    header: &'a LinkEaHeader,
    entries: &'a [u8],
}

impl<'a> LinkEa<'a> {
    /// A view of the xattr's bytes; every link was looked at.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<LinkEa<'a>> {
        let (header, _) = LinkEaHeader::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        if header.leh_magic.get() != LINK_EA_MAGIC {
            return Err(Malformed::Magic);
        }
        let len = usize::try_from(header.leh_len.get()).map_err(|_| Malformed::Value)?;
        let entries = bytes
            .get(..len)
            .ok_or(Malformed::Short)?
            .get(HEADER..)
            .ok_or(Malformed::Value)?;
        let ea = LinkEa { header, entries };
        let mut all = ea.links();
        let mut count = 0_u32;
        while all.step()?.is_some() {
            count += 1;
        }
        if count != header.leh_reccount.get() {
            return Err(Malformed::Value);
        }
        Ok(ea)
    }

    /// How many links are recorded.
    pub fn count(&self) -> u32 {
        self.header.leh_reccount.get()
    }

    /// Since when links are missing, seconds; 0: none is.
    pub fn overflow_time(&self) -> u32 {
        self.header.leh_overflow_time.get()
    }

    /// The links.
    pub fn links(&self) -> Links<'a> {
        Links { rest: self.entries }
    }

    /// Whether the link is recorded.
    pub fn contains(&self, link: &Link<'_>) -> bool {
        self.links().any(|l| l == *link)
    }
}

/// The links of a [`LinkEa`].
#[derive(Clone)]
pub struct Links<'a> {
    rest: &'a [u8],
}

impl<'a> Links<'a> {
    fn step(&mut self) -> Result<Option<Link<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let size = self.rest.first_chunk().ok_or(Malformed::Short)?;
        let size = usize::from(u16::from_be_bytes(*size));
        if size <= ENTRY_HEAD {
            return Err(Malformed::Value);
        }
        let (entry, rest) = self.rest.split_at_checked(size).ok_or(Malformed::Short)?;
        let (parent, name) = entry
            .get(2..)
            .and_then(|e| LuFidBe::read_from_prefix(e).ok())
            .ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(Some(Link {
            parent: parent.get(),
            name,
        }))
    }
}

impl<'a> Iterator for Links<'a> {
    type Item = Link<'a>;

    fn next(&mut self) -> Option<Link<'a>> {
        self.step().ok().flatten()
    }
}

/// Changes the xattr in a buffer of the caller's, of [`MAX_LINKEA_SIZE`] bytes or less.
pub struct LinkEaBuf<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> LinkEaBuf<'a> {
    /// Without links.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`]: the buffer has no room for a header.
    pub fn new(buf: &'a mut [u8]) -> Result<LinkEaBuf<'a>> {
        let mut ea = LinkEaBuf { buf, len: HEADER };
        ea.set_header(LinkEaHeader::default())?;
        Ok(ea)
    }

    /// With the links of the xattr whose `len` bytes are in the buffer.
    ///
    /// # Errors
    /// [`Malformed`], as [`LinkEa::parse`].
    pub fn load(buf: &'a mut [u8], len: usize) -> Result<LinkEaBuf<'a>> {
        let ea = LinkEa::parse(buf.get(..len).ok_or(Malformed::Short)?)?;
        let len = HEADER + ea.entries.len();
        Ok(LinkEaBuf { buf, len })
    }

    fn set_header(&mut self, mut h: LinkEaHeader) -> Result<()> {
        h.leh_magic.set(LINK_EA_MAGIC);
        h.leh_len.set(self.len as u64);
        h.write_to_prefix(self.buf).map_err(|_| Malformed::NoRoom)
    }

    fn header(&self) -> LinkEaHeader {
        LinkEaHeader::read_from_prefix(self.buf).map_or_else(|_| LinkEaHeader::default(), |h| h.0)
    }

    /// The xattr's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or(&[])
    }

    /// The links.
    pub fn links(&self) -> Links<'_> {
        Links {
            rest: self.as_bytes().get(HEADER..).unwrap_or(&[]),
        }
    }

    /// Records a link. One that does not fit is left out, and the time `now` (seconds) noted:
    /// `Ok(false)`.
    ///
    /// # Errors
    /// [`Malformed::Value`]: not a name, or recorded already.
    pub fn add(&mut self, link: &Link<'_>, now: u32) -> Result<bool> {
        if link.name.is_empty() || link.name.len() > 255 || self.links().any(|l| l == *link) {
            return Err(Malformed::Value);
        }
        let mut h = self.header();
        let end = self.len + link.size();
        let fits = end <= MAX_LINKEA_SIZE;
        match self.buf.get_mut(self.len..end).filter(|_| fits) {
            Some(entry) => {
                let (head, rest) = entry.split_at_mut(2);
                head.copy_from_slice(&(link.size() as u16).to_be_bytes());
                let (fid, name) = rest.split_at_mut(size_of::<LuFidBe>());
                fid.copy_from_slice(LuFidBe::from(link.parent).as_bytes());
                name.copy_from_slice(link.name);
                self.len = end;
                h.leh_reccount += 1;
                self.set_header(h)?;
                Ok(true)
            }
            None => {
                h.leh_overflow_time.set(now.max(1));
                self.set_header(h)?;
                Ok(false)
            }
        }
    }

    /// Forgets a link. Whether it was recorded.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`] cannot happen once there is a header.
    pub fn remove(&mut self, link: &Link<'_>) -> Result<bool> {
        let mut at = HEADER;
        let mut found = false;
        for l in self.links() {
            if l == *link {
                found = true;
                break;
            }
            at += l.size();
        }
        if !found {
            return Ok(false);
        }
        self.buf.copy_within(at + link.size()..self.len, at);
        self.len -= link.size();
        let mut h = self.header();
        h.leh_reccount -= 1;
        self.set_header(h)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn link(oid: u32, name: &[u8]) -> Link<'_> {
        Link {
            parent: Fid::new(0x2_0000_0bd1, oid),
            name,
        }
    }

    /// The link of `spec/ondisk.md` 20.5.
    #[test]
    fn observed() {
        let mut buf = [0; MAX_LINKEA_SIZE];
        let mut ea = LinkEaBuf::new(&mut buf).unwrap();
        assert_eq!(ea.add(&link(2, b"striped"), 1), Ok(true));
        let want = b"\xdf\xf1\xea\x11\x01\0\0\0\x31\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
                     \0\x19\0\0\0\x02\0\0\x0b\xd1\0\0\0\x02\0\0\0\0striped";
        assert_eq!(ea.as_bytes(), want);
        assert_eq!(ea.add(&link(2, b"striped"), 1), Err(Malformed::Value));
        let read = LinkEa::parse(want).unwrap();
        assert_eq!(read.links().collect::<Vec<_>>(), [link(2, b"striped")]);
        assert!(read.contains(&link(2, b"striped")) && !read.contains(&link(3, b"striped")));
    }

    #[test]
    fn overflow() {
        let mut buf = [0; 8192];
        let mut ea = LinkEaBuf::new(&mut buf).unwrap();
        let mut n = 0;
        while ea.add(&link(n, &[b'x'; 200]), 1234).unwrap() {
            n += 1;
        }
        assert_eq!(n as usize, (MAX_LINKEA_SIZE - HEADER) / 218);
        let read = LinkEa::parse(ea.as_bytes()).unwrap();
        assert_eq!((read.count(), read.overflow_time()), (n, 1234));
        assert!(ea.add(&link(n, b"short"), 5678).unwrap());
        assert_eq!(LinkEa::parse(ea.as_bytes()).unwrap().overflow_time(), 1234);
    }

    proptest! {
        #[test]
        fn like_a_list(ops in proptest::collection::vec((any::<bool>(), 0_u32..4, 0_u8..4, 1_usize..9), 0..60)) {
            let mut buf = vec![0; MAX_LINKEA_SIZE];
            let mut ea = LinkEaBuf::new(&mut buf).unwrap();
            let mut model: Vec<(u32, Vec<u8>)> = Vec::new();
            for (add, oid, c, len) in ops {
                let name = vec![b'a' + c; len];
                let l = link(oid, &name);
                let at = model.iter().position(|m| *m == (oid, name.clone()));
                if add {
                    prop_assert_eq!(ea.add(&l, 1).is_ok(), at.is_none());
                    if at.is_none() {
                        model.push((oid, name));
                    }
                } else {
                    prop_assert_eq!(ea.remove(&l), Ok(at.is_some()));
                    at.map(|at| model.remove(at));
                }
                let len = ea.as_bytes().len();
                let read = LinkEa::parse(ea.as_bytes()).unwrap();
                let got: Vec<_> = read.links().map(|l| (l.parent.oid, l.name.to_vec())).collect();
                prop_assert_eq!(&got, &model);
                ea = LinkEaBuf::load(&mut buf, len).unwrap();
            }
        }

        #[test]
        fn garbage(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), len: u8) {
            if bytes.len() >= 24 {
                bytes[..4].copy_from_slice(&LINK_EA_MAGIC.to_le_bytes());
                bytes[8..16].copy_from_slice(&u64::from(len).to_le_bytes());
            }
            if let Ok(ea) = LinkEa::parse(&bytes) {
                prop_assert_eq!(ea.links().count() as u32, ea.count());
            }
        }
    }
}
