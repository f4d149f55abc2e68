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

    /// The directories of a sequence, if it has been used.
    pub(crate) fn find(&self, dev: &Arc<Device>, seq: u64) -> Result<Option<Arc<SeqDir>>> {
        if let Some(s) = self.seqs.lock().get(&seq) {
            return Ok(Some(s.clone()));
        }
        let name = place::seq_name(seq);
        let dir = match dev.lookup(&self.top, name.as_bytes()) {
            Ok(d) => d,
            Err(e) if e == ENOENT => return Ok(None),
            Err(e) => return Err(e),
        };
        // What a crash left unfinished is completed.
        self.open(dev, seq, dir).map(Some)
    }

    /// The same; they are made if the sequence is new.
    pub(crate) fn make(&self, dev: &Arc<Device>, seq: u64) -> Result<Arc<SeqDir>> {
        if let Some(s) = self.find(dev, seq)? {
            return Ok(s);
        }
        let name = place::seq_name(seq);
        let dir = match local_dir(dev, &self.top, name.as_bytes(), 0o755, HIERARCHY, None) {
            // Somebody else was faster.
            Err(e) if e == EEXIST => dev.lookup(&self.top, name.as_bytes())?,
            other => other?,
        };
        self.open(dev, seq, dir)
    }

    fn open(&self, dev: &Arc<Device>, seq: u64, dir: Node) -> Result<Arc<SeqDir>> {
        let mut buckets = KVec::with_capacity(self.buckets as usize, GFP_KERNEL)?;
        for i in 0..self.buckets {
            let name = Name::new(format_args!("d{i}"));
            let b = match local_dir(dev, &dir, name.as_bytes(), 0o700, HIERARCHY, None) {
                Err(e) if e == EEXIST => dev.lookup(&dir, name.as_bytes())?,
                other => other?,
            };
            buckets.push(b, GFP_KERNEL)?;
        }
        let new = Arc::new(SeqDir { dir, buckets }, GFP_KERNEL)?;
        let place = RBTreeNode::new(seq, new.clone(), GFP_KERNEL)?;
        let mut seqs = self.seqs.lock();
        if let Some(s) = seqs.get(&seq) {
            return Ok(s.clone());
        }
        seqs.insert(place);
        Ok(new)
    }
}
