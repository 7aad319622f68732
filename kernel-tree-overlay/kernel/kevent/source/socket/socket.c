// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a socket has to report: its state, and how much can be read and written.
 *
 * All of it is read without the lock of the socket, as poll() does, because it
 * is wanted where the socket wakes those who wait for it: in any context that
 * may take a spinlock, with the lock of the wait queue held and interrupts
 * disabled.
 *
 * Two things need another lock still: the size of a message, that of the
 * receive queue; and how much the peer of a unix socket has sent, that of the
 * socket.  Tasks that hold them may wake others, so under the lock of a wait
 * queue they are only tried. A waker that finds one held does not know what the
 * wake-up is for, and leaves it to a task to poll the socket.
 *
 * What was read last is in struct kevent_socket, for the event.  It is read and
 * written there under the lock of the wait queue, so that what a task has found
 * does not replace what a waker has found after that.
 */
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/preempt.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <net/af_unix.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/udp.h>

#include "../../kevent.h"

#define POLLED_IN	((__force u32)(EPOLLIN | EPOLLRDNORM))
#define POLLED_OUT	((__force u32)(EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND))
#define POLLED_PRI	((__force u32)(EPOLLPRI | EPOLLRDBAND))
#define POLLED_ERR	((__force u32)EPOLLERR)
#define POLLED_HUP	((__force u32)EPOLLHUP)
#define POLLED_RDHUP	((__force u32)EPOLLRDHUP)

/* How to find out what can be read. */
enum kevent_socket_kind {
	KIND_TCP,
	KIND_UNIX,	/* stream */
	KIND_UDP,
	KIND_MESSAGES,	/* in sk_receive_queue, under its lock */
	KIND_OTHER,	/* only the protocol knows */
};

/**
 * struct kevent_sock_view - a look at a socket
 * @sk: the protocol's part of it
 * @kind: how to find out what can be read
 * @is_tcp: TCP, of whichever kind
 * @state: TCP_*, which other protocols use as well
 * @shutdown: RCV_SHUTDOWN, SEND_SHUTDOWN
 * @polled: what poll() or a waker has said.  It decides where only the protocol
 *	knows
 */
struct kevent_sock_view {
	struct sock *sk;
	enum kevent_socket_kind kind;
	bool is_tcp;
	int state;
	u8 shutdown;
	u32 polled;
};

static void kevent_sock_read(struct kevent_sock_view *look, const struct socket *sock,
			     u32 polled)
{
	struct sock *sk = sock->sk;

	look->sk = sk;
	look->is_tcp = IS_ENABLED(CONFIG_INET) && sk_is_tcp(sk);
	look->polled = polled;
	/* TLS, BPF: what is in the queues is not what will be read. */
	if (READ_ONCE(sk->sk_prot)->sock_is_readable)
		look->kind = KIND_OTHER;
	else if (look->is_tcp && READ_ONCE(sock->ops)->poll == tcp_poll)
		look->kind = KIND_TCP;
	else if (IS_ENABLED(CONFIG_INET) && sk_is_udp(sk))
		look->kind = KIND_UDP;
	else if (IS_ENABLED(CONFIG_UNIX) && sk_is_stream_unix(sk))
		look->kind = KIND_UNIX;
	else if (sk_is_unix(sk) || sk->sk_family == AF_PACKET ||
		 READ_ONCE(sock->ops)->poll == datagram_poll)
		look->kind = KIND_MESSAGES;
	else
		look->kind = KIND_OTHER;
	look->state = inet_sk_state_load(sk);
	look->shutdown = READ_ONCE(sk->sk_shutdown);
}

/*
 * shutdown() of a TCP listener leaves a socket like a new one, but for a flag
 * that every listener gets and no other TCP socket has.
 */
static bool kevent_was_listening(const struct kevent_sock_view *look)
{
	return look->is_tcp && look->state == TCP_CLOSE &&
	       sock_flag(look->sk, SOCK_RCU_FREE);
}

