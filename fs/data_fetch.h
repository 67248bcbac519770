/*
 * data_fetch.h - extents that are not here: fetched once for all who wait, verified, kept.
 *
 * Inside fs/ only. Readers of the same missing extent share one fetch. What came is verified before anyone sees it, appended to the
 * segment and written into the index. Where it cannot be kept (read-only vault, full disk), the last few stay in memory as
 * they came, sealed, so that reading a file piece by piece does not fetch each extent many times.
 */
#ifndef FS_DATA_FETCH_H
#define FS_DATA_FETCH_H

#include "fs/vault.h"

struct data_fetch;

/*
 * ${e}: missing here (at.seg 0), or damaged at the place it names; a good copy then takes its place. Called without locks. On success data_fetch_sealed() has the verified sealed bytes until data_fetch_release().
 * ERR_STALE: the extent has come, or has gone, since the caller looked: look again. ERR_AUTH: what was fetched is not
 * what was sealed. ERR_INTR: *cancelled (may be NULL). ERR_NET: there is nothing to fetch with; and what the fetcher answers.
 */
int data_fetch_get(struct vault *v, const struct extent *e, const _Atomic bool *cancelled,
                   struct data_fetch **fetch);
const uint8_t *data_fetch_sealed(const struct data_fetch *fetch);
void data_fetch_release(struct data_fetch *fetch);

#endif
