// SPDX-License-Identifier: Apache-2.0
/*
 * Docker's Engine API, as much of it as reading logs takes: sandboxes are containers. Home thread.
 */
#pragma once
#include "connection.h"

extern const struct handler docker_handler;

/* {"message":…}; c->dialect is Docker's. */
void docker_problem(struct connection *c, const struct problem *p, const char *headers);
