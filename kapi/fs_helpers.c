// SPDX-License-Identifier: GPL-2.0
/*
 * Parameters, misc devices and the file system type, see fs_helpers.h.
 */
#include <linux/capability.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "fs_helpers.h"

void lustre_kapi_seq_write(struct seq_file *m, const char *s, size_t len)
{
	seq_write(m, s, len);
}

/* Parameters. */

/* The most that a parameter takes at once. */
#define PARAM_MAX (64 << 10)

/* A parameter, whether or not there is a file of it. */
struct param_entry {
	struct list_head list;
	void *data;
	char path[];
};

/* Protects the three below, and making and removing of directories. */
static DEFINE_MUTEX(params_lock);
static unsigned int params_users;
static struct dentry *params_root;
static LIST_HEAD(params_list);

void lustre_kapi_params_get(void)
{
	mutex_lock(&params_lock);
	if (!params_users++)
		params_root = debugfs_create_dir("lustre", NULL);
	mutex_unlock(&params_lock);
}

void lustre_kapi_params_put(void)
{
	mutex_lock(&params_lock);
	if (!--params_users) {
		debugfs_remove(params_root);
		params_root = NULL;
	}
	mutex_unlock(&params_lock);
}

/*
 * The directory of path, with a reference that the caller puts, or an error. *last is set to the
 * last part of path, which is not looked up, unless it is NULL.
 */
static struct dentry *params_walk(char *path, bool create, char **last)
{
	struct dentry *dir = params_root;
	char *part;

	if (IS_ERR_OR_NULL(dir))
		return dir ?: ERR_PTR(-ENODEV);
	dget(dir);
	while ((part = strsep(&path, "/"))) {
		struct dentry *next;

		if (!*part)
			continue;
		if (!path && last) {
			*last = part;
			return dir;
		}
		next = debugfs_lookup(part, dir);
		if (!next && create) {
			next = debugfs_create_dir(part, dir);
			if (!IS_ERR(next))
				dget(next);
		}
		dput(dir);
		if (IS_ERR_OR_NULL(next))
			return next ?: ERR_PTR(-ENOENT);
		if (!d_is_dir(next)) {
			dput(next);
			return ERR_PTR(-ENOTDIR);
		}
		dir = next;
	}
	if (last) {
		dput(dir);
		return ERR_PTR(-EINVAL);
	}
	return dir;
}

int lustre_kapi_params_mkdir(const char *path)
{
	char *copy = kstrdup(path, GFP_KERNEL);
	struct dentry *dir;

	if (!copy)
		return -ENOMEM;
	mutex_lock(&params_lock);
	dir = params_walk(copy, true, NULL);
	mutex_unlock(&params_lock);
	kfree(copy);
	if (IS_ERR(dir))
		return PTR_ERR(dir);
	dput(dir);
	return 0;
}

void lustre_kapi_params_remove(const char *path)
{
	char *copy = kstrdup(path, GFP_KERNEL | __GFP_NOFAIL), *name;
	struct dentry *dir, *gone = NULL;
	struct param_entry *p;

	mutex_lock(&params_lock);
	list_for_each_entry(p, &params_list, list) {
		if (!strcmp(p->path, path)) {
			list_del(&p->list);
			kfree(p);
			break;
		}
	}
	dir = params_walk(copy, false, &name);
	if (!IS_ERR(dir)) {
		gone = debugfs_lookup(name, dir);
		dput(dir);
	}
	mutex_unlock(&params_lock);
	/* Waits for callbacks, which may make or remove parameters. */
	debugfs_remove(gone);
	dput(gone);
	kfree(copy);
}

static int param_show(struct seq_file *m, void *v)
{
	return lustre_kapi_rs_param_show(m->private, m);
}

static int param_open(struct inode *inode, struct file *file)
{
	return single_open(file, param_show, inode->i_private);
}

