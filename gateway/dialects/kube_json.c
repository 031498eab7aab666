// SPDX-License-Identifier: Apache-2.0
#include "kube_json.h"
#include "age.h"
#include "catalog.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

enum { SECOND_TEXT_BYTES = 20 }; /* 2026-02-20T14:30:00Z */

static void text(struct json *j, const char *key, const char *value)
{
    json_key(j, key);
    json_text(j, value);
}

static void slice(struct json *j, const char *key, struct sl_slice value)
{
    json_key(j, key);
    json_slice(j, value);
}

static void number(struct json *j, const char *key, int64_t value)
{
    json_key(j, key);
    json_i64(j, value);
}

/* Kubernetes' times have no fraction, and its clients refuse one. */
static void when(struct json *j, const char *key, int64_t ns)
{
    char time[SL_TIME_TEXT_BYTES];
    sl_time_render(ns, time);
    time[SECOND_TEXT_BYTES - 1] = 'Z';
    slice(j, key, sl_slice(time, SECOND_TEXT_BYTES));
}

static bool stopped(const struct sl_info *info)
{
    return info->place.state == SL_STOPPED;
}

static int32_t exit_code(const struct sl_info *info)
{
    return info->place.has_exit ? info->place.exit_code : 0;
}

static const char *phase(const struct sl_info *info)
{
    return !stopped(info) ? "Running" : exit_code(info) ? "Failed" : "Succeeded";
}

struct sl_slice kube_namespace(const struct sl_info *info)
{
    struct sl_slice value;
    bool has = catalog_label(info, sl_slice_of("namespace"), &value) && value.bytes;
    return has ? value : sl_slice_of("default");
}

/* ---- containers ---- */

static struct sl_slice stored(const struct sl_info *info, unsigned index)
{
    struct sl_reader names = sl_reader(info->container_names);
    struct sl_slice name = {0};
    for (unsigned i = 0; i <= index && i < info->containers; i++)
        name = sl_read_slice8(&names);
    return name;
}

unsigned kube_container_count(const struct sl_info *info)
{
    return info->containers ? info->containers : 1;
}

struct sl_slice kube_container(const struct sl_info *info, unsigned index)
{
    struct sl_slice name = stored(info, index);
    if (name.bytes)
        return name;
    for (unsigned i = 0; i < info->containers; i++)
        if (sl_slice_equal(stored(info, i), sl_slice_of("main")))
            return sl_slice_of("unnamed");
    return sl_slice_of("main");
}

bool kube_container_find(const struct sl_info *info, struct sl_slice name, struct sl_slice *ret)
{
    for (unsigned i = 0; i < kube_container_count(info); i++)
        if (sl_slice_equal(kube_container(info, i), name)) {
            *ret = stored(info, i);
            return true;
        }
    return false;
}

bool kube_field(const struct sl_info *info, struct sl_slice field, struct sl_slice *ret)
{
    if (sl_slice_equal(field, sl_slice_of("metadata.name")))
        *ret = info->sandbox;
    else if (sl_slice_equal(field, sl_slice_of("metadata.namespace")))
        *ret = kube_namespace(info);
    else if (sl_slice_equal(field, sl_slice_of("status.phase")))
        *ret = sl_slice_of(phase(info));
    else if (sl_slice_equal(field, sl_slice_of("spec.nodeName")))
        *ret = info->host;
    else
        return false;
    return true;
}

/* ---- pods ---- */

static void metadata(struct json *j, const struct sl_info *info)
{
    char uid[40], version[24];
    struct sl_reader pairs = sl_reader(info->label_pairs);
    struct sl_slice key, value;
    /* of the form that clients expect; a sandbox's birth is unique */
    snprintf(uid, sizeof uid, "%08x-%04x-%04x-0000-000000000000", (unsigned)(info->place.birth >> 32),
             (unsigned)(info->place.birth >> 16) & 0xffff, (unsigned)info->place.birth & 0xffff);
    snprintf(version, sizeof version, "%" PRIu32, info->place.version);
    json_key(j, "metadata");
    json_object_open(j);
    slice(j, "name", info->sandbox);
    slice(j, "namespace", kube_namespace(info));
    text(j, "uid", uid);
    text(j, "resourceVersion", version);
    when(j, "creationTimestamp", catalog_began_ns(info));
    json_key(j, "labels");
    json_object_open(j);
    while (sl_label_next(&pairs, &key, &value)) {
        json_key_slice(j, key);
        json_slice(j, value);
    }
    json_object_close(j);
    json_object_close(j);
}

