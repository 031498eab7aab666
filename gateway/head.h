// SPDX-License-Identifier: Apache-2.0
/*
 * Whether the head of a request (RFC 9112) can be read in one way only. Not a parser for handlers: it decides
 * whether libwebsockets may see the bytes at all, because 4.1.6 takes what others read differently: a bare
 * line feed as a line's end, `Content-Length` twice, spaces before a colon, folded lines, NUL.
 *
 * Taken: one request line of method, path and HTTP/1.0 or 1.1, each one space apart; lines that end with CR
 * LF; names without space; exactly one Host; no body, or one of one Content-Length. All else is refused with
 * the problem to answer. Two empty lines before a request are skipped, as RFC 9112 2.2 advises.
 *
 * Incremental: head_scan() is called with all bytes since the request's first one, again when there are more,
 * and goes on where it was, so the work is linear however slowly they come. Pure, no allocation, any thread.
 */
#pragma once
#include "problem.h"

enum {
    HEAD_TARGET_MAX_BYTES = 8 << 10,
    HEAD_FIELDS_MAX_BYTES = 16 << 10,
    HEAD_MAX_BYTES = 25 << 10, /* the request line and the fields */
    HEAD_FIELDS_MAX = 100,
    HEAD_READ_MAX = 40, /* of those that anybody here reads; lws' table has room for about 90 parts */
    HEAD_PARAMETERS_MAX = 500,
};

struct head {
    size_t skip; /* empty lines in front: not part of the request */
    size_t line; /* where the line begins that is not complete yet */
    size_t seen; /* no line feed stands before this */
    size_t first_line_end;
    unsigned fields, read;
    unsigned once; /* bits of fields that may stand once and were seen */
    int64_t body_bytes;
    bool http10;
    bool expects;           /* 100 Continue, before it sends its body */
    struct problem problem; /* HEAD_REFUSED */
};

enum { HEAD_MORE = 1, HEAD_REFUSED = 2 };

/* A request's first byte comes next. */
void head_begin(struct head *h);
/*
 * 0: whole; the request begins at h->skip, its head takes *ret_bytes of `bytes` (skipped lines included), and
 * h->body_bytes follow. HEAD_MORE: it goes on. HEAD_REFUSED: h->problem; the connection can't be used again.
 */
int head_scan(struct head *h, struct sl_slice bytes, size_t *ret_bytes);
/* The query of a head that was taken: what stands behind the first `?` of its target. Borrowed. */
struct sl_slice head_query(struct sl_slice head);
/*
 * Copies a head that was taken (from h->skip on) without its query and the fields that nobody here reads, and
 * returns the bytes written, never more than it had. libwebsockets 4.1.6 hangs up on some fields that are in
 * order: names of one letter with an empty or long value, bytes beyond ASCII, more than 90 fields. Of a query
 * it takes about 90 parameters, drops the rest without a word, splits at `;` too, and changes names.
 */
size_t head_copy(struct sl_slice head, uint8_t *out);
