// SPDX-License-Identifier: Apache-2.0
/* Finding a number by time or size, and the list of sandboxes. Home thread. */
#include "read.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEADS_PAGE = 128, LIST_PAGE = 128 };

/* ---- seeking ---- */

/* Ids and prefixes, no blocks. Freed by the caller with call_end(). */
static int heads_get(struct redis *r, struct sl_slice id, const char *command, const char *from,
                     const char *to, size_t count, struct call *ret)
{
    char key[KEY_BYTES], number[24];
    size_t key_bytes = key_of(key, id, 's');
    snprintf(number, sizeof number, "%zu", count);
    *ret = (struct call){.script = &heads_script, .slot = link_slot(sl_slice(key, key_bytes))};
    int fault = call_add_text(ret, "EVALSHA") || call_add_text(ret, heads_script.sha) ||
                        call_add_text(ret, "1") || call_add(ret, key, key_bytes) ||
                        call_add_text(ret, command) || call_add_text(ret, from) || call_add_text(ret, to) ||
                        call_add_text(ret, number)
                    ? -ENOMEM
                    : 0;
    if (fault == 0) {
        home_ask(r, ret, 1);
        fault = home_answered(ret, REDIS_REPLY_ARRAY);
    }
    if (fault)
        call_end(ret);
    return fault;
}

/* The first entry with lines at or behind `seq`. > 0: there is none. */
static int first_lines(struct redis *r, struct sl_slice id, uint64_t seq, uint64_t *ret_seq, struct head *ret)
{
    char low[ENTRY_ID_BYTES];
    entry_id(low, "", seq, 0);
    for (size_t count = 1;; count = 16) {
        struct call c;
        int fault = heads_get(r, id, "XRANGE", low, "+", count, &c);
        if (fault)
            return fault;
        size_t got = c.reply->elements / 2;
        bool found = false;
        for (size_t i = 0; i < got && !found; i++)
            found = entry_id_parse(c.reply->element[2 * i], ret_seq) &&
                    head_decode(c.reply->element[2 * i + 1], ret) && ret->lines > 0;
        if (!found && got == count)
            snprintf(low, sizeof low, "(%.40s", c.reply->element[2 * got - 2]->str);
        call_end(&c);
        if (found)
            return 0;
        if (got < count)
            return 1;
    }
}

int redis_seek_time(struct store *s, struct sl_slice sandbox, int64_t time_ns, uint64_t *ret_seq)
{
    struct redis *r = (struct redis *)s;
    int fault = home_show(r, sandbox);
    if (fault)
        return fault;
    uint64_t low = r->shown.kept_from, high = r->shown.last_seq + 1, found = high;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, seq;
        struct head h;
        fault = first_lines(r, sandbox, middle, &seq, &h);
        if (fault < 0)
            return fault;
        if (fault > 0 || seq >= high) {
            high = middle;
        } else if (h.ceiling_ns >= time_ns) {
            found = seq;
            high = middle;
        } else {
            low = seq + h.lines;
        }
    }
    /* The probes met beginnings only: the record that `low` lies in may begin before it. */
    *ret_seq = found;
    return 0;
}

int redis_seek_back(struct store *s, struct sl_slice sandbox, uint64_t before_seq, size_t max_bytes,
                    uint64_t *ret_seq)
{
    struct redis *r = (struct redis *)s;
    int fault = home_show(r, sandbox);
    if (fault)
        return fault;
    if (before_seq == 0)
        before_seq = 1;
    if (before_seq > r->shown.last_seq + 1)
        before_seq = r->shown.last_seq + 1;
    uint64_t oldest = r->shown.kept_from, found = before_seq;
    size_t bytes = 0;
    bool any = false, end = false;
    char from[ENTRY_ID_BYTES];
    entry_id(from, "(", before_seq, 0);
    while (!end) {
        struct call c;
        if ((fault = heads_get(r, sandbox, "XREVRANGE", from, "-", HEADS_PAGE, &c)))
            return fault;
        size_t got = c.reply->elements / 2;
        for (size_t i = 0; i < got && !end; i++) {
            uint64_t seq;
            struct head h;
            if (!entry_id_parse(c.reply->element[2 * i], &seq) ||
                !head_decode(c.reply->element[2 * i + 1], &h))
                continue;
            end = (seq + h.lines <= oldest && seq < oldest) || (any && bytes + h.bytes > max_bytes);
            if (end)
                break;
            bytes += h.bytes;
            any = true;
            found = seq;
        }
        end = end || got < HEADS_PAGE;
        if (!end)
            snprintf(from, sizeof from, "(%.40s", c.reply->element[2 * got - 2]->str);
        call_end(&c);
    }
    *ret_seq = found;
    return 0;
}

