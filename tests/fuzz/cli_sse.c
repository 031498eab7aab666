// SPDX-License-Identifier: Apache-2.0
/* An event stream gives the same events wherever it is cut; what is in them is decoded or refused. */
#include "line.h"
#include "sse.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct tally {
    uint64_t hash;
    size_t events;
};

static void mix(struct tally *tally, struct sl_slice text)
{
    for (size_t i = 0; i < text.bytes; i++)
        tally->hash = (tally->hash ^ text.data[i]) * UINT64_C(1099511628211);
    tally->hash = (tally->hash ^ text.bytes) * UINT64_C(1099511628211);
}

static int on_event(void *arg, const struct sse_event *event)
{
    struct tally *tally = arg;
    mix(tally, event->kind);
    mix(tally, event->id);
    mix(tally, event->data);
    tally->events++;
    struct line line;
    if (line_decode(event->data, &line) == 0) {
        mix(tally, line.text);
        line_fini(&line);
    }
    struct gap gap;
    struct end end;
    struct problem problem;
    (void)gap_decode(event->data, &gap);
    (void)end_decode(event->data, &end);
    (void)problem_decode(event->data, &problem);
    return 0;
}

static struct tally read_in_steps(const uint8_t *data, size_t bytes, size_t step)
{
    struct tally tally = {0};
    struct sse sse;
    sse_init(&sse, on_event, &tally);
    for (size_t at = 0; at < bytes; at += step)
        assert(sse_push(&sse, sl_slice(data + at, step < bytes - at ? step : bytes - at)) == 0);
    sse_fini(&sse);
    return tally;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    struct tally whole = read_in_steps(data, bytes, bytes);
    for (size_t step = 1; step <= 3; step++) {
        struct tally cut = read_in_steps(data, bytes, step);
        assert(cut.events == whole.events && cut.hash == whole.hash);
    }
    return 0;
}
