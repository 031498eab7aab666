// SPDX-License-Identifier: Apache-2.0
/*
 * stdout, gathered: what one round of reading brought goes out in one write(2), whole. A closed pipe ends the
 * program quietly with 0 (`sandlog logs ID | head`), any other fault with 1 and a line on stderr. One thread.
 */
#pragma once
#include "wire/slice.h"

struct output {
    uint8_t *data;
    size_t bytes, capacity;
};

void output_add(struct output *output, const void *data, size_t bytes);
void output_add_text(struct output *output, const char *text);
void output_printf(struct output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for `bytes` at the end, to be filled by the caller, who then adds what was used to output->bytes. */
uint8_t *output_room(struct output *output, size_t bytes);
/* Writes everything, waiting for a slow reader. Returns only when all is written. */
void output_flush(struct output *output);
/* Ends the program with 0 when whoever read stdout has gone, although there is nothing to write. */
void output_check_reader(void);
void output_fini(struct output *output);
