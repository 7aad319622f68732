/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kevent

#if !defined(_TRACE_KEVENT_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KEVENT_H

#include <linux/tracepoint.h>

/*
 * What they have in common:
 *
 * id: the queue's, as in fdinfo; not issued again before the next boot
 * handle: of the watch
 * place: the low half of the handle; -1 if the event is not a watch's
 * index: of the entry in the ring
 * source: KEVENT_SOURCE_*
 * events, user_data, flags, ident: as the program knows them
 * waiters: threads in kevent_wait() and kevent_get_events()
 */
TRACE_EVENT(kevent_add,
	    TP_PROTO(u64 id, u64 handle, u32 source, u32 flags, u64 ident,
		     u32 events, u64 user_data),
	    TP_ARGS(id, handle, source, flags, ident, events, user_data),
	    TP_STRUCT__entry(__field(u64, id)
			     __field(u64, handle)
			     __field(u32, source)
			     __field(u32, flags)
			     __field(u64, ident)
			     __field(u32, events)
			     __field(u64, user_data)),
	    TP_fast_assign(__entry->id = id;
			   __entry->handle = handle;
			   __entry->source = source;
			   __entry->flags = flags;
			   __entry->ident = ident;
			   __entry->events = events;
			   __entry->user_data = user_data;),
	    TP_printk("id=%llu handle=%016llx source=%u flags=%x ident=%llu events=%x user_data=%llx",
		      __entry->id, __entry->handle, __entry->source, __entry->flags,
		      __entry->ident, __entry->events, __entry->user_data));

/* By the program, with what it watched, or because it has reported its last event. */
TRACE_EVENT(kevent_remove,
	    TP_PROTO(u64 id, u64 handle, u32 source, u64 user_data),
	    TP_ARGS(id, handle, source, user_data),
	    TP_STRUCT__entry(__field(u64, id)
			     __field(u64, handle)
			     __field(u32, source)
			     __field(u64, user_data)),
	    TP_fast_assign(__entry->id = id;
			   __entry->handle = handle;
			   __entry->source = source;
			   __entry->user_data = user_data;),
	    TP_printk("id=%llu handle=%016llx source=%u user_data=%llx",
		      __entry->id, __entry->handle, __entry->source,
		      __entry->user_data));

DECLARE_EVENT_CLASS(kevent_entry,
		    TP_PROTO(u64 id, u32 place, u64 index, u32 source, u32 events,
			     u64 user_data),
		    TP_ARGS(id, place, index, source, events, user_data),
		    TP_STRUCT__entry(__field(u64, id)
				     __field(u32, place)
				     __field(u32, source)
				     __field(u64, index)
				     __field(u32, events)
				     __field(u64, user_data)),
		    TP_fast_assign(__entry->id = id;
				   __entry->place = place;
				   __entry->source = source;
				   __entry->index = index;
				   __entry->events = events;
				   __entry->user_data = user_data;),
		    TP_printk("id=%llu place=%d index=%llu source=%u events=%x user_data=%llx",
			      __entry->id, __entry->place, __entry->index, __entry->source,
			      __entry->events, __entry->user_data));

/* An event was published in the ring. */
DEFINE_EVENT(kevent_entry, kevent_post,
	     TP_PROTO(u64 id, u32 place, u64 index, u32 source, u32 events,
		      u64 user_data),
	     TP_ARGS(id, place, index, source, events, user_data));

/* It went into the entry that its watch has in the ring already. */
DEFINE_EVENT(kevent_entry, kevent_merge,
	     TP_PROTO(u64 id, u32 place, u64 index, u32 source, u32 events,
		      u64 user_data),
	     TP_ARGS(id, place, index, source, events, user_data));

/* It goes to the end of the backlog. */
TRACE_EVENT(kevent_defer,
	    TP_PROTO(u64 id, u32 place, u32 source, u32 events, u64 user_data),
	    TP_ARGS(id, place, source, events, user_data),
	    TP_STRUCT__entry(__field(u64, id)
			     __field(u32, place)
			     __field(u32, source)
			     __field(u32, events)
			     __field(u64, user_data)),
	    TP_fast_assign(__entry->id = id;
			   __entry->place = place;
			   __entry->source = source;
			   __entry->events = events;
			   __entry->user_data = user_data;),
	    TP_printk("id=%llu place=%d source=%u events=%x user_data=%llx",
		      __entry->id, __entry->place, __entry->source,
		      __entry->events, __entry->user_data));

/* There is an event, and one of the threads that sleep is woken for it. */
TRACE_EVENT(kevent_wake,
	    TP_PROTO(u64 id),
	    TP_ARGS(id),
	    TP_STRUCT__entry(__field(u64, id)),
	    TP_fast_assign(__entry->id = id;),
	    TP_printk("id=%llu", __entry->id));

/* There is an event, and no task sleeps for which it is enough. */
TRACE_EVENT(kevent_skip_wake,
	    TP_PROTO(u64 id, u32 waiters),
	    TP_ARGS(id, waiters),
	    TP_STRUCT__entry(__field(u64, id)
			     __field(u32, waiters)),
	    TP_fast_assign(__entry->id = id;
			   __entry->waiters = waiters;),
	    TP_printk("id=%llu waiters=%u", __entry->id, __entry->waiters));

/*
 * kevent_get_events() took an event.  What a program takes out of the ring
 * itself is not seen.
 */
TRACE_EVENT(kevent_consume,
	    TP_PROTO(u64 id, u32 source, u32 events, u64 user_data),
	    TP_ARGS(id, source, events, user_data),
	    TP_STRUCT__entry(__field(u64, id)
			     __field(u32, source)
			     __field(u32, events)
			     __field(u64, user_data)),
	    TP_fast_assign(__entry->id = id;
			   __entry->source = source;
			   __entry->events = events;
			   __entry->user_data = user_data;),
	    TP_printk("id=%llu source=%u events=%x user_data=%llx",
		      __entry->id, __entry->source, __entry->events,
		      __entry->user_data));

#endif /* _TRACE_KEVENT_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
