// SPDX-License-Identifier: Apache-2.0
/*
 * Watch patterns: `FORMAT:PATH`, PATH a glob in which `{sandbox}` (required), `{container}` and other
 * `{name}`s capture one path component or a part of one (API.md 1).
 *
 * In a component `*` stands for any run, `?` for one byte, `[a-z]` and `[!a-z]` for one of a set, `{name}`
 * for a run of at least one byte. Every run is as short as the text behind it allows, the last one takes the
 * rest:
 * `{namespace}_{sandbox}_{uid}` splits at the first two underscores. A name that was captured by an earlier
 * component (or further left in this one) stands for the same text again. As in a shell, `*`, `?` and a set
 * do not match a leading dot. Matching is pure, without allocation, and at most (name bytes x pattern bytes):
 * file names are written by strangers.
 */
#pragma once
#include "wire/slice.h"

enum {
    PATTERN_CAPTURES_MAX = 16,
    PATTERN_DEPTH_MAX = 16, /* components behind the root */
    PATTERN_PATH_MAX_BYTES = 2048,
};

enum format { FORMAT_CRI, FORMAT_DOCKER, FORMAT_PLAIN };

struct pattern {
    enum format format;
    char *text; /* owns what the slices below point into */
    char *root; /* absolute or relative path without wildcards, "/" or without a trailing slash */
    unsigned depth;
    struct sl_slice components[PATTERN_DEPTH_MAX];
};

/* What was captured so far; names point into a pattern, values into the names that were matched. */
struct captures {
    unsigned count;
    struct {
        struct sl_slice name;
        struct sl_slice value;
    } items[PATTERN_CAPTURES_MAX];
};

/*
 * > 0 (PATTERN_MALFORMED): *ret_why is a static sentence. -ENOMEM. Free with pattern_fini(), also nothing
 * when parsing failed.
 */
enum { PATTERN_MALFORMED = 1 };
int pattern_parse(const char *spec, struct pattern *ret, const char **ret_why);
void pattern_fini(struct pattern *p);
/* Matches `name` with one component, adding to `captures`, which is unspecified when it does not match. */
bool pattern_match(struct sl_slice component, struct sl_slice name, struct captures *captures);
/* A captured value; empty (data NULL) when there is none. */
struct sl_slice captures_get(const struct captures *captures, const char *name);
