// SPDX-License-Identifier: Apache-2.0
#include "export_feed.h"
#include "say.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* The server says something every 15 s. */
#define SILENCE_NS (45 * SL_NS_PER_S)
/* Whose connection broke may find its own lease still held by it, or by a gateway that died. */
#define BUSY_FIRST_NS (2 * SL_NS_PER_S)
#define BUSY_LATER_NS (30 * SL_NS_PER_S)

enum {
    PAGE_MAX_BYTES = 1 << 30, /* 256 KiB of records unpack to less */
    ANSWER_MAX_BYTES = 64 << 10,
    ACK_TIMEOUT_MS = 60000,
};

struct feed {
    const struct server *server;
    const char *consumer;
    bool follow;
    struct retry *retry;
    bool (*cancelled)(void);
    CURLM *multi;
    CURL *curl;   /* of the connection that reads; NULL: none */
    CURL *asking; /* of small questions */
    struct curl_slist *headers;
    char *url;
    bool ended, accepted, first,
        fault;     /* accepted: once, by this server; first: no page of this connection yet */
    CURLcode code; /* of ended */
    uint8_t *data; /* what came: [given, bytes) is still to be given, looked at up to `seen` */
    size_t bytes, capacity, given, seen;
    int64_t heard_ns, busy_ns;
    char answer[ANSWER_MAX_BYTES];
    size_t answer_bytes;
};

struct feed *feed_new(const struct server *server, const char *consumer, bool follow, struct retry *retry,
                      bool (*cancelled)(void))
{
    struct feed *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (struct feed){
        .server = server, .consumer = consumer, .follow = follow, .retry = retry, .cancelled = cancelled};
    f->multi = curl_multi_init();
    f->asking = server_request(server);
    if (!f->multi || !f->asking || asprintf(&f->url, "%s/v1/export/%s", server->url, consumer) < 0) {
        f->url = NULL;
        feed_free(f);
        return NULL;
    }
    return f;
}

void feed_free(struct feed *f)
{
    if (!f)
        return;
    feed_cut(f);
    curl_easy_cleanup(f->asking);
    curl_slist_free_all(f->headers);
    curl_multi_cleanup(f->multi);
    free(f->url);
    free(f->data);
    free(f);
}

void feed_cut(struct feed *f)
{
    if (f->curl) {
        curl_multi_remove_handle(f->multi, f->curl);
        curl_easy_cleanup(f->curl);
    }
    f->curl = NULL;
    f->bytes = f->given = f->seen = 0;
}

void feed_held(struct feed *f, int64_t ns)
{
    f->heard_ns += ns;
}

static size_t keep_answer(struct feed *f, const char *data, size_t bytes)
{
    size_t room = ANSWER_MAX_BYTES - f->answer_bytes;
    memcpy(f->answer + f->answer_bytes, data, bytes < room ? bytes : room);
    f->answer_bytes += bytes < room ? bytes : room;
    return bytes;
}

static size_t on_answer(char *data, size_t size, size_t count, void *arg)
{
    return keep_answer(arg, data, size * count);
}

static bool answers_lines(const struct feed *f)
{
    long status = 0;
    char *type = NULL;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(f->curl, CURLINFO_CONTENT_TYPE, &type);
    return status == 200 && type && strncasecmp(type, "application/x-ndjson", 20) == 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct feed *f = arg;
    size_t bytes = size * count;
    f->heard_ns = sl_monotonic_ns();
    if (!answers_lines(f))
        return keep_answer(f, data, bytes);
    if (bytes > f->capacity - f->bytes) {
        size_t capacity = f->capacity ? f->capacity : 1 << 20;
        while (capacity - f->bytes < bytes)
            capacity *= 2;
        uint8_t *grown = capacity > PAGE_MAX_BYTES ? NULL : realloc(f->data, capacity);
        if (!grown) {
            f->fault = true;
            return 0;
        }
        f->data = grown;
        f->capacity = capacity;
    }
    memcpy(f->data + f->bytes, data, bytes);
    f->bytes += bytes;
    return bytes;
}

