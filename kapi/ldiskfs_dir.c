// SPDX-License-Identifier: GPL-2.0
/* Directories: making, linking, moving and removing names, and reading them. */
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/exportfs.h>
#include <linux/file.h>
#include <linux/iversion.h>
#include <linux/namei.h>

#include "ldiskfs_internal.h"

static struct dentry *name_in(struct dentry *dir, const char *name, u32 len)
{
	struct qstr q = QSTR_INIT(name, len);
	struct dentry *d = d_alloc(dir, &q);

	return d ? d : ERR_PTR(-ENOMEM);
}

/* A name that stands for the inode of node; dput() gives it up. */
static struct dentry *name_of(struct dentry *dir, const char *name, u32 len, struct dentry *node)
{
	struct dentry *d = name_in(dir, name, len);

	if (!IS_ERR(d)) {
		ihold(d_inode(node));
		d_instantiate(d, d_inode(node));
	}
	return d;
}

/*
 * When there is no free inode, ext4 stops the current handle without having started one of its own, once
 * for each of its few attempts: that would be the caller's. It gets references to stop, and how many there
 * were is put back afterwards.
 */
#define LENT 16

static int lend_handle(handle_t *handle)
{
	int refs = handle ? handle->h_ref : 0;

	if (handle)
		handle->h_ref += LENT;
	return refs;
}

static void take_handle_back(handle_t *handle, int refs)
{
	if (handle)
		handle->h_ref = refs;
}

struct dentry *ldiskfs_create(struct dentry *dir, const char *name, u32 len, u32 mode, u32 rdev,
			      const char *target)
{
	struct inode *parent = d_inode(dir), *inode;
	const struct inode_operations *op = parent->i_op;
	handle_t *handle = journal_current_handle();
	struct dentry *d, *made;
	int err = 0, refs;

	if (!op->create)
		return ERR_PTR(-ENOTDIR);
	d = name_in(dir, name, len);
	if (IS_ERR(d))
		return d;
	refs = lend_handle(handle);
	switch (mode & S_IFMT) {
	case S_IFREG:
		err = op->create(&nop_mnt_idmap, parent, d, mode);
		break;
	case S_IFDIR:
		made = op->mkdir(&nop_mnt_idmap, parent, d, mode);
		if (IS_ERR(made))
			err = PTR_ERR(made);
		else if (made && made != d)
			dput(made);
		break;
	case S_IFLNK:
		err = target ? op->symlink(&nop_mnt_idmap, parent, d, target) : -EINVAL;
		break;
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		err = op->mknod(&nop_mnt_idmap, parent, d, mode, new_decode_dev(rdev));
		break;
	default:
		err = -EINVAL;
	}
	take_handle_back(handle, refs);
	if (err) {
		dput(d);
		return ERR_PTR(err);
	}
	inode = d_inode(d);
	ihold(inode);
	dput(d);
	inode_set_iversion(inode, 0);
	return ldiskfs_node_of(inode);
}

/* A regular file without a name, on the orphan list until it is linked. */
struct dentry *ldiskfs_tmpfile(struct ldiskfs_mount *m, struct dentry *dir, u32 mode)
{
	struct path path = { .mnt = m->mnt, .dentry = dir };
	handle_t *handle = journal_current_handle();
	int refs = lend_handle(handle);
	struct inode *inode;
	struct file *file;

	file = kernel_tmpfile_open(&nop_mnt_idmap, &path, mode, O_RDWR | O_LARGEFILE,
				   current_cred());
	take_handle_back(handle, refs);
	if (IS_ERR(file))
		return ERR_CAST(file);
	inode = file_inode(file);
	ihold(inode);
	__fput_sync(file);
	inode_set_iversion(inode, 0);
	return ldiskfs_node_of(inode);
}

int ldiskfs_link(struct dentry *dir, const char *name, u32 len, struct dentry *node)
{
	struct dentry *d;
	int err;

	if (!d_inode(dir)->i_op->link)
		return -ENOTDIR;
	d = name_in(dir, name, len);
	if (IS_ERR(d))
		return PTR_ERR(d);
	err = d_inode(dir)->i_op->link(node, d_inode(dir), d);
	dput(d);
	return err;
}

int ldiskfs_unlink(struct dentry *dir, const char *name, u32 len, struct dentry *node, bool rmdir)
{
	struct dentry *d;
	int err;

	if (!d_inode(dir)->i_op->unlink)
		return -ENOTDIR;
	d = name_of(dir, name, len, node);
	if (IS_ERR(d))
		return PTR_ERR(d);
	if (rmdir)
		err = d_inode(dir)->i_op->rmdir(d_inode(dir), d);
	else
		err = d_inode(dir)->i_op->unlink(d_inode(dir), d);
	dput(d);
	return err;
}

int ldiskfs_rename(struct dentry *odir, const char *oname, u32 olen, struct dentry *node,
		   struct dentry *ndir, const char *nname, u32 nlen)
{
	struct dentry *from, *to;
	int err;

