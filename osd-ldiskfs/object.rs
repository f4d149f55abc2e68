// SPDX-License-Identifier: GPL-2.0

//! What is known of an object: its inode, and how its content is reached.

use crate::Fid;
use kapi::ldiskfs::{BlockFile, DataFile, Node};
use kapi::prelude::*;

/// How the content of an object is reached. It does not change between the two while the object
/// is in memory: the one goes through the journal, the other through the page cache.
#[derive(Default)]
enum Content {
    /// Not asked for yet.
    #[default]
    Closed,
    /// Small, and written in transactions.
    Blocks(BlockFile),
    /// Bulk data.
    Data(Arc<DataFile>),
}

/// The inode of an object.
enum Inode {
    /// Nobody has looked for it yet.
    Unknown,
    /// The object does not exist.
    Absent,
    /// It exists.
    Present(Node),
}

/// What an object had open.
pub(crate) struct Retired {
    _content: Content,
    _inode: Inode,
}

/// An object, which may not exist.
#[pin_data]
pub(crate) struct Object {
    fid: Fid,
    #[pin]
    inode: SpinLock<Inode>,
    /// Held by who looks for the inode.
    #[pin]
    search: Mutex<()>,
    #[pin]
    content: Mutex<Content>,
}

impl Object {
    /// An object of which nothing is known.
    pub(crate) fn new(fid: Fid) -> impl PinInit<Object> {
        pin_init!(Object {
            fid,
            inode <- new_spinlock!(Inode::Unknown),
            search <- new_mutex!(()),
            content <- new_mutex!(Content::Closed),
        })
    }

    /// Its FID.
    pub(crate) fn fid(&self) -> &Fid {
        &self.fid
    }

    fn is_known(&self) -> bool {
        !matches!(*self.inode.lock(), Inode::Unknown)
    }

    /// Finds out whether it exists, unless that is known. The lock of the search is taken inside
    /// handles, so `find` starts none.
    ///
    /// # Errors
    /// Those of `find`; it remains unknown.
    pub(crate) fn search(&self, find: impl FnOnce() -> Result<Option<Node>>) -> Result {
        if self.is_known() {
            return Ok(());
        }
        let _search = self.search.lock();
        if self.is_known() {
            return Ok(());
        }
        let inode = match find()? {
            // What was found first may have ended meanwhile.
            Some(n) if n.attr().nlink > 0 => Inode::Present(n),
            _ => Inode::Absent,
        };
        *self.inode.lock() = inode;
        Ok(())
    }

    /// Its inode.
    ///
    /// # Errors
    /// `ENOENT`: it does not exist.
    pub(crate) fn node(&self) -> Result<Node> {
        match &*self.inode.lock() {
            Inode::Present(n) => Ok(n.clone()),
            _ => Err(ENOENT),
        }
    }

    /// Whether it exists.
    pub(crate) fn exists(&self) -> bool {
        matches!(*self.inode.lock(), Inode::Present(_))
    }

    /// It exists now, or does not any more. What it had is given back, to be dropped when the
    /// transaction has stopped.
    pub(crate) fn set_node(&self, node: Option<Node>) -> Retired {
        let new = node.map_or(Inode::Absent, Inode::Present);
        let mut content = self.content.lock();
        Retired {
            _content: core::mem::take(&mut *content),
            _inode: core::mem::replace(&mut *self.inode.lock(), new),
        }
    }

    /// The inode of an object with content.
    fn file(&self) -> Result<Node> {
        let node = self.node()?;
        if node.attr().mode & osd::S_IFMT != osd::S_IFREG {
            return Err(EINVAL);
        }
        Ok(node)
    }

    /// `opened` is its content, unless somebody was faster, or the object is another one now. The
    /// lock of the content is taken inside handles; opening may start one, so it comes before.
    fn set_content(&self, node: &Node, opened: Content) {
        let mut content = self.content.lock();
        let same = self.node().is_ok_and(|n| n.same(node));
        if same && matches!(*content, Content::Closed) {
            *content = opened;
        }
    }

    /// Runs `f` on its content as a file of journalled blocks.
    ///
    /// # Errors
    /// `ENOENT`. `EINVAL`: no file. `EBUSY`: it is in use for bulk data. Those of opening it and
    /// of `f`.
    pub(crate) fn with_blocks<R>(&self, f: impl FnOnce(&mut BlockFile) -> Result<R>) -> Result<R> {
        match &mut *self.content.lock() {
            Content::Blocks(b) => return f(b),
            Content::Data(_) => return Err(EBUSY),
            Content::Closed => {}
        }
        let node = self.file()?;
        self.set_content(&node, Content::Blocks(BlockFile::open(&node)?));
        match &mut *self.content.lock() {
            Content::Blocks(b) => f(b),
            Content::Data(_) => Err(EBUSY),
            // It ended meanwhile.
            Content::Closed => Err(ENOENT),
        }
    }

    /// Runs `f` on its content as a file of journalled blocks, if it is one.
    ///
    /// # Errors
    /// Those of opening it and of `f`.
    pub(crate) fn if_blocks(&self, f: impl FnOnce(&mut BlockFile) -> Result) -> Result {
        if !self.node()?.is_journalled() {
            return Ok(());
        }
        match self.with_blocks(f) {
            // It was one, and is used for bulk data now.
            Err(e) if e == EBUSY => Ok(()),
            other => other,
        }
    }

    /// Its content as bulk data.
    ///
    /// # Errors
    /// `ENOENT`. `EINVAL`: no file. `EBUSY`: it is a file of journalled blocks. Those of opening.
    pub(crate) fn data(&self) -> Result<Arc<DataFile>> {
        match &*self.content.lock() {
            Content::Data(d) => return Ok(d.clone()),
            Content::Blocks(_) => return Err(EBUSY),
            Content::Closed => {}
        }
        let node = self.file()?;
        let file = Arc::new(DataFile::open(&node)?, GFP_NOFS)?;
        self.set_content(&node, Content::Data(file));
        match &*self.content.lock() {
            Content::Data(d) => Ok(d.clone()),
            Content::Blocks(_) => Err(EBUSY),
            Content::Closed => Err(ENOENT),
        }
    }
}
