// SPDX-License-Identifier: Apache-2.0
/* What stands in Redis, as bytes, and the two scripts that run there. README.md has the layout. */
#include "redis.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

const char channel[] = "sandlog:grown";
const char notes_channel[] = "sandlog:notes";
const char epoch_key[] = "sandlog:epoch";
const char list_key[] = "sandlog:list";

/*
 * KEYS: hash, stream. ARGV: 1 token that has to stand there, 2 the new one, 3 message, 4 "1": the stream
 * begins anew, 5 seconds after which the hash goes, "0": never, "": as it was, 6 first entry kept, 7 number
 * of fields; then the fields (name, value), then the entries (id, prefix, block).
 */
struct script append_script = {
    .text = "local v = redis.call('HGET', KEYS[1], 'v')\n"
            "if (v or '') ~= ARGV[1] then return redis.call('HGETALL', KEYS[1]) end\n"
            "if ARGV[4] == '1' then redis.call('UNLINK', KEYS[2]) end\n"
            "local at = 8 + 2 * tonumber(ARGV[7])\n"
            "for i = at, #ARGV, 3 do\n"
            "  redis.call('XADD', KEYS[2], ARGV[i], 'p', ARGV[i + 1], 'b', ARGV[i + 2])\n"
            "end\n"
            "if ARGV[6] ~= '' then redis.call('XTRIM', KEYS[2], 'MINID', ARGV[6]) end\n"
            "redis.call('HSET', KEYS[1], 'v', ARGV[2])\n"
            "for i = 8, at - 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end\n"
            "if ARGV[5] == '0' then redis.call('PERSIST', KEYS[1])\n"
            "elseif ARGV[5] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[5]) end\n"
            "redis.call('PUBLISH', 'sandlog:grown', ARGV[3])\n"
            "return 1\n",
};

/*
 * The same as a transaction around bare XADDs, for blocks that are dear to bring into Lua (it hashes each
 * byte). The first script looks whether the token stands there; when not, it puts a string in the stream's
 * place, on which the XADDs fail, and the last script, which changes the state, puts the stream back. EVAL,
 * not EVALSHA: a script that is missing would be met too late.
 *
 * KEYS: hash, stream, aside. ARGV: 1 token, 2 "1": the stream begins anew, 3 first id to be added. 0, or the
 * hash.
 */
struct script guard_script = {
    .text = "if (redis.call('HGET', KEYS[1], 'v') or '') == ARGV[1] then\n"
            "if ARGV[2] == '1' then redis.call('UNLINK', KEYS[2]) end\n"
            "if #redis.call('XRANGE', KEYS[2], ARGV[3], '+', 'COUNT', 1) == 0 then return 0 end\n"
            "end\n"
            "if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[3]) end\n"
            "redis.call('SET', KEYS[2], '')\n"
            "return redis.call('HGETALL', KEYS[1])\n",
};

/* KEYS: as above. ARGV: 1 token, 2 the new one, 3 message, 4 seconds as above, 5 first entry kept, 6 number
 * of fields, then the fields. 1: done, 0: the first script saw another token. */
struct script finish_script = {
    .text =
        "if redis.call('TYPE', KEYS[2]).ok == 'string' then\n"
        "redis.call('DEL', KEYS[2])\n"
        "if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('RENAME', KEYS[3], KEYS[2]) end\n"
        "return 0\n"
        "end\n"
        "if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[1] then return 0 end\n"
        "if ARGV[5] ~= '' then redis.call('XTRIM', KEYS[2], 'MINID', ARGV[5]) end\n"
        "redis.call('HSET', KEYS[1], 'v', ARGV[2])\n"
        "for i = 7, 6 + 2 * tonumber(ARGV[6]), 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end\n"
        "if ARGV[4] == '0' then redis.call('PERSIST', KEYS[1])\n"
        "elseif ARGV[4] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[4]) end\n"
        "redis.call('PUBLISH', 'sandlog:grown', ARGV[3])\n"
        "return 1\n",
};

/* KEYS: stream. ARGV: XRANGE or XREVRANGE, two ids, count. Gives id and prefix of each entry, no block. */
struct script heads_script = {
    .text = "local out = {}\n"
            "for i, e in ipairs(redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])) do\n"
            "  out[2 * i - 1] = e[1]\n"
            "  out[2 * i] = e[2][2]\n"
            "end\n"
            "return out\n",
};

