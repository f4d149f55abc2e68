/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's faces to user space, for the crate kapi: parameters in debugfs, misc devices, a
 * file system type. Functions named lustre_kapi_rs_* are the crate's, called from here.
 */
#ifndef LUSTRE_KAPI_FS_HELPERS_H
#define LUSTRE_KAPI_FS_HELPERS_H

#include <linux/types.h>

struct fs_context;
struct seq_file;

void lustre_kapi_seq_write(struct seq_file *m, const char *s, size_t len);

/*
 * The tree of parameters. It is there while somebody holds it; paths are relative to it and may
 * have several parts. Directories are made as needed.
 */
void lustre_kapi_params_get(void);
void lustre_kapi_params_put(void);
int lustre_kapi_params_mkdir(const char *path);
int lustre_kapi_params_add(const char *path, umode_t mode, void *data);
/* Removes a file or a directory with all in it; no callback of its files runs after this. */
void lustre_kapi_params_remove(const char *path);
/* Calls lustre_kapi_rs_param_each() for all parameters; it makes and removes none. */
void lustre_kapi_params_each(void *ctx);

int lustre_kapi_rs_param_show(void *data, struct seq_file *m);
int lustre_kapi_rs_param_store(void *data, const char *value, size_t len);
void lustre_kapi_rs_param_each(void *ctx, const char *path, void *data);

/* Misc devices with nothing but ioctls. Those under way end before unregister returns. */
struct lustre_kapi_dev;

struct lustre_kapi_dev *lustre_kapi_dev_register(const char *name, umode_t mode, void *data);
void lustre_kapi_dev_unregister(struct lustre_kapi_dev *dev);

long lustre_kapi_rs_ioctl(void *data, unsigned int cmd, unsigned long arg);

/* 0, or -EFAULT. */
int lustre_kapi_copy_from_user(void *to, unsigned long from, size_t len);
int lustre_kapi_copy_to_user(unsigned long to, const void *from, size_t len);
bool lustre_kapi_is_admin(void);

/* A file system type whose mounts show an empty directory. */
struct lustre_kapi_fs;

struct lustre_kapi_statfs {
	u64 blocks;
	u64 bfree;
	u64 bavail;
	u64 files;
	u64 ffree;
	u32 bsize;
	u32 namelen;
};

struct lustre_kapi_fs *lustre_kapi_fs_register(const char *name, u32 magic, void *data);
/* Nothing of the type is mounted: a mount holds the module. */
void lustre_kapi_fs_unregister(struct lustre_kapi_fs *fs);

/* Says why a mount failed: to who mounts, or to the log if that cannot listen. */
void lustre_kapi_fs_complain(struct fs_context *fc, const char *why);

int lustre_kapi_rs_mount(void *data, const char *source, const char *options,
			 struct fs_context *fc, void **mounted);
void lustre_kapi_rs_umount(void *mounted);
void lustre_kapi_rs_umount_begin(void *mounted);
int lustre_kapi_rs_statfs(void *mounted, struct lustre_kapi_statfs *out);
long lustre_kapi_rs_fs_ioctl(void *mounted, unsigned int cmd, unsigned long arg);
int lustre_kapi_rs_show_options(void *mounted, struct seq_file *m);

#endif
