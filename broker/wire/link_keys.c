// SPDX-License-Identifier: Apache-2.0
#include "link_keys.h"
#include "link_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <nng/supplemental/tls/tls.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SECRET_MAX_BYTES = 4096, PEM_MAX_BYTES = 256 << 10 };

/* ---- files ---- */

static void wipe(void *bytes, size_t count)
{
    if (bytes)
        OPENSSL_cleanse(bytes, count);
    free(bytes);
}

/* All of a file, NUL-terminated. -EFBIG: longer than max_bytes. */
static int read_whole(const char *path, size_t max_bytes, char **ret, size_t *ret_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), fault = 0;
    if (fd < 0)
        return -errno;
    char *bytes = calloc(1, max_bytes + 2);
    size_t have = 0;
    while (bytes && have <= max_bytes) {
        ssize_t n = read(fd, bytes + have, max_bytes + 1 - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fault = -errno;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    close(fd);
    if (!bytes)
        return -ENOMEM;
    if (fault == 0 && have > max_bytes)
        fault = -EFBIG;
    if (fault < 0) {
        wipe(bytes, max_bytes + 2);
        return fault;
    }
    bytes[have] = 0;
    *ret = bytes;
    *ret_bytes = have;
    return 0;
}

static int refuse(char why[SL_LINK_WHY_BYTES], const char *option, const char *path, const char *sentence)
{
    snprintf(why, SL_LINK_WHY_BYTES, "%s %.300s: %s", option, path, sentence);
    return SL_LINK_KEYS_REFUSED;
}

static int read_file(const char *option, const char *path, size_t max_bytes, char **ret, size_t *ret_bytes,
                     char why[SL_LINK_WHY_BYTES])
{
    int fault = read_whole(path, max_bytes, ret, ret_bytes);
    if (fault == -ENOMEM)
        return fault;
    if (fault < 0)
        return refuse(why, option, path, fault == -EFBIG ? "is too long" : strerror(-fault));
    return 0;
}

static int read_secret(struct sl_link_keys *k, const char *path, char why[SL_LINK_WHY_BYTES])
{
    char *bytes;
    size_t count;
    int answer = read_file("--secret", path, SECRET_MAX_BYTES, &bytes, &count, why);
    if (answer)
        return answer;
    k->secret = sl_slice(bytes, count);
    if (count > 0 && bytes[count - 1] == '\n')
        k->secret.bytes--;
    return k->secret.bytes ? 0 : refuse(why, "--secret", path, "is empty");
}

static int read_pem(const char *option, const char *path, char **ret, char why[SL_LINK_WHY_BYTES])
{
    size_t count;
    int answer = read_file(option, path, PEM_MAX_BYTES, ret, &count, why);
    if (answer)
        return answer;
    return strstr(*ret, "-----BEGIN") ? 0 : refuse(why, option, path, "is not PEM");
}

/* ---- nng's side ---- */

static int config_new(const struct sl_link_keys *k, nng_tls_mode mode, const char *server,
                      nng_tls_config **ret)
{
    nng_tls_config *config;
    int r = nng_tls_config_alloc(&config, mode);
    if (r != 0)
        return r;
    bool verifies = k->ca || mode == NNG_TLS_MODE_CLIENT;
    if (k->ca)
        r = nng_tls_config_ca_chain(config, k->ca, NULL);
    if (r == 0 && k->cert)
        r = nng_tls_config_own_cert(config, k->cert, k->key, NULL);
    if (r == 0)
        r = nng_tls_config_auth_mode(config, verifies ? NNG_TLS_AUTH_MODE_REQUIRED : NNG_TLS_AUTH_MODE_NONE);
    if (r == 0 && server)
        r = nng_tls_config_server_name(config, server);
    if (r != 0)
        nng_tls_config_free(config);
    else
        *ret = config;
    return r;
}

bool link_tls_url(const char *url)
{
    return strncmp(url, "tls+tcp", 7) == 0;
}

int link_tls_listener(const struct sl_link_keys *k, const char *url, nng_listener listener)
{
    nng_tls_config *config;
    if (!link_tls_url(url))
        return 0;
    int r = config_new(k, NNG_TLS_MODE_SERVER, NULL, &config);
    if (r != 0)
        return r;
    r = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, config);
    nng_tls_config_free(config);
    return r;
}

int link_tls_dialer(const struct sl_link_keys *k, const char *url, nng_dialer dialer)
{
    nng_tls_config *config;
    nng_url *parts;
    if (!link_tls_url(url))
        return 0;
    int r = nng_url_parse(&parts, url);
    if (r != 0)
        return r;
    r = config_new(k, NNG_TLS_MODE_CLIENT, parts->u_hostname, &config);
    nng_url_free(parts);
    if (r != 0)
        return r;
    r = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, config);
    nng_tls_config_free(config);
    return r;
}

static uint64_t number_of(nng_stat *scope, const char *name)
{
    for (nng_stat *s = nng_stat_child(scope); s; s = nng_stat_next(s))
        if (strcmp(nng_stat_name(s), name) == 0)
            return nng_stat_value(s);
    return 0;
}

struct link_tls_failures link_tls_failures(const char *kind, int id)
{
    struct link_tls_failures f = {0};
    nng_stat *all;
    if (nng_stats_get(&all) != 0)
        return f;
    for (nng_stat *s = nng_stat_child(all); s; s = nng_stat_next(s)) {
        if (strcmp(nng_stat_name(s), kind) != 0 || number_of(s, "id") != (uint64_t)id)
            continue;
        uint64_t other = number_of(s, "other") + number_of(s, "disconnect");
        uint64_t ended = number_of(s, "accept") - number_of(s, "pipes");
        f = (struct link_tls_failures){.certificate = number_of(s, "auth"),
                                       .other = other,
                                       .unborn = other > ended ? other - ended : 0,
                                       .refused = number_of(s, "refused")};
    }
    nng_stats_free(all);
    return f;
}

