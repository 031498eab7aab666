// SPDX-License-Identifier: Apache-2.0
#include "pattern_inner.h"
#include <assert.h>

enum { LEAD_FIRST = 0xc2, LEAD_LAST = 0xf4, WORK_MAX = 100000 };

struct compiler {
    const struct pattern_tree *tree;
    struct pattern_program *program;
    unsigned work;  /* nodes visited: empty ones, repeated, cost time without an instruction */
    unsigned limit; /* of instructions */
    bool full;
};

static uint16_t add(struct compiler *c, struct pattern_instr instr)
{
    if (c->program->count == c->limit) {
        c->full = true;
        return 0;
    }
    c->program->instrs[c->program->count] = instr;
    return c->program->count++;
}

static uint16_t add_set(struct compiler *c, const struct pattern_set *set, uint16_t next)
{
    struct pattern_program *p = c->program;
    uint16_t number = 0;
    while (number < p->set_count && memcmp(&p->sets[number], set, sizeof *set) != 0)
        number++;
    if (number == SETS_MAX) {
        c->full = true;
        return 0;
    }
    if (number == p->set_count)
        p->sets[p->set_count++] = *set;
    return add(c, (struct pattern_instr){.op = OP_SET, .set = number, .next = next});
}

static uint16_t add_bytes(struct compiler *c, unsigned first, unsigned last, uint16_t next)
{
    struct pattern_set set = {0};
    pattern_set_add(&set, first, last);
    return add_set(c, &set, next);
}

static uint16_t add_split(struct compiler *c, uint16_t next, uint16_t other)
{
    return add(c, (struct pattern_instr){.op = OP_SPLIT, .next = next, .other = other});
}

static unsigned encode_point(uint32_t point, uint8_t out[4])
{
    if (point < 0x800) {
        out[0] = (uint8_t)(0xc0 | point >> 6);
        out[1] = (uint8_t)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (uint8_t)(0xe0 | point >> 12);
        out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | point >> 18);
    out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (point & 0x3f));
    return 4;
}

/*
 * Code points first to last (from 0x80), whose encodings have one length, as alternatives to `sofar` (or,
 * `any` false, alone): split until in each part the trailing bytes run over whole ranges.
 */
static uint16_t add_points(struct compiler *c, uint32_t first, uint32_t last, uint16_t next, uint16_t sofar,
                           bool *any)
{
    static const uint32_t ends[] = {0x7ff, 0xffff};
    for (size_t i = 0; i < 2; i++)
        if (first <= ends[i] && last > ends[i]) {
            sofar = add_points(c, first, ends[i], next, sofar, any);
            return add_points(c, ends[i] + 1, last, next, sofar, any);
        }
    for (unsigned i = 1; i < 4 && last >= 0x80; i++) {
        uint32_t mask = (UINT32_C(1) << (6 * i)) - 1;
        if ((first & ~mask) == (last & ~mask))
            continue;
        if (first & mask) {
            sofar = add_points(c, first, first | mask, next, sofar, any);
            return add_points(c, (first | mask) + 1, last, next, sofar, any);
        }
        if ((last & mask) != mask) {
            sofar = add_points(c, first, (last & ~mask) - 1, next, sofar, any);
            return add_points(c, last & ~mask, last, next, sofar, any);
        }
    }
    uint8_t low[4], high[4];
    unsigned bytes = encode_point(first, low);
    encode_point(last, high);
    for (unsigned i = bytes; i-- > 0;)
        next = add_bytes(c, low[i], high[i], next);
    if (*any)
        return add_split(c, next, sofar);
    *any = true;
    return next;
}

/*
 * A class. All that is not ASCII, the most frequent by far (`.`, `[^"]`), is a lead byte and then
 * continuation bytes as long as they come: the text is well-formed, and nothing that may follow begins with
 * one.
 */
