/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What kapi/ldiskfs.rs calls in C: inlines of the VFS, of jbd2 and of ext4's private headers,
 * and the few sequences that only make sense whole. Every function here is mirrored in
 * kapi/ldiskfs/ffi.rs; keep the two together.
 */
#ifndef KAPI_LDISKFS_HELPERS_H
#define KAPI_LDISKFS_HELPERS_H

#include <linux/types.h>

struct ldiskfs_mount;
struct dentry;
struct buffer_head;
struct file;
struct bio_vec;

/* Superblock fields that decide whether a device is served at all. */
struct ldiskfs_super {
	u32 magic;
	u32 compat;
	u32 incompat;
	u32 ro_compat;
	u32 block_size;
	u32 inode_size;
	u32 flags;
	u32 hash_seed[4];
	u8 uuid[16];
	u8 label[16];
	u8 def_hash_version;
	u8 hash_unsigned;
	u8 pad[6];
};

struct ldiskfs_statfs {
	u64 blocks;
	u64 bfree;
	u64 bavail;
	u64 files;
	u64 ffree;
	u32 bsize;
	u32 namelen;
	u32 readonly;
	u32 pad;
};

/* Attributes, as the inode in memory has them. Times are seconds and nanoseconds. */
struct ldiskfs_attr {
	u64 ino;
	u64 size;
	u64 blocks;
	s64 atime;
	s64 mtime;
	s64 ctime;
	s64 btime;
	u64 version;
	u32 atime_nsec;
	u32 mtime_nsec;
	u32 ctime_nsec;
	u32 btime_nsec;
	u32 generation;
	u32 mode;
	u32 uid;
	u32 gid;
	u32 projid;
	u32 nlink;
	u32 rdev;
	u32 flags;
};

enum ldiskfs_credits {
	LDISKFS_CREDITS_CREATE,
	LDISKFS_CREDITS_LINK,
	LDISKFS_CREDITS_UNLINK,
	LDISKFS_CREDITS_RENAME,
	LDISKFS_CREDITS_XATTR,
	LDISKFS_CREDITS_XATTR_NEW,
	LDISKFS_CREDITS_ATTR,
	LDISKFS_CREDITS_BLOCK,
	LDISKFS_CREDITS_APPEND,
	LDISKFS_CREDITS_MAX,
};

typedef void (*ldiskfs_commit_t)(void *data, u32 tid, int aborted);
typedef int (*ldiskfs_filldir_t)(void *data, const char *name, u32 len, u64 pos, u64 ino, u32 type);

int ldiskfs_probe(const char *path, struct ldiskfs_super *out);
int ldiskfs_mount(const char *path, const char *options, bool readonly, ldiskfs_commit_t commit,
		  void *data, struct ldiskfs_mount **out);
void ldiskfs_umount(struct ldiskfs_mount *m);
void ldiskfs_super_of(struct ldiskfs_mount *m, struct ldiskfs_super *out);
int ldiskfs_statfs(struct ldiskfs_mount *m, struct ldiskfs_statfs *out);
int ldiskfs_sync(struct ldiskfs_mount *m);
long ldiskfs_ioctl(struct ldiskfs_mount *m, unsigned int cmd, unsigned long arg);
int ldiskfs_start_commit(struct ldiskfs_mount *m);
int ldiskfs_wait_commit(struct ldiskfs_mount *m, u32 tid);
void ldiskfs_flush_iput(struct ldiskfs_mount *m);
int ldiskfs_next_inode(struct ldiskfs_mount *m, u64 *ino);

struct dentry *ldiskfs_root(struct ldiskfs_mount *m);
struct dentry *ldiskfs_iget(struct ldiskfs_mount *m, u64 ino, u32 generation);
void ldiskfs_put(struct dentry *node);
struct dentry *ldiskfs_get(struct dentry *node);
u64 ldiskfs_ino(struct dentry *node);
bool ldiskfs_same_inode(struct dentry *a, struct dentry *b);

void ldiskfs_lock(struct dentry *node, struct ldiskfs_mount *m);
bool ldiskfs_trylock(struct dentry *node);
void ldiskfs_unlock(struct dentry *node);
int ldiskfs_lock_shared(struct dentry *node);
void ldiskfs_unlock_shared(struct dentry *node);

u32 ldiskfs_credits(struct ldiskfs_mount *m, u32 kind, u32 len);
void *ldiskfs_start(struct ldiskfs_mount *m, u32 credits);
int ldiskfs_stop(struct ldiskfs_mount *m, void *handle);
u32 ldiskfs_tid(void *handle);
int ldiskfs_credits_left(void *handle);
bool ldiskfs_in_handle(void);
void ldiskfs_freeze_enter(struct ldiskfs_mount *m);
void ldiskfs_freeze_leave(struct ldiskfs_mount *m);

