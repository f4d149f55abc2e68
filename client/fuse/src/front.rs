// SPDX-License-Identifier: GPL-2.0

//! What the kernel asks, and the file system's answers.
//!
//! Data go by the kernel's cache (direct I/O): the client has its own, which is coherent with
//! others'. What the kernel may keep is names and attributes, as long as there is a lock on them:
//! when it is called back, the kernel is told first.

use crate::convert::{attr, cred, errno, has_signal, how, kind, rdev_in, time};
use crate::handles::Handles;
use crate::mounting::takes_locks;
use crate::nodes::{Kept, Nodes};
use crate::notify::Notifier;
use crate::options::Flock;
use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLock, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use lustre_client::attr::Attr;
use lustre_client::fs::{Change, Dir, File, FileLock, Known, LockKind, Make, Watcher};
use lustre_client::mdc::DirEntry;
use lustre_client::mount::Mount;
use lustre_client::{Error, Result};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use wire::fid::Fid;

/// The xattr of the root that has the number of this process.
pub const PID_XATTR: &str = "lustre.fuse.pid";
/// The xattr of any directory that has the state of all targets.
pub const STATFS_XATTR: &str = "lustre.fuse.statfs";
/// The xattr of everything that has its FID.
pub const FID_XATTR: &str = "lustre.fid";

/// The xattr of any directory, with a FID behind it, that has the paths of that FID, each with
/// its NUL.
const PATH_XATTR: &str = "lustre.fuse.path:";

/// How long the kernel keeps a name under a lock without asking again. There are moments in which
/// a lock could be called back and the kernel not hear of it at once: when an answer is on its way,
/// and when it holds the directory.
const NAME_TTL: Duration = Duration::from_secs(1);
/// How long the kernel keeps attributes under a lock.
const ATTR_TTL: Duration = Duration::from_secs(60);
/// Bytes of a request's data.
const IO_SIZE: u32 = 1 << 20;
/// Entries that are looked up at a time.
const BATCH: usize = 16;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_EXEC: u32 = 0o010;

/// An open directory, and what of the last answer did not fit.
struct OpenDir {
    dir: Dir,
    /// Entries of one hash: the offset at which they are asked for, and which are left.
    rest: Mutex<(u64, Vec<DirEntry>)>,
}

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

/// Tells the kernel what to forget.
struct Watch {
    nodes: Arc<Nodes>,
    notifier: Arc<Notifier>,
}

impl Watcher for Watch {
    fn attr_gone(&self, fid: Fid) {
        if let Some(ino) = self.nodes.take_attr(&fid) {
            self.notifier.attr(ino);
        }
    }

    fn names_gone(&self, fid: Fid, names: &[(Fid, Vec<u8>)], own: bool) {
        if !self.nodes.take_name(&fid) {
            return;
        }
        for (parent, name) in names {
            if let Some(ino) = self.nodes.known(parent) {
                self.notifier.entry(ino, name, !own);
            }
        }
    }

    fn data_gone(&self, fid: Fid) {
        self.attr_gone(fid);
        if let Some(ino) = self.nodes.opened(&fid) {
            self.notifier.pages(ino);
        }
    }
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

    fn open_file(&self, fh: FileHandle) -> Result<Arc<File>> {
        self.files.get(fh.0).ok_or(code(EBADF))
    }

    fn entry(&self, reply: ReplyEntry, k: Result<Known>) {
        match k {
            Ok(k) => {
                let (mut a, n) = ttls(&k);
                if self.nodes.known(&k.attr.fid).is_none() {
                    // What the kernel does not know yet it cannot be told to forget.
                    a = a.min(NAME_TTL);
                }
                let ino = self.nodes.tell(k.attr.fid, kept(a, n));
                reply.entry_with_ttls(&a, &n, &attr(&k.attr, ino), Generation(0));
            }
            Err(e) => reply.error(errno(e)),
        }
    }

