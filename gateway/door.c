// SPDX-License-Identifier: Apache-2.0
/* recv() is defined here: a checking macro of that name would be in the way. */
#undef _FORTIFY_SOURCE
#include "door.h"
#include "buffer.h"
#include "frame.h"
#include "head.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    CLOSE_S = 5, /* what a refused WebSocket has to take its close frame */
    DISCARD_MAX_BYTES = 1 << 20,
};

/* Who connects to ask something does so by then; browsers also connect to ask nothing yet. */
#define FIRST_BYTE_NS (INT64_C(1) * 1000000000)

enum mode {
    REQUESTS,
    FRAMES,
    CLOSED, /* an answer of ours is on its way, nothing more is read */
    CUT,    /* hung up on; lws may put off its end, but gets nothing any more */
};

struct door {
    struct lws *wsi;
    int fd;
    enum mode mode;
    bool asked;   /* a request has come */
    bool passed;  /* the last head that lws was given is a client's */
    bool behind;  /* TLS holds more than the request */
    bool refused; /* ... is ours, and head.problem is to be answered */
    unsigned close_code;
    int64_t entered_ns; /* monotonic */
    int64_t began_ns;   /* monotonic: first byte of a request that is not whole yet; 0: none */
    uint64_t body_left;
    size_t discarded;
    struct head head;
    struct buffer kept;  /* of a head that is not whole */
    struct buffer query; /* of the last request */
    struct frame frame;
};

struct source {
    int fd;
    SSL *ssl; /* NULL: plain */
};

/* By descriptor. Of this process, because recv() is. */
static struct door **doors;
static size_t door_count;
static _Thread_local bool at_home;

static ssize_t (*libc_recv)(int fd, void *data, size_t bytes, int flags);
static int (*openssl_read)(SSL *ssl, void *data, int bytes);