struct dentry *ldiskfs_create(struct dentry *dir, const char *name, u32 len, u32 mode, u32 rdev,
			      const char *target);
struct dentry *ldiskfs_tmpfile(struct ldiskfs_mount *m, struct dentry *dir, u32 mode);
int ldiskfs_link(struct dentry *dir, const char *name, u32 len, struct dentry *node);
int ldiskfs_unlink(struct dentry *dir, const char *name, u32 len, struct dentry *node, bool rmdir);
int ldiskfs_rename(struct dentry *odir, const char *oname, u32 olen, struct dentry *node,
		   struct dentry *ndir, const char *nname, u32 nlen);
int ldiskfs_parent(struct dentry *dir, u64 *ino);
struct file *ldiskfs_dir_open(struct ldiskfs_mount *m, struct dentry *dir, u64 pos);
int ldiskfs_dir_next(struct file *file, ldiskfs_filldir_t fill, void *data, u64 *pos);
s64 ldiskfs_readlink(struct dentry *node, char *buf, u32 len);

void ldiskfs_getattr(struct dentry *node, struct ldiskfs_attr *out);
int ldiskfs_setids(struct dentry *node, const u32 *uid, const u32 *gid, const u32 *projid);
void ldiskfs_poke(struct dentry *node, const struct ldiskfs_attr *a);
void ldiskfs_setflags(struct dentry *node, u32 flags, u32 mask);
void ldiskfs_set_journal_data(struct dentry *node);
int ldiskfs_dirty(struct dentry *node);
bool ldiskfs_is_orphan(struct dentry *node);
int ldiskfs_truncate(struct dentry *node, u64 size);

s64 ldiskfs_getxattr(struct dentry *node, const char *name, void *buf, u64 len);
int ldiskfs_setxattr(struct ldiskfs_mount *m, struct dentry *node, const char *name,
		     const void *buf, u64 len, int flags);
s64 ldiskfs_listxattr(struct dentry *node, char *buf, u64 len);
s64 ldiskfs_listxattr_but_acls(struct dentry *node, char *buf, u64 len);
u32 ldiskfs_xattr_drop_credits(struct dentry *node, u64 len);
int ldiskfs_drop_credits(struct dentry *node, u32 *out);
int ldiskfs_drop_values(struct ldiskfs_mount *m, struct dentry *node);

void ldiskfs_own_blocks(struct dentry *node);
int ldiskfs_map_lock(struct dentry *node, void *out);
void ldiskfs_map_unlock(struct dentry *node);
void ldiskfs_set_size(struct dentry *node, u64 size);
int ldiskfs_append(struct ldiskfs_mount *m, struct dentry *node, u64 block, u64 size, u64 *phys);
int ldiskfs_dir_check(struct dentry *node, struct buffer_head *bh, u32 n);
struct buffer_head *ldiskfs_bread(struct ldiskfs_mount *m, u64 phys);
struct buffer_head *ldiskfs_bnew(struct ldiskfs_mount *m, void *handle, u64 phys, int *err);
int ldiskfs_forget(struct ldiskfs_mount *m, void *handle, u64 phys);
void ldiskfs_brelse(struct buffer_head *bh);
void *ldiskfs_bdata(struct buffer_head *bh);
int ldiskfs_write_access(void *handle, struct buffer_head *bh);
int ldiskfs_dirty_metadata(void *handle, struct buffer_head *bh);

struct file *ldiskfs_open(struct ldiskfs_mount *m, struct dentry *node);
void ldiskfs_close(struct file *file);
s64 ldiskfs_rw(struct file *file, struct bio_vec *bv, u32 nr, u64 len, u64 pos, bool write,
	       bool direct);
int ldiskfs_flush_range(struct file *file, u64 start, u64 end);
int ldiskfs_fallocate(struct file *file, u32 mode, u64 off, u64 len);
s64 ldiskfs_seek(struct file *file, u64 off, u32 whence);

void *ldiskfs_dqget(struct ldiskfs_mount *m, u32 type, u32 id);
void ldiskfs_dqput(void *dquot);
int ldiskfs_get_dqblk(struct ldiskfs_mount *m, u32 type, u32 id, u64 *space, u64 *inodes);
int ldiskfs_next_dqid(struct ldiskfs_mount *m, u32 type, u32 *id);

#endif
