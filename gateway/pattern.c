// SPDX-License-Identifier: Apache-2.0
/*
 * Running a program: a lazy DFA over sets of instructions.
 *
 * 1. A state is a bitmap of instructions reached but not yet followed (splits and assertions are followed
 * when the next symbol is known, because \b and $ look at it), and what stood before: nothing, a word byte,
 * another.
 * 2. A row of a state says for each class of symbols where it leads: 0 not known yet, 1 matched, else a
 * state. A state's number is the place of its row in the cache, in units of 8 bytes: one shift and two loads
 * a byte of text.
 * 3. States lie one behind the other in one piece of memory; when that is full all of them are forgotten but
 * the one in hand. A step that is not known yet costs at most one visit of every instruction, so a byte costs
 * O(program) in the worst case, and the memory never grows.
 * 4. Instructions are written from the end, so most sets go on at the instruction before them: those step
 * together, 64 at a time, by one shift of the bitmap.
 */
#include "pattern_inner.h"
#include "utf8.h"
#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    CACHE_BYTES = 128 << 10, /* a thousand followers may bring a thousand hostile texts */
    STATES_MAX = 2048,
    WORDS_MAX = (PATTERN_PROGRAM_MAX + 63) / 64,
    HASH_SLOTS = 4 * STATES_MAX,
    PORTION_BYTES = 4096, /* between two looks at what it cost */
    TO_UNKNOWN = 0,
    TO_MATCH = 1,
    UNIT = 8,
    FIRST_STATE = 2,
};
static_assert(CACHE_BYTES / UNIT - 1 <= UINT16_MAX, "a state's number is the place of its row");

enum before { BEFORE_NOTHING, BEFORE_WORD, BEFORE_OTHER };

struct pattern {
    struct pattern_program program;
    uint16_t class_of[SYMBOLS];  /* symbols that no set, and no \b, tells apart share one */
    uint16_t symbol_of[SYMBOLS]; /* one of each class */
    unsigned classes;
    size_t words;       /* of a bitmap */
    size_t row_units;   /* of a row; behind it the bitmap, then what stood before */
    size_t state_units; /* all of that */
    size_t used_units;  /* of the cache */
    unsigned states;    /* in the cache */
    uint16_t start;     /* TO_UNKNOWN: to be made */
    uint64_t work;
    uint64_t sets[WORDS_MAX];           /* instructions that are OP_SET */
    uint64_t chained[WORDS_MAX];        /* of those, which go on at the instruction before them */
    uint64_t taken[SYMBOLS][WORDS_MAX]; /* per class: sets that hold it */
    uint16_t stack[PATTERN_PROGRAM_MAX];
    uint16_t slots[HASH_SLOTS];
    alignas(8) uint8_t cache[CACHE_BYTES];
};

static uint16_t *state_row(struct pattern *p, unsigned state)
{
    return (uint16_t *)(void *)(p->cache + (size_t)state * UNIT);
}
static uint64_t *state_bits(struct pattern *p, unsigned state)
{
    return (uint64_t *)(void *)(p->cache + (state + p->row_units) * UNIT);
}
static uint64_t *state_before(struct pattern *p, unsigned state)
{
    return state_bits(p, state) + p->words;
}

static bool is_word(unsigned symbol)
{
    return (symbol >= '0' && symbol <= '9') || (symbol >= 'A' && symbol <= 'Z') || symbol == '_' ||
           (symbol >= 'a' && symbol <= 'z');
}

/* Two symbols share a class when everything treats them alike. */
static void split_classes(struct pattern *p, const struct pattern_set *set)
{
    uint16_t moved[SYMBOLS]; /* class -> class of its members in the set, 0: none yet */
    bool outside[SYMBOLS] = {false};
    memset(moved, 0, sizeof moved);
    for (unsigned s = 0; s < SYMBOLS; s++)
        if (!pattern_set_has(set, s))
            outside[p->class_of[s]] = true;
    for (unsigned s = 0; s < SYMBOLS; s++) {
        uint16_t class = p->class_of[s];
        if (!pattern_set_has(set, s) || !outside[class])
            continue;
        if (!moved[class])
            moved[class] = (uint16_t)p->classes++;
        p->class_of[s] = moved[class];
    }
}

