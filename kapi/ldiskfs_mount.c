// SPDX-License-Identifier: GPL-2.0
/* Mounting, the superblock, and waiting for commits. */
#include <linux/file.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/statfs.h>

#include "ldiskfs_internal.h"

static LIST_HEAD(mounts);
static DEFINE_SPINLOCK(mounts_lock);

struct ldiskfs_mount *ldiskfs_mount_of_journal(journal_t *journal)
{
	struct ldiskfs_mount *m, *found = NULL;

	spin_lock(&mounts_lock);
	list_for_each_entry(m, &mounts, link) {
		if (m->journal == journal) {
			found = m;
			break;
		}
	}
	spin_unlock(&mounts_lock);
	return found;
}

struct ldiskfs_mount *ldiskfs_mount_of(struct super_block *sb)
{
	return ldiskfs_mount_of_journal(EXT4_SB(sb)->s_journal);
}

/*
 * Runs in the journal's thread once the commit record is on disk. The mount is still listed:
 * umount takes it off the list only after the last commit.
 */
static void commit_callback(journal_t *journal, transaction_t *txn)
{
	struct ldiskfs_mount *m = ldiskfs_mount_of_journal(journal);

	if (!m)
		return;
	m->ext4_commit(journal, txn);
	m->commit(m->data, txn->t_tid, is_journal_aborted(journal));
	/* Pairs with wait_called(): who sees the number sees what the callbacks did. */
	smp_store_release(&m->called, txn->t_tid);
	wake_up_all(&m->called_wait);
}

static bool was_called(struct ldiskfs_mount *m, tid_t tid)
{
	/* Pairs with commit_callback(). A journal that gave up may never come to it. */
	return tid_geq(smp_load_acquire(&m->called), tid) || is_journal_aborted(m->journal);
}

/* The journal may wake up who waits for a commit before it calls back: wait for the rest, too. */
static int wait_called(struct ldiskfs_mount *m, tid_t tid)
{
	wait_event(m->called_wait, was_called(m, tid));
	return is_journal_aborted(m->journal) ? -EIO : 0;
}

static void copy_super(struct ldiskfs_super *out, const struct ext4_super_block *es)
{
	int i;

	memset(out, 0, sizeof(*out));
	out->magic = le16_to_cpu(es->s_magic);
	out->compat = le32_to_cpu(es->s_feature_compat);
	out->incompat = le32_to_cpu(es->s_feature_incompat);
	out->ro_compat = le32_to_cpu(es->s_feature_ro_compat);
	out->block_size = 1024U << min_t(u32, le32_to_cpu(es->s_log_block_size), 6);
	out->inode_size = le16_to_cpu(es->s_inode_size);
	out->flags = le32_to_cpu(es->s_flags);
	for (i = 0; i < 4; i++)
		out->hash_seed[i] = le32_to_cpu(es->s_hash_seed[i]);
	out->def_hash_version = es->s_def_hash_version;
	memcpy(out->uuid, es->s_uuid, sizeof(out->uuid));
	memcpy(out->label, es->s_volume_name, sizeof(out->label));
}

/* Reads the superblock of a device that is not mounted: ext4 would only say "unsupported". */
int ldiskfs_probe(const char *path, struct ldiskfs_super *out)
{
	struct ext4_super_block *es;
	struct file *file;
	loff_t pos = 1024;
	ssize_t n;

	file = filp_open(path, O_RDONLY | O_LARGEFILE, 0);
	if (IS_ERR(file))
		return PTR_ERR(file);
	es = kmalloc_obj(*es);
	if (!es) {
		filp_close(file, NULL);
		return -ENOMEM;
	}
	n = kernel_read(file, es, sizeof(*es), &pos);
	if (n == sizeof(*es)) {
		copy_super(out, es);
		n = 0;
	} else if (n >= 0) {
		n = -EIO;
	}
	kfree(es);
	filp_close(file, NULL);
	return n;
}

