// SPDX-License-Identifier: Apache-2.0
#include "gunzip.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

enum { INPUT_BYTES = 8 << 10, SKIP_BYTES = 16 << 10, WINDOW_BITS = 15 + 16 /* gzip header wanted */ };

struct gunzip {
    z_stream stream;
    uint64_t at;   /* next byte of the content */
    off_t file_at; /* next byte of the file */
    bool begun;
    bool between; /* behind the end of a member */
    uint8_t input[INPUT_BYTES];
};

int gunzip_new(struct gunzip **ret)
{
    struct gunzip *g = calloc(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    *ret = g;
    return 0;
}

void gunzip_free(struct gunzip *g)
{
    if (!g)
        return;
    if (g->begun)
        inflateEnd(&g->stream);
    free(g);
}

static int restart(struct gunzip *g)
{
    if (g->begun)
        inflateEnd(&g->stream);
    g->stream = (z_stream){0};
    g->begun = false;
    g->between = true;
    g->at = 0;
    g->file_at = 0;
    if (inflateInit2(&g->stream, WINDOW_BITS) != Z_OK)
        return -ENOMEM;
    g->begun = true;
    return 0;
}

/* Next bytes of the content; 0 at its end. */
static ssize_t inflate_some(struct gunzip *g, int fd, void *out, size_t bytes)
{
    g->stream.next_out = out;
    g->stream.avail_out = (uInt)bytes;
    while (g->stream.avail_out == bytes) {
        if (g->stream.avail_in == 0) {
            ssize_t n = pread(fd, g->input, sizeof g->input, g->file_at);
            if (n < 0)
                return -errno;
            if (n == 0)
                return g->between && g->file_at > 0 ? 0 : -EBADMSG; /* a member may be empty, a file not */
            g->file_at += n;
            g->stream.next_in = g->input;
            g->stream.avail_in = (uInt)n;
        }
        g->between = false;
        int r = inflate(&g->stream, Z_NO_FLUSH);
        if (r == Z_STREAM_END) {
            g->between = true;
            inflateReset(&g->stream);
        } else if (r != Z_OK && r != Z_BUF_ERROR) {
            return -EBADMSG;
        }
    }
    size_t done = bytes - g->stream.avail_out;
    g->at += done;
    return (ssize_t)done;
}

ssize_t gunzip_read(struct gunzip *g, int fd, uint64_t at, void *out, size_t bytes)
{
    uint8_t skipped[SKIP_BYTES];
    if (!g->begun || at < g->at) {
        int r = restart(g);
        if (r < 0)
            return r;
    }
    while (g->at < at) {
        size_t left = at - g->at < sizeof skipped ? (size_t)(at - g->at) : sizeof skipped;
        ssize_t n = inflate_some(g, fd, skipped, left);
        if (n <= 0) {
            if (n < 0)
                g->at = UINT64_MAX; /* the next try starts anew: the file may have become whole */
            return n;
        }
    }
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = inflate_some(g, fd, (uint8_t *)out + done, bytes - done);
        if (n < 0)
            g->at = UINT64_MAX;
        if (n <= 0)
            return done > 0 ? (ssize_t)done : n;
        done += (size_t)n;
    }
    return (ssize_t)done;
}