/* What lws parses instead of a head that is refused. */
static const char stand_in[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/* ---- the real reads ---- */

static void resolve(void)
{
    *(void **)&libc_recv = dlsym(RTLD_NEXT, "recv");
    *(void **)&openssl_read = dlsym(RTLD_NEXT, "SSL_read");
}

static ssize_t peek(const struct source *s, void *data, size_t bytes)
{
    return s->ssl ? SSL_peek(s->ssl, data, (int)bytes) : libc_recv(s->fd, data, bytes, MSG_PEEK);
}

static ssize_t take(const struct source *s, void *data, size_t bytes)
{
    return s->ssl ? openssl_read(s->ssl, data, (int)bytes) : libc_recv(s->fd, data, bytes, 0);
}

static ssize_t fail(int fault)
{
    errno = fault;
    return -1;
}

/* ---- what passes ---- */

/* Reads and drops until the source says that there is nothing (which TLS must say by itself). */
static ssize_t discard(struct door *d, const struct source *s)
{
    static uint8_t scratch[HEAD_MAX_BYTES];
    ssize_t bytes;
    while ((bytes = take(s, scratch, sizeof scratch)) > 0)
        if ((d->discarded += (size_t)bytes) > DISCARD_MAX_BYTES)
            return fail(ECONNRESET);
    return bytes;
}

static ssize_t refuse(struct door *d, const struct source *s, uint8_t *data)
{
    d->mode = CLOSED;
    d->refused = true;
    d->began_ns = 0;
    buffer_fini(&d->kept);
    discard(d, s); /* a close with unread input would reset the connection under the answer */
    memcpy(data, stand_in, sizeof stand_in - 1);
    return sizeof stand_in - 1;
}

static ssize_t pass_body(struct door *d, const struct source *s, uint8_t *data, size_t capacity)
{
    ssize_t bytes = take(s, data, capacity < d->body_left ? capacity : (size_t)d->body_left);
    if (bytes > 0 && (d->body_left -= (uint64_t)bytes) == 0)
        d->began_ns = 0;
    return bytes;
}

static ssize_t pass_head(struct door *d, const struct source *s, uint8_t *data, size_t capacity)
{
    static uint8_t scratch[HEAD_MAX_BYTES];
    d->passed = false;
    buffer_fini(&d->query);
    for (;;) {
        ssize_t peeked = peek(s, scratch, sizeof scratch);
        if (peeked <= 0)
            return peeked;
        struct sl_slice view = sl_slice(scratch, (size_t)peeked);
        size_t before = d->kept.bytes, head_bytes = 0;
        if (before) {
            buffer_append_slice(&d->kept, view);
            view = buffer_slice(&d->kept);
        } else {
            head_begin(&d->head);
        }
        int answer = d->kept.fault ? HEAD_REFUSED : head_scan(&d->head, view, &head_bytes);
        if (d->kept.fault)
            problem_set(&d->head.problem, PROBLEM_HEADERS_TOO_LARGE, NULL,
                        "a request's head may have 24 KiB");
        if (answer == HEAD_REFUSED)
            return refuse(d, s, data);
        d->asked = true;
        if (answer == HEAD_MORE) {
            if (!before) {
                d->began_ns = sl_monotonic_ns();
                buffer_append_slice(&d->kept, view);
            }
            take(s, scratch, (size_t)peeked);
            continue;
        }
        size_t skip = d->head.skip;
        if (head_bytes - skip > capacity)
            return fail(EMSGSIZE);
        struct sl_slice head = sl_slice(view.data + skip, head_bytes - skip);
        buffer_append_slice(&d->query, head_query(head));
        if (d->query.fault)
            return fail(ENOMEM);
        size_t given = head_copy(head, data);
        take(s, scratch, head_bytes - before);
        buffer_fini(&d->kept);
        d->body_left = (uint64_t)d->head.body_bytes;
        if (!d->body_left)
            d->began_ns = 0;
        else if (!d->began_ns)
            d->began_ns = sl_monotonic_ns();
        d->passed = true;
        /* lws does not look for more in TLS' hands behind a read that left room: the body goes with its head
         */
        ssize_t body = d->body_left ? pass_body(d, s, data + given, capacity - given) : 0;
        d->behind = s->ssl && SSL_pending(s->ssl) > 0;
        return (ssize_t)given + (body > 0 ? body : 0);
    }
}

static ssize_t pass_frames(struct door *d, const struct source *s, uint8_t *data, size_t capacity)
{
    size_t good;
    ssize_t bytes = take(s, data, capacity);
    if (bytes <= 0)
        return bytes;
    int code = frame_scan(&d->frame, sl_slice(data, (size_t)bytes), &good);
    if (code == 0)
        return bytes;
    d->mode = CLOSED;
    d->close_code = (unsigned)code;
    lws_callback_on_writable(d->wsi);
    lws_set_timeout(d->wsi, PENDING_TIMEOUT_CLOSE_SEND, CLOSE_S);
    return good ? (ssize_t)good : discard(d, s);
}

static ssize_t pass(struct door *d, const struct source *s, uint8_t *data, size_t capacity)
{
    if (d->mode == CUT)
        return fail(ECONNRESET);
    if (d->mode == CLOSED)
        return discard(d, s);
    if (d->mode == FRAMES)
        return pass_frames(d, s, data, capacity);
    return d->body_left ? pass_body(d, s, data, capacity) : pass_head(d, s, data, capacity);
}

static struct door *find(int fd)
{
    return at_home && fd >= 0 && (size_t)fd < door_count ? doors[fd] : NULL;
}

/* ---- what libwebsockets calls: seen by it, unlike all else of this program ---- */

#define FOR_LIBRARIES __attribute__((visibility("default")))

FOR_LIBRARIES ssize_t recv(int fd, void *data, size_t bytes, int flags)
{
    struct door *d = flags == 0 ? find(fd) : NULL;
    if (!libc_recv)
        resolve();
    return d ? pass(d, &(struct source){.fd = fd}, data, bytes) : libc_recv(fd, data, bytes, flags);
}

FOR_LIBRARIES int SSL_read(SSL *ssl, void *data, int bytes)
{
    int fd = at_home ? SSL_get_fd(ssl) : -1;
    struct door *d = find(fd);
    if (!openssl_read)
        resolve();
    return d ? (int)pass(d, &(struct source){.fd = fd, .ssl = ssl}, data, (size_t)bytes)
             : openssl_read(ssl, data, bytes);
}

/* ---- outside ---- */

void door_open(void)
{
    resolve(); /* before other threads read */
    at_home = true;
}

int door_enter(struct lws *wsi)
{
    int fd = lws_get_socket_fd(wsi);
    if (fd < 0)
        return -EINVAL;
    if ((size_t)fd >= door_count) {
        size_t count = 2 * (size_t)fd + 64;
        struct door **grown = realloc(doors, count * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        memset(grown + door_count, 0, (count - door_count) * sizeof *grown);
        doors = grown;
        door_count = count;
    }
    struct door *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->wsi = wsi;
    d->fd = fd;
    d->entered_ns = sl_monotonic_ns();
    buffer_init(&d->kept, 0, 2 * HEAD_MAX_BYTES);
    buffer_init(&d->query, 0, HEAD_TARGET_MAX_BYTES);
    assert(!doors[fd]);
    doors[fd] = d;
    lws_set_opaque_user_data(wsi, d); /* lws has forgotten the descriptor when it says that it is closed */
    return 0;
}

void door_leave(struct lws *wsi)
{
    struct door *d = lws_get_opaque_user_data(wsi);
    if (!d)
        return;
    doors[d->fd] = NULL;
    buffer_fini(&d->kept);
    buffer_fini(&d->query);
    free(d);
}

int door_verdict(struct lws *wsi, struct problem *ret_problem)
{
    const struct door *d = lws_get_opaque_user_data(wsi);
    if (!d || (!d->passed && !d->refused))
        return DOOR_UNKNOWN;
    if (!d->refused)
        return 0;
    *ret_problem = d->head.problem;
    return DOOR_REFUSED;
}

bool door_expects(struct lws *wsi)
{
    const struct door *d = lws_get_opaque_user_data(wsi);
    return d && d->head.expects;
}

struct sl_slice door_query(struct lws *wsi)
{
    const struct door *d = lws_get_opaque_user_data(wsi);
    return d ? buffer_slice(&d->query) : sl_slice(NULL, 0);
}

bool door_behind(struct lws *wsi)
{
    const struct door *d = lws_get_opaque_user_data(wsi);
    return d && d->behind;
}

void door_frames(struct lws *wsi)
{
    struct door *d = lws_get_opaque_user_data(wsi);
    if (!d)
        return;
    d->mode = FRAMES;
    buffer_fini(&d->query);
    frame_begin(&d->frame);
}

unsigned door_close_code(struct lws *wsi)
{
    const struct door *d = lws_get_opaque_user_data(wsi);
    return d ? d->close_code : 0;
}

bool door_awaits(int64_t now_ns)
{
    for (size_t i = 0; i < door_count; i++) {
        const struct door *d = doors[i];
        int unread = 0;
        if (!d || d->mode != REQUESTS)
            continue;
        if (d->began_ns || (!d->asked && now_ns - d->entered_ns < FIRST_BYTE_NS) ||
            (ioctl(d->fd, FIONREAD, &unread) == 0 && unread > 0))
            return true;
    }
    return false;
}

void door_tick(int64_t now_ns)
{
    for (size_t i = 0; i < door_count; i++) {
        struct door *d = doors[i];
        if (d && d->began_ns && now_ns - d->began_ns > DOOR_REQUEST_NS) {
            d->mode = CUT;
            lws_set_timeout(d->wsi, PENDING_TIMEOUT_HTTP_CONTENT, LWS_TO_KILL_ASYNC);
        }
    }
}