static bool kevent_has_connections(const struct sock *sk)
{
	return sk->sk_type == SOCK_STREAM || sk->sk_type == SOCK_SEQPACKET;
}

/* Whether data can be exchanged, or could until the connection was closed. */
static bool kevent_is_connected(const struct kevent_sock_view *look)
{
	if (!look->is_tcp)
		return look->state == TCP_ESTABLISHED;
	/* Passive Fast Open: it can be used before the handshake is over. */
	if (look->state == TCP_SYN_RECV)
		return rcu_access_pointer(tcp_sk(look->sk)->fastopen_rsk);
	return !((1 << look->state) & (TCPF_CLOSE | TCPF_LISTEN |
				       TCPF_SYN_SENT | TCPF_NEW_SYN_RECV));
}

/*
 * sock_wfree() says that there is space before it gives back the last byte of a
 * buffer, which may happen on several CPUs at once.  No buffer is that small.
 */
static u32 kevent_sent(const struct sock *sk)
{
	int sent = sk_wmem_alloc_get(sk);

	return sent < SKB_TRUESIZE(0) ? 0 : sent;
}

static u32 kevent_unused(const struct sock *sk, bool is_tcp)
{
	int used = READ_ONCE(sk->sk_wmem_queued);

	if (!is_tcp)
		used = max_t(int, used, kevent_sent(sk));
	return max(READ_ONCE(sk->sk_sndbuf) - used, 0);
}

static u32 kevent_free_space(const struct kevent_sock_view *look)
{
	if (look->shutdown & SEND_SHUTDOWN)
		return 0;
	return kevent_unused(look->sk, look->is_tcp);
}

static bool kevent_is_drained(const struct kevent_sock_view *look)
{
	const struct sock *sk = look->sk;
	const struct tcp_sock *tp = tcp_sk(sk);

	if (!look->is_tcp)
		return !kevent_sent(sk) && !READ_ONCE(sk->sk_wmem_queued);
	/* It was connected; if that has failed, the SYN was not answered. */
	if (!kevent_is_connected(look) && look->shutdown != SHUTDOWN_MASK)
		return false;
	return READ_ONCE(tp->write_seq) == READ_ONCE(tp->snd_una);
}

static bool kevent_is_writable(const struct kevent_sock_view *look, u32 space,
			       u32 mark)
{
	const struct sock *sk = look->sk;
	bool shutdown = look->shutdown & SEND_SHUTDOWN;

	if (!(look->polled & POLLED_OUT))
		return false;
	/* That it is too late is reported at once. */
	if (!shutdown && space < min_t(u32, mark, READ_ONCE(sk->sk_sndbuf)))
		return false;
	if (look->is_tcp) {
		/* Or if what is written goes with the SYN. */
		if (!kevent_is_connected(look) &&
		    !(look->state == TCP_SYN_SENT &&
		      inet_test_bit(DEFER_CONNECT, sk)))
			return false;
		return shutdown || __sk_stream_is_writeable(sk, 1);
	}
	if (sk_is_unix(sk)) {
		if (kevent_has_connections(sk) && look->state == TCP_CLOSE)
			return false;
		return refcount_read(&sk->sk_wmem_alloc) <=
		       READ_ONCE(sk->sk_sndbuf) >> 2;
	}
	return look->kind == KIND_OTHER || sock_writeable(sk);
}

/*
 * Whether the peer of a unix datagram socket takes no more from this one, or
 * -EAGAIN.
 */
static int kevent_unix_peer_is_full(struct sock *sk)
{
	struct sock *peer;
	bool full;

	if (in_hardirq() || !spin_trylock(&unix_sk(sk)->lock))
		return -EAGAIN;
	peer = unix_peer(sk);
	full = peer && READ_ONCE(unix_peer(peer)) != sk &&
	       skb_queue_len_lockless(&peer->sk_receive_queue) >
	       READ_ONCE(peer->sk_max_ack_backlog);
	spin_unlock(&unix_sk(sk)->lock);
	return full;
}

