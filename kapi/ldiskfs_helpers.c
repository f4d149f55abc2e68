// SPDX-License-Identifier: GPL-2.0
/*
 * The C half of kapi/ldiskfs.rs: what needs ext4's private headers or inline functions.
 *
 * A "node" is a dentry that has an inode. It is never hashed, so that the dcache knows nothing
 * of names: those of a target change under our own rules, and nobody else looks them up.
 */
#include <linux/buffer_head.h>
#include <linux/bvec.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/exportfs.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/iversion.h>
#include <linux/jbd2.h>
#include <linux/llist.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/posix_acl_xattr.h>
#include <linux/quotaops.h>
#include <linux/statfs.h>
#include <linux/uio.h>
#include <linux/workqueue.h>
#include <linux/xattr.h>

#include "ext4.h"
#include "ext4_jbd2.h"
#include "xattr.h"

#include "ldiskfs_helpers.h"

/* An unlinked inode of more 512-byte blocks than this is freed by the worker, not by its caller. */
#define BIG_INODE_BLOCKS 16384
/* Revoke records for the xattr blocks and tree blocks that one transaction may free. */
#define REVOKE_CREDITS 256

struct ldiskfs_mount {
	struct list_head link;
	struct vfsmount *mnt;
	struct super_block *sb;
	journal_t *journal;
	void (*ext4_commit)(journal_t *journal, transaction_t *txn);
	ldiskfs_commit_t commit;
	void *data;
	/* The last transaction whose callbacks have been called, and who waits for that. */
	tid_t called;
	wait_queue_head_t called_wait;
	const struct address_space_operations *ordered;
	struct llist_head late;
	struct work_struct late_work;
};

struct late_put {
	struct llist_node link;
	struct dentry *node;
};

static LIST_HEAD(mounts);
static DEFINE_SPINLOCK(mounts_lock);

static struct ldiskfs_mount *mount_of_journal(journal_t *journal)
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

static struct ldiskfs_mount *mount_of_sb(struct super_block *sb)
{
	return mount_of_journal(EXT4_SB(sb)->s_journal);
}

/*
 * Runs in the journal's thread once the commit record is on disk. The mount is still listed:
 * umount takes it off the list only after the last commit.
 */
