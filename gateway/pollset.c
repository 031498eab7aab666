// SPDX-License-Identifier: Apache-2.0
/* poll() is defined here: a checking macro of that name would be in the way. */
#undef _FORTIFY_SOURCE
#include "pollset.h"
#include <assert.h>
#include <dlfcn.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR && POLLHUP == EPOLLHUP,
              "poll's bits are epoll's");

struct known {
    uint32_t place; /* in the table */
    short events;
    bool in; /* epoll has it */
};

static int epoll = -1;
static struct known *known; /* by descriptor */
static size_t known_count;
static struct pollfd *seen; /* the table as epoll was told it; fd -1: it was not */
static size_t seen_count, seen_room;
static _Thread_local bool at_home;

static int (*libc_poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
static int (*libc_close)(int fd);

static void resolve(void)
{
    *(void **)&libc_poll = dlsym(RTLD_NEXT, "poll");
    *(void **)&libc_close = dlsym(RTLD_NEXT, "close");
}

static bool make_room(int fd, size_t count)
{
    if (count > seen_room) {
        struct pollfd *grown = realloc(seen, 2 * count * sizeof *grown);
        if (!grown)
            return false;
        seen = grown;
        seen_room = 2 * count;
    }
    if (fd >= 0 && (size_t)fd >= known_count) {
        size_t more = 2 * (size_t)fd + 64;
        struct known *grown = realloc(known, more * sizeof *grown);
        if (!grown)
            return false;
        memset(grown + known_count, 0, (more - known_count) * sizeof *grown);
        known = grown;
        known_count = more;
    }
    return true;
}

static void forget(int fd)
{
    struct known *k = &known[fd];
    epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
    k->in = false;
    if (k->place < seen_count && seen[k->place].fd == fd)
        seen[k->place].fd = -1;
}

static bool tell(const struct pollfd *p, size_t place)
{
    seen[place].fd = -1;
    if (p->fd < 0 || !make_room(p->fd, 0))
        return false;
    struct known *k = &known[p->fd];
    struct epoll_event event = {.events = (uint32_t)p->events, .data.fd = p->fd};
    if ((!k->in || k->events != p->events) &&
        epoll_ctl(epoll, k->in ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, p->fd, &event) < 0)
        return false;
    *k = (struct known){.place = (uint32_t)place, .events = p->events, .in = true};
    seen[place] = (struct pollfd){.fd = p->fd, .events = p->events};
    return true;
}

/* False: epoll does not have all of it. */
static bool tell_changes(struct pollfd *fds, size_t count)
{
    bool whole = make_room(-1, count);
    if (!whole)
        return false;
    for (; seen_count < count; seen_count++)
        seen[seen_count].fd = -1;
    seen_count = count; /* what was behind has left, or has moved */
    for (size_t i = 0; i < count; i++) {
        fds[i].revents = 0;
        if (fds[i].fd != seen[i].fd || fds[i].events != seen[i].events)
            whole = tell(&fds[i], i) && whole;
    }
    return whole;
}

static int await(struct pollfd *fds, size_t count, int timeout_ms)
{
    static struct epoll_event events[POLLSET_READY_MAX];
    int n = epoll_wait(epoll, events, POLLSET_READY_MAX, timeout_ms), ready = 0;
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        size_t place = known[fd].place;
        if (place < count && fds[place].fd == fd) {
            fds[place].revents = (short)events[i].events;
            ready++;
        } else {
            forget(fd); /* not closed, but lws has no interest in it any more */
        }
    }
    return n < 0 ? n : ready;
}

/* ---- what libwebsockets calls: seen by it, unlike all else of this program ---- */

#define FOR_LIBRARIES __attribute__((visibility("default")))

FOR_LIBRARIES int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (!libc_poll)
        resolve();
    /* of one only, lws asks whether a socket takes more */
    if (!at_home || count < 2 || !tell_changes(fds, (size_t)count))
        return libc_poll(fds, count, timeout_ms);
    return await(fds, (size_t)count, timeout_ms);
}

FOR_LIBRARIES int close(int fd)
{
    if (!libc_close)
        resolve();
    if (at_home && fd >= 0 && (size_t)fd < known_count && known[fd].in)
        forget(fd);
    return libc_close(fd);
}

void pollset_open(void)
{
    resolve(); /* before other threads call */
    epoll = epoll_create1(EPOLL_CLOEXEC);
    at_home = epoll >= 0;
}