static u32 kevent_backlog(const struct sock *sk)
{
	if (sk_is_unix(sk))
		return skb_queue_len_lockless(&sk->sk_receive_queue);
	return READ_ONCE(sk->sk_ack_backlog);
}

#ifdef CONFIG_INET
static u32 kevent_tcp_amount(const struct kevent_sock_view *look)
{
	const struct sock *sk = look->sk;
	const struct tcp_sock *tp = tcp_sk(sk);
	u32 copied = READ_ONCE(tp->copied_seq);
	u32 next = READ_ONCE(tp->rcv_nxt);
	int amount = next - copied;

	/* The two are not set at once. */
	if (look->state != TCP_CLOSE && !kevent_is_connected(look))
		return 0;
	/* The FIN has a number too. */
	if (amount > 0 && sock_flag(sk, SOCK_DONE))
		amount--;
	/* And the urgent byte, which is passed over. */
	if (amount > 0 && unlikely(READ_ONCE(tp->urg_data)) &&
	    !sock_flag(sk, SOCK_URGINLINE)) {
		u32 urgent = READ_ONCE(tp->urg_seq);

		if (!before(urgent, copied) && before(urgent, next))
			amount--;
	}
	return max(amount, 0);
}

/* Whether no more will come until something was read: tcp_epollin_ready(). */
static bool kevent_tcp_is_full(const struct sock *sk)
{
	return tcp_rmem_pressure(sk) ||
	       tcp_receive_window(tcp_sk(sk)) <= inet_csk(sk)->icsk_ack.rcv_mss;
}

/*
 * Whether space may have become free since the last time this was asked.  A
 * socket with SOCK_SPACE_WATCHED says so with each segment that comes in.
 */
static bool kevent_tcp_has_flown(struct kevent_socket *ks,
				 const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	const u32 flow[ARRAY_SIZE(ks->flow)] = {
		READ_ONCE(tp->snd_una),
		READ_ONCE(tp->snd_nxt),
		READ_ONCE(tp->write_seq),
		READ_ONCE(sk->sk_sndbuf),
		tcp_notsent_lowat(tp),
	};

	/* What holds now is looked at after that: rather report it twice. */
	smp_rmb();
	if (!memcmp(ks->flow, flow, sizeof(flow)))
		/* It may have been memory that was missing. */
		return tcp_under_memory_pressure(sk);
	memcpy(ks->flow, flow, sizeof(flow));
	return true;
}
#else
static u32 kevent_tcp_amount(const struct kevent_sock_view *look)
{
	return 0;
}

static bool kevent_tcp_is_full(const struct sock *sk)
{
	return false;
}

static bool kevent_tcp_has_flown(struct kevent_socket *ks,
				 const struct sock *sk)
{
	return true;
}
#endif

/*
 * Whether the peer of a unix socket is not reported any more that it can send,
 * or
 * -EAGAIN.
 */
static int kevent_unix_is_full(struct sock *sk)
{
	const struct sock *peer;
	bool full;

	if (in_hardirq() || !spin_trylock(&unix_sk(sk)->lock))
		return -EAGAIN;
	peer = unix_peer(sk);
	full = !peer || refcount_read(&peer->sk_wmem_alloc) >
			READ_ONCE(peer->sk_sndbuf) >> 2;
	spin_unlock(&unix_sk(sk)->lock);
	return full;
}

/* The size of the first message, -ENODATA if there is none, or -EAGAIN. */
static int kevent_first_len(struct sk_buff_head *queue)
{
	const struct sk_buff *skb;
	int len;

	if (skb_queue_empty_lockless(queue))
		return -ENODATA;
	if (in_hardirq() || !spin_trylock(&queue->lock))
		return -EAGAIN;
	skb = skb_peek(queue);
	len = skb ? skb->len : -ENODATA;
	spin_unlock(&queue->lock);
	return len;
}

