// SPDX-License-Identifier: GPL-2.0
/*
 * TCP sockets and pollers for the crate kapi, see net_helpers.h.
 *
 * A poller is told by the callbacks of its sockets. They run under the socket's lock, mostly in
 * softirq context. Locks nest: sk_callback_lock, poller->lock.
 */
#include <linux/bvec.h>
#include <linux/in.h>
#include <linux/inetdevice.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "net_helpers.h"

struct lustre_kapi_poller {
	refcount_t refs;
	/* Protects ready, woken, and events of the sockets on ready. */
	spinlock_t lock;
	struct list_head ready;
	bool woken;
	wait_queue_head_t wait;
};

struct lustre_kapi_sock {
	struct socket *sock;
	/* Serialises adding to and removing from a poller. */
	struct mutex lock;
	/* Changes under lock and sk_callback_lock. */
	struct lustre_kapi_poller *poller;
	u64 token;
	/* On the poller's list while events is not zero. */
	struct list_head ready;
	u32 events;
	/* What the socket's callbacks were before. */
	void (*data_ready)(struct sock *sk);
	void (*write_space)(struct sock *sk);
	void (*state_change)(struct sock *sk);
};

static struct lustre_kapi_sock *wrap(struct socket *sock)
{
	struct lustre_kapi_sock *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s) {
		sock_release(sock);
		return NULL;
	}
	s->sock = sock;
	mutex_init(&s->lock);
	INIT_LIST_HEAD(&s->ready);
	/* Memory reclaim may wait for a file system that waits for this connection. */
	sock->sk->sk_allocation = GFP_NOFS;
	sock->sk->sk_use_task_frag = false;
	return s;
}

int lustre_kapi_sock_create(struct lustre_kapi_sock **out)
{
	struct socket *sock;
	int rc = sock_create_kern(&init_net, PF_INET, SOCK_STREAM, IPPROTO_TCP, &sock);

	if (rc)
		return rc;
	*out = wrap(sock);
	return *out ? 0 : -ENOMEM;
}

void lustre_kapi_sock_release(struct lustre_kapi_sock *s)
{
	lustre_kapi_poller_remove(s->poller, s);
	sock_release(s->sock);
	kfree(s);
}

static struct sockaddr_in to_in(const struct lustre_kapi_addr *a)
{
	return (struct sockaddr_in) {
		.sin_family = AF_INET,
		.sin_port = htons(a->port),
		.sin_addr.s_addr = htonl(a->ip),
	};
}

int lustre_kapi_sock_bind(struct lustre_kapi_sock *s, const struct lustre_kapi_addr *a)
{
	struct sockaddr_in in = to_in(a);

	sock_set_reuseaddr(s->sock->sk);
	return kernel_bind(s->sock, (struct sockaddr_unsized *)&in, sizeof(in));
}

int lustre_kapi_sock_connect(struct lustre_kapi_sock *s, const struct lustre_kapi_addr *a,
			     long timeout)
{
	struct sockaddr_in in = to_in(a);
	int rc;

	WRITE_ONCE(s->sock->sk->sk_sndtimeo, timeout);
	rc = kernel_connect(s->sock, (struct sockaddr_unsized *)&in, sizeof(in), 0);
	return rc == -EINPROGRESS ? -ETIMEDOUT : rc;
}

int lustre_kapi_sock_listen(struct lustre_kapi_sock *s, int backlog)
{
	return kernel_listen(s->sock, backlog);
}

int lustre_kapi_sock_accept(struct lustre_kapi_sock *s, long timeout,
			    struct lustre_kapi_sock **out)
{
	struct socket *sock;
	int rc;

	WRITE_ONCE(s->sock->sk->sk_rcvtimeo, timeout);
	rc = kernel_accept(s->sock, &sock, timeout ? 0 : O_NONBLOCK);
	if (rc)
		return rc;
	*out = wrap(sock);
	return *out ? 0 : -ENOMEM;
}

void lustre_kapi_sock_shutdown(struct lustre_kapi_sock *s)
{
	kernel_sock_shutdown(s->sock, SHUT_RDWR);
}

int lustre_kapi_sock_error(struct lustre_kapi_sock *s)
{
	return sock_error(s->sock->sk);
}

