// SPDX-License-Identifier: Apache-2.0
/*
 * Long-term export (API.md 4). export.c: the list of consumers, acknowledgements, deletion, and what the
 * routes share; export_stream.c: GET of one consumer, which is a stream.
 */
#pragma once
#include "connection.h"
#include "wire/message.h"

/* Answers with what the broker said instead of OK (fault 0), or with the fault. */
void export_refuse(struct connection *c, int fault, uint8_t status);
/* {"checkpoint":"…"} and a newline. */
void export_render_checkpoint(struct buffer *out, struct sl_slice checkpoint);
/* The body of an acknowledgement. > 0 (EXPORT_INVALID): *ret_why is a static sentence. The text is copied. */
enum { EXPORT_INVALID = 1 };
int export_ack_parse(struct sl_slice body, struct sl_checkpoint *ret, const char **ret_why);

/* GET /v1/export/{consumer}. */
extern const struct handler export_stream_handler;
