/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TCP sockets and pollers for the crate kapi.
 */
#ifndef LUSTRE_KAPI_NET_HELPERS_H
#define LUSTRE_KAPI_NET_HELPERS_H

#include <linux/types.h>

struct bio_vec;

/* A socket with its place in a poller. Made by create or accept, gone with release. */
struct lustre_kapi_sock;
/* A set of sockets to be told about. Counted: by its owner and by each socket in it. */
struct lustre_kapi_poller;

/* An IPv4 address and a port, both in the host's byte order. */
struct lustre_kapi_addr {
	u32 ip;
	u16 port;
};

#define LUSTRE_KAPI_READABLE	1
#define LUSTRE_KAPI_WRITABLE	2
#define LUSTRE_KAPI_CLOSED	4

struct lustre_kapi_event {
	u64 token;
	u32 events;
};

/* Times are in jiffies; errors are negative errno values. */
int lustre_kapi_sock_create(struct lustre_kapi_sock **out);
void lustre_kapi_sock_release(struct lustre_kapi_sock *s);
int lustre_kapi_sock_bind(struct lustre_kapi_sock *s, const struct lustre_kapi_addr *a);
int lustre_kapi_sock_connect(struct lustre_kapi_sock *s, const struct lustre_kapi_addr *a,
			     long timeout);
int lustre_kapi_sock_listen(struct lustre_kapi_sock *s, int backlog);
int lustre_kapi_sock_accept(struct lustre_kapi_sock *s, long timeout,
			    struct lustre_kapi_sock **out);
void lustre_kapi_sock_shutdown(struct lustre_kapi_sock *s);

int lustre_kapi_sock_error(struct lustre_kapi_sock *s);
int lustre_kapi_sock_name(struct lustre_kapi_sock *s, bool peer, struct lustre_kapi_addr *a);
int lustre_kapi_sock_nodelay(struct lustre_kapi_sock *s, bool on);
int lustre_kapi_sock_keepalive(struct lustre_kapi_sock *s, int idle, int interval, int count);
/* Zero leaves a size alone. */
int lustre_kapi_sock_buffers(struct lustre_kapi_sock *s, int send, int receive);

/* With a timeout of zero it does not wait. */
ssize_t lustre_kapi_sock_recv(struct lustre_kapi_sock *s, void *buf, size_t len, long timeout);
ssize_t lustre_kapi_sock_send(struct lustre_kapi_sock *s, const void *buf, size_t len,
			      long timeout);
/* Two buffers, without waiting. */
ssize_t lustre_kapi_sock_try_send(struct lustre_kapi_sock *s, const void *head, size_t head_len,
				  const void *body, size_t body_len, bool more);
/* len bytes at byte off of the pages that nr elements of bv describe. */
ssize_t lustre_kapi_sock_recv_pages(struct lustre_kapi_sock *s, const struct bio_vec *bv,
				    size_t nr, size_t off, size_t len);
ssize_t lustre_kapi_sock_send_pages(struct lustre_kapi_sock *s, const struct bio_vec *bv,
				    size_t nr, size_t off, size_t len, bool more);

struct lustre_kapi_poller *lustre_kapi_poller_create(void);
void lustre_kapi_poller_put(struct lustre_kapi_poller *p);
int lustre_kapi_poller_add(struct lustre_kapi_poller *p, struct lustre_kapi_sock *s, u64 token);
/* No event of the socket is queued, and none comes, after this. */
void lustre_kapi_poller_remove(struct lustre_kapi_poller *p, struct lustre_kapi_sock *s);
int lustre_kapi_poller_wait(struct lustre_kapi_poller *p, struct lustre_kapi_event *events,
			    int max, long timeout);
void lustre_kapi_poller_wake(struct lustre_kapi_poller *p);

/* The first IPv4 address of interface name; without a name, of the first that is no loopback. */
int lustre_kapi_interface_address(const char *name, u32 *ip);
/* The addresses of all interfaces that are up and no loopback, max at the most; how many. */
size_t lustre_kapi_addresses(u32 *ips, size_t max);

#endif
