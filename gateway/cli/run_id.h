// SPDX-License-Identifier: Apache-2.0
/* Ids for sandboxes that were given none: `run-20261121-113005-4f2a`. Any thread. */
#pragma once

/* malloc'd; NULL without memory. */
char *run_id(const char *kind);
