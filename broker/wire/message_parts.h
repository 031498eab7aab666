// SPDX-License-Identifier: Apache-2.0
/*
 * Parts that several messages share; between message.c, message_ingest.c and message_query.c only.
 */
#pragma once
#include "message.h"

/* Marks the reader as failed; it then stands at its end and yields nothing. Returns false. */
bool message_fail(struct sl_reader *r);
/* 0 if `sound` and the body ended exactly here, else SL_STATUS_MALFORMED. */
int message_end(const struct sl_reader *r, bool sound);
/* u16 count and that many pairs, each within its limits; fails otherwise. */
void message_read_labels(struct sl_reader *r, uint16_t *ret_count, struct sl_slice *ret_pairs);
void message_write_labels(struct sl_writer *w, uint16_t count, struct sl_slice pairs);
