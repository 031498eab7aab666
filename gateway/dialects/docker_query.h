// SPDX-License-Identifier: Apache-2.0
/*
 * Docker's parameters, translated: those of /containers/{id}/logs into a struct query, those of
 * /containers/json into filters that can be asked about a sandbox. Pure; the query borrows from the pairs,
 * the filters copy. One thread at a time.
 */
#pragma once
#include "pattern.h"
#include "query.h"
#include "wire/message.h"

/* Go's rule for them: the value decides; no value, 0, no, false and none are false. NULL is false. */
bool docker_bool(const struct query_pair *pair);

/* > 0 (QUERY_INVALID) with *ret_problem. */
int docker_query(const struct query_pair *pairs, size_t count, int64_t now_ns, struct query *ret,
                 struct problem *ret_problem);

enum { DOCKER_PATTERNS_MAX = 16 };

struct docker_filters {
    struct pattern *names[DOCKER_PATTERNS_MAX]; /* any of them */
    struct pattern *ids[DOCKER_PATTERNS_MAX];   /* any of them */
    size_t name_count, id_count;
    bool by_status, running, exited;
    bool by_code;
    int32_t code;
    uint16_t labels; /* all of them; of value "": the key alone, with any value */
    uint8_t *label_pairs;
    size_t label_bytes;
};
/*
 * Of the JSON in `filters`, {"name":["a"]} or {"name":{"a":true}}; empty: none. > 0 (QUERY_INVALID) with
 * *ret_problem; fault: -ENOMEM. Only after 0 it has to be let go with docker_filters_fini().
 */
int docker_filters_parse(struct sl_slice text, struct docker_filters *ret, struct problem *ret_problem);
void docker_filters_fini(struct docker_filters *f);
bool docker_filters_match(const struct docker_filters *f, const struct sl_info *info);

/* What a container is called, without the slash in front: its label `name`, else its id. */
struct sl_slice docker_name(const struct sl_info *info);