/* The same for the two queues of a UDP socket. */
static int kevent_udp_first_len(struct sock *sk)
{
	struct sk_buff_head *first = &udp_sk(sk)->reader_queue;
	const struct sk_buff *skb;
	int len;

	/* Its holder may be moving all from one queue to the other. */
	if (in_hardirq() || !spin_trylock(&first->lock))
		return -EAGAIN;
	skb = skb_peek(first);
	len = skb ? skb->len : kevent_first_len(&sk->sk_receive_queue);
	spin_unlock(&first->lock);
	return len;
}

/*
 * Whether so much can be read that it is to be reported, and how much; or
 * -EAGAIN.
 */
static int kevent_is_readable(const struct kevent_sock_view *look, u32 mark,
			      u32 *amount)
{
	struct sock *sk = look->sk;
	int len;

	switch (look->kind) {
	case KIND_TCP:
		*amount = kevent_tcp_amount(look);
		break;
	case KIND_UNIX:
		*amount = max(READ_ONCE(unix_sk(sk)->inq_len), 0);
		break;
	case KIND_UDP:
	case KIND_MESSAGES:
		len = look->kind == KIND_UDP ?
		      kevent_udp_first_len(sk) :
		      kevent_first_len(&sk->sk_receive_queue);
		if (len == -EAGAIN)
			return len;
		*amount = max(len, 0);
		/* It may be in a ring that is mapped into the program. */
		return len >= 0 || (sk->sk_family == AF_PACKET &&
				    look->polled & POLLED_IN);
	default:
		*amount = 0;
		return !!(look->polled & POLLED_IN);
	}

	if (!*amount)
		return false;
	/* Those who wake do not do so for less than SO_RCVLOWAT. */
	mark = max_t(u32, mark, sock_rcvlowat(sk, 0, INT_MAX));
	/* If no more will come, there is nothing to wait for. */
	if (*amount >= mark || look->shutdown & RCV_SHUTDOWN)
		return true;
	return look->kind == KIND_TCP ? kevent_tcp_is_full(sk) :
					kevent_unix_is_full(sk);
}

static bool kevent_is_urgent(const struct kevent_sock_view *look)
{
	switch (look->kind) {
	case KIND_TCP:
		return READ_ONCE(tcp_sk(look->sk)->urg_data) & TCP_URG_VALID;
	case KIND_UNIX:
#if IS_ENABLED(CONFIG_AF_UNIX_OOB)
		return READ_ONCE(unix_sk(look->sk)->oob_skb);
#endif
		return false;
	case KIND_OTHER:
		return look->polled & POLLED_PRI;
	default:
		return false;
	}
}

/*
 * What may come to hold of a socket without a wake-up: a unix socket is
 * connected, the first data of a TCP socket is to go with the SYN, SO_RCVLOWAT
 * is lowered.  In the last case TCP wakes those who wait.
 */
static u32 kevent_socket_silent(const struct kevent_socket *ks,
				const struct kevent_sock_view *look, u32 amount)
{
	const struct sock *sk = look->sk;
	u32 silent = 0, mark;

	if (look->state == TCP_CLOSE && look->shutdown != SHUTDOWN_MASK &&
	    kevent_has_connections(sk)) {
		if (sk_is_unix(sk))
			silent |= KEVENT_SOCKET_CONNECT | KEVENT_SOCKET_OUT;
		else if (look->is_tcp)
			silent |= KEVENT_SOCKET_OUT;
	}
	mark = sock_rcvlowat(sk, 0, INT_MAX);
	if (mark > 1 &&
	    (look->kind == KIND_OTHER ||
	     (look->kind == KIND_UNIX && amount &&
	      amount >= READ_ONCE(ks->receive_mark))))
		silent |= KEVENT_SOCKET_IN;
	return silent;
}

/*
 * What holds of a socket, of what is @wanted, and what else may come to hold
 * without a wake-up; KEVENT_SOCKET_UNKNOWN if that cannot be known now.
 *
 * To be called with the lock of the wait queue held.
 */
