// SPDX-License-Identifier: GPL-2.0

//! IAM files on the device, and the object index that is made of them.

use crate::damage;
use crate::iam::{self, Blocks, BlocksMut, Shape};
use crate::txn::Running;
use crate::Fid;
use kapi::ldiskfs::{BlockFile, Handle, Node};
use kapi::prelude::*;
use wire::disk::oi::{OsdInodeId, OI_KEY_SIZE, OI_REC_SIZE};
use wire::fid::LuFidBe;

/// The blocks of a file for [`iam`].
pub(crate) struct Reader<'a>(pub(crate) &'a BlockFile);

impl Blocks for Reader<'_> {
    fn block_size(&self) -> usize {
        self.0.block_size()
    }
    fn count(&self) -> u32 {
        u32::try_from(self.0.blocks()).unwrap_or(u32::MAX)
    }
    fn read(&self, n: u32, f: &mut dyn FnMut(&[u8]) -> Result) -> Result {
        let seen = self.0.read_block(n.into(), |b| f(b.ok_or(EIO)?));
        seen.and_then(|r| r)
            .inspect_err(|e| damage::in_block(self.0.node(), n, "an index", "", *e))
    }
}

/// The same inside a transaction.
pub(crate) struct Writer<'a> {
    /// The file.
    pub(crate) file: &'a mut BlockFile,
    /// The transaction.
    pub(crate) handle: &'a mut Handle,
}

impl Blocks for Writer<'_> {
    fn block_size(&self) -> usize {
        self.file.block_size()
    }
    fn count(&self) -> u32 {
        Reader(self.file).count()
    }
    fn read(&self, n: u32, f: &mut dyn FnMut(&[u8]) -> Result) -> Result {
        Reader(self.file).read(n, f)
    }
}

impl BlocksMut for Writer<'_> {
    fn write(&mut self, n: u32, f: &mut dyn FnMut(&mut [u8]) -> Result) -> Result {
        if n > self.count() {
            return Err(EIO);
        }
        self.file.write_block(self.handle, n.into(), |b| f(b))
    }
}

const OI_SHAPE: Shape = Shape {
    key: OI_KEY_SIZE,
    rec: OI_REC_SIZE,
};

/// What the index knows of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mapping {
    /// Inode number.
    pub(crate) ino: u32,
    /// Its generation.
    pub(crate) generation: u32,
}

impl Mapping {
    /// That of an inode.
    pub(crate) fn of(node: &Node) -> Result<Mapping> {
        let a = node.attr();
        Ok(Mapping {
            ino: u32::try_from(a.ino)?,
            generation: a.generation,
        })
    }

    fn bytes(&self) -> [u8; OI_REC_SIZE] {
        zerocopy::transmute!(OsdInodeId {
            oii_ino: self.ino.into(),
            oii_gen: self.generation.into(),
        })
    }

    fn parse(b: [u8; OI_REC_SIZE]) -> Mapping {
        let id: OsdInodeId = zerocopy::transmute!(b);
        Mapping {
            ino: id.oii_ino.get(),
            generation: id.oii_gen.get(),
        }
    }
}

fn key(fid: &Fid) -> [u8; OI_KEY_SIZE] {
    zerocopy::transmute!(LuFidBe::from(*fid))
}

/// One file of the index.
#[pin_data]
pub(crate) struct OiFile {
    #[pin]
    file: Mutex<BlockFile>,
}

/// The object index: FIDs to inodes, spread over files by sequence.
pub(crate) struct ObjectIndex {
    files: KVec<Arc<OiFile>>,
}

impl ObjectIndex {
    /// The index of the files of these inodes, in order; their number is a power of two.
    ///
    /// # Errors
    /// `EIO`: one is no index of FIDs.
    pub(crate) fn open(nodes: &[Node]) -> Result<ObjectIndex> {
        if !nodes.len().is_power_of_two() {
            return Err(EIO);
        }
        let mut files = KVec::with_capacity(nodes.len(), GFP_KERNEL)?;
        for n in nodes {
            let file = BlockFile::open(n)?;
            if iam::shape(&Reader(&file))? != OI_SHAPE {
                return Err(EIO);
            }
            let file = Arc::pin_init(pin_init!(OiFile { file <- new_mutex!(file) }), GFP_KERNEL)?;
            files.push(file, GFP_KERNEL)?;
        }
        Ok(ObjectIndex { files })
    }

    /// Makes an empty file of the index of a file without content.
    pub(crate) fn format(run: &mut Running, node: &Node) -> Result {
        let mut file = BlockFile::open(node)?;
        iam::create(
            &mut Writer {
                file: &mut file,
                handle: run.handle()?,
            },
            OI_SHAPE,
        )
    }

    /// Whether a file is one of an index.
    pub(crate) fn is_file(node: &Node) -> bool {
        BlockFile::open(node).is_ok_and(|f| iam::shape(&Reader(&f)) == Ok(OI_SHAPE))
    }

    /// The number of the file that `fid` belongs to.
    pub(crate) fn file_of(&self, fid: &Fid) -> usize {
        (fid.seq & (self.files.len() as u64 - 1)) as usize
    }

    fn file(&self, fid: &Fid) -> Result<&OiFile> {
        self.files.get(self.file_of(fid)).map(|f| &**f).ok_or(EIO)
    }

    /// Where the object is; none if it is not in the index.
    pub(crate) fn lookup(&self, fid: &Fid) -> Result<Option<Mapping>> {
        let file = self.file(fid)?.file.lock();
        let mut rec = [0; OI_REC_SIZE];
        let found = iam::lookup(&Reader(&file), &key(fid), &mut rec)?;
        Ok(found.then(|| Mapping::parse(rec)))
    }

    /// Adds an object.
    ///
    /// # Errors
    /// `EEXIST`.
    pub(crate) fn insert(&self, run: &mut Running, fid: &Fid, to: Mapping) -> Result {
        let mut file = self.file(fid)?.file.lock();
        let mut w = Writer {
            file: &mut file,
            handle: run.handle()?,
        };
        iam::insert(&mut w, &key(fid), &to.bytes())
    }

    /// Changes where an object is.
    pub(crate) fn update(&self, run: &mut Running, fid: &Fid, to: Mapping) -> Result {
        let mut file = self.file(fid)?.file.lock();
        let mut w = Writer {
            file: &mut file,
            handle: run.handle()?,
        };
        iam::update(&mut w, &key(fid), &to.bytes())
    }

    /// Removes an object.
    ///
    /// # Errors
    /// `ENOENT`.
    pub(crate) fn delete(&self, run: &mut Running, fid: &Fid) -> Result {
        let mut file = self.file(fid)?.file.lock();
        let mut w = Writer {
            file: &mut file,
            handle: run.handle()?,
        };
        iam::delete(&mut w, &key(fid))
    }
}
