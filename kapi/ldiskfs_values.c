// SPDX-License-Identifier: GPL-2.0
/*
 * Values of xattrs that have inodes of their own (ea_inode).
 *
 * ext4 puts such an inode on the list of orphans in the transaction that drops its value, and
 * leaves the last reference, which frees it, to a worker. A power cut in between leaves an orphan
 * that ext4 takes for damage: it refuses the mount. So whoever drops a value frees its inode
 * in the same transaction, and ext4's worker is replaced by one that cannot be quicker: both take
 * the lock of the mount inside their handle.
 */
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/xattr.h>

#include "ldiskfs_internal.h"
#include "xattr.h"

/* Inodes that the worker frees in one transaction. */
#define WORKER_BATCH 4

/* What has to be left in a handle that frees the inode of a value of len bytes. */
u32 ldiskfs_free_credits(struct super_block *sb, u64 len)
{
	u32 blocks = DIV_ROUND_UP_ULL(min_t(u64, len, XATTR_SIZE_MAX), sb->s_blocksize) + 1;

	/*
	 * A bitmap and a group for each block, and one of mapping; the inode, its own bitmap and
	 * group, the list of orphans; what ext4 wants to see left before each step; the owners'
	 * usage.
	 */
	return 2 * blocks + 24 + EXT4_MAXQUOTAS_TRANS_BLOCKS(sb);
}

/* Whether a value of len bytes has an inode at once; others only when there is no other room. */
bool ldiskfs_is_large_value(struct super_block *sb, u64 len)
{
	return ext4_has_feature_ea_inode(sb) &&
	       EXT4_XATTR_SIZE(len) > EXT4_XATTR_MIN_LARGE_EA_SIZE(sb->s_blocksize);
}

/*
 * Whether values of the inode may have inodes: they count as blocks of it. A regular file of a
 * metadata target has no others but that of xattrs, unless it has content.
 */
static bool may_have_values(struct inode *inode)
{
	u64 own = 0;

	if (!ext4_has_feature_ea_inode(inode->i_sb))
		return false;
	if (EXT4_I(inode)->i_file_acl)
		own += inode->i_sb->s_blocksize;
	if (S_ISDIR(inode->i_mode))
		own += i_size_read(inode);
	else if (S_ISLNK(inode->i_mode) && i_size_read(inode) >= sizeof(EXT4_I(inode)->i_data))
		own += inode->i_sb->s_blocksize;
	return inode->i_blocks > own >> 9;
}

/* Gives up what waits, but for dead inodes that the handle has no credits for. */
static void put_values(struct super_block *sb, handle_t *handle)
{
	struct ext4_sb_info *sbi = EXT4_SB(sb);
	struct llist_node *at = llist_del_all(&sbi->s_ea_inode_to_free);
	bool left = false;

	while (at) {
		struct ext4_inode_info *ei = container_of(at, struct ext4_inode_info,
							  i_ea_iput_node);
		struct inode *inode = &ei->vfs_inode;
		int needed = ldiskfs_free_credits(sb, i_size_read(inode));

		at = at->next;
		if (handle && !inode->i_nlink && jbd2_handle_buffer_credits(handle) < needed) {
			llist_add(&ei->i_ea_iput_node, &sbi->s_ea_inode_to_free);
			left = true;
			continue;
		}
		iput(inode);
	}
	if (left)
		schedule_delayed_work(&sbi->s_ea_inode_work, 1);
}

static void worker(struct work_struct *work)
{
	struct ext4_sb_info *sbi = container_of(to_delayed_work(work), struct ext4_sb_info,
						s_ea_inode_work);
	struct ldiskfs_mount *m = ldiskfs_mount_of_journal(sbi->s_journal);
	u32 credits;
	handle_t *handle;

	if (WARN_ON_ONCE(!m) || llist_empty(&sbi->s_ea_inode_to_free))
		return;
	if (sb_rdonly(m->sb)) {
		put_values(m->sb, NULL);
		return;
	}
	sb_start_intwrite(m->sb);
	credits = min(WORKER_BATCH * ldiskfs_free_credits(m->sb, XATTR_SIZE_MAX),
		      ldiskfs_credits(m, LDISKFS_CREDITS_MAX, 0));
	handle = ldiskfs_start(m, credits);
	if (IS_ERR(handle)) {
		/* Nothing gets to the disk any more. */
		put_values(m->sb, NULL);
	} else {
		mutex_lock(&m->values_lock);
		put_values(m->sb, handle);
		mutex_unlock(&m->values_lock);
		ldiskfs_stop(m, handle);
	}
	sb_end_intwrite(m->sb);
}

/* Replaces ext4's worker. */
void ldiskfs_values_begin(struct ldiskfs_mount *m)
{
	struct delayed_work *work = &EXT4_SB(m->sb)->s_ea_inode_work;

	mutex_init(&m->values_lock);
	/* The mount itself may have had values of orphans to drop. */
	flush_delayed_work(work);
	m->ext4_values = work->work.func;
	work->work.func = worker;
}