static u32 kevent_socket_state(struct kevent_socket *ks,
			       const struct kevent_sock_view *look, u32 wanted)
{
	const bool was_listening = kevent_was_listening(look);
	const struct socket *sock = ks->sock;
	struct sock *sk = look->sk;
	u32 events = 0, silent = 0, amount = 0, space;
	int ret, error;

	space = kevent_free_space(look);
	if (look->state == TCP_LISTEN && kevent_has_connections(sk)) {
		amount = kevent_backlog(sk);
		if (look->kind == KIND_OTHER ? look->polled & POLLED_IN :
					       amount)
			events |= KEVENT_SOCKET_ACCEPT;
	} else {
		ret = kevent_is_readable(look, READ_ONCE(ks->receive_mark),
					 &amount);
		if (ret < 0)
			return KEVENT_SOCKET_UNKNOWN;
		if (ret)
			events |= KEVENT_SOCKET_IN;
		/* Some have a state of their own for those that listen. */
		if (look->kind == KIND_OTHER && look->polled & POLLED_IN &&
		    kevent_has_connections(sk) && !kevent_is_connected(look))
			events |= KEVENT_SOCKET_ACCEPT;
		if (wanted & KEVENT_SOCKET_OUT &&
		    kevent_is_writable(look, space, READ_ONCE(ks->send_mark)))
			events |= KEVENT_SOCKET_OUT;
		if (wanted & KEVENT_SOCKET_CONNECT &&
		    kevent_has_connections(sk) && kevent_is_connected(look))
			events |= KEVENT_SOCKET_CONNECT;
		if (wanted & KEVENT_SOCKET_OOB && kevent_is_urgent(look))
			events |= KEVENT_SOCKET_OOB;
		if (wanted & KEVENT_SOCKET_DRAINED && kevent_is_drained(look))
			events |= KEVENT_SOCKET_DRAINED;
		silent = kevent_socket_silent(ks, look, amount);
	}
	if (look->shutdown & RCV_SHUTDOWN || was_listening)
		events |= KEVENT_SOCKET_EOF;
	if (look->shutdown == SHUTDOWN_MASK || was_listening)
		events |= KEVENT_SOCKET_CLOSED;
	if (look->kind == KIND_OTHER) {
		if (look->polled & POLLED_RDHUP)
			events |= KEVENT_SOCKET_EOF;
		/* Some say so of what was never connected. */
		if (look->polled & POLLED_HUP && sock->state != SS_UNCONNECTED)
			events |= KEVENT_SOCKET_CLOSED;
	}
	/* Pairs with smp_wmb() in tcp_done_with_error(). */
	smp_rmb();
	error = READ_ONCE(sk->sk_err);
	if (error || !skb_queue_empty_lockless(&sk->sk_error_queue))
		events |= KEVENT_SOCKET_ERROR;

	WRITE_ONCE(ks->amount, amount);
	WRITE_ONCE(ks->space, space);
	WRITE_ONCE(ks->error, error);
	silent &= wanted & ~events;
	return (events & wanted) | silent << KEVENT_SOCKET_SILENT_SHIFT;
}

/*
 * kevent_socket_woken() for what is most frequent: data has come to a stream
 * that is connected, of which nothing else can be said, and the watch is not
 * interested in more than that and whether it ends.  0 if it is not that.
 */
