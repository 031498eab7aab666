// SPDX-License-Identifier: Apache-2.0
/*
 * Who is let in, and how fast: limits on followers in all, and on followers, requests and bytes of one
 * reader, where a reader is a token, or an address where there are no tokens. Home thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct admission;
/* A reader with something under way, or a rate to remember; refcounted by the connections it has. */
struct visitor;

struct admission_limits {
    size_t followers;             /* 0: none */
    size_t followers_of_one;      /* 0: none */
    size_t requests_per_s_of_one; /* 0: none; a burst of as many is free */
    size_t bytes_per_s_of_one;    /* likewise */
};
/* Fault: -ENOMEM. */
int admission_new(const struct admission_limits *limits, struct admission **ret);
void admission_free(struct admission *a);

enum { ADMISSION_TOO_MANY_FOLLOWERS = 1, ADMISSION_TOO_MANY_REQUESTS = 2 };
/*
 * A request of the reader named by `key`. 0 with *ret, to be given back with admission_leave(). > 0: refused,
 * *ret_retry_s says when to come again. Fault: -ENOMEM.
 */
int admission_enter(struct admission *a, uint64_t key, int64_t now_ns, struct visitor **ret,
                    unsigned *ret_retry_s);
/* It follows from now on (once per entry). > 0 as above. */
int admission_follow(struct admission *a, struct visitor *v, unsigned *ret_retry_s);
void admission_leave(struct admission *a, struct visitor *v, bool followed, int64_t now_ns);
/*
 * Bytes. May it send a piece now? What is sent beyond its allowance is made up for before the next. While
 * some of its connections stand in line, only those do that the line lets (`in_line`), so that all have their
 * share.
 */
bool admission_may_send(const struct admission *a, const struct visitor *v, bool in_line, int64_t now_ns);
/* Negative: they were not sent after all. */
void admission_sent(struct admission *a, struct visitor *v, int64_t bytes, int64_t now_ns);
void admission_line(struct visitor *v, bool enters);
/* About once a second: forgets readers whose allowance is whole again. */
void admission_tick(struct admission *a, int64_t now_ns);
