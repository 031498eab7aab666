// SPDX-License-Identifier: Apache-2.0
/*
 * An export into a table of ClickHouse, over HTTP. A batch is one INSERT; one that was sent twice leaves each
 * row once (export_table.h). The table is made if it is not there, and looked at before the first batch and
 * after each trouble. Gaps are no rows.
 */
#pragma once
#include "export_sink.h"

/* `url` is checked by table_address_parse(); `ca_file` may be NULL. SINK_NEVER: why was said. */
int export_clickhouse_new(const char *url, const char *ca_file, struct retry *retry, struct sink **ret);
