// SPDX-License-Identifier: Apache-2.0
/* The conformance suite on the Redis engine, against a real redis-server, by both ways of writing. */
#include "store_conformance.h"
#include "store_redis_server.h"

static struct server server;
static const char *how = "";

static void engine_make(struct world *w)
{
    server_command(&server, "FLUSHALL");
    snprintf(w->location, sizeof w->location, "redis://127.0.0.1:%d%s", server.port, how);
}

static void engine_destroy(struct world *w)
{
    *w->location = 0;
}

int main(void)
{
    server_start(&server);
    int failed = cmocka_run_group_tests(conformance_tests, NULL, NULL);
    how = "?transaction_bytes=1";
    failed += cmocka_run_group_tests_name("every write a transaction", conformance_tests, NULL, NULL);
    server_end(&server);
    return failed;
}