static void container_status(struct json *j, const struct sl_info *info, struct sl_slice name)
{
    json_object_open(j);
    slice(j, "name", name);
    json_key(j, "ready");
    json_bool(j, !stopped(info));
    json_key(j, "started");
    json_bool(j, !stopped(info));
    number(j, "restartCount", 0);
    text(j, "image", "sandbox");
    text(j, "imageID", "");
    json_key(j, "state");
    json_object_open(j);
    json_key(j, stopped(info) ? "terminated" : "running");
    json_object_open(j);
    when(j, "startedAt", catalog_began_ns(info));
    if (stopped(info)) {
        number(j, "exitCode", exit_code(info));
        text(j, "reason", exit_code(info) ? "Error" : "Completed");
        when(j, "finishedAt", catalog_ended_ns(info));
    }
    json_object_close(j);
    json_object_close(j);
    json_object_close(j);
}

void kube_render_pod(struct json *j, const struct sl_info *info, bool top)
{
    json_object_open(j);
    if (top) {
        text(j, "kind", "Pod");
        text(j, "apiVersion", "v1");
    }
    metadata(j, info);
    json_key(j, "spec");
    json_object_open(j);
    json_key(j, "containers");
    json_array_open(j);
    for (unsigned i = 0; i < kube_container_count(info); i++) {
        json_object_open(j);
        slice(j, "name", kube_container(info, i));
        text(j, "image", "sandbox");
        json_key(j, "resources");
        json_object_open(j);
        json_object_close(j);
        json_object_close(j);
    }
    json_array_close(j);
    text(j, "restartPolicy", "Never");
    if (info->host.bytes)
        slice(j, "nodeName", info->host);
    json_object_close(j);
    json_key(j, "status");
    json_object_open(j);
    text(j, "phase", phase(info));
    when(j, "startTime", catalog_began_ns(info));
    json_key(j, "containerStatuses");
    json_array_open(j);
    for (unsigned i = 0; i < kube_container_count(info); i++)
        container_status(j, info, kube_container(info, i));
    json_array_close(j);
    json_object_close(j);
    json_object_close(j);
}

void kube_render_namespace(struct json *j, struct sl_slice name, bool top)
{
    json_object_open(j);
    if (top) {
        text(j, "kind", "Namespace");
        text(j, "apiVersion", "v1");
    }
    json_key(j, "metadata");
    json_object_open(j);
    slice(j, "name", name);
    json_object_close(j);
    json_key(j, "spec");
    json_object_open(j);
    json_object_close(j);
    json_key(j, "status");
    json_object_open(j);
    text(j, "phase", "Active");
    json_object_close(j);
    json_object_close(j);
}

/* ---- lists and tables ---- */

static void list_metadata(struct json *j, struct sl_slice next)
{
    json_key(j, "metadata");
    json_object_open(j);
    text(j, "resourceVersion", "1");
    if (next.bytes)
        slice(j, "continue", next);
    json_object_close(j);
}

void kube_list_open(struct json *j, const char *kind)
{
    json_object_open(j);
    text(j, "kind", kind);
    text(j, "apiVersion", "v1");
    json_key(j, "items");
    json_array_open(j);
}

void kube_list_close(struct json *j, struct sl_slice next)
{
    json_array_close(j);
    list_metadata(j, next);
    json_object_close(j);
}

