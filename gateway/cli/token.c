// SPDX-License-Identifier: Apache-2.0
/* sandlog token: a signed token that lets its bearer read (or more) certain sandboxes for a while. */
#include "commands.h"
#include "jwt.h"
#include "output.h"
#include "say.h"
#include "wire/options.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KEY_MAX_BYTES = 64 << 10, GLOB_MAX_BYTES = 256 };

static struct {
    const char *key, *scope;
    struct sl_option_list sandboxes;
    int64_t ttl_ns;
} options;

static const char *scope_check(const char *text)
{
    return strcmp(text, "read") == 0 || strcmp(text, "write") == 0 || strcmp(text, "admin") == 0
               ? NULL
               : "is neither read, write nor admin";
}

/* What an id may hold, and `*` and `?`. */
static const char *glob_check(const char *text)
{
    size_t good = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-*?");
    return good > 0 && good <= GLOB_MAX_BYTES && !text[good]
               ? NULL
               : "is not a sandbox id or a pattern of them (* and ?)";
}

static const struct sl_option table[] = {
    {.name = "key",
     .type = SL_OPTION_TEXT,
     .value = &options.key,
     .unit = "FILE",
     .sentence = "sign with this: a secret (HS256) or a PEM private key (ES256, RS256)"},
    {.name = "sandbox",
     .type = SL_OPTION_LIST,
     .value = &options.sandboxes,
     .unit = "GLOB",
     .check = glob_check,
     .sentence = "what it is for, e.g. web-*"},
    {.name = "scope",
     .type = SL_OPTION_TEXT,
     .value = &options.scope,
     .unit = "read|write|admin",
     .fallback = "read",
     .check = scope_check,
     .sentence = "what it allows"},
    {.name = "ttl",
     .type = SL_OPTION_DURATION,
     .value = &options.ttl_ns,
     .unit = "TIME",
     .min = SL_NS_PER_S,
     .max = INT64_C(3650) * 86400 * SL_NS_PER_S,
     .fallback = "1h",
     .sentence = "how long it lives; in a URL (access_token=) it may have 15m at most"},
};

static const struct sl_program program = {
    .name = "sandlog token",
    .usage = "--key FILE --sandbox GLOB... [--scope read|write|admin] [--ttl TIME]",
    .sentence = "Make a token for a gateway that was started with --token-key.",
    .epilogue = "Examples:\n"
                "  head -c 32 /dev/urandom | base64 > secret; sandlog-gateway --token-key secret\n"
                "  export SANDLOG_TOKEN=$(sandlog token --key secret --sandbox 'web-*')\n"
                "  sandlog token --key private.pem --sandbox '*' --scope admin --ttl 5m\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};

/* Not 0: exit status; why was said. A newline at the end is not part of a secret. */
static int read_key(const char *path, uint8_t *out, size_t *ret_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t bytes = 0;
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && bytes <= KEY_MAX_BYTES) {
        n = read(fd, out + bytes, KEY_MAX_BYTES + 1 - bytes);
        bytes += n > 0 ? (size_t)n : 0;
    }
    if (n < 0 || bytes > KEY_MAX_BYTES)
        say("--key %s: %s", path, n < 0 ? say_errno(errno) : "too long for a key");
    if (fd >= 0)
        close(fd);
    if (bytes > 0 && bytes <= KEY_MAX_BYTES && out[bytes - 1] == '\n')
        bytes -= bytes > 1 && out[bytes - 2] == '\r' ? 2 : 1;
    *ret_bytes = bytes;
    return n < 0 || bytes > KEY_MAX_BYTES;
}

static char *make_claims(void)
{
    int64_t now_s = sl_now_ns() / SL_NS_PER_S;
    int64_t exp_s = now_s + options.ttl_ns / SL_NS_PER_S;
    json_t *globs = json_array();
    for (size_t i = 0; i < options.sandboxes.count; i++)
        json_array_append_new(globs, json_string(options.sandboxes.items[i]));
    json_t *claims = json_pack("{s:I, s:I, s:s, s:o}", "iat", (json_int_t)now_s, "exp", (json_int_t)exp_s,
                               "scope", options.scope, "sandboxes", globs);
    char *text = json_dumps(claims, JSON_COMPACT);
    json_decref(claims);
    return text;
}

int command_token(int argc, char **argv)
{
    static uint8_t key[KEY_MAX_BYTES + 1];
    sl_options_read(&program, argc, argv, false, NULL);
    if (!options.key)
        sl_usage_error(&program, "--key: name the file of the key to sign with");
    if (options.sandboxes.count == 0)
        sl_usage_error(&program, "--sandbox: say what it is for ('*' for every sandbox)");
    size_t bytes;
    if (read_key(options.key, key, &bytes) != 0)
        return 2;
    char *claims = make_claims(), *token = NULL;
    int r = claims ? jwt_sign(sl_slice(key, bytes), sl_slice_of(claims), &token) : -ENOMEM;
    free(claims);
    switch (r) {
    case JWT_OK: {
        struct output out = {0};
        output_printf(&out, "%s\n", token);
        output_flush(&out);
        output_fini(&out);
        free(token);
        return 0;
    }
    case JWT_PUBLIC_KEY:
        say("--key %s: holds no private key; the gateway checks with the public one, signing takes the other",
            options.key);
        return 2;
    case JWT_WRONG_KEY:
        say("--key %s: is neither a P-256 nor an RSA key of 2048 bits or more, or has a password",
            options.key);
        return 2;
    case JWT_SHORT_SECRET:
        say("--key %s: a secret has at least %d bytes", options.key, JWT_SECRET_MIN_BYTES);
        return 2;
    default:
        say("%s: %s", options.key, say_errno(-r));
        return 1;
    }
}
