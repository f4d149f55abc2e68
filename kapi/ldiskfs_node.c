// SPDX-License-Identifier: GPL-2.0
/* Nodes: having them, giving them up, locking them. */
#include <linux/dcache.h>
#include <linux/exportfs.h>

#include "ldiskfs_internal.h"

/* An unlinked inode of more 512-byte blocks than this is freed by the worker, not by its caller. */
#define BIG_INODE_BLOCKS 16384

struct late_put {
	struct llist_node link;
	struct dentry *node;
};

void ldiskfs_late_puts(struct work_struct *work)
{
	struct ldiskfs_mount *m = container_of(work, struct ldiskfs_mount, late_work);
	struct late_put *p, *next;

	llist_for_each_entry_safe(p, next, llist_del_all(&m->late), link) {
		dput(p->node);
		kfree(p);
	}
}

/* What the VFS would do by these flags is the business of the layers above, or of clients. */
static void tame(struct inode *inode)
{
	spin_lock(&inode->i_lock);
	inode->i_flags &= ~(S_IMMUTABLE | S_APPEND | S_ENCRYPTED | S_SYNC | S_DIRSYNC);
	inode->i_flags |= S_NOSEC | S_NOATIME | S_NOCMTIME;
	spin_unlock(&inode->i_lock);
}

/* Takes over the reference to the inode. */
struct dentry *ldiskfs_node_of(struct inode *inode)
{
	struct dentry *node = d_alloc_anon(inode->i_sb);

	if (!node) {
		iput(inode);
		return ERR_PTR(-ENOMEM);
	}
	tame(inode);
	d_instantiate(node, inode);
	return node;
}

struct dentry *ldiskfs_root(struct ldiskfs_mount *m)
{
	struct inode *inode = d_inode(m->sb->s_root);

	ihold(inode);
	return ldiskfs_node_of(inode);
}

struct dentry *ldiskfs_iget(struct ldiskfs_mount *m, u64 ino, u32 generation)
{
	struct fid fid = { };
	struct dentry *alias;
	struct inode *inode;

	if (ino > U32_MAX)
		return ERR_PTR(-ENOENT);
	fid.i32.ino = ino;
	fid.i32.gen = generation;
	alias = m->sb->s_export_op->fh_to_dentry(m->sb, &fid, 2, FILEID_INO32_GEN);
	if (IS_ERR(alias))
		return alias;
	if (!alias)
		return ERR_PTR(-ESTALE);
	inode = d_inode(alias);
	if (!inode || inode->i_nlink == 0) {
		dput(alias);
		return ERR_PTR(-ESTALE);
	}
	ihold(inode);
	dput(alias);
	return ldiskfs_node_of(inode);
}

struct dentry *ldiskfs_get(struct dentry *node)
{
	return dget(node);
}

/*
 * The last reference to an unlinked inode frees it, which takes transactions of its own: not
 * inside ours, not in the thread that commits them, and not in the caller's time if it is big.
 */
void ldiskfs_put(struct dentry *node)
{
	struct inode *inode = d_inode(node);
	struct ldiskfs_mount *m;
	struct late_put *p;

	if (current->journal_info || current == EXT4_SB(inode->i_sb)->s_journal->j_task ?
		    d_count(node) > 1 :
		    inode->i_nlink || inode->i_blocks < BIG_INODE_BLOCKS) {
		dput(node);
		return;
	}
	m = ldiskfs_mount_of(node->d_sb);
	p = kmalloc_obj(*p, GFP_NOFS | __GFP_NOFAIL);
	p->node = node;
	llist_add(&p->link, &m->late);
	queue_work(system_unbound_wq, &m->late_work);
}

u64 ldiskfs_ino(struct dentry *node)
{
	return d_inode(node)->i_ino;
}

bool ldiskfs_same_inode(struct dentry *a, struct dentry *b)
{
	return d_inode(a) == d_inode(b);
}

/* Any number of inodes, in the order of their numbers, under the freeze protection. */
void ldiskfs_lock(struct dentry *node, struct ldiskfs_mount *m)
{
	down_write_nest_lock(&d_inode(node)->i_rwsem,
			     &m->sb->s_writers.rw_sem[SB_FREEZE_WRITE - 1]);
}

/* A new inode, inside the handle: nobody else has it. */
bool ldiskfs_trylock(struct dentry *node)
{
	return inode_trylock(d_inode(node));
}

void ldiskfs_unlock(struct dentry *node)
{
	inode_unlock(d_inode(node));
}

/*
 * Returns 1 if the lock was taken, 0 if the caller's transaction has it already. Inside a
 * transaction nothing is waited for: its locks were taken before it started.
 */
int ldiskfs_lock_shared(struct dentry *node)
{
	struct rw_semaphore *sem = &d_inode(node)->i_rwsem;

	if (!current->journal_info) {
		down_read(sem);
		return 1;
	}
	if ((atomic_long_read(&sem->owner) & ~7UL) == (unsigned long)current &&
	    rwsem_is_locked(sem))
		return 0;
	return down_read_trylock(sem) ? 1 : -EDEADLK;
}

void ldiskfs_unlock_shared(struct dentry *node)
{
	inode_unlock_shared(d_inode(node));
}

s64 ldiskfs_readlink(struct dentry *node, char *buf, u32 len)
{
	DEFINE_DELAYED_CALL(done);
	struct inode *inode = d_inode(node);
	const char *target;
	size_t n;

	if (!S_ISLNK(inode->i_mode))
		return -EINVAL;
	target = READ_ONCE(inode->i_link);
	if (!target) {
		target = inode->i_op->get_link(node, inode, &done);
		if (IS_ERR(target))
			return PTR_ERR(target);
	}
	n = strlen(target);
	if (n > len)
		n = len;
	memcpy(buf, target, n);
	do_delayed_call(&done);
	return n;
}
