#include "tests/fault/power_tree.h"

#include "crypto/err.h"
#include "fs/data.h"
#include "fs/tree.h"
#include "sync/engine.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const struct slot_cost power_tree_cost = {SLOT_OPS_MIN, SLOT_MEM_MIN};

void power_tree_secret(char secret[32], unsigned number)
{
    snprintf(secret, 32, "horse battery staple %u", number);
}

int power_tree_parent(struct vault *v, const char *path, uint64_t *parent, const char **leaf)
{
    const char *slash = strchr(path, '/');
    struct inode in = {.ino = INODE_ROOT};
    int err = slash ? tree_lookup(v, INODE_ROOT, path, (size_t)(slash - path), &in) : 0;
    *parent = in.ino;
    *leaf = slash ? slash + 1 : path;
    return err;
}

int power_tree_ino(struct vault *v, const char *path, uint64_t *ino)
{
    const char *leaf;
    uint64_t parent;
    struct inode in = {0};
    int err = power_tree_parent(v, path, &parent, &leaf);
    if (!err)
        err = tree_lookup(v, parent, leaf, strlen(leaf), &in);
    *ino = in.ino;
    return err;
}

/* ---- the text ---- */

struct dump {
    struct vault *v;
    struct bytes_out *out;
};

struct item {
    char name[256];
    struct inode inode;
};

struct list {
    struct item *items;
    size_t count;
};

static void say(struct bytes_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(struct bytes_out *out, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    bytes_put(out, line, n < 0 ? 0 : (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void hash(struct bytes_out *out, const void *p, size_t len)
{
    uint8_t h[16];
    char hex[2 * sizeof(h) + 1];
    crypto_generichash(h, sizeof(h), p, len, NULL, 0);
    say(out, " %s", sodium_bin2hex(hex, sizeof(hex), h, sizeof(h)));
}

static void dump_file(struct dump *d, const struct inode *in)
{
    uint8_t *p = malloc(in->size + 1);
    size_t done = 0, got = 1;
    int err = p ? 0 : ERR_NOMEM;
    while (!err && got && done < in->size) {
        err = data_read(d->v, in->ino, done, p + done, in->size - done, &got, NULL);
        done += got;
    }
    if (err || done != in->size)
        say(d->out, " !%s", err_text(err));
    else
        hash(d->out, p, in->size);
    free(p);
}

static void dump_xattrs(struct dump *d, uint64_t ino)
{
    struct bytes_out names, value;
    bytes_out_init(&names);
    bytes_out_init(&value);
    int err = tree_listxattr(d->v, ino, &names);
    for (size_t at = 0; !err && at < names.len; at += strlen((char *)names.p + at) + 1) {
        bytes_out_reset(&value);
        err = tree_getxattr(d->v, ino, (char *)names.p + at, &value);
        say(d->out, " %s=", (char *)names.p + at);
        hash(d->out, value.p, value.len);
    }
    if (err)
        say(d->out, " !%s", err_text(err));
    bytes_out_release(&names);
    bytes_out_release(&value);
}

static void dump_inode(struct dump *d, const struct inode *in)
{
    char target[4096];
    size_t len = 0;
    say(d->out, " %o links %u number %llx size %llu time %lld", in->mode, in->nlink,
        (unsigned long long)in->ino, (unsigned long long)in->size, (long long)in->mtime);
    if (S_ISREG(in->mode))
        dump_file(d, in);
    int err = S_ISLNK(in->mode) ? tree_readlink(d->v, in->ino, target, sizeof(target), &len) : 0;
    if (err)
        say(d->out, " !%s", err_text(err));
    else if (len)
        say(d->out, " -> %.*s", (int)len, target);
    dump_xattrs(d, in->ino);
    say(d->out, "\n");
}

static int take(void *ctx, const char *name, size_t len, uint64_t cookie, const struct inode *inode)
{
    struct list *l = ctx;
    if (cookie <= 2)
        return 0;
    l->items = reallocarray(l->items, l->count + 1, sizeof(*l->items));
    if (!l->items)
        return ERR_NOMEM;
    struct item *i = &l->items[l->count++];
    snprintf(i->name, sizeof(i->name), "%.*s", (int)len, name);
    i->inode = *inode;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static void dump_dir(struct dump *d, uint64_t ino, const char *path)
{
    struct list l = {0};
    int err = tree_readdir(d->v, ino, 0, take, &l);
    if (err)
        say(d->out, "%s !%s\n", path, err_text(err));
    if (l.count)
        qsort(l.items, l.count, sizeof(*l.items), by_name);
    for (size_t i = 0; i < l.count; i++) {
        char sub[1024];
        snprintf(sub, sizeof(sub), "%.700s/%s", path, l.items[i].name);
        say(d->out, "%s", sub);
        dump_inode(d, &l.items[i].inode);
        if (S_ISDIR(l.items[i].inode.mode))
            dump_dir(d, l.items[i].inode.ino, sub);
    }
    free(l.items);
}

char *power_tree_dump(struct vault *v)
{
    struct engine *e = NULL;
    struct bytes_out out;
    struct inode root;
    (void)engine_new(&e, v, NULL); /* fetches what is only on the store, if there is one */
    bytes_out_init(&out);
    struct dump d = {v, &out};
    if (tree_getattr(v, INODE_ROOT, &root) == 0)
        dump_inode(&d, &root);
    dump_dir(&d, INODE_ROOT, "");
    engine_free(e);
    bytes_put(&out, "", 1);
    char *text = out.bad ? NULL : strdup((char *)out.p);
    bytes_out_release(&out);
    return text;
}

/* ---- what the threads write ---- */

size_t power_tree_fill(uint8_t buf[16384], unsigned thread, unsigned number)
{
    const size_t len =
        1000 + thread * 5311; /* the same for all numbers: one write makes it the next */
    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)((i * 7 + number * 31 + thread * 101) >> (i % 3));
    memcpy(buf, &number, sizeof(number));
    return len;
}

int power_tree_number(struct vault *v, unsigned thread)
{
    uint8_t have[16384], want[16384];
    char name[16];
    uint64_t ino;
    size_t got = 0;
    unsigned number;
    snprintf(name, sizeof(name), "t%u", thread);
    int err = power_tree_ino(v, name, &ino);
    if (err == ERR_NOENT)
        return 0;
    if (!err)
        err = data_read(v, ino, 0, have, sizeof(have), &got, NULL);
    if (err)
        return -1;
    if (got < sizeof(number))
        return got ? -1 : 0;
    memcpy(&number, have, sizeof(number));
    const size_t len = power_tree_fill(want, thread, number);
    return number < 1000000 && got == len && memcmp(have, want, len) == 0 ? (int)number : -1;
}
