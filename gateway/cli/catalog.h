// SPDX-License-Identifier: Apache-2.0
/* The list of sandboxes, page after page. One thread. */
#pragma once
#include "server.h"

struct catalog_query {
    const char *state;                   /* NULL: any */
    const struct sl_option_list *labels; /* KEY=VALUE, all of them; NULL: any */
};

/*
 * The server's objects, newest first, as one JSON array owned by the caller. Not 0: the exit status; why was
 * said, unless `quiet`.
 */
int catalog_read(const struct server *server, const struct catalog_query *query, bool quiet,
                 struct json_t **ret_array);
