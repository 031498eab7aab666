// SPDX-License-Identifier: Apache-2.0
/*
 * How a connection's bytes leave: framed (chunks, WebSocket frames, gzip), and handed to the socket. Plain
 * sockets get them by send(2) from the memory that all followers share, and lws only keeps what a full one
 * did not take; TLS goes through lws.
 *
 * News for followers does not wait for lws to ask poll(2) about sockets that nearly always have room: who has
 * something is noted (outlet_ready) and written to when the turn of the loop ends (outlet_flush). Heads, ends
 * and full sockets go the long way, by lws' writeable callback. Home thread.
 */
#pragma once
#include "connection.h"

/* The end of a head; `length` < 0: unknown. */
void outlet_end_head(struct connection *c, int64_t length);
/* Within the writeable callback: one piece, or the next part of a whole answer. -1: close. */
int outlet_write(struct connection *c);
/* It may have something; false: only the writeable callback will do. */
bool outlet_ready(struct connection *c);
void outlet_forget(struct connection *c);
/* Writes to all that are noted. */
void outlet_flush(struct server *s);
