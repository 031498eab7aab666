// SPDX-License-Identifier: Apache-2.0
#include "stream.h"
#include "say.h"
#include "sse.h"

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
/* After this much trouble also a log file of stderr is told. */
#define TROUBLE_NS (5 * SL_NS_PER_S)
/* A read that is not to follow gives up after this long without an answer. */
#define GIVE_UP_NS (60 * SL_NS_PER_S)

enum { BODY_MAX_BYTES = 64 << 10 };

enum verdict { CUT, RETRY_NOW, OVER, FAILED };

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
    bool follow, active, accepted, connected, over, has_end, gap_may_repeat;
    bool refused; /* this connection brought `event: error` */
    struct end end;
    uint8_t *body;
    size_t body_bytes;
    int64_t began_ns, connected_ns, heard_ns, due_ns, backoff_ns, trouble_ns,
        wait_ns; /* monotonic; trouble 0: none */
    int fault;   /* of an event: -errno */
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

/* The connection serves: whatever trouble there was is over. */
static void healthy(struct stream *s)
{
    s->backoff_ns = 0;
    s->trouble_ns = 0;
    if (s->all->said_trouble) {
        for (struct stream *o = s->all->first; o; o = o->next)
            if (o->trouble_ns != 0)
                return;
        s->all->said_trouble = false;
        say("connected again");
    }
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
        if (event->data.bytes <= BODY_MAX_BYTES) {
            memcpy(s->body, event->data.data, event->data.bytes);
            s->body_bytes = event->data.bytes;
        }
        return 1;
    }
    s->accepted = true;
    healthy(s);
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

