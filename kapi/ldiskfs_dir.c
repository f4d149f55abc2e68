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

struct dentry *ldiskfs_create(struct dentry *dir, const char *name, u32 len, u32 mode, u32 rdev,
			      const char *target)
{
	struct inode *parent = d_inode(dir), *inode;
	const struct inode_operations *op = parent->i_op;
	struct dentry *d, *made;
	int err = 0;

	if (!op->create)
		return ERR_PTR(-ENOTDIR);
	d = name_in(dir, name, len);
	if (IS_ERR(d))
		return d;
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
	struct inode *inode;
	struct file *file;

	file = kernel_tmpfile_open(&nop_mnt_idmap, &path, mode, O_RDWR | O_LARGEFILE,
				   current_cred());
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
