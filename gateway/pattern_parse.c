// SPDX-License-Identifier: Apache-2.0
#include "pattern_inner.h"
#include "utf8.h"
#include <stdlib.h>

enum { CODE_POINT_MAX = 0x10ffff };

struct parser {
    struct pattern_tree *tree;
    const uint8_t *at;
    const uint8_t *end;
    const char *why; /* the first thing wrong; nothing is done any more then */
    unsigned groups;
    bool ignore_case;
};

static const char *const too_large = "the pattern is too large";

static uint16_t fail(struct parser *p, const char *why)
{
    if (!p->why)
        p->why = why;
    p->at = p->end;
    return 0;
}

static uint16_t add_node(struct parser *p, struct pattern_node node)
{
    if (p->tree->node_count == NODES_MAX)
        return fail(p, too_large);
    p->tree->nodes[p->tree->node_count] = node;
    return (uint16_t)p->tree->node_count++;
}

static bool next_is(const struct parser *p, char c)
{
    return p->at < p->end && *p->at == (uint8_t)c;
}

static bool take(struct parser *p, char c)
{
    if (!next_is(p, c))
        return false;
    p->at++;
    return true;
}

/* The pattern is UTF-8 (checked at the start): the next code point. */
static uint32_t take_point(struct parser *p)
{
    uint8_t lead = *p->at;
    int bytes = utf8_sequence(p->at, p->end);
    uint32_t point = bytes == 1 ? lead : lead & (0x7fu >> bytes);
    for (int i = 1; i < bytes; i++)
        point = point << 6 | (p->at[i] & 0x3f);
    p->at += bytes;
    return point;
}

/* ---- classes ---- */

static void add_range(struct parser *p, uint32_t first, uint32_t last)
{
    if (p->tree->range_count == RANGES_MAX) {
        fail(p, too_large);
        return;
    }
    p->tree->ranges[p->tree->range_count++] = (struct pattern_range){first, last};
}

static void add_ranges(struct parser *p, const char *pairs, bool negated)
{
    /* pairs ascend and lie apart: their complement lies between them */
    uint32_t from = 0;
    for (; *pairs; pairs += 2) {
        uint32_t first = (uint8_t)pairs[0], last = (uint8_t)pairs[1];
        if (first == 1)
            first = 0; /* a C string can't hold it */
        if (!negated)
            add_range(p, first, last);
        else if (first > from)
            add_range(p, from, first - 1);
        from = last + 1;
    }
    if (negated)
        add_range(p, from, CODE_POINT_MAX);
}

/* \d \w \s and their opposites. False: another letter. */
static bool add_perl(struct parser *p, uint8_t letter, bool *bad)
{
    bool negated = letter >= 'A' && letter <= 'Z';
    switch (letter | 0x20) {
    case 'd':
        add_ranges(p, "09", negated);
        break;
    case 'w':
        add_ranges(p, "09AZ__az", negated);
        break;
    case 's':
        add_ranges(p, "\t\r  ", negated);
        break;
    default:
        return false;
    }
    *bad |= negated;
    return true;
}

static bool add_posix(struct parser *p, bool *bad)
{
    static const struct {
        const char *name;
        const char *pairs;
    } classes[] = {
        {"alnum", "09AZaz"},
        {"alpha", "AZaz"},
        {"ascii", "\x01\x7f"},
        {"blank", "\t\t  "},
        {"cntrl", "\x01\x1f\x7f\x7f"},
        {"digit", "09"},
        {"graph", "!~"},
        {"lower", "az"},
        {"print", " ~"},
        {"punct", "!/:@[`{~"},
        {"space", "\t\r  "},
        {"upper", "AZ"},
        {"word", "09AZ__az"},
        {"xdigit", "09AFaf"},
    };
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        size_t bytes = strlen(classes[i].name);
        const uint8_t *at = p->at + 2;
        bool negated = p->end - p->at > 2 && *at == '^';
        at += negated;
        if ((size_t)(p->end - at) >= bytes + 2 && memcmp(at, classes[i].name, bytes) == 0 &&
            memcmp(at + bytes, ":]", 2) == 0) {
            add_ranges(p, classes[i].pairs, negated);
            *bad |= negated;
            p->at = at + bytes + 2;
            return true;
        }
    }
    return false;
}

