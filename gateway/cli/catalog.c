// SPDX-License-Identifier: Apache-2.0
#include "catalog.h"
#include "say.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE_LIMIT = 1000 };

static int path_of(const struct catalog_query *query, const char *page, char **ret)
{
    char *mark = page ? curl_easy_escape(NULL, page, 0) : NULL, *path = NULL;
    size_t bytes;
    FILE *out = page && !mark ? NULL : open_memstream(&path, &bytes);
    if (!out) {
        curl_free(mark);
        return -ENOMEM;
    }
    fprintf(out, "/v1/sandboxes?limit=%d", PAGE_LIMIT);
    if (query->state)
        fprintf(out, "&state=%s", query->state);
    bool ok = true;
    for (size_t i = 0; query->labels && i < query->labels->count; i++) {
        char *label = curl_easy_escape(NULL, query->labels->items[i], 0);
        ok = ok && label;
        if (label)
            fprintf(out, "&label=%s", label);
        curl_free(label);
    }
    if (mark)
        fprintf(out, "&page=%s", mark);
    curl_free(mark);
    ok = !ferror(out) && ok;
    if (fclose(out) != 0 || !ok) {
        free(path);
        return -ENOMEM;
    }
    *ret = path;
    return 0;
}

int catalog_read(const struct server *server, const struct catalog_query *query, bool quiet,
                 json_t **ret_array)
{
    json_t *all = json_array(), *answer = NULL;
    int status = 0;
    int64_t begun_ns = sl_monotonic_ns();
    const char *page = NULL;
    do {
        char *path = NULL;
        if (!all || path_of(query, page, &path) < 0) {
            say("%s", say_errno(ENOMEM));
            status = 1;
            break;
        }
        json_t *next = NULL;
        status = server_get(server, path, quiet, &next);
        free(path);
        json_decref(answer); /* `page` pointed into it */
        answer = next;
        if (status != 0)
            break;
        const json_t *list = json_object_get(answer, "sandboxes");
        if (!json_is_array(list)) {
            if (!quiet)
                say("%s did not answer with a list: is that a sandlog gateway?", server->url);
            status = 1;
            break;
        }
        json_array_extend(all, (json_t *)(uintptr_t)list);
        if (!quiet && sl_monotonic_ns() - begun_ns > SL_NS_PER_S)
            say_status("%zu sandboxes ...", json_array_size(all));
        page = json_string_value(json_object_get(answer, "next_page"));
    } while (page && *page);
    json_decref(answer);
    if (!quiet)
        say_status(NULL);
    if (status != 0) {
        json_decref(all);
        return status;
    }
    *ret_array = all;
    return 0;
}