static ssize_t param_write(struct file *file, const char __user *from, size_t len, loff_t *pos)
{
	struct seq_file *m = file->private_data;
	char *buf;
	int rc;

	if (len > PARAM_MAX)
		return -E2BIG;
	buf = memdup_user_nul(from, len);
	if (IS_ERR(buf))
		return PTR_ERR(buf);
	rc = lustre_kapi_rs_param_store(m->private, buf, len);
	kfree(buf);
	if (rc)
		return rc;
	*pos += len;
	return len;
}

static const struct file_operations param_fops = {
	.owner = THIS_MODULE,
	.open = param_open,
	.read = seq_read,
	.write = param_write,
	.llseek = seq_lseek,
	.release = single_release,
};

int lustre_kapi_params_add(const char *path, umode_t mode, void *data)
{
	char *copy = kstrdup(path, GFP_KERNEL), *name;
	struct dentry *dir, *file;
	struct param_entry *p;
	size_t len = strlen(path) + 1;
	int rc = 0;

	p = kzalloc(struct_size(p, path, len), GFP_KERNEL);
	if (!copy || !p) {
		rc = -ENOMEM;
		goto free;
	}
	memcpy(p->path, path, len);
	p->data = data;
	mutex_lock(&params_lock);
	dir = params_walk(copy, true, &name);
	if (IS_ERR(dir)) {
		rc = PTR_ERR(dir);
		goto out;
	}
	/* Creation of what is there already fails as well, but complains to the log. */
	file = debugfs_lookup(name, dir);
	if (file) {
		dput(file);
		rc = -EEXIST;
	} else {
		file = debugfs_create_file(name, mode, dir, data, &param_fops);
		rc = PTR_ERR_OR_ZERO(file);
	}
	dput(dir);
out:
	/* Where debugfs has been turned off there are no files. */
	if (rc == -ENODEV || rc == -EPERM)
		rc = 0;
	if (!rc) {
		list_add_tail(&p->list, &params_list);
		p = NULL;
	}
	mutex_unlock(&params_lock);
free:
	kfree(p);
	kfree(copy);
	return rc;
}

void lustre_kapi_params_each(void *ctx)
{
	struct param_entry *p;

	mutex_lock(&params_lock);
	list_for_each_entry(p, &params_list, list)
		lustre_kapi_rs_param_each(ctx, p->path, p->data);
	mutex_unlock(&params_lock);
}

/* Misc devices. */

struct lustre_kapi_dev {
	struct miscdevice misc;
	/* One for the registration, one for each open file. */
	struct kref refs;
	/* Protects data, which is NULL once the device is unregistered. */
	struct rw_semaphore sem;
	void *data;
	char name[16];
};

static void dev_free(struct kref *refs)
{
	kfree(container_of(refs, struct lustre_kapi_dev, refs));
}

static int dev_open(struct inode *inode, struct file *file)
{
	struct miscdevice *misc = file->private_data;

	kref_get(&container_of(misc, struct lustre_kapi_dev, misc)->refs);
	return 0;
}

static int dev_release(struct inode *inode, struct file *file)
{
	struct miscdevice *misc = file->private_data;

	kref_put(&container_of(misc, struct lustre_kapi_dev, misc)->refs, dev_free);
	return 0;
}

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct miscdevice *misc = file->private_data;
	struct lustre_kapi_dev *dev = container_of(misc, struct lustre_kapi_dev, misc);
	long rc = -ENODEV;

	down_read(&dev->sem);
	if (dev->data)
		rc = lustre_kapi_rs_ioctl(dev->data, cmd, arg);
	up_read(&dev->sem);
	return rc;
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.open = dev_open,
	.release = dev_release,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