static int by_first(const void *a, const void *b)
{
    const struct pattern_range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* Ranges from `first` on become one class: folded, sorted, merged, turned round if negated. */
static uint16_t finish_class(struct parser *p, size_t first, bool negated, bool bad)
{
    struct pattern_tree *t = p->tree;
    size_t given = t->range_count;
    for (size_t i = first; p->ignore_case && i < given && !p->why; i++) {
        struct pattern_range r = t->ranges[i];
        for (uint32_t base = 'A'; base <= 'a'; base += 'a' - 'A') {
            uint32_t low = r.first > base ? r.first : base;
            uint32_t high = r.last < base + 25 ? r.last : base + 25;
            if (low <= high)
                add_range(p, low ^ 0x20, high ^ 0x20);
        }
    }
    if (p->why)
        return 0;
    qsort(t->ranges + first, t->range_count - first, sizeof t->ranges[0], by_first);
    size_t out = first;
    for (size_t i = first; i < t->range_count; i++) {
        if (out > first && t->ranges[i].first <= t->ranges[out - 1].last + 1) {
            if (t->ranges[i].last > t->ranges[out - 1].last)
                t->ranges[out - 1].last = t->ranges[i].last;
        } else {
            t->ranges[out++] = t->ranges[i];
        }
    }
    t->range_count = out;
    if (negated) {
        uint32_t from = 0;
        size_t merged = out;
        out = first;
        for (size_t i = first; i < merged; i++) {
            struct pattern_range r = t->ranges[i];
            /* never writes ahead of what is still to be read: at most one range more in all */
            if (r.first > from)
                t->ranges[out++] = (struct pattern_range){from, r.first - 1};
            from = r.last + 1;
        }
        t->range_count = out;
        if (from <= CODE_POINT_MAX)
            add_range(p, from, CODE_POINT_MAX);
    }
    return add_node(p, (struct pattern_node){
                           .kind = NODE_CLASS,
                           .bad = bad != negated,
                           .first_range = (uint16_t)first,
                           .ranges = (uint16_t)(t->range_count - first),
                       });
}

static uint16_t one_point(struct parser *p, uint32_t point)
{
    size_t first = p->tree->range_count;
    add_range(p, point, point);
    return finish_class(p, first, false, false);
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind `\x`. */
static uint32_t take_hex(struct parser *p)
{
    uint32_t point = 0;
    bool braced = take(p, '{');
    unsigned digits = 0;
    for (; digits < (braced ? 6 : 2) && p->at < p->end && hex_value(*p->at) >= 0; digits++)
        point = point << 4 | (uint32_t)hex_value(*p->at++);
    if ((braced ? digits == 0 || !take(p, '}') : digits != 2) || point > CODE_POINT_MAX)
        fail(p, "the pattern has a malformed \\x");
    return point;
}

/* The code point that a backslash and `letter`, just taken, stand for. */
static uint32_t escaped_point(struct parser *p, uint8_t letter)
{
    switch (letter) {
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 'f':
        return '\f';
    case 'v':
        return '\v';
    case 'a':
        return '\a';
    case 'e':
        return 0x1b;
    case 'x':
        return take_hex(p);
    default:
        if (letter >= '1' && letter <= '9')
            fail(p, "the pattern has a back-reference, which can't be matched in linear time");
        else if (letter >= 0x80 || letter == '0' || hex_value(letter) >= 0 ||
                 (letter >= 'g' && letter <= 'z') || (letter >= 'G' && letter <= 'Z'))
            fail(p, "the pattern has a backslash before something that needs none");
        return letter;
    }
}

/* One end of a range in a class. */
static uint32_t class_point(struct parser *p)
{
    if (p->at == p->end) {
        fail(p, "the pattern has a [ without its ]");
        return 0;
    }
    if (!take(p, '\\'))
        return take_point(p);
    if (p->at == p->end) {
        fail(p, "the pattern ends with a backslash");
        return 0;
    }
    uint8_t letter = *p->at++;
    return letter == 'b' ? '\b' : escaped_point(p, letter);
}

/* Behind `[`. */
static uint16_t parse_class(struct parser *p)
{
    size_t first = p->tree->range_count;
    bool bad = false, negated = take(p, '^');
    for (bool start = true; !p->why; start = false) {
        if (!start && take(p, ']'))
            return finish_class(p, first, negated, bad);
        if (p->end - p->at > 1 && p->at[0] == '[' && p->at[1] == ':') {
            if (!add_posix(p, &bad))
                return fail(p, "the pattern has an unknown [: :] class");
            continue;
        }
        if (p->end - p->at > 1 && p->at[0] == '\\' && add_perl(p, p->at[1], &bad)) {
            p->at += 2;
            continue;
        }
        uint32_t from = class_point(p), to = from;
        if (p->end - p->at > 1 && p->at[0] == '-' && p->at[1] != ']') {
            p->at++;
            to = class_point(p);
        }
        if (to < from)
            return fail(p, "the pattern has a range that ends before it begins");
        add_range(p, from, to);
    }
    return 0;
}

/* ---- the rest ---- */

static uint16_t parse_alternatives(struct parser *p);

/* Behind `(`. */
static uint16_t parse_group(struct parser *p)
{
    if (++p->groups > GROUPS_MAX)
        return fail(p, "the pattern nests too deeply");
    if (take(p, '?') && !take(p, ':'))
        return fail(p, "the pattern has a (? that is not (?: : lookaround and its like can't be matched in "
                       "linear time");
    uint16_t inside = parse_alternatives(p);
    if (!take(p, ')'))
        return fail(p, "the pattern has a ( without its )");
    p->groups--;
    return inside;
}

static uint16_t assertion(struct parser *p, enum pattern_assert which)
{
    return add_node(p, (struct pattern_node){.kind = NODE_ASSERT, .assertion = (uint8_t)which});
}

/* Behind a backslash. */
static uint16_t parse_escape(struct parser *p)
{
    if (p->at == p->end)
        return fail(p, "the pattern ends with a backslash");
    size_t first = p->tree->range_count;
    bool bad = false;
    uint8_t letter = *p->at++;
    if (add_perl(p, letter, &bad))
        return finish_class(p, first, false, bad);
    switch (letter) {
    case 'A':
        return assertion(p, ASSERT_BEGIN);
    case 'z':
        return assertion(p, ASSERT_END);
    case 'b':
        return assertion(p, ASSERT_WORD);
    case 'B':
        return assertion(p, ASSERT_NOT_WORD);
    default:
        return one_point(p, escaped_point(p, letter));
    }
}

static uint16_t parse_atom(struct parser *p)
{
    size_t first = p->tree->range_count;
    switch (*p->at) {
    case '(':
        p->at++;
        return parse_group(p);
    case '[':
        p->at++;
        return parse_class(p);
    case '\\':
        p->at++;
        return parse_escape(p);
    case '.':
        p->at++;
        add_range(p, 0, CODE_POINT_MAX);
        return finish_class(p, first, false, true);
    case '^':
        p->at++;
        return assertion(p, ASSERT_BEGIN);
    case '$':
        p->at++;
        return assertion(p, ASSERT_END);
    case '*':
    case '+':
    case '?':
        return fail(p, "the pattern repeats nothing: a *, + or ? has nothing before it");
    default:
        return one_point(p, take_point(p));
    }
}

static bool take_number(struct parser *p, uint32_t *ret)
{
    const uint8_t *from = p->at;
    for (*ret = 0; p->at < p->end && *p->at >= '0' && *p->at <= '9' && *ret < 100000; p->at++)
        *ret = *ret * 10 + (*p->at - (uint32_t)'0');
    return p->at > from;
}

/* {m}, {m,} or {m,n}; anything else is a brace that means itself, and nothing is taken. */
static bool take_counts(struct parser *p, uint32_t *ret_min, uint32_t *ret_max)
{
    const uint8_t *from = p->at;
    if (take(p, '{') && take_number(p, ret_min)) {
        *ret_max = *ret_min;
        if (take(p, ',') && !take_number(p, ret_max))
            *ret_max = REPEAT_ENDLESS;
        if (take(p, '}'))
            return true;
    }
    p->at = from;
    return false;
}

static uint16_t parse_repeats(struct parser *p)
{
    uint16_t atom = parse_atom(p);
    bool repeated = false;
    while (p->at < p->end) {
        uint32_t min = 0, max = REPEAT_ENDLESS;
        if (take(p, '+'))
            min = 1;
        else if (take(p, '?'))
            max = 1;
        else if (!take(p, '*') && !take_counts(p, &min, &max))
            return atom;
        if (repeated)
            return fail(p, "the pattern repeats a repetition: put it into (?: )");
        if (min > PATTERN_REPEAT_MAX || (max > PATTERN_REPEAT_MAX && max != REPEAT_ENDLESS))
            return fail(p, "the pattern repeats more than 1000 times");
        if (max < min)
            return fail(p, "the pattern has a {m,n} with n below m");
        take(p, '?'); /* lazy: whether there is a match is the same */
        atom =
            add_node(p, (struct pattern_node){
                            .kind = NODE_REPEAT, .left = atom, .min = (uint16_t)min, .max = (uint16_t)max});
        repeated = true;
    }
    return atom;
}

static uint16_t parse_sequence(struct parser *p)
{
    uint16_t all = add_node(p, (struct pattern_node){.kind = NODE_EMPTY});
    for (bool start = true; p->at < p->end && *p->at != '|' && *p->at != ')'; start = false) {
        uint16_t one = parse_repeats(p);
        all = start ? one : add_node(p, (struct pattern_node){.kind = NODE_CAT, .left = all, .right = one});
    }
    return all;
}

/* a|b is [ab], one instruction for three, which steps with its neighbours (pattern.c, 4). */
static bool merge_classes(struct parser *p, uint16_t left, uint16_t right, uint16_t *ret)
{
    struct pattern_tree *t = p->tree;
    size_t first = t->range_count;
    const struct pattern_node both[2] = {t->nodes[left], t->nodes[right]};
    if (p->why || both[0].kind != NODE_CLASS || both[1].kind != NODE_CLASS ||
        first + both[0].ranges + both[1].ranges > RANGES_MAX / 2)
        return false;
    for (int i = 0; i < 2; i++)
        for (unsigned k = 0; k < both[i].ranges; k++)
            t->ranges[t->range_count++] = t->ranges[both[i].first_range + k];
    *ret = finish_class(p, first, false, both[0].bad || both[1].bad);
    return true;
}

static uint16_t parse_alternatives(struct parser *p)
{
    uint16_t all = parse_sequence(p);
    while (take(p, '|')) {
        uint16_t one = parse_sequence(p);
        if (!merge_classes(p, all, one, &all))
            all = add_node(p, (struct pattern_node){.kind = NODE_ALT, .left = all, .right = one});
    }
    return all;
}

int pattern_parse(struct sl_slice source, bool ignore_case, struct pattern_tree *ret, const char **ret_why)
{
    ret->node_count = ret->range_count = 0;
    struct parser p = {.tree = ret, .ignore_case = ignore_case};
    if (!utf8_valid(source)) {
        *ret_why = "the pattern is not UTF-8";
        return PATTERN_INVALID;
    }
    p.at = source.data;
    p.end = source.bytes ? source.data + source.bytes : source.data;
    if (source.bytes >= 4 && memcmp(source.data, "(?i)", 4) == 0) {
        p.ignore_case = true;
        p.at += 4;
    }
    ret->root = parse_alternatives(&p);
    if (p.at < p.end)
        fail(&p, "the pattern has a ) without its (");
    if (p.why) {
        *ret_why = p.why;
        return PATTERN_INVALID;
    }
    return 0;
}
