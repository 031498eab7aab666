// SPDX-License-Identifier: Apache-2.0
/*
 * Whether what a WebSocket's client sends are frames as RFC 6455 wants them, looked at as the bytes pass by.
 * libwebsockets 4.1.6 takes frames without a mask, and hangs up without a close frame on control frames that
 * are too long; here each fault has its close code. Payloads are not looked at. Pure, any thread.
 */
#pragma once
#include "wire/slice.h"

/* A client has nothing to say on a log: more than this in one frame is no pong and no courtesy. */
enum { FRAME_MAX_BYTES = 64 << 10 };

struct frame {
    uint8_t head[10];
    unsigned head_bytes;
    uint64_t left;   /* of mask and payload */
    bool in_message; /* a fragment came, its last one has not */
};

void frame_begin(struct frame *f);
/* 0, or the code to close with: FRAME_PROTOCOL, FRAME_TOO_BIG; ret_good: what stands before the frame at
 * fault. */
enum { FRAME_PROTOCOL = 1002, FRAME_TOO_BIG = 1009 };
int frame_scan(struct frame *f, struct sl_slice bytes, size_t *ret_good);