struct lustre_kapi_dev *lustre_kapi_dev_register(const char *name, umode_t mode, void *data)
{
	struct lustre_kapi_dev *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	int rc;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	kref_init(&dev->refs);
	init_rwsem(&dev->sem);
	dev->data = data;
	strscpy(dev->name, name, sizeof(dev->name));
	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->name;
	dev->misc.mode = mode;
	dev->misc.fops = &dev_fops;
	rc = misc_register(&dev->misc);
	if (rc) {
		kfree(dev);
		return ERR_PTR(rc);
	}
	return dev;
}

void lustre_kapi_dev_unregister(struct lustre_kapi_dev *dev)
{
	misc_deregister(&dev->misc);
	down_write(&dev->sem);
	dev->data = NULL;
	up_write(&dev->sem);
	kref_put(&dev->refs, dev_free);
}

int lustre_kapi_copy_from_user(void *to, unsigned long from, size_t len)
{
	return copy_from_user(to, (const void __user *)from, len) ? -EFAULT : 0;
}

int lustre_kapi_copy_to_user(unsigned long to, const void *from, size_t len)
{
	return copy_to_user((void __user *)to, from, len) ? -EFAULT : 0;
}

bool lustre_kapi_is_admin(void)
{
	return capable(CAP_SYS_ADMIN);
}

/* The file system type. */

struct lustre_kapi_fs {
	struct file_system_type type;
	u32 magic;
	void *data;
	char name[16];
};

/* Static, as a type holds the keys of locks; one whose data is NULL is free. */
static struct lustre_kapi_fs fs_types[2];
static DEFINE_MUTEX(fs_types_lock);

/* The options of a mount in the making, as one string; NULL for none. */
struct fs_options {
	char *text;
};

static int fs_statfs(struct dentry *dentry, struct kstatfs *buf)
{
	struct super_block *sb = dentry->d_sb;
	struct lustre_kapi_statfs st = {};
	int rc = lustre_kapi_rs_statfs(sb->s_fs_info, &st);

	if (rc)
		return rc;
	buf->f_type = sb->s_magic;
	buf->f_bsize = st.bsize;
	buf->f_frsize = st.bsize;
	buf->f_blocks = st.blocks;
	buf->f_bfree = st.bfree;
	buf->f_bavail = st.bavail;
	buf->f_files = st.files;
	buf->f_ffree = st.ffree;
	buf->f_namelen = st.namelen;
	buf->f_fsid = u64_to_fsid(huge_encode_dev(sb->s_dev));
	return 0;
}

static int fs_show_options(struct seq_file *m, struct dentry *root)
{
	return lustre_kapi_rs_show_options(root->d_sb->s_fs_info, m);
}

static void fs_umount_begin(struct super_block *sb)
{
	lustre_kapi_rs_umount_begin(sb->s_fs_info);
}

static const struct super_operations fs_super_ops = {
	.statfs = fs_statfs,
	.show_options = fs_show_options,
	.umount_begin = fs_umount_begin,
};

static long fs_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return lustre_kapi_rs_fs_ioctl(file_inode(file)->i_sb->s_fs_info, cmd, arg);
}

/* Those of a directory without anything in it, and ioctls. */
static const struct file_operations fs_dir_fops = {
	.open = dcache_dir_open,
	.release = dcache_dir_close,
	.llseek = dcache_dir_lseek,
	.read = generic_read_dir,
	.iterate_shared = dcache_readdir,
	.fsync = noop_fsync,
	.unlocked_ioctl = fs_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

void lustre_kapi_fs_complain(struct fs_context *fc, const char *why)
{
	errorf(fc, "%s", why);
}

static int fs_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct lustre_kapi_fs *fs = container_of(fc->fs_type, struct lustre_kapi_fs, type);
	struct fs_options *options = fc->fs_private;
	void *mounted;
	struct inode *root;
	int rc;

	sb->s_magic = fs->magic;
	sb->s_op = &fs_super_ops;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_time_gran = 1;
	/* Nobody is to write to the empty directory. */
	sb->s_flags |= SB_RDONLY;

	root = new_inode(sb);
	if (!root)
		return -ENOMEM;
	root->i_ino = 1;
	root->i_mode = S_IFDIR | 0755;
	root->i_op = &simple_dir_inode_operations;
	root->i_fop = &fs_dir_fops;
	simple_inode_init_ts(root);
	set_nlink(root, 2);
	sb->s_root = d_make_root(root);
	if (!sb->s_root)
		return -ENOMEM;

	rc = lustre_kapi_rs_mount(fs->data, fc->source ?: "", options->text ?: "", fc,
				  &mounted);
	if (!rc)
		sb->s_fs_info = mounted;
	return rc;
}

