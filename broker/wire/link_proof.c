// SPDX-License-Identifier: Apache-2.0
#include "link_proof.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { HOST_MOST_BYTES = 255 };

int link_proof(struct sl_slice secret, const uint8_t nonce[LINK_NONCE_BYTES], uint8_t role,
               struct sl_slice host, uint8_t ret_proof[LINK_PROOF_BYTES])
{
    uint8_t text[LINK_NONCE_BYTES + 1 + HOST_MOST_BYTES];
    assert(host.bytes <= HOST_MOST_BYTES);
    memcpy(text, nonce, LINK_NONCE_BYTES);
    text[LINK_NONCE_BYTES] = role;
    if (host.bytes > 0)
        memcpy(text + LINK_NONCE_BYTES + 1, host.data, host.bytes);
    uint8_t proof[EVP_MAX_MD_SIZE];
    unsigned bytes = 0;
    if (!HMAC(EVP_sha256(), secret.data, (int)secret.bytes, text, LINK_NONCE_BYTES + 1 + host.bytes, proof,
              &bytes) ||
        bytes != LINK_PROOF_BYTES)
        return -ENOMEM;
    memcpy(ret_proof, proof, LINK_PROOF_BYTES);
    return 0;
}

bool link_proof_equal(struct sl_slice given, const uint8_t proof[LINK_PROOF_BYTES])
{
    return given.bytes == LINK_PROOF_BYTES && CRYPTO_memcmp(given.data, proof, LINK_PROOF_BYTES) == 0;
}
