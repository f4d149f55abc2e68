// SPDX-License-Identifier: GPL-2.0

//! The directories `O/<sequence>/d<n>` (`ondisk.md` 4.4).

use crate::device::Device;
use crate::lma;
use crate::place::{self, Name};
use crate::txn::Plan;
use crate::Fid;
use kapi::ldiskfs::{Credits, Node};
use kapi::prelude::*;
use wire::disk::lma::LmaCompat;

/// Directories of the hierarchy are not in the index.
pub(crate) const HIERARCHY: LmaCompat =
    LmaCompat::from_bits_retain(LmaCompat::NOT_IN_OI.bits() | LmaCompat::FID_ON_OST.bits());

/// Most directories below a sequence.
const MAX_BUCKETS: u32 = 1024;

/// The directories of one sequence.
pub(crate) struct SeqDir {
    /// `O/<sequence>`.
    pub(crate) dir: Node,
    buckets: KVec<Node>,
}

impl SeqDir {
    /// The directory of object `id`.
    pub(crate) fn bucket(&self, id: u64) -> Result<&Node> {
        let n = self.buckets.len() as u64;
        let i = id.checked_rem(n).ok_or(EIO)?;
        self.buckets.get(i as usize).ok_or(EIO)
    }
}

/// The hierarchy of a device.
#[pin_data]
pub(crate) struct Hierarchy {
    top: Node,
    buckets: u32,
    #[pin]
    seqs: Mutex<RBTree<u64, Arc<SeqDir>>>,
}

/// The FID of an inode that has none of its own: its number and its generation.
pub(crate) fn self_fid(node: &Node) -> Result<Fid> {
    let a = node.attr();
    Ok(Fid {
        seq: a.ino,
        oid: a.generation,
        ver: 0,
    })
}

/// A directory of the target's own, found or made, with an LMA of `fid` (or of itself).
pub(crate) fn local_dir(
    dev: &Arc<Device>,
    parent: &Node,
    name: &[u8],
    mode: u32,
    compat: LmaCompat,
    fid: Option<Fid>,
) -> Result<Node> {
    match dev.lookup(parent, name) {
        Err(e) if e == ENOENT => {}
        other => return other,
    }
    let mut plan = Plan::new(dev);
    plan.lock(parent)?;
    plan.credits(Credits::Create, 0);
    plan.credits(Credits::XattrNew, lma::LEN);
    let mut run = plan.start()?;
    let h = run.handle()?;
    let node = h.create(parent, name, 0o040000 | mode, 0, None)?;
    let now = kapi::time::real();
    let a = h.attr_mut(&node)?;
    let (sec, nsec) = (now.as_secs() as i64, now.subsec_nanos());
    (a.atime, a.mtime, a.ctime) = (sec, sec, sec);
    (a.atime_nsec, a.mtime_nsec, a.ctime_nsec) = (nsec, nsec, nsec);
    a.nlink = 2;
    h.attr_mut(parent)?.nlink += 1;
    let fid = match fid {
        Some(fid) => fid,
        None => self_fid(&node)?,
    };
    lma::write(h, &node, &fid, compat)?;
    run.stop()?;
    Ok(node)
}

impl Hierarchy {
    /// The hierarchy in directory `top`, with `buckets` directories for each sequence.
    pub(crate) fn new(top: Node, buckets: u32) -> Result<Pin<KBox<Hierarchy>>> {
        if buckets == 0 || buckets > MAX_BUCKETS {
            pr_err!("{} directories for each sequence: refused\n", buckets);
            return Err(EINVAL);
        }
        KBox::pin_init(
            pin_init!(Hierarchy {
                top,
                buckets,
                seqs <- new_mutex!(RBTree::new()),
            }),
            GFP_KERNEL,
        )
    }

    fn known(&self, seq: u64) -> Option<Arc<SeqDir>> {
        self.seqs.lock().get(&seq).cloned()
    }

    /// The directories of a sequence, if it has been used. Starts no transaction.
    pub(crate) fn find(&self, dev: &Arc<Device>, seq: u64) -> Result<Option<Arc<SeqDir>>> {
        if let Some(s) = self.known(seq) {
            return Ok(Some(s));
        }
        let absent = |e: Error| if e == ENOENT { Ok(None) } else { Err(e) };
        let name = place::seq_name(seq);
        let dir = match dev.lookup(&self.top, name.as_bytes()) {
            Ok(d) => d,
            Err(e) => return absent(e),
        };
        match self.open(seq, &dir, &mut |name| dev.lookup(&dir, name)) {
            Ok(s) => Ok(Some(s)),
            // A crash came between: nothing is in it.
            Err(e) => absent(e),
        }
    }

    /// The same; they are made if the sequence is new.
    pub(crate) fn make(&self, dev: &Arc<Device>, seq: u64) -> Result<Arc<SeqDir>> {
        if let Some(s) = self.known(seq) {
            return Ok(s);
        }
        let find = |parent: &Node, name: &[u8], mode| {
            match local_dir(dev, parent, name, mode, HIERARCHY, None) {
                // Somebody else was faster.
                Err(e) if e == EEXIST => dev.lookup(parent, name),
                other => other,
            }
        };
        let dir = find(&self.top, place::seq_name(seq).as_bytes(), 0o755)?;
        self.open(seq, &dir, &mut |name| find(&dir, name, 0o700))
    }

    fn open(
        &self,
        seq: u64,
        dir: &Node,
        find: &mut dyn FnMut(&[u8]) -> Result<Node>,
    ) -> Result<Arc<SeqDir>> {
        let mut buckets = KVec::with_capacity(self.buckets as usize, GFP_NOFS)?;
        for i in 0..self.buckets {
            let name = Name::new(format_args!("d{i}"));
            buckets.push(find(name.as_bytes())?, GFP_NOFS)?;
        }
        let dir = dir.clone();
        let new = Arc::new(SeqDir { dir, buckets }, GFP_NOFS)?;
        let place = RBTreeNode::new(seq, new.clone(), GFP_NOFS)?;
        let mut seqs = self.seqs.lock();
        if let Some(s) = seqs.get(&seq) {
            return Ok(s.clone());
        }
        seqs.insert(place);
        Ok(new)
    }
}
