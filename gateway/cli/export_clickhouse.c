// SPDX-License-Identifier: Apache-2.0
#include "export_clickhouse.h"
#include "export_table.h"
#include "say.h"
#include "server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ANSWER_MAX_BYTES = 64 << 10,
    CONNECT_TIMEOUT_MS = 10000,
    SILENCE_S = 120, /* an INSERT into a busy server may take long */
};

struct clickhouse {
    struct sink sink;
    struct table_address address;
    CURL *curl;
    struct curl_slist *headers;
    bool ready;
    enum row_form form;
    char *insert;   /* the statement */
    char *settings; /* &NAME=VALUE of those that this server knows */
    FILE *out;      /* the rows of the batch, into: */
    char *rows;
    size_t row_bytes, row_count;
    char answer[ANSWER_MAX_BYTES + 1];
    size_t answer_bytes;
};

static struct clickhouse *clickhouse_of(struct sink *sink)
{
    return (struct clickhouse *)sink;
}

static int no_memory(struct clickhouse *c)
{
    retry_say(c->sink.retry, "%s", say_errno(ENOMEM));
    return SINK_AGAIN;
}

/* ---- one request ---- */

static size_t on_answer(char *data, size_t size, size_t count, void *arg)
{
    struct clickhouse *c = arg;
    size_t bytes = size * count, room = ANSWER_MAX_BYTES - c->answer_bytes;
    memcpy(c->answer + c->answer_bytes, data, bytes < room ? bytes : room);
    c->answer_bytes += bytes < room ? bytes : room;
    c->answer[c->answer_bytes] = '\0';
    return bytes;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t d, curl_off_t e)
{
    (void)a, (void)b, (void)d, (void)e;
    const struct clickhouse *c = arg;
    return c->sink.cancelled && c->sink.cancelled();
}

/* ClickHouse says "Code: 60, e.displayText() = DB::Exception: TEXT, e.what() = ..."; the text, in one line.
 */
static const char *complaint(struct clickhouse *c)
{
    char *text = strstr(c->answer, "DB::Exception: ");
    text = text ? text + 15 : c->answer;
    char *what = strstr(text, ", e.what() =");
    if (what)
        *what = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    size_t bytes = strlen(text);
    if (bytes > 0 && text[bytes - 1] == '.')
        text[bytes - 1] = '\0';
    if (strlen(text) > 300)
        snprintf(text + 297, 4, "...");
    return text;
}

/* `body` is sent behind the statement. The answer is in c->answer. Says what is wrong. */
static int ask(struct clickhouse *c, const char *statement, const char *settings, struct sl_slice body)
{
    char *query = curl_easy_escape(c->curl, statement, 0), *url = NULL;
    if (!query || asprintf(&url, "%s/?query=%s%s", c->address.url, query, settings) < 0) {
        curl_free(query);
        return no_memory(c);
    }
    curl_free(query);
    c->answer_bytes = 0;
    c->answer[0] = '\0';
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body.bytes > 0 ? (const char *)body.data : "");
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.bytes);
    CURLcode code = curl_easy_perform(c->curl);
    free(url);
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return SINK_AGAIN;
    if (code != CURLE_OK) {
        retry_say(c->sink.retry, "cannot reach ClickHouse at %s: %s; trying again", c->address.url,
                  server_fault(c->curl, code));
        return SINK_AGAIN;
    }
    if (status == 200 && strncmp(c->answer, "Code: ", 6) != 0)
        return SINK_OK;
    const char *why = c->answer[0] ? complaint(c) : "no reason given";
    if (status == 401 || status == 403) {
        say("ClickHouse at %s refuses: %s", c->address.url, why);
        return SINK_NEVER;
    }
    retry_say(c->sink.retry, "ClickHouse at %s answered %ld: %s; trying again", c->address.url, status, why);
    return SINK_AGAIN;
}

/* The same, with a statement made here. */
static int askf(struct clickhouse *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int askf(struct clickhouse *c, const char *format, ...)
{
    char *statement = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&statement, format, args);
    va_end(args);
    if (n < 0)
        return no_memory(c);
    int r = ask(c, statement, "", sl_slice(NULL, 0));
    free(statement);
    return r;
}

/* ---- what the server knows, and the table ---- */

/*
 * Lines may be of any time, so of any number of months; an INSERT is to have been done when it is answered.
 * Servers refuse settings that they do not know.
 */
static int find_settings(struct clickhouse *c)
{
    int r = askf(c, "SELECT name FROM system.settings WHERE name IN ('max_partitions_per_insert_block', "
                    "'async_insert')");
    if (r != SINK_OK)
        return r;
    free(c->settings);
    c->settings = NULL;
    int n = asprintf(
        &c->settings, "%s%s",
        strstr(c->answer, "max_partitions_per_insert_block") ? "&max_partitions_per_insert_block=0" : "",
        strstr(c->answer, "async_insert") ? "&async_insert=0" : "");
    if (n < 0) {
        c->settings = NULL;
        return no_memory(c);
    }
    return SINK_OK;
}

static int make_table(struct clickhouse *c)
{
    int r = askf(c, "SELECT name FROM system.data_type_families WHERE name IN ('DateTime64', 'Map')");
    if (r != SINK_OK)
        return r;
    c->form = strstr(c->answer, "DateTime64") && strstr(c->answer, "Map") ? ROW_NEW : ROW_OLD;
    r = askf(c, "SELECT name FROM system.databases WHERE name = '%s'", c->address.database);
    if (r == SINK_OK && c->answer_bytes == 0)
        r = askf(c, "CREATE DATABASE IF NOT EXISTS %s", c->address.database);
    if (r != SINK_OK)
        return r;
    char *statement = table_create_statement(&c->address, c->form);
    r = statement ? ask(c, statement, "", sl_slice(NULL, 0)) : no_memory(c);
    free(statement);
    return r;
}

