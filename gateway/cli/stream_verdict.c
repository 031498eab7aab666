// SPDX-License-Identifier: Apache-2.0
/* What the end of a connection means: go on, done, or failed; and what is said about it. */
#include "say.h"
#include "stream_inner.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

/* After this much trouble also a log file of stderr is told. */
#define TROUBLE_NS (5 * SL_NS_PER_S)
/* A read that is not to follow gives up after this long without an answer. */
#define GIVE_UP_NS (60 * SL_NS_PER_S)

bool stream_answers_events(const struct stream *s)
{
    long status = 0;
    char *type = NULL;
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(s->curl, CURLINFO_CONTENT_TYPE, &type);
    return status == 200 && type && strncasecmp(type, "text/event-stream", 17) == 0;
}

void stream_healthy(struct stream *s)
{
    s->retry.wait_ns = 0;
    s->trouble_ns = 0;
    if (s->all->said_trouble) {
        for (struct stream *o = s->all->first; o; o = o->next)
            if (o->trouble_ns != 0)
                return;
        s->all->said_trouble = false;
        say("connected again");
    }
}

/* reached: the server itself says why. */
static enum verdict failed(struct stream *s, bool reached, const char *why)
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
    if (s->accepted || reached)
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
    return failed(s, true, text);
}

static enum verdict ended(struct stream *s)
{
    if (strcmp(s->end.reason, "shutdown") == 0) {
        s->has_end = false;
        return failed(s, true, "the server is shutting down");
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
    case 400: /* it knows --grep by its own name */
        if (strncmp(problem.detail, "regex: ", 7) != 0)
            break;
        say("--grep: %s", problem.detail + 7);
        return FAILED;
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
        return busy(s, status);
    case 200:
        if (s->accepted) /* something between us and the server speaks */
            return failed(s, true, "the answer is not an event stream");
        say("%s does not answer with events: is that a sandlog gateway?", s->all->server->url);
        return FAILED;
    default:
        break;
    }
    server_say_refusal(s->all->server, status, body);
    return FAILED;
}

enum verdict stream_judge(struct stream *s, CURLcode code)
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
    if (status != 0 && !stream_answers_events(s) && (status != 200 || code == CURLE_OK))
        return refused(s, status);
    if (stream_answers_events(s))
        s->accepted = true;
    return failed(s, false, code == CURLE_OK ? "connection lost" : server_fault(s->curl, code));
}
