// SPDX-License-Identifier: Apache-2.0
/*
 * Rendered lines that followers of one style share: a list of chunks that grows at its end. A follower is a
 * place in a chunk; a chunk goes when nobody is in it or before it, or, when there is more than is kept, from
 * the list before the next answer is rendered and from memory when its last follower has left it.
 */
#include "connection.h"
#include "feed_inner.h"
#include "server.h"
#include <assert.h>
#include <stdlib.h>

enum {
    CHUNK_BYTES = 32 << 10,
    CHUNK_MAX_BYTES = 16 << 20,
    /* Who falls behind goes on from storage, with up to 64 KiB of its own: with thousands together, because
       this program was kept from a CPU for a second or two, that was 2 GB and a minute. So more is kept. */
    FOLLOWER_BYTES = 1 << 10,
};

static void chunk_free(struct chunk *c)
{
    buffer_fini(&c->bytes);
    free(c);
}

static void unlist(struct feed_class *class, struct chunk *c)
{
    TAILQ_REMOVE(&class->chunks, c, link);
    class->bytes -= c->bytes.bytes;
    c->listed = false;
    if (!c->users)
        chunk_free(c);
}

static struct chunk *chunk_new(struct feed_class *class)
{
    struct chunk *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    buffer_init(&c->bytes, CONNECTION_FRONT_BYTES, CHUNK_MAX_BYTES);
    c->listed = true;
    c->end = class->at;
    c->before = class->at.seq - 1;
    TAILQ_INSERT_TAIL(&class->chunks, c, link);
    return c;
}

static void trim(struct feed_class *class, size_t kept_bytes)
{
    struct chunk *first;
    while ((first = TAILQ_FIRST(&class->chunks)) && first != TAILQ_LAST(&class->chunks, chunk_list) &&
           (!first->users || class->bytes > kept_bytes))
        unlist(class, first);
}

void class_make_room(struct feed_class *class)
{
    trim(class, FEED_CLASS_BYTES + (size_t) class->followers * FOLLOWER_BYTES);
}

/* The chunk that takes the next line. */
static struct chunk *open_chunk(struct feed_class *class)
{
    struct chunk *last = TAILQ_LAST(&class->chunks, chunk_list);
    if (last && last->bytes.bytes < CHUNK_BYTES)
        return last;
    return chunk_new(class);
}

/* Its end, with room behind for a connection's framing. */
static bool close_line(struct feed_class *class, struct chunk *c, size_t before)
{
    if (buffer_room(&c->bytes, CONNECTION_BACK_BYTES)) {
        class->bytes += c->bytes.bytes - before;
        c->end = class->at;
        return true;
    }
    buffer_cut(&c->bytes, before);
    class->broken = true;
    return false;
}

static void render_block_gap(struct feed_class *class, const struct lines *l)
{
    struct chunk *c = open_chunk(class);
    if (!c) {
        class->broken = true;
        return;
    }
    size_t before = c->bytes.bytes;
    uint64_t first = l->record.first_seq;
    struct render_gap gap = {
        .has_from = class->at.seq > 1,
        .from_seq = class->at.seq - 1,
        .has_to = first <= class->feed->place.last_seq,
        .to_seq = first,
        .lines = first > class->at.seq ? first - class->at.seq : l->header.gap_lines,
        .reason = l->header.gap_reason,
        .mid_line = class->mid_line,
    };
    if (l->header.flags & SL_BLOCK_GAP) {
        render_gap(&class->render, &c->bytes, &gap);
        class->mid_line = class->mid_line && c->bytes.bytes == before;
    }
    class->at = position_behind(class->at, &l->record, &l->header);
    close_line(class, c, before);
}

void class_render(struct feed_class *class, const struct lines *l)
{
    if (class->broken || !position_wants(class->at, &l->record, &l->header))
        return;
    if (l->header.lines == 0) {
        render_block_gap(class, l);
        return;
    }
    struct lines_walk w;
    struct sl_line line;
    uint64_t rendered = 0;
    lines_walk_again(&w, l);
    while (lines_next(&w, &line)) {
        struct sl_slice container = sl_block_container(&l->header, line.container);
        bool continues = partials_step(&class->partials, &line, container);
        if (w.seq < class->at.seq)
            continue;
        struct chunk *c = open_chunk(class);
        if (!c) {
            class->broken = true;
            return;
        }
        size_t before = c->bytes.bytes;
        render_line(&class->render, &c->bytes,
                    &(struct render_line){.seq = w.seq,
                                          .time_ns = line.time_ns,
                                          .text = line.text,
                                          .container = container,
                                          .stream = line.stream,
                                          .partial = line.partial,
                                          .continues = continues});
        class->at = (struct position){.seq = w.seq + 1};
        class->mid_line = line.partial;
        if (!close_line(class, c, before))
            return;
        rendered++;
    }
    sl_count(&class->feed->feeds->server->counts.lines, rendered);
}

