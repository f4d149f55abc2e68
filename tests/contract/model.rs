// SPDX-License-Identifier: GPL-2.0

//! What a store should hold, kept in the simplest way, and the comparison with what it does hold.

use crate::{check, fails, ok};
use core::ffi::CStr;
use kapi::prelude::*;
use osd::{Device, Fid, ObjectRef, Time, Walk, S_IFMT};

/// Names that entries may have.
pub(crate) const NAMES: usize = 24;
pub(crate) const XATTRS: [&CStr; 4] = [
    c"trusted.lov",
    c"trusted.link",
    c"user.one",
    c"security.other",
];
/// The flags that are set and compared.
pub(crate) const FLAGS: u32 = 0xf0;

/// The name of number `n`; some are long.
pub(crate) fn name(n: usize) -> ([u8; 100], usize) {
    let mut b = [b'a' + n as u8; 100];
    b[0] = b'n';
    (b, if n % 5 == 0 { 100 } else { 2 })
}

/// What a file holds.
pub(crate) enum Content {
    None,
    Small(KVVec<u8>),
    /// Sorted records.
    Index(KVVec<(u64, u32)>),
}

fn copy<T: Copy>(from: &KVVec<T>) -> Result<KVVec<T>> {
    let mut v = KVVec::new();
    v.extend_from_slice(from, GFP_KERNEL)?;
    Ok(v)
}

/// An object.
pub(crate) struct Object {
    pub(crate) fid: Fid,
    pub(crate) attr: osd::Attr,
    pub(crate) xattrs: [Option<(usize, u8)>; XATTRS.len()],
    /// Of a directory.
    pub(crate) parent: Fid,
    pub(crate) content: Content,
}

impl Object {
    fn copy(&self) -> Result<Object> {
        let content = match &self.content {
            Content::None => Content::None,
            Content::Small(c) => Content::Small(copy(c)?),
            Content::Index(c) => Content::Index(copy(c)?),
        };
        Ok(Object { content, ..*self })
    }
}

/// A name in a directory.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    pub(crate) dir: Fid,
    pub(crate) name: usize,
    pub(crate) fid: Fid,
}

/// Objects and names below one directory.
pub(crate) struct Model {
    /// The sequence of their FIDs.
    pub(crate) seq: u64,
    /// The number of the next one.
    pub(crate) next: u32,
    pub(crate) objects: KVVec<Object>,
    pub(crate) names: KVVec<Name>,
}

impl Model {
    /// One of nothing.
    pub(crate) fn new(seq: u64) -> Model {
        Model {
            seq,
            next: 1,
            objects: KVVec::new(),
            names: KVVec::new(),
        }
    }

    /// What it is now.
    pub(crate) fn copy(&self) -> Result<Model> {
        let mut objects = KVVec::with_capacity(self.objects.len(), GFP_KERNEL)?;
        for o in self.objects.iter() {
            objects.push(o.copy()?, GFP_KERNEL)?;
        }
        Ok(Model {
            objects,
            names: copy(&self.names)?,
            ..*self
        })
    }

    pub(crate) fn object(&mut self, fid: &Fid) -> Result<&mut Object> {
        let found = self.objects.iter_mut().find(|o| o.fid == *fid);
        found.ok_or(ENOENT)
    }

    pub(crate) fn lookup(&self, dir: &Fid, name: usize) -> Option<Fid> {
        let found = self.names.iter().find(|n| n.dir == *dir && n.name == name);
        found.map(|n| n.fid)
    }

    pub(crate) fn entries(&self, dir: &Fid) -> usize {
        self.names.iter().filter(|n| n.dir == *dir).count()
    }

    /// Whether `fid` is `dir` or above it.
    pub(crate) fn is_above(&mut self, fid: &Fid, dir: &Fid) -> Result<bool> {
        let mut at = *dir;
        for _ in 0..=self.objects.len() {
            if at == *fid {
                return Ok(true);
            }
            match self.object(&at) {
                Ok(o) => at = o.parent,
                Err(_) => return Ok(false),
            }
        }
        Err(ELOOP)
    }

