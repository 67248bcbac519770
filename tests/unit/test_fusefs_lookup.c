/* The kernel's references are counted exactly, through growth, shrinking and deletion in any order, and an unlinked inode
 * is reported for reaping once, when the last one goes. Codes of err.h have the errno values that programs expect. */
#include "fs/fusefs_lookup.h"

#include "crypto/err.h"
#include "fs/fusefs_errno.h"
#include "fs/inode.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t ino_of(uint64_t i)
{
    return (5ull << INODE_TAG_SHIFT) + i * 977 + 2;
}

static void counts(void)
{
    struct fusefs_lookup *t = fusefs_lookup_new();

    CHECK(t != NULL);
    CHECK_EQ(fusefs_lookup_add(t, 7, 1), 0);
    CHECK_EQ(fusefs_lookup_add(t, 7, 1), 0);
    CHECK(fusefs_lookup_mark_gone(t, 7, true));
    CHECK(fusefs_lookup_gone_for_good(t, 7));
    CHECK(!fusefs_lookup_gone_for_good(t, 1007));
    CHECK(!fusefs_lookup_forget(t, 7, 1)); /* one reference is left: open */
    CHECK(fusefs_lookup_forget(t, 7, 1));
    CHECK(!fusefs_lookup_forget(t, 7, 1));       /* reported once */
    CHECK(!fusefs_lookup_mark_gone(t, 7, true)); /* not held any more */
    CHECK_EQ(fusefs_lookup_count(t), 0);

    uint64_t parent = 0;
    CHECK(!fusefs_lookup_held(t, 8));
    CHECK_EQ(fusefs_lookup_parents(t, 8, &parent, 1), 0);
    CHECK_EQ(fusefs_lookup_add(t, 8, 55), 0);
    CHECK(fusefs_lookup_held(t, 8));
    CHECK_EQ(fusefs_lookup_parents(t, 8, &parent, 1), 1);
    CHECK_EQ(parent, 55);
    fusefs_lookup_moved(t, 8, 66, false);
    CHECK_EQ(fusefs_lookup_parents(t, 8, &parent, 1), 1);
    CHECK_EQ(parent, 66);
    CHECK(!fusefs_lookup_forget(t, 8, 1)); /* still has a name */

    CHECK_EQ(fusefs_lookup_add(t, 9, 1), 0);
    CHECK(fusefs_lookup_mark_gone(t, 9, false));
    CHECK(!fusefs_lookup_gone_for_good(t, 9)); /* may get a name */
    fusefs_lookup_unmark(t, 9);
    CHECK(!fusefs_lookup_forget(t, 9, 5)); /* more than there were */
    CHECK_EQ(fusefs_lookup_count(t), 0);

    /* deleted elsewhere: as gone, but it may get a name */
    CHECK(!fusefs_lookup_mark_deleted(t, 9));
    CHECK_EQ(fusefs_lookup_add(t, 9, 1), 0);
    CHECK(fusefs_lookup_mark_deleted(t, 9));
    CHECK(fusefs_lookup_is_deleted(t, 9));
    CHECK(!fusefs_lookup_gone_for_good(t, 9));
    CHECK(fusefs_lookup_forget(t, 9, 1));
    CHECK(!fusefs_lookup_is_deleted(t, 9));

    CHECK_EQ(fusefs_lookup_add(t, INODE_ROOT, 1), 0);
    CHECK_EQ(fusefs_lookup_count(t), 0); /* the root is not counted */
    CHECK(!fusefs_lookup_forget(t, INODE_ROOT, 1));
    fusefs_lookup_free(t);
}

