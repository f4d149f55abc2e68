// SPDX-License-Identifier: GPL-2.0
/* Bulk data. */
#include <linux/bvec.h>
#include <linux/cred.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/mount.h>
#include <linux/uio.h>

#include "ldiskfs_internal.h"

struct file *ldiskfs_open(struct ldiskfs_mount *m, struct dentry *node)
{
	struct path path = { .mnt = m->mnt, .dentry = node };
	int flags = sb_rdonly(m->sb) ? O_RDONLY : O_RDWR;
	struct file *file;

	file = dentry_open(&path, flags | O_LARGEFILE | O_NOATIME, current_cred());
	if (!IS_ERR(file))
		file->f_mode |= FMODE_NOCMTIME;
	return file;
}

void ldiskfs_close(struct file *file)
{
	__fput_sync(file);
}

s64 ldiskfs_rw(struct file *file, struct bio_vec *bv, u32 nr, u64 len, u64 pos, bool write,
	       bool direct)
{
	struct iov_iter iter;
	struct kiocb iocb;
	s64 n;

	init_sync_kiocb(&iocb, file);
	iocb.ki_pos = pos;
	if (direct)
		iocb.ki_flags |= IOCB_DIRECT;
	iov_iter_bvec(&iter, write ? ITER_SOURCE : ITER_DEST, bv, nr, len);
	if (write)
		n = vfs_iocb_iter_write(file, &iocb, &iter);
	else
		n = vfs_iocb_iter_read(file, &iocb, &iter);
	return n;
}

int ldiskfs_flush_range(struct file *file, u64 start, u64 end)
{
	return filemap_write_and_wait_range(file->f_mapping, start, end);
}

int ldiskfs_fallocate(struct file *file, u32 mode, u64 off, u64 len)
{
	struct ldiskfs_stamps stamps = ldiskfs_save_stamps(file_inode(file));
	int err;

	err = vfs_fallocate(file, mode, off, len);
	ldiskfs_restore_stamps(file_inode(file), &stamps);
	return err;
}

s64 ldiskfs_seek(struct file *file, u64 off, u32 whence)
{
	return vfs_llseek(file, off, whence);
}