static uint16_t emit_class(struct compiler *c, const struct pattern_node *node, uint16_t next)
{
    struct pattern_set ascii = {0};
    const struct pattern_range *ranges = c->tree->ranges + node->first_range;
    bool has_ascii = node->bad, wide = false;
    if (node->bad)
        pattern_set_add(&ascii, SYMBOL_BAD, SYMBOL_BAD);
    for (unsigned i = 0; i < node->ranges; i++) {
        if (ranges[i].first < 0x80) {
            pattern_set_add(&ascii, ranges[i].first, ranges[i].last < 0x7f ? ranges[i].last : 0x7f);
            has_ascii = true;
        }
        if (ranges[i].first <= 0x80 && ranges[i].last == 0x10ffff)
            wide = true;
    }
    if (wide) {
        uint16_t loop = add_split(c, 0, next);
        uint16_t more = add_bytes(c, 0x80, 0xbf, loop);
        if (c->full)
            return 0;
        c->program->instrs[loop].next = more;
        uint16_t lead = add_bytes(c, LEAD_FIRST, LEAD_LAST, loop);
        return has_ascii ? add_split(c, add_set(c, &ascii, next), lead) : lead;
    }
    bool any = has_ascii || node->ranges == 0; /* a class of nothing matches nothing: an empty set */
    uint16_t all = any ? add_set(c, &ascii, next) : 0;
    for (unsigned i = 0; i < node->ranges && !c->full; i++)
        if (ranges[i].last >= 0x80)
            all = add_points(c, ranges[i].first < 0x80 ? 0x80 : ranges[i].first, ranges[i].last, next, all,
                             &any);
    return all;
}

/* Instructions for the node, that go on at `next`; returns where they begin. */
static uint16_t emit(struct compiler *c, uint16_t number, uint16_t next)
{
    if (c->full || ++c->work > WORK_MAX) {
        c->full = true;
        return 0;
    }
    const struct pattern_node *node = &c->tree->nodes[number];
    switch (node->kind) {
    case NODE_EMPTY:
        return next;
    case NODE_CLASS:
        return emit_class(c, node, next);
    case NODE_CAT:
        return emit(c, node->left, emit(c, node->right, next));
    case NODE_ALT: {
        uint16_t left = emit(c, node->left, next);
        return add_split(c, left, emit(c, node->right, next));
    }
    case NODE_ASSERT:
        if (node->assertion == ASSERT_WORD || node->assertion == ASSERT_NOT_WORD)
            c->program->words = true;
        return add(c, (struct pattern_instr){.op = OP_ASSERT, .assertion = node->assertion, .next = next});
    default:
        break;
    }
    assert(node->kind == NODE_REPEAT);
    uint16_t at = next;
    if (node->max == REPEAT_ENDLESS) {
        at = add_split(c, 0, next);
        uint16_t body = emit(c, node->left, at);
        c->program->instrs[at].next = body;
    } else {
        for (unsigned i = node->min; i < node->max && !c->full; i++)
            at = add_split(c, emit(c, node->left, at), next);
    }
    for (unsigned i = 0; i < node->min && !c->full; i++)
        at = emit(c, node->left, at);
    return at;
}

static const char *const too_large = "the pattern is too large once its repetitions are written out";

int pattern_compile(const struct pattern_tree *tree, struct pattern_program *ret, const char **ret_why)
{
    struct compiler c = {.tree = tree, .program = ret, .limit = PATTERN_INSTRUCTIONS_MAX};
    uint16_t match = add(&c, (struct pattern_instr){.op = OP_MATCH});
    ret->start = emit(&c, tree->root, match);
    if (c.full) {
        *ret_why = too_large;
        return PATTERN_INVALID;
    }
    return 0;
}

int pattern_compile_literal(struct sl_slice bytes, bool ignore_case, struct pattern_program *ret,
                            const char **ret_why)
{
    struct compiler c = {.program = ret, .limit = PATTERN_PROGRAM_MAX};
    ret->raw = true;
    ret->start = add(&c, (struct pattern_instr){.op = OP_MATCH});
    for (size_t i = bytes.bytes; i-- > 0 && !c.full;) {
        struct pattern_set set = {0};
        uint8_t byte = bytes.data[i], folded = byte | 0x20;
        pattern_set_add(&set, byte, byte);
        if (ignore_case && folded >= 'a' && folded <= 'z')
            pattern_set_add(&set, byte ^ 0x20u, byte ^ 0x20u);
        ret->start = add_set(&c, &set, ret->start);
    }
    if (c.full) {
        *ret_why = too_large;
        return PATTERN_INVALID;
    }
    return 0;
}