/* Each file with several names has all its directories, whatever others come and go. */
static void many_parents(void)
{
    enum { FILES = 3000 };
    struct fusefs_lookup *t = fusefs_lookup_new();
    uint64_t parents[8];
    unsigned wrong = 0;

    CHECK(t != NULL);
    for (uint64_t i = 0; i < FILES; i++)
        for (uint64_t k = 0; k < 1 + i % 5; k++)
            for (uint64_t again = 0; again < 2; again++)
                wrong += fusefs_lookup_add(t, ino_of(i), 100 + k) != 0;
    for (uint64_t i = 0; i < FILES; i += 2)
        (void)fusefs_lookup_forget(t, ino_of(i), 100);
    for (uint64_t i = 0; i < FILES; i++) {
        uint64_t seen = 0, expected = i % 2 ? (2ull << i % 5) - 1 : 0;
        size_t n = fusefs_lookup_parents(t, ino_of(i), parents, 8);
        for (size_t k = 0; k < n; k++)
            seen |= 1ull << (parents[k] - 100);
        wrong += seen != expected;
        wrong += n > 0 && parents[0] != 100 + i % 5;
    }
    CHECK_EQ(wrong, 0);
    for (uint64_t i = 1; i < FILES; i += 2)
        (void)fusefs_lookup_forget(t, ino_of(i), 100);
    CHECK_EQ(fusefs_lookup_count(t), 0);
    fusefs_lookup_free(t);
}

/* Against a plain array, with a fixed seed. */
static void random_walk(void)
{
    enum { INODES = 20000, STEPS = 400000 };
    struct fusefs_lookup *t = fusefs_lookup_new();
    unsigned *refs = calloc(INODES, sizeof(*refs));
    bool *gone = calloc(INODES, sizeof(*gone));
    unsigned wrong = 0;
    size_t held = 0;

    CHECK(t && refs && gone);
    srandom(1);
    for (unsigned s = 0; s < STEPS; s++) {
        /* First mostly adding, then mostly forgetting: the table grows and shrinks. */
        size_t i = (size_t)random() % INODES;
        bool add = random() % 8 < (s < STEPS / 2 ? 5 : 1);

        if (add) {
            wrong += fusefs_lookup_add(t, ino_of(i), 1) != 0;
            held += refs[i]++ == 0;
        } else if (random() % 4 == 0) {
            wrong += fusefs_lookup_mark_gone(t, ino_of(i), s % 2) != (refs[i] > 0);
            gone[i] = refs[i] > 0;
        } else {
            unsigned n = 1 + (unsigned)random() % 3;
            bool last = refs[i] > 0 && n >= refs[i];
            wrong += fusefs_lookup_forget(t, ino_of(i), n) != (last && gone[i]);
            refs[i] -= n < refs[i] ? n : refs[i];
            held -= last;
            if (last)
                gone[i] = false;
        }
    }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(fusefs_lookup_count(t), held);
    for (size_t i = 0; i < INODES; i++)
        wrong += fusefs_lookup_forget(t, ino_of(i), 1u << 30) != (refs[i] > 0 && gone[i]);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(fusefs_lookup_count(t), 0);
    fusefs_lookup_free(t);
    free(refs);
    free(gone);
}

static void errnos(void)
{
    CHECK_EQ(fusefs_errno(0), 0);
    CHECK_EQ(fusefs_errno(ERR_NOENT), ENOENT);
    CHECK_EQ(fusefs_errno(ERR_NOTEMPTY), ENOTEMPTY);
    CHECK_EQ(fusefs_errno(ERR_NOSPACE), ENOSPC);
    CHECK_EQ(fusefs_errno(ERR_AUTH), EIO); /* damaged data reads as an input error */
    CHECK_EQ(fusefs_errno(ERR_FORMAT), EIO);
    CHECK_EQ(fusefs_errno(-12345), EIO);
    CHECK_EQ(fusefs_errno_inode(ERR_NOENT), ESTALE);
    CHECK_EQ(fusefs_errno_inode(ERR_EXIST), EEXIST);
    /* Nothing that fails looks like success, whatever is added to err.h. */
    for (int e = -1; e > -100; e--)
        CHECK(fusefs_errno(e) > 0);
}

int main(void)
{
    counts();
    many_parents();
    random_walk();
    errnos();
    return check_done();
}
