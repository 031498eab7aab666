// SPDX-License-Identifier: Apache-2.0
#include "server.h"
#include "line.h"
#include "say.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define WAITING_NS SL_NS_PER_S

enum {
    TOKEN_MAX_BYTES = 16 << 10,
    ANSWER_MAX_BYTES = 64 << 20,
    CONNECT_TIMEOUT_MS = 10000,
    ANSWER_TIMEOUT_MS = 60000,
};

const char *server_url_check(const char *text)
{
    const char *rest = strstr(text, "://");
    if (rest && strncasecmp(text, "http://", 7) != 0 && strncasecmp(text, "https://", 8) != 0)
        return "is neither http:// nor https://";
    rest = rest ? rest + 3 : text;
    if (!*rest || *rest == '/' || strpbrk(text, " \t\r\n?#"))
        return "is not a server's address (try http://127.0.0.1:8470)";
    return NULL;
}

/* The token's text, checked; *ret NULL when there is none. Not 0: exit status. */
static int token_read(const char *file, char **ret)
{
    char text[TOKEN_MAX_BYTES + 1];
    size_t bytes = 0;
    const char *where = "SANDLOG_TOKEN";
    if (file) {
        where = file;
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
        if (n < 0) {
            say("--token-file %s: %s", file, say_errno(errno));
            if (fd >= 0)
                close(fd);
            return 2;
        }
        close(fd);
        bytes = (size_t)n;
    } else {
        const char *given = getenv("SANDLOG_TOKEN");
        bytes = given ? strlen(given) : 0;
        if (bytes < sizeof text)
            memcpy(text, given ? given : "", bytes);
    }
    if (bytes > TOKEN_MAX_BYTES) {
        say("%s: too long for a token", where);
        return 2;
    }
    while (bytes > 0 && strchr(" \t\r\n", text[bytes - 1]))
        bytes--;
    for (size_t i = 0; i < bytes; i++)
        if (text[i] <= 0x20 || text[i] == 0x7f) {
            say("%s: holds no token", where);
            return 2;
        }
    if (file && bytes == 0) {
        say("%s: holds no token", where);
        return 2;
    }
    *ret = bytes > 0 ? strndup(text, bytes) : NULL;
    return bytes > 0 && !*ret ? 1 : 0;
}

bool server_url_is_loopback(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    size_t bytes = strcspn(host, "/");
    static const char *const names[] = {"127.", "localhost:", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncasecmp(host, names[i], strlen(names[i])) == 0)
            return true;
    return bytes == 9 && strncasecmp(host, "localhost", 9) == 0;
}

int server_init(struct server *server, const struct server_options *options)
{
    *server = (struct server){.ca_file = options->ca_file};
    char *token = NULL;
    if (options->ca_file && access(options->ca_file, R_OK) < 0) {
        say("--ca-file %s: %s", options->ca_file, say_errno(errno));
        return 2;
    }
    int status = token_read(options->token_file, &token);
    if (status != 0)
        return status;
    bool scheme = strstr(options->server, "://") != NULL;
    size_t bytes = strlen(options->server);
    while (bytes > 0 && options->server[bytes - 1] == '/')
        bytes--;
    char *header = NULL;
    bool ok = asprintf(&server->url, "%s%.*s", scheme ? "" : "http://", (int)bytes, options->server) >= 0;
    if (ok && token) {
        ok = asprintf(&header, "Authorization: Bearer %s", token) >= 0;
        server->token = ok ? curl_slist_append(NULL, header) : NULL;
        ok = server->token != NULL;
        free(header);
    }
    free(token);
    if (!ok || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        say("%s", say_errno(ENOMEM));
        return 1;
    }
    server->loopback = server_url_is_loopback(server->url);
    return 0;
}

void server_fini(struct server *server)
{
    free(server->url);
    curl_slist_free_all(server->token);
    *server = (struct server){0};
}

CURL *server_request(const struct server *server)
{
    CURL *curl = curl_easy_init();
    if (!curl)
        return NULL;
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "sandlog/" SL_VERSION);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, server->token);
    if (server->loopback) /* $http_proxy is not meant for this machine */
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (server->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, server->ca_file);
    return curl;
}

