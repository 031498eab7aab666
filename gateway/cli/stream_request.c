// SPDX-License-Identifier: Apache-2.0
/* What a stream asks the server for, at first and when it goes on. */
#include "stream_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* An age is counted from now; a request made `elapsed` later has to ask for one longer by that. */
static const char *grown_age(const char *text, int64_t elapsed_ns, char *out, size_t capacity)
{
    int64_t age_ns;
    size_t n = strlen(text);
    if (n == 0 || !strchr("smhdw", text[n - 1]) || elapsed_ns < SL_NS_PER_MS ||
        sl_duration_parse(sl_slice_of(text), &age_ns) != 0)
        return text;
    int64_t grown_ns = age_ns + elapsed_ns;
    snprintf(out, capacity, "%lldns", (long long)grown_ns);
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
    const char *tail = s->whole ? NULL : q->tail;
    bool resumed = s->cursor || (s->accepted && tail && strcmp(tail, "0") == 0);
    if (!resumed) {
        ok = add_parameter(&url, s->curl, "tail", tail);
        if (ok && q->since)
            ok = add_parameter(&url, s->curl, "since", grown_age(q->since, elapsed_ns, since, sizeof since));
    } else if (!s->cursor && s->newest) {
        ok = add_parameter(&url, s->curl, "after", s->newest);
    }
    if (ok && q->until)
        ok = add_parameter(&url, s->curl, "until", grown_age(q->until, elapsed_ns, until, sizeof until));
    if (ok && !s->accepted)
        ok = add_parameter(&url, s->curl, "wait", q->wait);
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

int stream_start(struct stream *s)
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
