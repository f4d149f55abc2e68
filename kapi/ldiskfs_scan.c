// SPDX-License-Identifier: GPL-2.0
/* Which inodes are in use. */
#include <linux/buffer_head.h>

#include "ldiskfs_internal.h"

static struct ext4_group_desc *group_desc(struct super_block *sb, u32 group)
{
	u32 per_block = EXT4_DESC_PER_BLOCK(sb);
	struct buffer_head *bh = sbi_array_rcu_deref(EXT4_SB(sb), s_group_desc, group / per_block);

	return bh ? (void *)bh->b_data + group % per_block * EXT4_DESC_SIZE(sb) : NULL;
}

static bool is_wide(struct super_block *sb)
{
	return EXT4_DESC_SIZE(sb) >= EXT4_MIN_DESC_SIZE_64BIT;
}

/*
 * Moves *ino to the first inode in use from there on, those of ext4 itself left out. -ENOENT: there
 * is none. -EIO: it is not known which are, up to *ino. Who asks looks at the inode itself.
 */
int ldiskfs_next_inode(struct ldiskfs_mount *m, u64 *ino)
{
	struct super_block *sb = m->sb;
	struct ext4_sb_info *sbi = EXT4_SB(sb);
	u32 per = sbi->s_inodes_per_group;
	u64 at = max_t(u64, *ino, EXT4_FIRST_INO(sb)) - 1, group;

	for (group = at / per; group < sbi->s_groups_count; group++, at = group * per) {
		struct ext4_group_desc *gd = group_desc(sb, group);
		struct buffer_head *bh;
		u32 bit, count, unused;
		u64 block;

		*ino = (group + 1) * per + 1;
		if (!gd)
			return -EIO;
		if (gd->bg_flags & cpu_to_le16(EXT4_BG_INODE_UNINIT))
			continue;
		block = le32_to_cpu(gd->bg_inode_bitmap_lo);
		unused = le16_to_cpu(gd->bg_itable_unused_lo);
		if (is_wide(sb)) {
			block |= (u64)le32_to_cpu(gd->bg_inode_bitmap_hi) << 32;
			unused |= (u32)le16_to_cpu(gd->bg_itable_unused_hi) << 16;
		}
		if (!ext4_has_group_desc_csum(sb))
			unused = 0;
		count = per - min(unused, per);
		bh = sb_bread(sb, block);
		if (!bh)
			return -EIO;
		bit = find_next_bit_le(bh->b_data, count, at % per);
		brelse(bh);
		if (bit < count) {
			*ino = group * per + bit + 1;
			return 0;
		}
		cond_resched();
	}
	return -ENOENT;
}