static struct feed_class *class_new(struct feed *feed, const struct render_style *style,
                                    const struct partials *partials)
{
    struct feed_class *class = calloc(1, sizeof *class);
    if (!class)
        return NULL;
    class->feed = feed;
    class->at = feed->head;
    class->partials = *partials;
    render_begin(&class->render, style, feed->sandbox, feed->epoch, feed->place.birth);
    TAILQ_INIT(&class->chunks);
    TAILQ_INSERT_TAIL(&feed->classes, class, link);
    return class;
}

static bool same_style(const struct render_style *a, const struct render_style *b)
{
    return a->format == b->format && a->timestamps == b->timestamps && a->data_json == b->data_json &&
           a->with_sandbox == b->with_sandbox && a->gaps == b->gaps && a->framed == b->framed;
}

bool feed_share(struct follower *f, const struct render_style *style, const struct partials *partials)
{
    struct feed *feed = f->feed;
    struct feed_class *class;
    if (f->at.seq != feed->head.seq || f->at.gap_ns != feed->head.gap_ns || feed->end)
        return false;
    TAILQ_FOREACH(class, &feed->classes, link)
    if (!class->broken && same_style(&class->render.style, style))
        break;
    if (!class && !(class = class_new(feed, style, partials)))
        return false;
    struct chunk *last = open_chunk(class);
    class->followers++;
    f->class = class;
    f->chunk = last;
    if (!last) {
        class_leave(f);
        return false;
    }
    last->users++;
    f->chunk_at = last->bytes.bytes;
    return true;
}

void class_leave(struct follower *f)
{
    struct feed_class *class = f->class;
    struct chunk *c = f->chunk;
    f->class = NULL;
    f->chunk = NULL;
    if (c && --c->users == 0 && !c->listed)
        chunk_free(c);
    if (--class->followers > 0) {
        trim(class, SIZE_MAX);
        return;
    }
    while ((c = TAILQ_FIRST(&class->chunks)))
        unlist(class, c);
    TAILQ_REMOVE(&class->feed->classes, class, link);
    free(class);
}

/* On to the next chunk; false: there is none (yet), or it has gone. */
static bool step(struct follower *f)
{
    struct chunk *c = f->chunk, *next = c->listed ? TAILQ_NEXT(c, link) : NULL;
    if (!next)
        return false;
    next->users++;
    f->chunk = next;
    f->chunk_at = 0;
    c->users--;
    trim(f->class, SIZE_MAX);
    return true;
}

int feed_piece(struct follower *f, size_t max_bytes, uint8_t **ret, size_t *ret_bytes)
{
    while (f->chunk_at == f->chunk->bytes.bytes)
        if (!step(f)) {
            if (f->chunk->listed && !f->class->broken)
                return FEED_NOTHING;
            f->at = f->chunk->end;
            f->ring_serial = 0;
            class_leave(f);
            return FEED_PASSED;
        }
    size_t left = f->chunk->bytes.bytes - f->chunk_at;
    *ret = buffer_data(&f->chunk->bytes) + f->chunk_at;
    *ret_bytes = max_bytes && left > max_bytes ? max_bytes : left;
    return 0;
}

void feed_took(struct follower *f, size_t bytes)
{
    f->chunk_at += bytes;
    assert(f->chunk_at <= f->chunk->bytes.bytes);
}

bool feed_at_line(const struct follower *f)
{
    return !f->class || f->chunk_at == f->chunk->bytes.bytes;
}

uint64_t feed_last_given(const struct follower *f)
{
    if (!f->class)
        return f->at.seq - 1;
    return f->chunk_at == f->chunk->bytes.bytes ? f->chunk->end.seq - 1 : f->chunk->before;
}
