// SPDX-License-Identifier: Apache-2.0
/*
 * Lengths of time as people are shown them: `docker ps` says "5 minutes", `kubectl get pods` 5m12s. The rules
 * of Docker's go-units and of Kubernetes' duration.HumanDuration, so that tables look as ever. Pure.
 */
#pragma once
#include <stdint.h>

enum { AGE_TEXT_BYTES = 40 };

/* NUL-terminated. A negative length is none. */
void age_docker(int64_t ns, char out[AGE_TEXT_BYTES]);
void age_kube(int64_t ns, char out[AGE_TEXT_BYTES]);
