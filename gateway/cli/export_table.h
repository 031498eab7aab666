// SPDX-License-Identifier: Apache-2.0
/*
 * The table in ClickHouse that lines are exported into: its address, its statements, and whether one that is
 * there already will do. A line is known by sandbox, life and number; the table's order is that key, and
 * ReplacingMergeTree lets a row that comes again take the place of its equal: `SELECT ... FINAL` never sees
 * two. Its partition is the month of the line's own time, which is the same each time. Pure, any thread.
 */
#pragma once
#include "export_row.h"

enum { TABLE_NAME_BYTES = 128 }; /* of database and table each, with NUL */

struct table_address {
    char *url;             /* http://HOST:8123, nothing secret in it */
    char *user, *password; /* NULL: none */
    char database[TABLE_NAME_BYTES], table[TABLE_NAME_BYTES];
};

/* http:// or https://: a table; else a folder. */
bool table_is_url(const char *text);
/* NULL, or what is wrong in words that hold nothing of the URL. After NULL table_address_fini() is due. */
const char *table_address_parse(const char *url, struct table_address *ret);
void table_address_fini(struct table_address *address);

/* malloc'd, NULL without memory. */
char *table_create_statement(const struct table_address *address, enum row_form form);
char *table_insert_statement(const struct table_address *address, enum row_form form);

/*
 * `columns`: what `SELECT name, type FROM system.columns FORMAT TabSeparated` says of a table that is there.
 * *ret_form: of the rows it takes. > 0: it is another table; `fault` gets the columns that are missing or of
 * another type.
 */
int table_columns_check(struct sl_slice columns, enum row_form *ret_form, char *fault, size_t fault_bytes);
/* Of its engine and sorting key; NULL, or why a repeated row would stay twice in it or an other be lost. */
const char *table_engine_check(struct sl_slice engine, struct sl_slice sorting_key);