/* Gives ext4 its worker back. Nobody uses the mount any more. */
void ldiskfs_values_end(struct ldiskfs_mount *m)
{
	struct delayed_work *work = &EXT4_SB(m->sb)->s_ea_inode_work;

	while (!llist_empty(&EXT4_SB(m->sb)->s_ea_inode_to_free)) {
		flush_delayed_work(work);
		cond_resched();
	}
	cancel_delayed_work_sync(work);
	work->work.func = m->ext4_values;
}

/*
 * Before an xattr is set to len bytes, or removed: whether ldiskfs_values_unlock() is to be
 * called. Where there is little room, ext4 may make an inode and drop it again.
 */
bool ldiskfs_values_lock(struct ldiskfs_mount *m, struct inode *inode, u64 len)
{
	if (!may_have_values(inode) && !ldiskfs_is_large_value(m->sb, len) &&
	    !(ext4_has_feature_ea_inode(m->sb) && EXT4_I(inode)->i_file_acl))
		return false;
	mutex_lock(&m->values_lock);
	return true;
}

void ldiskfs_values_unlock(struct ldiskfs_mount *m)
{
	handle_t *handle = journal_current_handle();
	tid_t tid = handle->h_transaction->t_tid;

	put_values(m->sb, handle);
	mutex_unlock(&m->values_lock);
	/* Without the credits, ext4 would have gone on in another transaction. */
	WARN_ON_ONCE(handle->h_transaction && handle->h_transaction->t_tid != tid);
}

/* Credits for an xattr of len bytes that is set or removed, for what may be dropped. */
u32 ldiskfs_xattr_drop_credits(struct dentry *node, u64 len)
{
	struct inode *inode = d_inode(node);
	struct super_block *sb = inode->i_sb;
	u32 credits = 0;

	if (may_have_values(inode))
		credits += ldiskfs_free_credits(sb, XATTR_SIZE_MAX);
	if (ext4_has_feature_ea_inode(sb) && EXT4_I(inode)->i_file_acl)
		credits += ldiskfs_free_credits(sb, len);
	return credits;
}

struct names {
	char *list;
	s64 len;
	char buf[256];
};

/* Names of the xattrs, one after the other; those of ACLs are not among them. */
static int read_names(struct dentry *node, struct names *n)
{
	n->list = n->buf;
	n->len = ldiskfs_listxattr_but_acls(node, n->buf, sizeof(n->buf));
	if (n->len == -ERANGE) {
		n->len = ldiskfs_listxattr_but_acls(node, NULL, 0);
		if (n->len < 0)
			return n->len;
		n->list = kmalloc(n->len, GFP_NOFS);
		if (!n->list)
			return -ENOMEM;
		n->len = ldiskfs_listxattr_but_acls(node, n->list, n->len);
	}
	return min(n->len, 0);
}

static void free_names(struct names *n)
{
	if (n->list != n->buf)
		kfree(n->list);
}

static const char * const acl_names[] = { XATTR_NAME_POSIX_ACL_ACCESS,
					  XATTR_NAME_POSIX_ACL_DEFAULT };

/* Credits for ldiskfs_drop_values(). */
int ldiskfs_drop_credits(struct dentry *node, u32 *out)
{
	struct super_block *sb = node->d_sb;
	struct names n;
	const char *at;
	s64 len;
	int err, i;

	*out = 0;
	if (!may_have_values(d_inode(node)))
		return 0;
	err = read_names(node, &n);
	if (!err) {
		*out = ldiskfs_xattr_credits(sb, 0, false);
		for (at = n.list; at < n.list + n.len; at += strlen(at) + 1) {
			len = ldiskfs_getxattr(node, at, NULL, 0);
			*out += ldiskfs_free_credits(sb, max(len, 0));
		}
		for (i = 0; i < ARRAY_SIZE(acl_names); i++) {
			len = ldiskfs_getxattr(node, acl_names[i], NULL, 0);
			if (len > 0)
				*out += ldiskfs_free_credits(sb, len);
		}
	}
	free_names(&n);
	return err;
}

/* Removes the xattrs of an inode that is about to end, if a value has an inode. */
int ldiskfs_drop_values(struct ldiskfs_mount *m, struct dentry *node)
{
	struct names n;
	const char *at;
	int err, i;

	if (!may_have_values(d_inode(node)))
		return 0;
	err = read_names(node, &n);
	for (at = n.list; !err && at < n.list + n.len; at += strlen(at) + 1)
		err = ldiskfs_setxattr(m, node, at, NULL, 0, 0);
	for (i = 0; !err && i < ARRAY_SIZE(acl_names); i++)
		err = ldiskfs_setxattr(m, node, acl_names[i], NULL, 0, 0);
	free_names(&n);
	return err;
}
