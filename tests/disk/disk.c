// SPDX-License-Identifier: GPL-2.0
/*
 * A disk in memory for tests of the store, /dev/osdtest: it records what is written to it, and with
 * which flushes, shows any state that a power cut could leave, and fails where it is told to.
 *
 * What is seen is `over`, where it has a block, and `base` below it. All pages that the record or
 * `base` share are never written to again.
 */
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/fs_struct.h>
#include <linux/highmem.h>
#include <linux/kmod.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/umh.h>

#include "disk.h"

#define MOST_ENTRIES (1U << 17)

struct record {
	struct osd_disk_entry e;
	struct page *page;
};

struct osd_disk {
	struct gendisk *gd;
	struct mutex lock;	/* of all below */
	struct page **base;
	struct page **over;
	struct record *log;
	u32 blocks;
	u32 entries;
	u32 bios;
	bool recording;
	/* What fails: requests of these kinds that touch blocks first to end, after skip others. */
	u32 fail_what, fail_first, fail_end, fail_skip, fail_times, failed;
};

static struct page *seen(struct osd_disk *d, u32 b)
{
	return d->over[b] ? d->over[b] : d->base[b];
}

static void replace(struct page **at, struct page *with)
{
	if (*at)
		put_page(*at);
	*at = with;
}

static bool fails(struct osd_disk *d, struct bio *bio)
{
	u32 what = op_is_write(bio_op(bio)) ? OSD_DISK_WRITES : OSD_DISK_READS;
	u64 first = bio->bi_iter.bi_sector >> (PAGE_SHIFT - SECTOR_SHIFT);
	u64 end = (bio_end_sector(bio) + 7) >> (PAGE_SHIFT - SECTOR_SHIFT);

	if (!(d->fail_what & what))
		return false;
	if (bio->bi_iter.bi_size && (first >= d->fail_end || end <= d->fail_first))
		return false;
	if (d->fail_skip) {
		d->fail_skip--;
		return false;
	}
	if (!d->fail_times)
		return false;
	d->fail_times--;
	d->failed++;
	return true;
}

static int log_it(struct osd_disk *d, u32 block, u32 flags, struct page *page)
{
	struct record *r;

	if (!d->recording)
		return 0;
	if (d->entries == MOST_ENTRIES) {
		pr_err("osdtest: the record is full\n");
		return -EIO;
	}
	r = &d->log[d->entries++];
	r->e.block = block;
	r->e.bio = d->bios;
	r->e.flags = flags;
	r->page = page;
	if (page)
		get_page(page);
	return 0;
}

/* A page that is ours alone for what block b becomes. */
static struct page *own(struct osd_disk *d, u32 b)
{
	struct page *old = seen(d, b), *page;

	if (d->over[b] && page_count(d->over[b]) == 1)
		return d->over[b];
	page = alloc_page(GFP_NOIO | __GFP_ZERO);
	if (!page)
		return NULL;
	if (old)
		copy_page(page_address(page), page_address(old));
	replace(&d->over[b], page);
	return page;
}

static int do_write(struct osd_disk *d, struct bio *bio)
{
	u32 flags = (bio->bi_opf & REQ_PREFLUSH ? OSD_DISK_FLUSH : 0) |
		    (bio->bi_opf & REQ_FUA ? OSD_DISK_FUA : 0);
	u64 pos = (u64)bio->bi_iter.bi_sector << SECTOR_SHIFT;
	u32 last = OSD_DISK_NONE, b, off, n, left;
	struct bvec_iter iter;
	struct bio_vec bv;
	struct page *page;
	char *map, *from;
	int err;

	d->bios++;
	if (!bio->bi_iter.bi_size)
		return log_it(d, OSD_DISK_NONE, flags, NULL);
	bio_for_each_segment(bv, bio, iter) {
		map = bvec_kmap_local(&bv);
		from = map;
		for (err = 0, left = bv.bv_len; left && !err; left -= n, pos += n) {
			b = pos / OSD_DISK_BLOCK;
			off = pos % OSD_DISK_BLOCK;
			n = min_t(u32, left, OSD_DISK_BLOCK - off);
			/* The rest of a block of the same request goes where its beginning went. */
			page = b == last ? d->over[b] : own(d, b);
			if (!page) {
				err = -ENOMEM;
				break;
			}
			memcpy(page_address(page) + off, from, n);
			from += n;
			if (b != last)
				err = log_it(d, b, flags, page);
			flags &= ~OSD_DISK_FLUSH;
			last = b;
		}
		kunmap_local(map);
		if (err)
			return err;
	}
	return 0;
}

