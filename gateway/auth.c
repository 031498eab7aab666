// SPDX-License-Identifier: Apache-2.0
#include "auth.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <jwt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    KEY_MAX_BYTES = 16 << 10,
    TOKEN_MAX_BYTES = 8 << 10,
    URL_TOKEN_MAX_S = 15 * 60, /* what may stand in a URL (histories, proxies' logs) lives no longer */
};

struct auth {
    jwt_alg_t algorithm;
    size_t key_bytes;
    unsigned char key[KEY_MAX_BYTES];
};

/* What kind of public key this PEM is; JWT_ALG_NONE: none that is taken. */
static jwt_alg_t algorithm_of(const unsigned char *pem, size_t bytes)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)bytes);
    EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    jwt_alg_t algorithm = JWT_ALG_NONE;
    if (key && EVP_PKEY_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_bits(key) >= 2048)
        algorithm = JWT_ALG_RS256;
    else if (key && EVP_PKEY_base_id(key) == EVP_PKEY_EC && EVP_PKEY_bits(key) == 256)
        algorithm = JWT_ALG_ES256;
    EVP_PKEY_free(key);
    BIO_free(bio);
    return algorithm;
}

int auth_open(const char *key_file, struct auth **ret, const char **ret_why)
{
    struct auth *a = calloc(1, sizeof *a);
    int fd = open(key_file, O_RDONLY | O_CLOEXEC), fault = 0;
    ssize_t bytes = fd < 0 || !a ? -1 : read(fd, a->key, sizeof a->key - 1);
    if (!a || bytes < 0)
        fault = a ? -errno : -ENOMEM;
    if (fd >= 0)
        close(fd);
    if (fault) {
        free(a);
        return fault;
    }
    *ret_why = NULL;
    a->key_bytes = (size_t)bytes;
    if (memmem(a->key, a->key_bytes, "-----BEGIN", 10)) {
        a->algorithm = algorithm_of(a->key, a->key_bytes);
        if (a->algorithm == JWT_ALG_NONE)
            *ret_why = "not a PEM public key for ES256 (P-256) or RS256 (2048 bits or more)";
    } else {
        a->algorithm = JWT_ALG_HS256;
        if (a->key_bytes && a->key[a->key_bytes - 1] == '\n')
            a->key_bytes--;
        if (a->key_bytes < 16)
            *ret_why = "an HS256 secret needs 16 bytes or more";
    }
    if (*ret_why) {
        auth_close(a);
        return AUTH_REFUSED;
    }
    *ret = a;
    return 0;
}

void auth_close(struct auth *a)
{
    if (!a)
        return;
    OPENSSL_cleanse(a->key, sizeof a->key);
    free(a);
}

static unsigned scope_named(const char *name, size_t bytes)
{
    static const struct {
        const char *name;
        unsigned scopes;
    } known[] = {
        {"read", SCOPE_READ}, {"write", SCOPE_WRITE}, {"admin", SCOPE_READ | SCOPE_WRITE | SCOPE_ADMIN}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == bytes && memcmp(known[i].name, name, bytes) == 0)
            return known[i].scopes;
    return 0;
}

/* `"read write"`, or `["read", "write"]`. */
static unsigned scopes_of(const json_t *claim)
{
    unsigned scopes = 0;
    size_t i;
    json_t *one;
    if (json_is_string(claim))
        for (const char *at = json_string_value(claim); *at;) {
            size_t bytes = strcspn(at, " ");
            scopes |= scope_named(at, bytes);
            at += bytes + (at[bytes] == ' ');
        }
    json_array_foreach(claim, i, one) if (json_is_string(one)) scopes |=
        scope_named(json_string_value(one), json_string_length(one));
    return scopes;
}

static bool add_glob(struct grant *g, size_t *used, const json_t *one)
{
    if (!json_is_string(one))
        return false;
    size_t bytes = json_string_length(one) + 1;
    if (g->globs == AUTH_GLOBS_MAX || *used + bytes > AUTH_GLOBS_BYTES)
        return false;
    char *grown = realloc(g->patterns, *used + bytes);
    if (!grown)
        return false;
    g->patterns = grown;
    memcpy(g->patterns + *used, json_string_value(one), bytes);
    *used += bytes;
    g->globs++;
    return true;
}

