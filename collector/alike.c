// SPDX-License-Identifier: Apache-2.0
/*
 * Which file is a copy of which, by their first bytes.
 *
 * A log may have a thousand rotated files, and each new one is held against all of them: so of a rotated file
 * hashes of its beginning are remembered, of 16, 32, ... 1024 bytes, and it is read again only when the
 * longest part that both have is the same. They are forgotten when it is written to; that it has grown does
 * not matter. The file that has the log's own name is always read: it is the one that is truncated.
 */
#include "collector.h"
#include "tail.h"
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

enum { SHORTEST_BYTES = 16, PARTS = 7 };
_Static_assert(SHORTEST_BYTES << (PARTS - 1) == SL_FINGERPRINT_MAX_BYTES, "the longest part is all of it");

struct head {
    uint32_t hashes[PARTS];
    uint16_t bytes;
};

static void summarize(const struct first *first, struct head *ret)
{
    ret->bytes = (uint16_t)first->bytes;
    for (unsigned i = 0; i < PARTS && (size_t)SHORTEST_BYTES << i <= first->bytes; i++)
        ret->hashes[i] = (uint32_t)XXH3_64bits(first->data, (size_t)SHORTEST_BYTES << i);
}

/* For sure; false: look. */
static bool differ(const struct head *head, const struct first *first)
{
    size_t least = head->bytes < first->bytes ? head->bytes : first->bytes, part = SHORTEST_BYTES;
    unsigned i = 0;
    if (least < part)
        return false;
    for (; part * 2 <= least; part *= 2)
        i++;
    return (uint32_t)XXH3_64bits(first->data, part) != head->hashes[i];
}

int alike_read(struct collector *c, struct file *f, struct first *ret)
{
    ssize_t n = tail_read(&c->fleet, f, 0, ret->data, sizeof ret->data);
    ret->unready = n == -EBADMSG;
    ret->bytes = n < 0 ? 0 : (size_t)n;
    return n < 0 && !ret->unready ? (int)n : 0;
}

uint64_t alike_fingerprint(const struct first *first, size_t bytes)
{
    return XXH3_64bits(first->data, bytes);
}

void alike_forget(struct file *f)
{
    free(f->head);
    f->head = NULL;
}

static const struct head *head_of(struct collector *c, struct file *f)
{
    struct first first;
    if (!f->name || strcmp(f->name, f->log->base) == 0)
        return NULL;
    if (!f->head && tail_open(&c->fleet, f) == 0 && alike_read(c, f, &first) == 0 && !first.unready &&
        (f->head = malloc(sizeof *f->head)))
        summarize(&first, f->head);
    return f->head;
}

bool alike_itself(struct collector *c, struct file *f)
{
    uint64_t fingerprint, size;
    bool linked;
    return !f->truncated && tail_open(&c->fleet, f) == 0 &&
           (f->gz || (tail_stat(f, &size, &linked) == 0 && size >= f->at)) &&
           (f->fingerprint_bytes == 0 ||
            (tail_fingerprint(&c->fleet, f, f->fingerprint_bytes, &fingerprint) == 0 &&
             fingerprint == f->fingerprint));
}

bool alike_born_before(const struct file *f, const struct file *other)
{
    return f->identity.birth_ns != 0 && other->identity.birth_ns != 0 &&
           f->identity.birth_ns < other->identity.birth_ns;
}

/* A copy of what is still there is not longer than it: else only their beginnings are the same. */
static bool outgrows(struct collector *c, struct file *f, struct file *other)
{
    uint64_t size;
    bool linked;
    uint8_t one;
    return tail_read(&c->fleet, f, other->size, &one, 1) == 1 &&
           (other->gz || tail_stat(other, &size, &linked) != 0 || size == other->size) &&
           alike_itself(c, other);
}

/*
 * What a .gz was packed from is older than it. If events have not told so, it has no name any more, and is
 * all that was read of the .gz: the beginning was compared, so it is the length and the end.
 */
static bool was_packed_into(struct collector *c, struct file *f, struct file *other)
{
    uint8_t end[SL_FINGERPRINT_MAX_BYTES], its[SL_FINGERPRINT_MAX_BYTES];
    uint64_t size;
    bool linked;
    if (f->order > 0 && f->order == other->order && !f->gz && other->gz)
        return true; /* events have told so */
    if (f->name || f->gz || !other->gz || other->dirty ||
        (other->state != FILE_DONE && other->state != FILE_READING) || tail_stat(f, &size, &linked) != 0 ||
        size != other->size || tail_open(&c->fleet, other) != 0)
        return false;
    size_t bytes = size < sizeof end ? (size_t)size : sizeof end;
    return tail_read(&c->fleet, f, size - bytes, end, bytes) == (ssize_t)bytes &&
           tail_read(&c->fleet, other, size - bytes, its, bytes) == (ssize_t)bytes &&
           memcmp(end, its, bytes) == 0;
}

int alike(struct collector *c, struct file *f, const struct first *first, struct file *other)
{
    size_t n = first->bytes;
    struct first its;
    bool read = other->fingerprint_bytes > 0 && n >= other->fingerprint_bytes;
    if (alike_born_before(f, other))
        return read && alike_fingerprint(first, other->fingerprint_bytes) == other->fingerprint &&
                       was_packed_into(c, f, other)
                   ? 0
                   : 1;
    if (first->unready)
        return 2;
    if (read && alike_fingerprint(first, other->fingerprint_bytes) != other->fingerprint)
        return 1;
    if (n == 0)
        return f->gz ? 1 : 2; /* whole, and nothing in it; or nothing in it yet */
    const struct head *head = read ? NULL : head_of(c, other);
    if (head && differ(head, first))
        return 1;
    if (!alike_itself(c, other)) {
        other->changed = read && other->name;
        return read ? 0 : other->name && other->fingerprint_bytes > 0 ? 2 : 1;
    }
    int r = alike_read(c, other, &its);
    if (r < 0 || its.unready)
        return r < 0 ? r : 2;
    size_t least = n < its.bytes ? n : its.bytes;
    if (memcmp(first->data, its.data, least) != 0 || outgrows(c, f, other))
        return 1;
    if (least > 0 && other->fingerprint_bytes == 0) {
        /* so that it is noticed when the original is truncated before anything of it was read */
        other->fingerprint = alike_fingerprint(&its, least);
        other->fingerprint_bytes = (uint16_t)least;
        return 0;
    }
    return read ? 0 : other->fingerprint_bytes > 0 ? 2 : 1;
}