/* ---- the list ---- */

static bool has_labels(const struct sl_info *info, struct sl_slice wanted)
{
    struct sl_reader w = sl_reader(wanted);
    struct sl_slice key, value, k, v;
    while (sl_label_next(&w, &key, &value)) {
        struct sl_reader reader = sl_reader(info->label_pairs);
        bool found = false;
        while (!found && sl_label_next(&reader, &k, &v))
            found = sl_slice_equal(k, key) && sl_slice_equal(v, value);
        if (!found)
            return false;
    }
    return true;
}

struct listing {
    struct redis *redis;
    const struct sl_list *list;
    bool (*each)(void *arg, const struct sl_info *info);
    void *arg;
    unsigned given;
    bool ended;
    uint64_t next; /* page */
};

/* `score`: micro-seconds of the birth; a page is named by the score below which it begins. */
static void list_one(struct listing *l, const struct life *life, uint64_t score)
{
    const struct sl_list *list = l->list;
    struct sl_info info;
    life_info(life, &info);
    if (list->state && (list->state == SL_STOPPED) == (life->state != SL_STOPPED))
        return;
    if (list->labels && !has_labels(&info, list->label_pairs))
        return;
    if (l->given == list->limit) {
        l->next = score + 1;
        l->ended = true;
        return;
    }
    l->given++;
    if (!l->each(l->arg, &info)) {
        l->next = score;
        l->ended = true;
    }
}

/* One page of names: their states are asked for in one round. */
static int list_names(struct listing *l, const redisReply *names)
{
    struct call *calls = l->redis->calls;
    char(*keys)[KEY_BYTES] = l->redis->keys;
    static_assert((int)LIST_PAGE <= (int)MANY, "one round");
    struct sl_slice ids[LIST_PAGE];
    uint64_t scores[LIST_PAGE];
    size_t count = 0;
    int fault = 0;
    for (size_t i = 0; i + 1 < names->elements && count < LIST_PAGE; i += 2) {
        struct sl_slice id = sl_slice(names->element[i]->str, names->element[i]->len);
        struct sl_slice prefix = l->list->prefix;
        if (names->element[i]->type != REDIS_REPLY_STRING || !sl_sandbox_id_valid(id) ||
            id.bytes < prefix.bytes || (prefix.bytes && memcmp(id.data, prefix.data, prefix.bytes) != 0))
            continue;
        ids[count] = id;
        scores[count] = strtoull(names->element[i + 1]->str, NULL, 10);
        calls[count] = (struct call){0};
        if (home_want_pair(&calls[count], keys[count], key_of(keys[count], id, 'h')))
            fault = -ENOMEM;
        count++;
    }
    if (fault == 0)
        home_ask(l->redis, calls, count);
    for (size_t i = 0; i < count; i++) {
        struct life life;
        life_init(&life, ids[i]);
        if (fault == 0)
            fault = home_take_pair(&calls[i], &life);
        if (fault == 0 && !l->ended && life.alive)
            list_one(l, &life, scores[i]);
        life_clear(&life);
        call_end(&calls[i]);
    }
    return fault;
}

int redis_list(struct store *s, const struct sl_list *list,
               bool (*each)(void *arg, const struct sl_info *info), void *arg, uint64_t *ret_next_page)
{
    struct listing l = {.redis = (struct redis *)s, .list = list, .each = each, .arg = arg};
    uint64_t before = list->page;
    *ret_next_page = 0;
    while (!l.ended) {
        char below[32], count[16];
        if (before)
            snprintf(below, sizeof below, "(%" PRIu64, before);
        snprintf(count, sizeof count, "%d", LIST_PAGE);
        struct call c = {.slot = link_slot(sl_slice_of(list_key))};
        const char *words[] = {
            "ZREVRANGEBYSCORE", list_key, before ? below : "+inf", "-inf", "WITHSCORES", "LIMIT", "0", count};
        int fault = 0;
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (call_add_text(&c, words[i]))
                fault = -ENOMEM;
        if (fault == 0) {
            home_ask(l.redis, &c, 1);
            fault = home_answered(&c, REDIS_REPLY_ARRAY);
        }
        size_t got = fault ? 0 : c.reply->elements;
        if (got >= 2)
            before = strtoull(c.reply->element[got - 1]->str, NULL, 10);
        if (fault == 0)
            fault = list_names(&l, c.reply);
        call_end(&c);
        if (fault)
            return fault;
        if (got < 2 * LIST_PAGE)
            break;
    }
    *ret_next_page = l.next;
    return 0;
}
