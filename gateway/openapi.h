// SPDX-License-Identifier: Apache-2.0
/*
 * openapi.yaml, built into the gateway. Static bytes; any thread.
 */
#pragma once
#include "wire/slice.h"

struct sl_slice openapi_bytes(void);
