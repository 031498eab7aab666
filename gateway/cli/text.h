// SPDX-License-Identifier: Apache-2.0
/* Numbers as a person reads them in a table: short, no blanks. Pure, any thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* 512B, 1.5KiB, 20MiB ... */
void text_bytes(int64_t bytes, char *out, size_t capacity);
/* 0s to 119s, then 2m to 119m, 2h to 47h, 2d ...; negative is 0s */
void text_age(int64_t ns, char *out, size_t capacity);
/* 850us, 3.1ms, 2.40s */
void text_latency(int64_t ns, char *out, size_t capacity);
