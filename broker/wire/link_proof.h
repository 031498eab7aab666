// SPDX-License-Identifier: Apache-2.0
/*
 * The proof of the shared secret in HELLO: HMAC-SHA256(secret, nonce . role . host), so that the secret
 * itself never travels and an overheard proof is worth nothing on another connection. Pure, any thread.
 * Inside the link library only.
 */
#pragma once
#include "wire/slice.h"

enum { LINK_PROOF_BYTES = 32, LINK_NONCE_BYTES = 16 };

/* Faults: -ENOMEM. */
int link_proof(struct sl_slice secret, const uint8_t nonce[LINK_NONCE_BYTES], uint8_t role,
               struct sl_slice host, uint8_t ret_proof[LINK_PROOF_BYTES]);
/* In constant time. */
bool link_proof_equal(struct sl_slice given, const uint8_t proof[LINK_PROOF_BYTES]);
