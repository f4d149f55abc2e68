/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the C files under kapi/ldiskfs.rs share: they alone see ext4's private headers.
 *
 * A "node" is a dentry that has an inode. It is never hashed, so that the dcache knows nothing
 * of names: those of a target change under our own rules, and nobody else looks them up.
 */
#ifndef KAPI_LDISKFS_INTERNAL_H
#define KAPI_LDISKFS_INTERNAL_H

#include <linux/fs.h>
#include <linux/jbd2.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "ext4.h"
#include "ext4_jbd2.h"
#include "ext4_extents.h"

#include "ldiskfs_helpers.h"

struct ldiskfs_mount {
	struct list_head link;
	struct vfsmount *mnt;
	struct super_block *sb;
	journal_t *journal;
	void (*ext4_commit)(journal_t *journal, transaction_t *txn);
	ldiskfs_commit_t commit;
	void *data;
	/* The last transaction whose callbacks have been called, and who waits for that. */
	tid_t called;
	wait_queue_head_t called_wait;
	const struct address_space_operations *ordered;
	struct llist_head late;
	struct work_struct late_work;
	/* Who drops values of xattrs that have inodes frees them alone; taken inside handles. */
	struct mutex values_lock;
	work_func_t ext4_values;
};

/* The mount of a file system; it is ours. */
struct ldiskfs_mount *ldiskfs_mount_of(struct super_block *sb);
struct ldiskfs_mount *ldiskfs_mount_of_journal(journal_t *journal);

u32 ldiskfs_map_reserve(struct super_block *sb);
u32 ldiskfs_xattr_credits(struct super_block *sb, u32 len, bool create);

void ldiskfs_values_begin(struct ldiskfs_mount *m);
void ldiskfs_values_end(struct ldiskfs_mount *m);
u32 ldiskfs_free_credits(struct super_block *sb, u64 len);
bool ldiskfs_is_large_value(struct super_block *sb, u64 len);
bool ldiskfs_values_lock(struct ldiskfs_mount *m, struct inode *inode, u64 len);
void ldiskfs_values_unlock(struct ldiskfs_mount *m);

/* A node of an inode, of which it takes over the reference. */
struct dentry *ldiskfs_node_of(struct inode *inode);
/* Drops the nodes that were left to the worker. */
void ldiskfs_late_puts(struct work_struct *work);

/* What ext4 changes with the size or the blocks of a file, and the layers above own. */
struct ldiskfs_stamps {
	struct timespec64 mtime;
	struct timespec64 ctime;
	u64 version;
};

struct ldiskfs_stamps ldiskfs_save_stamps(struct inode *inode);
void ldiskfs_restore_stamps(struct inode *inode, const struct ldiskfs_stamps *s);

#endif
