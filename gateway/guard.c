// SPDX-License-Identifier: Apache-2.0
#include "guard.h"
#include "options.h"
#include "server.h"

/* The name without port, without brackets. */
static struct sl_slice name_of(struct sl_slice host)
{
    const uint8_t *colon;
    if (host.bytes && *host.data == '[') {
        const uint8_t *end = memchr(host.data, ']', host.bytes);
        return end ? sl_slice(host.data + 1, (size_t)(end - host.data) - 1) : host;
    }
    colon = memchr(host.data, ':', host.bytes);
    return colon ? sl_slice(host.data, (size_t)(colon - host.data)) : host;
}

static bool is(struct sl_slice s, const char *text)
{
    return s.bytes == strlen(text) && strncasecmp((const char *)s.data, text, s.bytes) == 0;
}

bool guard_loopback_name(struct sl_slice host)
{
    struct sl_slice name = name_of(host);
    static const char suffix[] = ".localhost";
    size_t end = sizeof suffix - 1;
    if (name.bytes > end && strncasecmp((const char *)name.data + name.bytes - end, suffix, end) == 0)
        return true;
    if (is(name, "localhost") || is(name, "::1"))
        return true;
    if (name.bytes < 7 || memcmp(name.data, "127.", 4) != 0)
        return false;
    for (size_t i = 4; i < name.bytes; i++)
        if (name.data[i] != '.' && (name.data[i] < '0' || name.data[i] > '9'))
            return false;
    return true;
}

int guard_request(const struct server *s, const struct request *r, struct problem *ret_problem)
{
    if (r->target_bytes > GUARD_TARGET_MAX_BYTES)
        problem_set(ret_problem, PROBLEM_URI_TOO_LONG, NULL, "path and query may have 8 KiB");
    else if (r->head_bytes > GUARD_HEAD_MAX_BYTES)
        problem_set(ret_problem, PROBLEM_HEADERS_TOO_LARGE, NULL, "a request's head may have 16 KiB");
    else if (r->host.bytes == 0 && !r->http10)
        problem_set(ret_problem, PROBLEM_BAD_REQUEST, "Host", "a request needs one Host header");
    else if (r->doubled_length || r->content_length == INT64_MIN)
        problem_set(ret_problem, PROBLEM_BAD_REQUEST, "Content-Length",
                    "Content-Length must be one whole number");
    else if (r->has_transfer_encoding)
        problem_set(ret_problem, PROBLEM_BAD_REQUEST, "Transfer-Encoding",
                    "bodies are taken with Content-Length only");
    else if (s->loopback && r->host.bytes && !guard_loopback_name(r->host))
        problem_set(
            ret_problem, PROBLEM_FORBIDDEN, "Host",
            "without tokens only this machine's own names are answered (localhost, 127.0.0.1, [::1])");
    else
        return 0;
    return 1;
}

/* A page may connect to where it came from; its origin is scheme://host[:port]. */
static bool same_origin(struct sl_slice origin, struct sl_slice host)
{
    for (size_t i = 0; i + 3 <= origin.bytes; i++)
        if (memcmp(origin.data + i, "://", 3) == 0) {
            struct sl_slice rest = sl_slice(origin.data + i + 3, origin.bytes - i - 3);
            return rest.bytes == host.bytes &&
                   strncasecmp((const char *)rest.data, (const char *)host.data, rest.bytes) == 0;
        }
    return false;
}

static bool allowed(struct sl_slice origin)
{
    for (size_t i = 0; i < options.allow_origins.count; i++) {
        const char *item = options.allow_origins.items[i];
        if (strcmp(item, "*") == 0 || is(origin, item))
            return true;
    }
    return false;
}

void guard_cors(const struct request *r, struct buffer *out)
{
    if (options.allow_origins.count == 0)
        return;
    buffer_append_text(out, "Vary: Origin\r\n");
    if (r->origin.bytes == 0 || !allowed(r->origin))
        return;
    buffer_append_text(out, "Access-Control-Allow-Origin: ");
    buffer_append_slice(out, r->origin);
    buffer_append_text(out,
                       "\r\nAccess-Control-Expose-Headers: Sandlog-Oldest, Sandlog-Newest, Sandlog-State, "
                       "Retry-After\r\n");
}

void guard_preflight(const struct request *r, const char *allow, struct buffer *out)
{
    bool may = r->origin.bytes && allowed(r->origin);
    buffer_append_text(out, may ? "Access-Control-Allow-Methods: " : "Allow: ");
    buffer_append_text(out, allow);
    buffer_append_text(out, "\r\n");
    if (may)
        buffer_append_text(out, "Access-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID\r\n"
                                "Access-Control-Max-Age: 600\r\n");
}

int guard_upgrade(const struct server *s, struct lws *wsi, const struct request *r,
                  struct problem *ret_problem)
{
    (void)s;
    char word[128];
    /* RFC 6455 4.2.1; lws takes any method and version, and hangs up without a key */
    if (r->method != METHOD_GET) {
        problem_set(ret_problem, PROBLEM_BAD_REQUEST, NULL, "a WebSocket is opened with GET");
        return 1;
    }
    if (lws_hdr_copy(wsi, word, sizeof word, WSI_TOKEN_VERSION) <= 0 || strcmp(word, "13") != 0) {
        problem_set(ret_problem, PROBLEM_BAD_REQUEST, "Sec-WebSocket-Version",
                    "WebSockets of version 13 are spoken here");
        return 1;
    }
    if (lws_hdr_total_length(wsi, WSI_TOKEN_KEY) != 24) {
        problem_set(ret_problem, PROBLEM_BAD_REQUEST, "Sec-WebSocket-Key",
                    "a WebSocket needs a key of 16 bytes in base64");
        return 1;
    }
    /* lws copies this header into 128 bytes and hangs when it does not fit (4.1.6). */
    if (lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) > 120) {
        problem_set(
            ret_problem, PROBLEM_BAD_REQUEST, "Sec-WebSocket-Protocol",
            "offer sandlog.ndjson.v1 or sandlog.text.v1; tokens go into Authorization or access_token");
        return 1;
    }
    if (lws_hdr_copy(wsi, word, sizeof word, WSI_TOKEN_PROTOCOL) > 0 && !strstr(word, "sandlog.ndjson.v1") &&
        !strstr(word, "sandlog.text.v1")) {
        problem_set(ret_problem, PROBLEM_BAD_REQUEST, "Sec-WebSocket-Protocol",
                    "offer sandlog.ndjson.v1 or sandlog.text.v1, or none");
        return 1;
    }
    if (r->origin.bytes && !same_origin(r->origin, r->host) && !allowed(r->origin)) {
        problem_set(ret_problem, PROBLEM_FORBIDDEN, "Origin", "this origin may not connect");
        return 1;
    }
    return 0;
}
