/* SPDX-License-Identifier: GPL-2.0 */
#ifndef OSD_DISK_H
#define OSD_DISK_H

#include <linux/types.h>

#define OSD_DISK_BLOCK 4096
#define OSD_DISK_NONE U32_MAX	/* the entry of a flush without data */

#define OSD_DISK_FLUSH 1	/* everything that was complete before is safe when this is complete */
#define OSD_DISK_FUA 2		/* safe when it is complete */

#define OSD_DISK_READS 1
#define OSD_DISK_WRITES 2	/* and flushes */

struct osd_disk_entry {
	u32 block;
	u32 bio;	/* those of one request have the same number */
	u32 flags;
};

struct fs_struct;
struct osd_disk;

struct osd_disk *osd_disk_new(u32 blocks);
void osd_disk_free(struct osd_disk *d);
void osd_disk_record(struct osd_disk *d, bool on);
u32 osd_disk_entries(struct osd_disk *d);
int osd_disk_entry(struct osd_disk *d, u32 i, struct osd_disk_entry *out);
int osd_disk_replay(struct osd_disk *d, u32 i, bool below);
void osd_disk_forget(struct osd_disk *d);
void osd_disk_settle(struct osd_disk *d);
void osd_disk_sync(struct osd_disk *d);
int osd_disk_get(struct osd_disk *d, u32 block, void *out);
int osd_disk_put(struct osd_disk *d, u32 block, const void *data);
void osd_disk_fail(struct osd_disk *d, u32 what, u32 first, u32 end, u32 skip, u32 times);
u32 osd_disk_failed(struct osd_disk *d);
int osd_disk_closed(struct osd_disk *d);
struct fs_struct *osd_disk_paths_begin(void);
void osd_disk_paths_end(struct fs_struct *old);
int osd_disk_run(const char *command);

#endif
