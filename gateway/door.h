// SPDX-License-Identifier: Apache-2.0
/*
 * The door between a socket and libwebsockets. lws 4.1.6 has no hook between its read and its parser, and its
 * parser is not strict, so lws' own reads go through here: this file defines recv() and SSL_read() for the
 * program (a program's symbols come before a library's, ld.so(8)), hands on what is not a client's socket,
 * and for clients decides what lws gets:
 *  - of a request nothing until its head is whole and head.h finds one meaning in it, then that head without
 *    what only we read (head_copy), then exactly its body; what was sent behind it stays in the kernel until
 *    lws asks for the next request;
 *  - of a head that is refused a request of our own, which connection.c answers with the problem;
 *  - of a WebSocket frames that frame.h takes; else the connection is closed with the code that says why.
 * So TLS is covered too, and requests that come in a row, and lws never holds input behind a request.
 *
 * A request has DOOR_REQUEST_NS from its first byte to its body's last, however often a byte of it comes.
 *
 * Fails closed: a request that lws found without the door's knowledge is not answered (door_verdict). Home
 * thread; other threads' reads are passed on untouched.
 */
#pragma once
#include "problem.h"

struct lws;

#define DOOR_REQUEST_NS (INT64_C(9) * 1000000000)

/* The calling thread is lws'. */
void door_open(void);
/* lws has a new client / has closed it. Fault: -ENOMEM. */
int door_enter(struct lws *wsi);
void door_leave(struct lws *wsi);
/* Of the request that lws has just parsed: 0 taken; DOOR_REFUSED with *ret_problem; DOOR_UNKNOWN: hang up. */
enum { DOOR_REFUSED = 1, DOOR_UNKNOWN = 2 };
int door_verdict(struct lws *wsi, struct problem *ret_problem);
/* Its client waits for 100 Continue. */
bool door_expects(struct lws *wsi);
/* That request's query, not decoded. Borrowed until the next one is read, or its WebSocket is open. */
struct sl_slice door_query(struct lws *wsi);
/*
 * More than that request stands in one TLS record with it: lws would not see it until more comes (it asks
 * SSL_pending() only behind a read that filled its buffer), so the connection has to close behind the answer.
 */
bool door_behind(struct lws *wsi);
/* It became a WebSocket: frames come now. */
void door_frames(struct lws *wsi);
/* What a WebSocket is to be closed with for what its client sent; 0: nothing. A writeable callback was asked
 * for.
 */
unsigned door_close_code(struct lws *wsi);
/* A request has begun to come, or is likely to: of a connection that has just been made none came yet. */
bool door_awaits(int64_t now_ns);
/* Once a second: hangs up on requests that take too long. */
void door_tick(int64_t now_ns);
