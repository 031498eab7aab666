// SPDX-License-Identifier: Apache-2.0
#include "export_table.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct column {
    const char *name, *type; /* as it is made */
    const char *accepted;    /* types that begin so do as well */
};

/* LowCardinality where it is not an experiment any more. */
static const struct column new_columns[] = {
    {"Timestamp", "DateTime64(9, 'UTC')", "DateTime64("},
    {"ServiceName", "LowCardinality(String)", "String"},
    {"Life", "LowCardinality(String)", "String"},
    {"Body", "String", NULL},
    {"ResourceAttributes", "Map(LowCardinality(String), String)", "Map("},
    {"Seq", "UInt64", NULL},
    {"Stream", "LowCardinality(String)", "String"},
    {"Container", "LowCardinality(String)", "String"},
    {"Partial", "UInt8", "Bool"},
};
static const struct column old_columns[] = {
    {"Timestamp", "DateTime('UTC')", "DateTime"},
    {"TimestampNs", "Int64", NULL},
    {"ServiceName", "String", "LowCardinality(String)"},
    {"Life", "String", "LowCardinality(String)"},
    {"Body", "String", NULL},
    {"ResourceAttributes.Key", "Array(String)", "Array("},
    {"ResourceAttributes.Value", "Array(String)", "Array("},
    {"Seq", "UInt64", NULL},
    {"Stream", "String", "LowCardinality(String)"},
    {"Container", "String", "LowCardinality(String)"},
    {"Partial", "UInt8", NULL},
};
enum {
    NEW_COLUMNS = sizeof new_columns / sizeof *new_columns,
    OLD_COLUMNS = sizeof old_columns / sizeof *old_columns
};

static const struct column *columns_of(enum row_form form, size_t *ret_count)
{
    *ret_count = form == ROW_NEW ? NEW_COLUMNS : OLD_COLUMNS;
    return form == ROW_NEW ? new_columns : old_columns;
}

