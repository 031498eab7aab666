// SPDX-License-Identifier: Apache-2.0
#include "request.h"
#include <errno.h>
#include <stdlib.h>

/* lws_hdr_custom_*() wants lower case and the colon. */
static const char last_event_id[] = "last-event-id:";

static const struct {
    enum lws_token_indexes token;
    unsigned method;
} methods[] = {
    {WSI_TOKEN_GET_URI, METHOD_GET},     {WSI_TOKEN_HEAD_URI, METHOD_HEAD},
    {WSI_TOKEN_PUT_URI, METHOD_PUT},     {WSI_TOKEN_DELETE_URI, METHOD_DELETE},
    {WSI_TOKEN_POST_URI, METHOD_POST},   {WSI_TOKEN_OPTIONS_URI, METHOD_OPTIONS},
    {WSI_TOKEN_PATCH_URI, METHOD_OTHER}, {WSI_TOKEN_CONNECT, METHOD_OTHER},
};

struct arena {
    char *at;
    char *end;
};

/* One header, its fragments joined by lws; empty when absent. */
static struct sl_slice take(struct arena *a, struct lws *wsi, enum lws_token_indexes token)
{
    if (lws_hdr_total_length(wsi, token) <= 0)
        return sl_slice(a->at, 0);
    int bytes = lws_hdr_copy(wsi, a->at, (int)(a->end - a->at), token);
    if (bytes <= 0)
        return sl_slice(a->at, 0);
    struct sl_slice s = sl_slice(a->at, (size_t)bytes);
    a->at += bytes + 1;
    return s;
}

/* lws can't tell an empty argument from the end by its length, so they are counted by copying. */
static size_t pairs_count(struct lws *wsi)
{
    static char scratch[1 << 16]; /* no header is longer: max_http_header_data has 16 bits */
    size_t count = 0;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_URI_ARGS) <= 0)
        return 0;
    while (count < QUERY_PAIRS_MAX &&
           lws_hdr_copy_fragment(wsi, scratch, sizeof scratch, WSI_TOKEN_HTTP_URI_ARGS, (int)count) >= 0)
        count++;
    return count;
}

/* lws has split at `&` and decoded; what was an encoded `=` in a name is `_` by now. */
static void take_pair(struct arena *a, struct lws *wsi, int index, struct query_pair *ret)
{
    int bytes = lws_hdr_copy_fragment(wsi, a->at, (int)(a->end - a->at), WSI_TOKEN_HTTP_URI_ARGS, index);
    if (bytes < 0)
        bytes = 0;
    const char *equals = memchr(a->at, '=', (size_t)bytes);
    size_t name = equals ? (size_t)(equals - a->at) : (size_t)bytes;
    ret->name = sl_slice(a->at, name);
    ret->value = equals ? sl_slice(equals + 1, (size_t)bytes - name - 1) : sl_slice(a->at, 0);
    ret->bare = !equals;
    a->at += bytes + 1;
}

static int64_t length_of(struct sl_slice text)
{
    uint64_t value;
    if (text.bytes == 0)
        return -1;
    return query_u64(text, &value) == 0 && value <= INT64_MAX ? (int64_t)value : INT64_MIN;
}

/* lws strips nothing from headers that it has no token for. */
static struct sl_slice trimmed(struct sl_slice s)
{
    while (s.bytes && (*s.data == ' ' || *s.data == '\t')) {
        s.data++;
        s.bytes--;
    }
    while (s.bytes && (s.data[s.bytes - 1] == ' ' || s.data[s.bytes - 1] == '\t'))
        s.bytes--;
    return s;
}

static bool names(struct sl_slice list, const char *word)
{
    size_t bytes = strlen(word);
    for (size_t i = 0; i + bytes <= list.bytes; i++)
        if (strncasecmp((const char *)list.data + i, word, bytes) == 0)
            return true;
    return false;
}

int request_read(struct lws *wsi, bool websocket, struct request **ret)
{
    enum lws_token_indexes path = WSI_TOKEN_GET_URI;
    unsigned method = 0;
    for (size_t i = 0; i < sizeof methods / sizeof *methods && !method; i++)
        if (lws_hdr_total_length(wsi, methods[i].token) > 0) {
            path = methods[i].token;
            method = methods[i].method;
        }
    if (!method)
        return -EINVAL;

    static const enum lws_token_indexes copied[] = {WSI_TOKEN_HOST,
                                                    WSI_TOKEN_ORIGIN,
                                                    WSI_TOKEN_HTTP_ACCEPT,
                                                    WSI_TOKEN_HTTP_ACCEPT_ENCODING,
                                                    WSI_TOKEN_HTTP_AUTHORIZATION,
                                                    WSI_TOKEN_HTTP_CONTENT_LENGTH,
                                                    WSI_TOKEN_CONNECTION,
                                                    WSI_TOKEN_HTTP};
    size_t count = pairs_count(wsi), text = 64, head = 0;
    size_t target = (size_t)lws_hdr_total_length(wsi, path);
    int args = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_URI_ARGS);
    if (args > 0)
        target += (size_t)args;
    text += target + 2 * count + 2;
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        if (lws_hdr_total_length(wsi, copied[i]) > 0)
            text += (size_t)lws_hdr_total_length(wsi, copied[i]) + 2;
    int id_bytes = lws_hdr_custom_length(wsi, last_event_id, (int)sizeof last_event_id - 1);
    if (id_bytes > 0)
        text += (size_t)id_bytes + 2;
    head = text;

    struct request *r = calloc(1, sizeof *r + count * sizeof *r->pairs + text);
    if (!r)
        return -ENOMEM;
    struct arena a = {.at = (char *)(r->memory + count)};
    a.end = a.at + text;
    r->method = method;
    r->websocket = websocket;
    r->pairs = r->memory;
    r->pair_count = count;
    r->head_bytes = head;
    r->target_bytes = target;
    r->path = take(&a, wsi, path);
    for (size_t i = 0; i < count; i++)
        take_pair(&a, wsi, (int)i, &r->pairs[i]);
    r->host = take(&a, wsi, WSI_TOKEN_HOST);
    r->origin = take(&a, wsi, WSI_TOKEN_ORIGIN);
    r->accept = take(&a, wsi, WSI_TOKEN_HTTP_ACCEPT);
    r->accept_encoding = take(&a, wsi, WSI_TOKEN_HTTP_ACCEPT_ENCODING);
    r->authorization = take(&a, wsi, WSI_TOKEN_HTTP_AUTHORIZATION);
    r->doubled_length = lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, 1) > 0;
    r->has_transfer_encoding = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0;
    r->content_length = length_of(take(&a, wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH));
    r->close = names(take(&a, wsi, WSI_TOKEN_CONNECTION), "close");
    r->http10 = !names(take(&a, wsi, WSI_TOKEN_HTTP), "HTTP/1.1");
    if (id_bytes > 0 && lws_hdr_custom_copy(wsi, a.at, (int)(a.end - a.at), last_event_id,
                                            (int)sizeof last_event_id - 1) >= 0)
        r->last_event_id = trimmed(sl_slice(a.at, (size_t)id_bytes));
    *ret = r;
    return 0;
}

void request_free(struct request *r)
{
    free(r);
}