	if (!d_inode(odir)->i_op->rename || !d_inode(ndir)->i_op->rename)
		return -ENOTDIR;
	from = name_of(odir, oname, olen, node);
	if (IS_ERR(from))
		return PTR_ERR(from);
	to = name_in(ndir, nname, nlen);
	if (IS_ERR(to)) {
		dput(from);
		return PTR_ERR(to);
	}
	err = d_inode(odir)->i_op->rename(&nop_mnt_idmap, d_inode(odir), from, d_inode(ndir), to,
					  0);
	dput(to);
	dput(from);
	return err;
}

/* The inode that ".." names. */
int ldiskfs_parent(struct dentry *dir, u64 *ino)
{
	struct dentry *d = dir->d_sb->s_export_op->get_parent(dir);

	if (IS_ERR(d))
		return PTR_ERR(d);
	*ino = d_inode(d)->i_ino;
	dput(d);
	return 0;
}

struct fill_context {
	struct dir_context ctx;
	ldiskfs_filldir_t fill;
	void *data;
};

static bool fill_one(struct dir_context *ctx, const char *name, int len, loff_t pos, u64 ino,
		     unsigned int type)
{
	struct fill_context *f = container_of(ctx, struct fill_context, ctx);

	return f->fill(f->data, name, len, pos, ino, type) == 0;
}

/* Opens a directory for a walk from position pos on, positions being 64-bit hashes. */
struct file *ldiskfs_dir_open(struct ldiskfs_mount *m, struct dentry *dir, u64 pos)
{
	struct path path = { .mnt = m->mnt, .dentry = dir };
	struct file *file;

	file = dentry_open(&path, O_RDONLY | O_DIRECTORY | O_LARGEFILE | O_NOATIME, current_cred());
	if (IS_ERR(file))
		return file;
	file->f_mode |= FMODE_64BITHASH;
	if (pos && vfs_llseek(file, pos, SEEK_SET) < 0) {
		__fput_sync(file);
		return ERR_PTR(-EINVAL);
	}
	return file;
}

/*
 * Hands out the next entries, about as many as a block has, under the lock of the directory. The
 * callback ends that by a value other than 0, and is shown the same entry again by the next call.
 * Position where it is afterwards; the same as before at the end.
 */
int ldiskfs_dir_next(struct file *file, ldiskfs_filldir_t fill, void *data, u64 *pos)
{
	struct fill_context f = {
		.ctx.actor = fill_one,
		.ctx.count = INT_MAX,
		.ctx.pos = file->f_pos,
		.fill = fill,
		.data = data,
	};
	int err = iterate_dir(file, &f.ctx);

	*pos = file->f_pos;
	return err;
}

/* The checksum of a block of an index: of what is in use, and of the tail behind its room. */
static bool index_is_right(struct inode *inode, struct buffer_head *bh, u32 offset)
{
	__le16 *counts = (void *)bh->b_data + offset;
	u32 limit = le16_to_cpu(counts[0]), count = le16_to_cpu(counts[1]), size = bh->b_size, csum;
	__le32 *tail, none = 0;

	/* Eight bytes for each entry, and for the tail. */
	if (count > limit || offset + 8 * limit + 8 > size)
		return false;
	tail = (void *)counts + 8 * limit;
	csum = ext4_chksum(EXT4_I(inode)->i_csum_seed, bh->b_data, offset + 8 * count);
	csum = ext4_chksum(csum, tail, sizeof(*tail));
	csum = ext4_chksum(csum, &none, sizeof(none));
	return csum == le32_to_cpu(tail[1]);
}

static bool entries_are_right(struct inode *inode, struct buffer_head *bh)
{
	struct ext4_dir_entry_tail *t = EXT4_DIRENT_TAIL(bh->b_data, bh->b_size);

	if (t->det_reserved_zero1 || le16_to_cpu(t->det_rec_len) != sizeof(*t) ||
	    t->det_reserved_zero2 || t->det_reserved_ft != EXT4_FT_DIR_CSUM)
		return false;
	return ext4_chksum(EXT4_I(inode)->i_csum_seed, bh->b_data, (char *)t - bh->b_data) ==
	       le32_to_cpu(t->det_checksum);
}

/* Whether block n of a directory is what was written, where checksums say so. */
int ldiskfs_dir_check(struct dentry *node, struct buffer_head *bh, u32 n)
{
	struct inode *inode = d_inode(node);
	struct ext4_dir_entry_2 *first = (void *)bh->b_data;
	bool right;

	if (!ext4_has_feature_metadata_csum(inode->i_sb) || buffer_verified(bh))
		return 0;
	if (!ext4_test_inode_flag(inode, EXT4_INODE_INDEX))
		right = entries_are_right(inode, bh);
	else if (n == 0)
		right = index_is_right(inode, bh, 32);
	else if (!first->inode &&
		 ext4_rec_len_from_disk(first->rec_len, bh->b_size) == bh->b_size)
		right = index_is_right(inode, bh, 8);
	else
		right = entries_are_right(inode, bh);
	if (!right) {
		pr_err_ratelimited("%s: directory inode %llu, block %u (%llu on the device): wrong checksum\n",
				   inode->i_sb->s_id, (u64)inode->i_ino, n, (u64)bh->b_blocknr);
		return -EUCLEAN;
	}
	set_buffer_verified(bh);
	return 0;
}