const char *server_fault(CURL *curl, CURLcode code)
{
    static char text[160];
    long error = 0;
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &error);
        return error != 0 ? say_errno((int)error) : "cannot connect";
    case CURLE_COULDNT_RESOLVE_HOST:
        return "no such host";
    case CURLE_OPERATION_TIMEDOUT:
        return "no answer in time";
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return "connection lost";
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
        return "that is not an HTTP server";
    case CURLE_SSL_CONNECT_ERROR:
        return "TLS handshake failed";
    case CURLE_PEER_FAILED_VERIFICATION:
        return "its certificate is not trusted (see --ca-file)";
    case CURLE_SSL_CACERT_BADFILE:
        return "cannot read the certificates of --ca-file";
    default:
        snprintf(text, sizeof text, "%s", curl_easy_strerror(code));
        return text;
    }
}

void server_say_unreachable(const struct server *server, const char *why)
{
    bool nobody = server->loopback && strcmp(why, "connection refused") == 0;
    say("cannot reach %s: %s%s", server->url, why, nobody ? " (is \"sandlog up\" running?)" : "");
}

void server_say_refusal(const struct server *server, long status, struct sl_slice body)
{
    struct problem problem;
    if (problem_decode(body, &problem) != 0)
        problem = (struct problem){0};
    const char *detail = problem.detail[0] ? problem.detail : NULL;
    switch (status) {
    case 401:
        say("%s wants a token: %s", server->url, detail ? detail : "set SANDLOG_TOKEN");
        return;
    case 403:
        say("%s refuses: %s", server->url, detail ? detail : "the token does not allow this");
        return;
    default:
        if (detail)
            say("%s", detail);
        else
            say("%s answered %ld: is that a sandlog gateway?", server->url, status);
        return;
    }
}

struct answer {
    char *data;
    size_t bytes;
};

static size_t answer_add(char *data, size_t size, size_t count, void *arg)
{
    struct answer *answer = arg;
    size_t bytes = size * count;
    if (answer->bytes + bytes > ANSWER_MAX_BYTES)
        return 0;
    char *grown = realloc(answer->data, answer->bytes + bytes + 1);
    if (!grown)
        return 0;
    memcpy(grown + answer->bytes, data, bytes);
    answer->data = grown;
    answer->bytes += bytes;
    return bytes;
}

/* For a person at a terminal, when an answer takes longer than a second. */
struct waiting {
    const struct server *server;
    int64_t begun_ns;
    bool shown;
};

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    struct waiting *waiting = arg;
    if (!waiting->shown && sl_monotonic_ns() - waiting->begun_ns > WAITING_NS) {
        waiting->shown = true;
        say_status("waiting for %s ...", waiting->server->url);
    }
    return 0;
}

int server_get(const struct server *server, const char *path, bool quiet, json_t **ret_json)
{
    CURL *curl = server_request(server);
    char *url = NULL;
    struct answer answer = {0};
    int status = 1;
    long http = 0;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    struct waiting waiting = {.server = server, .begun_ns = sl_monotonic_ns()};
    if (curl && asprintf(&url, "%s%s", server->url, path) >= 0) {
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)ANSWER_TIMEOUT_MS);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, answer_add);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
        if (!quiet) {
            curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
            curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
            curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &waiting);
        }
        code = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http);
        if (waiting.shown)
            say_status(NULL);
    }
    json_t *json = NULL;
    if (code == CURLE_OK && http == 200)
        json = json_loadb(answer.data ? answer.data : "", answer.bytes, JSON_ALLOW_NUL, NULL);
    if (json) {
        *ret_json = json;
        status = 0;
    } else if (!quiet) {
        if (code != CURLE_OK)
            server_say_unreachable(server, curl ? server_fault(curl, code) : say_errno(ENOMEM));
        else if (http != 200)
            server_say_refusal(server, http, sl_slice(answer.data, answer.bytes));
        else
            say("%s did not answer in JSON: is that a sandlog gateway?", server->url);
    }
    free(url);
    free(answer.data);
    curl_easy_cleanup(curl);
    return status;
}