size_t key_of(char out[KEY_BYTES], struct sl_slice id, char kind)
{
    struct sl_writer w = sl_writer(out, KEY_BYTES);
    sl_write_slice(&w, sl_slice_of("sandlog:{"));
    sl_write_slice(&w, id);
    sl_write_slice(&w, sl_slice_of("}:"));
    sl_write_u8(&w, (uint8_t)kind);
    assert(!w.failed);
    return w.bytes;
}

int ids_push(struct ids **list, struct sl_slice id)
{
    struct ids *i = malloc(sizeof *i + id.bytes);
    if (!i)
        return -ENOMEM;
    i->bytes = (uint8_t)id.bytes;
    memcpy(i->id, id.data, id.bytes);
    i->next = *list;
    *list = i;
    return 0;
}

void ids_free(struct ids *list)
{
    while (list) {
        struct ids *next = list->next;
        free(list);
        list = next;
    }
}

/* ---- entries ---- */

void head_encode(const struct head *h, uint8_t out[HEAD_BYTES])
{
    struct sl_writer w = sl_writer(out, HEAD_BYTES);
    sl_write_u32(&w, h->lines);
    sl_write_u32(&w, h->text_bytes);
    sl_write_i64(&w, h->ceiling_ns);
    sl_write_i64(&w, h->commit_ns);
    sl_write_u32(&w, h->bytes);
    assert(!w.failed && w.bytes == HEAD_BYTES);
}

bool head_decode(const redisReply *prefix, struct head *ret)
{
    if (prefix->type != REDIS_REPLY_STRING || prefix->len != ENTRY_PREFIX_BYTES)
        return false;
    struct sl_reader r = sl_reader(sl_slice(prefix->str, HEAD_BYTES));
    ret->lines = sl_read_u32(&r);
    ret->text_bytes = sl_read_u32(&r);
    ret->ceiling_ns = sl_read_i64(&r);
    ret->commit_ns = sl_read_i64(&r);
    ret->bytes = sl_read_u32(&r);
    return ret->bytes <= SL_RECORD_MAX_BYTES && ret->lines <= SL_BLOCK_LINES_MAX;
}

bool entry_id_parse(const redisReply *id, uint64_t *ret_seq)
{
    if (id->type != REDIS_REPLY_STRING)
        return false;
    char *end;
    errno = 0;
    *ret_seq = strtoull(id->str, &end, 10);
    return errno == 0 && *end == '-' && *ret_seq > 0;
}

size_t entry_id(char out[ENTRY_ID_BYTES], const char *before, uint64_t seq, uint32_t sub)
{
    int bytes = snprintf(out, ENTRY_ID_BYTES, "%s%" PRIu64 "-%" PRIu32, before, seq, sub);
    assert(bytes > 0 && bytes < ENTRY_ID_BYTES);
    return (size_t)bytes;
}

/* ---- states ---- */

static struct sl_slice reply_slice(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? sl_slice(reply->str, reply->len) : sl_slice(NULL, 0);
}

int life_from_pair(struct life *l, const redisReply *pair)
{
    if (pair->type != REDIS_REPLY_ARRAY || pair->elements != 2)
        return LIFE_MALFORMED;
    if (pair->element[0]->type == REDIS_REPLY_NIL)
        return 0;
    return life_decode(l, reply_slice(pair->element[1]), reply_slice(pair->element[0]));
}

int life_from_fields(struct life *l, const redisReply *fields)
{
    struct sl_slice token = {0}, state = {0};
    if (fields->type != REDIS_REPLY_ARRAY || fields->elements % 2)
        return LIFE_MALFORMED;
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        struct sl_slice name = reply_slice(fields->element[i]), value = reply_slice(fields->element[i + 1]);
        int fault = 0;
        if (name.bytes == 1 && *name.data == 'v')
            token = value;
        else if (name.bytes == 1 && *name.data == 's')
            state = value;
        else if (name.bytes && *name.data == 'k')
            fault = life_decode_source(l, name, value);
        if (fault)
            return fault;
    }
    return fields->elements ? life_decode(l, state, token) : 0;
}

/* ---- what was seen ---- */

