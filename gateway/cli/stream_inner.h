// SPDX-License-Identifier: Apache-2.0
/*
 * What the files of the stream module share: stream.c runs connections and hands out what comes,
 * stream_request.c asks, stream_verdict.c decides what the end of a connection means. Nothing outside
 * stream*.c includes this.
 */
#pragma once
#include "retry.h"
#include "sse.h"
#include "stream.h"

enum { STREAM_BODY_MAX_BYTES = 64 << 10 };

enum verdict {
    CUT,       /* make it anew after a while */
    RETRY_NOW, /* at once, asking otherwise */
    OVER,
    FAILED, /* and it was said why */
};

struct stream {
    struct streams *all;
    struct stream *next;
    char *id;
    CURL *curl;
    struct curl_slist *headers;
    struct sse sse;
    char *cursor;   /* of the last line handed out */
    char *last_gap; /* told last: after a reconnect it may come again */
    char *newest;   /* the newest line when the first answer came, NULL: none */
    bool follow, whole, active, accepted, connected, over, has_end, gap_may_repeat;
    bool refused; /* this connection brought `event: error` */
    struct end end;
    uint8_t *body;
    size_t body_bytes;
    int64_t began_ns, connected_ns, heard_ns, due_ns, trouble_ns, wait_ns; /* monotonic; trouble 0: none */
    struct retry retry;
    int fault; /* of an event: -errno */
};

struct streams {
    const struct server *server;
    const struct stream_query *query;
    const struct stream_events *events;
    void *arg;
    bool reconnect, said_trouble;
    CURLM *multi;
    struct stream *first;
    size_t count;
};

/* Starts a connection, behind the cursor if there is one. 0 or -ENOMEM. */
int stream_start(struct stream *stream);
/* The connection ended with `code`. */
enum verdict stream_judge(struct stream *stream, CURLcode code);
/* The connection serves: whatever trouble there was is over. */
void stream_healthy(struct stream *stream);
/* The answer that is being read, or was, is 200 and an event stream. */
bool stream_answers_events(const struct stream *stream);
