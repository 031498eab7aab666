// SPDX-License-Identifier: Apache-2.0
/*
 * What GET /status shows: version, options, and how the broker is doing, as JSON.
 */
#pragma once
#include "home.h"

/* malloc'd; NULL without memory. Home thread. */
char *status_render(struct home *h, int64_t now_ns);