static int fs_get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, fs_fill_super);
}

/* mount(2): the options as they are. */
static int fs_parse_monolithic(struct fs_context *fc, void *data)
{
	struct fs_options *options = fc->fs_private;

	if (!data)
		return 0;
	options->text = kstrdup(data, GFP_KERNEL);
	return options->text ? 0 : -ENOMEM;
}

/* fsconfig(2): one by one. */
static int fs_parse_param(struct fs_context *fc, struct fs_parameter *param)
{
	struct fs_options *options = fc->fs_private;
	const char *old = options->text ?: "", *comma = *old ? "," : "";
	char *text;

	if (!strcmp(param->key, "source"))
		return -ENOPARAM;
	if (param->type == fs_value_is_string)
		text = kasprintf(GFP_KERNEL, "%s%s%s=%s", old, comma, param->key, param->string);
	else if (param->type == fs_value_is_flag)
		text = kasprintf(GFP_KERNEL, "%s%s%s", old, comma, param->key);
	else
		return invalf(fc, "lustre: %s is no text", param->key);
	if (!text)
		return -ENOMEM;
	kfree(options->text);
	options->text = text;
	return 0;
}

static void fs_free(struct fs_context *fc)
{
	struct fs_options *options = fc->fs_private;

	if (options)
		kfree(options->text);
	kfree(options);
}

/* What is mounted stays as it is. */
static int fs_reconfigure(struct fs_context *fc)
{
	fc->sb_flags |= SB_RDONLY;
	return 0;
}

static const struct fs_context_operations fs_context_ops = {
	.parse_monolithic = fs_parse_monolithic,
	.parse_param = fs_parse_param,
	.get_tree = fs_get_tree,
	.reconfigure = fs_reconfigure,
	.free = fs_free,
};

static int fs_init_context(struct fs_context *fc)
{
	fc->fs_private = kzalloc_obj(struct fs_options);
	fc->ops = &fs_context_ops;
	return fc->fs_private ? 0 : -ENOMEM;
}

static void fs_kill_sb(struct super_block *sb)
{
	void *mounted = sb->s_fs_info;

	kill_anon_super(sb);
	if (mounted)
		lustre_kapi_rs_umount(mounted);
}

struct lustre_kapi_fs *lustre_kapi_fs_register(const char *name, u32 magic, void *data)
{
	struct lustre_kapi_fs *fs = NULL;
	size_t i;
	int rc;

	mutex_lock(&fs_types_lock);
	for (i = 0; i < ARRAY_SIZE(fs_types) && !fs; i++)
		if (!fs_types[i].data)
			fs = &fs_types[i];
	if (fs)
		fs->data = data;
	mutex_unlock(&fs_types_lock);
	if (!fs)
		return ERR_PTR(-EMFILE);
	fs->magic = magic;
	strscpy(fs->name, name, sizeof(fs->name));
	fs->type.owner = THIS_MODULE;
	fs->type.name = fs->name;
	fs->type.init_fs_context = fs_init_context;
	fs->type.kill_sb = fs_kill_sb;
	rc = register_filesystem(&fs->type);
	if (rc) {
		fs->data = NULL;
		return ERR_PTR(rc);
	}
	return fs;
}

void lustre_kapi_fs_unregister(struct lustre_kapi_fs *fs)
{
	unregister_filesystem(&fs->type);
	fs->data = NULL;
}