static int check_engine(struct clickhouse *c)
{
    int r = askf(c, "SELECT engine, sorting_key FROM system.tables WHERE database = '%s' AND name = '%s'",
                 c->address.database, c->address.table);
    if (r != SINK_OK)
        return r;
    const char *tab = strchr(c->answer, '\t');
    size_t bytes = tab ? (size_t)(tab - c->answer) : c->answer_bytes;
    const char *wrong =
        table_engine_check(sl_slice(c->answer, bytes), tab ? sl_slice_of(tab + 1) : sl_slice(NULL, 0));
    if (wrong) {
        say("the table %s.%s %s", c->address.database, c->address.table, wrong);
        return SINK_NEVER;
    }
    return SINK_OK;
}

static int prepare(struct clickhouse *c)
{
    int r = find_settings(c);
    for (int made = 0; r == SINK_OK; made++) {
        r = askf(c,
                 "SELECT name, type FROM system.columns WHERE database = '%s' AND table = '%s' FORMAT "
                 "TabSeparated",
                 c->address.database, c->address.table);
        if (r != SINK_OK || c->answer_bytes > 0 || made > 0)
            break;
        r = make_table(c);
    }
    if (r != SINK_OK)
        return r;
    char fault[300];
    if (table_columns_check(sl_slice(c->answer, c->answer_bytes), &c->form, fault, sizeof fault) != 0) {
        say("the table %s.%s has other columns: %s", c->address.database, c->address.table, fault);
        return SINK_NEVER;
    }
    r = check_engine(c);
    if (r != SINK_OK)
        return r;
    free(c->insert);
    c->insert = table_insert_statement(&c->address, c->form);
    if (!c->insert)
        return no_memory(c);
    c->ready = true;
    return SINK_OK;
}

/* ---- batches ---- */

static int clickhouse_open(struct sink *sink)
{
    return prepare(clickhouse_of(sink));
}

static int clickhouse_begin(struct sink *sink, struct sl_slice place, bool again)
{
    (void)place, (void)again; /* rows are known by what they say */
    struct clickhouse *c = clickhouse_of(sink);
    int r = c->ready ? SINK_OK : prepare(c);
    if (r == SINK_OK && !c->out)
        c->out = open_memstream(&c->rows, &c->row_bytes);
    return r == SINK_OK && !c->out ? no_memory(c) : r;
}

static int clickhouse_add(struct sink *sink, const struct export_item *item, const struct export_life *life)
{
    struct clickhouse *c = clickhouse_of(sink);
    if (item->kind != EXPORT_LINE)
        return SINK_OK;
    row_render(c->out, c->form, item, life);
    c->row_count++;
    return SINK_OK;
}

static void clickhouse_drop(struct sink *sink)
{
    struct clickhouse *c = clickhouse_of(sink);
    if (c->out)
        fclose(c->out);
    free(c->rows);
    c->out = NULL;
    c->rows = NULL;
    c->row_bytes = c->row_count = 0;
}

static int clickhouse_commit(struct sink *sink)
{
    struct clickhouse *c = clickhouse_of(sink);
    int r = SINK_OK;
    if (fflush(c->out) != 0 || ferror(c->out))
        r = no_memory(c);
    else if (c->row_count > 0)
        r = ask(c, c->insert, c->settings, sl_slice(c->rows, c->row_bytes));
    if (r != SINK_OK) {
        c->ready = false; /* the table may be gone, the server another one */
        return r;
    }
    clickhouse_drop(sink);
    return SINK_OK;
}

static void clickhouse_free(struct sink *sink)
{
    struct clickhouse *c = clickhouse_of(sink);
    clickhouse_drop(sink);
    table_address_fini(&c->address);
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    free(c->insert);
    free(c->settings);
    free(c);
}

static const struct sink_kind kind = {
    .limits = {.batch_bytes = 16 << 20, .batch_ns = SL_NS_PER_S},
    .open = clickhouse_open,
    .begin = clickhouse_begin,
    .add = clickhouse_add,
    .commit = clickhouse_commit,
    .drop = clickhouse_drop,
    .free = clickhouse_free,
};

static void set_up(struct clickhouse *c, const char *ca_file)
{
    const char *user = c->address.user ? c->address.user : getenv("CLICKHOUSE_USER");
    const char *password = c->address.password ? c->address.password : getenv("CLICKHOUSE_PASSWORD");
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_S);
    curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "sandlog/" SL_VERSION);
    curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
    c->headers =
        curl_slist_append(NULL, "Expect:"); /* asked first, a server that does not answer costs a second */
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, c);
    if (user || password) {
        curl_easy_setopt(c->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(c->curl, CURLOPT_USERNAME, user ? user : "default");
        curl_easy_setopt(c->curl, CURLOPT_PASSWORD, password ? password : "");
    }
    if (ca_file)
        curl_easy_setopt(c->curl, CURLOPT_CAINFO, ca_file);
    if (server_url_is_loopback(c->address.url))
        curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
}

int export_clickhouse_new(const char *url, const char *ca_file, struct retry *retry, struct sink **ret)
{
    struct clickhouse *c = calloc(1, sizeof *c);
    const char *wrong = NULL;
    if (!c || !(c->curl = curl_easy_init()) || (wrong = table_address_parse(url, &c->address))) {
        say("%s%s", wrong ? "the address of the table " : "", wrong ? wrong : say_errno(ENOMEM));
        if (c)
            curl_easy_cleanup(c->curl);
        free(c);
        return SINK_NEVER;
    }
    c->sink = (struct sink){.kind = &kind, .retry = retry};
    set_up(c, ca_file);
    *ret = &c->sink;
    return SINK_OK;
}
