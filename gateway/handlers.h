// SPDX-License-Identifier: Apache-2.0
/*
 * Who answers which route.
 */
#pragma once
#include "connection.h"

extern const struct handler logs_handler;
extern const struct handler many_handler;
extern const struct handler sandboxes_handler; /* list, one, PUT, DELETE */
extern const struct handler export_handler;    /* all under /v1/export */
extern const struct handler operations_handler;
extern const struct handler pages_handler;

const struct handler *handler_of(enum route route);
