// SPDX-License-Identifier: Apache-2.0
#include "link.h"
#include <stdio.h>

enum {
    DEFAULT_PORT = 6379,
    DEFAULT_WAIT_MS = 1000,
    WAIT_MAX_MS = 60000,
    DEFAULT_TRANSACTION_BYTES = 16 << 10, /* from there on five commands are cheaper than Lua's hashing */
};

static bool number(const char *text, size_t bytes, long low, long high, int *ret)
{
    long n = 0;
    if (bytes == 0 || bytes > 6)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = n * 10 + (text[i] - '0');
    }
    *ret = (int)n;
    return n >= low && n <= high;
}

static bool copy(char *out, size_t capacity, const char *text, size_t bytes)
{
    if (bytes >= capacity)
        return false;
    memcpy(out, text, bytes);
    out[bytes] = 0;
    return true;
}

/* The password is the file's first line: a URL is seen by everybody who lists processes. */
static const char *read_password(const char *path, size_t bytes, struct location *ret)
{
    char name[1024];
    if (!copy(name, sizeof name, path, bytes))
        return "the name of the password's file is too long";
    FILE *file = fopen(name, "re");
    if (!file)
        return "the password's file can't be read";
    bool good = fgets(ret->password, sizeof ret->password, file) != NULL;
    fclose(file);
    if (!good)
        return "the password's file is empty";
    ret->password[strcspn(ret->password, "\n")] = 0;
    return NULL;
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* With %XX for what a URL can't hold. */
static bool copy_decoded(char *out, size_t capacity, const char *at, const char *end)
{
    size_t bytes = 0;
    while (at < end && bytes + 1 < capacity) {
        char c = *at++;
        if (c == '%') {
            if (end - at < 2 || hex(at[0]) < 0 || hex(at[1]) < 0)
                return false;
            c = (char)(hex(at[0]) * 16 + hex(at[1]));
            at += 2;
        }
        if (!c)
            return false;
        out[bytes++] = c;
    }
    out[bytes] = 0;
    return at == end;
}

/* USER:PASSWORD, :PASSWORD */
static const char *parse_login(const char *at, const char *end, struct location *ret)
{
    const char *colon = memchr(at, ':', (size_t)(end - at));
    if (!colon)
        return "a login is USER:PASSWORD@ or :PASSWORD@";
    if (!copy_decoded(ret->user, sizeof ret->user, at, colon) ||
        !copy_decoded(ret->password, sizeof ret->password, colon + 1, end))
        return "the user or the password is too long, or a % in it is not %25";
    return NULL;
}

/* HOST, HOST:PORT, [V6], [V6]:PORT */
static const char *parse_seed(const char *at, const char *end, struct location *ret)
{
    static const char wrong[] = "servers are named HOST:PORT, separated by commas";
    if (ret->seed_count == LINK_SEEDS_MAX)
        return "at most 16 servers can be named";
    const char *host = at, *stop = NULL, *port = NULL;
    if (at < end && *at == '[') {
        host = at + 1;
        stop = memchr(at, ']', (size_t)(end - at));
        if (!stop || (stop + 1 < end && stop[1] != ':'))
            return wrong;
        port = stop + 1 < end ? stop + 2 : NULL;
    } else {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        stop = colon ? colon : end;
        port = colon ? colon + 1 : NULL;
    }
    int n = DEFAULT_PORT;
    if (stop == host || (port && !number(port, (size_t)(end - port), 1, 65535, &n)) ||
        !copy(ret->seeds[ret->seed_count].host, LINK_HOST_BYTES, host, (size_t)(stop - host)))
        return wrong;
    ret->seeds[ret->seed_count++].port = n;
    return NULL;
}

static const char *parse_query(const char *at, const char *end, struct location *ret)
{
    while (at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop ? stop : end;
        size_t bytes = (size_t)(stop - at);
        if (bytes > 9 && memcmp(at, "replicas=", 9) == 0) {
            if (!number(at + 9, bytes - 9, 0, 16, &ret->replicas))
                return "replicas is a number from 0 to 16";
        } else if (bytes > 8 && memcmp(at, "wait_ms=", 8) == 0) {
            if (!number(at + 8, bytes - 8, 1, WAIT_MAX_MS, &ret->wait_ms))
                return "wait_ms is a number from 1 to 60000";
        } else if (bytes > 18 && memcmp(at, "transaction_bytes=", 18) == 0) {
            if (!number(at + 18, bytes - 18, 1, 999999, &ret->transaction_bytes))
                return "transaction_bytes is a number from 1 to 999999";
        } else if (bytes > 5 && memcmp(at, "user=", 5) == 0) {
            if (!copy(ret->user, sizeof ret->user, at + 5, bytes - 5))
                return "the user's name is too long";
        } else if (bytes > 14 && memcmp(at, "password_file=", 14) == 0) {
            const char *why = read_password(at + 14, bytes - 14, ret);
            if (why)
                return why;
        } else {
            return "behind the ? may stand replicas=N, wait_ms=MS, user=NAME, password_file=PATH and "
                   "transaction_bytes=N";
        }
        at = stop < end ? stop + 1 : end;
    }
    return NULL;
}

const char *location_parse(const char *url, struct location *ret)
{
    *ret = (struct location){.wait_ms = DEFAULT_WAIT_MS, .transaction_bytes = DEFAULT_TRANSACTION_BYTES};
    if (strncmp(url, "rediss://", 9) == 0)
        return "TLS to Redis (rediss://) is not built in, as Debian 12's hiredis has none: use redis:// "
               "through a "
               "tunnel (stunnel, WireGuard) or in a private network";
    if (strncmp(url, "redis://", 8) != 0)
        return "a Redis store is named redis://HOST:PORT";
    const char *at = url + 8, *end = url + strlen(url);
    const char *query = strchr(at, '?');
    const char *stop = query ? query : end;
    if (stop > at && stop[-1] == '/')
        stop--;
    const char *why = NULL;
    const char *login = memrchr(at, '@', (size_t)(stop - at));
    if (login) {
        why = parse_login(at, login, ret);
        at = login + 1;
    }
    while (!why) {
        const char *comma = memchr(at, ',', (size_t)(stop - at));
        why = parse_seed(at, comma ? comma : stop, ret);
        if (!comma)
            break;
        at = comma + 1;
    }
    if (!why && query)
        why = parse_query(query + 1, end, ret);
    return why;
}
