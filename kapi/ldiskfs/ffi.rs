// SPDX-License-Identifier: GPL-2.0

//! The C functions of `kapi/ldiskfs_*.c`, as `ldiskfs_helpers.h` declares them.

use core::ffi::{c_char, c_int, c_void};
use kernel::ffi::{c_long, c_uint, c_ulong};

/// A struct that only C looks into.
macro_rules! opaque {
    ($($name:ident),*) => {
        $(#[repr(C)]
        pub(super) struct $name {
            _data: [u8; 0],
            _not_send: core::marker::PhantomData<*mut u8>,
        })*
    };
}
opaque!(Mount, Dentry, BufferHead, File, Handle);

/// What the superblock of the device says; see `struct ldiskfs_super`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Super {
    /// 0xef53.
    pub magic: u32,
    /// Compatible features.
    pub compat: u32,
    /// Incompatible features.
    pub incompat: u32,
    /// Read-only compatible features.
    pub ro_compat: u32,
    /// Bytes in a block.
    pub block_size: u32,
    /// Bytes in an inode on disk.
    pub inode_size: u32,
    /// `s_flags`.
    pub flags: u32,
    /// The seed of directory hashes.
    pub hash_seed: [u32; 4],
    /// The file system's UUID.
    pub uuid: [u8; 16],
    /// The label, padded with NUL.
    pub label: [u8; 16],
    /// The hash of new indexed directories.
    pub def_hash_version: u8,
    /// Whether names count as unsigned characters in hashes: 0 or 3 (added to the version). Valid
    /// for a mounted file system.
    pub hash_unsigned: u8,
    pub(super) pad: [u8; 6],
}

/// Space and inodes.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct StatFs {
    /// Blocks of the file system.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Blocks free for all.
    pub bavail: u64,
    /// Inodes.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Bytes in a block.
    pub bsize: u32,
    /// Longest name.
    pub namelen: u32,
    /// Not zero after an error made the file system read-only.
    pub readonly: u32,
    pub(super) pad: u32,
}

/// The attributes of an inode in memory. Times are seconds and nanoseconds since 1970.
#[allow(missing_docs)]
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Attr {
    pub ino: u64,
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    pub btime: i64,
    /// The 64-bit version of the inode.
    pub version: u64,
    pub atime_nsec: u32,
    pub mtime_nsec: u32,
    pub ctime_nsec: u32,
    pub btime_nsec: u32,
    pub generation: u32,
    /// Type and permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub projid: u32,
    pub nlink: u32,
    /// As `new_encode_dev()` has it.
    pub rdev: u32,
    /// ext4's inode flags as on disk.
    pub flags: u32,
}

pub(super) type CommitFn = unsafe extern "C" fn(data: *mut c_void, tid: u32, aborted: c_int);
pub(super) type FillFn = unsafe extern "C" fn(
    data: *mut c_void,
    name: *const c_char,
    len: u32,
    pos: u64,
    ino: u64,
    ty: u32,
) -> c_int;

