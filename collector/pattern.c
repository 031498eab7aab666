// SPDX-License-Identifier: Apache-2.0
#include "pattern.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- parsing ---- */

static const char *component_fault(struct sl_slice c)
{
    size_t i = 0;
    while (i < c.bytes) {
        if (c.data[i] == '[') {
            size_t end = i + 1;
            if (end < c.bytes && (c.data[end] == '!' || c.data[end] == '^'))
                end++;
            if (end < c.bytes && c.data[end] == ']')
                end++;
            while (end < c.bytes && c.data[end] != ']')
                end++;
            if (end >= c.bytes)
                return "has a [ without its ]";
            i = end;
        } else if (c.data[i] == '}') {
            return "has a } without its {";
        } else if (c.data[i] == '{') {
            size_t start = ++i;
            while (i < c.bytes && c.data[i] != '}') {
                uint8_t b = c.data[i];
                if (!((b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') ||
                      b == '_' || b == '-' || b == '.'))
                    return "has a {name} of more than letters, digits and . _ -";
                i++;
            }
            if (i >= c.bytes)
                return "has a { without its }";
            if (i == start)
                return "has a {} without a name";
        }
        i++;
    }
    return NULL;
}

static bool is_literal(struct sl_slice c)
{
    for (size_t i = 0; i < c.bytes; i++)
        if (memchr("*?[{", c.data[i], 4))
            return false;
    return true;
}

static unsigned count_captures(struct sl_slice c, bool *sandbox)
{
    unsigned count = 0;
    for (size_t i = 0; i < c.bytes; i++) {
        if (c.data[i] != '{')
            continue;
        count++;
        if (c.bytes - i >= 9 && memcmp(c.data + i, "{sandbox}", 9) == 0)
            *sandbox = true;
    }
    return count;
}

static int malformed(struct pattern *p, const char *why, const char **ret_why)
{
    pattern_fini(p);
    *ret_why = why;
    return PATTERN_MALFORMED;
}

static int split(struct pattern *p, const char *path, const char **ret_why)
{
    p->text = strdup(path);
    p->root = calloc(1, strlen(path) + 2);
    if (!p->text || !p->root) {
        pattern_fini(p);
        return -ENOMEM;
    }
    size_t root_bytes = 0;
    unsigned captures = 0;
    bool sandbox = false;
    if (path[0] == '/')
        p->root[root_bytes++] = '/';
    for (const char *at = p->text; *at;) {
        at += strspn(at, "/");
        struct sl_slice c = sl_slice(at, strcspn(at, "/"));
        at += c.bytes;
        if (c.bytes == 0)
            break;
        bool last = at[strspn(at, "/")] == 0;
        if (p->depth == 0 && !last && is_literal(c)) {
            if (root_bytes > 0 && p->root[root_bytes - 1] != '/')
                p->root[root_bytes++] = '/';
            memcpy(p->root + root_bytes, c.data, c.bytes);
            root_bytes += c.bytes;
            continue;
        }
        const char *why = component_fault(c);
        if (why)
            return malformed(p, why, ret_why);
        if (sl_slice_equal(c, sl_slice_of(".")) || sl_slice_equal(c, sl_slice_of("..")))
            return malformed(p, "has a component that is . or ..", ret_why);
        if (p->depth == PATTERN_DEPTH_MAX)
            return malformed(p, "has too many components", ret_why);
        captures += count_captures(c, &sandbox);
        p->components[p->depth++] = c;
    }
    if (root_bytes == 0)
        p->root[0] = '.';
    if (path[0] && path[strlen(path) - 1] == '/')
        return malformed(p, "names a directory, not files", ret_why);
    if (!sandbox)
        return malformed(p, "has no {sandbox} in its path", ret_why);
    if (captures > PATTERN_CAPTURES_MAX)
        return malformed(p, "has too many {name}s", ret_why);
    return 0;
}

int pattern_parse(const char *spec, struct pattern *ret, const char **ret_why)
{
    static const char *const formats[] = {
        [FORMAT_CRI] = "cri:", [FORMAT_DOCKER] = "docker:", [FORMAT_PLAIN] = "plain:"};
    for (unsigned i = 0; i < 3; i++) {
        size_t bytes = strlen(formats[i]);
        if (strncmp(spec, formats[i], bytes) != 0)
            continue;
        if (strlen(spec + bytes) > PATTERN_PATH_MAX_BYTES) {
            *ret_why = "is too long";
            return PATTERN_MALFORMED;
        }
        struct pattern p = {.format = (enum format)i};
        int r = split(&p, spec + bytes, ret_why);
        if (r == 0)
            *ret = p;
        return r;
    }
    *ret_why = "must begin with cri:, docker: or plain:";
    return PATTERN_MALFORMED;
}

void pattern_fini(struct pattern *p)
{
    free(p->text);
    free(p->root);
    *p = (struct pattern){0};
}

/* ---- matching ---- */

struct sl_slice captures_get(const struct captures *captures, const char *name)
{
    for (unsigned i = 0; i < captures->count; i++)
        if (sl_slice_equal(captures->items[i].name, sl_slice_of(name)))
            return captures->items[i].value;
    return (struct sl_slice){0};
}

static const struct sl_slice *bound(const struct captures *captures, struct sl_slice name)
{
    for (unsigned i = 0; i < captures->count; i++)
        if (sl_slice_equal(captures->items[i].name, name))
            return &captures->items[i].value;
    return NULL;
}

/* One byte of the set that begins at c.data[at] == '['; *ret_next is behind its ]. */
static bool set_has(struct sl_slice c, size_t at, uint8_t byte, size_t *ret_next)
{
    size_t i = at + 1;
    bool no = i < c.bytes && (c.data[i] == '!' || c.data[i] == '^');
    bool found = false;
    i += no;
    for (bool first = true; i < c.bytes && (first || c.data[i] != ']'); first = false) {
        uint8_t low = c.data[i], high = low;
        if (i + 2 < c.bytes && c.data[i + 1] == '-' && c.data[i + 2] != ']') {
            high = c.data[i + 2];
            i += 2;
        }
        found |= byte >= low && byte <= high;
        i++;
    }
    *ret_next = i + 1;
    return found != no;
}

static size_t name_end(struct sl_slice c, size_t at)
{
    while (at < c.bytes && c.data[at] != '}')
        at++;
    return at;
}

/*
 * The one place to go back to: the newest run, grown by one byte. Growing only the newest is enough for an
 * exact answer because each run was placed as early as possible.
 */
struct run {
    size_t component; /* behind the wildcard */
    size_t start;     /* of the run in the name */
    size_t end;
    unsigned captures; /* how many there were before it */
    struct sl_slice label;
    bool set;
};

bool pattern_match(struct sl_slice c, struct sl_slice name, struct captures *captures)
{
    struct run run = {0};
    size_t i = 0, n = 0;
    bool dot = name.bytes > 0 && name.data[0] == '.';
    for (;;) {
        bool ok = false;
        if (i == c.bytes) {
            if (n == name.bytes) {
                if (run.set && run.label.bytes > 0)
                    captures->items[run.captures].value =
                        sl_slice(name.data + run.start, run.end - run.start);
                return true;
            }
        } else if (c.data[i] == '*' || c.data[i] == '{') {
            struct sl_slice label = {0};
            size_t next = i + 1;
            if (c.data[i] == '{') {
                size_t end = name_end(c, i);
                label = sl_slice(c.data + i + 1, end - i - 1);
                next = end + 1;
            }
            if (run.set && run.label.bytes > 0)
                captures->items[run.captures].value = sl_slice(name.data + run.start, run.end - run.start);
            const struct sl_slice *same = label.bytes > 0 ? bound(captures, label) : NULL;
            if (same) {
                if (name.bytes - n >= same->bytes && memcmp(name.data + n, same->data, same->bytes) == 0) {
                    n += same->bytes;
                    i = next;
                    ok = true;
                }
            } else if (label.bytes > 0 && n == name.bytes) {
                return false; /* a capture holds at least one byte, and no run before it can give one back */
            } else if (n == 0 && dot && label.bytes == 0) {
                return false;
            } else {
                if (label.bytes > 0 && captures->count == PATTERN_CAPTURES_MAX)
                    return false;
                run = (struct run){next, n, n + (label.bytes > 0), captures->count, label, true};
                if (label.bytes > 0)
                    captures->items[captures->count++].name = label;
                i = next;
                n = run.end;
                /* the last wildcard takes the rest at once */
                if (i == c.bytes)
                    n = run.end = name.bytes;
                ok = true;
            }
        } else if (n < name.bytes) {
            size_t next = i + 1;
            if (c.data[i] == '?')
                ok = !(n == 0 && dot);
            else if (c.data[i] == '[')
                ok = set_has(c, i, name.data[n], &next) && !(n == 0 && dot);
            else
                ok = c.data[i] == name.data[n];
            if (ok) {
                i = next;
                n++;
            }
        }
        if (ok)
            continue;
        if (!run.set || run.end >= name.bytes)
            return false;
        run.end++;
        i = run.component;
        n = run.end;
        captures->count = run.captures + (run.label.bytes > 0);
    }
}
