// SPDX-License-Identifier: Apache-2.0
/*
 * Real redis-servers for tests, each on a free port and in a folder of its own, started and ended by its pid.
 * Exits with 77 (skipped) when there is none on this machine.
 */
#pragma once
#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77 };

struct server {
    pid_t pid;
    int port;
    char folder[128];
    char options[16][64]; /* beside port, bind and dir */
    int option_count;
};

static inline void server_fail(const char *what)
{
    fprintf(stderr, "redis-server: %s\n", what);
    exit(1);
}

static inline bool server_installed(void)
{
    return access("/usr/bin/redis-server", X_OK) == 0 || access("/usr/local/bin/redis-server", X_OK) == 0;
}

static inline int server_free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) ||
        getsockname(fd, (struct sockaddr *)&at, &bytes))
        server_fail("no free port");
    close(fd);
    /* A cluster's bus is 10,000 above. */
    int port = ntohs(at.sin_port);
    return port < 55000 ? port : server_free_port();
}

/* One command; NULL when there is no answer. Freed by the caller. */
static inline redisReply *server_try(const struct server *s, const char *command)
{
    struct timeval soon = {.tv_sec = 5};
    redisContext *c = redisConnectWithTimeout("127.0.0.1", s->port, soon);
    redisReply *reply = NULL;
    if (c && !c->err && redisSetTimeout(c, soon) == REDIS_OK)
        reply = redisCommand(c, command);
    if (c)
        redisFree(c);
    return reply;
}

static inline bool server_says(const struct server *s, const char *command, const char *part)
{
    redisReply *reply = server_try(s, command);
    bool good = reply && reply->str && strstr(reply->str, part);
    freeReplyObject(reply);
    return good;
}

static inline void server_command(const struct server *s, const char *command)
{
    redisReply *reply = server_try(s, command);
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        server_fail(reply ? reply->str : "no answer");
    freeReplyObject(reply);
}

static inline void server_await(const struct server *s, const char *command, const char *part)
{
    for (int i = 0; i < 6000; i++) {
        if (server_says(s, command, part))
            return;
        poll(NULL, 0, 5);
    }
    server_fail(command);
}

/* On the port and in the folder it had. */
static inline void server_run(struct server *s)
{
    char port[16];
    snprintf(port, sizeof port, "%d", s->port);
    s->pid = fork();
    if (s->pid == 0) {
        const char *argv[48] = {"redis-server", "--port", port, "--bind",      "127.0.0.1", "--dir",
                                s->folder,      "--save", "",   "--daemonize", "no"};
        int argc = 11;
        for (int i = 0; i < s->option_count; i++)
            argv[argc++] = s->options[i];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    server_await(s, "PING", "PONG");
}

static inline void server_start(struct server *s)
{
    if (!server_installed()) {
        fprintf(stderr, "SKIPPED: no redis-server on this machine\n");
        exit(SKIPPED);
    }
    const char *base = getenv("TMPDIR");
    snprintf(s->folder, sizeof s->folder, "%s/sandlog-redis-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(s->folder))
        server_fail("no folder");
    s->port = server_free_port();
    server_run(s);
}

static inline void server_option(struct server *s, const char *name, const char *value)
{
    snprintf(s->options[s->option_count++], sizeof *s->options, "%s", name);
    snprintf(s->options[s->option_count++], sizeof *s->options, "%s", value);
}

static inline void server_kill(struct server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        waitpid(s->pid, NULL, 0);
    }
    s->pid = 0;
}

static inline void server_end(struct server *s)
{
    server_kill(s);
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'", s->folder);
    if (*s->folder && system(command) != 0)
        server_fail(command);
    *s->folder = 0;
}
