// SPDX-License-Identifier: GPL-2.0
/*
 * A server that waits in one place for everything: TCP and UDP clients, AIO,
 * signals, timers, children, a directory, and events that another process posts.
 *
 * It has one thread, one queue with a ring, and one system call to wait. What
 * happens while it is busy it consumes from the ring without any. See
 * Documentation/userspace-api/kevent.rst, and epoll-server.c for how the same is
 * done without kevent.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/mman.h>

#include <linux/kevent.h>

#include "server.h"

#ifndef __NR_kevent_create
#define __NR_kevent_create	473
#define __NR_kevent_add		474
#define __NR_kevent_post	477
#define __NR_kevent_wait	478
#endif

#define ENTRIES	256

/* The queue. */
static int queue;
static __u64 features;
static struct kevent_ring *ring;
static struct kevent_event *slots;
static __u32 entries;

static void make_queue(void)
{
	struct kevent_create args = {
		.entries = ENTRIES,
	};

	queue = check(syscall(__NR_kevent_create, &args, sizeof(args), 0),
		      "kevent_create");
	ring = mmap(NULL, args.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    queue, 0);
	if (ring == MAP_FAILED)
		die("mmap");
	slots = (void *)ring + args.entries_offset;
	entries = args.ring_entries;
	features = args.features;
}

static bool has(int source)
{
	return features & KEVENT_FEATURE_SOURCE(source);
}

/* What an event is about: its kind, and a descriptor or a signal. */
static __u64 about(enum kind kind, int what)
{
	return (__u64)what << 32 | kind;
}

static void watch(enum kind kind, int source, int ident, __u32 events,
		  __u32 flags, __u64 first, __u64 interval)
{
	struct kevent_watch w = {
		.source = source,
		.flags = flags,
		.ident = ident,
		.events = events,
		.user_data = about(kind, ident),
		.arg = { first, interval },
	};

	if (!has(source)) {
		fprintf(stderr, "%s: not in this kernel\n", kinds[kind].name);
		return;
	}
	if (source == KEVENT_SOURCE_TIMER)
		w.arg[2] = CLOCK_MONOTONIC;
	if (DO(syscall(__NR_kevent_add, queue, &w, sizeof(w), 1, 0)) != 1)
		die("kevent_add");
}

/* There is no watch of AIO: each request names its queue. */
static void read_block(aio_context_t ctx, int fd)
{
	struct iocb iocb = {
		.aio_data = about(AIO, fd),
		.aio_flags = IOCB_FLAG_KEVENT,
		.aio_resfd = queue,
	};

	if (has(KEVENT_SOURCE_AIO))
		aio_read(ctx, &iocb, fd);
}

/* Another process may post as well: it has the descriptor. */
static void post(int fd)
{
	struct kevent_event ev = {
		.user_data = about(POSTED, 0),
		.events = 1,
	};

	syscall(__NR_kevent_post, fd, &ev, sizeof(ev), 1, KEVENT_POST_DEFER);
}

/* Consumes the next event, as struct kevent_ring describes it. */
static bool take(struct kevent_event *ev)
{
	__u32 index = ring->cursor;	/* no other thread writes it */
	struct kevent_event *slot = &slots[index % entries];
	__u32 lap = index / entries & KEVENT_WORD_LAP_MASK;
	__u32 word = __atomic_load_n(&slot->events, __ATOMIC_ACQUIRE);
	__u32 state = word & KEVENT_WORD_STATE_MASK;

	if ((state != KEVENT_WORD_READY && state != KEVENT_WORD_CANCELLED) ||
	    (word >> KEVENT_WORD_LAP_SHIFT & KEVENT_WORD_LAP_MASK) != lap)
		return false;
	__atomic_store_n(&ring->cursor, index + 1, __ATOMIC_RELEASE);
	word = __atomic_exchange_n(&slot->events, KEVENT_WORD_TAKEN,
				   __ATOMIC_ACQ_REL);
	*ev = *slot;
	__atomic_store_n(&slot->events, KEVENT_WORD_FREE, __ATOMIC_RELEASE);
	ev->events = 0;
	if ((word & KEVENT_WORD_STATE_MASK) == KEVENT_WORD_READY)
		ev->events = word & KEVENT_EVENTS_MASK;
	ev->info |= (word >> KEVENT_WORD_MERGED_SHIFT & KEVENT_WORD_MERGED_MAX)
		    << 16;
	if (ev->info & KEVENT_INFO_COUNTED)
		ev->data += KEVENT_INFO_MERGED(ev->info);
	return true;
}

static void wait_for_events(void)
{
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.seen = ring->cursor,
		.min_nr = 1,
	};

	if (LEARN(syscall(__NR_kevent_wait, queue, &args, sizeof(args))) < 0 &&
	    errno != EINTR)
		die("kevent_wait");
}

