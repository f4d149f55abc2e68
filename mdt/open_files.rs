// SPDX-License-Identifier: GPL-2.0

//! What a client has open, and what else is kept about it (`mdt.md` 7.5).

use core::any::Any;
use kapi::prelude::*;
use mdd::OpenMode;
use osd::{Fid, ObjectRef};
use ptlrpc::export::ClientState;
use target::Request;
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::mdt::OpenFlags;

/// Files that one client may have open.
const OPEN_MAX: usize = 1 << 18;

/// An open file.
pub(crate) struct OpenFile {
    /// The object.
    pub(crate) object: ObjectRef,
    /// How it was opened.
    pub(crate) flags: OpenFlags,
}

impl OpenFile {
    /// How it counts.
    pub(crate) fn mode(&self) -> OpenMode {
        open_mode(self.flags)
    }
}

/// How an open with these flags counts.
pub(crate) fn open_mode(flags: OpenFlags) -> OpenMode {
    OpenMode {
        write: flags.contains(OpenFlags::FMODE_WRITE),
        exec: flags.contains(OpenFlags::FMODE_EXEC),
    }
}

struct Files {
    by_cookie: RBTree<u64, OpenFile>,
    count: usize,
    /// The client is gone.
    closed: bool,
}

/// What is kept about a client.
#[pin_data]
pub(crate) struct MdtClient {
    #[pin]
    files: Mutex<Files>,
    /// The directory that is its root.
    #[pin]
    root: Mutex<Fid>,
}

impl ClientState for MdtClient {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl MdtClient {
    pub(crate) fn new() -> Result<Arc<MdtClient>> {
        Arc::pin_init(
            pin_init!(MdtClient {
                files <- new_mutex!(Files {
                    by_cookie: RBTree::new(),
                    count: 0,
                    closed: false,
                }),
                root <- new_mutex!(Fid::ROOT),
            }),
            GFP_KERNEL,
        )
    }

    /// Enters an open file; its handle.
    ///
    /// # Errors
    /// `ENFILE`: it has too many. `ENOTCONN`: it is gone. `ENOMEM`.
    pub(crate) fn add(&self, file: OpenFile) -> Result<u64> {
        let cookie = kapi::rand::u64().max(1);
        let place = RBTreeNode::new(cookie, file, GFP_KERNEL)?;
        let mut files = self.files.lock();
        if files.closed {
            return Err(ENOTCONN);
        }
        if files.count >= OPEN_MAX {
            return Err(ENFILE);
        }
        if files.by_cookie.get(&cookie).is_some() {
            // Two equal random numbers of 64 bits, or a broken generator.
            return Err(EAGAIN);
        }
        files.by_cookie.insert(place);
        files.count += 1;
        Ok(cookie)
    }

    /// Takes an open file away.
    pub(crate) fn take(&self, cookie: u64) -> Option<OpenFile> {
        let mut files = self.files.lock();
        let f = files.by_cookie.remove(&cookie)?;
        files.count -= 1;
        Some(f)
    }

    /// Takes any open file away, once the client is gone.
    pub(crate) fn take_any(&self) -> Option<OpenFile> {
        let mut files = self.files.lock();
        files.closed = true;
        let cookie = *files.by_cookie.cursor_front()?.current().0;
        files.count -= 1;
        files.by_cookie.remove(&cookie)
    }

    /// Whether it has an object open for writing.
    pub(crate) fn writes(&self, fid: &Fid) -> bool {
        let files = self.files.lock();
        let mut all = files.by_cookie.values();
        all.any(|f| f.flags.contains(OpenFlags::FMODE_WRITE) && f.object.fid() == fid)
    }

    /// The directory that is its root.
    pub(crate) fn root(&self) -> Fid {
        *self.root.lock()
    }

    /// It has mounted this directory.
    pub(crate) fn set_root(&self, fid: Fid) {
        *self.root.lock() = fid;
    }
}

/// What was agreed with a client.
#[derive(Clone, Copy)]
pub(crate) struct Agreed(ConnectData);

impl Agreed {
    /// With the sender of a request.
    pub(crate) fn with(req: &Request<'_>) -> Agreed {
        Agreed(req.export.connect_data())
    }

    /// Whether a flag was granted.
    pub(crate) fn has(&self, f: ConnectFlags) -> bool {
        self.0.flags().contains(f)
    }

    /// Whether a flag of the second word was granted.
    pub(crate) fn has2(&self, f: ConnectFlags2) -> bool {
        self.0.flags2().contains(f)
    }

    /// Inode bits that the client knows.
    pub(crate) fn ibits(&self) -> u64 {
        self.0.ocd_ibits_known.get()
    }

    /// Largest bulk transfer, bytes.
    pub(crate) fn brw_size(&self) -> u32 {
        self.0.ocd_brw_size.get()
    }
}
