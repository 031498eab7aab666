// SPDX-License-Identifier: Apache-2.0
/*
 * What a client does while its answer is on the way. libwebsockets 4.1.6 leaves HTTP input alone then, but
 * goes on polling for it: one byte too many, or a half-closed connection, and its loop turns without pause
 * (measured: 100 % of a core until the answer ends). So a connection that is being answered is muted with
 * lws_rx_flow_control(). Muted, lws does not write either: it is unmuted for a write that the socket will
 * take at once, and when the socket is full an epoll descriptor of ours, which lws polls, says when it is
 * not. The same descriptor tells when the reader hung up, which lws can't see then. Home thread; HTTP only.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct connection;

/* The descriptor to poll, or -errno. */
int watch_open(void);
/* From the request's end to the answer's. */
void watch_begin(int epoll, struct connection *c);
void watch_end(int epoll, struct connection *c);
/* A writeable callback is wanted. `full`: the socket took less than it was given last time. */
void watch_writeable(int epoll, struct connection *c, bool full);
/* It was called, and no further one is wanted now. */
void watch_wrote(struct connection *c);
/* The descriptor is readable. */
void watch_run(int epoll);
