// SPDX-License-Identifier: Apache-2.0
/* Tokens. The first byte chooses: the rest is a token as it comes, or the claims of one that is signed here
 * with the right key, or the header of one. Nothing unsigned is granted anything; what is granted has an end
 * in the future and sound globs. */
#include "auth.h"
#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char secret[] = "a secret of more than sixteen bytes";
static const int64_t now_ns = INT64_C(1795000000) * 1000000000;

static struct auth *auth_of_secret(void)
{
    char path[64];
    const char *why;
    struct auth *a = NULL;
    int file = memfd_create("key", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (file < 0 || write(file, secret, sizeof secret - 1) < 0 || auth_open(path, &a, &why) != 0)
        abort();
    close(file);
    return a;
}

/* base64url without padding; returns how many characters. */
static size_t put_base64(const uint8_t *data, size_t bytes, char *out)
{
    int n = EVP_EncodeBlock((unsigned char *)out, data, (int)bytes);
    while (n > 0 && out[n - 1] == '=')
        n--;
    for (int i = 0; i < n; i++)
        out[i] = (char)(out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i]);
    return (size_t)n;
}

static size_t sign(const uint8_t *head, size_t head_bytes, const uint8_t *claims, size_t claims_bytes,
                   char *out)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_bytes = 0;
    size_t at = put_base64(head, head_bytes, out);
    out[at++] = '.';
    at += put_base64(claims, claims_bytes, out + at);
    HMAC(EVP_sha256(), secret, sizeof secret - 1, (unsigned char *)out, at, mac, &mac_bytes);
    out[at++] = '.';
    return at + put_base64(mac, mac_bytes, out + at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct auth *auth;
    static char text[16384];
    static const char hs256[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    static const char claims[] = "{\"exp\":1795000060,\"scope\":\"read\",\"sandboxes\":[\"a*\"]}";
    if (!auth)
        auth = auth_of_secret();
    if (bytes < 1 || bytes > 4096)
        return 0;
    unsigned how = data[0] % 3;
    data++, bytes--;
    size_t n = (size_t)snprintf(text, sizeof text, "Bearer ");
    if (how == 0)
        memcpy(text + n, data, bytes), n += bytes;
    else if (how == 1)
        n += sign((const uint8_t *)hs256, sizeof hs256 - 1, data, bytes, text + n);
    else
        n += sign(data, bytes, (const uint8_t *)claims, sizeof claims - 1, text + n);
    struct request r = {.authorization = sl_slice(text, n)};
    struct problem problem;
    struct grant grant;
    if (auth_check(auth, &r, now_ns, &grant, &problem) != 0)
        return 0;
    assert(how != 0); /* nobody forges this secret's HMAC */
    assert(grant.expires_ns > now_ns && grant.globs <= AUTH_GLOBS_MAX);
    (void)grant_covers(&grant, sl_slice_of("a-sandbox"));
    (void)grant_covers(&grant, sl_slice(data, bytes));
    grant_fini(&grant);
    return 0;
}
