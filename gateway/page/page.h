// SPDX-License-Identifier: Apache-2.0
/*
 * The files of the log page, built into the gateway. Bytes are static; any thread. The server compresses,
 * hashes and serves them; here is only what there is.
 */
#pragma once
#include "wire/slice.h"

struct page_file {
    const char *path; /* as requested: "/", "/page/log.js" */
    const char *type; /* Content-Type */
    struct sl_slice bytes;
};

/* NULL: no such file. */
const struct page_file *page_find(struct sl_slice path);
/* All of them, in a fixed order; index 0 to page_count() - 1. */
size_t page_count(void);
const struct page_file *page_at(size_t index);

/* The Content-Security-Policy under which the page works: itself only, nothing inline. */
extern const char page_policy[];
