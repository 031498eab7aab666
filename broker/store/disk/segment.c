// SPDX-License-Identifier: Apache-2.0
#include "segment.h"
#include <errno.h>
#include <stdlib.h>

int segment_new(const struct segment_name *name, struct segment **ret)
{
    struct segment *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->name = *name;
    s->file = -1;
    *ret = s;
    return 0;
}

void segment_free(struct segment *s, struct io *io)
{
    if (!s)
        return;
    io_close(io, s->file);
    free(s->touched);
    free(s);
}

void segment_commit_time(struct segment *s, int64_t commit_ns)
{
    if (s->oldest_commit_ns == 0 || commit_ns < s->oldest_commit_ns)
        s->oldest_commit_ns = commit_ns;
    if (commit_ns > s->newest_commit_ns)
        s->newest_commit_ns = commit_ns;
}
