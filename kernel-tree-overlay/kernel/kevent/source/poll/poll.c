// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the wake-ups of a file are worth.
 *
 * The key of a wake-up says which events it is for.  That may be more than
 * there is: every byte that arrives at a socket wakes those who wait for urgent
 * data or for a band of its own, and what a poll finds is another matter.  So
 * that no event is reported that never was, the doubtful ones are read here, as
 * poll() reads them, in the context of the waker.  What cannot be read so is
 * left to a poll.
 *
 * And how files are polled that do not sleep for that.
 */
#include <linux/err.h>
#include <linux/eventfd.h>
#include <linux/net.h>
#include <linux/pipe_fs_i.h>
#include <linux/poll.h>
#include <linux/skbuff.h>
#include <net/af_unix.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/udp.h>

#include "../../kevent.h"

#define POLL_IN_BITS	(KEVENT_POLL_IN | KEVENT_POLL_RDNORM)
#define POLL_OUT_BITS	(KEVENT_POLL_OUT | KEVENT_POLL_WRNORM | \
			 KEVENT_POLL_WRBAND)

/* What no wake-up proves. */
#define POLL_DOUBTFUL	(KEVENT_POLL_PRI | KEVENT_POLL_ERR | \
			 KEVENT_POLL_RDBAND | KEVENT_POLL_WRBAND | \
			 KEVENT_POLL_MSG)

static u32 kevent_poll_unknown(u32 events, u32 doubtful)
{
	return events & doubtful ?
	       (events & ~doubtful) | KEVENT_POLL_UNKNOWN : events;
}

#ifdef CONFIG_NET
/* As datagram_poll(), or unix_dgram_poll(). */
static u32 kevent_poll_datagram(const struct sock *sk, u32 events)
{
	events &= ~(KEVENT_POLL_RDBAND | KEVENT_POLL_MSG);
	if (!READ_ONCE(sk->sk_err) &&
	    skb_queue_empty_lockless(&sk->sk_error_queue))
		events &= ~(KEVENT_POLL_ERR | KEVENT_POLL_PRI);
	if (!sock_flag(sk, SOCK_SELECT_ERR_QUEUE))
		events &= ~KEVENT_POLL_PRI;
	return events;
}

/* As unix_poll(). */
static u32 kevent_poll_unix_stream(const struct sock *sk, u32 events)
{
	events &= ~(KEVENT_POLL_RDBAND | KEVENT_POLL_MSG);
	if (!READ_ONCE(sk->sk_err))
		events &= ~KEVENT_POLL_ERR;
#if IS_ENABLED(CONFIG_AF_UNIX_OOB)
	if (!READ_ONCE(unix_sk(sk)->oob_skb))
#endif
		events &= ~KEVENT_POLL_PRI;
	return events;
}

#ifdef CONFIG_INET
/* Whether there is something to read beside the urgent byte, as tcp_poll(). */
static bool kevent_poll_tcp_is_readable(const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	int target = sock_rcvlowat(sk, 0, INT_MAX);

	if (READ_ONCE(tp->urg_seq) == READ_ONCE(tp->copied_seq) &&
	    !sock_flag(sk, SOCK_URGINLINE))
		target++;
	/* TLS and BPF have queues of their own. */
	return tcp_epollin_ready(sk, target) ||
	       READ_ONCE(sk->sk_prot)->sock_is_readable ||
	       READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN;
}

static u32 kevent_poll_tcp(const struct sock *sk, u32 events)
{
	u16 urgent = READ_ONCE(tcp_sk(sk)->urg_data);

	events &= ~(KEVENT_POLL_RDBAND | KEVENT_POLL_WRBAND | KEVENT_POLL_MSG);
	if (!(urgent & TCP_URG_VALID))
		events &= ~KEVENT_POLL_PRI;
	if (unlikely(urgent) && events & POLL_IN_BITS &&
	    !kevent_poll_tcp_is_readable(sk))
		events &= ~POLL_IN_BITS;
	if (events & KEVENT_POLL_ERR && !READ_ONCE(sk->sk_err) &&
	    skb_queue_empty_lockless(&sk->sk_error_queue))
		events &= ~KEVENT_POLL_ERR;
	return events;
}
#else
static u32 kevent_poll_tcp(const struct sock *sk, u32 events)
{
	return kevent_poll_unknown(events, POLL_DOUBTFUL);
}
#endif

