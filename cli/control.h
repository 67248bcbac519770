/*
 * control.h - the socket through which commands talk to the process that has the vault mounted.
 *
 * A Unix socket in a directory that only this user can enter ($XDG_RUNTIME_DIR/obscurafs; else /run/user/UID/obscurafs, for root
 * /run/obscurafs, /tmp/obscurafs-UID; mode 0700, owner checked); peers of other users are refused (SO_PEERCRED). One request per connection: a line of
 * JSON, at most CONTROL_LINE_MAX bytes, {"do": "...", ...}; the answer is one or more lines of JSON, the last of which has
 * "code" (an err.h code) and, on failure, "why".
 *
 *   do      more in the request                      lines of the answer before the last
 *   status  -                                        -; the last holds the fields of status --json
 *   sync    -                                        progress: {"done", "total"}
 *   stop    "wait_ms"                                 -; then the process flushes, unmounts and ends; the connection closes when it
 *                                                     has, after a last line {"pending": n, "closed": err.h code}
 *   store-add     "url", "user", "secret", "token", "ca_file", "allow_http"
 *   store-remove  "url"
 *   store-list    -                                  the last holds "stores": [{"id", "url"}]
 *   check   "store"                                  {"problem": {"path", "what"}}; the last holds counts
 */
#ifndef CLI_CONTROL_H
#define CLI_CONTROL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_LINE_MAX 16384u

/* ---- both sides ---- */
/* Makes cJSON wipe what it frees: requests may hold a store's secret. Call once. */
void control_init(void);
#define CONTROL_DIRS    3u
#define CONTROL_DIR_MAX 80u
/* The directories where sockets of this user may be, the one for new ones first; how many. They need not exist. */
size_t control_dirs(char dirs[CONTROL_DIRS][CONTROL_DIR_MAX]);
/* Is it a directory that only this user can enter? What lies in any other one is not to be believed. */
bool control_dir_is_ours(const char *dir);
/* The socket of a device: path of at most ${size} bytes; makes the directory. 0 or an err.h code. */
int control_path(const uint8_t vault_id[32], uint32_t device_tag, char *path, size_t size);
/* Parses one line; NULL unless it is a JSON object of sane depth. cJSON_Delete it. */
cJSON *control_parse(const char *line, size_t len);

/* Keeps in a file beside the socket ${sock}, which this process has, whose it is, for those whom it does not answer. Failure does not
 * matter. */
void control_where_put(const char *sock, const char *vault, const char *mountpoint);
void control_where_remove(const char *sock);
/* {"vault", "mountpoint", "pid"}, or NULL. */
cJSON *control_where_get(const char *sock);

/* ---- server ---- */
struct control_server;
/* A connection's answer. */
struct control_peer;
/* Sends ${line} (not freed). False: the peer is gone. */
bool control_send(struct control_peer *peer, const cJSON *line);
/* Keeps the connection open after the handler returns, until the process ends: for stop. */
void control_keep(struct control_peer *peer);

/* Listens at ${path} and answers each request on a thread of its own with ${handle}. */
int control_server_start(struct control_server **server, const char *path,
                         void (*handle)(void *ctx, const cJSON *request, struct control_peer *peer),
                         void *ctx);
/* Sends ${line} to every kept connection. */
void control_server_broadcast(struct control_server *server, const cJSON *line);
/* Removes the socket, accepts nothing more and waits for the handlers under way, calling ${hurry} again and again until the last has
 * ended: after this nothing that they use is used any more. Kept connections stay open. */
void control_server_drain(struct control_server *server, void (*hurry)(void *ctx), void *ctx);
/* After control_server_drain: closes the kept connections. NULL is a no-op for both. */
void control_server_free(struct control_server *server);

/* ---- client ---- */
/* A process that does not say its status within CONTROL_PATIENCE_S counts as there, and silent: its status has "vault", "mountpoint" and "pid", as
 * far as they are known, and "state": "silent". */
#define CONTROL_PATIENCE_S 5
bool control_silent(const cJSON *status);
/* Connects to the process that has ${vault_or_mountpoint} mounted and asks for its status. NULL: none is. *status (may be NULL) is
 * to be cJSON_Delete'd. The result is the socket's path, to be freed. */
char *control_find(const char *vault_or_mountpoint, cJSON **status);
/* Sockets of all mounted vaults of this user; calls ${each} with path and status. */
void control_each(void (*each)(void *ctx, const char *path, const cJSON *status), void *ctx);
/* Sends the request and calls ${each} (may be NULL) for each line but the last, which is returned (cJSON_Delete). NULL: no answer.
 * ${wait_close}: after the last line wait until the other side ends, passing further lines to ${each}. */
cJSON *control_call(const char *path, const cJSON *request,
                    void (*each)(void *ctx, const cJSON *line), void *ctx, bool wait_close);
/* The err.h code of a last line. */
int control_code(const cJSON *last);
/* Its "why", or NULL. */
const char *control_why(const cJSON *last);

#endif
