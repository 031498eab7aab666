// SPDX-License-Identifier: Apache-2.0
#include "dialects/dialect.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct {
    const char *path;
    enum dialect_tongue tongue;
    enum dialect_call call;
    unsigned minor;
    const char *name, *space;
} paths[] = {
    {"/", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"/v1/sandboxes", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"/v1/sandboxes/a/logs", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"/v1./x", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"/v1.x/_ping", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"/v1.1234/_ping", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"/healthz", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"/containersx", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"/a/b/c/d/e/f/g/h/i", DIALECT_NONE, DIALECT_UNKNOWN, 50, "", ""},
    {"/_ping", DIALECT_DOCKER, DOCKER_PING, 50, "", ""},
    {"/v1.24/_ping", DIALECT_DOCKER, DOCKER_PING, 24, "", ""},
    {"/v1.43/version", DIALECT_DOCKER, DOCKER_VERSION, 43, "", ""},
    {"/info", DIALECT_DOCKER, DOCKER_INFO, 50, "", ""},
    {"/containers/json", DIALECT_DOCKER, DOCKER_LIST, 50, "", ""},
    {"/containers/json/json", DIALECT_DOCKER, DOCKER_INSPECT, 50, "json", ""},
    {"/v1.41/containers/a.b/json", DIALECT_DOCKER, DOCKER_INSPECT, 41, "a.b", ""},
    {"/v1.41/containers/a/logs", DIALECT_DOCKER, DOCKER_LOGS, 41, "a", ""},
    {"/v1.41/containers//logs", DIALECT_DOCKER, DIALECT_UNKNOWN, 41, "", ""},
    {"/v1.41", DIALECT_DOCKER, DIALECT_UNKNOWN, 41, "", ""},
    {"/v1.41/images/json", DIALECT_DOCKER, DIALECT_UNKNOWN, 41, "", ""},
    {"/containers/a/stats", DIALECT_DOCKER, DIALECT_UNKNOWN, 50, "a", ""},
    {"/version", DIALECT_KUBE, KUBE_VERSION, 50, "", ""},
    {"/api", DIALECT_KUBE, KUBE_API, 50, "", ""},
    {"/api/", DIALECT_KUBE, KUBE_API, 50, "", ""},
    {"/apis", DIALECT_KUBE, KUBE_APIS, 50, "", ""},
    {"/apis/apps/v1", DIALECT_KUBE, DIALECT_UNKNOWN, 50, "", ""},
    {"/openapi/v2", DIALECT_KUBE, DIALECT_UNKNOWN, 50, "", ""},
    {"/api/v1", DIALECT_KUBE, KUBE_RESOURCES, 50, "", ""},
    {"/api/v2", DIALECT_KUBE, DIALECT_UNKNOWN, 50, "", ""},
    {"/api/v1/pods", DIALECT_KUBE, KUBE_PODS, 50, "", ""},
    {"/api/v1/nodes", DIALECT_KUBE, DIALECT_UNKNOWN, 50, "", ""},
    {"/api/v1/namespaces", DIALECT_KUBE, KUBE_NAMESPACES, 50, "", ""},
    {"/api/v1/namespaces/n", DIALECT_KUBE, KUBE_NAMESPACE, 50, "", "n"},
    {"/api/v1/namespaces/n/pods", DIALECT_KUBE, KUBE_PODS, 50, "", "n"},
    {"/api/v1/namespaces/n/events", DIALECT_KUBE, DIALECT_UNKNOWN, 50, "", "n"},
    {"/api/v1/namespaces/n/pods/p", DIALECT_KUBE, KUBE_POD, 50, "p", "n"},
    {"/api/v1/namespaces/n/pods/p/log", DIALECT_KUBE, KUBE_LOG, 50, "p", "n"},
    {"/api/v1/namespaces/n/pods/p/exec", DIALECT_KUBE, DIALECT_UNKNOWN, 50, "p", "n"},
    {"/api/v1/namespaces/n/pods/p/log/x", DIALECT_KUBE, DIALECT_UNKNOWN, 50, "", "n"},
};

static void a_path_is_of_one_tongue_and_asks_one_thing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct dialect d;
        enum dialect_tongue tongue = dialect_find(sl_slice_of(paths[i].path), &d);
        if (tongue != paths[i].tongue || d.call != paths[i].call || d.minor != paths[i].minor ||
            !sl_slice_equal(d.name, sl_slice_of(paths[i].name)) ||
            !sl_slice_equal(d.space, sl_slice_of(paths[i].space)))
            fail_msg("%s: tongue %u, call %u, minor %u, name %.*s, space %.*s", paths[i].path, tongue, d.call,
                     d.minor, (int)d.name.bytes, (const char *)d.name.data, (int)d.space.bytes,
                     (const char *)d.space.data);
    }
}

static void frames_are_called_by_the_name_of_the_version(void **state)
{
    (void)state;
    struct dialect d;
    dialect_find(sl_slice_of("/v1.41/containers/a/logs"), &d);
    assert_string_equal(dialect_content_type(&d), "application/vnd.docker.raw-stream");
    dialect_find(sl_slice_of("/v1.42/containers/a/logs"), &d);
    assert_string_equal(dialect_content_type(&d), "application/vnd.docker.multiplexed-stream");
    dialect_find(sl_slice_of("/containers/a/logs"), &d);
    assert_string_equal(dialect_content_type(&d), "application/vnd.docker.multiplexed-stream");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_of_one_tongue_and_asks_one_thing),
        cmocka_unit_test(frames_are_called_by_the_name_of_the_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
