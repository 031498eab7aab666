// SPDX-License-Identifier: Apache-2.0
/* Tokens are taken apart and checked with OpenSSL's own verifying, which jwt.c does not use. */
#include "jwt.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char claims[] = "{\"scope\":\"read\",\"sandboxes\":[\"web-*\"]}";

/* One part of a token, decoded; its length. */
static size_t decode(const char *text, size_t bytes, unsigned char *out)
{
    char padded[4096];
    assert_true(bytes + 4 < sizeof padded);
    for (size_t i = 0; i < bytes; i++) {
        assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", text[i]));
        padded[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    }
    size_t pad = (4 - bytes % 4) % 4;
    memcpy(padded + bytes, "===", pad);
    int n = EVP_DecodeBlock(out, (const unsigned char *)padded, (int)(bytes + pad));
    assert_true(n >= (int)pad);
    return (size_t)n - pad;
}

struct parts {
    char *token;
    size_t signed_bytes;
    unsigned char header[200], body[400], signature[1024];
    size_t header_bytes, body_bytes, signature_bytes;
};

static void sign(struct sl_slice key, struct parts *p)
{
    assert_int_equal(jwt_sign(key, sl_slice_of(claims), &p->token), JWT_OK);
    const char *dot = strchr(p->token, '.'), *last = strrchr(p->token, '.');
    p->signed_bytes = (size_t)(last - p->token);
    p->header_bytes = decode(p->token, (size_t)(dot - p->token), p->header);
    p->body_bytes = decode(dot + 1, (size_t)(last - dot) - 1, p->body);
    p->signature_bytes = decode(last + 1, strlen(last + 1), p->signature);
    assert_true(sl_slice_equal(sl_slice(p->body, p->body_bytes), sl_slice_of(claims)));
}

static bool header_names(const struct parts *p, const char *algorithm)
{
    return memmem(p->header, p->header_bytes, algorithm, strlen(algorithm)) != NULL;
}

static size_t pem_of(EVP_PKEY *key, bool private, char *out, size_t capacity)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (private)
        assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    else
        assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    int n = BIO_read(bio, out, (int)capacity);
    BIO_free(bio);
    assert_true(n > 0 && (size_t)n < capacity);
    return (size_t)n;
}

static bool verified(EVP_PKEY *key, const struct parts *p, const unsigned char *signature, size_t bytes)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok =
        EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestVerify(context, signature, bytes, (const unsigned char *)p->token, p->signed_bytes) == 1;
    EVP_MD_CTX_free(context);
    return ok;
}

static void a_secret_signs_with_hs256(void **state)
{
    (void)state;
    static const char secret[] = "0123456789abcdef0123456789abcdef";
    struct parts p;
    sign(sl_slice_of(secret), &p);
    assert_true(header_names(&p, "\"HS256\""));
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int bytes;
    HMAC(EVP_sha256(), secret, sizeof secret - 1, (const unsigned char *)p.token, p.signed_bytes, mac,
         &bytes);
    assert_int_equal(p.signature_bytes, bytes);
    assert_memory_equal(p.signature, mac, bytes);
    free(p.token);
}

/* Many times: r and s are shorter than 32 bytes once in 128 signatures, and padded then. */
static void a_p256_key_signs_with_es256(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    char pem[1000];
    size_t pem_bytes = pem_of(key, true, pem, sizeof pem);
    for (int i = 0; i < 300; i++) {
        struct parts p;
        sign(sl_slice(pem, pem_bytes), &p);
        assert_true(header_names(&p, "\"ES256\""));
        assert_int_equal(p.signature_bytes, 64);
        ECDSA_SIG *pair = ECDSA_SIG_new();
        ECDSA_SIG_set0(pair, BN_bin2bn(p.signature, 32, NULL), BN_bin2bn(p.signature + 32, 32, NULL));
        unsigned char *der = NULL;
        int der_bytes = i2d_ECDSA_SIG(pair, &der);
        assert_true(der_bytes > 0 && verified(key, &p, der, (size_t)der_bytes));
        OPENSSL_free(der);
        ECDSA_SIG_free(pair);
        free(p.token);
    }
    EVP_PKEY_free(key);
}

static void an_rsa_key_signs_with_rs256(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_RSA_gen(2048);
    char pem[4000];
    struct parts p;
    sign(sl_slice(pem, pem_of(key, true, pem, sizeof pem)), &p);
    assert_true(header_names(&p, "\"RS256\""));
    assert_true(verified(key, &p, p.signature, p.signature_bytes));
    free(p.token);
    EVP_PKEY_free(key);
}

static int answer_for(EVP_PKEY *key, bool private)
{
    char pem[4000];
    char *token = NULL;
    int r = jwt_sign(sl_slice(pem, pem_of(key, private, pem, sizeof pem)), sl_slice_of(claims), &token);
    assert_null(token);
    EVP_PKEY_free(key);
    return r;
}

static void keys_that_do_not_serve_are_refused(void **state)
{
    (void)state;
    assert_int_equal(answer_for(EVP_EC_gen("P-256"), false), JWT_PUBLIC_KEY);
    assert_int_equal(answer_for(EVP_EC_gen("P-384"), true), JWT_WRONG_KEY);
    assert_int_equal(answer_for(EVP_RSA_gen(1024), true), JWT_WRONG_KEY);
    char *token = NULL;
    assert_int_equal(
        jwt_sign(sl_slice_of("-----BEGIN PRIVATE KEY-----\nrubbish\n"), sl_slice_of(claims), &token),
        JWT_WRONG_KEY);
    assert_int_equal(jwt_sign(sl_slice_of("0123456789abcdef0123456789abcde"), sl_slice_of(claims), &token),
                     JWT_SHORT_SECRET);
    assert_int_equal(jwt_sign(sl_slice(NULL, 0), sl_slice_of(claims), &token), JWT_SHORT_SECRET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_signs_with_hs256),
        cmocka_unit_test(a_p256_key_signs_with_es256),
        cmocka_unit_test(an_rsa_key_signs_with_rs256),
        cmocka_unit_test(keys_that_do_not_serve_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
