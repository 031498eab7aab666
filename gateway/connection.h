// SPDX-License-Identifier: Apache-2.0
/*
 * A connection: one HTTP request being answered, or one WebSocket. It knows libwebsockets, framing and
 * closing; what is said comes from a handler. All on the home thread.
 *
 * A handler (struct handler, by route) is started once per request and answers in one of two ways, now or
 * later:
 *  - connection_answer(), connection_problem(): a whole body;
 *  - connection_stream(): it says with which headers, and is then asked for pieces whenever the socket can
 *    take more; it says connection_more() when it has something after it had nothing.
 * `gone` is called once, when the request is over in any way; the handler frees what it has, and the
 * connection is no more.
 *
 * Framing writes into the bytes around a piece and puts them back (WebSocket's header and a chunk's size in
 * front, a chunk's end behind), so pieces may be parts of memory shared by many connections; they need
 * CONNECTION_FRONT_BYTES of memory in front and CONNECTION_BACK_BYTES behind.
 */
#pragma once
#include "admission.h"
#include "auth.h"
#include "buffer.h"
#include "problem.h"
#include "request.h"
#include <sys/queue.h>

struct server;
struct connection;
struct gzip;
struct dialect;

enum {
    CONNECTION_FRONT_BYTES = LWS_PRE + 16,
    CONNECTION_BACK_BYTES = 16,
    CONNECTION_PIECE_BYTES = 64 << 10, /* = tx_packet_size: what one send takes */
    CONNECTION_BODY_MAX_BYTES = 64 << 10,
};

struct piece {
    uint8_t *data;
    size_t bytes; /* 0: nothing now (or, with `last`, nothing any more) */
    bool last;    /* the answer ends behind it */
};

/* For /status. */
struct follower_report {
    const char *format;
    uint64_t lag_lines; /* stored, and not given to it */
    int64_t lag_ns;     /* for how long it has not been given what was there */
};

struct handler {
    /* The request's body is complete (empty when it had none). */
    void (*start)(struct connection *c);
    /* Streams only. What to send next, borrowed until the next call; calls for more than was `sent` repeat
     * it. A WebSocket is given whole frames, so it takes all of a piece. */
    void (*next)(void *user, struct piece *ret);
    void (*sent)(void *user, size_t bytes);
    void (*gone)(void *user);
    /* About once a second; may end the connection. */
    void (*tick)(void *user, int64_t now_ns);
    /* The gateway stops: say so and end. NULL: let it finish. */
    void (*stop)(void *user);
    /* Of a follower. NULL: nothing is known of it. */
    void (*report)(void *user, struct follower_report *ret);
    /* The client has closed its half. True: nobody reads any more. NULL: it may still read. */
    bool (*hung_up)(void *user);
};

struct connection {
    struct server *server;
    struct lws *wsi;
    struct request *request;
    const struct handler *handler;
    void *user; /* the handler's */
    struct route_match match;
    struct grant grant; /* access.c's, as are the next two */
    struct visitor *visitor;
    bool follows;
    bool in_line;          /* access.c's: it waits for its share of its reader's bytes */
    int64_t allowed_bytes; /* its share, taken off already */
    TAILQ_ENTRY(connection) line;
    struct gzip *gzip;       /* NULL: the answer is not compressed */
    struct dialect *dialect; /* how its client speaks; NULL: as API.md says */
    struct buffer body;      /* of the request */
    struct buffer out;       /* whole answers; also head of streams */
    struct buffer packed;    /* the piece that is being sent, compressed */
    size_t out_sent;
    LIST_ENTRY(connection) all;
    TAILQ_ENTRY(connection) ready; /* outlet.c's */
    int fd;
    int64_t started_ns;   /* monotonic */
    int64_t last_sent_ns; /* monotonic: for keep-alives */
    uint64_t bytes_sent;
    uint64_t bytes_settled; /* of them, when the client had acknowledged all last */
    unsigned status;
    unsigned close_code; /* WebSocket */
    char close_reason[124];
    bool websocket;
    bool binary;   /* WebSocket: binary frames */
    bool answered; /* a status is decided */
    bool stream;
    bool chunked;
    bool until_close; /* the end of the answer is the end of the connection */
    bool head_pending;
    bool finished; /* all of it was handed to lws */
    bool aborted;  /* cut, so that the reader sees that it is not whole */
    bool wakes;    /* a writeable callback is asked for */
    bool writing;  /* within the callback */
    bool full;     /* the socket was full: it is to be awaited */
    bool watched;  /* watch.c's */
    bool listed;   /* outlet.c's: in `ready` */
    bool tls;
    bool lingers; /* closed by us, it may still be sending */
};

/* One answer, whole. `content_type` NULL: no body. `headers`: further lines, each with CRLF, or NULL. */
void connection_answer(struct connection *c, unsigned status, const char *content_type, struct sl_slice body,
                       const char *headers);
/* `headers` as above. On a WebSocket: the close code that belongs to the problem. */
void connection_problem(struct connection *c, const struct problem *p, const char *headers);
/* Head of a stream; the pieces come from handler->next. `until_close`: no chunks (SSE). */
void connection_stream(struct connection *c, const char *content_type, bool until_close, const char *headers);
void connection_more(struct connection *c);
/* What a WebSocket is closed with when the stream's last piece was sent. */
void connection_close_with(struct connection *c, unsigned code, struct sl_slice reason);
/* Ends it now, without the end that would make it look whole. */
void connection_abort(struct connection *c);

/* outlet.c's: a writeable callback is wanted. */
void connection_wake(struct connection *c);
/* watch.c's: the client sends no more; who only follows has gone. */
void connection_hung_up(struct connection *c);

/* server.c's: the lws callback's part, and the sweep. */
int connection_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                        size_t bytes);
void connections_tick(struct server *s, int64_t now_ns);
void connections_stop(struct server *s);
