// SPDX-License-Identifier: GPL-2.0

//! What the kernel asks, and the file system's answers.
//!
//! Data go by the kernel's cache (direct I/O): the client has its own, which is coherent with
//! others'. What the kernel may keep is names and attributes, as long as there is a lock on them:
//! when it is called back, the kernel is told first.

mod attrs;
mod data;
mod dirs;
mod locks;
mod names;
mod watch;
mod xattrs;

pub use xattrs::PID_XATTR;

use crate::convert::{cred, errno, rdev_in, time};
use crate::handles::Handles;
use crate::mounting::takes_locks;
use crate::nodes::{Kept, Nodes};
use crate::notify::Notifier;
use crate::options::Flock;
use dirs::OpenDir;
use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLock, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use lustre_client::fs::{Change, File, Known, Make, Watcher};
use lustre_client::mount::Mount;
use lustre_client::{Error, Result};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use watch::Watch;
use wire::fid::Fid;

/// How long the kernel keeps a name under a lock without asking again. There are moments in which
/// a lock could be called back and the kernel not hear of it at once: when an answer is on its way,
/// and when it holds the directory.
const NAME_TTL: Duration = Duration::from_secs(1);
/// How long the kernel keeps attributes under a lock.
const ATTR_TTL: Duration = Duration::from_secs(60);
/// Bytes of a request's data.
const IO_SIZE: u32 = 1 << 20;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_EXEC: u32 = 0o010;

/// The file system.
pub struct Front {
    fs: Arc<Mount>,
    nodes: Arc<Nodes>,
    notifier: Arc<Notifier>,
    files: Handles<File>,
    dirs: Handles<OpenDir>,
    flock: Flock,
    /// Owners of file locks, by file.
    owners: Mutex<HashSet<(Fid, u64)>>,
}

/// How long the kernel may keep the attributes, and the name.
fn ttls(k: &Known) -> (Duration, Duration) {
    let a = if k.attr_locked {
        ATTR_TTL
    } else {
        Duration::ZERO
    };
    let n = if k.name_locked {
        NAME_TTL
    } else {
        Duration::ZERO
    };
    (a, n)
}

/// What it keeps by that.
fn kept(attr: Duration, name: Duration) -> Kept {
    Kept {
        attr: !attr.is_zero(),
        name: !name.is_zero(),
    }
}