    fn compare_dir(&self, o: &ObjectRef, m: &Object) -> Result {
        check!(ok!(o.lookup(b"..")) == m.parent && ok!(o.lookup(b".")) == m.fid);
        for n in 0..NAMES {
            let (b, len) = name(n);
            match self.lookup(&m.fid, n) {
                Some(fid) => check!(ok!(o.lookup(&b[..len])) == fid),
                None => fails!(o.lookup(&b[..len]), ENOENT),
            }
        }
        let mut n = 0;
        ok!(o.readdir(0, &mut |e| {
            if e.name != b"." && e.name != b".." {
                let known = self.names.iter().any(|k| {
                    let (b, len) = name(k.name);
                    k.dir == m.fid && k.fid == e.fid && b[..len] == *e.name
                });
                if !known {
                    return Err(EIO);
                }
                n += 1;
            }
            Ok(Walk::Next)
        }));
        check!(n == self.entries(&m.fid));
        check!(ok!(o.is_empty_dir()) == (n == 0));
        Ok(())
    }

    fn compare_content(o: &ObjectRef, m: &Object) -> Result {
        match &m.content {
            Content::None => {}
            Content::Small(data) => {
                check!(ok!(o.attr()).size == data.len() as u64);
                let mut buf = KVVec::from_elem(0xee_u8, data.len() + 10, GFP_KERNEL)?;
                check!(ok!(o.read(0, &mut buf)) == data.len() && buf[..data.len()] == data[..]);
            }
            Content::Index(records) => {
                let (mut key, mut rec) = (1_u64.to_be_bytes(), [0; 4]);
                for (k, v) in records.iter() {
                    check!(ok!(o.index_next(&mut key, &mut rec)));
                    check!(key == k.to_be_bytes() && rec == v.to_le_bytes());
                    key = (k + 1).to_be_bytes();
                }
                check!(!ok!(o.index_next(&mut key, &mut rec)));
            }
        }
        Ok(())
    }

    /// Compares an object.
    pub(crate) fn compare(&self, d: &dyn Device, m: &Object) -> Result {
        let o = ok!(d.object(&m.fid));
        check!(o.exists());
        let (mut a, mut want) = (ok!(o.attr()), m.attr);
        // The store's own business.
        (want.blocks, want.btime) = (a.blocks, a.btime);
        a.flags &= FLAGS;
        if want.mode & S_IFMT == osd::S_IFDIR || want.is_file() {
            want.size = a.size;
        }
        if a != want {
            pr_err!("{}: {:?} and not {:?}\n", m.fid, a, want);
        }
        check!(a == want);
        let mut list = KVVec::from_elem(0_u8, ok!(o.list_xattr(&mut [])), GFP_KERNEL)?;
        check!(ok!(o.list_xattr(&mut list)) == list.len());
        for (x, want) in XATTRS.iter().zip(&m.xattrs) {
            let listed = list.split(|b| *b == 0).any(|n| n == x.to_bytes());
            check!(listed == want.is_some());
            match want {
                Some((len, fill)) => {
                    let v = ok!(o.xattr_vec(x));
                    check!(v.len() == *len && v.iter().all(|b| b == fill));
                }
                None => fails!(o.xattr(x, &mut []), ENODATA),
            }
        }
        if a.is_dir() {
            self.compare_dir(&o, m)?;
        }
        Self::compare_content(&o, m)
    }

    /// Compares all of it.
    pub(crate) fn compare_all(&self, d: &dyn Device) -> Result {
        for m in self.objects.iter() {
            self.compare(d, m)?;
        }
        Ok(())
    }

    /// Those that are not there any more, or not yet, are not.
    pub(crate) fn compare_gone(&self, d: &dyn Device, end: u32) -> Result {
        for oid in 1..end {
            let fid = Fid::new(self.seq, oid);
            if self.objects.iter().all(|o| o.fid != fid) {
                let there = ok!(d.object(&fid)).exists();
                if there {
                    pr_err!("{}: exists\n", fid);
                }
                check!(!there);
            }
        }
        Ok(())
    }
}

/// An object that was just made, with the attributes that the store gives it.
pub(crate) fn fresh(fid: Fid, what: &osd::Create<'_>, parent: Fid) -> Object {
    let attr = osd::Attr {
        mode: what.mode,
        rdev: what.rdev,
        nlink: if what.mode & S_IFMT == osd::S_IFDIR {
            2
        } else {
            1
        },
        size: what.target.map_or(0, |t| t.count_bytes() as u64),
        atime: Time::default(),
        ..osd::Attr::default()
    };
    Object {
        fid,
        attr,
        xattrs: [None; XATTRS.len()],
        parent,
        content: Content::None,
    }
}
