// SPDX-License-Identifier: Apache-2.0
#include "handlers.h"
#include "dialects/docker.h"
#include "dialects/kube.h"

const struct handler *handler_of(enum route route)
{
    switch (route) {
    case ROUTE_MANY:
        return &many_handler;
    case ROUTE_LOGS:
        return &logs_handler;
    case ROUTE_SANDBOX:
    case ROUTE_SANDBOXES:
        return &sandboxes_handler;
    case ROUTE_EXPORTS:
    case ROUTE_EXPORT:
    case ROUTE_ACK:
        return &export_handler;
    case ROUTE_PAGE:
        return &pages_handler;
    case ROUTE_DOCKER:
        return &docker_handler;
    case ROUTE_KUBE:
        return &kube_handler;
    default:
        return &operations_handler;
    }
}
