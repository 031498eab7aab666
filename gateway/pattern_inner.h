// SPDX-License-Identifier: Apache-2.0
/*
 * Between the parts of a pattern: pattern_parse.c makes a tree, pattern_compile.c a program of it, pattern.c
 * runs that. Nobody else's business.
 */
#pragma once
#include "pattern.h"

/* What a program reads: a byte of well-formed UTF-8, a byte that is none, the end of the text. */
enum { SYMBOL_BAD = 256, SYMBOL_END = 257, SYMBOLS = 258 };

struct pattern_set {
    uint64_t bits[5];
};
static inline bool pattern_set_has(const struct pattern_set *s, unsigned symbol)
{
    return s->bits[symbol / 64] >> (symbol % 64) & 1;
}
static inline void pattern_set_add(struct pattern_set *s, unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++)
        s->bits[i / 64] |= UINT64_C(1) << (i % 64);
}

/* ---- the tree ---- */
enum pattern_node_kind { NODE_EMPTY, NODE_CLASS, NODE_CAT, NODE_ALT, NODE_REPEAT, NODE_ASSERT };
enum pattern_assert { ASSERT_BEGIN, ASSERT_END, ASSERT_WORD, ASSERT_NOT_WORD };

struct pattern_range {
    uint32_t first;
    uint32_t last;
};

struct pattern_node {
    uint8_t kind;
    uint8_t assertion; /* ASSERT */
    bool bad;          /* CLASS: a byte that is not UTF-8 is in it, too */
    uint16_t left;     /* CAT, ALT, REPEAT */
    uint16_t right;    /* CAT, ALT */
    uint16_t min;      /* REPEAT */
    uint16_t max;      /* REPEAT; REPEAT_ENDLESS */
    uint16_t ranges;   /* CLASS: code points, ascending and apart: ranges[first_range...) */
    uint16_t first_range;
};

enum { NODES_MAX = 4096, RANGES_MAX = 8192, GROUPS_MAX = 100, REPEAT_ENDLESS = UINT16_MAX };

struct pattern_tree {
    struct pattern_node nodes[NODES_MAX];
    struct pattern_range ranges[RANGES_MAX];
    size_t node_count;
    size_t range_count;
    uint16_t root;
};
/* 0, or PATTERN_INVALID with a static sentence. */
int pattern_parse(struct sl_slice source, bool ignore_case, struct pattern_tree *ret, const char **ret_why);

/* ---- the program ---- */
enum pattern_op { OP_SET, OP_SPLIT, OP_ASSERT, OP_MATCH };

struct pattern_instr {
    uint8_t op;
    uint8_t assertion; /* ASSERT */
    uint16_t set;      /* SET: number of the set */
    uint16_t next;
    uint16_t other; /* SPLIT */
};

enum { SETS_MAX = 512 };

struct pattern_program {
    struct pattern_instr instrs[PATTERN_PROGRAM_MAX];
    struct pattern_set sets[SETS_MAX];
    uint16_t count;
    uint16_t set_count;
    uint16_t start;
    bool words; /* holds \b or \B */
    bool raw;   /* of bytes, not code points: the text is fed as it is */
};
/* 0, or PATTERN_INVALID: too large. *ret is zeroed by the caller. */
int pattern_compile(const struct pattern_tree *tree, struct pattern_program *ret, const char **ret_why);
int pattern_compile_literal(struct sl_slice bytes, bool ignore_case, struct pattern_program *ret,
                            const char **ret_why);
