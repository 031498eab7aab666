// SPDX-License-Identifier: Apache-2.0
/* The commands of a write: arguments, the state's fields, the entries. Writer's thread. */
#include "writer.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>

enum {
    GRAVE_S = 30 * 86400, /* a deleted sandbox is remembered that long */
};

int writer_copy(struct writer *w, struct call *c, const void *data, size_t bytes)
{
    void *copy = arena_get(&w->arena, bytes ? bytes : 1);
    if (!copy)
        return -ENOMEM;
    if (bytes)
        memcpy(copy, data, bytes);
    return call_add(c, copy, bytes);
}

int writer_number(struct writer *w, struct call *c, uint64_t n)
{
    char text[24];
    return writer_copy(w, c, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)n));
}

int writer_key(struct writer *w, struct call *c, struct sl_slice id, char kind)
{
    char key[KEY_BYTES];
    size_t bytes = key_of(key, id, kind);
    c->slot = link_slot(sl_slice(key, bytes));
    return writer_copy(w, c, key, bytes);
}

static void token_next(struct writer *w, uint8_t out[TOKEN_BYTES])
{
    memcpy(out, w->redis->instance, INSTANCE_BYTES);
    sl_store64(out + INSTANCE_BYTES, ++w->tokens);
}

uint64_t writer_next_birth(struct writer *w, int64_t now_ns)
{
    uint64_t us = (uint64_t)now_ns / 1000;
    w->last_birth_us = us > w->last_birth_us ? us : w->last_birth_us + 1;
    return w->last_birth_us * 1000 + sl_load16(w->redis->instance) % 1000;
}

static int add_fields(struct writer *w, struct call *c, struct life *l)
{
    uint64_t count = 1;
    for (size_t i = 0; i < l->source_count; i++)
        count += l->sources[i].dirty;
    size_t bytes = life_bytes(l);
    uint8_t *state = arena_get(&w->arena, bytes);
    if (!state || writer_number(w, c, count) || call_add_text(c, "s") || call_add(c, state, bytes))
        return -ENOMEM;
    life_encode(l, state);
    for (size_t i = 0; i < l->source_count; i++) {
        uint8_t field[SOURCE_FIELD_BYTES], value[SOURCE_VALUE_BYTES];
        if (!l->sources[i].dirty)
            continue;
        life_source_field(&l->sources[i], field);
        life_source_encode(&l->sources[i], value);
        if (writer_copy(w, c, field, sizeof field) || writer_copy(w, c, value, sizeof value))
            return -ENOMEM;
    }
    return 0;
}

void writing_begin(struct writing *g, const struct life *l)
{
    *g = (struct writing){.had_any = l->known, .fresh = !l->known, .begins = !l->alive};
    memcpy(g->had, l->token, TOKEN_BYTES);
}

/* What both ways of writing say: the token, the message, what becomes of the hash. */
struct saying {
    uint8_t token[TOKEN_BYTES], message[INSTANCE_BYTES + SL_ID_MAX_BYTES];
    size_t message_bytes;
    const char *expiry;
};

static void say(struct writer *w, struct life *l, const struct writing *g, struct saying *ret)
{
    token_next(w, ret->token);
    memcpy(l->token, ret->token, TOKEN_BYTES);
    l->change++;
    memcpy(ret->message, w->redis->instance, INSTANCE_BYTES);
    memcpy(ret->message + INSTANCE_BYTES, l->id, l->id_bytes);
    ret->message_bytes = INSTANCE_BYTES + (size_t)l->id_bytes;
    static_assert(GRAVE_S == 2592000, "as text below");
    ret->expiry = !l->alive ? "2592000" : g->begins ? "0" : "";
}

static int add_had(struct writer *w, struct call *c, const struct writing *g)
{
    return writer_copy(w, c, g->had, g->had_any ? TOKEN_BYTES : 0);
}

