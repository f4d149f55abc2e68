// SPDX-License-Identifier: GPL-2.0

//! What a damaged store may say: that it is damaged, or the truth.

use crate::check;
use crate::model::{name, Content, Model, Object, FLAGS, NAMES, XATTRS};
use kapi::prelude::*;
use osd::{Device, ObjectRef, Walk};

/// Records that an index of the model has at most, and some.
const MOST: usize = 2000;

impl Model {
    /// Looks at everything; see [`History::endure`](crate::cuts::History::endure).
    pub(crate) fn endure(&self, d: &dyn Device, trust: bool) -> Result<usize> {
        let mut lost = 0;
        for m in self.objects.iter() {
            match d.object(&m.fid) {
                Ok(o) if o.exists() => {
                    lost += attributes(&o, m, trust)?;
                    lost += xattrs(&o, m, trust)?;
                    if m.attr.is_dir() {
                        lost += self.names(&o, m, trust)?;
                    }
                    lost += content(&o, m)?;
                }
                // Indices have no checksums.
                _ => lost += 1,
            }
        }
        Ok(lost)
    }

    fn names(&self, o: &ObjectRef, m: &Object, trust: bool) -> Result<usize> {
        let mut lost = 0;
        for n in 0..NAMES {
            let (b, len) = name(n);
            let want = self.lookup(&m.fid, n);
            let truth = match o.lookup(&b[..len]) {
                Ok(fid) => want == Some(fid),
                Err(e) if e == ENOENT => want.is_none(),
                Err(_) => {
                    lost += 1;
                    true
                }
            };
            if trust && !truth {
                pr_err!("{}: name {}\n", m.fid, n);
            }
            check!(truth || !trust);
        }
        let mut count = 0;
        let walk = o.readdir(0, &mut |_| {
            count += 1;
            Ok(Walk::Next)
        });
        check!(count < MOST);
        Ok(lost + usize::from(walk.is_err()))
    }
}

fn attributes(o: &ObjectRef, m: &Object, trust: bool) -> Result<usize> {
    let Ok(mut a) = o.attr() else {
        return Ok(1);
    };
    let mut want = m.attr;
    (want.blocks, want.btime, want.size) = (a.blocks, a.btime, a.size);
    a.flags &= FLAGS;
    if trust && a != want {
        pr_err!("{}: {:?} and not {:?}\n", m.fid, a, want);
    }
    check!(a == want || !trust);
    Ok(0)
}

fn xattrs(o: &ObjectRef, m: &Object, trust: bool) -> Result<usize> {
    let mut lost = 0;
    for (x, want) in XATTRS.iter().zip(&m.xattrs) {
        let truth = match o.xattr_vec(x) {
            Ok(v) => want.is_some_and(|(len, fill)| v.len() == len && v.iter().all(|b| *b == fill)),
            Err(e) if e == ENODATA => want.is_none(),
            Err(_) => {
                lost += 1;
                true
            }
        };
        if trust && !truth {
            pr_err!("{}: {:?}\n", m.fid, x);
        }
        check!(truth || !trust);
    }
    Ok(lost)
}

/// Content has no checksums: any will do, in the end.
fn content(o: &ObjectRef, m: &Object) -> Result<usize> {
    match &m.content {
        Content::None => Ok(0),
        Content::Small(data) => {
            let mut buf = KVVec::from_elem(0, data.len() + 10, GFP_KERNEL)?;
            Ok(usize::from(o.read(0, &mut buf).is_err()))
        }
        Content::Index(_) => {
            let (mut key, mut rec) = (1_u64.to_be_bytes(), [0; 4]);
            for _ in 0..MOST {
                let before = key;
                match o.index_next(&mut key, &mut rec) {
                    Err(_) => return Ok(1),
                    Ok(false) => return Ok(0),
                    // Not back.
                    Ok(true) => check!(key >= before),
                }
                let Some(next) = u64::from_be_bytes(key).checked_add(1) else {
                    return Ok(0);
                };
                key = next.to_be_bytes();
            }
            pr_err!("{}: an index without an end\n", m.fid);
            Err(EINVAL)
        }
    }
}