extern "C" {
    pub(super) fn ldiskfs_probe(path: *const c_char, out: *mut Super) -> c_int;
    pub(super) fn ldiskfs_mount(
        path: *const c_char,
        options: *const c_char,
        readonly: bool,
        commit: CommitFn,
        data: *mut c_void,
        out: *mut *mut Mount,
    ) -> c_int;
    pub(super) fn ldiskfs_umount(m: *mut Mount);
    pub(super) fn ldiskfs_super_of(m: *mut Mount, out: *mut Super);
    pub(super) fn ldiskfs_statfs(m: *mut Mount, out: *mut StatFs) -> c_int;
    pub(super) fn ldiskfs_sync(m: *mut Mount) -> c_int;
    pub(super) fn ldiskfs_ioctl(m: *mut Mount, cmd: c_uint, arg: c_ulong) -> c_long;
    pub(super) fn ldiskfs_start_commit(m: *mut Mount) -> c_int;
    pub(super) fn ldiskfs_wait_commit(m: *mut Mount, tid: u32) -> c_int;
    pub(super) fn ldiskfs_flush_iput(m: *mut Mount);
    pub(super) fn ldiskfs_next_inode(m: *mut Mount, ino: *mut u64) -> c_int;

    pub(super) fn ldiskfs_root(m: *mut Mount) -> *mut Dentry;
    pub(super) fn ldiskfs_iget(m: *mut Mount, ino: u64, generation: u32) -> *mut Dentry;
    pub(super) fn ldiskfs_put(node: *mut Dentry);
    pub(super) fn ldiskfs_get(node: *mut Dentry) -> *mut Dentry;
    pub(super) fn ldiskfs_ino(node: *mut Dentry) -> u64;
    pub(super) fn ldiskfs_same_inode(a: *mut Dentry, b: *mut Dentry) -> bool;
    pub(super) fn ldiskfs_lock(node: *mut Dentry, m: *mut Mount);
    pub(super) fn ldiskfs_trylock(node: *mut Dentry) -> bool;
    pub(super) fn ldiskfs_unlock(node: *mut Dentry);
    pub(super) fn ldiskfs_lock_shared(node: *mut Dentry) -> c_int;
    pub(super) fn ldiskfs_unlock_shared(node: *mut Dentry);

    pub(super) fn ldiskfs_credits(m: *mut Mount, kind: u32, len: u32) -> u32;
    pub(super) fn ldiskfs_start(m: *mut Mount, credits: u32) -> *mut Handle;
    pub(super) fn ldiskfs_stop(m: *mut Mount, handle: *mut Handle) -> c_int;
    pub(super) fn ldiskfs_tid(handle: *mut Handle) -> u32;
    pub(super) fn ldiskfs_credits_left(handle: *mut Handle) -> c_int;
    pub(super) fn ldiskfs_in_handle() -> bool;
    pub(super) fn ldiskfs_freeze_enter(m: *mut Mount);
    pub(super) fn ldiskfs_freeze_leave(m: *mut Mount);

    pub(super) fn ldiskfs_create(
        dir: *mut Dentry,
        name: *const u8,
        len: u32,
        mode: u32,
        rdev: u32,
        target: *const c_char,
    ) -> *mut Dentry;
    pub(super) fn ldiskfs_tmpfile(m: *mut Mount, dir: *mut Dentry, mode: u32) -> *mut Dentry;
    pub(super) fn ldiskfs_link(
        dir: *mut Dentry,
        name: *const u8,
        len: u32,
        node: *mut Dentry,
    ) -> c_int;
    pub(super) fn ldiskfs_unlink(
        dir: *mut Dentry,
        name: *const u8,
        len: u32,
        node: *mut Dentry,
        rmdir: bool,
    ) -> c_int;
    pub(super) fn ldiskfs_rename(
        odir: *mut Dentry,
        oname: *const u8,
        olen: u32,
        node: *mut Dentry,
        ndir: *mut Dentry,
        nname: *const u8,
        nlen: u32,
    ) -> c_int;
    pub(super) fn ldiskfs_parent(dir: *mut Dentry, ino: *mut u64) -> c_int;
    pub(super) fn ldiskfs_dir_open(m: *mut Mount, dir: *mut Dentry, pos: u64) -> *mut File;
    pub(super) fn ldiskfs_dir_next(
        file: *mut File,
        fill: FillFn,
        data: *mut c_void,
        pos: *mut u64,
    ) -> c_int;
    pub(super) fn ldiskfs_readlink(node: *mut Dentry, buf: *mut u8, len: u32) -> i64;

    pub(super) fn ldiskfs_getattr(node: *mut Dentry, out: *mut Attr);
    pub(super) fn ldiskfs_setids(
        node: *mut Dentry,
        uid: *const u32,
        gid: *const u32,
        projid: *const u32,
    ) -> c_int;
    pub(super) fn ldiskfs_poke(node: *mut Dentry, a: *const Attr);
    pub(super) fn ldiskfs_setflags(node: *mut Dentry, flags: u32, mask: u32);
    pub(super) fn ldiskfs_set_journal_data(node: *mut Dentry);
    pub(super) fn ldiskfs_dirty(node: *mut Dentry) -> c_int;
    pub(super) fn ldiskfs_is_orphan(node: *mut Dentry) -> bool;
    pub(super) fn ldiskfs_truncate(node: *mut Dentry, size: u64) -> c_int;

    pub(super) fn ldiskfs_getxattr(
        node: *mut Dentry,
        name: *const c_char,
        buf: *mut u8,
        len: u64,
    ) -> i64;
    pub(super) fn ldiskfs_setxattr(
        m: *mut Mount,
        node: *mut Dentry,
        name: *const c_char,
        buf: *const u8,
        len: u64,
        flags: c_int,
    ) -> c_int;
    pub(super) fn ldiskfs_listxattr(node: *mut Dentry, buf: *mut u8, len: u64) -> i64;
    pub(super) fn ldiskfs_xattr_drop_credits(node: *mut Dentry, len: u64) -> u32;
    pub(super) fn ldiskfs_drop_credits(node: *mut Dentry, out: *mut u32) -> c_int;
    pub(super) fn ldiskfs_drop_values(m: *mut Mount, node: *mut Dentry) -> c_int;

    pub(super) fn ldiskfs_own_blocks(node: *mut Dentry);
    pub(super) fn ldiskfs_map_unlock(node: *mut Dentry);
    pub(super) fn ldiskfs_map_lock(node: *mut Dentry, out: *mut u8) -> c_int;
    pub(super) fn ldiskfs_append(
        m: *mut Mount,
        node: *mut Dentry,
        block: u64,
        size: u64,
        phys: *mut u64,
    ) -> c_int;
    pub(super) fn ldiskfs_set_size(node: *mut Dentry, size: u64);
    pub(super) fn ldiskfs_dir_check(node: *mut Dentry, bh: *mut BufferHead, n: u32) -> c_int;
    pub(super) fn ldiskfs_bread(m: *mut Mount, phys: u64) -> *mut BufferHead;
    pub(super) fn ldiskfs_bnew(
        m: *mut Mount,
        handle: *mut Handle,
        phys: u64,
        err: *mut c_int,
    ) -> *mut BufferHead;
    pub(super) fn ldiskfs_forget(m: *mut Mount, handle: *mut Handle, phys: u64) -> c_int;
    pub(super) fn ldiskfs_brelse(bh: *mut BufferHead);
    pub(super) fn ldiskfs_bdata(bh: *mut BufferHead) -> *mut u8;
    pub(super) fn ldiskfs_write_access(handle: *mut Handle, bh: *mut BufferHead) -> c_int;
    pub(super) fn ldiskfs_dirty_metadata(handle: *mut Handle, bh: *mut BufferHead) -> c_int;

    pub(super) fn ldiskfs_open(m: *mut Mount, node: *mut Dentry) -> *mut File;
    pub(super) fn ldiskfs_close(file: *mut File);
    pub(super) fn ldiskfs_rw(
        file: *mut File,
        bv: *mut BioVec,
        nr: u32,
        len: u64,
        pos: u64,
        write: bool,
        direct: bool,
    ) -> i64;
    pub(super) fn ldiskfs_flush_range(file: *mut File, start: u64, end: u64) -> c_int;
    pub(super) fn ldiskfs_fallocate(file: *mut File, mode: u32, off: u64, len: u64) -> c_int;
    pub(super) fn ldiskfs_seek(file: *mut File, off: u64, whence: u32) -> i64;

    pub(super) fn ldiskfs_dqget(m: *mut Mount, ty: u32, id: u32) -> *mut c_void;
    pub(super) fn ldiskfs_dqput(dquot: *mut c_void);
    pub(super) fn ldiskfs_get_dqblk(
        m: *mut Mount,
        ty: u32,
        id: u32,
        space: *mut u64,
        inodes: *mut u64,
    ) -> c_int;
    pub(super) fn ldiskfs_next_dqid(m: *mut Mount, ty: u32, id: *mut u32) -> c_int;
}

/// A piece of a page: `struct bio_vec`.
#[repr(C)]
pub(super) struct BioVec {
    pub(super) page: *mut c_void,
    pub(super) len: u32,
    pub(super) offset: u32,
}
