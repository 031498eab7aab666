// SPDX-License-Identifier: Apache-2.0
/*
 * One line of a log, as the server sends it in JSON (API: the NDJSON object), decoded to the exact bytes that
 * the process wrote. Foreign bytes: any input is safe. Any thread.
 */
#pragma once
#include "wire/slice.h"
#include "wire/timestamp.h"

struct json_t;

struct line {
    uint64_t seq;
    struct sl_slice time;               /* as sent: 2026-02-20T14:30:00.123456789Z */
    struct sl_slice stream;             /* stdout, stderr */
    struct sl_slice sandbox, container; /* empty where the server names none */
    struct sl_slice text;               /* without newline */
    bool partial;                       /* no newline follows in the process's output */
    struct json_t *object;              /* what the slices borrow from; NULL: from what was decoded */
    uint8_t *raw;
};

enum line_answer { LINE_OK = 0, LINE_MALFORMED = 1 };

/* LINE_MALFORMED: not a line's object; -ENOMEM. After 0 line_fini() is due, before `json` goes. */
int line_decode(struct sl_slice json, struct line *ret);
/* The same of an object that was parsed already, which it takes. */
int line_of_object(struct json_t *object, struct line *ret);
void line_fini(struct line *line);

struct gap {
    int64_t lines; /* -1: not known */
    char reason[40];
};
int gap_decode(struct sl_slice json, struct gap *ret);

struct end {
    char reason[40];
    int64_t exit_code; /* -1: none */
};
int end_decode(struct sl_slice json, struct end *ret);

/*
 * A problem document (RFC 9457) of the server: the last part of its type ("sandbox-not-found") and its text
 * in plain words, either may be empty.
 */
struct problem {
    char code[64];
    char detail[400];
};
int problem_decode(struct sl_slice json, struct problem *ret);