int lustre_kapi_sock_name(struct lustre_kapi_sock *s, bool peer, struct lustre_kapi_addr *a)
{
	struct sockaddr_storage ss;
	struct sockaddr_in *in = (struct sockaddr_in *)&ss;
	int rc = peer ? kernel_getpeername(s->sock, (struct sockaddr *)&ss) :
			kernel_getsockname(s->sock, (struct sockaddr *)&ss);

	if (rc < 0)
		return rc;
	a->ip = ntohl(in->sin_addr.s_addr);
	a->port = ntohs(in->sin_port);
	return 0;
}

static int set_option(struct lustre_kapi_sock *s, int level, int name, int value)
{
	if (level == SOL_SOCKET)
		return sock_setsockopt(s->sock, level, name, KERNEL_SOCKPTR(&value),
				       sizeof(value));
	return s->sock->ops->setsockopt(s->sock, level, name, KERNEL_SOCKPTR(&value),
					sizeof(value));
}

int lustre_kapi_sock_nodelay(struct lustre_kapi_sock *s, bool on)
{
	return set_option(s, SOL_TCP, TCP_NODELAY, on);
}

int lustre_kapi_sock_keepalive(struct lustre_kapi_sock *s, int idle, int interval, int count)
{
	int rc = tcp_sock_set_keepidle(s->sock->sk, idle);

	sock_set_keepalive(s->sock->sk);
	return rc ?: tcp_sock_set_keepintvl(s->sock->sk, interval) ?:
		     tcp_sock_set_keepcnt(s->sock->sk, count);
}

int lustre_kapi_sock_buffers(struct lustre_kapi_sock *s, int send, int receive)
{
	int rc = 0;

	if (send)
		rc = set_option(s, SOL_SOCKET, SO_SNDBUF, send);
	if (!rc && receive)
		rc = set_option(s, SOL_SOCKET, SO_RCVBUF, receive);
	return rc;
}

/* A thread with a signal pending waits no more; the call is not restarted. */
static ssize_t restarted(ssize_t rc)
{
	return rc == -ERESTARTSYS ? -EINTR : rc;
}

ssize_t lustre_kapi_sock_recv(struct lustre_kapi_sock *s, void *buf, size_t len, long timeout)
{
	struct kvec v = { .iov_base = buf, .iov_len = len };
	struct msghdr m = {};

	if (timeout)
		WRITE_ONCE(s->sock->sk->sk_rcvtimeo, timeout);
	iov_iter_kvec(&m.msg_iter, ITER_DEST, &v, 1, len);
	return restarted(sock_recvmsg(s->sock, &m, timeout ? 0 : MSG_DONTWAIT));
}

ssize_t lustre_kapi_sock_send(struct lustre_kapi_sock *s, const void *buf, size_t len,
			      long timeout)
{
	struct kvec v = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr m = { .msg_flags = MSG_NOSIGNAL };

	WRITE_ONCE(s->sock->sk->sk_sndtimeo, timeout);
	iov_iter_kvec(&m.msg_iter, ITER_SOURCE, &v, 1, len);
	return restarted(sock_sendmsg(s->sock, &m));
}

ssize_t lustre_kapi_sock_try_send(struct lustre_kapi_sock *s, const void *head, size_t head_len,
				  const void *body, size_t body_len, bool more)
{
	struct kvec v[] = {
		{ .iov_base = (void *)head, .iov_len = head_len },
		{ .iov_base = (void *)body, .iov_len = body_len },
	};
	struct msghdr m = {
		.msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0),
	};

	iov_iter_kvec(&m.msg_iter, ITER_SOURCE, v, ARRAY_SIZE(v), head_len + body_len);
	return sock_sendmsg(s->sock, &m);
}

ssize_t lustre_kapi_sock_recv_pages(struct lustre_kapi_sock *s, const struct bio_vec *bv,
				    size_t nr, size_t off, size_t len)
{
	struct msghdr m = {};

	iov_iter_bvec(&m.msg_iter, ITER_DEST, bv, nr, off + len);
	iov_iter_advance(&m.msg_iter, off);
	return sock_recvmsg(s->sock, &m, MSG_DONTWAIT);
}

ssize_t lustre_kapi_sock_send_pages(struct lustre_kapi_sock *s, const struct bio_vec *bv,
				    size_t nr, size_t off, size_t len, bool more)
{
	struct msghdr m = {
		.msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_SPLICE_PAGES | (more ? MSG_MORE : 0),
	};

	iov_iter_bvec(&m.msg_iter, ITER_SOURCE, bv, nr, off + len);
	iov_iter_advance(&m.msg_iter, off);
	return sock_sendmsg(s->sock, &m);
}

