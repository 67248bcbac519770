/*
 * index_env.h - a vault directory with just segments and an index in it, for the tests and benchmarks of the index.
 */
#ifndef TESTS_UNIT_INDEX_ENV_H
#define TESTS_UNIT_INDEX_ENV_H

#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/seal.h"
#include "fs/index.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENV_TAG 77u

struct env {
    char path[200];
    int fd;
    struct segment_store *segments;
    struct index *ix;
    int (*verify)(void *ctx, const struct extent *e); /* may be set before env_open */
    void *verify_ctx;
};

static const uint8_t env_key[SECRET_KEY_LEN] = "a device key of thirty-two byte";
static const uint8_t env_vault_id[32] = "a vault id of thirty-two bytes.";

static inline void env_dir(struct env *env)
{
    const char *tmp = getenv("TMPDIR");
    memset(env, 0, sizeof(*env));
    snprintf(env->path, sizeof(env->path), "%s/obs-index-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(env->path))
        abort();
}

static inline int env_open(struct env *env, bool create, bool read_only)
{
    uint8_t key[SECRET_KEY_LEN];
    if (secret_init() != 0)
        return ERR_NOMEM;
    env->fd = open(env->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kdf_derive(key, env_key, KDF_SEGMENT);
    int err = segment_store_open(&env->segments, env->fd, key, env_vault_id, ENV_TAG, read_only);
    if (err)
        return err;
    const struct index_params params = {
        .vault_fd = env->fd,
        .vault_path = env->path,
        .device_key = env_key,
        .vault_id = env_vault_id,
        .device_tag = ENV_TAG,
        .segments = env->segments,
        .create = create,
        .read_only = read_only,
        .verify_extent = env->verify,
        .verify_ctx = env->verify_ctx,
    };
    err = index_open(&env->ix, &params);
    if (err) {
        segment_store_close(env->segments);
        close(env->fd);
    }
    return err;
}

static inline int env_close(struct env *env)
{
    int err = index_close(env->ix);
    segment_store_close(env->segments);
    close(env->fd);
    env->ix = NULL;
    return err;
}

static inline int env_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void env_remove(struct env *env)
{
    nftw(env->path, env_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* One group around ${call}; gives its error. */
#define ENV_GROUP(ix, origin, call)                                                                \
    ({                                                                                             \
        index_lock(ix);                                                                            \
        int env_err = index_begin(ix, origin, 0);                                                  \
        if (!env_err) {                                                                            \
            env_err = (call);                                                                      \
            index_end(ix);                                                                         \
        }                                                                                          \
        index_unlock(ix);                                                                          \
        env_err;                                                                                   \
    })

#endif
