// SPDX-License-Identifier: Apache-2.0
/*
 * gzip for answers, flushed with every piece, so that what was written can be read at once. A stream holds
 * about 64 KiB (window of 8 KiB, fast level): compressing for one reader must not cost more than the reader.
 */
#pragma once
#include "buffer.h"

struct gzip;
/* Fault: -ENOMEM. */
int gzip_new(struct gzip **ret);
void gzip_free(struct gzip *g);
/* Appends what `bytes` become, all of it; with `last` also the end. Errors: the buffer's. */
void gzip_append(struct gzip *g, struct sl_slice bytes, bool last, struct buffer *out);
/* Whether this Accept-Encoding takes gzip. Pure. */
bool gzip_accepted(struct sl_slice accept_encoding);
