// SPDX-License-Identifier: Apache-2.0
/*
 * Patterns in linear time: is there a match anywhere in the text? A set of NFA positions is carried over the
 * text byte by byte, through a cache of DFA states made as they are met, so the price of a byte is one table
 * look-up, and at worst (cache full) one small step per instruction, whatever the pattern. No backtracking.
 *
 * Not PCRE2 10.42: pcre2_match() backtracks, so `(a*)*[bc]` on 10 kB of `a` ends at its match limit, with an
 * error and no answer; pcre2_dfa_match() begins anew at every byte (the same took 0.9 s, 20 kB 3.8 s) and,
 * anchored with `.*?` before it, compares the counters of `{m,n}` pairwise (`a{0,1000}[cd]` on 20 kB: 5.5 s).
 * Its limits bound neither.
 *
 * The language: RE2's common part. Literals, `.`, classes `[a-z]` `[^…]` `[[:alpha:]]`, \d \D \w \W \s \S,
 * groups `( )` and `(?: )`, `(?i)` at the start, `|`, `* + ? {m} {m,} {m,n}` (each with a further `?`, which
 * changes nothing here), `^` `$` `\A` `\z` (of the line), \b \B, \t \n \r \f \v \a \e \xHH \x{H…}, a
 * backslash before punctuation. Refused with a sentence: back-references, lookaround, possessive and atomic
 * groups, \p, and what grows beyond PATTERN_INSTRUCTIONS_MAX. It reads UTF-8: `.` and classes take a whole
 * code point, or one byte that belongs to none. \d \w \s \b and ignore_case know ASCII only.
 *
 * One thread at a time per pattern.
 */
#pragma once
#include "wire/slice.h"

enum {
    PATTERN_PROGRAM_MAX = 1200,     /* instructions, of a literal: a byte each */
    PATTERN_INSTRUCTIONS_MAX = 500, /* of a pattern, repetitions written out: bounds a byte's worst price */
    PATTERN_REPEAT_MAX = 1000,      /* the largest m or n */
};

struct pattern;

/* > 0 (PATTERN_INVALID): *ret_why is a static sentence. Fault: -ENOMEM. */
enum { PATTERN_INVALID = 1 };
int pattern_new(struct sl_slice source, bool ignore_case, struct pattern **ret, const char **ret_why);
/* These bytes, wherever they stand; ignore_case: of ASCII letters. At most PATTERN_PROGRAM_MAX - 1 of them.
 */
int pattern_new_literal(struct sl_slice bytes, bool ignore_case, struct pattern **ret, const char **ret_why);
void pattern_free(struct pattern *p);
bool pattern_match(struct pattern *p, struct sl_slice text);
/* The same in steps, for long texts and dear patterns: a place in a text, and what was matched up to there.
 */
struct pattern_pause {
    size_t at; /* 0: at its start */
    uint64_t before;
    uint64_t bits[(PATTERN_PROGRAM_MAX + 63) / 64];
};
/*
 * 0 no match, 1 a match, PATTERN_LATER: about work_max steps were done; call again with the same text and
 * pause (other texts may be matched between). *pause is zeroed for a new text.
 */
enum { PATTERN_LATER = 2 };
int pattern_match_some(struct pattern *p, struct sl_slice text, uint64_t work_max,
                       struct pattern_pause *pause);
/*
 * Steps done so far, about a nanosecond each: one per byte looked up, one per instruction when a state is
 * made. For who shares a thread with others.
 */
uint64_t pattern_work(const struct pattern *p);
