/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the crate kapi needs in C: inlines and macros of the kernel, and sequences around
 * structures that Rust has no business with. kapi/ffi.rs is made from this file.
 */
#ifndef LUSTRE_KAPI_HELPERS_H
#define LUSTRE_KAPI_HELPERS_H

#include <linux/types.h>

#include "net_helpers.h"
#include "fs_helpers.h"
#include "module_params.h"

struct page;
struct task_struct;

u32 lustre_kapi_crc32c(u32 seed, const void *data, size_t len);
u32 lustre_kapi_crc32(u32 seed, const void *data, size_t len);

u64 lustre_kapi_real_ns(void);
void lustre_kapi_sleep(long timeout);

/* Starts a thread and takes a reference to it; NULL if there is none to be had. */
struct task_struct *lustre_kapi_thread_start(int (*fn)(void *data), void *data,
					     const char *name);
/* Waits for its end and drops the reference. */
void lustre_kapi_thread_join(struct task_struct *task);
unsigned int lustre_kapi_num_cpus(void);
void lustre_kapi_yield(void);

/* Bytes of memory that the node has. */
u64 lustre_kapi_total_ram(void);

/* A page of zeroes that is always mapped; NULL without memory. */
struct page *lustre_kapi_page_alloc(void);
void lustre_kapi_page_put(struct page *page);
void *lustre_kapi_page_address(struct page *page);

#endif