static void commit_callback(journal_t *journal, transaction_t *txn)
{
	struct ldiskfs_mount *m = mount_of_journal(journal);

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

static void late_puts(struct work_struct *work)
{
	struct ldiskfs_mount *m = container_of(work, struct ldiskfs_mount, late_work);
	struct late_put *p, *next;

	llist_for_each_entry_safe(p, next, llist_del_all(&m->late), link) {
		dput(p->node);
		kfree(p);
	}
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
	INIT_WORK(&m->late_work, late_puts);
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
	out->readonly = sb_rdonly(m->sb) || ext4_emergency_state(m->sb);
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

/* ---- nodes ---- */

/* What the VFS would do by these flags is the business of the layers above, or of clients. */
static void tame(struct inode *inode)
{
	spin_lock(&inode->i_lock);
	inode->i_flags &= ~(S_IMMUTABLE | S_APPEND | S_ENCRYPTED | S_SYNC | S_DIRSYNC);
	inode->i_flags |= S_NOSEC | S_NOATIME | S_NOCMTIME;
	spin_unlock(&inode->i_lock);
}

/* Takes over the reference to the inode. */
static struct dentry *node_of(struct inode *inode)
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
	return node_of(inode);
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
	return node_of(inode);
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
	m = mount_of_sb(node->d_sb);
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

/* ---- transactions ---- */

/* What ext4 wants to see left in a handle before it sets an xattr of len bytes. */
static u32 xattr_credits(struct super_block *sb, u32 len, bool create)
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
		return xattr_credits(sb, len, false);
	case LDISKFS_CREDITS_XATTR_NEW:
		return xattr_credits(sb, len, true);
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

void *ldiskfs_start(struct ldiskfs_mount *m, u32 credits)
{
	handle_t *handle;

	if (sb_rdonly(m->sb) || is_journal_aborted(m->journal) || ext4_emergency_state(m->sb))
		return ERR_PTR(-EROFS);
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

/* ---- directories ---- */

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
	return node_of(inode);
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
	return node_of(inode);
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

/* ---- attributes ---- */

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

/* What ext4 changes with the size or the blocks of a file, and the layers above own. */
struct stamps {
	struct timespec64 mtime;
	struct timespec64 ctime;
	u64 version;
};

static struct stamps save_stamps(struct inode *inode)
{
	return (struct stamps){
		.mtime = inode_get_mtime(inode),
		.ctime = inode_get_ctime(inode),
		.version = inode_peek_iversion(inode),
	};
}

static void restore_stamps(struct inode *inode, const struct stamps *s)
{
	inode_set_mtime_to_ts(inode, s->mtime);
	inode_set_ctime_to_ts(inode, s->ctime);
	inode_set_iversion(inode, s->version);
	inode->i_sb->s_op->dirty_inode(inode, I_DIRTY_SYNC);
}

/* Outside handles, under the inode's lock. */
int ldiskfs_truncate(struct dentry *node, u64 size)
{
	struct inode *inode = d_inode(node);
	struct stamps stamps = save_stamps(inode);
	struct iattr attr = {
		.ia_valid = ATTR_SIZE | ATTR_FORCE,
		.ia_size = size,
	};
	int err;

	if (size > inode->i_sb->s_maxbytes)
		return -EFBIG;
	err = inode->i_op->setattr(&nop_mnt_idmap, node, &attr);
	restore_stamps(inode, &stamps);
	return err;
}

/* ---- extended attributes ---- */

static int acl_type(const char *name)
{
	if (!strcmp(name, XATTR_NAME_POSIX_ACL_ACCESS))
		return ACL_TYPE_ACCESS;
	if (!strcmp(name, XATTR_NAME_POSIX_ACL_DEFAULT))
		return ACL_TYPE_DEFAULT;
	return -1;
}

s64 ldiskfs_getxattr(struct dentry *node, const char *name, void *buf, u64 len)
{
	struct inode *inode = d_inode(node);
	int type = acl_type(name);
	struct posix_acl *acl;
	void *value;
	size_t size;
	s64 n;

	if (type < 0)
		return __vfs_getxattr(node, inode, name, buf, len);
	if (!inode->i_op->get_inode_acl)
		return -EOPNOTSUPP;
	acl = inode->i_op->get_inode_acl(inode, type, false);
	if (IS_ERR(acl))
		return PTR_ERR(acl);
	if (!acl)
		return -ENODATA;
	value = posix_acl_to_xattr(&init_user_ns, acl, &size, GFP_NOFS);
	posix_acl_release(acl);
	if (!value)
		return -ENOMEM;
	if (!buf)
		n = size;
	else if (size > len)
		n = -ERANGE;
	else
		n = size;
	if (n > 0 && buf)
		memcpy(buf, value, n);
	kfree(value);
	return n;
}

/* A null buffer removes it. */
int ldiskfs_setxattr(struct dentry *node, const char *name, const void *buf, u64 len, int flags)
{
	struct inode *inode = d_inode(node);
	int type = acl_type(name);
	struct posix_acl *acl = NULL;
	umode_t mode = inode->i_mode;
	int err;

	if (type < 0) {
		if (buf)
			return __vfs_setxattr(&nop_mnt_idmap, node, inode, name, buf, len, flags);
		return __vfs_removexattr(&nop_mnt_idmap, node, name);
	}
	if (!inode->i_op->set_acl)
		return -EOPNOTSUPP;
	if (buf && len) {
		acl = posix_acl_from_xattr(&init_user_ns, buf, len);
		if (IS_ERR(acl))
			return PTR_ERR(acl);
		if (acl && posix_acl_valid(&init_user_ns, acl)) {
			posix_acl_release(acl);
			return -EINVAL;
		}
	}
	err = inode->i_op->set_acl(&nop_mnt_idmap, node, acl, type);
	posix_acl_release(acl);
	/* ext4 derives the mode from the ACL; whoever sets the ACL sets the mode, too. */
	inode->i_mode = mode;
	return err;
}

s64 ldiskfs_listxattr(struct dentry *node, char *buf, u64 len)
{
	struct inode *inode = d_inode(node);

	if (!inode->i_op->listxattr)
		return 0;
	return inode->i_op->listxattr(node, buf, len);
}

/* ---- blocks of files that are written through the journal ---- */

/*
 * Keeps the inode's block mapping as it is, and copies its root, 60 bytes. Returns whether that is an
 * extent tree. bmap() would take the inode's lock, which those who ask have, and says nothing of what
 * is allocated and not written.
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
	struct kiocb iocb = { .ki_pos = pos };
	struct buffer_head *bh;
	struct folio *folio;
	void *fsdata = NULL;
	bool locked;
	int err;

	if (size <= pos || !EXT4_I(inode)->jinode)
		return -EINVAL;
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

/* ---- bulk data ---- */

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
	struct stamps stamps = save_stamps(file_inode(file));
	int err;

	err = vfs_fallocate(file, mode, off, len);
	restore_stamps(file_inode(file), &stamps);
	return err;
}

s64 ldiskfs_seek(struct file *file, u64 off, u32 whence)
{
	return vfs_llseek(file, off, whence);
}

/* ---- quota ---- */

static int make_qid(u32 type, u32 id, struct kqid *qid)
{
	if (type >= EXT4_MAXQUOTAS)
		return -EINVAL;
	*qid = make_kqid(&init_user_ns, type, id);
	return qid_valid(*qid) ? 0 : -EINVAL;
}

/* Keeps the usage record of an id in memory. Null if that kind of quota is off. */
void *ldiskfs_dqget(struct ldiskfs_mount *m, u32 type, u32 id)
{
	struct dquot *dquot;
	struct kqid qid;
	int err = make_qid(type, id, &qid);

	if (err)
		return ERR_PTR(err);
	dquot = dqget(m->sb, qid);
	if (IS_ERR(dquot) && PTR_ERR(dquot) == -ESRCH)
		return NULL;
	return dquot;
}

void ldiskfs_dqput(void *dquot)
{
	dqput(dquot);
}

int ldiskfs_get_dqblk(struct ldiskfs_mount *m, u32 type, u32 id, u64 *space, u64 *inodes)
{
	struct qc_dqblk q;
	struct kqid qid;
	int err = make_qid(type, id, &qid);

	if (err)
		return err;
	if (!sb_has_quota_usage_enabled(m->sb, type))
		return -EOPNOTSUPP;
	err = m->sb->s_qcop->get_dqblk(m->sb, qid, &q);
	if (err)
		return err;
	*space = q.d_space;
	*inodes = q.d_ino_count;
	return 0;
}

/* The first id that has a record, from *id on; -ENOENT behind the last. */
int ldiskfs_next_dqid(struct ldiskfs_mount *m, u32 type, u32 *id)
{
	struct qc_dqblk q;
	struct kqid qid;
	int err = make_qid(type, *id, &qid);

	if (err)
		return err;
	if (!sb_has_quota_usage_enabled(m->sb, type))
		return -EOPNOTSUPP;
	err = m->sb->s_qcop->get_nextdqblk(m->sb, &qid, &q);
	if (!err)
		*id = from_kqid(&init_user_ns, qid);
	return err;
}
