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
    free(s);
}
