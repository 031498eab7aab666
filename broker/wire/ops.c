// SPDX-License-Identifier: Apache-2.0
/*
 * One handler for the whole tree of paths, so that unknown paths and wrong methods get our answers. It runs
 * on nng's threads and reads what was published under the lock; a POST is handed to the home thread and its
 * connection waits.
 */
#include "ops.h"
#include "link_listener.h"
#include "link_threads.h"

#include <errno.h>
#include <netdb.h>
#include <nng/nng.h>
#include <nng/supplemental/http/http.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PATHS_MAX = 8,
    BODY_MAX_BYTES = 4096, /* of a POST; not looked at */
    CALLS_MAX = 16,        /* POSTs that wait for their answer at the same time */
    PORT_ATTEMPTS = 10,
};

struct call {
    struct sl_ops_call call; /* first: what the home thread gets */
    struct call *next, *previous;
    struct sl_ops *ops; /* NULL: ops has ended, and the asker has been told so */
    nng_aio *aio;
};

struct sl_ops {
    nng_http_server *server;
    nng_http_handler *handler; /* the server's once it is added */
    struct sl_metrics *metrics;
    uint16_t port;
    _Atomic int refs;     /* ours, and the handler's, which requests in progress hold */
    pthread_mutex_t lock; /* for all below */
    char *missing;
    char *status;
    char *more; /* metrics */
    struct call *calls;
    size_t call_count;
    bool ending;
    struct {
        char *path;
        struct sl_mailbox *home;
    } posts[PATHS_MAX];
    size_t post_count;
};

static void finish(nng_aio *aio, int http_status, const char *type, const char *text)
{
    nng_http_res *res;
    int r = nng_http_res_alloc(&res);
    if (r == 0) {
        r = nng_http_res_set_status(res, (uint16_t)http_status);
        if (r == 0)
            r = nng_http_res_set_header(res, "Content-Type", type);
        if (r == 0)
            r = nng_http_res_set_header(res, "Cache-Control", "no-store");
        if (r == 0)
            r = nng_http_res_set_header(res, "X-Content-Type-Options", "nosniff");
        if (r == 0 && http_status == 405)
            r = nng_http_res_set_header(res, "Allow", *text == 'P' ? "POST" : "GET, HEAD");
        if (r == 0)
            r = nng_http_res_copy_data(res, text, strlen(text));
        if (r != 0)
            nng_http_res_free(res);
    }
    if (r == 0)
        nng_aio_set_output(aio, 0, res);
    nng_aio_finish(aio, r);
}

static void finish_text(nng_aio *aio, int http_status, const char *text)
{
    finish(aio, http_status, "text/plain; charset=utf-8", text);
}

/* `text`, which it takes, with `more` behind it; NULL without memory. */
static char *behind(char *text, const char *more)
{
    size_t bytes = strlen(text), more_bytes = strlen(more);
    char *both = realloc(text, bytes + more_bytes + 1);
    if (!both)
        free(text);
    else
        memcpy(both + bytes, more, more_bytes + 1);
    return both;
}

/* Hands a POST to its home thread, under the lock. > 0: the HTTP status to answer instead. */
static int hand_over(struct sl_ops *o, size_t post, nng_aio *aio)
{
    if (o->ending || o->call_count >= CALLS_MAX)
        return 503;
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return 503;
    call->call.path = o->posts[post].path;
    call->call.handle = call;
    call->ops = o;
    call->aio = aio;
    call->next = o->calls;
    if (o->calls)
        o->calls->previous = call;
    o->calls = call;
    o->call_count++;
    sl_mailbox_post(o->posts[post].home, &call->call.letter);
    return 0;
}

static void on_post(struct sl_ops *o, size_t post, nng_aio *aio, nng_http_req *req)
{
    if (strcmp(nng_http_req_get_method(req), "POST") != 0) {
        finish_text(aio, 405, "POST only\n");
        return;
    }
    /* Browsers send it with every POST of a page; no page has business here. */
    if (nng_http_req_get_header(req, "Origin")) {
        finish_text(aio, 403, "not from a web page\n");
        return;
    }
    pthread_mutex_lock(&o->lock);
    int refused = hand_over(o, post, aio);
    pthread_mutex_unlock(&o->lock);
    if (refused)
        finish_text(aio, refused, "busy, try again later\n");
}