static bool take_claims(const json_t *claims, struct grant *g)
{
    const json_t *sandboxes = json_object_get(claims, "sandboxes"), *exp = json_object_get(claims, "exp");
    size_t used = 0, i;
    json_t *one;
    bool sound = json_is_number(exp);
    double seconds = sound ? json_number_value(exp) : 0;
    g->expires_ns = seconds <= 0 ? 0 : seconds < 9.2e9 ? (int64_t)(seconds * 1e9) : INT64_MAX;
    g->scopes = scopes_of(json_object_get(claims, "scope"));
    g->all = g->scopes & SCOPE_ADMIN;
    if (json_is_string(sandboxes))
        sound = add_glob(g, &used, sandboxes) && sound;
    json_array_foreach(sandboxes, i, one) sound = add_glob(g, &used, one) && sound;
    return sound;
}

/* Why it is refused, or NULL. */
static const char *check_token(const struct auth *a, const char *token, int64_t now_ns, struct grant *g)
{
    jwt_t *jwt = NULL;
    if (jwt_decode(&jwt, token, a->key, (int)a->key_bytes) != 0)
        return "the token is not valid";
    /* The token's header decided how it was verified; and RFC 7515 4.1.11: what `crit` names must be
     * understood. */
    char *critical = jwt_get_headers_json(jwt, "crit");
    bool right = jwt_get_alg(jwt) == a->algorithm && !critical;
    free(critical);
    char *text = right ? jwt_get_grants_json(jwt, NULL) : NULL;
    jwt_free(jwt);
    if (!right)
        return "the token is not valid";
    json_t *claims = text ? json_loads(text, 0, NULL) : NULL;
    free(text); /* libjwt 1.10 has no call for it; its allocator is malloc unless set */
    bool sound = claims && take_claims(claims, g);
    const json_t *not_before = json_object_get(claims, "nbf");
    double from_s = json_is_number(not_before) ? json_number_value(not_before) : 0;
    json_decref(claims);
    if (!sound)
        return "the token needs a number `exp`, and `sandboxes` as a list of at most 64 texts";
    if (g->expires_ns <= now_ns)
        return "the token has expired";
    if (from_s * 1e9 > (double)now_ns)
        return "the token is not valid yet";
    return NULL;
}

int auth_check(const struct auth *a, const struct request *r, int64_t now_ns, struct grant *ret,
               struct problem *ret_problem)
{
    static const char bearer[] = "Bearer ";
    char token[TOKEN_MAX_BYTES + 1];
    *ret = (struct grant){.expires_ns = INT64_MAX};
    if (!a) {
        ret->scopes = SCOPE_READ | SCOPE_WRITE | SCOPE_ADMIN;
        ret->all = true;
        return 0;
    }
    struct sl_slice given = r->authorization;
    const struct query_pair *in_url = query_find(r->pairs, r->pair_count, "access_token");
    bool header = given.bytes > sizeof bearer - 1 &&
                  strncasecmp((const char *)given.data, bearer, sizeof bearer - 1) == 0;
    if (header)
        given = sl_slice(given.data + sizeof bearer - 1, given.bytes - (sizeof bearer - 1));
    else
        given = in_url ? in_url->value : sl_slice(NULL, 0);
    const char *why;
    if (given.bytes == 0) {
        why = "a token is needed: Authorization: Bearer, or access_token=";
    } else if (given.bytes > TOKEN_MAX_BYTES) {
        why = "the token is not valid";
    } else {
        memcpy(token, given.data, given.bytes);
        token[given.bytes] = 0;
        ret->subject = XXH3_64bits(token, given.bytes);
        why = check_token(a, token, now_ns, ret);
        OPENSSL_cleanse(token, given.bytes);
        if (!why && !header && ret->expires_ns - now_ns > URL_TOKEN_MAX_S * SL_NS_PER_S)
            why = "a token in the URL may have 15 minutes or less to live";
    }
    if (!why)
        return 0;
    grant_fini(ret);
    problem_set(ret_problem, PROBLEM_UNAUTHENTICATED, NULL, "%s", why);
    return AUTH_DENIED;
}

void grant_fini(struct grant *g)
{
    free(g->patterns);
    g->patterns = NULL;
    g->globs = 0;
}

bool grant_covers(const struct grant *g, struct sl_slice sandbox)
{
    char id[129];
    if (g->all)
        return true;
    if (sandbox.bytes >= sizeof id)
        return false;
    memcpy(id, sandbox.data, sandbox.bytes);
    id[sandbox.bytes] = 0;
    const char *pattern = g->patterns;
    for (unsigned i = 0; i < g->globs; i++, pattern += strlen(pattern) + 1)
        if (fnmatch(pattern, id, 0) == 0)
            return true;
    return false;
}