static bool answers_events(const struct stream *s)
{
    long status = 0;
    char *type = NULL;
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(s->curl, CURLINFO_CONTENT_TYPE, &type);
    return status == 200 && type && strncasecmp(type, "text/event-stream", 17) == 0;
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
    if (bytes <= 2 && answers_events(s)) { /* the blank line behind the headers */
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
    if (answers_events(s)) {
        int r = sse_push(&s->sse, sl_slice(data, bytes));
        if (r < 0)
            s->fault = r;
        return r == 0 ? bytes : 0; /* all is known: ends the transfer */
    }
    size_t room = BODY_MAX_BYTES - s->body_bytes;
    memcpy(s->body + s->body_bytes, data, bytes < room ? bytes : room);
    s->body_bytes += bytes < room ? bytes : room;
    return bytes;
}

/* ---- what is asked ---- */

/* An age is counted from now; a request made `elapsed` later has to ask for one longer by that. */
static const char *grown_age(const char *text, int64_t elapsed_ns, char *out, size_t capacity)
{
    int64_t age_ns;
    size_t n = strlen(text);
    if (n == 0 || !strchr("smhdw", text[n - 1]) || elapsed_ns < SL_NS_PER_MS ||
        sl_duration_parse(sl_slice_of(text), &age_ns) != 0)
        return text;
    snprintf(out, capacity, "%lldns", (long long)(age_ns + elapsed_ns));
    return out;
}

static bool add_parameter(char **url, CURL *curl, const char *name, const char *value)
{
    if (!value)
        return true;
    char *escaped = curl_easy_escape(curl, value, 0);
    char *longer = NULL;
    bool ok = escaped && asprintf(&longer, "%s&%s=%s", *url, name, escaped) >= 0;
    curl_free(escaped);
    if (ok) {
        free(*url);
        *url = longer;
    }
    return ok;
}

static bool build_url(const struct stream *s, char **ret)
{
    const struct stream_query *q = s->all->query;
    char since[40], until[40];
    int64_t elapsed_ns = s->accepted ? sl_monotonic_ns() - s->began_ns : 0;
    char *url = NULL;
    bool ok = asprintf(&url, "%s/v1/sandboxes/%s/logs?format=sse&data=json%s%s", s->all->server->url, s->id,
                       s->follow ? "&follow=1" : "", q->ignore_case ? "&ignore_case=1" : "") >= 0;
    if (!ok)
        return false;
    /* `-n 0` was answered before with nothing: what has come since then is new. */
    bool resumed = s->cursor || (s->accepted && q->tail && strcmp(q->tail, "0") == 0);
    if (!resumed) {
        ok = add_parameter(&url, s->curl, "tail", q->tail);
        if (ok && q->since)
            ok = add_parameter(&url, s->curl, "since", grown_age(q->since, elapsed_ns, since, sizeof since));
    } else if (!s->cursor && s->newest) {
        ok = add_parameter(&url, s->curl, "after", s->newest);
    }
    if (ok && q->until)
        ok = add_parameter(&url, s->curl, "until", grown_age(q->until, elapsed_ns, until, sizeof until));
    ok = ok && add_parameter(&url, s->curl, "stream", q->stream) &&
         add_parameter(&url, s->curl, "regex", q->regex) &&
         add_parameter(&url, s->curl, "container", q->container);
    if (!ok) {
        free(url);
        return false;
    }
    *ret = url;
    return true;
}

static int add_header(struct stream *s, const char *text)
{
    struct curl_slist *longer = curl_slist_append(s->headers, text);
    if (!longer)
        return -ENOMEM;
    s->headers = longer;
    return 0;
}

static int stream_start(struct stream *s)
{
    char *url = NULL;
    if (!build_url(s, &url))
        return -ENOMEM;
    curl_slist_free_all(s->headers);
    s->headers = NULL;
    int r = add_header(s, "Accept: text/event-stream");
    for (struct curl_slist *h = s->all->server->token; r == 0 && h; h = h->next)
        r = add_header(s, h->data);
    if (r == 0 && s->cursor) {
        char *text = NULL;
        r = asprintf(&text, "Last-Event-ID: %s", s->cursor) < 0 ? -ENOMEM : add_header(s, text);
        free(text);
    }
    if (r == 0) {
        curl_easy_setopt(s->curl, CURLOPT_URL, url);
        curl_easy_setopt(s->curl, CURLOPT_HTTPHEADER, s->headers);
        sse_reset(&s->sse);
        s->body_bytes = 0;
        s->fault = 0;
        s->refused = s->connected = false;
        s->gap_may_repeat = true;
        s->heard_ns = sl_monotonic_ns();
        s->active = true;
        if (curl_multi_add_handle(s->all->multi, s->curl) != CURLM_OK)
            r = -ENOMEM;
    }
    free(url);
    return r;
}

int streams_add(struct streams *all, const char *id)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->all = all;
    sse_init(&s->sse, on_event, s);
    s->id = strdup(id);
    s->body = malloc(BODY_MAX_BYTES);
    s->curl = server_request(all->server);
    s->follow = all->query->follow;
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

/* ---- how it ends ---- */

static enum verdict failed(struct stream *s, const char *why)
{
    if (s->accepted && s->all->reconnect) {
        s->trouble_ns = s->trouble_ns ? s->trouble_ns : sl_monotonic_ns();
        bool long_enough = sl_monotonic_ns() - s->trouble_ns >= TROUBLE_NS;
        if (!s->all->said_trouble && (say_to_terminal() || long_enough)) {
            s->all->said_trouble = true;
            say("%s; reconnecting...", why);
        }
        if (s->follow || sl_monotonic_ns() - s->trouble_ns < GIVE_UP_NS)
            return CUT;
    }
    if (s->accepted)
        say("%s: %s", s->all->server->url, why);
    else
        server_say_unreachable(s->all->server, why);
    return FAILED;
}

/* The server can't at the moment, and says so with a status or an event. */
static enum verdict busy(struct stream *s, long status)
{
    curl_off_t after_s = 0;
    curl_easy_getinfo(s->curl, CURLINFO_RETRY_AFTER, &after_s);
    if (s->sse.retry_ms > 0 && s->refused)
        s->wait_ns = s->sse.retry_ms * SL_NS_PER_MS;
    if (after_s > 0 && after_s <= 60)
        s->wait_ns = after_s * SL_NS_PER_S;
    struct problem problem;
    char text[500];
    if (problem_decode(sl_slice(s->body, s->body_bytes), &problem) == 0 && problem.detail[0])
        snprintf(text, sizeof text, "%s", problem.detail);
    else
        snprintf(text, sizeof text, "it answered %ld", status);
    return failed(s, text);
}

static enum verdict ended(struct stream *s)
{
    if (strcmp(s->end.reason, "shutdown") == 0) {
        s->has_end = false;
        return failed(s, "the server is shutting down");
    }
    if (strcmp(s->end.reason, "expired") == 0) {
        say("the token has expired");
        return FAILED;
    }
    return OVER;
}

static enum verdict refused(struct stream *s, long status)
{
    struct problem problem;
    struct sl_slice body = sl_slice(s->body, s->body_bytes);
    if (problem_decode(body, &problem) != 0)
        problem = (struct problem){0};
    switch (status) {
    case 204: /* nothing behind the cursor, and nothing will come */
        snprintf(s->end.reason, sizeof s->end.reason, "stopped");
        s->end.exit_code = -1;
        s->has_end = true;
        return OVER;
    case 404:
        if (strcmp(problem.code, "sandbox-not-found") != 0)
            break;
        say("no sandbox \"%s\"", s->id);
        return FAILED;
    case 409:
        if (strcmp(problem.code, "sandbox-not-running") != 0 || !s->follow)
            break;
        s->follow = false;
        return RETRY_NOW;
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
        return busy(s, status);
    case 200:
        if (s->accepted) /* something between us and the server speaks */
            return failed(s, "the answer is not an event stream");
        say("%s does not answer with events: is that a sandlog gateway?", s->all->server->url);
        return FAILED;
    default:
        break;
    }
    server_say_refusal(s->all->server, status, body);
    return FAILED;
}

static enum verdict judge(struct stream *s, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    if (s->has_end)
        return ended(s);
    if (s->fault == -ENOMEM) {
        say("%s", say_errno(ENOMEM));
        return FAILED;
    }
    if (s->fault < 0) {
        say("%s sent an event that makes no sense", s->all->server->url);
        return FAILED;
    }
    if (s->refused)
        return busy(s, 503);
    if (status != 0 && !answers_events(s) && (status != 200 || code == CURLE_OK))
        return refused(s, status);
    if (answers_events(s))
        s->accepted = true;
    return failed(s, code == CURLE_OK ? "connection lost" : server_fault(s->curl, code));
}

/* Half of it is chance, so that the followers of a server that comes back do not all come at once. */
static int64_t with_jitter(int64_t ns)
{
    return ns / 2 + (int64_t)((double)(ns / 2) * drand48());
}

static void finish(struct stream *s, bool well)
{
    struct streams *all = s->all;
    s->over = true;
    all->events->end(s, all->arg, well ? &s->end : NULL);
    struct stream **at = &all->first;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    all->count--;
    stream_free(s);
}

static void transfer_over(struct stream *s, CURLcode code)
{
    enum verdict verdict = judge(s, code);
    curl_multi_remove_handle(s->all->multi, s->curl);
    s->active = s->connected = false;
    switch (verdict) {
    case RETRY_NOW:
        s->due_ns = 0;
        break;
    case CUT:
        s->backoff_ns = s->backoff_ns == 0                    ? BACKOFF_FIRST_NS
                        : s->backoff_ns * 2 < BACKOFF_MOST_NS ? s->backoff_ns * 2
                                                              : BACKOFF_MOST_NS;
        int64_t wait_ns = with_jitter(s->backoff_ns);
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
    for (struct stream *s = all->first, *next; s; s = next) {
        next = s->next;
        if (s->connected && s->trouble_ns != 0 && now - s->connected_ns > STEADY_NS)
            healthy(s);
        if (s->active && now - s->heard_ns > SILENCE_NS) {
            transfer_over(s, CURLE_OPERATION_TIMEDOUT);
        } else if (!s->active && s->due_ns <= now && stream_start(s) < 0) {
            say("%s", say_errno(ENOMEM));
            finish(s, false);
        }
    }
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

int streams_run(struct streams *all, int timeout_ms)
{
    int running;
    start_what_is_due(all);
    /* stdout is watched too: poll(2) reports a reader that has gone without being asked */
    struct curl_waitfd reader = {.fd = STDOUT_FILENO};
    if (curl_multi_perform(all->multi, &running) != CURLM_OK)
        return -EIO;
    all->events->pause(all->arg);
    if (curl_multi_poll(all->multi, &reader, 1, soonest_ms(all, timeout_ms), NULL) != CURLM_OK)
        return -EIO;
    int64_t before = sl_monotonic_ns();
    if (curl_multi_perform(all->multi, &running) != CURLM_OK)
        return -EIO;
    all->events->pause(all->arg);
    /* While a slow reader of our output held us up, nobody listened: that was not the server's silence. */
    int64_t held_ns = sl_monotonic_ns() - before;
    for (struct stream *s = all->first; s; s = s->next)
        s->heard_ns += held_ns;
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(all->multi, &left));) {
        struct stream *s = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s);
        assert(s && m->msg == CURLMSG_DONE);
        transfer_over(s, m->data.result);
    }
    return 0;
}
