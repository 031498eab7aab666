// SPDX-License-Identifier: Apache-2.0
/*
 * The gateway that the reading commands talk to: its address, the token, and questions with one short answer.
 * What goes wrong is said on stderr in one line that names the address. One thread.
 */
#pragma once
#include "wire/options.h"
#include "wire/slice.h"

#include <curl/curl.h>

struct json_t;

struct server_options {
    const char *server, *token_file, *ca_file;
};

/* Rows of a command's option table. */
#define SERVER_OPTIONS(o)                                                                                    \
    {.name = "server",                                                                                       \
     .type = SL_OPTION_TEXT,                                                                                 \
     .value = &(o).server,                                                                                   \
     .unit = "URL",                                                                                          \
     .fallback = "http://127.0.0.1:8470",                                                                    \
     .check = server_url_check,                                                                              \
     .sentence = "the gateway to ask"},                                                                      \
        {.name = "token-file",                                                                               \
         .type = SL_OPTION_TEXT,                                                                             \
         .value = &(o).token_file,                                                                           \
         .unit = "FILE",                                                                                     \
         .sentence = "read the token from FILE instead of $SANDLOG_TOKEN"},                                  \
    {                                                                                                        \
        .name = "ca-file", .type = SL_OPTION_TEXT, .value = &(o).ca_file, .unit = "FILE",                    \
        .sentence = "trust the certificates in FILE (https)"                                                 \
    }

/* For option tables: NULL, or what is wrong. */
const char *server_url_check(const char *text);

/* Does the URL name this machine by its loopback address? */
bool server_url_is_loopback(const char *url);

struct server {
    char *url;                /* without slash at the end */
    struct curl_slist *token; /* the header, or NULL */
    const char *ca_file;
    bool loopback;
};

/* Not 0: the exit status; why was said. */
int server_init(struct server *server, const struct server_options *options);
void server_fini(struct server *server);

/* A new handle with everything set that all requests share; no body handling yet. NULL without memory. */
CURL *server_request(const struct server *server);
/* Why a transfer failed, in a few small words ("connection refused"). Valid until the next call. */
const char *server_fault(CURL *curl, CURLcode code);
/* Says why nothing comes from the server at all. */
void server_say_unreachable(const struct server *server, const char *why);
/* Says what an answer other than 200 means. `body`: a problem document, or anything. */
void server_say_refusal(const struct server *server, long status, struct sl_slice body);

/*
 * GET url + path; *ret_json owned by the caller. Not 0: the exit status; why was said, unless `quiet`.
 */
int server_get(const struct server *server, const char *path, bool quiet, struct json_t **ret_json);