static int begin(struct feed *f)
{
    char *url = NULL;
    f->curl = server_request(f->server);
    if (!f->curl || asprintf(&url, "%s%s", f->url, f->follow ? "?follow=1" : "") < 0) {
        retry_say(f->retry, "%s", say_errno(ENOMEM));
        feed_cut(f);
        return FEED_CUT;
    }
    curl_easy_setopt(f->curl, CURLOPT_URL, url);
    free(url);
    curl_easy_setopt(f->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(f->curl, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(f->curl, CURLOPT_BUFFERSIZE, 256L << 10);
    f->ended = f->fault = false;
    f->first = true;
    f->answer_bytes = 0;
    f->heard_ns = sl_monotonic_ns();
    curl_multi_add_handle(f->multi, f->curl);
    return 0;
}

/* The words of a problem document, or what stands for them. */
static const char *detail_of(struct feed *f, long status, struct problem *problem)
{
    if (problem_decode(sl_slice(f->answer, f->answer_bytes), problem) != 0)
        *problem = (struct problem){0};
    if (!problem->detail[0])
        snprintf(problem->detail, sizeof problem->detail, "it answered %ld", status);
    return problem->detail;
}

/* 429, 5xx: not now. */
static bool is_passing(long status)
{
    return status == 429 || status >= 500;
}

/* An answer that is not 200. */
static int judge_refusal(struct feed *f, long status)
{
    struct problem problem;
    const char *detail = detail_of(f, status, &problem);
    if (is_passing(status)) {
        retry_say(f->retry, "%s: %s; trying again", f->server->url, detail);
        return FEED_CUT;
    }
    if (status == 409 && strcmp(problem.code, "consumer-busy") == 0) {
        int64_t now_ns = sl_monotonic_ns();
        f->busy_ns = f->busy_ns ? f->busy_ns : now_ns;
        if (now_ns - f->busy_ns < (f->accepted ? BUSY_LATER_NS : BUSY_FIRST_NS))
            return FEED_CUT;
        say("another sandlog export reads as %s: %s", f->consumer, detail);
        return FEED_NEVER;
    }
    server_say_refusal(f->server, status, sl_slice(f->answer, f->answer_bytes));
    return FEED_NEVER;
}

/* The connection ended, and all whole pages of it were given. */
static int judge_end(struct feed *f)
{
    long status = 0;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    int r = FEED_CUT;
    if (f->fault) {
        say("%s sent a page without end", f->server->url);
        r = FEED_NEVER;
    } else if (f->code == CURLE_OK && status != 200) {
        r = judge_refusal(f, status);
    } else if (f->code == CURLE_OK && !answers_lines(f)) {
        say("%s does not answer with an export: is that a sandlog gateway?", f->server->url);
        r = FEED_NEVER;
    } else if (f->code == CURLE_OK && !f->follow && f->given == f->bytes && !f->first) {
        r = FEED_END;
    } else if (f->code != CURLE_OK && !f->accepted && !f->follow) {
        server_say_unreachable(f->server, server_fault(f->curl, f->code));
        r = FEED_NEVER;
    } else if (f->code != CURLE_OK) {
        retry_say(f->retry, "cannot read from %s: %s; trying again", f->server->url,
                  server_fault(f->curl, f->code));
    } else { /* a gateway that goes */
        retry_say(f->retry, "%s has ended the connection; trying again", f->server->url);
    }
    feed_cut(f);
    return r;
}

/* Finds the next checkpoint in what came. True: *ret is filled. FEED_NEVER by `fault`. */
static bool take_page(struct feed *f, struct feed_page *ret)
{
    while (f->seen < f->bytes) {
        const uint8_t *line = f->data + f->seen;
        const uint8_t *newline = memchr(line, '\n', f->bytes - f->seen);
        if (!newline)
            return false;
        struct sl_slice json = sl_slice(line, (size_t)(newline - line));
        size_t before = f->seen;
        f->seen += json.bytes + 1;
        if (!export_is_checkpoint(json))
            continue;
        struct export_item item;
        if (export_item_decode(json, &item) != 0) {
            f->fault = true;
            return false;
        }
        /* the item's text goes with it; the same stands in the line, as no escape is in a checkpoint */
        const uint8_t *at =
            memmem(json.data + 12, json.bytes - 12, item.checkpoint.data, item.checkpoint.bytes);
        *ret = (struct feed_page){.text = sl_slice(f->data + f->given, before - f->given),
                                  .checkpoint = sl_slice(at, at ? item.checkpoint.bytes : 0),
                                  .first = f->first};
        export_item_fini(&item);
        if (!at) {
            f->fault = true;
            return false;
        }
        f->first = false;
        f->given = f->seen;
        return true;
    }
    return false;
}

/* Room for what comes: what was given goes. */
static void make_room(struct feed *f)
{
    if (f->given == 0)
        return;
    memmove(f->data, f->data + f->given, f->bytes - f->given);
    f->bytes -= f->given;
    f->seen -= f->given;
    f->given = 0;
}

int feed_next(struct feed *f, int timeout_ms, struct feed_page *ret)
{
    if (!f->curl) {
        int r = begin(f);
        if (r != 0)
            return r;
    }
    int64_t end_ns = sl_monotonic_ns() + timeout_ms * SL_NS_PER_MS;
    for (;;) {
        if (take_page(f, ret)) {
            f->accepted = true;
            f->busy_ns = 0;
            return FEED_PAGE;
        }
        if (f->fault) {
            say("%s sent a checkpoint that makes no sense", f->server->url);
            feed_cut(f);
            return FEED_NEVER;
        }
        if (f->ended)
            return judge_end(f);
        make_room(f);
        int running, left;
        if (curl_multi_perform(f->multi, &running) != CURLM_OK) {
            f->ended = true;
            f->code = CURLE_OUT_OF_MEMORY;
            continue;
        }
        for (CURLMsg *m; (m = curl_multi_info_read(f->multi, &left));) {
            f->ended = true;
            f->code = m->data.result;
        }
        if (f->seen < f->bytes || f->ended)
            continue;
        int64_t now_ns = sl_monotonic_ns();
        if (now_ns - f->heard_ns > SILENCE_NS) {
            f->ended = true;
            f->code = CURLE_OPERATION_TIMEDOUT;
            continue;
        }
        if (now_ns >= end_ns)
            return FEED_QUIET;
        int wait_ms = (int)((end_ns - now_ns) / SL_NS_PER_MS) + 1;
        curl_multi_poll(f->multi, NULL, 0, wait_ms, NULL);
    }
}

/* ---- small questions ---- */

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    const struct feed *f = arg;
    return f->cancelled();
}

/* 0: *ret_status is the answer's; FEED_CUT: not now, and why was said. */
static int post_ack(struct feed *f, struct sl_slice checkpoint, long *ret_status)
{
    char *url = NULL, body[EXPORT_CHECKPOINT_MAX_BYTES + 32];
    if (!f->headers) {
        f->headers = curl_slist_append(NULL, "Content-Type: application/json");
        for (const struct curl_slist *h = f->server->token; h && f->headers; h = h->next)
            curl_slist_append(f->headers, h->data);
    }
    if (!f->headers || asprintf(&url, "%s/ack", f->url) < 0) {
        retry_say(f->retry, "%s", say_errno(ENOMEM));
        return FEED_CUT;
    }
    snprintf(body, sizeof body, "{\"checkpoint\":\"%.*s\"}", (int)checkpoint.bytes,
             (const char *)checkpoint.data);
    f->answer_bytes = 0;
    curl_easy_setopt(f->asking, CURLOPT_URL, url);
    curl_easy_setopt(f->asking, CURLOPT_HTTPHEADER, f->headers);
    curl_easy_setopt(f->asking, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(f->asking, CURLOPT_TIMEOUT_MS, (long)ACK_TIMEOUT_MS);
    curl_easy_setopt(f->asking, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(f->asking, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(f->asking, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(f->asking, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(f->asking, CURLOPT_XFERINFODATA, f);
    CURLcode code = curl_easy_perform(f->asking);
    free(url);
    curl_easy_getinfo(f->asking, CURLINFO_RESPONSE_CODE, ret_status);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return FEED_CUT;
    if (code != CURLE_OK) {
        retry_say(f->retry, "cannot acknowledge at %s: %s; trying again", f->server->url,
                  server_fault(f->asking, code));
        return FEED_CUT;
    }
    if (!is_passing(*ret_status))
        return 0;
    struct problem problem;
    retry_say(f->retry, "cannot acknowledge at %s: %s; trying again", f->server->url,
              detail_of(f, *ret_status, &problem));
    return FEED_CUT;
}

int feed_ack(struct feed *f, struct sl_slice checkpoint)
{
    long status = 0;
    int r = post_ack(f, checkpoint, &status);
    if (r != 0 || status == 200)
        return r;
    struct problem problem;
    say("cannot acknowledge at %s: %s", f->server->url, detail_of(f, status, &problem));
    return FEED_NEVER;
}

int feed_move(struct feed *f, struct sl_slice checkpoint)
{
    long status = 0;
    int r = post_ack(f, checkpoint, &status);
    return r != 0 || status == 200 ? r : FEED_NEVER;
}

bool feed_lag(struct feed *f, int64_t *ret_lines)
{
    json_t *answer = NULL;
    if (server_get(f->server, "/v1/export", true, &answer) != 0)
        return false;
    size_t i;
    json_t *consumer;
    bool found = false;
    json_array_foreach(json_object_get(answer, "consumers"), i, consumer)
    {
        const char *name = json_string_value(json_object_get(consumer, "consumer"));
        if (name && strcmp(name, f->consumer) == 0) {
            *ret_lines = json_integer_value(json_object_get(consumer, "lag_lines"));
            found = true;
        }
    }
    json_decref(answer);
    return found;
}
