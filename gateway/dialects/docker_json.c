// SPDX-License-Identifier: Apache-2.0
#include "docker_json.h"
#include "age.h"
#include "catalog.h"
#include "dialect.h"
#include "docker_query.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <stdio.h>

#define DOCKER_API     "1.50"
#define DOCKER_API_MIN "1.24"
static_assert(DOCKER_API_MINOR == 50 && DOCKER_API_MINOR_MIN == 24, "as the texts say");
#define DOCKER_NEVER "0001-01-01T00:00:00Z"

static void text(struct json *j, const char *key, const char *value)
{
    json_key(j, key);
    json_text(j, value);
}

static void number(struct json *j, const char *key, int64_t value)
{
    json_key(j, key);
    json_i64(j, value);
}

static void flag(struct json *j, const char *key, bool value)
{
    json_key(j, key);
    json_bool(j, value);
}

static void when(struct json *j, const char *key, int64_t ns)
{
    json_key(j, key);
    json_time(j, ns);
}

static void empty_object(struct json *j, const char *key)
{
    json_key(j, key);
    json_object_open(j);
    json_object_close(j);
}

static void empty_array(struct json *j, const char *key)
{
    json_key(j, key);
    json_array_open(j);
    json_array_close(j);
}

static void slashed_name(struct json *j, const struct sl_info *info)
{
    uint8_t name[1 + SL_LABEL_VALUE_MAX_BYTES] = "/";
    struct sl_slice bare = docker_name(info);
    memcpy(name + 1, bare.data, bare.bytes);
    json_slice(j, sl_slice(name, bare.bytes + 1));
}

static void labels(struct json *j, const struct sl_info *info)
{
    struct sl_reader pairs = sl_reader(info->label_pairs);
    struct sl_slice key, value;
    json_key(j, "Labels");
    json_object_open(j);
    while (sl_label_next(&pairs, &key, &value)) {
        json_key_slice(j, key);
        json_slice(j, value);
    }
    json_object_close(j);
}

static bool stopped(const struct sl_info *info)
{
    return info->place.state == SL_STOPPED;
}

static int32_t exit_code(const struct sl_info *info)
{
    return stopped(info) && info->place.has_exit ? info->place.exit_code : 0;
}

void docker_render_listed(struct json *j, const struct sl_info *info, int64_t now_ns)
{
    char age[AGE_TEXT_BYTES], status[2 * AGE_TEXT_BYTES];
    age_docker(now_ns - (stopped(info) ? catalog_ended_ns(info) : catalog_began_ns(info)), age);
    if (stopped(info))
        snprintf(status, sizeof status, "Exited (%d) %s ago", exit_code(info), age);
    else
        snprintf(status, sizeof status, "Up %s", age);
    json_object_open(j);
    json_key(j, "Id");
    json_slice(j, info->sandbox);
    json_key(j, "Names");
    json_array_open(j);
    slashed_name(j, info);
    json_array_close(j);
    text(j, "Image", "sandbox");
    text(j, "ImageID", "");
    text(j, "Command", "");
    number(j, "Created", catalog_began_ns(info) / SL_NS_PER_S);
    empty_array(j, "Ports");
    labels(j, info);
    text(j, "State", stopped(info) ? "exited" : "running");
    text(j, "Status", status);
    json_key(j, "HostConfig");
    json_object_open(j);
    text(j, "NetworkMode", "default");
    json_object_close(j);
    json_key(j, "NetworkSettings");
    json_object_open(j);
    empty_object(j, "Networks");
    json_object_close(j);
    empty_array(j, "Mounts");
    json_object_close(j);
}

static void state(struct json *j, const struct sl_info *info)
{
    json_key(j, "State");
    json_object_open(j);
    text(j, "Status", stopped(info) ? "exited" : "running");
    flag(j, "Running", !stopped(info));
    flag(j, "Paused", false);
    flag(j, "Restarting", false);
    flag(j, "OOMKilled", false);
    flag(j, "Dead", false);
    number(j, "Pid", 0);
    number(j, "ExitCode", exit_code(info));
    text(j, "Error", "");
    when(j, "StartedAt", catalog_began_ns(info));
    if (stopped(info))
        when(j, "FinishedAt", catalog_ended_ns(info));
    else
        text(j, "FinishedAt", DOCKER_NEVER);
    json_object_close(j);
}

/* Tty is false whatever the container had: lines are known by stream, so they are sent in frames. */
static void config(struct json *j, const struct sl_info *info)
{
    json_key(j, "Config");
    json_object_open(j);
    json_key(j, "Hostname");
    json_slice(j, info->host);
    text(j, "Domainname", "");
    text(j, "User", "");
    flag(j, "AttachStdin", false);
    flag(j, "AttachStdout", true);
    flag(j, "AttachStderr", true);
    flag(j, "Tty", false);
    flag(j, "OpenStdin", false);
    flag(j, "StdinOnce", false);
    empty_array(j, "Env");
    empty_array(j, "Cmd");
    text(j, "Image", "sandbox");
    text(j, "WorkingDir", "");
    labels(j, info);
    json_object_close(j);
}

void docker_render_inspected(struct json *j, const struct sl_info *info)
{
    json_object_open(j);
    json_key(j, "Id");
    json_slice(j, info->sandbox);
    when(j, "Created", catalog_began_ns(info));
    text(j, "Path", "");
    empty_array(j, "Args");
    state(j, info);
    text(j, "Image", "");
    json_key(j, "Name");
    slashed_name(j, info);
    number(j, "RestartCount", 0);
    text(j, "Driver", "sandlog");
    text(j, "Platform", "linux");
    text(j, "LogPath", "");
    json_key(j, "HostConfig");
    json_object_open(j);
    json_key(j, "LogConfig");
    json_object_open(j);
    text(j, "Type", "sandlog");
    empty_object(j, "Config");
    json_object_close(j);
    text(j, "NetworkMode", "default");
    json_object_close(j);
    empty_array(j, "Mounts");
    config(j, info);
    json_key(j, "NetworkSettings");
    json_object_open(j);
    empty_object(j, "Ports");
    empty_object(j, "Networks");
    json_object_close(j);
    json_object_close(j);
}

void docker_render_version(struct json *j)
{
    json_object_open(j);
    json_key(j, "Platform");
    json_object_open(j);
    text(j, "Name", "sandlog");
    json_object_close(j);
    text(j, "Version", SL_VERSION);
    text(j, "ApiVersion", DOCKER_API);
    text(j, "MinAPIVersion", DOCKER_API_MIN);
    text(j, "GitCommit", "");
    text(j, "GoVersion", "");
    text(j, "Os", "linux");
    text(j, "Arch", "amd64");
    text(j, "KernelVersion", "");
    text(j, "BuildTime", "");
    json_object_close(j);
}

void docker_render_info(struct json *j, const struct docker_totals *totals)
{
    json_object_open(j);
    text(j, "ID", "sandlog");
    number(j, "Containers", (int64_t)(totals->running + totals->stopped));
    number(j, "ContainersRunning", (int64_t)totals->running);
    number(j, "ContainersPaused", 0);
    number(j, "ContainersStopped", (int64_t)totals->stopped);
    number(j, "Images", 0);
    text(j, "Driver", "sandlog");
    text(j, "LoggingDriver", "sandlog");
    text(j, "Name", "sandlog");
    text(j, "ServerVersion", SL_VERSION);
    text(j, "OperatingSystem", "sandlog");
    text(j, "OSType", "linux");
    text(j, "Architecture", "");
    number(j, "NCPU", 0);
    number(j, "MemTotal", 0);
    json_object_close(j);
}