    fn show(&self, reply: ReplyAttr, k: Result<Known>) {
        match k {
            Ok(k) => {
                let ino = self.nodes.show(&k.attr.fid);
                reply.attr(&ttls(&k).0, &attr(&k.attr, ino));
            }
            Err(e) => reply.error(errno(e)),
        }
    }

    /// Something that was just made, with its attributes.
    fn made(&self, k: Result<Known>) -> Result<Known> {
        self.fs.complete(k?)
    }

    fn look(&self, req: &Request, parent: INodeNo, name: &OsStr) -> Result<Known> {
        let c = cred(req);
        let k = self.fs.lookup(self.fid(parent)?, name.as_bytes(), &c)?;
        self.fs.complete(k.ok_or(code(ENOENT))?)
    }

    /// The mode after a change that takes set-uid bits away.
    fn without_suid(a: &Attr) -> Option<u32> {
        let mut m = a.mode & 0o7777 & !SETUID;
        if m & GROUP_EXEC != 0 {
            m &= !SETGID;
        }
        (a.is_file() && m != a.mode & 0o7777).then_some(m)
    }

    /// Entries of a directory from an offset on, as many as are at hand, each with the offset
    /// behind it.
    fn list(&self, d: &OpenDir, offset: u64) -> Result<Vec<DirEntry>> {
        let mut rest = d.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.0 == offset && !rest.1.is_empty() {
            return Ok(std::mem::take(&mut rest.1));
        }
        rest.1.clear();
        drop(rest);
        self.fs.read_dir(&d.dir, offset)
    }

    /// Keeps entries that did not fit, if they cannot be asked for by an offset of their own:
    /// `last` went out, and the first of them has the same hash.
    fn keep(d: &OpenDir, last: Option<u64>, left: &[DirEntry]) {
        let Some(hash) = last else { return };
        let same = left.iter().take_while(|e| e.hash == hash).count();
        if let (true, Some(same)) = (same > 0, left.get(..same)) {
            let mut rest = d.rest.lock().unwrap_or_else(PoisonError::into_inner);
            *rest = (hash + 1, same.to_vec());
        }
    }

    /// Attributes of entries. `None`: not to be had, or not wanted.
    fn look_many(&self, req: &Request, d: &OpenDir, all: &[DirEntry]) -> Vec<Option<Known>> {
        let is_dots = |e: &DirEntry| matches!(&*e.name, b"." | b"..");
        let wanted = all.iter().filter(|e| !is_dots(e)).map(|e| &*e.name);
        let names: Vec<&[u8]> = wanted.collect();
        let found = self.fs.lookup_many(d.dir.fid(), &names, &cred(req));
        let mut found = found.into_iter();
        let known = |e| match is_dots(e) {
            true => None,
            false => found.next().flatten(),
        };
        all.iter().map(known).collect()
    }

    fn value(&self, req: &Request, ino: INodeNo, name: &OsStr) -> Result<Vec<u8>> {
        let fid = self.fid(ino)?;
        match name.to_str() {
            Some(PID_XATTR) => Ok(std::process::id().to_string().into_bytes()),
            Some(FID_XATTR) => Ok(fid.to_string().into_bytes()),
            Some(STATFS_XATTR) => Ok(self.targets().into_bytes()),
            Some(n) if n.starts_with(PATH_XATTR) => {
                let text = n.strip_prefix(PATH_XATTR).unwrap_or("");
                let fid: Fid = text.parse().map_err(|_| code(EINVAL))?;
                // A path says more than one may see on the way.
                if req.uid() != 0 {
                    return Err(code(EPERM));
                }
                let mut out = Vec::new();
                for p in self.fs.paths(fid)? {
                    out.extend_from_slice(&p);
                    out.push(0);
                }
                Ok(out)
            }
            _ => self.fs.get_xattr(fid, name.as_bytes(), &cred(req)),
        }
    }