static u32 kevent_socket_plain(struct kevent_socket *ks, u32 key, u32 interest)
{
	const u32 others = ~(KEVENT_SOCKET_IN | KEVENT_SOCKET_EOF |
			     KEVENT_SOCKET_CLOSED | KEVENT_SOCKET_ERROR);
	const u32 ends = POLLED_ERR | POLLED_HUP | POLLED_RDHUP;
	const struct socket *sock = ks->sock;
	struct sock *sk = sock->sk;
	u32 amount, space;

	if (interest & others || !(key & POLLED_IN) || key & ends)
		return 0;
	if (inet_sk_state_load(sk) != TCP_ESTABLISHED ||
	    READ_ONCE(sk->sk_shutdown) || READ_ONCE(sk->sk_rcvlowat) > 1 ||
	    READ_ONCE(sk->sk_prot)->sock_is_readable)
		return 0;
	if (IS_ENABLED(CONFIG_UNIX) && sk_is_stream_unix(sk)) {
		amount = max(READ_ONCE(unix_sk(sk)->inq_len), 0);
		space = kevent_unused(sk, false);
	} else if (IS_ENABLED(CONFIG_INET) && sk_is_tcp(sk) &&
		   READ_ONCE(sock->ops)->poll == tcp_poll) {
		const struct kevent_sock_view look = {
			.sk = sk,
			.state = TCP_ESTABLISHED,
			.is_tcp = true,
		};

		amount = kevent_tcp_amount(&look);
		space = kevent_unused(sk, true);
	} else {
		return 0;
	}
	/* As in kevent_socket_state(). */
	smp_rmb();
	if (READ_ONCE(sk->sk_err) || !amount ||
	    amount < READ_ONCE(ks->receive_mark))
		return 0;

	WRITE_ONCE(ks->amount, amount);
	WRITE_ONCE(ks->space, space);
	WRITE_ONCE(ks->error, 0);
	return interest & KEVENT_SOCKET_IN;
}

/* What a wake-up for @key may be for. */
static u32 kevent_socket_about(u32 key)
{
	u32 about = 0;

	if (key & POLLED_IN)
		about |= KEVENT_SOCKET_IN | KEVENT_SOCKET_ACCEPT |
			 KEVENT_SOCKET_EOF | KEVENT_SOCKET_CLOSED;
	if (key & POLLED_PRI)
		about |= KEVENT_SOCKET_OOB;
	if (key & POLLED_OUT)
		about |= KEVENT_SOCKET_OUT | KEVENT_SOCKET_DRAINED;
	if (key & POLLED_ERR)
		about |= KEVENT_SOCKET_ERROR | KEVENT_SOCKET_CLOSED;
	if (key & (POLLED_HUP | POLLED_RDHUP))
		about |= KEVENT_SOCKET_EOF | KEVENT_SOCKET_CLOSED;
	return about;
}

/* The rest of kevent_socket_woken(). */
static noinline u32 kevent_socket_woken_slowly(struct kevent_socket *ks,
					       u32 key, u32 interest)
{
	const u32 space = KEVENT_SOCKET_OUT | KEVENT_SOCKET_DRAINED;
	u32 about = kevent_socket_about(key);
	struct kevent_sock_view look;
	u32 events;

	if (about && !(about & interest))
		return 0;
	kevent_sock_read(&look, ks->sock, about ? key : POLLED_OUT);
	if (look.kind == KIND_OTHER) {
		/* Those who wake say OOB with each byte. */
		if (!about || about & interest & KEVENT_SOCKET_OOB)
			return KEVENT_SOCKET_UNKNOWN;
	} else if (!about) {
		about = KEVENT_EVENTS_MASK;
	} else if (look.kind == KIND_TCP && about & interest & space &&
		   !kevent_tcp_has_flown(ks, look.sk)) {
		about &= ~space;
		if (!(about & interest))
			return 0;
	}
	events = kevent_socket_state(ks, &look, about & interest);
	/* If it is full, a task has to register with it. */
	if (events & KEVENT_SOCKET_OUT && sk_is_unix(look.sk) &&
	    look.sk->sk_type != SOCK_STREAM &&
	    kevent_unix_peer_is_full(look.sk))
		return KEVENT_SOCKET_UNKNOWN;
	return events;
}

/**
 * kevent_socket_woken - the socket wakes those who wait for it
 * @ks: the watch's
 * @key: what the waker says that it is for, EPOLL* bits, or none
 * @interest: what the watch wants to know
 *
 * To be called from a wake function.
 *
 * Return: what there is to report, KEVENT_SOCKET_* bits, and from
 * KEVENT_SOCKET_SILENT_SHIFT on what may come to hold without a wake-up;
 * KEVENT_SOCKET_UNKNOWN if a task has to look.
 */
