/*
 * daemon_requests.h - what the mounted process answers on its control socket (control.h lists the requests).
 */
#ifndef CLI_DAEMON_REQUESTS_H
#define CLI_DAEMON_REQUESTS_H

#include "cli/control.h"
#include "fs/fusefs.h"
#include "sync/engine.h"

#include <stdatomic.h>

struct daemon_state {
    struct vault *vault; /* immutable, as are the next three; each is thread-safe */
    struct engine *engine;
    struct fusefs *fs;
    struct control_server *control;
    const char *mountpoint; /* immutable */
    _Atomic unsigned stop_wait_ms;
    atomic_bool ending; /* what runs long gives up */
};

/* The handler for control_server_start; ${ctx} is the struct daemon_state. */
void daemon_request(void *ctx, const cJSON *request, struct control_peer *peer);

#endif
