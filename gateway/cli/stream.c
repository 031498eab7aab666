// SPDX-License-Identifier: Apache-2.0
#include "say.h"
#include "stream_inner.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define BACKOFF_FIRST_NS (200 * SL_NS_PER_MS)
#define BACKOFF_MOST_NS  (5 * SL_NS_PER_S)
/* The server says something every 15 s. */
#define SILENCE_NS (45 * SL_NS_PER_S)
/* A connection that lasted this long without a word serves. */
#define STEADY_NS SL_NS_PER_S

const char *stream_id(const struct stream *stream)
{
    return stream->id;
}

bool stream_connected(const struct stream *stream)
{
    return stream->connected;
}

size_t streams_count(const struct streams *streams)
{
    return streams->count;
}

struct streams *streams_new(const struct server *server, const struct stream_query *query,
                            const struct stream_events *events, void *arg, bool reconnect)
{
    struct streams *all = calloc(1, sizeof *all);
    CURLM *multi = curl_multi_init();
    if (!all || !multi) {
        free(all);
        curl_multi_cleanup(multi);
        return NULL;
    }
    *all = (struct streams){.server = server,
                            .query = query,
                            .events = events,
                            .arg = arg,
                            .reconnect = reconnect,
                            .multi = multi};
    return all;
}

static void stream_free(struct stream *s)
{
    if (s->active)
        curl_multi_remove_handle(s->all->multi, s->curl);
    curl_easy_cleanup(s->curl);
    curl_slist_free_all(s->headers);
    sse_fini(&s->sse);
    free(s->id);
    free(s->cursor);
    free(s->last_gap);
    free(s->newest);
    free(s->body);
    free(s);
}

void streams_free(struct streams *all)
{
    if (!all)
        return;
    while (all->first) {
        struct stream *s = all->first;
        all->first = s->next;
        stream_free(s);
    }
    curl_multi_cleanup(all->multi);
    free(all);
}

/* ---- what comes ---- */

static int set_text(char **text, struct sl_slice value)
{
    char *copy = strndup((const char *)value.data, value.bytes);
    if (!copy)
        return -ENOMEM;
    free(*text);
    *text = copy;
    return 0;
}

static bool kind_is(const struct sse_event *event, const char *kind)
{
    return sl_slice_equal(event->kind, sl_slice_of(kind));
}

static int on_line(struct stream *s, const struct sse_event *event)
{
    struct line line;
    int r = line_decode(event->data, &line);
    if (r != 0)
        return r < 0 ? r : -EBADMSG;
    s->all->events->line(s, s->all->arg, &line, event->data);
    line_fini(&line);
    s->gap_may_repeat = false;
    return event->id.bytes > 0 ? set_text(&s->cursor, event->id) : 0;
}

static int on_gap(struct stream *s, const struct sse_event *event)
{
    /* Its id is the line before it, so that a reader that resumes there is told again. */
    if (s->gap_may_repeat && s->last_gap && sl_slice_equal(sl_slice_of(s->last_gap), event->data))
        return 0;
    struct gap gap;
    if (gap_decode(event->data, &gap) != 0)
        return -EBADMSG;
    s->all->events->gap(s, s->all->arg, &gap, event->data);
    s->gap_may_repeat = false;
    int r = event->id.bytes > 0 ? set_text(&s->cursor, event->id) : 0;
    return r == 0 ? set_text(&s->last_gap, event->data) : r;
}

static int on_event(void *arg, const struct sse_event *event)
{
    struct stream *s = arg;
    if (kind_is(event, "error")) {
        s->refused = true;
        s->body_bytes = 0;
        if (event->data.bytes <= STREAM_BODY_MAX_BYTES) {
            memcpy(s->body, event->data.data, event->data.bytes);
            s->body_bytes = event->data.bytes;
        }
        return 1;
    }
    s->accepted = true;
    stream_healthy(s);
    if (kind_is(event, "log"))
        return on_line(s, event);
    if (kind_is(event, "gap"))
        return on_gap(s, event);
    if (kind_is(event, "end")) {
        if (end_decode(event->data, &s->end) != 0)
            return -EBADMSG;
        s->has_end = true;
        return 1;
    }
    return 0; /* a kind from the future */
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct stream *s = arg;
    size_t bytes = size * count;
    static const char newest[] = "Sandlog-Newest:";
    if (!s->accepted && bytes > sizeof newest && strncasecmp(data, newest, sizeof newest - 1) == 0) {
        struct sl_slice value = sl_slice(data + sizeof newest - 1, bytes - sizeof newest + 1);
        while (value.bytes > 0 && strchr(" \t", value.data[0]))
            value = sl_slice(value.data + 1, value.bytes - 1);
        while (value.bytes > 0 && strchr(" \t\r\n", value.data[value.bytes - 1]))
            value.bytes--;
        if (value.bytes > 0 && set_text(&s->newest, value) != 0)
            return 0;
    }
    if (bytes <= 2 && stream_answers_events(s)) { /* the blank line behind the headers */
        s->connected = true;
        s->connected_ns = sl_monotonic_ns();
    }
    return bytes;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct stream *s = arg;
    size_t bytes = size * count;
    s->heard_ns = sl_monotonic_ns();
    if (stream_answers_events(s)) {
        int r = sse_push(&s->sse, sl_slice(data, bytes));
        if (r < 0)
            s->fault = r;
        return r == 0 ? bytes : 0; /* all is known: ends the transfer */
    }
    size_t room = STREAM_BODY_MAX_BYTES - s->body_bytes;
    memcpy(s->body + s->body_bytes, data, bytes < room ? bytes : room);
    s->body_bytes += bytes < room ? bytes : room;
    return bytes;
}

