// SPDX-License-Identifier: GPL-2.0

//! ext4's operations in a handle, and nothing else: what the store is measured by.

use crate::meter::{Meter, Work};
use crate::threads::file_name;
use crate::DEV;
use kapi::ldiskfs::{Credits, DataFile, Handle, Mount, Node};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd_contract::{check, ok};

struct Deaf;
impl kapi::ldiskfs::CommitSink for Deaf {
    fn committed(&self, _tid: u32, _aborted: bool) {}
}

fn open() -> Result<Arc<Mount>> {
    let options = c"user_xattr,acl,no_mbcache,nodelalloc,data=ordered";
    Ok(ok!(Mount::open(
        DEV,
        options,
        false,
        Arc::new(Deaf, GFP_KERNEL)?
    )))
}

fn start(m: &Arc<Mount>, nodes: &[&Node], credits: u32) -> Result<Handle> {
    let mut v = KVec::new();
    for n in nodes {
        v.push((*n).clone(), GFP_KERNEL)?;
    }
    Handle::start(m, v, credits)
}

/// A directory below the root.
fn directory(m: &Arc<Mount>, name: &[u8]) -> Result<Node> {
    let root = ok!(m.root());
    let mut h = ok!(start(m, &[&root], m.credits(Credits::Create, 0)));
    let dir = ok!(h.create(&root, name, 0o040755, 0, None));
    ok!(h.attr_mut(&root)).nlink += 1;
    ok!(h.stop());
    Ok(dir)
}

fn create(m: &Arc<Mount>, dir: &Node, i: u32) -> Result<Node> {
    let credits = m.credits(Credits::Create, 0)
        + m.credits(Credits::XattrNew, 24)
        + m.credits(Credits::XattrNew, 56);
    let mut h = ok!(start(m, &[dir], credits));
    let f = ok!(h.create(dir, &file_name(i), 0o100644, 0, None));
    ok!(h.set_xattr(&f, c"trusted.lma", Some(&[1; 24]), true));
    ok!(h.set_xattr(&f, c"trusted.lov", Some(&[1; 56]), true));
    ok!(h.stop());
    Ok(f)
}

type Nodes = Arc<Mutex<KVVec<Option<Node>>>>;

fn node(nodes: &Nodes, i: u32) -> Result<Node> {
    nodes.lock()[i as usize].clone().ok_or(ENOENT)
}

/// Measures names and inodes, with the directories of `meter`, which are numbered from `first`.
pub(crate) fn names(meter: &Meter, first: u32) -> Result {
    let m = open()?;
    let mut dirs = KVec::new();
    for i in 0..meter.directories() {
        dirs.push(directory(&m, &file_name(first + i))?, GFP_KERNEL)?;
    }
    let dirs = Arc::new(dirs, GFP_KERNEL)?;
    let all: Arc<Mutex<KVVec<(u32, Node)>>> = Arc::pin_init(new_mutex!(KVVec::new()), GFP_KERNEL)?;
    let (mount, at, made) = (m.clone(), dirs.clone(), all.clone());
    meter.rate("create", move |w: Work| {
        let f = create(&mount, &at[w.dir], w.i)?;
        Ok(made.lock().push((w.i, f), GFP_KERNEL)?)
    })?;
    let known = core::mem::take(&mut *all.lock());
    let mut nodes: KVVec<Option<Node>> = KVVec::new();
    for _ in 0..meter.total() {
        nodes.push(None, GFP_KERNEL)?;
    }
    for (i, n) in known {
        nodes[i as usize] = Some(n);
    }
    let nodes: Nodes = Arc::pin_init(new_mutex!(nodes), GFP_KERNEL)?;
    let (mount, of) = (m.clone(), nodes.clone());
    meter.rate("inode", move |w| {
        let n = node(&of, w.i)?;
        check!(ok!(mount.iget(n.ino(), 0)).attr().nlink == 1);
        Ok(())
    })?;
    let (mount, of) = (m.clone(), nodes.clone());
    meter.rate("set attributes", move |w| {
        let n = node(&of, w.i)?;
        let mut h = ok!(start(&mount, &[&n], 8));
        ok!(h.attr_mut(&n)).mtime = w.i.into();
        h.stop()
    })?;
    let (mount, of) = (m.clone(), nodes.clone());
    meter.rate("set xattr", move |w| {
        let n = node(&of, w.i)?;
        let mut h = ok!(start(&mount, &[&n], mount.credits(Credits::Xattr, 56)));
        ok!(h.set_xattr(&n, c"trusted.lov", Some(&[2; 56]), false));
        h.stop()
    })?;
    let of = nodes.clone();
    meter.rate("get xattr", move |w| {
        let mut buf = [0; 64];
        check!(ok!(node(&of, w.i)?.xattr(c"trusted.lov", &mut buf)) == 56);
        Ok(())
    })?;
    let (mount, of, at) = (m.clone(), nodes.clone(), dirs.clone());
    meter.rate("insert", move |w| {
        let (n, d) = (node(&of, w.i)?, &at[w.dir]);
        let mut h = ok!(start(&mount, &[d, &n], mount.credits(Credits::Link, 0) + 4));
        ok!(h.link(d, &file_name(1_000_000 + w.i), &n));
        ok!(h.attr_mut(&n)).nlink = 2;
        h.stop()
    })?;
    meter.rate("destroy", move |w| {
        let n = nodes.lock()[w.i as usize].take().ok_or(ENOENT)?;
        let d = &dirs[w.dir];
        let mut h = ok!(start(&m, &[d, &n], 2 * m.credits(Credits::Unlink, 0) + 4));
        ok!(h.unlink(d, &file_name(1_000_000 + w.i), &n, false));
        ok!(h.attr_mut(&n)).nlink = 0;
        ok!(h.unlink(d, &file_name(w.i), &n, true));
        h.stop()
    })
}

/// Measures bulk data, in directory `number`.
pub(crate) fn bulk(meter: &Meter, number: u32) -> Result {
    let m = open()?;
    let dir = directory(&m, &file_name(number))?;
    let mut files = KVec::new();
    for t in 0..meter.threads {
        files.push(ok!(DataFile::open(&create(&m, &dir, t)?)), GFP_KERNEL)?;
    }
    let files = Arc::new(files, GFP_KERNEL)?;
    let (pages, len) = (ok!(meter.pages()), meter.pages * PAGE_SIZE);
    for what in ["new write", "write"] {
        let (files, pages) = (files.clone(), pages.clone());
        meter.rate(what, move |w| {
            let p = pages[w.thread].lock();
            files[w.thread].write(&p, 0, len, w.nth * len as u64)
        })?;
    }
    meter.rate("read", move |w| {
        let p: &mut Pages = &mut pages[w.thread].lock();
        let n = files[w.thread].read(p, 0, len, w.nth * len as u64)?;
        check!(n == len);
        Ok(())
    })
}
