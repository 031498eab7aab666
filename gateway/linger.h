// SPDX-License-Identifier: Apache-2.0
/*
 * Connections that were closed by us while their clients may still be sending: closed at once, the kernel
 * would answer their bytes with a reset, and that takes the answer from them too. So a copy of the descriptor
 * stays open for a moment and what comes is dropped (RFC 9112 9.6). At most LINGER_MAX of them. Home thread.
 */
#pragma once
#include <stdint.h>

enum { LINGER_MAX = 256 };

/* lws is about to close `fd`; it may send what it has, and says itself that it is done. */
void linger_begin(int fd);
/* Every 100 ms. */
void linger_tick(int64_t now_ns);