int streams_add(struct streams *all, const char *id, bool whole)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->all = all;
    sse_init(&s->sse, on_event, s);
    s->id = strdup(id);
    s->body = malloc(STREAM_BODY_MAX_BYTES);
    s->curl = server_request(all->server);
    s->follow = all->query->follow;
    s->retry = (struct retry){.first_ns = BACKOFF_FIRST_NS, .most_ns = BACKOFF_MOST_NS};
    s->whole = whole;
    s->began_ns = sl_monotonic_ns();
    if (!s->id || !s->body || !s->curl) {
        stream_free(s);
        return -ENOMEM;
    }
    curl_easy_setopt(s->curl, CURLOPT_PRIVATE, s);
    curl_easy_setopt(s->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(s->curl, CURLOPT_HEADERDATA, s);
    curl_easy_setopt(s->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(s->curl, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(s->curl, CURLOPT_BUFFERSIZE, 128L << 10);
    int r = stream_start(s);
    if (r < 0) {
        stream_free(s);
        return r;
    }
    struct stream **at = &all->first;
    while (*at)
        at = &(*at)->next;
    *at = s;
    all->count++;
    return 0;
}

static void finish(struct stream *s, bool well)
{
    s->over = true;
    s->all->events->end(s, s->all->arg, well ? &s->end : NULL);
}

static void free_what_is_over(struct streams *all)
{
    for (struct stream **at = &all->first; *at;) {
        struct stream *s = *at;
        if (!s->over) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        all->count--;
        stream_free(s);
    }
}

static void transfer_over(struct stream *s, CURLcode code)
{
    enum verdict verdict = stream_judge(s, code);
    int64_t wait_ns;
    curl_multi_remove_handle(s->all->multi, s->curl);
    s->active = s->connected = false;
    switch (verdict) {
    case RETRY_NOW:
        s->due_ns = 0;
        break;
    case CUT:
        wait_ns = retry_wait_ns(&s->retry);
        s->due_ns = sl_monotonic_ns() + (s->wait_ns > wait_ns ? s->wait_ns : wait_ns);
        s->wait_ns = 0;
        break;
    case OVER:
        finish(s, true);
        break;
    case FAILED:
        finish(s, false);
        break;
    }
}

static void start_what_is_due(struct streams *all)
{
    int64_t now = sl_monotonic_ns();
    for (struct stream *s = all->first; s; s = s->next) {
        if (s->connected && s->trouble_ns != 0 && now - s->connected_ns > STEADY_NS)
            stream_healthy(s);
        if (s->active && now - s->heard_ns > SILENCE_NS) {
            transfer_over(s, CURLE_OPERATION_TIMEDOUT);
        } else if (!s->active && s->due_ns <= now && stream_start(s) < 0) {
            say("%s", say_errno(ENOMEM));
            finish(s, false);
        }
    }
    free_what_is_over(all);
}

static int soonest_ms(const struct streams *all, int most_ms)
{
    int64_t now = sl_monotonic_ns();
    int64_t least = most_ms;
    for (const struct stream *s = all->first; s; s = s->next)
        if (!s->active) {
            int64_t ms = s->due_ns <= now ? 0 : (s->due_ns - now) / SL_NS_PER_MS + 1;
            least = ms < least ? ms : least;
        }
    return (int)least;
}

/* Returns how many connections have ended. */
static int take_what_ended(struct streams *all)
{
    int left, count = 0;
    for (CURLMsg *m; (m = curl_multi_info_read(all->multi, &left)); count++) {
        struct stream *s = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s);
        assert(s && m->msg == CURLMSG_DONE);
        transfer_over(s, m->data.result);
    }
    free_what_is_over(all);
    return count;
}

int streams_run(struct streams *all, int timeout_ms)
{
    int running;
    start_what_is_due(all);
    int64_t before = sl_monotonic_ns();
    if (curl_multi_perform(all->multi, &running) != CURLM_OK)
        return -EIO;
    all->events->pause(all->arg);
    /* While a slow reader of our output held us up, nobody listened: that was not the server's silence. */
    int64_t held_ns = sl_monotonic_ns() - before;
    for (struct stream *s = all->first; s; s = s->next)
        s->heard_ns += held_ns;
    if (take_what_ended(all) > 0)
        return 0;
    /* stdout is watched too: poll(2) reports a reader that has gone without being asked */
    struct curl_waitfd reader = {.fd = STDOUT_FILENO};
    return curl_multi_poll(all->multi, &reader, 1, soonest_ms(all, timeout_ms), NULL) == CURLM_OK ? 0 : -EIO;
}
