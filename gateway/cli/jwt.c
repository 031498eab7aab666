// SPDX-License-Identifier: Apache-2.0
#include "jwt.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

enum { P256_BYTES = 32, RSA_MIN_BITS = 2048, SIGNATURE_MAX_BYTES = 2048 };

/* base64url without padding (RFC 7515, 2), NUL-terminated; malloc'd. */
static char *base64url(struct sl_slice bytes)
{
    unsigned char *text = malloc(bytes.bytes / 3 * 4 + 5);
    if (!text)
        return NULL;
    int n = EVP_EncodeBlock(text, bytes.data, (int)bytes.bytes);
    while (n > 0 && text[n - 1] == '=')
        n--;
    for (int i = 0; i < n; i++)
        text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
    text[n] = 0;
    return (char *)text;
}

/* No prompt: a key that is protected by a password is refused. */
// NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's type
static int no_password(char *out, int capacity, int writing, void *arg)
{
    (void)out, (void)capacity, (void)writing, (void)arg;
    return -1;
}

/* The key and its algorithm; *ret_key NULL: a secret. */
static int read_key(struct sl_slice text, EVP_PKEY **ret_key, const char **ret_algorithm)
{
    static const char pem[] = "-----BEGIN ";
    *ret_key = NULL;
    *ret_algorithm = "HS256";
    if (text.bytes < sizeof pem - 1 || memcmp(text.data, pem, sizeof pem - 1) != 0)
        return text.bytes < JWT_SECRET_MIN_BYTES ? JWT_SHORT_SECRET : JWT_OK;
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.bytes);
    if (!bio)
        return -ENOMEM;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    if (!key)
        return memmem(text.data, text.bytes, "PRIVATE KEY", 11) ? JWT_WRONG_KEY : JWT_PUBLIC_KEY;
    char group[64] = "";
    if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 &&
        strcmp(group, "prime256v1") == 0) {
        *ret_algorithm = "ES256";
    } else if (EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= RSA_MIN_BITS) {
        *ret_algorithm = "RS256";
    } else {
        EVP_PKEY_free(key);
        return JWT_WRONG_KEY;
    }
    *ret_key = key;
    return JWT_OK;
}

/* ES256 wants the two numbers side by side (RFC 7518, 3.4), OpenSSL makes DER of them. */
static int flatten(unsigned char *signature, size_t *bytes)
{
    const unsigned char *at = signature;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)*bytes);
    if (!pair)
        return -EIO;
    int ok = BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, P256_BYTES) == P256_BYTES &&
             BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + P256_BYTES, P256_BYTES) == P256_BYTES;
    ECDSA_SIG_free(pair);
    *bytes = (size_t)2 * P256_BYTES;
    return ok ? 0 : -EIO;
}

static int sign(EVP_PKEY *key, struct sl_slice secret, struct sl_slice text, unsigned char *signature,
                size_t *ret_bytes)
{
    if (!key) {
        unsigned int n = 0;
        if (!HMAC(EVP_sha256(), secret.data, (int)secret.bytes, text.data, text.bytes, signature, &n))
            return -EIO;
        *ret_bytes = n;
        return 0;
    }
    size_t bytes = SIGNATURE_MAX_BYTES;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestSign(context, signature, &bytes, text.data, text.bytes) == 1;
    EVP_MD_CTX_free(context);
    if (!ok)
        return -EIO;
    *ret_bytes = bytes;
    return EVP_PKEY_is_a(key, "EC") ? flatten(signature, ret_bytes) : 0;
}

int jwt_sign(struct sl_slice key_text, struct sl_slice claims, char **ret_token)
{
    EVP_PKEY *key;
    const char *algorithm;
    int r = read_key(key_text, &key, &algorithm);
    if (r != 0)
        return r;
    char header[64];
    int n = snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\"}", algorithm);
    char *head = base64url(sl_slice(header, (size_t)n)), *body = base64url(claims), *text = NULL,
         *tail = NULL;
    unsigned char signature[SIGNATURE_MAX_BYTES];
    size_t bytes = 0;
    if (!head || !body || asprintf(&text, "%s.%s", head, body) < 0) {
        text = NULL; /* undefined after a failed asprintf(3) */
        r = -ENOMEM;
    }
    if (r == 0)
        r = sign(key, key_text, sl_slice_of(text), signature, &bytes);
    if (r == 0) {
        tail = base64url(sl_slice(signature, bytes));
        r = !tail || asprintf(ret_token, "%s.%s", text, tail) < 0 ? -ENOMEM : 0;
    }
    EVP_PKEY_free(key);
    free(text);
    free(head);
    free(body);
    free(tail);
    return r;
}
