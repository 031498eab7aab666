// SPDX-License-Identifier: Apache-2.0
/*
 * The mailbox: how other threads hand work to a home thread. Any thread may post; only the home thread takes.
 * It is the one place with a lock (DESIGN 7). Posting wakes the home thread through an eventfd, at most once
 * per batch. Letters are intrusive: embed struct sl_letter, it belongs to the mailbox from post until take.
 * Never blocks, never fails.
 */
#pragma once
#include <pthread.h>

struct sl_letter {
    struct sl_letter *next;
};

struct sl_mailbox {
    pthread_mutex_t lock;
    struct sl_letter *first;
    struct sl_letter **last;
    int fd; /* readable while there is something to take; for poll(); -1 with a wake function */
    void (*wake)(void *arg); /* instead of the eventfd, called from the posting thread */
    void *wake_arg;
};

/* With `wake` NULL an eventfd is made. Faults: -errno. */
int sl_mailbox_init(struct sl_mailbox *m, void (*wake)(void *arg), void *wake_arg);
void sl_mailbox_fini(struct sl_mailbox *m);
void sl_mailbox_post(struct sl_mailbox *m, struct sl_letter *letter);
/* All letters, oldest first, as a chain; NULL when there are none. Clears the eventfd. */
struct sl_letter *sl_mailbox_take(struct sl_mailbox *m);
