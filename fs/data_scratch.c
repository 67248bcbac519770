#include "fs/data_scratch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDS 64u

struct thread_state {
    struct data_scratch scratch;
    unsigned ids_left;
    pid_t
        ids_owner; /* a forked process must not draw the ids of its parent: an id is half a nonce */
    uint8_t ids[IDS][SEAL_ID_LEN];
};

static pthread_key_t state_key;
static pthread_once_t state_once = PTHREAD_ONCE_INIT;
static bool state_key_made;

static void state_free(void *p)
{
    struct thread_state *t = p;
    if (t->scratch.block)
        secret_wipe(t->scratch.block, SEAL_BLOCK);
    free(t->scratch.block);
    free(t->scratch.sealed);
    free(t);
}

static void make_key(void)
{
    state_key_made = pthread_key_create(&state_key, state_free) == 0;
}

struct data_scratch *data_scratch_get(void)
{
    pthread_once(&state_once, make_key);
    if (!state_key_made)
        return NULL;
    struct thread_state *t = pthread_getspecific(state_key);
    if (t)
        return &t->scratch;
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->scratch.sealed = malloc(seal_size(SEAL_EXTENT_MAX));
    t->scratch.block = malloc(SEAL_BLOCK);
    if (!t->scratch.sealed || !t->scratch.block || pthread_setspecific(state_key, t) != 0) {
        state_free(t);
        return NULL;
    }
    return &t->scratch;
}

void data_scratch_id(uint8_t id[SEAL_ID_LEN])
{
    struct thread_state *t = pthread_getspecific(state_key);
    if (t->ids_left == 0 || t->ids_owner != getpid()) {
        secret_random(t->ids, sizeof(t->ids)); /* one system call for many */
        t->ids_left = IDS;
        t->ids_owner = getpid();
    }
    memcpy(id, t->ids[--t->ids_left], SEAL_ID_LEN);
}