u32 kevent_socket_woken(struct kevent_socket *ks, u32 key, u32 interest)
{
	u32 events = kevent_socket_plain(ks, key, interest);

	return events ?: kevent_socket_woken_slowly(ks, key, interest);
}

/* Waits until a lock is free that kevent_socket_state() found taken. */
static void kevent_socket_wait(enum kevent_socket_kind kind, struct sock *sk)
{
	switch (kind) {
	case KIND_UNIX:
		unix_state_lock(sk);
		unix_state_unlock(sk);
		break;
	case KIND_UDP:
		spin_lock_bh(&udp_sk(sk)->reader_queue.lock);
		spin_unlock_bh(&udp_sk(sk)->reader_queue.lock);
		fallthrough;
	default:
		spin_lock_irq(&sk->sk_receive_queue.lock);
		spin_unlock_irq(&sk->sk_receive_queue.lock);
	}
}

/**
 * kevent_socket_polled - the socket was polled
 * @ks: the watch's
 * @polled: what poll() has said, EPOLL* bits
 *
 * To be called by a task, without locks that others take with interrupts
 * disabled.
 *
 * Return: what holds, KEVENT_SOCKET_* bits, and from KEVENT_SOCKET_SILENT_SHIFT
 * on what may come to hold without a wake-up.
 */
u32 kevent_socket_polled(struct kevent_socket *ks, u32 polled)
{
	const u32 space = KEVENT_SOCKET_OUT | KEVENT_SOCKET_DRAINED;
	struct socket *sock = ks->sock;
	struct kevent_sock_view look;
	u32 events;

	for (;;) {
		spin_lock_irq(&sock->wq.wait.lock);
		if (IS_ENABLED(CONFIG_INET) && sk_is_tcp(sock->sk))
			kevent_tcp_has_flown(ks, sock->sk);
		kevent_sock_read(&look, sock, polled);
		events = kevent_socket_state(ks, &look, KEVENT_EVENTS_MASK);
		/* The wake-up for what is not there yet may have begun. */
		if ((events & space) != space)
			memset(ks->flow, 0, sizeof(ks->flow));
		spin_unlock_irq(&sock->wq.wait.lock);
		if (!(events & KEVENT_SOCKET_UNKNOWN))
			return events;
		kevent_socket_wait(look.kind, look.sk);
	}
}

/**
 * kevent_socket_watch_space - have wake-ups for all space that becomes free
 * @ks: the watch's
 * @watch: false to end that
 *
 * TCP wakes writers only after there was no space, and when a third is free.
 * That is not all that a watch may want to know.
 *
 * Those who call this for one watch do so one at a time.
 */
void kevent_socket_watch_space(struct kevent_socket *ks, bool watch)
{
	struct socket *sock = ks->sock;

	if (ks->watches_space == watch)
		return;
	ks->watches_space = watch;
	spin_lock_irq(&sock->wq.wait.lock);
	if (watch) {
		if (!sock->wq.space_watches++)
			set_bit(SOCK_SPACE_WATCHED, &sock->flags);
	} else {
		if (!--sock->wq.space_watches)
			clear_bit(SOCK_SPACE_WATCHED, &sock->flags);
	}
	spin_unlock_irq(&sock->wq.wait.lock);
	/* Pairs with the one in tcp_check_space(). */
	smp_mb();
}

/**
 * kevent_socket_attach - begin to watch a socket
 * @ks: the watch's
 * @file: of the socket, which is open until the watch has ended
 *
 * Return: 0, or -ENOTSOCK.
 */
int kevent_socket_attach(struct kevent_socket *ks, struct file *file)
{
	struct socket *sock = sock_from_file(file);

	if (!sock || !sock->sk)
		return -ENOTSOCK;
	ks->sock = sock;
	return 0;
}
