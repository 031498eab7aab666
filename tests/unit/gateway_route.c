// SPDX-License-Identifier: Apache-2.0
#include "guard.h"
#include "openapi.h"
#include "route.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static int find(unsigned method, const char *path, struct route_match *ret, const char **ret_allow)
{
    struct problem p;
    return route_find(method, sl_slice_of(path), ret, &p, ret_allow) == 0 ? 0 : (int)problem_status(p.code);
}

static void each_path_leads_to_its_route(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum route route;
        const char *id;
    } paths[] = {{"/v1/sandboxes/a.b:c-1/logs", ROUTE_LOGS, "a.b:c-1"},
                 {"/v1/sandboxes/logs/logs", ROUTE_LOGS, "logs"},
                 {"/v1/sandboxes/logs", ROUTE_SANDBOX, "logs"},
                 {"/v1/sandboxes", ROUTE_SANDBOXES, ""},
                 {"/v1/logs", ROUTE_MANY, ""},
                 {"/healthz", ROUTE_HEALTHZ, ""},
                 {"/openapi.yaml", ROUTE_OPENAPI, ""},
                 {"/", ROUTE_PAGE, ""}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct route_match match;
        const char *allow;
        assert_int_equal(find(METHOD_GET, paths[i].path, &match, &allow), 0);
        assert_int_equal(match.route, paths[i].route);
        assert_true(sl_slice_equal(match.id, sl_slice_of(paths[i].id)));
    }
}

static void what_is_no_id_is_said_to_be_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "/v1/sandboxes/",       "/v1/sandboxes/a b",   "/v1/sandboxes/a/b/logs", "/v1/sandboxes/../logs",
        "/v1/sandboxes/./logs", "/v1/sandboxes//logs", "/v1/sandboxes/a/logs/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct route_match match;
        const char *allow;
        assert_int_equal(find(METHOD_GET, bad[i], &match, &allow), 400);
    }
    struct route_match match;
    const char *allow;
    assert_int_equal(find(METHOD_GET, "/v1/sandbox", &match, &allow), 404);
    assert_int_equal(find(METHOD_GET, "", &match, &allow), 404);
}

static void a_wrong_method_is_told_the_right_ones(void **state)
{
    (void)state;
    struct route_match match;
    const char *allow;
    assert_int_equal(find(METHOD_PUT, "/v1/sandboxes/a/logs", &match, &allow), 405);
    assert_string_equal(allow, "GET, HEAD, OPTIONS");
    assert_int_equal(find(METHOD_OTHER, "/v1/sandboxes/a", &match, &allow), 405);
    assert_string_equal(allow, "GET, HEAD, PUT, DELETE, OPTIONS");
}

/* Whether the description has this path with this method under it. */
static bool described(struct sl_slice yaml, const char *path, const char *method)
{
    char line[128];
    int bytes = snprintf(line, sizeof line, "\n  %s:\n", path);
    const uint8_t *at = memmem(yaml.data, yaml.bytes, line, (size_t)bytes);
    if (!at)
        return false;
    const uint8_t *end = yaml.data + yaml.bytes, *next = at + bytes;
    while (next < end &&
           !(next[0] == '\n' && next + 3 < end && memcmp(next, "\n  ", 3) == 0 && next[3] != ' '))
        next++;
    bytes = snprintf(line, sizeof line, "\n    %s:\n", method);
    return memmem(at, (size_t)(next - at) + 1, line, (size_t)bytes);
}

static void openapi_describes_the_routes_there_are_and_no_others(void **state)
{
    (void)state;
    static const struct {
        unsigned method;
        const char *name;
    } methods[] = {
        {METHOD_GET, "get"}, {METHOD_PUT, "put"}, {METHOD_DELETE, "delete"}, {METHOD_POST, "post"}};
    struct sl_slice yaml = openapi_bytes();
    size_t routes = 0, paths = 0;
    for (unsigned i = 0; i < ROUTES; i++) {
        if (i == ROUTE_DOCKER || i == ROUTE_KUBE)
            continue; /* other people's contracts, described by them */
        const struct route_entry *entry = route_entry((enum route)i);
        routes++;
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
            assert_int_equal(described(yaml, entry->path, methods[m].name),
                             (entry->methods & methods[m].method) != 0);
    }
    for (size_t i = 0; i + 4 < yaml.bytes; i++)
        paths += memcmp(yaml.data + i, "\n  /", 4) == 0;
    assert_int_equal(paths, routes);
}

static void loopback_is_known_by_name_and_number_only(void **state)
{
    (void)state;
    static const char *const good[] = {"localhost", "LOCALHOST:80", "127.0.0.1",  "127.9.8.7:8470",
                                       "[::1]",     "[::1]:8470",   "a.localhost"};
    static const char *const bad[] = {"",      "localhos", "127.0.0.1.evil.example", "127.evil",
                                      "[::2]", "10.0.0.1", "localhost.evil.example", "127.0.0.1@evil",
                                      "[::1",  "0"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(guard_loopback_name(sl_slice_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(guard_loopback_name(sl_slice_of(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_path_leads_to_its_route),
        cmocka_unit_test(what_is_no_id_is_said_to_be_none),
        cmocka_unit_test(a_wrong_method_is_told_the_right_ones),
        cmocka_unit_test(openapi_describes_the_routes_there_are_and_no_others),
        cmocka_unit_test(loopback_is_known_by_name_and_number_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
