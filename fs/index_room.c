/*
 * Room that is set aside before an operation begins: in the log for its notes, in the database for the pages that these
 * will need. [index-full]
 *
 * What is answered must be able to become durable, and what is in the log must be able to come into the database:
 * changes that could not would keep everything after them out, deletions too, and a full disk would stay full.
 */
#include "fs/index_private.h"

#include "crypto/err.h"
#include "crypto/pagevfs.h"

#include <sys/statvfs.h>

#define ROOM_SLACK (1u << 20)   /* asked for at once, so that most operations ask for nothing */
#define PAGE_SLACK (256u << 10) /* the same, of notes whose pages are asked for */
/* Of the last room the log leaves so much to SQLite, where that could reserve nothing. */
#define FOR_OTHERS (128u << 10)
/* New pages whatever is done: of rows that are written at the commit, of b-trees whose pages are split. */
#define PAGES_ALWAYS (512u << 10)
/* Bytes of pages for a byte of notes at most: a value just too long for its b-tree's page gets a page of its own. In large
 * groups that is an exception. */
#define GROWTH       5u
#define GROWTH_LARGE 2u

static int hold_notes(struct index *ix, size_t room, bool frees)
{
    const size_t need = index_note_room(ix->notes.len + room) + (frees ? 0 : INDEX_FREES_RESERVE);
    if (need <= ix->held)
        return 0;
    const size_t before = ix->appending ? index_note_room(ix->appending) : 0;
    size_t held = need + ROOM_SLACK;
    int err = segment_hold(ix->segments, before + held);
    if (err == ERR_NOSPACE) {
        held = need;
        err = segment_hold(ix->segments, before + held);
    }
    if (!err)
        ix->held = held;
    return err;
}

static uint64_t pages_of(size_t notes)
{
    const size_t small = notes < 2 * PAGE_SLACK ? notes : 2 * PAGE_SLACK;
    return PAGES_ALWAYS + GROWTH * small + GROWTH_LARGE * (notes - small);
}

static int hold_pages(struct index *ix, size_t room, bool frees)
{
    if (room <= ix->paged)
        return 0;
    size_t paged = room + PAGE_SLACK;
    int err = pagevfs_reserve(ix->db, pages_of(paged), 0);
    if (err == ERR_NOSPACE) {
        paged = room;
        err = pagevfs_reserve(ix->db, pages_of(paged), 0);
    }
    if (!err)
        ix->paged = paged;
    /* Deleting makes pages free rather than needing new ones, and PAGES_ALWAYS was asked for before. */
    return frees && err == ERR_NOSPACE ? 0 : err;
}

int index_room_hold(struct index *ix, size_t room, bool frees)
{
    int err = hold_notes(ix, room, frees);
    return err ? err : hold_pages(ix, room, frees);
}

void index_room_used(struct index *ix, size_t notes)
{
    ix->paged -= ix->paged < notes ? ix->paged : notes;
}

/* Less than the whole reserve, when there is no more; but not all that there is. */
static void hold_some(struct index *ix, size_t notes)
{
    struct statvfs st;
    if (fstatvfs(ix->vault_fd, &st) != 0)
        return;
    const uint64_t room = (uint64_t)st.f_bavail * st.f_frsize;
    const uint64_t some = room > 2 * FOR_OTHERS ? room - FOR_OTHERS : room / 2;
    if (some < INDEX_FREES_RESERVE)
        (void)segment_hold(ix->segments, notes + some);
}

int index_room_database(struct index *ix)
{
    return pagevfs_reserve(ix->db, PAGES_ALWAYS, INDEX_WAL_ROOM);
}

int index_room_least(struct index *ix)
{
    const size_t notes = index_note_room(ix->appending + ix->notes.len);
    int err = segment_hold(ix->segments, notes + INDEX_FREES_RESERVE);
    if (err == ERR_NOSPACE)
        hold_some(ix, notes);
    int database_err = index_room_database(ix);
    return err ? err : database_err;
}