void kube_table_open(struct json *j)
{
    static const struct {
        const char *name, *type, *format, *description;
        int priority;
    } columns[] = {
        {"Name", "string", "name", "The sandbox's id.", 0},
        {"Ready", "string", "", "Containers that run, of all.", 0},
        {"Status", "string", "", "What the sandbox does.", 0},
        {"Restarts", "integer", "", "Always 0.", 0},
        {"Age", "string", "", "Since its first line.", 0},
        {"Node", "string", "", "The host whose collector reads it.", 1},
    };
    json_object_open(j);
    text(j, "kind", "Table");
    text(j, "apiVersion", "meta.k8s.io/v1");
    json_key(j, "columnDefinitions");
    json_array_open(j);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        json_object_open(j);
        text(j, "name", columns[i].name);
        text(j, "type", columns[i].type);
        text(j, "format", columns[i].format);
        text(j, "description", columns[i].description);
        number(j, "priority", columns[i].priority);
        json_object_close(j);
    }
    json_array_close(j);
    json_key(j, "rows");
    json_array_open(j);
}

void kube_table_row(struct json *j, const struct sl_info *info, int64_t now_ns)
{
    char ready[24], age[AGE_TEXT_BYTES];
    unsigned containers = kube_container_count(info);
    snprintf(ready, sizeof ready, "%u/%u", stopped(info) ? 0 : containers, containers);
    age_kube(now_ns - catalog_began_ns(info), age);
    json_object_open(j);
    json_key(j, "cells");
    json_array_open(j);
    json_slice(j, info->sandbox);
    json_text(j, ready);
    json_text(j, !stopped(info) ? "Running" : exit_code(info) ? "Error" : "Completed");
    json_i64(j, 0);
    json_text(j, age);
    json_slice(j, info->host.bytes ? info->host : sl_slice_of("<none>"));
    json_array_close(j);
    json_key(j, "object");
    json_object_open(j);
    text(j, "kind", "PartialObjectMetadata");
    text(j, "apiVersion", "meta.k8s.io/v1");
    metadata(j, info);
    json_object_close(j);
    json_object_close(j);
}

void kube_table_close(struct json *j, struct sl_slice next)
{
    kube_list_close(j, next);
}

/* ---- the rest ---- */

void kube_render_status(struct json *j, const char *reason, unsigned code, const char *message,
                        struct sl_slice name, const char *kind)
{
    json_object_open(j);
    text(j, "kind", "Status");
    text(j, "apiVersion", "v1");
    json_key(j, "metadata");
    json_object_open(j);
    json_object_close(j);
    text(j, "status", "Failure");
    text(j, "message", message);
    text(j, "reason", reason);
    if (name.bytes) {
        json_key(j, "details");
        json_object_open(j);
        slice(j, "name", name);
        text(j, "kind", kind);
        json_object_close(j);
    }
    number(j, "code", code);
    json_object_close(j);
}

const char kube_api_versions[] =
    "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],\"serverAddressByClientCIDRs\":[]}\n";
const char kube_api_groups[] = "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[]}\n";
const char kube_resources[] =
    "{\"kind\":\"APIResourceList\",\"groupVersion\":\"v1\",\"resources\":["
    "{\"name\":\"namespaces\",\"singularName\":\"namespace\",\"namespaced\":false,\"kind\":\"Namespace\","
    "\"verbs\":[\"get\",\"list\"],\"shortNames\":[\"ns\"]},"
    "{\"name\":\"pods\",\"singularName\":\"pod\",\"namespaced\":true,\"kind\":\"Pod\","
    "\"verbs\":[\"get\",\"list\"],\"shortNames\":[\"po\"],\"categories\":[\"all\"]},"
    "{\"name\":\"pods/"
    "log\",\"singularName\":\"\",\"namespaced\":true,\"kind\":\"Pod\",\"verbs\":[\"get\"]}]}\n";

void kube_render_version(struct json *j, bool with_platform)
{
    json_object_open(j);
    text(j, "major", "1");
    text(j, "minor", "30");
    text(j, "gitVersion", "v1.30.0+sandlog." SL_VERSION);
    text(j, "gitCommit", "");
    text(j, "gitTreeState", "");
    text(j, "buildDate", "1970-01-01T00:00:00Z");
    text(j, "goVersion", "");
    text(j, "compiler", "");
    if (with_platform)
        text(j, "platform", "linux/amd64");
    text(j, "Version", SL_VERSION);
    text(j, "ApiVersion", "1.50");
    text(j, "MinAPIVersion", "1.24");
    text(j, "Os", "linux");
    text(j, "Arch", "amd64");
    text(j, "KernelVersion", "");
    json_object_close(j);
}
