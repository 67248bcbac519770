/*
 * fusefs_loop.h - the threads that take requests from the kernel and answer them.
 *
 * One thread at a time leads: it alone reads the device, so no request wakes more than one thread. It serves what is quick
 * by itself; before what may take long (large reads and writes, syncs on a slow disk) it passes the lead to another
 * thread. A second thread watches: if the leader is stuck in one request (a read that must fetch from the store) for
 * FUSEFS_LOOP_STUCK_MS, the watcher takes the lead. When all are busy another thread is made, up to
 * FUSEFS_LOOP_THREADS; those that idle go again.
 *
 * Before it sleeps, the leader polls the device for some microseconds, while that keeps paying off: a sleep and a
 * wake-up cost more than most requests.
 */
#ifndef FS_FUSEFS_LOOP_H
#define FS_FUSEFS_LOOP_H

#include "fs/fusefs_raw.h"
#include "fs/fusefs_session.h"

#define FUSEFS_LOOP_THREADS  16
#define FUSEFS_LOOP_STUCK_MS 5

/* Puts our reading and writing of the device in place of libfuse's; before the first request. ERR_NOMEM, ERR_IO. */
int fusefs_loop_new(struct fusefs_loop **loop, struct fusefs *fs);
/* Starts the first threads. FUSEFS_EVENT_READY and FUSEFS_EVENT_ENDED are posted. ERR_NOMEM. */
int fusefs_loop_start(struct fusefs_loop *loop);
/* Ends them: requests under way are cancelled where they can be and answered; returns when all threads are gone. */
void fusefs_loop_stop(struct fusefs_loop *loop);
void fusefs_loop_free(struct fusefs_loop *loop);
/* Waits until every request but reads that the kernel had sent is answered, and so are those that it held back behind them; ${ms} at the
 * most. False: there was no end in that time. Any thread but those of the loop. */
bool fusefs_loop_settle(struct fusefs_loop *loop, unsigned ms);

/* ---- for the callbacks, about the request that this thread serves ---- */

/* FUSEFS_RAW_WRITE bytes, aligned to a page. They overlie the data of a write request, and nothing of any other. */
uint8_t *fusefs_loop_scratch(void);
const struct fusefs_raw *fusefs_loop_raw(void);
/* Set when the request is to end early: interrupted, or the mount goes away. */
_Atomic bool *fusefs_loop_cancelled(void);

/* Is this a thread that serves requests? */
bool fusefs_loop_serves(void);

/* Before a callback waits for other requests of the kernel: somebody else serves those from now on. False: nobody can, do
 * not wait. */
bool fusefs_loop_pass_lead(void);

/* Requests served so far, by opcode (0 to 63); for measuring. */
void fusefs_loop_counts(const struct fusefs_loop *loop, uint64_t counts[64]);

#endif
