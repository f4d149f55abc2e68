// SPDX-License-Identifier: GPL-2.0
/* Transactions. */
#include <linux/fs.h>

#include "ldiskfs_internal.h"

/* Revoke records for the xattr blocks and tree blocks that one transaction may free. */
#define REVOKE_CREDITS 256

/* What ext4 wants to see left in a handle before it sets an xattr of len bytes, and what follows. */
u32 ldiskfs_xattr_credits(struct super_block *sb, u32 len, bool create)
{
	u32 blocks, credits = 7 + EXT4_MAXQUOTAS_TRANS_BLOCKS(sb);

	if (!ext4_has_feature_ea_inode(sb))
		return credits;
	/* An inode for the value, its blocks and one of mapping; for each a bitmap, a group. */
	blocks = DIV_ROUND_UP(len, sb->s_blocksize) + 1;
	credits += 4 + 3 * blocks;
	if (!create) {
		/* The inode that held the old value, of any length. */
		blocks = (XATTR_SIZE_MAX >> sb->s_blocksize_bits) + 1;
		credits += 4 + 2 * blocks;
	}
	/* It may be made and dropped again. */
	if (ldiskfs_is_large_value(sb, len))
		credits += ldiskfs_free_credits(sb, len);
	/* A shared xattr block that has to be cloned takes its values along. */
	return credits + 2;
}

u32 ldiskfs_credits(struct ldiskfs_mount *m, u32 kind, u32 len)
{
	struct super_block *sb = m->sb;
	u32 entry = EXT4_DATA_TRANS_BLOCKS(sb) + EXT4_INDEX_EXTRA_TRANS_BLOCKS;

	switch (kind) {
	case LDISKFS_CREDITS_CREATE:
		return entry + 3;
	case LDISKFS_CREDITS_LINK:
		return entry + 1;
	case LDISKFS_CREDITS_UNLINK:
		return EXT4_DATA_TRANS_BLOCKS(sb) + 1;
	case LDISKFS_CREDITS_RENAME:
		return 2 * EXT4_DATA_TRANS_BLOCKS(sb) + EXT4_INDEX_EXTRA_TRANS_BLOCKS + 2;
	case LDISKFS_CREDITS_XATTR:
		return ldiskfs_xattr_credits(sb, len, false);
	case LDISKFS_CREDITS_XATTR_NEW:
		return ldiskfs_xattr_credits(sb, len, true);
	case LDISKFS_CREDITS_ATTR:
		/* The inode, and a block of usage for the old and new owner of each kind. */
		return 2 + 2 * EXT4_MAXQUOTAS;
	case LDISKFS_CREDITS_BLOCK:
		return 1;
	case LDISKFS_CREDITS_APPEND:
		/* Bitmap, group descriptor, three levels of mapping, inode, orphan, usage. */
		return 10 + EXT4_MAXQUOTAS;
	case LDISKFS_CREDITS_MAX:
		/* One handle may fill three quarters of a transaction. */
		return (m->journal->j_max_transaction_buffers -
			m->journal->j_transaction_overhead_buffers) / 4 * 3;
	}
	return 0;
}

/*
 * What ext4 wants to be left in a handle when it maps a block, whatever that takes in the end: a tree of all
 * levels that splits, in a group for each block. With less, and no way to get more as a commit is on its way,
 * its write_begin() would try again for ever.
 */
u32 ldiskfs_map_reserve(struct super_block *sb)
{
	u32 index = 2 * EXT4_MAX_EXTENT_DEPTH + 1, groups = index + 1;

	return index + min_t(u32, groups, ext4_get_groups_count(sb)) +
	       min_t(u32, groups, EXT4_SB(sb)->s_gdb_count) + EXT4_META_TRANS_BLOCKS(sb);
}

void *ldiskfs_start(struct ldiskfs_mount *m, u32 credits)
{
	handle_t *handle;

	if (sb_rdonly(m->sb) || is_journal_aborted(m->journal) || ext4_emergency_state(m->sb))
		return ERR_PTR(-EROFS);
	credits += ldiskfs_map_reserve(m->sb);
	handle = jbd2__journal_start(m->journal, credits, 0, REVOKE_CREDITS, GFP_NOFS,
				     EXT4_HT_MISC, __LINE__);
	return handle;
}

int ldiskfs_stop(struct ldiskfs_mount *m, void *handle)
{
	return jbd2_journal_stop(handle);
}

u32 ldiskfs_tid(void *handle)
{
	return ((handle_t *)handle)->h_transaction->t_tid;
}

int ldiskfs_credits_left(void *handle)
{
	return jbd2_handle_buffer_credits(handle);
}

bool ldiskfs_in_handle(void)
{
	return current->journal_info;
}

void ldiskfs_freeze_enter(struct ldiskfs_mount *m)
{
	sb_start_write(m->sb);
}

void ldiskfs_freeze_leave(struct ldiskfs_mount *m)
{
	sb_end_write(m->sb);
}
