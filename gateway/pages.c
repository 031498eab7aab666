// SPDX-License-Identifier: Apache-2.0
/*
 * The log page's files (page/), from memory, under the policy that the page was written for.
 */
#include "handlers.h"
#include "page/page.h"
#include <stdio.h>

static void start(struct connection *c)
{
    const struct page_file *file = page_find(c->request->path);
    char headers[512];
    snprintf(headers, sizeof headers, "Content-Security-Policy: %s\r\nReferrer-Policy: no-referrer\r\n",
             page_policy);
    connection_answer(c, 200, file->type, file->bytes, headers);
}

const struct handler pages_handler = {.start = start};
