// SPDX-License-Identifier: Apache-2.0
/*
 * Reading logs over SSE, exactly. A stream is one sandbox's log; `streams` runs any number of them at a time
 * in one thread. A connection that is cut, at whatever byte, is made anew (0.2 s to 5 s later, with jitter)
 * and goes on behind the last line that was handed out: no line is lost or handed out twice. What the user
 * asked for relative to now or to the end (-n, --since) is asked for once; later only the cursor counts.
 *
 * Reading to the end of what there is goes the same way as following, so that it is as exact. A sandbox that
 * is already stopped is read to its end also when it was to be followed.
 *
 * A fault before the first answer is final; the server may be mistyped. What is final is said on stderr.
 */
#pragma once
#include "line.h"
#include "server.h"

struct stream_query {
    const char *tail, *since, *until, *stream, *regex, *container, *wait; /* as typed; NULL: not given */
    bool ignore_case, follow;
};

struct stream;

/* Called from streams_run. */
struct stream_events {
    /* `json` is the object that `line` was decoded from. */
    void (*line)(struct stream *stream, void *arg, const struct line *line, struct sl_slice json);
    void (*gap)(struct stream *stream, void *arg, const struct gap *gap, struct sl_slice json);
    /* What arrived together has been handed out: before anything is said, and before streams_run waits. */
    void (*pause)(void *arg);
    /* The stream is over, and freed after this. `end` NULL: by a fault, which was said. */
    void (*end)(struct stream *stream, void *arg, const struct end *end);
};

struct streams;

/* `server`, `query`, `events` are borrowed until streams_free(). NULL without memory. */
struct streams *streams_new(const struct server *server, const struct stream_query *query,
                            const struct stream_events *events, void *arg, bool reconnect);
void streams_free(struct streams *streams);
/* -ENOMEM. The id must be valid. `whole`: from its first line, whatever `tail` says. Not from an event. */
int streams_add(struct streams *streams, const char *id, bool whole);
size_t streams_count(const struct streams *streams);
/* Waits for something to happen, at most timeout_ms, and handles it. 0 or -EIO (libcurl failed). */
int streams_run(struct streams *streams, int timeout_ms);

const char *stream_id(const struct stream *stream);
/* The stream has a connection and an answer on it: what is written from now on will come. */
bool stream_connected(const struct stream *stream);
