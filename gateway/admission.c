// SPDX-License-Identifier: Apache-2.0
#include "admission.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <search.h>
#include <stdlib.h>

enum { STALE_MAX = 1024 }; /* forgotten at once; the others with the next tick */

struct visitor {
    uint64_t key;
    size_t entries;
    size_t followers;
    size_t in_line;
    int64_t full_ns; /* when its allowance of requests is whole again */
    int64_t paid_ns; /* and that of bytes */
};

struct admission {
    struct admission_limits limits;
    size_t followers;
    uint64_t refused;
    void *visitors; /* tsearch tree */
};

static int compare(const void *a, const void *b)
{
    const struct visitor *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

int admission_new(const struct admission_limits *limits, struct admission **ret)
{
    struct admission *a = calloc(1, sizeof *a);
    if (!a)
        return -ENOMEM;
    a->limits = *limits;
    *ret = a;
    return 0;
}

void admission_free(struct admission *a)
{
    if (!a)
        return;
    tdestroy(a->visitors, free);
    free(a);
}

static struct visitor *visitor_of(struct admission *a, uint64_t key)
{
    struct visitor probe = {.key = key};
    void *found = tfind(&probe, &a->visitors, compare);
    if (found)
        return *(struct visitor **)found;
    struct visitor *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->key = key;
    if (!tsearch(v, &a->visitors, compare)) {
        free(v);
        return NULL;
    }
    return v;
}

int admission_enter(struct admission *a, uint64_t key, int64_t now_ns, struct visitor **ret,
                    unsigned *ret_retry_s)
{
    struct visitor *v = visitor_of(a, key);
    if (!v)
        return -ENOMEM;
    if (a->limits.requests_per_s_of_one) {
        int64_t each_ns = SL_NS_PER_S / (int64_t)a->limits.requests_per_s_of_one;
        int64_t full_ns = (v->full_ns > now_ns ? v->full_ns : now_ns) + each_ns;
        if (full_ns - now_ns > SL_NS_PER_S) {
            *ret_retry_s = 1;
            return ADMISSION_TOO_MANY_REQUESTS;
        }
        v->full_ns = full_ns;
    }
    v->entries++;
    *ret = v;
    return 0;
}

/* Spread, so that those who were refused together do not come again together. */
static unsigned spread_s(struct admission *a)
{
    return 1 + (unsigned)(a->refused++ % 10);
}

int admission_follow(struct admission *a, struct visitor *v, unsigned *ret_retry_s)
{
    if ((a->limits.followers && a->followers >= a->limits.followers) ||
        (a->limits.followers_of_one && v->followers >= a->limits.followers_of_one)) {
        *ret_retry_s = spread_s(a);
        return ADMISSION_TOO_MANY_FOLLOWERS;
    }
    a->followers++;
    v->followers++;
    return 0;
}

bool admission_may_send(const struct admission *a, const struct visitor *v, bool in_line, int64_t now_ns)
{
    if (!a->limits.bytes_per_s_of_one)
        return true;
    return (in_line || v->in_line == 0) && v->paid_ns - now_ns < SL_NS_PER_S;
}

void admission_sent(struct admission *a, struct visitor *v, int64_t bytes, int64_t now_ns)
{
    if (!a->limits.bytes_per_s_of_one)
        return;
    if (v->paid_ns < now_ns)
        v->paid_ns = now_ns;
    /* a piece has less than 64 MiB */
    v->paid_ns += bytes * SL_NS_PER_S / (int64_t)a->limits.bytes_per_s_of_one;
}

void admission_line(struct visitor *v, bool enters)
{
    v->in_line += enters ? 1 : (size_t)-1;
}

static bool whole(const struct visitor *v, int64_t now_ns)
{
    return v->entries == 0 && v->full_ns <= now_ns && v->paid_ns <= now_ns;
}

static void forget(struct admission *a, struct visitor *v)
{
    tdelete(v, &a->visitors, compare);
    free(v);
}

void admission_leave(struct admission *a, struct visitor *v, bool followed, int64_t now_ns)
{
    if (!v)
        return;
    if (followed) {
        a->followers--;
        v->followers--;
    }
    v->entries--;
    if (whole(v, now_ns))
        forget(a, v);
}

struct stale {
    int64_t now_ns;
    size_t count;
    struct visitor *some[STALE_MAX];
};

static void collect(const void *node, VISIT which, void *arg)
{
    struct visitor *v = *(struct visitor *const *)node;
    struct stale *s = arg;
    if ((which == postorder || which == leaf) && whole(v, s->now_ns) && s->count < STALE_MAX)
        s->some[s->count++] = v;
}

void admission_tick(struct admission *a, int64_t now_ns)
{
    struct stale stale = {.now_ns = now_ns};
    twalk_r(a->visitors, collect, &stale);
    for (size_t i = 0; i < stale.count; i++)
        forget(a, stale.some[i]);
}
