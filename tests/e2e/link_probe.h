// SPDX-License-Identifier: Apache-2.0
/*
 * What the parts of link_probe share: made-up sandboxes whose every line can be computed from its number,
 * blocks of them, and asking a broker and waiting for the answer. A claim that fails ends the program with
 * status 1.
 */
#pragma once
#include "wire/link_client.h"
#include "wire/timestamp.h"
#include <stdio.h>
#include <stdlib.h>

#define CHECK(claim)                                                                                         \
    do {                                                                                                     \
        if (!(claim)) {                                                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim);                              \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

enum { LINE_BYTES = 64 }; /* of the made-up file, newline included: an offset is a line number */

/* A sandbox with one made-up log file. */
struct box {
    char id[SL_ID_MAX_BYTES + 1];
    struct sl_source source;
};

struct box box_make(const char *id);
/* Text of line `n` (from 0): LINE_BYTES - 1 bytes. */
void box_line(const struct box *box, uint64_t n, char out[LINE_BYTES]);
/* Appends an item with lines from..from + count to a request; time of line n is n ms. */
void box_block(const struct box *box, uint64_t from, uint64_t count, struct sl_writer *w);
/*
 * Checks that the records of a part hold the box's lines, in order, from a number <= *next on without a hole,
 * and moves *next behind them.
 */
void box_records(const struct box *box, struct sl_slice records, uint64_t *next);

struct sl_client *probe_dial(const char *url, uint8_t role, const char *host);

/* An answer, copied. */
struct answer {
    int fault;
    struct sl_message_head head;
    struct sl_reader body;
    uint8_t *bytes;
    bool came;
    int64_t at_ns;
};
/* A request with `capacity` body bytes. */
nng_msg *probe_request(uint8_t type, size_t capacity, struct sl_writer *ret_w);
/* Sends; `answer` is filled while probe_wait() runs, and freed with answer_free(). */
void probe_send(struct sl_client *c, nng_msg *msg, const struct sl_writer *w, struct answer *answer);
/* Runs the client until the answer came, at most 15 s. */
void probe_wait(struct sl_client *c, struct answer *answer);
void answer_free(struct answer *answer);

/* The parts. */
void probe_claims(struct sl_client *ingest, struct sl_client *query);
void probe_soak(struct sl_client *ingest, struct sl_client *query);
void probe_load(struct sl_client *ingest, unsigned seconds);
