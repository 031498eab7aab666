// SPDX-License-Identifier: Apache-2.0
#include "gzip.h"
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

enum { LEVEL = 2, WINDOW_BITS = 13, GZIP_FORMAT = 16, MEMORY_LEVEL = 6, ROOM_BYTES = 4096 };

struct gzip {
    z_stream z;
};

int gzip_new(struct gzip **ret)
{
    struct gzip *g = calloc(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    if (deflateInit2(&g->z, LEVEL, Z_DEFLATED, WINDOW_BITS + GZIP_FORMAT, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        free(g);
        return -ENOMEM;
    }
    *ret = g;
    return 0;
}

void gzip_free(struct gzip *g)
{
    if (!g)
        return;
    deflateEnd(&g->z);
    free(g);
}

void gzip_append(struct gzip *g, struct sl_slice bytes, bool last, struct buffer *out)
{
    g->z.next_in = (Bytef *)(uintptr_t)bytes.data; /* zlib only reads it */
    g->z.avail_in = (uInt)bytes.bytes;
    do {
        uint8_t *at = buffer_room(out, ROOM_BYTES);
        if (!at)
            return;
        g->z.next_out = at;
        g->z.avail_out = ROOM_BYTES;
        deflate(&g->z, last ? Z_FINISH : Z_SYNC_FLUSH);
        buffer_took(out, ROOM_BYTES - g->z.avail_out);
    } while (g->z.avail_out == 0);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool gzip_accepted(struct sl_slice header)
{
    const uint8_t *at = header.data, *end = header.data + header.bytes;
    while (at < end) {
        const uint8_t *comma = memchr(at, ',', (size_t)(end - at));
        const uint8_t *stop = comma ? comma : end;
        while (at < stop && is_space(*at))
            at++;
        if (stop - at >= 4 && strncasecmp((const char *)at, "gzip", 4) == 0 &&
            (stop - at == 4 || at[4] == ';' || is_space(at[4]))) {
            /* refused only by a weight of nothing but zeros */
            const uint8_t *q = memchr(at, '=', (size_t)(stop - at));
            if (!q)
                return true;
            for (q++; q < stop; q++)
                if (*q >= '1' && *q <= '9')
                    return true;
            return false;
        }
        at = stop + 1;
    }
    return false;
}