/* The socket's sk_callback_lock is held, so it is in the poller. */
static void post(struct lustre_kapi_sock *s, u32 events)
{
	struct lustre_kapi_poller *p = s->poller;

	if (!events)
		return;
	spin_lock_bh(&p->lock);
	if (!s->events)
		list_add_tail(&s->ready, &p->ready);
	s->events |= events;
	spin_unlock_bh(&p->lock);
	wake_up(&p->wait);
}

static u32 closed(const struct sock *sk)
{
	if (sk->sk_err || sk->sk_state == TCP_CLOSE || (READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN))
		return LUSTRE_KAPI_CLOSED | LUSTRE_KAPI_READABLE | LUSTRE_KAPI_WRITABLE;
	return 0;
}

/*
 * A callback may have been fetched from the socket just before it left its poller. The socket has
 * its own callback back then, which is called instead.
 */
static void data_ready(struct sock *sk)
{
	struct lustre_kapi_sock *s;
	void (*next)(struct sock *sk) = NULL;

	read_lock_bh(&sk->sk_callback_lock);
	s = sk->sk_user_data;
	if (s) {
		post(s, LUSTRE_KAPI_READABLE | closed(sk));
		next = s->data_ready;
	} else if (sk->sk_data_ready != data_ready) {
		next = sk->sk_data_ready;
	}
	read_unlock_bh(&sk->sk_callback_lock);
	if (next)
		next(sk);
}

static void write_space(struct sock *sk)
{
	struct lustre_kapi_sock *s;
	void (*next)(struct sock *sk) = NULL;

	read_lock_bh(&sk->sk_callback_lock);
	s = sk->sk_user_data;
	if (s) {
		if (sk_stream_is_writeable(sk))
			post(s, LUSTRE_KAPI_WRITABLE);
		next = s->write_space;
	} else if (sk->sk_write_space != write_space) {
		next = sk->sk_write_space;
	}
	read_unlock_bh(&sk->sk_callback_lock);
	if (next)
		next(sk);
}

static void state_change(struct sock *sk)
{
	struct lustre_kapi_sock *s;
	void (*next)(struct sock *sk) = NULL;

	read_lock_bh(&sk->sk_callback_lock);
	s = sk->sk_user_data;
	if (s) {
		u32 events = closed(sk);

		if (sk->sk_state == TCP_ESTABLISHED)
			events |= LUSTRE_KAPI_WRITABLE;
		post(s, events);
		next = s->state_change;
	} else if (sk->sk_state_change != state_change) {
		next = sk->sk_state_change;
	}
	read_unlock_bh(&sk->sk_callback_lock);
	if (next)
		next(sk);
}

struct lustre_kapi_poller *lustre_kapi_poller_create(void)
{
	struct lustre_kapi_poller *p = kzalloc(sizeof(*p), GFP_KERNEL);

	if (!p)
		return NULL;
	refcount_set(&p->refs, 1);
	spin_lock_init(&p->lock);
	INIT_LIST_HEAD(&p->ready);
	init_waitqueue_head(&p->wait);
	return p;
}

void lustre_kapi_poller_put(struct lustre_kapi_poller *p)
{
	if (refcount_dec_and_test(&p->refs))
		kfree(p);
}