    /// A line for each target: kind, index, UUID, then block size, blocks, free and available
    /// ones, inodes and free ones, or `error` and the errno.
    fn targets(&self) -> String {
        let mut out = String::new();
        for t in self.fs.target_stats() {
            let kind = if t.is_mdt { "MDT" } else { "OST" };
            let state = match t.stat {
                Ok(s) => format!(
                    "{} {} {} {} {} {}",
                    s.bsize, s.blocks, s.bfree, s.bavail, s.files, s.ffree
                ),
                Err(e) => format!("error {}", -e.to_errno()),
            };
            out.push_str(&format!("{kind} {} {} {state}\n", t.index, t.uuid));
        }
        out
    }

    fn bytes(reply: ReplyXattr, size: u32, value: Result<Vec<u8>>) {
        match value {
            Err(e) => reply.error(errno(e)),
            Ok(v) => match u32::try_from(v.len()) {
                Ok(n) if size == 0 => reply.size(n),
                Ok(n) if n <= size => reply.data(&v),
                _ => reply.error(Errno::from_i32(ERANGE)),
            },
        }
    }

    fn empty(reply: ReplyEmpty, r: Result<()>) {
        match r {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn flags() -> FopenFlags {
        FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
    }

    fn change(&self, req: &Request, fid: Fid, mut c: Change) -> Result<Known> {
        let who = cred(req);
        let takes_bits = c.uid.is_some() || c.gid.is_some() || (c.size.is_some() && who.uid != 0);
        if takes_bits && c.mode.is_none() {
            let a = match self.fs.last_attr(fid) {
                Some(a) => a,
                None => self.fs.stat(fid, &who)?.attr,
            };
            c.mode = Self::without_suid(&a);
        }
        let attr = self.fs.setattr(fid, &c, &who)?;
        Ok(Known {
            attr,
            attr_locked: false,
            name_locked: false,
        })
    }

    /// An owner of locks has closed the file.
    fn drop_locks(&self, fid: Fid, owner: u64) {
        let had = {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            owners.remove(&(fid, owner))
        };
        if !had {
            return;
        }
        let all = FileLock {
            start: 0,
            end: u64::MAX,
            owner,
            pid: 0,
            kind: LockKind::Unlock,
        };
        // Nobody is there to be told.
        let _ = self.fs.set_lock(fid, &all, false);
    }

    fn lock_of(typ: i32) -> Option<LockKind> {
        match typ {
            0 => Some(LockKind::Read),
            1 => Some(LockKind::Write),
            2 => Some(LockKind::Unlock),
            _ => None,
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
        _fh: Option<FileHandle>,
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
        let k = self.fid(parent);
        let k = k.and_then(|p| self.fs.make(p, name.as_bytes(), &make, &cred(req)));
        self.entry(reply, self.made(k));
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
        let k = self.fid(parent);
        let k = k.and_then(|p| self.fs.make(p, name.as_bytes(), &make, &cred(req)));
        self.entry(reply, k);
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let r = self.fid(parent);
        let r = r.and_then(|p| self.fs.remove(p, name.as_bytes(), false, &cred(req)));
        Self::empty(reply, r);
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let r = self.fid(parent);
        let r = r.and_then(|p| self.fs.remove(p, name.as_bytes(), true, &cred(req)));
        Self::empty(reply, r);
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
        let k = self.fid(parent);
        let k = k.and_then(|p| self.fs.make(p, link_name.as_bytes(), &make, &cred(req)));
        self.entry(reply, k);
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
        // The protocol has none of these; callers then do without.
        if !flags.is_empty() {
            return reply.error(Errno::from_i32(EINVAL));
        }
        let r = self.fid(parent).and_then(|a| {
            let b = self.fid(newparent)?;
            let (from, to) = ((a, name.as_bytes()), (b, newname.as_bytes()));
            self.fs.rename(from, to, &cred(req))
        });
        let done = r.is_ok();
        Self::empty(reply, r);
        if done {
            // The kernel takes the old name's time-out along, but the lock is gone.
            let name = newname.as_bytes();
            self.notifier.entry(newparent.0, name, false);
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
        let k = self.fid(ino).and_then(|f| {
            let p = self.fid(newparent)?;
            self.fs.link(f, p, newname.as_bytes(), &cred(req))
        });
        self.entry(reply, self.made(k));
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let f = self.fid(ino);
        match f.and_then(|f| self.fs.open(f, how(flags), &cred(req))) {
            Ok(f) => {
                self.nodes.count_open(ino.0, true);
                reply.opened(FileHandle(self.files.add(f)), Self::flags());
            }
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
        let written = self.open_file(fh).and_then(|f| {
            if write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
                let c = cred(req);
                let a = self.fs.stat(self.fid(ino)?, &c)?.attr;
                if let Some(m) = Self::without_suid(&a) {
                    let change = Change {
                        mode: Some(m),
                        ..Change::default()
                    };
                    // Who may write need not own it.
                    self.fs
                        .setattr(a.fid, &change, &lustre_client::cred::Cred::root())?;
                }
            }
            self.fs.write(&f, offset, data)
        });
        match written {
            Ok(_) => reply.written(data.len() as u32),
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
        let d = self.fid(ino);
        match d.and_then(|f| self.fs.open_dir(f, &cred(req))) {
            Ok(dir) => {
                let d = OpenDir {
                    dir,
                    rest: Mutex::default(),
                };
                reply.opened(FileHandle(self.dirs.add(d)), FopenFlags::empty());
            }
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
        let Some(d) = self.dirs.get(fh.0) else {
            return reply.error(Errno::from_i32(EBADF));
        };
        let (mut at, mut any) = (offset, false);
        loop {
            let all = match self.list(&d, at) {
                Ok(a) => a,
                Err(e) if !any => return reply.error(errno(e)),
                // What is here goes out; the error comes with the next question.
                Err(_) => return reply.ok(),
            };
            if all.is_empty() {
                return reply.ok();
            }
            let mut last = None;
            for (i, e) in all.iter().enumerate() {
                let ino = INodeNo(self.nodes.show(&e.fid));
                let name = OsStr::from_bytes(&e.name);
                if reply.add(ino, e.hash + 1, kind(e.kind), name) {
                    Self::keep(&d, last, all.get(i..).unwrap_or(&[]));
                    return reply.ok();
                }
                any = true;
                last = Some(e.hash);
                at = e.hash + 1;
            }
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
        let Some(d) = self.dirs.get(fh.0) else {
            return reply.error(Errno::from_i32(EBADF));
        };
        let all = match self.list(&d, offset) {
            Ok(a) => a,
            Err(e) => return reply.error(errno(e)),
        };
        let mut last = None;
        for (n, part) in all.chunks(BATCH).enumerate() {
            let known = self.look_many(req, &d, part);
            for (i, (e, k)) in part.iter().zip(known).enumerate() {
                let name = OsStr::from_bytes(&e.name);
                // Without attributes the kernel asks when it needs them: number 0 says so.
                let (ino, ttl, a) = match &k {
                    Some(k) => {
                        let (a, n) = ttls(k);
                        let ttl = a.min(n);
                        let ino = self.nodes.tell(k.attr.fid, kept(ttl, ttl));
                        (ino, ttl, attr(&k.attr, ino))
                    }
                    None => {
                        let a = Attr {
                            mode: e.kind,
                            ..Attr::default()
                        };
                        (0, Duration::ZERO, attr(&a, self.nodes.show(&e.fid)))
                    }
                };
                if reply.add(INodeNo(ino), e.hash + 1, name, &ttl, &a, Generation(0)) {
                    if ino != 0 {
                        self.nodes.forget(ino, 1);
                    }
                    let at = n * BATCH + i;
                    Self::keep(&d, last, all.get(at..).unwrap_or(&[]));
                    return reply.ok();
                }
                last = Some(e.hash);
            }
        }
        reply.ok();
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
        let r = self.fid(ino).and_then(|f| {
            self.fs
                .set_xattr(f, name.as_bytes(), Some(value), how, &cred(req))
        });
        Self::empty(reply, r);
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
        let r = self
            .fid(ino)
            .and_then(|f| self.fs.set_xattr(f, name.as_bytes(), None, 0, &cred(req)));
        Self::empty(reply, r);
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
        let opened = self.fid(parent).and_then(|p| {
            let how = how(OpenFlags(flags));
            let made = self
                .fs
                .create(p, name.as_bytes(), (mode, umask), how, &cred(req))?;
            Ok((made.0, self.fs.complete(made.1)?))
        });
        match opened {
            Ok((f, k)) => {
                let (a, n) = ttls(&k);
                let ttl = a.min(n);
                let ino = self.nodes.tell(k.attr.fid, kept(ttl, ttl));
                self.nodes.count_open(ino, true);
                let fh = FileHandle(self.files.add(f));
                reply.created(&ttl, &attr(&k.attr, ino), Generation(0), fh, Self::flags());
            }
            Err(e) => reply.error(errno(e)),
        }
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
        let (Some(kind), Flock::Cluster) = (Self::lock_of(typ), self.flock) else {
            return reply.error(Errno::from_i32(ENOSYS));
        };
        let want = FileLock {
            start,
            end,
            owner: owner.0,
            pid,
            kind,
        };
        match self.fid(ino).and_then(|f| self.fs.test_lock(f, &want)) {
            Ok(None) => reply.locked(start, end, 2, 0),
            Ok(Some(l)) => {
                let typ = i32::from(l.kind == LockKind::Write);
                reply.locked(l.start, l.end, typ, l.pid);
            }
            Err(e) => reply.error(errno(e)),
        }
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
        let (Some(kind), Flock::Cluster) = (Self::lock_of(typ), self.flock) else {
            return reply.error(Errno::from_i32(ENOSYS));
        };
        let want = FileLock {
            start,
            end,
            owner: owner.0,
            pid,
            kind,
        };
        let fid = match self.fid(ino) {
            Ok(f) => f,
            Err(e) => return reply.error(errno(e)),
        };
        if kind != LockKind::Unlock {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            owners.insert((fid, owner.0));
        }
        if !sleep {
            return Self::empty(reply, self.fs.set_lock(fid, &want, false));
        }
        // It may wait for long: not on a thread that others wait for.
        let fs = self.fs.clone();
        // The library for the kernel's protocol does not pass interrupts on.
        let who = req.pid();
        let enough = move || has_signal(who);
        let waiter = move || Self::empty(reply, fs.set_lock_until(fid, &want, true, Some(&enough)));
        let _ = std::thread::Builder::new()
            .name("setlkw".into())
            .spawn(waiter);
    }

    fn fallocate(
        &self,
        _: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = u32::try_from(mode).unwrap_or(u32::MAX);
        let r = self.open_file(fh);
        Self::empty(
            reply,
            r.and_then(|f| self.fs.fallocate(&f, mode, offset, length)),
        );
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
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let (Ok(off), SEEK_DATA | SEEK_HOLE) = (u64::try_from(offset), whence) else {
            return reply.error(Errno::from_i32(EINVAL));
        };
        let f = self.open_file(fh);
        let at = f.and_then(|f| self.fs.seek(&f, off, whence == SEEK_HOLE));
        match at.map(i64::try_from) {
            Ok(Ok(at)) => reply.offset(at),
            Ok(Err(_)) => reply.error(Errno::from_i32(EINVAL)),
            Err(e) => reply.error(errno(e)),
        }
    }
}
