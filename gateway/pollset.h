// SPDX-License-Identifier: Apache-2.0
/*
 * What libwebsockets polls, kept in an epoll descriptor. lws 4.1.6 hands poll(2) all its descriptors at every
 * turn of its loop, and the kernel looks at each (measured: 5,000 idle followers beside 10 busy ones, 30 % of
 * a core); its libuv loop does not, but costs twice as much when all are busy, and a context on it does not
 * end. So this file defines poll() and close() for the program (as door.h does recv()): of a call of the home
 * thread with more than one descriptor, which is lws' loop, epoll is told what changed in the table since the
 * last call, and names those that are ready. The table is compared in memory.
 *
 * The answer is poll()'s, but for one thing: of more than POLLSET_READY_MAX descriptors that are ready the
 * others come with the next call. What epoll refuses (no memory, a descriptor that can't be awaited) is
 * polled as ever. Closing passes here because a number that is closed and given again would look unchanged,
 * and one that linger.c has a copy of would stay in epoll. Home thread; other threads' calls are passed on
 * untouched.
 */
#pragma once

enum { POLLSET_READY_MAX = 512 };

/* The calling thread is lws'. Before its first descriptor. Without it, or where it fails, all is polled. */
void pollset_open(void);