int lustre_kapi_poller_add(struct lustre_kapi_poller *p, struct lustre_kapi_sock *s, u64 token)
{
	struct sock *sk = s->sock->sk;
	__poll_t mask;
	u32 events = 0;

	mutex_lock(&s->lock);
	if (s->poller) {
		mutex_unlock(&s->lock);
		return -EEXIST;
	}
	refcount_inc(&p->refs);

	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	s->poller = p;
	s->token = token;
	s->data_ready = sk->sk_data_ready;
	s->write_space = sk->sk_write_space;
	s->state_change = sk->sk_state_change;
	sk->sk_user_data = s;
	sk->sk_data_ready = data_ready;
	sk->sk_write_space = write_space;
	sk->sk_state_change = state_change;
	write_unlock_bh(&sk->sk_callback_lock);
	release_sock(sk);

	/* What was so before the callbacks were in place. */
	mask = s->sock->ops->poll(NULL, s->sock, NULL);
	if (mask & EPOLLIN)
		events |= LUSTRE_KAPI_READABLE;
	if (mask & EPOLLOUT)
		events |= LUSTRE_KAPI_WRITABLE;
	if (mask & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		events |= LUSTRE_KAPI_CLOSED | LUSTRE_KAPI_READABLE | LUSTRE_KAPI_WRITABLE;
	read_lock_bh(&sk->sk_callback_lock);
	post(s, events);
	read_unlock_bh(&sk->sk_callback_lock);
	mutex_unlock(&s->lock);
	return 0;
}

void lustre_kapi_poller_remove(struct lustre_kapi_poller *p, struct lustre_kapi_sock *s)
{
	struct sock *sk = s->sock->sk;

	mutex_lock(&s->lock);
	if (!p || s->poller != p) {
		mutex_unlock(&s->lock);
		return;
	}
	/* With the socket's lock held no callback is running. */
	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_data_ready = s->data_ready;
	sk->sk_write_space = s->write_space;
	sk->sk_state_change = s->state_change;
	sk->sk_user_data = NULL;
	s->poller = NULL;
	write_unlock_bh(&sk->sk_callback_lock);
	release_sock(sk);

	spin_lock_bh(&p->lock);
	list_del_init(&s->ready);
	s->events = 0;
	spin_unlock_bh(&p->lock);
	mutex_unlock(&s->lock);
	lustre_kapi_poller_put(p);
}

int lustre_kapi_poller_wait(struct lustre_kapi_poller *p, struct lustre_kapi_event *events,
			    int max, long timeout)
{
	int n = 0;
	bool more;

	spin_lock_bh(&p->lock);
	while (list_empty(&p->ready) && !p->woken && timeout) {
		DEFINE_WAIT(wait);

		prepare_to_wait_exclusive(&p->wait, &wait, TASK_IDLE);
		spin_unlock_bh(&p->lock);
		timeout = schedule_timeout(timeout);
		finish_wait(&p->wait, &wait);
		spin_lock_bh(&p->lock);
	}
	p->woken = false;
	while (n < max && !list_empty(&p->ready)) {
		struct lustre_kapi_sock *s;

		s = list_first_entry(&p->ready, struct lustre_kapi_sock, ready);
		list_del_init(&s->ready);
		events[n].token = s->token;
		events[n].events = s->events;
		s->events = 0;
		n++;
	}
	more = !list_empty(&p->ready);
	spin_unlock_bh(&p->lock);
	if (more)
		wake_up(&p->wait);
	return n;
}

void lustre_kapi_poller_wake(struct lustre_kapi_poller *p)
{
	spin_lock_bh(&p->lock);
	p->woken = true;
	spin_unlock_bh(&p->lock);
	wake_up(&p->wait);
}

int lustre_kapi_interface_address(const char *name, u32 *ip)
{
	struct net_device *dev;
	int rc = -ENODEV;

	rtnl_lock();
	for_each_netdev(&init_net, dev) {
		const struct in_device *in_dev = __in_dev_get_rtnl(dev);
		const struct in_ifaddr *ifa;

		if (name ? strcmp(dev->name, name) :
			   !(dev->flags & IFF_UP) || (dev->flags & IFF_LOOPBACK))
			continue;
		ifa = in_dev ? rtnl_dereference(in_dev->ifa_list) : NULL;
		if (ifa) {
			*ip = ntohl(ifa->ifa_local);
			rc = 0;
			break;
		}
		if (name) {
			rc = -EADDRNOTAVAIL;
			break;
		}
	}
	rtnl_unlock();
	return rc;
}

size_t lustre_kapi_addresses(u32 *ips, size_t max)
{
	struct net_device *dev;
	size_t n = 0;

	rtnl_lock();
	for_each_netdev(&init_net, dev) {
		const struct in_device *in_dev = __in_dev_get_rtnl(dev);
		const struct in_ifaddr *ifa;

		if (!in_dev || !(dev->flags & IFF_UP) || (dev->flags & IFF_LOOPBACK))
			continue;
		in_dev_for_each_ifa_rtnl(ifa, in_dev) {
			if (n < max)
				ips[n++] = ntohl(ifa->ifa_local);
		}
	}
	rtnl_unlock();
	return n;
}