static void do_read(struct osd_disk *d, struct bio *bio)
{
	u64 pos = (u64)bio->bi_iter.bi_sector << SECTOR_SHIFT;
	struct bvec_iter iter;
	struct bio_vec bv;
	struct page *page;
	char *map, *to;
	u32 n, left;

	bio_for_each_segment(bv, bio, iter) {
		map = bvec_kmap_local(&bv);
		to = map;
		for (left = bv.bv_len; left; left -= n, pos += n) {
			n = min_t(u32, left, OSD_DISK_BLOCK - pos % OSD_DISK_BLOCK);
			page = seen(d, pos / OSD_DISK_BLOCK);
			if (page)
				memcpy(to, page_address(page) + pos % OSD_DISK_BLOCK, n);
			else
				memset(to, 0, n);
			to += n;
		}
		kunmap_local(map);
	}
}

static void submit(struct bio *bio)
{
	struct osd_disk *d = bio->bi_bdev->bd_disk->private_data;
	int err = 0;

	mutex_lock(&d->lock);
	if (fails(d, bio))
		err = -EIO;
	else if (op_is_write(bio_op(bio)))
		err = do_write(d, bio);
	else
		do_read(d, bio);
	mutex_unlock(&d->lock);
	bio->bi_status = errno_to_blk_status(err);
	bio_endio(bio);
}

static const struct block_device_operations ops = {
	.owner = THIS_MODULE,
	.submit_bio = submit,
};

static void drop_log(struct osd_disk *d)
{
	while (d->entries) {
		d->entries--;
		if (d->log[d->entries].page)
			put_page(d->log[d->entries].page);
	}
}

static void free_memory(struct osd_disk *d)
{
	u32 b;

	if (d->log)
		drop_log(d);
	for (b = 0; b < d->blocks && d->base && d->over; b++) {
		replace(&d->base[b], NULL);
		replace(&d->over[b], NULL);
	}
	kvfree(d->base);
	kvfree(d->over);
	kvfree(d->log);
	kfree(d);
}

struct osd_disk *osd_disk_new(u32 blocks)
{
	struct queue_limits lim = {
		.logical_block_size = OSD_DISK_BLOCK,
		.features = BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA | BLK_FEAT_SYNCHRONOUS,
	};
	struct osd_disk *d = kzalloc_obj(*d);
	int err = -ENOMEM;

	if (!d)
		return NULL;
	mutex_init(&d->lock);
	d->blocks = blocks;
	d->base = kvcalloc(blocks, sizeof(*d->base), GFP_KERNEL);
	d->over = kvcalloc(blocks, sizeof(*d->over), GFP_KERNEL);
	d->log = kvcalloc(MOST_ENTRIES, sizeof(*d->log), GFP_KERNEL);
	if (!d->base || !d->over || !d->log)
		goto free;
	d->gd = blk_alloc_disk(&lim, NUMA_NO_NODE);
	if (IS_ERR(d->gd))
		goto free;
	d->gd->fops = &ops;
	d->gd->private_data = d;
	d->gd->flags |= GENHD_FL_NO_PART;
	strscpy(d->gd->disk_name, "osdtest", DISK_NAME_LEN);
	set_capacity(d->gd, (u64)blocks * (OSD_DISK_BLOCK >> SECTOR_SHIFT));
	err = add_disk(d->gd);
	if (!err)
		return d;
	put_disk(d->gd);
free:
	pr_err("osdtest: no disk: %d\n", err);
	free_memory(d);
	return NULL;
}

/*
 * Waits until nobody has the device open, so that nothing of it is cached: what a thread of the kernel
 * closes is closed later.
 */
int osd_disk_closed(struct osd_disk *d)
{
	int i;

	for (i = 0; i < 10 * HZ; i++) {
		flush_delayed_fput();
		if (!disk_openers(d->gd))
			return 0;
		schedule_timeout_uninterruptible(1);
	}
	return -EBUSY;
}

void osd_disk_free(struct osd_disk *d)
{
	if (osd_disk_closed(d))
		pr_err("osdtest: still open\n");
	del_gendisk(d->gd);
	put_disk(d->gd);
	free_memory(d);
}

/* Starts a new record, or ends it. */
void osd_disk_record(struct osd_disk *d, bool on)
{
	mutex_lock(&d->lock);
	if (on)
		drop_log(d);
	d->recording = on;
	mutex_unlock(&d->lock);
}

