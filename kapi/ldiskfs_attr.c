// SPDX-License-Identifier: GPL-2.0
/* Attributes. */
#include <linux/iversion.h>
#include <linux/quotaops.h>

#include "ldiskfs_internal.h"

void ldiskfs_getattr(struct dentry *node, struct ldiskfs_attr *out)
{
	struct inode *inode = d_inode(node);
	struct ext4_inode_info *ei = EXT4_I(inode);
	struct timespec64 ts;

	out->ino = inode->i_ino;
	out->size = i_size_read(inode);
	out->blocks = inode->i_blocks;
	ts = inode_get_atime(inode);
	out->atime = ts.tv_sec;
	out->atime_nsec = ts.tv_nsec;
	ts = inode_get_mtime(inode);
	out->mtime = ts.tv_sec;
	out->mtime_nsec = ts.tv_nsec;
	ts = inode_get_ctime(inode);
	out->ctime = ts.tv_sec;
	out->ctime_nsec = ts.tv_nsec;
	out->btime = ei->i_crtime.tv_sec;
	out->btime_nsec = ei->i_crtime.tv_nsec;
	out->version = inode_peek_iversion(inode);
	out->generation = inode->i_generation;
	out->mode = inode->i_mode;
	out->uid = i_uid_read(inode);
	out->gid = i_gid_read(inode);
	out->projid = from_kprojid(&init_user_ns, ei->i_projid);
	out->nlink = inode->i_nlink;
	out->rdev = new_encode_dev(inode->i_rdev);
	out->flags = ei->i_flags;
}

/*
 * Owner, group and project, with their usage. Null pointers stay as they are. The caller holds
 * the dquots of the new ids, so that no quota block has to be allocated inside the handle.
 */
int ldiskfs_setids(struct dentry *node, const u32 *uid, const u32 *gid, const u32 *projid)
{
	struct inode *inode = d_inode(node);
	struct dquot *to[EXT4_MAXQUOTAS] = {};
	int err = 0, i;

	if (uid && !uid_valid(make_kuid(&init_user_ns, *uid)))
		return -EINVAL;
	if (gid && !gid_valid(make_kgid(&init_user_ns, *gid)))
		return -EINVAL;
	if (sb_any_quota_loaded(inode->i_sb)) {
		err = dquot_initialize(inode);
		if (err)
			return err;
		if (uid && *uid != i_uid_read(inode))
			to[USRQUOTA] = dqget(inode->i_sb,
					     make_kqid_uid(make_kuid(&init_user_ns, *uid)));
		if (gid && *gid != i_gid_read(inode))
			to[GRPQUOTA] = dqget(inode->i_sb,
					     make_kqid_gid(make_kgid(&init_user_ns, *gid)));
		if (projid && *projid != from_kprojid(&init_user_ns, EXT4_I(inode)->i_projid))
			to[PRJQUOTA] = dqget(inode->i_sb,
					     make_kqid_projid(make_kprojid(&init_user_ns, *projid)));
		for (i = 0; i < EXT4_MAXQUOTAS; i++) {
			if (IS_ERR(to[i])) {
				/* -ESRCH: this kind of quota is off. */
				if (PTR_ERR(to[i]) != -ESRCH)
					err = PTR_ERR(to[i]);
				to[i] = NULL;
			}
		}
		if (!err) {
			down_read(&EXT4_I(inode)->xattr_sem);
			err = __dquot_transfer(inode, to);
			up_read(&EXT4_I(inode)->xattr_sem);
		}
		for (i = 0; i < EXT4_MAXQUOTAS; i++)
			dqput(to[i]);
		if (err)
			return err;
	}
	if (uid)
		i_uid_write(inode, *uid);
	if (gid)
		i_gid_write(inode, *gid);
	if (projid)
		EXT4_I(inode)->i_projid = make_kprojid(&init_user_ns, *projid);
	return 0;
}

/* Times, version, nlink and the permission bits: in memory only, see ldiskfs_dirty(). */
void ldiskfs_poke(struct dentry *node, const struct ldiskfs_attr *a)
{
	struct inode *inode = d_inode(node);
	struct timespec64 ts;

	ts = (struct timespec64){ a->atime, a->atime_nsec };
	inode_set_atime_to_ts(inode, ts);
	ts = (struct timespec64){ a->mtime, a->mtime_nsec };
	inode_set_mtime_to_ts(inode, ts);
	ts = (struct timespec64){ a->ctime, a->ctime_nsec };
	inode_set_ctime_to_ts(inode, ts);
	inode_set_iversion(inode, a->version);
	inode->i_mode = (inode->i_mode & S_IFMT) | (a->mode & ~S_IFMT);
	if (inode->i_nlink != a->nlink) {
		if (a->nlink)
			set_nlink(inode, a->nlink);
		else
			clear_nlink(inode);
	}
}

void ldiskfs_setflags(struct dentry *node, u32 flags, u32 mask)
{
	struct ext4_inode_info *ei = EXT4_I(d_inode(node));
	unsigned long old, new;

	do {
		old = READ_ONCE(ei->i_flags);
		new = (old & ~(unsigned long)mask) | (flags & mask);
	} while (cmpxchg(&ei->i_flags, old, new) != old);
}

/*
 * From here on ext4 writes revoke records when it frees blocks of this file, which it must as
 * they go through the journal.
 */
void ldiskfs_set_journal_data(struct dentry *node)
{
	ext4_set_inode_flag(d_inode(node), EXT4_INODE_JOURNAL_DATA);
}

/* Writes the inode in memory to the running handle. */
int ldiskfs_dirty(struct dentry *node)
{
	struct inode *inode = d_inode(node);

	if (is_journal_aborted(EXT4_SB(inode->i_sb)->s_journal))
		return -EROFS;
	inode->i_sb->s_op->dirty_inode(inode, I_DIRTY_SYNC);
	return is_handle_aborted(journal_current_handle()) ? -EIO : 0;
}

bool ldiskfs_is_orphan(struct dentry *node)
{
	struct inode *inode = d_inode(node);

	return ext4_test_inode_state(inode, EXT4_STATE_ORPHAN_FILE) ||
	       !list_empty(&EXT4_I(inode)->i_orphan);
}

/* Outside handles, under the inode's lock. */
int ldiskfs_truncate(struct dentry *node, u64 size)
{
	struct inode *inode = d_inode(node);
	struct ldiskfs_stamps stamps = ldiskfs_save_stamps(inode);
	struct iattr attr = {
		.ia_valid = ATTR_SIZE | ATTR_FORCE,
		.ia_size = size,
	};
	int err;

	if (size > inode->i_sb->s_maxbytes)
		return -EFBIG;
	err = inode->i_op->setattr(&nop_mnt_idmap, node, &attr);
	ldiskfs_restore_stamps(inode, &stamps);
	return err;
}

struct ldiskfs_stamps ldiskfs_save_stamps(struct inode *inode)
{
	return (struct ldiskfs_stamps){
		.mtime = inode_get_mtime(inode),
		.ctime = inode_get_ctime(inode),
		.version = inode_peek_iversion(inode),
	};
}

void ldiskfs_restore_stamps(struct inode *inode, const struct ldiskfs_stamps *s)
{
	inode_set_mtime_to_ts(inode, s->mtime);
	inode_set_ctime_to_ts(inode, s->ctime);
	inode_set_iversion(inode, s->version);
	inode->i_sb->s_op->dirty_inode(inode, I_DIRTY_SYNC);
}
