// SPDX-License-Identifier: Apache-2.0
/*
 * The Kubernetes API, as much of it as reading logs takes: sandboxes are pods, of the namespace that their
 * label `namespace` names, else `default`. Home thread.
 */
#pragma once
#include "connection.h"

extern const struct handler kube_handler;

/* kind: Status; c->dialect is Kubernetes'. */
void kube_problem(struct connection *c, const struct problem *p, const char *headers);
