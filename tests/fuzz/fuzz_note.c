/*
 * Any bytes as the payload of a NOTE record: what reads, written again, reads the same. Nothing else may happen than that
 * it is refused.
 */
#include "fuzz.h"

#include "crypto/err.h"
#include "fs/note.h"

#include <string.h>

static const char *text(const struct note *n, char out[256])
{
    FUZZ_CHECK(n->name_len > 0 && n->name_len < 256 && !memchr(n->name, 0, n->name_len));
    memcpy(out, n->name, n->name_len);
    out[n->name_len] = '\0';
    return out;
}

static void write_again(struct bytes_out *out, const struct note *n)
{
    char name[256];
    switch (n->kind) {
    case NOTE_INODE_PUT:
        note_inode_put(out, &n->inode);
        return;
    case NOTE_INODE_DEL:
        note_inode_del(out, n->ino);
        return;
    case NOTE_TARGET_PUT:
        note_target_put(out, n->ino, n->value, n->value_len);
        return;
    case NOTE_ENTRY_PUT:
        note_entry_put(out, &n->entry);
        return;
    case NOTE_ENTRY_DEL:
        note_entry_del(out, n->ino, n->name, n->name_len);
        return;
    case NOTE_XATTR_PUT:
        note_xattr_put(out, n->ino, text(n, name), n->value, n->value_len);
        return;
    case NOTE_XATTR_DEL:
        note_xattr_del(out, n->ino, text(n, name));
        return;
    case NOTE_EXTENT_PUT:
        note_extent_put(out, &n->extent);
        return;
    case NOTE_EXTENT_MOVE:
        note_extent_move(out, &n->extent);
        return;
    case NOTE_MAP_SET:
        note_map_set(out, n->ino, &n->map);
        return;
    case NOTE_MAP_PUNCH:
        note_map_punch(out, n->ino, n->map.off, n->map.len);
        return;
    case NOTE_RANGES_CLEAR:
        note_ranges_clear(out, n->ino);
        return;
    case NOTE_KV_PUT:
        note_kv_put(out, text(n, name), n->key, n->key_len, n->value, n->value_len);
        return;
    case NOTE_KV_DEL:
        note_kv_del(out, text(n, name), n->key, n->key_len);
        return;
    }
    abort(); /* a kind that nobody knows was read */
}

/* Reads all and writes it to ${out}: 0 or ERR_FORMAT. */
static int pass(const uint8_t *data, size_t size, struct bytes_out *out)
{
    struct bytes_in in, notes;
    struct note note;
    unsigned origin;
    int got, got_note;
    bytes_in_init(&in, data, size);
    while ((got = note_group_next(&in, &origin, &notes)) == 1) {
        size_t mark = note_group_begin(out, origin);
        while ((got_note = note_next(&notes, &note)) == 1)
            write_again(out, &note);
        note_group_end(out, mark);
        if (got_note)
            return got_note;
    }
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes_out first, second;
    bytes_out_init(&first);
    bytes_out_init(&second);
    int err = pass(data, size, &first);
    FUZZ_CHECK(err == 0 || err == ERR_FORMAT);
    if (err == 0) {
        FUZZ_CHECK(pass(first.p, first.len, &second) == 0);
        FUZZ_CHECK(first.len == second.len && first.len <= size);
        FUZZ_CHECK(first.len == 0 || memcmp(first.p, second.p, first.len) == 0);
    }
    bytes_out_release(&first);
    bytes_out_release(&second);
    return 0;
}
