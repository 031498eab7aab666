// SPDX-License-Identifier: Apache-2.0
#include "mailbox.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int sl_mailbox_init(struct sl_mailbox *m, void (*wake)(void *arg), void *wake_arg)
{
    int fd = -1;
    if (!wake) {
        fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
            return -errno;
    }
    int r = pthread_mutex_init(&m->lock, NULL);
    if (r != 0) {
        if (fd >= 0)
            close(fd);
        return -r;
    }
    m->first = NULL;
    m->last = &m->first;
    m->fd = fd;
    m->wake = wake;
    m->wake_arg = wake_arg;
    return 0;
}

void sl_mailbox_fini(struct sl_mailbox *m)
{
    /* The last poster may still be on its way out: it has left when the lock can be had. */
    pthread_mutex_lock(&m->lock);
    pthread_mutex_unlock(&m->lock);
    pthread_mutex_destroy(&m->lock);
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}

void sl_mailbox_post(struct sl_mailbox *m, struct sl_letter *letter)
{
    letter->next = NULL;
    pthread_mutex_lock(&m->lock);
    bool was_empty = m->first == NULL;
    *m->last = letter;
    m->last = &letter->next;
    /* Woken under the lock, so that a home thread which takes the letter and ends the mailbox waits for us.
     */
    if (was_empty) {
        if (m->wake) {
            m->wake(m->wake_arg);
        } else {
            ssize_t n = write(m->fd, &(uint64_t){1}, sizeof(uint64_t));
            assert(n == (ssize_t)sizeof(uint64_t));
        }
    }
    pthread_mutex_unlock(&m->lock);
}

struct sl_letter *sl_mailbox_take(struct sl_mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    struct sl_letter *chain = m->first;
    m->first = NULL;
    m->last = &m->first;
    if (chain && m->fd >= 0) {
        uint64_t count;
        ssize_t n = read(m->fd, &count, sizeof count);
        assert(n == (ssize_t)sizeof count);
    }
    pthread_mutex_unlock(&m->lock);
    return chain;
}
