// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of the crate kapi, see helpers.h.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/crc32.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/timekeeping.h>

#include "helpers.h"

u32 lustre_kapi_crc32c(u32 seed, const void *data, size_t len)
{
	return crc32c(seed, data, len);
}

u32 lustre_kapi_crc32(u32 seed, const void *data, size_t len)
{
	return crc32_le(seed, data, len);
}

u64 lustre_kapi_real_ns(void)
{
	return ktime_get_real_ns();
}

void lustre_kapi_sleep(long timeout)
{
	while (timeout)
		timeout = schedule_timeout_idle(timeout);
}

struct start {
	int (*fn)(void *data);
	void *data;
	struct completion runs;
};

static int begin(void *arg)
{
	struct start *s = arg;
	int (*fn)(void *data) = s->fn;
	void *data = s->data;

	complete(&s->runs);
	return fn(data);
}

/* Returns when the thread runs: one that is stopped before that would never call its function. */
struct task_struct *lustre_kapi_thread_start(int (*fn)(void *data), void *data,
					     const char *name)
{
	struct start s = { .fn = fn, .data = data };
	struct task_struct *task;

	init_completion(&s.runs);
	task = kthread_create(begin, &s, "%s", name);
	if (IS_ERR(task))
		return NULL;
	get_task_struct(task);
	wake_up_process(task);
	wait_for_completion(&s.runs);
	return task;
}

void lustre_kapi_thread_join(struct task_struct *task)
{
	kthread_stop(task);
	put_task_struct(task);
}

unsigned int lustre_kapi_num_cpus(void)
{
	return num_online_cpus();
}

void lustre_kapi_yield(void)
{
	cond_resched();
}

u64 lustre_kapi_total_ram(void)
{
	return (u64)totalram_pages() << PAGE_SHIFT;
}

struct page *lustre_kapi_page_alloc(void)
{
	return alloc_page(GFP_KERNEL | __GFP_ZERO);
}

void lustre_kapi_page_put(struct page *page)
{
	put_page(page);
}

void *lustre_kapi_page_address(struct page *page)
{
	return page_address(page);
}