static u32 kevent_poll_socket(const struct socket *sock, u32 events)
{
	const struct proto_ops *ops = READ_ONCE(sock->ops);
	const struct sock *sk = sock->sk;

	if (IS_ENABLED(CONFIG_INET) && sk_is_tcp(sk) && ops->poll == tcp_poll)
		return kevent_poll_tcp(sk, events);
	if (IS_ENABLED(CONFIG_UNIX) && sk_is_stream_unix(sk))
		return kevent_poll_unix_stream(sk, events);
	if (ops->poll == datagram_poll ||
	    (IS_ENABLED(CONFIG_INET) && ops->poll == udp_poll))
		return kevent_poll_datagram(sk, events);
	if (IS_ENABLED(CONFIG_UNIX) && sk_is_unix(sk)) {
		events = kevent_poll_datagram(sk, events);
		return sk->sk_type == SOCK_DGRAM ?
		       kevent_poll_unknown(events, POLL_OUT_BITS) : events;
	}
	return kevent_poll_unknown(events, POLL_DOUBTFUL);
}
#endif

/**
 * kevent_poll_doubtful - for which events a wake-up of a file is no proof
 * @file: it
 *
 * The urgent byte of TCP arrives like any other, and is not to be read like
 * any other.  A unix datagram socket says that there is space when its own
 * buffer has some, though that of the peer may be full still; a send that fails
 * for that gives its buffer back, and says so each time.
 *
 * Return: KEVENT_POLL_* bits.
 */
u16 kevent_poll_doubtful(struct file *file)
{
	u32 doubtful = POLL_DOUBTFUL;
#ifdef CONFIG_NET
	const struct socket *sock = sock_from_file(file);
	const struct sock *sk = sock ? sock->sk : NULL;

	if (sk && sk_is_tcp(sk))
		doubtful |= POLL_IN_BITS;
	if (sk && sk_is_unix(sk) && sk->sk_type == SOCK_DGRAM)
		doubtful |= POLL_OUT_BITS;
#endif
	return doubtful;
}

/**
 * kevent_poll_read - which events of a wake-up there are
 * @file: whose wake-up it is
 * @events: those that it is for and that are of interest, KEVENT_POLL_* bits
 *
 * To be called from a wake function.
 *
 * Return: those that there are; with KEVENT_POLL_UNKNOWN if only a poll can say
 * it of the others.
 */
u32 kevent_poll_read(struct file *file, u32 events)
{
#ifdef CONFIG_NET
	const struct socket *sock = sock_from_file(file);

	if (sock && sock->sk)
		return kevent_poll_socket(sock, events);
#endif
	return kevent_poll_unknown(events, POLL_DOUBTFUL);
}

/**
 * kevent_poll_is_atomic - whether a file never sleeps when it is polled
 * @file: it; of a socket that is for kevent_poll_at_once() to see
 *
 * Return: whether it is known not to.
 */
bool kevent_poll_is_atomic(struct file *file)
{
#ifdef CONFIG_EVENTFD
	struct eventfd_ctx *ctx;
#endif

	if (IS_ENABLED(CONFIG_NET) && sock_from_file(file))
		return false;
#ifdef CONFIG_EVENTFD
	ctx = eventfd_ctx_fileget(file);
	if (!IS_ERR(ctx)) {
		eventfd_ctx_put(ctx);
		return true;
	}
#endif
	return get_pipe_info(file, false);
}

#ifdef CONFIG_NET
/* TLS and others replace the operations of a socket: what is read is called. */
static u32 kevent_poll_socket_at_once(struct file *file, struct socket *sock,
				      struct poll_table_struct *table)
{
	const struct proto_ops *ops = READ_ONCE(sock->ops);

	if (!ops || !sock->sk)
		return KEVENT_POLL_UNKNOWN;
#ifdef CONFIG_INET
	if (ops->poll == tcp_poll)
		return tcp_poll(file, sock, table);
	if (ops->poll == udp_poll)
		return udp_poll(file, sock, table);
#endif
	if (ops->poll == datagram_poll || sk_is_unix(sock->sk))
		return ops->poll(file, sock, table);
	return KEVENT_POLL_UNKNOWN;
}
#endif

/**
 * kevent_poll_at_once - poll a file that does not sleep for it
 * @file: it
 * @key: what is of interest, EPOLL* bits
 * @atomic: what kevent_poll_is_atomic() has said of it
 *
 * A socket that polls its device meanwhile if it is asked to is not.
 *
 * Return: what there is, EPOLL* bits; KEVENT_POLL_UNKNOWN if it may sleep, and
 * was not polled.
 */
u32 kevent_poll_at_once(struct file *file, u32 key, bool atomic)
{
	struct poll_table_struct table = { ._key = key };
#ifdef CONFIG_NET
	struct socket *sock = sock_from_file(file);

	if (sock)
		return kevent_poll_socket_at_once(file, sock, &table);
#endif
	return atomic ? file->f_op->poll(file, &table) : KEVENT_POLL_UNKNOWN;
}
