/*
 * Bytes that somebody zeroed are not a hole (A19): a hole is where the map says so, and zeroes in an extent do not verify, whether they are
 * on the store or on this disk, one block of them or all.
 */
#include "merge_fixture.h"

#define SIZE   40000u /* two full blocks and a part */
#define SEALED (SIZE + 3u * SEAL_TAG)

struct place {
    int fd;
    off_t off; /* of the extent */
    uint8_t was[SEALED];
};

static uint8_t plain[SIZE], back[SIZE];

static void open_place(struct place *p, const char *path, uint64_t off)
{
    p->fd = open(path, O_RDWR);
    p->off = (off_t)off;
    CHECK(p->fd >= 0 && pread(p->fd, p->was, SEALED, p->off) == SEALED);
}

static void restore(struct place *p)
{
    CHECK(pwrite(p->fd, p->was, SEALED, p->off) == SEALED);
}

/* Reads with each block zeroed, with all of them, with text zeroed but not the tag, and with the tag only. */
static void zeroed(struct place *p, struct vault *v, uint64_t ino, const char *where)
{
    static const struct {
        size_t off, len;
    } cuts[] = {{0, SEAL_BLOCK + SEAL_TAG},
                {SEAL_BLOCK + SEAL_TAG, SEAL_BLOCK + SEAL_TAG},
                {2 * (SEAL_BLOCK + SEAL_TAG), SEALED - 2 * (SEAL_BLOCK + SEAL_TAG)},
                {0, SEALED},
                {0, SEAL_BLOCK},
                {SEAL_BLOCK, SEAL_TAG}};
    static const uint8_t zeroes[SEALED];
    size_t got;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        CHECK(pwrite(p->fd, zeroes, cuts[i].len, p->off + (off_t)cuts[i].off) ==
              (ssize_t)cuts[i].len);
        int err = data_read(v, ino, 0, back, SIZE, &got, NULL);
        if (err != ERR_AUTH)
            fprintf(stderr, "%s, cut %zu: %s\n", where, i, err_text(err));
        CHECK_EQ(err, ERR_AUTH);
        restore(p);
    }
}

static bool reads(struct vault *v, uint64_t ino)
{
    size_t got;
    memset(back, 0, sizeof(back));
    return data_read(v, ino, 0, back, SIZE, &got, NULL) == 0 && got == SIZE &&
           memcmp(back, plain, SIZE) == 0;
}

static char pack[200];

static int find_pack(void *ctx, const char *name, uint64_t size)
{
    snprintf(pack, sizeof(pack), "%.100s/%s", (const char *)ctx, name);
    return 1;
}

int main(void)
{
    static struct place store, disk;
    struct group g;
    struct map_row row;
    struct extent e;
    size_t n;
    char path[200];
    log_set_level(LOG_LEVEL_ERROR);
    fixture_start();
    group_make(&g, 2, "zeroed");
    struct vault *v = g.m[0].d.v;
    memset(plain, 7, sizeof(plain));
    uint64_t ino = make_file(v, INODE_ROOT, "f", plain, SIZE);
    CHECK(member_push(&g.m[0], NULL) == 0 && member_pull(&g.m[1], NULL, NULL) == 0);
    index_lock(vault_index(v));
    CHECK(index_map_get(vault_index(v), ino, 0, SIZE, &row, &e, 1, &n) == 0 && n == 1);
    index_unlock(vault_index(v));
    CHECK(e.len == SIZE && e.pack && e.at.seg);

    CHECK_EQ(store_list(g.m[0].store, "packs/", find_pack, g.url + 7), 1);
    open_place(&store, pack, e.pack_off);
    zeroed(&store, g.m[1].d.v, ino, "store");
    CHECK(reads(g.m[1].d.v, ino)); /* and now it has a copy of its own */

    snprintf(path, sizeof(path), "%.100s/seg/%016llx", g.m[0].d.path, (unsigned long long)e.at.seg);
    open_place(&disk, path, e.at.off);
    vault_set_fetcher(v, NULL);
    zeroed(&disk, v, ino, "disk");
    CHECK(reads(v, ino));

    /* With a store the right bytes come from there. */
    vault_set_fetcher(v, &g.m[0].fetcher);
    memset(disk.was, 0, sizeof(disk.was));
    restore(&disk);
    CHECK(reads(v, ino));
    close(store.fd);
    close(disk.fd);
    group_free(&g);
    fixture_rm(fixture_base);
    return check_done();
}