static void on_get(struct sl_ops *o, const char *path, size_t bytes, nng_aio *aio, nng_http_req *req)
{
    static const char *const known[] = {"/healthz", "/readyz", "/metrics", "/status"};
    size_t page = 0;
    while (page < sizeof known / sizeof *known &&
           (strlen(known[page]) != bytes || memcmp(path, known[page], bytes) != 0))
        page++;
    if (page == sizeof known / sizeof *known) {
        finish_text(aio, 404, "not found; there are /healthz, /readyz, /metrics and /status\n");
        return;
    }
    const char *method = nng_http_req_get_method(req);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        finish_text(aio, 405, "GET and HEAD only\n");
        return;
    }
    char *text = NULL;
    switch (page) {
    case 0:
        finish_text(aio, 200, "ok\n");
        return;
    case 1:
        pthread_mutex_lock(&o->lock);
        bool ready = !o->missing;
        if (!ready && asprintf(&text, "%s\n", o->missing) < 0)
            text = NULL;
        pthread_mutex_unlock(&o->lock);
        if (ready)
            finish_text(aio, 200, "ready\n");
        else
            finish_text(aio, 503, text ? text : "not ready\n");
        break;
    case 2:
        /* Under the lock, so that sl_ops_free() waits for it: the metrics may go right after. */
        pthread_mutex_lock(&o->lock);
        text = o->ending ? NULL : sl_metrics_render(o->metrics);
        if (text && o->more)
            text = behind(text, o->more);
        pthread_mutex_unlock(&o->lock);
        if (text)
            finish(aio, 200, "text/plain; version=0.0.4; charset=utf-8", text);
        else
            finish_text(aio, 503, "not now\n");
        break;
    default:
        pthread_mutex_lock(&o->lock);
        text = strdup(o->status ? o->status : "{}");
        pthread_mutex_unlock(&o->lock);
        if (text)
            finish(aio, 200, "application/json", text);
        else
            finish_text(aio, 503, "out of memory\n");
        break;
    }
    free(text);
}

static void on_http(nng_aio *aio)
{
    nng_http_req *req = nng_aio_get_input(aio, 0);
    nng_http_handler *handler = nng_aio_get_input(aio, 1);
    struct sl_ops *o = nng_http_handler_get_data(handler);
    const char *path = nng_http_req_get_uri(req);
    size_t bytes = strcspn(path, "?");
    size_t post = 0;
    pthread_mutex_lock(&o->lock);
    while (post < o->post_count &&
           (strlen(o->posts[post].path) != bytes || memcmp(o->posts[post].path, path, bytes) != 0))
        post++;
    bool is_post = post < o->post_count;
    pthread_mutex_unlock(&o->lock);
    if (is_post)
        on_post(o, post, aio, req);
    else
        on_get(o, path, bytes, aio, req);
}

/* ---- the outside ---- */

void sl_ops_answer(struct sl_ops_call *call, int http_status, const char *text)
{
    struct call *c = call->handle;
    struct sl_ops *o = c->ops;
    if (o) {
        pthread_mutex_lock(&o->lock);
        if (c->previous)
            c->previous->next = c->next;
        else
            o->calls = c->next;
        if (c->next)
            c->next->previous = c->previous;
        o->call_count--;
        pthread_mutex_unlock(&o->lock);
        finish_text(c->aio, http_status, text);
    }
    free(c);
}

int sl_ops_post(struct sl_ops *o, const char *path, struct sl_mailbox *home)
{
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    int r = 0;
    pthread_mutex_lock(&o->lock);
    if (o->post_count < PATHS_MAX) {
        o->posts[o->post_count].path = copy;
        o->posts[o->post_count].home = home;
        o->post_count++;
    } else {
        r = -ENOSPC;
    }
    pthread_mutex_unlock(&o->lock);
    if (r < 0)
        free(copy);
    return r;
}

static void publish(struct sl_ops *o, char **where, const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    pthread_mutex_lock(&o->lock);
    /* Without memory the old text stays: late news rather than a wrong "ready". */
    if (copy || !text) {
        char *old = *where;
        *where = copy;
        copy = old;
    }
    pthread_mutex_unlock(&o->lock);
    free(copy);
}

void sl_ops_set_missing(struct sl_ops *o, const char *missing)
{
    publish(o, &o->missing, missing);
}

void sl_ops_set_more(struct sl_ops *o, const char *text)
{
    publish(o, &o->more, text);
}