u32 osd_disk_entries(struct osd_disk *d)
{
	u32 n;

	mutex_lock(&d->lock);
	n = d->entries;
	mutex_unlock(&d->lock);
	return n;
}

int osd_disk_entry(struct osd_disk *d, u32 i, struct osd_disk_entry *out)
{
	int err = -EINVAL;

	mutex_lock(&d->lock);
	if (i < d->entries) {
		*out = d->log[i].e;
		err = 0;
	}
	mutex_unlock(&d->lock);
	return err;
}

/* Writes what entry i of the record wrote, below or above what was written since. */
int osd_disk_replay(struct osd_disk *d, u32 i, bool below)
{
	int err = -EINVAL;
	struct record *r;

	mutex_lock(&d->lock);
	if (i < d->entries) {
		r = &d->log[i];
		if (r->page) {
			get_page(r->page);
			replace(below ? &d->base[r->e.block] : &d->over[r->e.block], r->page);
		}
		err = 0;
	}
	mutex_unlock(&d->lock);
	return err;
}

/* Takes back what was written since the disk was settled. */
void osd_disk_forget(struct osd_disk *d)
{
	u32 b;

	mutex_lock(&d->lock);
	for (b = 0; b < d->blocks; b++)
		replace(&d->over[b], NULL);
	mutex_unlock(&d->lock);
}

/* What was written stays. */
void osd_disk_settle(struct osd_disk *d)
{
	u32 b;

	mutex_lock(&d->lock);
	for (b = 0; b < d->blocks; b++) {
		if (d->over[b]) {
			replace(&d->base[b], d->over[b]);
			d->over[b] = NULL;
		}
	}
	mutex_unlock(&d->lock);
}

int osd_disk_get(struct osd_disk *d, u32 block, void *out)
{
	struct page *page;

	if (block >= d->blocks)
		return -EINVAL;
	mutex_lock(&d->lock);
	page = seen(d, block);
	if (page)
		memcpy(out, page_address(page), OSD_DISK_BLOCK);
	else
		memset(out, 0, OSD_DISK_BLOCK);
	mutex_unlock(&d->lock);
	return 0;
}

int osd_disk_put(struct osd_disk *d, u32 block, const void *data)
{
	struct page *page;

	if (block >= d->blocks)
		return -EINVAL;
	mutex_lock(&d->lock);
	page = own(d, block);
	if (page)
		memcpy(page_address(page), data, OSD_DISK_BLOCK);
	mutex_unlock(&d->lock);
	return page ? 0 : -ENOMEM;
}

/* So many requests of these kinds fail, after some that do not. */
void osd_disk_fail(struct osd_disk *d, u32 what, u32 first, u32 end, u32 skip, u32 times)
{
	mutex_lock(&d->lock);
	d->fail_what = what;
	d->fail_first = first;
	d->fail_end = end;
	d->fail_skip = skip;
	d->fail_times = times;
	d->failed = 0;
	mutex_unlock(&d->lock);
}

u32 osd_disk_failed(struct osd_disk *d)
{
	u32 n;

	mutex_lock(&d->lock);
	n = d->failed;
	mutex_unlock(&d->lock);
	return n;
}

/* A thread of the kernel sees no paths unless it asks for those of the first process. */
struct fs_struct *osd_disk_paths_begin(void)
{
	return __override_init_fs();
}

void osd_disk_paths_end(struct fs_struct *old)
{
	__revert_init_fs(old);
}

/* As sync(2) does, for the file system that is mounted, if one is. */
void osd_disk_sync(struct osd_disk *d)
{
	struct block_device *bdev = d->gd->part0;

	mutex_lock(&bdev->bd_holder_lock);
	if (bdev->bd_holder_ops && bdev->bd_holder_ops->sync)
		/* It gives the lock back. */
		bdev->bd_holder_ops->sync(bdev);
	else
		mutex_unlock(&bdev->bd_holder_lock);
}

/* Runs a program, given by its path; its words are divided by spaces. Returns its exit status, or an error. */
int osd_disk_run(const char *command)
{
	char *env[3] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", NULL };
	char **argv = argv_split(GFP_KERNEL, command, NULL);
	int rc;

	if (!argv)
		return -ENOMEM;
	rc = call_usermodehelper(argv[0], argv, env, UMH_WAIT_PROC);
	argv_free(argv);
	return rc > 0 ? (rc & 0x7f ? -EINTR : rc >> 8) : rc;
}
