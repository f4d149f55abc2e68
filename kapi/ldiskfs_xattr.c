// SPDX-License-Identifier: GPL-2.0
/* Extended attributes. */
#include <linux/fs.h>
#include <linux/posix_acl_xattr.h>
#include <linux/xattr.h>

#include "ldiskfs_internal.h"

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

static int set_acl(struct dentry *node, int type, const void *buf, u64 len)
{
	struct inode *inode = d_inode(node);
	struct posix_acl *acl = NULL;
	umode_t mode = inode->i_mode;
	int err;

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

/* A null buffer removes it. */
int ldiskfs_setxattr(struct ldiskfs_mount *m, struct dentry *node, const char *name,
		     const void *buf, u64 len, int flags)
{
	struct inode *inode = d_inode(node);
	bool locked = ldiskfs_values_lock(m, inode, len);
	int type = acl_type(name);
	int err;

	if (type >= 0)
		err = set_acl(node, type, buf, len);
	else if (buf)
		err = __vfs_setxattr(&nop_mnt_idmap, node, inode, name, buf, len, flags);
	else
		err = __vfs_removexattr(&nop_mnt_idmap, node, name);
	if (locked)
		ldiskfs_values_unlock(m);
	return err;
}

s64 ldiskfs_listxattr_but_acls(struct dentry *node, char *buf, u64 len)
{
	struct inode *inode = d_inode(node);

	if (!inode->i_op->listxattr)
		return 0;
	return inode->i_op->listxattr(node, buf, len);
}

/* The file system that is mounted without SB_POSIXACL leaves the names of ACLs out. */
s64 ldiskfs_listxattr(struct dentry *node, char *buf, u64 len)
{
	static const char * const acls[] = { XATTR_NAME_POSIX_ACL_ACCESS,
					     XATTR_NAME_POSIX_ACL_DEFAULT };
	s64 n = ldiskfs_listxattr_but_acls(node, buf, len);
	int i;

	for (i = 0; n >= 0 && i < ARRAY_SIZE(acls); i++) {
		size_t size = strlen(acls[i]) + 1;
		s64 have = ldiskfs_getxattr(node, acls[i], NULL, 0);

		if (have == -ENODATA || have == -EOPNOTSUPP)
			continue;
		if (have < 0)
			return have;
		if (buf && n + size > len)
			return -ERANGE;
		if (buf)
			memcpy(buf + n, acls[i], size);
		n += size;
	}
	return n;
}