static void watch_socket(enum kind kind, int fd)
{
	if (has(KEVENT_SOURCE_SOCKET))
		watch(kind, KEVENT_SOURCE_SOCKET, fd, kind == ACCEPTED ?
		      KEVENT_SOCKET_ACCEPT : KEVENT_SOCKET_IN |
		      KEVENT_SOCKET_EOF, 0, 0, 0);
	else
		watch(kind, KEVENT_SOURCE_POLL, fd, KEVENT_POLL_IN, 0, 0, 0);
}

static void new_client(int listener)
{
	int fd = DO(accept4(listener, NULL, NULL,
			    SOCK_NONBLOCK | SOCK_CLOEXEC));

	if (fd >= 0)
		watch_socket(TCP, fd);
}

static void new_child(void)
{
	static int nr;
	pid_t pid;
	int fd;

	if (!has(KEVENT_SOURCE_PROCESS))
		return;
	fd = start_child(nr++ % 8, &pid);
	watch(CHILD, KEVENT_SOURCE_PROCESS, fd, KEVENT_PROCESS_EXIT,
	      KEVENT_WATCH_ONESHOT, 0, 0);
}

static void handle(const struct kevent_event *ev, aio_context_t ctx, int file)
{
	enum kind kind = ev->user_data & 0xffffffff;
	int what = ev->user_data >> 32;
	unsigned long happened = 1;

	if (!ev->events)
		return;		/* cancelled */
	if (ev->info & KEVENT_INFO_COUNTED)
		happened = ev->data;
	else if (kind == DIRECTORY)
		happened += KEVENT_INFO_MERGED(ev->info);
	record_event(kind, happened);

	switch (kind) {
	case ACCEPTED:
		new_client(what);
		break;
	case TCP:
		/* The watch goes with the descriptor. */
		if (!echo_tcp(what))
			DO(close(what));
		break;
	case UDP:
		echo_udp(what);
		break;
	case AIO:
		if (ev->data != BLOCK)
			fprintf(stderr, "read: %lld\n", (long long)ev->data);
		break;
	case TAKEN:
		if (what == SIGTERM)
			finished = true;
		break;
	case FAST:
		read_block(ctx, file);
		break;
	case SLOW:
		new_child();
		break;
	case CHILD:
		/* Its status is in the event, but it is a zombie still. */
		if (!WIFEXITED(ev->data))
			fprintf(stderr, "status %llx\n",
				(unsigned long long)ev->data);
		DO(waitid(P_PIDFD, what, NULL, WEXITED));
		DO(close(what));
		break;
	default:
		break;
	}
}

int main(void)
{
	char dir[] = "/tmp/kevent-serverXXXXXX";
	int listener, udp, file, dirfd;
	struct sockaddr_in tcp_addr, udp_addr;
	aio_context_t ctx = aio_new();
	struct kevent_event ev;

	if (!mkdtemp(dir))
		die(dir);
	make_queue();
	listener = open_socket(SOCK_STREAM, &tcp_addr);
	udp = open_socket(SOCK_DGRAM, &udp_addr);
	file = aio_file(dir);
	dirfd = check(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir);

	watch_socket(ACCEPTED, listener);
	watch_socket(UDP, udp);
	/* One signal is only counted: it does nothing. */
	signal(SIGUSR1, SIG_IGN);
	watch(OBSERVED, KEVENT_SOURCE_SIGNAL, SIGUSR1, KEVENT_SIGNAL_SENT, 0,
	      0, 0);
	watch(TAKEN, KEVENT_SOURCE_SIGNAL, SIGUSR2, KEVENT_SIGNAL_SENT,
	      KEVENT_WATCH_TAKE, 0, 0);
	watch(TAKEN, KEVENT_SOURCE_SIGNAL, SIGTERM, KEVENT_SIGNAL_SENT,
	      KEVENT_WATCH_TAKE, 0, 0);
	watch(FAST, KEVENT_SOURCE_TIMER, 0, KEVENT_TIMER_EXPIRED, 0,
	      FAST_MS * 1000000, FAST_MS * 1000000);
	watch(SLOW, KEVENT_SOURCE_TIMER, 0, KEVENT_TIMER_EXPIRED, 0,
	      SLOW_MS * 1000000, SLOW_MS * 1000000);
	watch(DIRECTORY, KEVENT_SOURCE_INODE, dirfd,
	      KEVENT_INODE_CHILD_CREATED | KEVENT_INODE_CHILD_DELETED, 0, 0, 0);
	start_all(&tcp_addr, &udp_addr, dir, post, queue);

	while (!finished) {
		while (take(&ev))
			handle(&ev, ctx, file);
		wait_for_events();
	}
	report("kevent");
	remove_dir(dir);
	return 0;
}
