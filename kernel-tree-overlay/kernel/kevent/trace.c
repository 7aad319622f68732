// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints of kevent, which Rust calls: see trace.rs.
 */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/kevent.h>
