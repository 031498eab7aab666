// SPDX-License-Identifier: Apache-2.0
/* One option's value, from text and to text. */
#include "options_inner.h"
#include "timestamp.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

struct kept {
    struct kept *next;
    void *memory;
};
static struct kept *kept_all;

void *option_keep(void *memory)
{
    struct kept *k = malloc(sizeof *k);
    if (!k || !memory)
        abort(); /* at start-up, with nothing to lose */
    *k = (struct kept){.next = kept_all, .memory = memory};
    kept_all = k;
    return memory;
}

char *option_keep_copy(const char *text, size_t bytes)
{
    return option_keep(strndup(text, bytes));
}

const char *option_quote(const char *text, char *out, size_t capacity)
{
    size_t n = 0;
    for (; text[n] && n + 1 < capacity; n++)
        out[n] = (unsigned char)text[n] < 0x20 || text[n] == 0x7f ? '?' : text[n];
    out[n] = 0;
    if (text[n] && capacity > 4)
        memcpy(out + n - 3, "...", 3);
    return out;
}

static int complain(char complaint[OPTION_COMPLAINT_BYTES], const char *text, const char *what)
{
    char quoted[200];
    snprintf(complaint, OPTION_COMPLAINT_BYTES, "\"%s\" %s", option_quote(text, quoted, sizeof quoted), what);
    return 1;
}

static const struct {
    const char *suffix;
    int64_t bytes;
} byte_units[] = {
    {"TiB", INT64_C(1) << 40}, {"GiB", INT64_C(1) << 30}, {"MiB", INT64_C(1) << 20},
    {"KiB", INT64_C(1) << 10}, {"T", INT64_C(1) << 40},   {"G", INT64_C(1) << 30},
    {"M", INT64_C(1) << 20},   {"K", INT64_C(1) << 10},
};

static const struct {
    const char *suffix;
    int64_t ns;
} time_units[] = {
    {"d", 86400 * SL_NS_PER_S},
    {"h", 3600 * SL_NS_PER_S},
    {"m", 60 * SL_NS_PER_S},
    {"s", SL_NS_PER_S},
    {"ms", SL_NS_PER_MS},
    {"us", 1000},
    {"ns", 1},
};

void option_number_render(enum sl_option_type type, int64_t value, char *out, size_t capacity)
{
    if (type == SL_OPTION_BYTES && value != 0) {
        for (size_t i = 0; i < 4; i++)
            if (value % byte_units[i].bytes == 0) {
                snprintf(out, capacity, "%lld%s", (long long)(value / byte_units[i].bytes),
                         byte_units[i].suffix);
                return;
            }
    }
    if (type == SL_OPTION_DURATION) {
        for (size_t i = 0; i < sizeof time_units / sizeof *time_units && value != 0; i++)
            if (value % time_units[i].ns == 0) {
                snprintf(out, capacity, "%lld%s", (long long)(value / time_units[i].ns),
                         time_units[i].suffix);
                return;
            }
        snprintf(out, capacity, "none");
        return;
    }
    snprintf(out, capacity, "%lld", (long long)value);
}

/* Digits at the start of text; > 0: none there or too many for 63 bits. */
static int parse_digits(const char *text, int64_t *ret, const char **ret_end)
{
    int64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *at - '0', &value))
            return 1;
    if (at == text)
        return 1;
    *ret = value;
    *ret_end = at;
    return 0;
}

static int parse_number(const char *text, int64_t *ret)
{
    bool negative = *text == '-';
    const char *end;
    int64_t value;
    if (parse_digits(text + negative, &value, &end) != 0 || *end)
        return 1;
    *ret = negative ? -value : value;
    return 0;
}

static int parse_bytes(const char *text, int64_t *ret)
{
    const char *end;
    int64_t value;
    if (parse_digits(text, &value, &end) != 0)
        return 1;
    if (*end) {
        size_t i = 0;
        while (i < sizeof byte_units / sizeof *byte_units && strcasecmp(end, byte_units[i].suffix) != 0)
            i++;
        if (i == sizeof byte_units / sizeof *byte_units ||
            __builtin_mul_overflow(value, byte_units[i].bytes, &value))
            return 1;
    }
    *ret = value;
    return 0;
}

static int set_int(const struct sl_option *option, const char *text, char complaint[OPTION_COMPLAINT_BYTES])
{
    int64_t value = 0;
    switch (option->type) {
    case SL_OPTION_BYTES:
        if (parse_bytes(text, &value) != 0)
            return complain(complaint, text, "is not a number of bytes (try 64MiB)");
        break;
    case SL_OPTION_DURATION:
        if (strcmp(text, "none") != 0 && sl_duration_parse(sl_slice_of(text), &value) != 0)
            return complain(complaint, text, "is not a length of time (try 90s, 10m or 7d)");
        break;
    default:
        if (parse_number(text, &value) != 0)
            return complain(complaint, text, "is not a number");
        break;
    }
    int64_t max = option->max == 0 && option->min >= 0 ? INT64_MAX : option->max;
    if (value < option->min || value > max) {
        char low[40], high[40], what[120];
        option_number_render(option->type, option->min, low, sizeof low);
        option_number_render(option->type, max, high, sizeof high);
        if (max != INT64_MAX)
            snprintf(what, sizeof what, "is out of range (%s to %s)", low, high);
        else if (option->min != 0)
            snprintf(what, sizeof what, "is too small (at least %s)", low);
        else
            snprintf(what, sizeof what, "must not be negative");
        return complain(complaint, text, what);
    }
    *(int64_t *)option->value = value;
    return 0;
}

