// SPDX-License-Identifier: Apache-2.0
/*
 * A request as it came: libwebsockets' parsed headers copied into memory of our own, because its header table
 * is given back before the answer is written. Everything borrowed from it lives until request_free().
 * Home thread.
 */
#pragma once
#include "query.h"
#include "route.h"
#include <libwebsockets.h>

struct request {
    unsigned method; /* enum route_method */
    bool websocket;
    bool http10;
    bool close; /* the client asked for it */
    bool has_transfer_encoding;
    bool doubled_length;    /* more than one Content-Length */
    int64_t content_length; /* -1: none given; INT64_MIN: not a number */
    size_t head_bytes;      /* about what the request head took */
    size_t target_bytes;
    struct sl_slice path; /* percent-decoded, normalised */
    struct sl_slice host;
    struct sl_slice origin;
    struct sl_slice accept;
    struct sl_slice accept_encoding;
    struct sl_slice last_event_id;
    struct sl_slice authorization;
    struct query_pair *pairs;
    size_t pair_count;
    struct query_pair memory[]; /* pairs, then text */
};

/* Fault: -ENOMEM, -EINVAL (lws has no request there). */
int request_read(struct lws *wsi, bool websocket, struct request **ret);
void request_free(struct request *r);