static void make_classes(struct pattern *p)
{
    struct pattern_set end = {0}, word = {0}, more = {0};
    p->classes = 1;
    pattern_set_add(&end, SYMBOL_END, SYMBOL_END);
    split_classes(p, &end);
    for (unsigned i = 0; i < p->program.set_count; i++)
        split_classes(p, &p->program.sets[i]);
    if (p->program.words) {
        for (unsigned s = 0; s < 128; s++)
            if (is_word(s))
                pattern_set_add(&word, s, s);
        split_classes(p, &word);
        pattern_set_add(&more, 0x80, 0xbf);
        split_classes(p, &more);
    }
    assert(p->classes <= SYMBOLS);
    for (unsigned s = 0; s < SYMBOLS; s++)
        p->symbol_of[p->class_of[s]] = (uint16_t)s;
}

static void forget(struct pattern *p)
{
    p->states = 0;
    p->used_units = FIRST_STATE;
    p->start = TO_UNKNOWN;
    memset(p->slots, 0, sizeof p->slots);
}

/* The number of this state, made if it is new; 0 when there is no room. */
static uint16_t intern(struct pattern *p, const uint64_t *bits, uint64_t before)
{
    uint64_t hash = before + 1;
    for (size_t i = 0; i < p->words; i++) {
        hash = (hash ^ bits[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    for (size_t slot = hash % HASH_SLOTS;; slot = (slot + 1) % HASH_SLOTS) {
        uint16_t state = p->slots[slot];
        if (state == 0) {
            if (p->states == STATES_MAX || p->used_units + p->state_units > CACHE_BYTES / UNIT)
                return 0;
            state = (uint16_t)p->used_units;
            p->used_units += p->state_units;
            p->states++;
            p->slots[slot] = state;
            memcpy(state_bits(p, state), bits, p->words * 8);
            *state_before(p, state) = before;
            memset(state_row(p, state), 0, p->classes * sizeof(uint16_t));
            return state;
        }
        if (*state_before(p, state) == before && memcmp(state_bits(p, state), bits, p->words * 8) == 0)
            return state;
    }
}

/* Whether an assertion holds between what stood before and the next symbol. */
static bool holds(enum pattern_assert assertion, uint64_t before, unsigned symbol)
{
    bool edge = (before == BEFORE_WORD) != is_word(symbol);
    switch (assertion) {
    case ASSERT_BEGIN:
        return before == BEFORE_NOTHING;
    case ASSERT_END:
        return symbol == SYMBOL_END;
    case ASSERT_WORD:
        return edge;
    case ASSERT_NOT_WORD:
        break;
    }
    return !edge && !(symbol >= 0x80 && symbol <= 0xbf); /* never within a character */
}

static bool test_and_set(uint64_t *bits, unsigned i)
{
    uint64_t bit = UINT64_C(1) << (i % 64), had = bits[i / 64] & bit;
    bits[i / 64] |= bit;
    return had;
}

/*
 * Follows every instruction of `bits` over a class. True: there is a match. Else ret_bits is what comes of
 * it, with a new beginning, for a match may begin anywhere.
 */
static bool follow(struct pattern *p, const uint64_t *bits, uint64_t before, uint16_t class,
                   uint64_t *ret_bits)
{
    const struct pattern_instr *instrs = p->program.instrs;
    const uint64_t *taken = p->taken[class];
    unsigned symbol = p->symbol_of[class];
    uint64_t seen[WORDS_MAX];
    size_t depth = 0;
    memcpy(seen, bits, p->words * 8);
    memset(ret_bits, 0, p->words * 8);
    for (size_t word = 0; word < p->words; word++) {
        uint64_t step = bits[word] & taken[word] & p->chained[word];
        ret_bits[word] |= step >> 1;
        if (step & 1) /* never of word 0: its first instruction is the match */
            ret_bits[word - 1] |= UINT64_C(1) << 63;
        for (uint64_t left = bits[word] & taken[word] & ~p->chained[word]; left; left &= left - 1, p->work++)
            test_and_set(ret_bits, instrs[word * 64 + (unsigned)__builtin_ctzll(left)].next);
        for (uint64_t left = bits[word] & ~p->sets[word]; left; left &= left - 1)
            p->stack[depth++] = (uint16_t)(word * 64 + (unsigned)__builtin_ctzll(left));
    }
    while (depth) {
        unsigned number = p->stack[--depth];
        const struct pattern_instr *in = &instrs[number];
        p->work++;
        switch (in->op) {
        case OP_MATCH:
            return true;
        case OP_SET:
            if (taken[number / 64] >> (number % 64) & 1)
                test_and_set(ret_bits, in->next);
            continue;
        case OP_SPLIT:
            if (!test_and_set(seen, in->other))
                p->stack[depth++] = in->other;
            break;
        default:
            if (!holds(in->assertion, before, symbol))
                continue;
        }
        if (!test_and_set(seen, in->next))
            p->stack[depth++] = in->next;
    }
    test_and_set(ret_bits, p->program.start);
    return false;
}

static uint16_t start_state(struct pattern *p)
{
    if (p->start == TO_UNKNOWN) {
        uint64_t bits[WORDS_MAX] = {0};
        test_and_set(bits, p->program.start);
        p->start = intern(p, bits, BEFORE_NOTHING);
        if (p->start == TO_UNKNOWN) {
            forget(p);
            p->start = intern(p, bits, BEFORE_NOTHING);
        }
    }
    return p->start;
}

/* Where `state` leads over a class, for the first time. */
static uint16_t make_step(struct pattern *p, uint16_t state, uint16_t class)
{
    uint64_t bits[WORDS_MAX];
    unsigned symbol = p->symbol_of[class];
    p->work += 4 * p->words + p->classes / 8;
    if (follow(p, state_bits(p, state), *state_before(p, state), class, bits)) {
        state_row(p, state)[class] = TO_MATCH;
        return TO_MATCH;
    }
    uint64_t before = p->program.words && is_word(symbol) ? BEFORE_WORD : BEFORE_OTHER;
    uint16_t to = intern(p, bits, before);
    if (to == 0) { /* full: `state` goes with the others, and so does its row */
        forget(p);
        return intern(p, bits, before);
    }
    state_row(p, state)[class] = to;
    return to;
}

static uint16_t step(struct pattern *p, uint16_t state, unsigned symbol)
{
    uint16_t class = p->class_of[symbol], to = state_row(p, state)[class];
    return to != TO_UNKNOWN ? to : make_step(p, state, class);
}

/* Over bytes that are symbols themselves. */
static uint16_t run(struct pattern *p, uint16_t state, const uint8_t *at, const uint8_t *end)
{
    p->work += (uint64_t)(end - at);
    for (; at < end && state != TO_MATCH; at++)
        state = step(p, state, *at);
    return state;
}

/* What may be looked at before the clock is: of whole characters. */
static size_t portion(const struct pattern *p, struct sl_slice text)
{
    size_t bytes = text.bytes < PORTION_BYTES ? text.bytes : PORTION_BYTES;
    return p->program.raw ? bytes : utf8_prefix(sl_slice(text.data, bytes));
}

static uint16_t state_at(struct pattern *p, const struct pattern_pause *pause)
{
    if (pause->at == 0)
        return start_state(p);
    uint16_t state = intern(p, pause->bits, pause->before);
    if (state == TO_UNKNOWN) {
        forget(p);
        state = intern(p, pause->bits, pause->before);
    }
    return state;
}

int pattern_match_some(struct pattern *p, struct sl_slice text, uint64_t work_max,
                       struct pattern_pause *pause)
{
    uint64_t until = work_max < UINT64_MAX - p->work ? p->work + work_max : UINT64_MAX;
    uint16_t state = state_at(p, pause);
    size_t at = pause->at;
    while (at < text.bytes && state != TO_MATCH) {
        struct sl_slice rest = sl_slice(text.data + at, text.bytes - at);
        size_t good = portion(p, rest);
        state = run(p, state, rest.data, rest.data + good);
        at += good;
        if (good == 0) {
            int bad = -utf8_sequence(rest.data, rest.data + rest.bytes);
            for (int i = 0; i < bad && state != TO_MATCH; i++)
                state = step(p, state, SYMBOL_BAD);
            at += (size_t)bad;
        }
        if (p->work >= until && at < text.bytes && state != TO_MATCH) {
            pause->at = at;
            pause->before = *state_before(p, state);
            memcpy(pause->bits, state_bits(p, state), p->words * 8);
            return PATTERN_LATER;
        }
    }
    return state == TO_MATCH || step(p, state, SYMBOL_END) == TO_MATCH;
}

bool pattern_match(struct pattern *p, struct sl_slice text)
{
    struct pattern_pause pause = {0};
    return pattern_match_some(p, text, UINT64_MAX, &pause) == 1;
}

uint64_t pattern_work(const struct pattern *p)
{
    return p->work;
}

static struct pattern *finish(struct pattern *p)
{
    make_classes(p);
    p->words = (p->program.count + 63u) / 64;
    p->row_units = (p->classes * sizeof(uint16_t) + UNIT - 1) / UNIT;
    p->state_units = p->row_units + p->words + 1;
    p->used_units = FIRST_STATE;
    for (unsigned i = 0; i < p->program.count; i++) {
        const struct pattern_instr *in = &p->program.instrs[i];
        if (in->op != OP_SET)
            continue;
        test_and_set(p->sets, i);
        if (in->next + 1u == i)
            test_and_set(p->chained, i);
        for (unsigned class = 0; class < p->classes; class ++)
            if (pattern_set_has(&p->program.sets[in->set], p->symbol_of[class]))
                test_and_set(p->taken[class], i);
    }
    return p;
}

/*
 * Zeroed, and of its 216 KiB only what is touched takes memory: most patterns meet a few dozen states.
 * calloc() takes it from the heap once some have been freed, and then writes all of it: 330 KiB a follower,
 * not 50.
 */
static struct pattern *pattern_map(void)
{
    void *p = mmap(NULL, sizeof(struct pattern), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

int pattern_new(struct sl_slice source, bool ignore_case, struct pattern **ret, const char **ret_why)
{
    struct pattern_tree *tree = malloc(sizeof *tree);
    struct pattern *p = pattern_map();
    int answer = tree && p ? 0 : -ENOMEM;
    if (!answer)
        answer = pattern_parse(source, ignore_case, tree, ret_why);
    if (!answer)
        answer = pattern_compile(tree, &p->program, ret_why);
    free(tree);
    if (answer) {
        pattern_free(p);
        return answer;
    }
    *ret = finish(p);
    return 0;
}

int pattern_new_literal(struct sl_slice bytes, bool ignore_case, struct pattern **ret, const char **ret_why)
{
    struct pattern *p = pattern_map();
    if (!p)
        return -ENOMEM;
    int answer = pattern_compile_literal(bytes, ignore_case, &p->program, ret_why);
    if (answer) {
        pattern_free(p);
        return answer;
    }
    *ret = finish(p);
    return 0;
}

void pattern_free(struct pattern *p)
{
    if (p)
        munmap(p, sizeof *p);
}