static int set_flag(const struct sl_option *option, const char *text, char complaint[OPTION_COMPLAINT_BYTES])
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"", "0", "false", "no", "off"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (strcasecmp(text, yes[i]) == 0) {
            *(bool *)option->value = true;
            return 0;
        }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (strcasecmp(text, no[i]) == 0) {
            *(bool *)option->value = false;
            return 0;
        }
    return complain(complaint, text, "is neither true nor false");
}

/* HOST:PORT or [v6]:PORT, whole text. `any`: the host may be empty or *, as nng's listeners take it. */
static bool address_valid(const char *text, bool any)
{
    const char *colon = strrchr(text, ':');
    if (!colon)
        return false;
    const char *end;
    int64_t port;
    if (parse_digits(colon + 1, &port, &end) != 0 || *end || port > 65535)
        return false;
    size_t host = (size_t)(colon - text);
    if (host == 0)
        return any;
    if (text[0] == '[') {
        char v6[INET6_ADDRSTRLEN];
        struct in6_addr ignored;
        if (text[host - 1] != ']' || host - 2 >= sizeof v6)
            return false;
        memcpy(v6, text + 1, host - 2);
        v6[host - 2] = 0;
        return inet_pton(AF_INET6, v6, &ignored) == 1;
    }
    if (host == 1 && text[0] == '*')
        return any;
    for (size_t i = 0; i < host; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
              c == '-' || c == '_'))
            return false;
    }
    return true;
}

/* NULL, or what is wrong with it. */
static const char *url_complaint(const char *text)
{
    if (strncmp(text, "ipc://", 6) == 0) {
        if (!text[6])
            return "names no socket (try ipc:///run/sandlog/query.sock)";
        if (strlen(text + 6) >= sizeof((struct sockaddr_un *)0)->sun_path)
            return "is too long for a socket's name (107 bytes)";
        return NULL;
    }
    if (strncmp(text, "tcp://", 6) == 0 && address_valid(text + 6, true))
        return NULL;
    if (strncmp(text, "tls+tcp://", 10) == 0 && address_valid(text + 10, true))
        return NULL;
    return "is not an address (try tcp://127.0.0.1:8471, ipc://PATH or tls+tcp://HOST:PORT)";
}

static int add_item(const struct sl_option *option, const char *text, size_t bytes,
                    char complaint[OPTION_COMPLAINT_BYTES])
{
    struct sl_option_list *list = option->value;
    char *item = option_keep_copy(text, bytes);
    const char *what = option->type == SL_OPTION_URLS ? url_complaint(item) : NULL;
    if (!what && option->check)
        what = option->check(item);
    if (what)
        return complain(complaint, item, what);
    const char **items = option_keep(malloc((list->count + 1) * sizeof *items));
    if (list->count > 0)
        memcpy(items, list->items, list->count * sizeof *items);
    items[list->count] = item;
    list->items = items;
    list->count++;
    return 0;
}

static int set_list(const struct sl_option *option, const char *text, bool blanks,
                    char complaint[OPTION_COMPLAINT_BYTES])
{
    const char *separators = option->type == SL_OPTION_URLS ? ", \t\n\r" : blanks ? " \t\n\r" : "";
    size_t before = ((struct sl_option_list *)option->value)->count;
    for (const char *at = text; *at;) {
        at += strspn(at, separators);
        size_t bytes = *separators ? strcspn(at, separators) : strlen(at);
        if (bytes > 0) {
            int r = add_item(option, at, bytes, complaint);
            if (r != 0)
                return r;
        }
        at += bytes;
    }
    if (option->type == SL_OPTION_URLS && ((struct sl_option_list *)option->value)->count == before)
        return complain(complaint, text, "must not be empty");
    return 0;
}

void option_clear(const struct sl_option *option)
{
    switch (option->type) {
    case SL_OPTION_FLAG:
        *(bool *)option->value = false;
        break;
    case SL_OPTION_NUMBER:
    case SL_OPTION_BYTES:
    case SL_OPTION_DURATION:
        *(int64_t *)option->value = 0;
        break;
    case SL_OPTION_TEXT:
    case SL_OPTION_ADDRESS:
    case SL_OPTION_URL:
        *(const char **)option->value = NULL;
        break;
    case SL_OPTION_LIST:
    case SL_OPTION_URLS:
        *(struct sl_option_list *)option->value = (struct sl_option_list){0};
        break;
    }
}

int option_set(const struct sl_option *option, const char *text, bool blanks,
               char complaint[OPTION_COMPLAINT_BYTES])
{
    if (option->type == SL_OPTION_LIST || option->type == SL_OPTION_URLS)
        return set_list(option, text, blanks, complaint);
    if (!*text && option->type != SL_OPTION_FLAG) {
        /* `--secret "$UNSET"` must not turn off what it was to turn on */
        if (!option->fallback || *option->fallback)
            return complain(complaint, text, "must not be empty");
        option_clear(option);
        return 0;
    }
    if (option->check) {
        const char *what = option->check(text);
        if (what)
            return complain(complaint, text, what);
    }
    switch (option->type) {
    case SL_OPTION_FLAG:
        return set_flag(option, text, complaint);
    case SL_OPTION_NUMBER:
    case SL_OPTION_BYTES:
    case SL_OPTION_DURATION:
        return set_int(option, text, complaint);
    case SL_OPTION_TEXT:
        break;
    case SL_OPTION_ADDRESS:
        if (!address_valid(text, false))
            return complain(complaint, text, "is not an address (try 127.0.0.1:8470 or [::1]:8470)");
        break;
    case SL_OPTION_URL: {
        const char *what = url_complaint(text);
        if (what)
            return complain(complaint, text, what);
        break;
    }
    default:
        assert(false);
    }
    *(const char **)option->value = option_keep_copy(text, strlen(text));
    return 0;
}
