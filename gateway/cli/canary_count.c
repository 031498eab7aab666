// SPDX-License-Identifier: Apache-2.0
#include "canary_count.h"

#include <stdio.h>
#include <stdlib.h>

static const char head[] = "canary ";

static int grow(struct canary_count *count)
{
    size_t capacity = count->capacity ? 2 * count->capacity : 1024;
    int64_t *sent = realloc(count->sent_ns, capacity * sizeof *sent);
    if (!sent)
        return 1;
    count->sent_ns = sent;
    int64_t *took = realloc(count->took_ns, capacity * sizeof *took);
    if (!took)
        return 1;
    count->took_ns = took;
    count->capacity = capacity;
    return 0;
}

size_t canary_count_write(struct canary_count *count, int64_t now_ns, char text[CANARY_LINE_BYTES])
{
    if (count->written == count->capacity && grow(count) != 0)
        return 0;
    count->sent_ns[count->written] = now_ns;
    count->took_ns[count->written] = -1;
    return (size_t)snprintf(text, CANARY_LINE_BYTES, "%s%zu\n", head, count->written++);
}

/* > 0: not a line of ours. */
static int parse(const struct canary_count *count, struct sl_slice text, size_t *ret)
{
    size_t prefix = sizeof head - 1, value = 0;
    if (text.bytes <= prefix || text.bytes > prefix + 18 || memcmp(text.data, head, prefix) != 0)
        return 1;
    for (size_t i = prefix; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return 1;
        value = value * 10 + (size_t)(text.data[i] - '0');
    }
    if (value >= count->written)
        return 1;
    *ret = value;
    return 0;
}

void canary_count_read(struct canary_count *count, struct sl_slice text, int64_t now_ns)
{
    size_t n;
    if (parse(count, text, &n) != 0) {
        count->foreign++;
        return;
    }
    count->read++;
    if (count->took_ns[n] >= 0) {
        count->doubled++;
        return;
    }
    int64_t took_ns = now_ns - count->sent_ns[n];
    count->took_ns[n] = took_ns > 0 ? took_ns : 0;
    if (n < count->next)
        count->out_of_order++;
    else
        count->next = n + 1;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

void canary_count_result(struct canary_count *count, int64_t late_ns, struct canary_result *ret)
{
    *ret = (struct canary_result){0};
    if (count->written == 0)
        return;
    qsort(count->took_ns, count->written, sizeof *count->took_ns, compare);
    while (ret->missing < count->written && count->took_ns[ret->missing] < 0)
        ret->missing++;
    const int64_t *took = count->took_ns + ret->missing;
    size_t came = count->written - ret->missing;
    if (came == 0)
        return;
    for (size_t i = came; i > 0 && took[i - 1] > late_ns; i--)
        ret->late++;
    ret->p50_ns = took[(came - 1) / 2];
    ret->p99_ns = took[(came - 1) * 99 / 100];
    ret->max_ns = took[came - 1];
}

bool canary_count_well(const struct canary_count *count, const struct canary_result *result)
{
    return result->missing == 0 && result->late == 0 && count->doubled == 0 && count->out_of_order == 0 &&
           count->foreign == 0;
}

void canary_count_fini(struct canary_count *count)
{
    free(count->sent_ns);
    free(count->took_ns);
    *count = (struct canary_count){0};
}