void seen_set(struct seen *seen, const struct life *l)
{
    /* A state of version 1 does not say what its last line is known by. */
    *seen = (struct seen){.any = l->line_commit_ns != 0,
                          .birth = l->birth,
                          .last_seq = l->last_seq,
                          .line_commit_ns = l->line_commit_ns};
    memcpy(seen->token, l->token, TOKEN_BYTES);
}

enum seen_verdict seen_judge(const struct seen *seen, const struct life *l)
{
    if (!seen->any || !l->known || !l->alive || seen->birth != l->birth || seen->last_seq == 0)
        return SEEN_THERE;
    if (l->last_seq < seen->last_seq)
        return SEEN_LOST;
    if (l->last_seq == seen->last_seq)
        return l->line_commit_ns == seen->line_commit_ns ? SEEN_THERE : SEEN_LOST;
    return l->kept_from > seen->last_seq ? SEEN_THERE : SEEN_OPEN;
}

int seen_ask(const struct seen *seen, struct sl_slice id, struct call *ret, char key[KEY_BYTES],
             char from[ENTRY_ID_BYTES])
{
    size_t key_bytes = key_of(key, id, 's');
    entry_id(from, "(", seen->last_seq + 1, 0);
    *ret = (struct call){.script = &heads_script, .slot = link_slot(sl_slice(key, key_bytes))};
    return call_add_text(ret, "EVALSHA") || call_add_text(ret, heads_script.sha) || call_add_text(ret, "1") ||
                   call_add(ret, key, key_bytes) || call_add_text(ret, "XREVRANGE") ||
                   call_add_text(ret, from) || call_add_text(ret, "-") || call_add_text(ret, "1")
               ? -ENOMEM
               : 0;
}

enum seen_verdict seen_hear(const struct seen *seen, const redisReply *heads)
{
    struct head h;
    uint64_t seq;
    if (heads->elements != 2 || !entry_id_parse(heads->element[0], &seq) ||
        !head_decode(heads->element[1], &h))
        return SEEN_LOST;
    return seq + h.lines == seen->last_seq + 1 && h.commit_ns == seen->line_commit_ns ? SEEN_THERE
                                                                                      : SEEN_LOST;
}

/* ---- the epoch ---- */

static redisReply *ask(struct link *link, const char *const *words, int count, int *ret_fault)
{
    struct call c = {.slot = link_slot(sl_slice_of(epoch_key))};
    for (int i = 0; i < count; i++)
        if (call_add_text(&c, words[i]))
            c.fault = -ENOMEM;
    if (c.fault == 0)
        link_round(link, &c, 1);
    redisReply *reply = c.reply;
    *ret_fault = c.fault;
    if (c.fault == 0 && reply_error(reply))
        link_explain(link, &c, reply->str);
    c.reply = NULL;
    call_end(&c);
    return reply;
}

int epoch_get(struct link *link, uint64_t *ret, char why[TROUBLE_BYTES])
{
    for (int try = 0; try < 3; try++) {
        int fault;
        redisReply *reply = ask(link, (const char *[]){"GET", epoch_key}, 2, &fault);
        if (fault) {
            snprintf(why, TROUBLE_BYTES, "%s", *link_why(link) ? link_why(link) : "Redis can't be reached");
            return fault;
        }
        unsigned long long epoch = 0;
        bool good = reply->type == REDIS_REPLY_STRING && sscanf(reply->str, "%16llx", &epoch) == 1;
        bool none = reply->type == REDIS_REPLY_NIL;
        snprintf(why, TROUBLE_BYTES, "%s", reply_error(reply) ? link_why(link) : "Redis says nothing of use");
        freeReplyObject(reply);
        *ret = epoch;
        if (good)
            return 0;
        if (!none)
            return -EPROTO;
        uint64_t fresh;
        char text[20];
        if (getrandom(&fresh, sizeof fresh, 0) != sizeof fresh)
            return -EIO;
        snprintf(text, sizeof text, "%016llx", (unsigned long long)fresh);
        reply = ask(link, (const char *[]){"SET", epoch_key, text, "NX"}, 4, &fault);
        if (reply_error(reply)) {
            snprintf(why, TROUBLE_BYTES, "%s", link_why(link));
            fault = -EPROTO;
        }
        freeReplyObject(reply);
        if (fault)
            return fault;
    }
    return -EPROTO;
}
