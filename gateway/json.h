// SPDX-License-Identifier: Apache-2.0
/*
 * JSON writing into a buffer (reading is jansson's; no name here is one of its). Commas are the writer's
 * business, nesting the caller's (asserted). Every output is valid RFC 8259 whatever bytes a string holds:
 * control characters, quote and backslash are escaped, what is not UTF-8 becomes U+FFFD. Errors: the
 * buffer's. One thread at a time.
 *
 *   struct json j;
 *   json_init(&j, out);
 *   json_object_open(&j);
 *   json_key(&j, "state");
 *   json_slice(&j, state);
 *   json_object_close(&j);
 */
#pragma once
#include "buffer.h"

enum { JSON_DEPTH_MAX = 32 };

struct json {
    struct buffer *out;
    uint32_t begun; /* bit per depth: something stands there already */
    uint8_t depth;
    bool keyed; /* a key was written, its value comes */
};

void json_init(struct json *j, struct buffer *out);
void json_object_open(struct json *j);
void json_object_close(struct json *j);
void json_array_open(struct json *j);
void json_array_close(struct json *j);
/* `key` is a constant of ours that needs no escaping. json_key_slice(): any. */
void json_key(struct json *j, const char *key);
void json_key_slice(struct json *j, struct sl_slice key);
void json_slice(struct json *j, struct sl_slice value);
void json_text(struct json *j, const char *value); /* NULL: null */
void json_u64(struct json *j, uint64_t value);
void json_i64(struct json *j, int64_t value);
void json_bool(struct json *j, bool value);
void json_none(struct json *j);
/* A value that is JSON already. */
void json_whole(struct json *j, const char *value);
/* An int64_t time as API.md prints it. */
void json_time(struct json *j, int64_t ns);

/*
 * The inside of a string, without the quotes. Returns whether the text was UTF-8 (false: U+FFFD was written).
 * Runs of plain ASCII are found 16 bytes at a time and copied.
 */
bool json_escape(struct buffer *out, struct sl_slice text);