/* One script. */
static int script_call(struct writer *w, struct box *b, const struct writing *g, const struct saying *s)
{
    struct life *l = &b->life;
    struct call *c = &b->call;
    c->script = &append_script;
    if (call_add_text(c, "EVALSHA") || call_add_text(c, append_script.sha) || call_add_text(c, "2") ||
        writer_key(w, c, life_id(l), 'h') || writer_key(w, c, life_id(l), 's') || add_had(w, c, g) ||
        writer_copy(w, c, s->token, TOKEN_BYTES) || writer_copy(w, c, s->message, s->message_bytes) ||
        call_add_text(c, g->fresh ? "1" : "0") || call_add_text(c, s->expiry) ||
        writer_copy(w, c, g->keep, strlen(g->keep)) || add_fields(w, c, l))
        return -ENOMEM;
    for (int i = 0; i < g->entries.argc; i++)
        if (call_add(c, g->entries.argv[i], g->entries.bytes[i]))
            return -ENOMEM;
    return 0;
}

static int add_script(struct writer *w, struct call *c, const struct life *l, const struct script *script)
{
    return call_add_text(c, "EVAL") || call_add_text(c, script->text) || call_add_text(c, "3") ||
                   writer_key(w, c, life_id(l), 'h') || writer_key(w, c, life_id(l), 's') ||
                   writer_key(w, c, life_id(l), 'a')
               ? -ENOMEM
               : 0;
}

/* MULTI, the guard, an XADD of each entry, the state, EXEC. */
static int transaction_call(struct writer *w, struct box *b, const struct writing *g, const struct saying *s)
{
    struct life *l = &b->life;
    struct call *c = &b->call;
    const struct call *e = &g->entries;
    if (call_add_text(c, "MULTI") || call_cut(c) || add_script(w, c, l, &guard_script) || add_had(w, c, g) ||
        call_add_text(c, g->fresh ? "1" : "0") || call_add(c, e->argv[0], e->bytes[0]) || call_cut(c))
        return -ENOMEM;
    for (int i = 0; i < e->argc; i += 3)
        if (call_add_text(c, "XADD") || writer_key(w, c, life_id(l), 's') ||
            call_add(c, e->argv[i], e->bytes[i]) || call_add_text(c, "p") ||
            call_add(c, e->argv[i + 1], e->bytes[i + 1]) || call_add_text(c, "b") ||
            call_add(c, e->argv[i + 2], e->bytes[i + 2]) || call_cut(c))
            return -ENOMEM;
    return add_script(w, c, l, &finish_script) || add_had(w, c, g) ||
                   writer_copy(w, c, s->token, TOKEN_BYTES) ||
                   writer_copy(w, c, s->message, s->message_bytes) || call_add_text(c, s->expiry) ||
                   writer_copy(w, c, g->keep, strlen(g->keep)) || add_fields(w, c, l) || call_cut(c) ||
                   call_add_text(c, "EXEC") || call_cut(c)
               ? -ENOMEM
               : 0;
}

int writing_call(struct writer *w, struct box *b, const struct writing *g)
{
    struct saying saying;
    size_t bytes = 0;
    call_end(&b->call);
    b->call.waits = true;
    say(w, &b->life, g, &saying);
    for (int i = 2; i < g->entries.argc; i += 3)
        bytes += g->entries.bytes[i];
    return bytes >= (size_t)w->redis->location.transaction_bytes && !b->plain
               ? transaction_call(w, b, g, &saying)
               : script_call(w, b, g, &saying);
}

int writing_add(struct writer *w, struct writing *g, const struct store_item *item,
                const struct sl_record *record, uint32_t sub)
{
    uint8_t prefix[ENTRY_PREFIX_BYTES];
    char id[ENTRY_ID_BYTES];
    const struct sl_block_header *h = &item->header;
    struct head head = {
        .lines = h->lines,
        .text_bytes = h->text_bytes,
        .ceiling_ns = h->lines > 0 ? sl_query_ceiling(record, h) : record->floor_ns,
        .commit_ns = record->commit_ns,
        .bytes = (uint32_t)(SL_RECORD_PREFIX_BYTES + item->payload.bytes),
    };
    head_encode(&head, prefix);
    sl_record_encode_prefix(record, prefix + HEAD_BYTES);
    size_t id_bytes = entry_id(id, "", record->first_seq, sub);
    if (writer_copy(w, &g->entries, id, id_bytes) || writer_copy(w, &g->entries, prefix, sizeof prefix) ||
        call_add(&g->entries, item->payload.data, item->payload.bytes))
        return -ENOMEM;
    return 0;
}
