// SPDX-License-Identifier: Apache-2.0
/*
 * Sandboxes as Docker describes containers. Appends to a JSON writer; what Docker has and a log knows nothing
 * of (images, ports, mounts) is there and empty, because clients reach into it. Pure.
 */
#pragma once
#include "json.h"
#include "wire/message.h"

/* An element of /containers/json. */
void docker_render_listed(struct json *j, const struct sl_info *info, int64_t now_ns);
/* /containers/{id}/json. */
void docker_render_inspected(struct json *j, const struct sl_info *info);
/* /v1.NN/version. */
void docker_render_version(struct json *j);
struct docker_totals {
    uint64_t running;
    uint64_t stopped;
};
/* /info. */
void docker_render_info(struct json *j, const struct docker_totals *totals);