void sl_ops_set_status(struct sl_ops *o, const char *json)
{
    publish(o, &o->status, json);
}

uint16_t sl_ops_port(const struct sl_ops *o)
{
    return o->port;
}

/* A TCP port that is free on `host` now; 0 when there is none. */
static uint16_t free_port(const char *host)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    if (getaddrinfo(host, "0", &hints, &found) != 0)
        return 0;
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    char port[8] = "0";
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &bytes) == 0)
        getnameinfo((struct sockaddr *)&address, bytes, NULL, 0, port, sizeof port, NI_NUMERICSERV);
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return (uint16_t)strtoul(port, NULL, 10);
}

/* The last reference is dropped by us or, when a request is still inside, by nng's thread that ends it. */
static void ops_unref(void *arg)
{
    struct sl_ops *o = arg;
    if (atomic_fetch_sub(&o->refs, 1) > 1)
        return;
    for (size_t i = 0; i < o->post_count; i++)
        free(o->posts[i].path);
    free(o->missing);
    free(o->status);
    free(o->more);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

static int start(struct sl_ops *o, const char *host, uint16_t port)
{
    char text[300];
    nng_url *url;
    snprintf(text, sizeof text, strchr(host, ':') ? "http://[%s]:%u/" : "http://%s:%u/", host,
             (unsigned)port);
    link_threads_start();
    int r = nng_url_parse(&url, text);
    if (r != 0)
        return r;
    r = nng_http_server_hold(&o->server, url);
    nng_url_free(url);
    if (r != 0) {
        o->server = NULL;
        return r;
    }
    r = nng_http_handler_alloc(&o->handler, "/", on_http);
    if (r == 0) {
        r = nng_http_handler_set_tree(o->handler);
        if (r == 0)
            r = nng_http_handler_set_method(o->handler, NULL);
        if (r == 0)
            r = nng_http_handler_collect_body(o->handler, true, BODY_MAX_BYTES);
        if (r == 0) {
            atomic_fetch_add(&o->refs, 1);
            r = nng_http_handler_set_data(o->handler, o, ops_unref);
            if (r != 0)
                atomic_fetch_sub(&o->refs, 1);
        }
        if (r == 0)
            r = nng_http_server_add_handler(o->server, o->handler);
        if (r != 0)
            nng_http_handler_free(o->handler);
    }
    if (r == 0) {
        r = nng_http_server_start(o->server);
        if (r != 0 && nng_http_server_del_handler(o->server, o->handler) == 0)
            nng_http_handler_free(o->handler);
    }
    if (r != 0) {
        o->handler = NULL;
        nng_http_server_release(o->server);
        o->server = NULL;
    }
    o->port = port;
    return r;
}

int sl_ops_new(const char *address, struct sl_metrics *metrics, struct sl_ops **ret)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address || (size_t)(colon - address) >= sizeof host)
        return -EINVAL;
    bool bracket = address[0] == '[' && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(colon - address) - 2 * bracket, address + bracket);
    unsigned long wanted = strtoul(colon + 1, NULL, 10);
    if (wanted > UINT16_MAX)
        return -EINVAL;
    struct sl_ops *o = calloc(1, sizeof *o);
    if (!o)
        return -ENOMEM;
    o->metrics = metrics;
    atomic_init(&o->refs, 1);
    int r = pthread_mutex_init(&o->lock, NULL);
    if (r != 0) {
        free(o);
        return -r;
    }
    /* nng knows its HTTP servers by their text "host:port", so that 0 would be one server for all who ask. */
    for (int i = 0; i < (wanted == 0 ? PORT_ATTEMPTS : 1); i++) {
        r = start(o, host, wanted == 0 ? free_port(host) : (uint16_t)wanted);
        if (r != NNG_EADDRINUSE)
            break;
    }
    if (r != 0) {
        sl_ops_free(o);
        return link_fault(r);
    }
    *ret = o;
    return 0;
}

void sl_ops_free(struct sl_ops *o)
{
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    o->ending = true;
    struct call *calls = o->calls;
    o->calls = NULL;
    pthread_mutex_unlock(&o->lock);
    for (struct call *call = calls; call; call = call->next) {
        call->ops = NULL;
        finish_text(call->aio, 503, "shutting down\n");
    }
    if (o->server) {
        nng_http_server_stop(o->server);
        nng_http_server_release(o->server);
    }
    ops_unref(o);
}
