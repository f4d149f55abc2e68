// SPDX-License-Identifier: GPL-2.0
/* Usage of space and inodes by owners. */
#include <linux/quotaops.h>

#include "ldiskfs_internal.h"

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
