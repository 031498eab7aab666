// SPDX-License-Identifier: Apache-2.0
#include "watch.h"
#include "connection.h"
#include <errno.h>
#include <sys/epoll.h>

enum { EVENTS = 64 };

int watch_open(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static void control(int epoll, int what, struct connection *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, what, lws_get_socket_fd(c->wsi), &event);
}

void watch_begin(int epoll, struct connection *c)
{
    c->watched = true;
    control(epoll, EPOLL_CTL_ADD, c, EPOLLRDHUP | EPOLLET);
    lws_rx_flow_control(c->wsi, 0);
}

void watch_end(int epoll, struct connection *c)
{
    if (!c->watched)
        return;
    c->watched = false;
    control(epoll, EPOLL_CTL_DEL, c, 0);
    lws_rx_flow_control(c->wsi, 1);
}

void watch_writeable(int epoll, struct connection *c, bool full)
{
    if (!c->watched) {
        lws_callback_on_writable(c->wsi);
    } else if (full) {
        lws_rx_flow_control(c->wsi, 0);
        control(epoll, EPOLL_CTL_MOD, c, EPOLLOUT | EPOLLRDHUP | EPOLLONESHOT);
    } else {
        lws_rx_flow_control(c->wsi, 1);
        lws_callback_on_writable(c->wsi);
    }
}

void watch_wrote(struct connection *c)
{
    if (c->watched)
        lws_rx_flow_control(c->wsi, 0);
}

void watch_run(int epoll)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, 0);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) {
            control(epoll, EPOLL_CTL_MOD, c, EPOLLRDHUP | EPOLLET);
            lws_rx_flow_control(c->wsi, 1);
            lws_callback_on_writable(c->wsi);
        }
        if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            connection_hung_up(c);
    }
}
