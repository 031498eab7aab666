// SPDX-License-Identifier: Apache-2.0
#include "up_place.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* asprintf(3); at start-up there is nothing to save from a lack of memory */
__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    char *out = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&out, format, args);
    va_end(args);
    if (n < 0) {
        say("%s", say_errno(ENOMEM));
        exit(1);
    }
    return out;
}

/* The program beside this one, else in PATH. NULL: neither. */
static char *find_program(const char *name)
{
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n > 0) {
        own[n] = 0;
        char *slash = strrchr(own, '/');
        char *path = text("%.*s/%s", slash ? (int)(slash - own) : 0, own, name);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    const char *folders = getenv("PATH");
    for (const char *at = folders ? folders : ""; *at;) {
        size_t bytes = strcspn(at, ":");
        char *path = text("%.*s%s%s", (int)bytes, at, bytes > 0 ? "/" : "./", name);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
        at += bytes + (at[bytes] == ':');
    }
    say("cannot find %s: not beside %s, not in PATH", name, n > 0 ? own : "sandlog");
    return NULL;
}

static int make_folder(const char *path)
{
    char *copy = text("%s", path);
    int status = 0;
    for (char *at = copy + 1; status == 0; at++) {
        if (*at != '/' && *at)
            continue;
        char kept = *at;
        *at = 0;
        if (mkdir(copy, 0777) < 0 && errno != EEXIST) {
            say("cannot create %s: %s", copy, say_errno(errno));
            status = 1;
        }
        *at = kept;
        if (!kept)
            break;
    }
    free(copy);
    return status;
}

/* One `up` a folder. The file names the process that has it. */
static int lock_folder(struct up_place *place, const char *data)
{
    char *path = text("%s/lock", data);
    int status = 1;
    place->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (place->lock_fd < 0) {
        say("cannot write to %s: %s", data, say_errno(errno));
    } else if (flock(place->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        char pid[16] = "";
        ssize_t n = errno == EWOULDBLOCK ? pread(place->lock_fd, pid, sizeof pid - 1, 0) : -1;
        pid[n > 0 ? strspn(pid, "0123456789") : 0] = 0;
        if (n >= 0)
            say("%s is in use by another \"sandlog up\"%s%s", data, *pid ? ", process " : "", pid);
        else
            say("cannot lock %s: %s", path, say_errno(errno));
    } else {
        char pid[16];
        int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
        status = 0;
        if (ftruncate(place->lock_fd, 0) < 0 || pwrite(place->lock_fd, pid, (size_t)n, 0) != n) {
            say("cannot write to %s: %s", path, say_errno(errno));
            status = 1;
        }
    }
    free(path);
    return status;
}

/*
 * Is the address free? Says so here, before anything is started; port 0 becomes a free port. The gateway
 * binds it again: in between somebody else may take it, and then the gateway says so.
 */
static int try_address(struct up_place *place, const char *listen_on)
{
    const char *colon = strrchr(listen_on, ':');
    bool v6 = listen_on[0] == '[';
    char *host = v6 ? text("%.*s", (int)(colon - listen_on) - 2, listen_on + 1)
                    : text("%.*s", (int)(colon - listen_on), listen_on);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE},
                    *found;
    int status = 1, fd = -1;
    int e = getaddrinfo(host, colon + 1, &hints, &found);
    if (e != 0) {
        say("cannot listen on %s: %s", listen_on, gai_strerror(e));
        goto out;
    }
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_storage own;
    socklen_t own_bytes = sizeof own;
    char port[8];
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 1) < 0 ||
        getsockname(fd, (struct sockaddr *)&own, &own_bytes) < 0 ||
        getnameinfo((struct sockaddr *)&own, own_bytes, NULL, 0, port, sizeof port, NI_NUMERICSERV) != 0) {
        if (errno == EADDRINUSE)
            say("%s is in use by another program; try --listen with another port", listen_on);
        else
            say("cannot listen on %s: %s", listen_on, say_errno(errno));
    } else {
        place->listen = text("%.*s%s", (int)(colon + 1 - listen_on), listen_on, port);
        bool any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
        const char *certificate = getenv("SANDLOG_TLS_CERT");
        const char *scheme = certificate && *certificate ? "https" : "http";
        place->url = any ? text("%s://127.0.0.1:%s", scheme, port) : text("%s://%s", scheme, place->listen);
        status = 0;
    }
    freeaddrinfo(found);
out:
    if (fd >= 0)
        close(fd);
    free(host);
    return status;
}

/* A socket's name holds 107 bytes; a folder further away is reached through a descriptor the daemons inherit.
 */
static int name_links(struct up_place *place, const char *data)
{
    char *folder = text("%s", data);
    if (strlen(data) + sizeof "/ingest.sock" > sizeof((struct sockaddr_un *)0)->sun_path) {
        place->folder_fd = open(data, O_RDONLY | O_DIRECTORY);
        if (place->folder_fd < 0) {
            say("cannot open %s: %s", data, say_errno(errno));
            free(folder);
            return 1;
        }
        free(folder);
        folder = text("/proc/self/fd/%d", place->folder_fd);
    }
    place->ingest_url = text("ipc://%s/ingest.sock", folder);
    place->query_url = text("ipc://%s/query.sock", folder);
    free(folder);
    return 0;
}

int up_place_open(struct up_place *place, const char *data, const char *listen_on)
{
    *place = (struct up_place){.lock_fd = -1, .folder_fd = -1};
    char *whole = NULL;
    place->broker = find_program("sandlog-broker");
    place->gateway = place->broker ? find_program("sandlog-gateway") : NULL;
    place->collector = place->gateway ? find_program("sandlog-collector") : NULL;
    if (!place->collector)
        goto fail;
    place->store = text("%s/store", data);
    place->sandboxes = text("%s/sandboxes", data);
    if (make_folder(data) != 0 || lock_folder(place, data) != 0 || make_folder(place->sandboxes) != 0 ||
        try_address(place, listen_on) != 0 || name_links(place, data) != 0)
        goto fail;
    whole = realpath(place->sandboxes, NULL);
    if (!whole || strpbrk(whole, "*?[]{}\\")) {
        if (whole)
            say("cannot watch %s: one of *?[]{}\\ is in its name", whole);
        else
            say("%s: %s", place->sandboxes, say_errno(errno));
        goto fail;
    }
    place->watch = text("cri:%s/{sandbox}/{container}.log", whole);
    free(whole);
    return 0;
fail:
    free(whole);
    up_place_close(place);
    return 1;
}

void up_place_close(struct up_place *place)
{
    char *const texts[] = {place->store,     place->sandboxes, place->watch, place->ingest_url,
                           place->query_url, place->listen,    place->url,   place->broker,
                           place->gateway,   place->collector};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    if (place->folder_fd >= 0)
        close(place->folder_fd);
    if (place->lock_fd >= 0)
        close(place->lock_fd);
    *place = (struct up_place){.lock_fd = -1, .folder_fd = -1};
}