/* mbedTLS takes any two files, and fails with each connection when they do not belong together. */
static bool belong(const char *cert, const char *key)
{
    BIO *cert_bio = BIO_new_mem_buf(cert, -1), *key_bio = BIO_new_mem_buf(key, -1);
    X509 *x509 = cert_bio ? PEM_read_bio_X509(cert_bio, NULL, NULL, NULL) : NULL;
    /* an empty passphrase, so that nobody is asked at the terminal */
    EVP_PKEY *pkey = key_bio ? PEM_read_bio_PrivateKey(key_bio, NULL, NULL, (void *)(uintptr_t) "") : NULL;
    bool both = x509 && pkey && X509_check_private_key(x509, pkey) == 1;
    EVP_PKEY_free(pkey);
    X509_free(x509);
    BIO_free(key_bio);
    BIO_free(cert_bio);
    return both;
}

/* ---- the outside ---- */

/* Whether all that the addresses need is there and can be used. */
static int check(const struct sl_link_keys *k, const struct sl_link_files *files, bool listens,
                 const char *const *urls, size_t url_count, char why[SL_LINK_WHY_BYTES])
{
    const char *tls = NULL;
    for (size_t i = 0; i < url_count && !tls; i++)
        if (link_tls_url(urls[i]))
            tls = urls[i];
    if (!files->cert != !files->key) {
        snprintf(why, SL_LINK_WHY_BYTES, "--link-cert and --link-key come together");
        return SL_LINK_KEYS_REFUSED;
    }
    if (!tls)
        return 0;
    if (listens ? !k->cert : !k->ca) {
        snprintf(why, SL_LINK_WHY_BYTES, "%.300s needs %s", tls,
                 listens ? "--link-cert and --link-key, and --link-ca to ask peers for certificates"
                         : "--link-ca, and --link-cert and --link-key where the broker asks for them");
        return SL_LINK_KEYS_REFUSED;
    }
    nng_tls_config *config;
    const struct sl_link_keys ca_only = {.ca = k->ca}, none = {0};
    int r = config_new(&none, NNG_TLS_MODE_CLIENT, NULL, &config);
    if (r != 0) {
        snprintf(why, SL_LINK_WHY_BYTES, "%.300s: this machine's nng is built without TLS (%s)", tls,
                 nng_strerror(r));
        return SL_LINK_KEYS_REFUSED;
    }
    nng_tls_config_free(config);
    if (k->ca && config_new(&ca_only, NNG_TLS_MODE_CLIENT, NULL, &config) != 0)
        return refuse(why, "--link-ca", files->ca, "holds no certificates that can be used");
    if (k->ca)
        nng_tls_config_free(config);
    if ((k->cert && !belong(k->cert, k->key)) ||
        config_new(k, listens ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT, NULL, &config) != 0)
        return refuse(why, "--link-cert", files->cert,
                      "can't be used, or --link-key is not its key, or it is encrypted");
    nng_tls_config_free(config);
    return 0;
}

int sl_link_keys_read(const struct sl_link_files *files, bool listens, const char *const *urls,
                      size_t url_count, struct sl_link_keys **ret, char why[SL_LINK_WHY_BYTES])
{
    struct sl_link_keys *k = calloc(1, sizeof *k);
    if (!k)
        return -ENOMEM;
    k->refs = 1;
    int answer = files->secret ? read_secret(k, files->secret, why) : 0;
    if (!answer && files->ca)
        answer = read_pem("--link-ca", files->ca, &k->ca, why);
    if (!answer && files->cert)
        answer = read_pem("--link-cert", files->cert, &k->cert, why);
    if (!answer && files->key)
        answer = read_pem("--link-key", files->key, &k->key, why);
    if (!answer)
        answer = check(k, files, listens, urls, url_count, why);
    if (answer)
        sl_link_keys_unref(k);
    else
        *ret = k;
    return answer;
}

int sl_link_keys_of(struct sl_slice secret, struct sl_link_keys **ret)
{
    struct sl_link_keys *k = calloc(1, sizeof *k);
    char *bytes = malloc(secret.bytes + 1);
    if (!k || !bytes) {
        free(k);
        free(bytes);
        return -ENOMEM;
    }
    if (secret.bytes)
        memcpy(bytes, secret.data, secret.bytes);
    k->secret = sl_slice(bytes, secret.bytes);
    k->refs = 1;
    *ret = k;
    return 0;
}

struct sl_link_keys *sl_link_keys_ref(struct sl_link_keys *k)
{
    if (k)
        k->refs++;
    return k;
}

void sl_link_keys_unref(struct sl_link_keys *k)
{
    if (!k || --k->refs > 0)
        return;
    wipe((void *)(uintptr_t)k->secret.data, k->secret.bytes);
    wipe(k->key, k->key ? strlen(k->key) : 0);
    free(k->ca);
    free(k->cert);
    free(k);
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool sl_link_keys_equal(const struct sl_link_keys *a, const struct sl_link_keys *b)
{
    return sl_slice_equal(a->secret, b->secret) && same(a->ca, b->ca) && same(a->cert, b->cert) &&
           same(a->key, b->key);
}
