// SPDX-License-Identifier: Apache-2.0
/*
 * CRC32C (Castagnoli, RFC 3720 B.4), by the CPU's instruction where it has one (SSE4.2, three streams at
 * once), else by table. Pure, any thread.
 */
#pragma once
#include "wire/slice.h"

/* Continues `crc` (0 at the start) over `bytes`. sl_crc32c(0, "123456789") == 0xe3069283. */
uint32_t sl_crc32c(uint32_t crc, struct sl_slice bytes);
