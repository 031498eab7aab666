// SPDX-License-Identifier: Apache-2.0
/*
 * Kubernetes' parameters: PodLogOptions into a struct query, and selectors, which are asked about one object
 * at a time. Pure, no allocation, results borrow from the pairs. Any thread.
 */
#pragma once
#include "query.h"

/* The API server's rule for them: there, and not 0 or false. NULL is false. */
bool kube_bool(const struct query_pair *pair);

/* > 0 (QUERY_INVALID) with *ret_problem. The container is taken as it is; `previous` is not looked at. */
int kube_query(const struct query_pair *pairs, size_t count, int64_t now_ns, struct query *ret,
               struct problem *ret_problem);

/* The value of an object's key; false: it has none. */
typedef bool kube_value(const void *object, struct sl_slice key, struct sl_slice *ret);
/*
 * `a=b,c!=d,e in (f,g),h notin (i),j,!k`: all of them. Empty: everything matches. > 0
 * (KUBE_SELECTOR_INVALID): not a selector.
 */
enum { KUBE_SELECTOR_INVALID = 1 };
int kube_select(struct sl_slice selector, kube_value *value, const void *object, bool *ret);