bool table_is_url(const char *text)
{
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

/* An identifier that needs no quotes. */
static bool name_valid(const char *name, size_t bytes)
{
    if (bytes == 0 || bytes >= TABLE_NAME_BYTES || (name[0] >= '0' && name[0] <= '9'))
        return false;
    for (size_t i = 0; i < bytes; i++) {
        char c = name[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

static char *part_of(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    if (curl_url_get(url, part, &text, flags) != CURLUE_OK)
        return NULL;
    char *copy = strdup(text);
    curl_free(text);
    return copy;
}

const char *table_address_parse(const char *text, struct table_address *ret)
{
    static const char memory[] = "no memory";
    struct table_address address = {0};
    const char *wrong = NULL;
    char *path = NULL, *query = NULL;
    CURLU *url = curl_url();
    if (!url)
        return memory;
    if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK) {
        wrong = "is not a URL (try http://127.0.0.1:8123/default.logs)";
        goto out;
    }
    path = part_of(url, CURLUPART_PATH, 0);
    query = part_of(url, CURLUPART_QUERY, 0);
    const char *name = path && path[0] == '/' ? path + 1 : "";
    const char *dot = strchr(name, '.');
    if (query || !dot || !name_valid(name, (size_t)(dot - name)) || !name_valid(dot + 1, strlen(dot + 1))) {
        wrong = "names no table: it ends with /DATABASE.TABLE, each of letters, digits and _ "
                "(try http://127.0.0.1:8123/default.logs)";
        goto out;
    }
    snprintf(address.database, sizeof address.database, "%.*s", (int)(dot - name), name);
    snprintf(address.table, sizeof address.table, "%s", dot + 1);
    address.user = part_of(url, CURLUPART_USER, CURLU_URLDECODE);
    address.password = part_of(url, CURLUPART_PASSWORD, CURLU_URLDECODE);
    char *host = part_of(url, CURLUPART_HOST, 0), *scheme = part_of(url, CURLUPART_SCHEME, 0);
    char *port = part_of(url, CURLUPART_PORT, 0);
    bool secure = scheme && strcmp(scheme, "https") == 0;
    if (!host || !scheme ||
        asprintf(&address.url, "%s://%s:%s", scheme, host,
                 port     ? port
                 : secure ? "8443"
                          : "8123") < 0) {
        address.url = NULL;
        wrong = memory;
    }
    free(host);
    free(scheme);
    free(port);
out:
    free(path);
    free(query);
    curl_url_cleanup(url);
    if (wrong)
        table_address_fini(&address);
    else
        *ret = address;
    return wrong;
}

void table_address_fini(struct table_address *address)
{
    free(address->url);
    free(address->user);
    free(address->password);
    *address = (struct table_address){0};
}

static char *statement(const struct table_address *address, enum row_form form, bool create)
{
    char *text = NULL;
    size_t bytes = 0, count;
    const struct column *columns = columns_of(form, &count);
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    fprintf(out, "%s %s.%s (", create ? "CREATE TABLE IF NOT EXISTS" : "INSERT INTO", address->database,
            address->table);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s`%s`%s%s", i > 0 ? ", " : "", columns[i].name, create ? " " : "",
                create ? columns[i].type : "");
    fputs(create ? ") ENGINE = ReplacingMergeTree() PARTITION BY toYYYYMM(Timestamp) ORDER BY (ServiceName, "
                   "Life, Seq)"
                 : ") FORMAT JSONEachRow",
          out);
    bool ok = !ferror(out);
    if (fclose(out) != 0 || !ok) {
        free(text);
        return NULL;
    }
    return text;
}

char *table_create_statement(const struct table_address *address, enum row_form form)
{
    return statement(address, form, true);
}

char *table_insert_statement(const struct table_address *address, enum row_form form)
{
    return statement(address, form, false);
}

/* The type of a column in lines of NAME<TAB>TYPE, as long as it is; data NULL: no such column. */
static struct sl_slice type_of(struct sl_slice columns, const char *name)
{
    size_t name_bytes = strlen(name);
    const uint8_t *at = columns.data, *end = columns.data + columns.bytes;
    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        size_t bytes = (size_t)((newline ? newline : end) - at);
        if (bytes > name_bytes && at[name_bytes] == '\t' && memcmp(at, name, name_bytes) == 0)
            return sl_slice(at + name_bytes + 1, bytes - name_bytes - 1);
        at += bytes + 1;
    }
    return sl_slice(NULL, 0);
}

static bool begins(struct sl_slice text, const char *with)
{
    size_t bytes = strlen(with);
    return text.bytes >= bytes && memcmp(text.data, with, bytes) == 0;
}

static bool type_will_do(const struct column *column, struct sl_slice type)
{
    /* quotes are escaped in TabSeparated: DateTime(\'UTC\'); up to the first blank or quote says enough */
    char made[64];
    snprintf(made, sizeof made, "%.*s", (int)strcspn(column->type, " ,'"), column->type);
    return begins(type, made) || (column->accepted && begins(type, column->accepted));
}

int table_columns_check(struct sl_slice columns, enum row_form *ret_form, char *fault, size_t fault_bytes)
{
    enum row_form form = type_of(columns, "TimestampNs").data ? ROW_OLD : ROW_NEW;
    size_t count, used = 0;
    const struct column *wanted = columns_of(form, &count);
    fault[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        struct sl_slice type = type_of(columns, wanted[i].name);
        if (type.data && type_will_do(&wanted[i], type))
            continue;
        int n = snprintf(fault + used, fault_bytes - used, "%s%s is %.*s%s%s", used > 0 ? "; " : "",
                         wanted[i].name, type.bytes < 60 ? (int)type.bytes : 60,
                         type.data ? (const char *)type.data : "", type.data ? ", not " : "missing",
                         type.data ? wanted[i].type : "");
        used += n > 0 ? (size_t)n : 0;
        if (used >= fault_bytes)
            used = fault_bytes - 1;
    }
    if (fault[0])
        return 1;
    *ret_form = form;
    return 0;
}

static bool holds(struct sl_slice text, const char *word)
{
    return text.bytes > 0 && memmem(text.data, text.bytes, word, strlen(word)) != NULL;
}

const char *table_engine_check(struct sl_slice engine, struct sl_slice key)
{
    if (sl_slice_equal(engine, sl_slice_of("Distributed"))) /* the tables behind it decide */
        return NULL;
    if (!holds(engine, "Replacing"))
        return "is no ReplacingMergeTree: a row that comes again would stay twice";
    if (!holds(key, "ServiceName") || !holds(key, "Life") || !holds(key, "Seq"))
        return "is not ordered by ServiceName, Life and Seq: different lines would replace each other";
    return NULL;
}
