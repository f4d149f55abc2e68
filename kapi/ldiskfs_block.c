// SPDX-License-Identifier: GPL-2.0
/* Blocks of files that are written through the journal. */
#include <linux/buffer_head.h>
#include <linux/lockdep.h>
#include <linux/pagemap.h>

#include "ldiskfs_internal.h"

/*
 * Says that the content of an inode is written block by block. When there is no room for a block,
 * ext4 takes the lock against page faults and holes inside our handle; for other files that lock
 * comes before handles. Nobody makes holes here, but lockdep has to be told.
 */
void ldiskfs_own_blocks(struct dentry *node)
{
	static struct lock_class_key key;

	lockdep_set_class(&d_inode(node)->i_mapping->invalidate_lock, &key);
}

/*
 * Keeps the inode's block mapping as it is, and copies its root, 60 bytes. Returns whether that is
 * an extent tree. bmap() would take the inode's lock, which those who ask have, and says nothing
 * of what is allocated and not written.
 */
int ldiskfs_map_lock(struct dentry *node, void *out)
{
	struct inode *inode = d_inode(node);

	if (ext4_has_inline_data(inode))
		return -EOPNOTSUPP;
	down_read(&EXT4_I(inode)->i_data_sem);
	memcpy(out, EXT4_I(inode)->i_data, sizeof(EXT4_I(inode)->i_data));
	return ext4_test_inode_flag(inode, EXT4_INODE_EXTENTS) ? 1 : 0;
}

void ldiskfs_map_unlock(struct dentry *node)
{
	up_read(&EXT4_I(d_inode(node))->i_data_sem);
}

/*
 * Maps a new block and makes the file end at size, in the running handle. ext4's way to map a
 * block is a write of the page; the page is dropped before anybody writes it out, and what the
 * block holds is up to the buffer of the device that the caller journals. So the page goes
 * through the operations of ordered mode, whatever the mode of the file is.
 */
int ldiskfs_append(struct ldiskfs_mount *m, struct dentry *node, u64 block, u64 size, u64 *phys)
{
	struct inode *inode = d_inode(node);
	struct address_space *mapping = inode->i_mapping;
	bool journalled = ext4_test_inode_flag(inode, EXT4_INODE_JOURNAL_DATA);
	u32 bs = inode->i_sb->s_blocksize, len, skip;
	loff_t pos = block << inode->i_blkbits;
	handle_t *handle = journal_current_handle();
	int missing;
	struct kiocb iocb = { .ki_pos = pos };
	struct buffer_head *bh;
	struct folio *folio;
	void *fsdata = NULL;
	bool locked;
	int err;

	if (size <= pos || !EXT4_I(inode)->jinode || !handle)
		return -EINVAL;
	missing = ldiskfs_map_reserve(inode->i_sb) - jbd2_handle_buffer_credits(handle);
	if (missing > 0 && jbd2_journal_extend(handle, missing, 0))
		return -ENOSPC;
	len = min_t(u64, bs, size - pos);
	*phys = 0;
	/* Free, as nobody reads or writes such files but us, or ours since the file was made. */
	locked = inode_trylock(inode);
	ext4_clear_inode_flag(inode, EXT4_INODE_JOURNAL_DATA);
	err = m->ordered->write_begin(&iocb, mapping, pos, len, &folio, &fsdata);
	if (err)
		goto out;
	folio_zero_range(folio, offset_in_folio(folio, pos), len);
	bh = folio_buffers(folio);
	for (skip = offset_in_folio(folio, pos) / bs; bh && skip; skip--)
		bh = bh->b_this_page;
	if (bh && buffer_mapped(bh))
		*phys = bh->b_blocknr;
	err = m->ordered->write_end(&iocb, mapping, pos, len, len, folio, fsdata);
	truncate_inode_pages_range(mapping, round_down(pos, PAGE_SIZE),
				   round_down(pos, PAGE_SIZE) + PAGE_SIZE - 1);
out:
	if (journalled) {
		ext4_set_inode_flag(inode, EXT4_INODE_JOURNAL_DATA);
		inode->i_sb->s_op->dirty_inode(inode, I_DIRTY_SYNC);
	}
	if (locked)
		inode_unlock(inode);
	if (err < 0)
		return err;
	return *phys ? 0 : -EIO;
}

/* Moves the end of a file of which the last block is mapped already; see ldiskfs_dirty(). */
void ldiskfs_set_size(struct dentry *node, u64 size)
{
	struct inode *inode = d_inode(node);

	down_write(&EXT4_I(inode)->i_data_sem);
	i_size_write(inode, size);
	EXT4_I(inode)->i_disksize = size;
	up_write(&EXT4_I(inode)->i_data_sem);
}

struct buffer_head *ldiskfs_bread(struct ldiskfs_mount *m, u64 phys)
{
	struct buffer_head *bh = sb_bread(m->sb, phys);

	return bh ? bh : ERR_PTR(-EIO);
}

/* The buffer of a block that was just mapped: zeroes, in the handle. */
struct buffer_head *ldiskfs_bnew(struct ldiskfs_mount *m, void *handle, u64 phys, int *err)
{
	struct buffer_head *bh = sb_getblk(m->sb, phys);

	if (!bh) {
		*err = -ENOMEM;
		return NULL;
	}
	lock_buffer(bh);
	*err = jbd2_journal_get_create_access(handle, bh);
	if (*err) {
		unlock_buffer(bh);
		brelse(bh);
		return NULL;
	}
	memset(bh->b_data, 0, bh->b_size);
	set_buffer_uptodate(bh);
	unlock_buffer(bh);
	return bh;
}

/*
 * The block goes with its file. ext4 finds and forgets buffers of the device only for what it calls
 * metadata: without this the buffer would be written out at a checkpoint, over whatever the block
 * holds by then. If the transaction does not commit, it is as if nothing had been said.
 */
int ldiskfs_forget(struct ldiskfs_mount *m, void *handle, u64 phys)
{
	struct buffer_head *bh = sb_find_get_block_nonatomic(m->sb, phys);

	if (!bh)
		return 0;
	if (is_handle_aborted(handle)) {
		brelse(bh);
		return -EROFS;
	}
	return jbd2_journal_forget(handle, bh);
}

void ldiskfs_brelse(struct buffer_head *bh)
{
	brelse(bh);
}

void *ldiskfs_bdata(struct buffer_head *bh)
{
	return bh->b_data;
}

int ldiskfs_write_access(void *handle, struct buffer_head *bh)
{
	return jbd2_journal_get_write_access(handle, bh);
}

int ldiskfs_dirty_metadata(void *handle, struct buffer_head *bh)
{
	set_buffer_meta(bh);
	set_buffer_prio(bh);
	return jbd2_journal_dirty_metadata(handle, bh);
}