/// The error of an errno.
fn code(e: i32) -> Error {
    Error::from_errno(-e)
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EBADF: i32 = 9;
const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
const ESTALE: i32 = 116;
const ENOSYS: i32 = 38;

impl Front {
    /// Makes one.
    pub fn new(fs: Arc<Mount>, notifier: Arc<Notifier>, flock: Flock) -> Front {
        Front {
            nodes: Arc::new(Nodes::new(fs.root())),
            fs,
            notifier,
            files: Handles::default(),
            dirs: Handles::default(),
            flock,
            owners: Mutex::default(),
        }
    }

    /// Who tells the kernel.
    pub fn watcher(&self) -> Arc<dyn Watcher> {
        Arc::new(Watch {
            nodes: self.nodes.clone(),
            notifier: self.notifier.clone(),
        })
    }

    fn fid(&self, ino: INodeNo) -> Result<Fid> {
        self.nodes.fid(ino.0).ok_or(code(ESTALE))
    }

    fn empty(reply: ReplyEmpty, r: Result<()>) {
        match r {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(errno(e)),
        }
    }
}

impl Filesystem for Front {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let mut wanted = InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_POSIX_ACL
            | InitFlags::FUSE_DONT_MASK
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            | InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP;
        if takes_locks(self.flock) {
            wanted |= InitFlags::FUSE_POSIX_LOCKS | InitFlags::FUSE_FLOCK_LOCKS;
        }
        // What this kernel does not have it does without.
        for f in wanted.iter() {
            let _ = config.add_capabilities(f);
        }
        // Times are whole seconds.
        let _ = config.set_time_granularity(Duration::from_secs(1));
        let _ = config.set_max_write(IO_SIZE);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, self.look(req, parent, name));
    }

    fn forget(&self, _: &Request, ino: INodeNo, nlookup: u64) {
        self.nodes.forget(ino.0, nlookup);
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.nodes.will_keep_attr(ino.0);
        let k = self.fid(ino).and_then(|f| self.fs.stat(f, &cred(req)));
        self.show(reply, k);
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = Change {
            mode: mode.map(|m| m & 0o7777),
            uid,
            gid,
            size,
            atime: time(atime),
            mtime: time(mtime),
            flags: None,
            opened: fh
                .and_then(|h| self.files.get(h.0))
                .is_some_and(|f| f.how().write),
        };
        let k = self.fid(ino).and_then(|f| self.change(req, f, change));
        self.show(reply, k);
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.fid(ino).and_then(|f| self.fs.readlink(f, &cred(req))) {
            Ok(t) => reply.data(&t),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let Some(rdev) = rdev_in(rdev) else {
            return reply.error(Errno::from_i32(EINVAL));
        };
        let make = Make {
            mode,
            rdev,
            umask,
            target: &[],
        };
        self.entry(reply, self.make_whole(req, (parent, name), &make));
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let make = Make {
            mode: (mode & 0o7777) | 0o040000,
            rdev: 0,
            umask,
            target: &[],
        };
        self.entry(reply, self.make_named(req, (parent, name), &make));
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::empty(reply, self.remove_named(req, parent, name, false));
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::empty(reply, self.remove_named(req, parent, name, true));
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let make = Make {
            mode: 0o120777,
            rdev: 0,
            umask: 0,
            target: target.as_os_str().as_bytes(),
        };
        self.entry(reply, self.make_named(req, (parent, link_name), &make));
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent, name), (newparent, newname));
        let r = self.rename_named(req, from, to, flags);
        let done = r.is_ok();
        Self::empty(reply, r);
        if done {
            // The kernel takes the old name's time-out along, but the lock is gone.
            self.notifier.entry(newparent.0, newname.as_bytes(), false);
        }
    }

    fn link(
        &self,
        req: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.entry(reply, self.link_named(req, ino, (newparent, newname)));
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open_at(req, ino, flags) {
            Ok(fh) => reply.opened(fh, Self::open_flags()),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let f = self.open_file(fh);
        match f.and_then(|f| self.fs.read(&f, offset, size as usize)) {
            Ok(d) => reply.data(&d),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.write_at(req, (ino, fh), offset, data, write_flags) {
            Ok(()) => reply.written(data.len() as u32),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn flush(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let r = self.open_file(fh).and_then(|f| self.fs.flush(&f));
        // POSIX: a process that closes a file loses its locks of it.
        if self.flock == Flock::Cluster {
            if let Ok(f) = self.fid(ino) {
                self.drop_locks(f, owner.0);
            }
        }
        Self::empty(reply, r);
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if let (Some(o), Ok(f), Flock::Cluster) = (lock_owner, self.fid(ino), self.flock) {
            self.drop_locks(f, o.0);
        }
        if let Some(f) = self.files.remove(fh.0) {
            self.fs.close(&f);
            self.nodes.count_open(ino.0, false);
        }
        reply.ok();
    }

    fn fsync(&self, req: &Request, ino: INodeNo, _: FileHandle, data: bool, reply: ReplyEmpty) {
        let r = self.fid(ino);
        Self::empty(reply, r.and_then(|f| self.fs.fsync(f, data, &cred(req))));
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_directory(req, ino) {
            Ok(fh) => reply.opened(fh, FopenFlags::empty()),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.fill(fh, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn readdirplus(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        match self.fill_plus(req, fh, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.dirs.remove(fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, req: &Request, ino: INodeNo, _: FileHandle, data: bool, reply: ReplyEmpty) {
        // sync(2) does not come here; who syncs the root wants all of it.
        let r = self.fid(ino).and_then(|f| match f == self.fs.root() {
            true => self.fs.sync_all(),
            false => self.fs.fsync(f, data, &cred(req)),
        });
        Self::empty(reply, r);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.fs.statfs() {
            Ok(s) => reply.statfs(
                s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen, s.bsize,
            ),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let how = u32::try_from(flags).unwrap_or(0) & 3;
        Self::empty(reply, self.set_value(req, ino, name, Some(value), how));
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        Self::bytes(reply, size, self.value(req, ino, name));
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let all = self.fid(ino);
        let all = all.and_then(|f| self.fs.list_xattrs(f, &cred(req)));
        Self::bytes(reply, size, all);
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::empty(reply, self.set_value(req, ino, name, None, 0));
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        // The kernel checks by itself (default_permissions).
        reply.error(Errno::from_i32(ENOSYS));
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let opened = self.create_at(req, (parent, name), (mode, umask), OpenFlags(flags));
        self.created(reply, opened);
    }

    fn getlk(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        let want = self.wanted_lock(owner, (start, end), typ, pid);
        self.tell_lock(ino, want, reply);
    }

    fn setlk(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let want = self.wanted_lock(owner, (start, end), typ, pid);
        self.take_lock(req, ino, want, sleep, reply);
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = u32::try_from(mode).unwrap_or(u32::MAX);
        let r = self.open_file(fh).and_then(|f| {
            self.fs.fallocate(&f, mode, offset, length)?;
            self.take_suid(self.fid(ino)?, &cred(req)).map(drop)
        });
        Self::empty(reply, r);
    }

    fn lseek(
        &self,
        _: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.seek_from(fh, offset, whence) {
            Ok(at) => reply.offset(at),
            Err(e) => reply.error(errno(e)),
        }
    }
}
