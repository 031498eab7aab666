// SPDX-License-Identifier: Apache-2.0
/*
 * Sandboxes as Kubernetes describes pods, and Status. Appends to a JSON writer. What clients require of a pod
 * is there (kubectl, and client libraries that refuse an object without `image` or `restartCount`). Pure.
 */
#pragma once
#include "json.h"
#include "problem.h"
#include "wire/message.h"

struct sl_slice kube_namespace(const struct sl_info *info);
/*
 * Name number `index` of a pod's kube_container_count() containers, never empty: lines that were stored
 * without a container's name belong to the container `main`, or `unnamed` when another one is `main`.
 */
unsigned kube_container_count(const struct sl_info *info);
struct sl_slice kube_container(const struct sl_info *info, unsigned index);
/* Which container's lines are meant: *ret is the stored name. False: the pod has no such container. */
bool kube_container_find(const struct sl_info *info, struct sl_slice name, struct sl_slice *ret);
/* Of a field selector: metadata.name, metadata.namespace, status.phase, spec.nodeName. False: unknown. */
bool kube_field(const struct sl_info *info, struct sl_slice field, struct sl_slice *ret);

/* `top`: with kind and apiVersion, which the items of a list leave out. */
void kube_render_pod(struct json *j, const struct sl_info *info, bool top);
void kube_render_namespace(struct json *j, struct sl_slice name, bool top);

/* A list: open, items, close. `kind` is "PodList" or "NamespaceList"; `next` empty: this is all of it. */
void kube_list_open(struct json *j, const char *kind);
void kube_list_close(struct json *j, struct sl_slice next);
/* The same as the table that kubectl prints: open, rows, close. */
void kube_table_open(struct json *j);
void kube_table_row(struct json *j, const struct sl_info *info, int64_t now_ns);
void kube_table_close(struct json *j, struct sl_slice next);

/* `name` and `kind` (such as "pods") are the details' and may be empty. */
void kube_render_status(struct json *j, const char *reason, unsigned code, const char *message,
                        struct sl_slice name, const char *kind);
/* Bodies that never change. */
extern const char kube_api_versions[];
extern const char kube_api_groups[];
extern const char kube_resources[];
/* /version; with_platform as Kubernetes wants it: see the README. */
void kube_render_version(struct json *j, bool with_platform);