int ldiskfs_mount(const char *path, const char *options, bool readonly, ldiskfs_commit_t commit,
		  void *data, struct ldiskfs_mount **out)
{
	struct file_system_type *type;
	struct ldiskfs_mount *m;
	struct vfsmount *mnt;
	char *opts;
	int err;

	type = get_fs_type("ext4");
	if (!type)
		return -ENODEV;
	m = kzalloc_obj(*m);
	opts = kstrdup(options, GFP_KERNEL);	/* the parser cuts it to pieces */
	if (!m || !opts) {
		err = -ENOMEM;
		goto free;
	}
	/* An internal mount: its last mntput() unmounts then and there. */
	mnt = vfs_kern_mount(type, SB_KERNMOUNT | (readonly ? SB_RDONLY : 0), path, opts);
	if (IS_ERR(mnt)) {
		err = PTR_ERR(mnt);
		goto free;
	}
	m->mnt = mnt;
	m->sb = mnt->mnt_sb;
	m->journal = EXT4_SB(m->sb)->s_journal;
	m->commit = commit;
	m->data = data;
	init_llist_head(&m->late);
	INIT_WORK(&m->late_work, ldiskfs_late_puts);
	init_waitqueue_head(&m->called_wait);
	if (atomic_read(&m->sb->s_active) != 1) {
		err = -EBUSY;		/* somebody else has it mounted */
		goto unmount;
	}
	if (!m->journal || !m->journal->j_inode || ext4_has_feature_fast_commit(m->sb)) {
		err = -EINVAL;
		goto unmount;
	}
	if (sb_rdonly(m->sb) && !readonly) {
		err = -EROFS;
		goto unmount;
	}
	/*
	 * The version in the inode is a transaction number here, and default ACLs are
	 * inherited by the layer that knows what the client asked for: take both from ext4.
	 */
	m->sb->s_flags &= ~(SB_I_VERSION | SB_POSIXACL);

	spin_lock(&mounts_lock);
	list_add(&m->link, &mounts);
	spin_unlock(&mounts_lock);
	/* The journal's own inode is a plain file in ordered mode. */
	m->ordered = m->journal->j_inode->i_mapping->a_ops;
	m->ext4_commit = m->journal->j_commit_callback;
	/* The commit thread has this lock when it counts, and reads the pointer after that. */
	write_lock(&m->journal->j_state_lock);
	m->called = m->journal->j_commit_sequence;
	WRITE_ONCE(m->journal->j_commit_callback, commit_callback);
	write_unlock(&m->journal->j_state_lock);
	ldiskfs_values_begin(m);
	kfree(opts);
	module_put(type->owner);
	*out = m;
	return 0;

unmount:
	kern_unmount(mnt);
free:
	kfree(opts);
	kfree(m);
	module_put(type->owner);
	return err;
}

void ldiskfs_flush_iput(struct ldiskfs_mount *m)
{
	flush_work(&m->late_work);
}

void ldiskfs_umount(struct ldiskfs_mount *m)
{
	flush_work(&m->late_work);
	ldiskfs_values_end(m);
	/* Everything that has a callback is committed before the callback is taken away. */
	down_read(&m->sb->s_umount);
	sync_filesystem(m->sb);
	up_read(&m->sb->s_umount);
	jbd2_journal_force_commit(m->journal);
	/* Pairs with the commit thread, which reads the pointer once a commit. */
	smp_store_release(&m->journal->j_commit_callback, m->ext4_commit);
	/* A commit that read the old pointer ends before this one does. */
	jbd2_journal_lock_updates(m->journal);
	jbd2_journal_flush(m->journal, 0);
	jbd2_journal_unlock_updates(m->journal);
	spin_lock(&mounts_lock);
	list_del(&m->link);
	spin_unlock(&mounts_lock);
	kern_unmount(m->mnt);
	kfree(m);
}

void ldiskfs_super_of(struct ldiskfs_mount *m, struct ldiskfs_super *out)
{
	copy_super(out, EXT4_SB(m->sb)->s_es);
	/* Whether characters count as signed in hashes is settled at mount. */
	out->hash_unsigned = EXT4_SB(m->sb)->s_hash_unsigned;
}

int ldiskfs_statfs(struct ldiskfs_mount *m, struct ldiskfs_statfs *out)
{
	struct kstatfs st;
	int err;

	err = m->sb->s_op->statfs(m->sb->s_root, &st);
	if (err)
		return err;
	memset(out, 0, sizeof(*out));
	out->blocks = st.f_blocks;
	out->bfree = st.f_bfree;
	out->bavail = st.f_bavail;
	out->files = st.f_files;
	out->ffree = st.f_ffree;
	out->bsize = st.f_bsize;
	out->namelen = st.f_namelen;
	/* ext4 notices that the journal gave up only when it uses it next. */
	out->readonly = sb_rdonly(m->sb) || ext4_emergency_state(m->sb) ||
			is_journal_aborted(m->journal);
	return 0;
}

int ldiskfs_sync(struct ldiskfs_mount *m)
{
	int err;

	down_read(&m->sb->s_umount);
	err = sync_filesystem(m->sb);
	up_read(&m->sb->s_umount);
	if (!err)
		err = jbd2_journal_force_commit(m->journal);
	if (err < 0)
		return err;
	return wait_called(m, READ_ONCE(m->journal->j_commit_sequence));
}

/* One of ext4's ioctls on its root directory, for a process that may do so. */
long ldiskfs_ioctl(struct ldiskfs_mount *m, unsigned int cmd, unsigned long arg)
{
	struct path root = { .mnt = m->mnt, .dentry = m->mnt->mnt_root };
	struct file *file = dentry_open(&root, O_RDONLY | O_DIRECTORY, current_cred());
	long rc = -ENOTTY;

	if (IS_ERR(file))
		return PTR_ERR(file);
	if (file->f_op->unlocked_ioctl)
		rc = file->f_op->unlocked_ioctl(file, cmd, arg);
	/* Now, not when the process leaves the kernel: the unmount waits for nobody. */
	__fput_sync(file);
	return rc;
}

/* Starts a commit of the running transaction without waiting for it. */
int ldiskfs_start_commit(struct ldiskfs_mount *m)
{
	tid_t tid;

	return jbd2_journal_start_commit(m->journal, &tid);
}

int ldiskfs_wait_commit(struct ldiskfs_mount *m, u32 tid)
{
	int err = jbd2_complete_transaction(m->journal, tid);

	return err ? err : wait_called(m, tid);
}
