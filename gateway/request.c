// SPDX-License-Identifier: Apache-2.0
#include "request.h"
#include "door.h"
#include "head.h"
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

static struct sl_slice keep(struct arena *a, struct sl_slice s)
{
    struct sl_slice kept = sl_slice(a->at, s.bytes);
    if (s.bytes)
        memcpy(a->at, s.data, s.bytes);
    a->at += s.bytes;
    return kept;
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
    static struct query_pair pairs[QUERY_PAIRS_MAX];
    static uint8_t scratch[HEAD_TARGET_MAX_BYTES];
    struct problem problem;
    struct sl_slice query = door_query(wsi);
    size_t count = 0, text = 64, head = 0;
    size_t target = (size_t)lws_hdr_total_length(wsi, path) + query.bytes;
    /* head.h has refused what can't be split */
    if (query.bytes > sizeof scratch || query_split(query, scratch, pairs, &count, &problem) != 0)
        return -EINVAL;
    text += target + 2;
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
    for (size_t i = 0; i < count; i++) {
        r->pairs[i] = (struct query_pair){.bare = pairs[i].bare};
        r->pairs[i].name = keep(&a, pairs[i].name);
        r->pairs[i].value = keep(&a, pairs[i].value);
    }
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
