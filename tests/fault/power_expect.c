#include "tests/fault/power_expect.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "word number\ntext", as the workload marks it. */
struct mark {
    char word[32];
    unsigned number;
    const char *text;
    size_t len;
};

static bool get_mark(const struct power_disk *d, size_t i, struct mark *m)
{
    const struct power_record *r = power_disk_record(d, i);
    char line[96];
    if (r->head.kind != POWER_MARK)
        return false;
    const char *data = (const char *)r->data, *end = memchr(data, '\n', r->head.data_len);
    if (!end || (size_t)(end - data) >= sizeof(line))
        return false;
    memcpy(line, data, (size_t)(end - data));
    line[end - data] = '\0';
    char *space = strrchr(line, ' ');
    if (!space)
        return false;
    *space = '\0';
    snprintf(m->word, sizeof(m->word), "%.31s", line);
    m->number = (unsigned)strtoul(space + 1, NULL, 10);
    m->text = end + 1;
    m->len = r->head.data_len - (size_t)(end + 1 - data);
    return true;
}

static void die(void)
{
    fprintf(stderr, "power_expect: out of memory\n");
    exit(2);
}

static void add_tree(struct power_expect *x, const char *text, size_t len, unsigned number)
{
    x->trees = reallocarray(x->trees, x->count + 1, sizeof(*x->trees));
    x->numbers = reallocarray(x->numbers, x->count + 1, sizeof(*x->numbers));
    char *copy = strndup(text, len);
    if (!x->trees || !x->numbers || !copy)
        die();
    x->trees[x->count] = copy;
    x->numbers[x->count++] = number;
}

/* The state that an operation which was under way leads to is marked later. */
static void add_begun(struct power_expect *x, const struct power_disk *d, size_t i, unsigned number)
{
    struct mark m;
    for (; i < power_disk_count(d); i++)
        if (get_mark(d, i, &m) && strcmp(m.word, "state") == 0 && m.number == number) {
            add_tree(x, m.text, m.len, number);
            return;
        }
}

static void raise_floor(struct power_expect *x, unsigned number)
{
    for (size_t i = x->count; i-- > 0;)
        if (x->numbers[i] == number) {
            x->floor = i;
            return;
        }
}

static void take(struct power_expect *x, const struct power_disk *d, size_t i, const struct mark *m)
{
    unsigned thread;
    if (strcmp(m->word, "state") == 0)
        add_tree(x, m->text, m->len, m->number);
    else if (strcmp(m->word, "begin") == 0)
        add_begun(x, d, i, m->number);
    else if (strcmp(m->word, "floor") == 0)
        raise_floor(x, m->number);
    else if (strcmp(m->word, "threads") == 0)
        x->threads = m->number != 0;
    else if (sscanf(m->word, "try %u", &thread) == 1 && thread < POWER_TREE_THREADS)
        x->tried[thread] = m->number;
    else if (sscanf(m->word, "done %u", &thread) == 1 && thread < POWER_TREE_THREADS)
        x->done[thread] = m->number;
    else if (strcmp(m->word, "secret try") == 0)
        x->secret_tried = m->number;
    else if (strcmp(m->word, "secret done") == 0)
        x->secret_done = m->number;
    else if (strcmp(m->word, "store") == 0)
        x->store = true;
    else if (strcmp(m->word, "cloned") == 0)
        x->cloned = true;
    else if (strcmp(m->word, "second") == 0 && x->second_count < 8)
        x->second[x->second_count++] = m->number;
    else if (strcmp(m->word, "made") == 0) {
        size_t len;
        x->made = sodium_hex2bin(x->code, sizeof(x->code), m->text, m->len, NULL, &len, NULL) == 0;
    }
}

void power_expect_at(struct power_expect *x, const struct power_expect *before,
                     const struct power_disk *d, size_t records)
{
    struct mark m;
    memset(x, 0, sizeof(*x));
    if (before) {
        *x = *before;
        x->trees = NULL;
        x->numbers = NULL;
        x->count = x->floor = 0;
        for (size_t i = before->floor; i < before->count; i++)
            add_tree(x, before->trees[i], strlen(before->trees[i]), before->numbers[i]);
    }
    for (size_t i = power_disk_first(d); i < records; i++)
        if (get_mark(d, i, &m))
            take(x, d, i, &m);
    /* Made, and not looked at yet: as it will be when it is. */
    for (size_t i = records; x->made && x->count == 0 && i < power_disk_count(d); i++)
        if (get_mark(d, i, &m) && strcmp(m.word, "state") == 0)
            add_tree(x, m.text, m.len, m.number);
}

void power_expect_release(struct power_expect *x)
{
    for (size_t i = 0; i < x->count; i++)
        free((void *)(uintptr_t)x->trees[i]);
    free(x->trees);
    free(x->numbers);
}

bool power_expect_tree(const struct power_expect *x, const char *tree)
{
    for (size_t i = x->floor; i < x->count; i++)
        if (strcmp(x->trees[i], tree) == 0)
            return true;
    return false;
}

size_t power_expect_start(const struct power_disk *d)
{
    struct mark m;
    for (size_t i = power_disk_first(d); i < power_disk_count(d); i++)
        if (get_mark(d, i, &m) && strcmp(m.word, "start") == 0)
            return i + 1;
    return power_disk_first(d) + 1;
}

void power_expect_code(const struct power_disk *d, char code[2 * CODE_LEN + 1])
{
    struct mark m;
    for (size_t i = power_disk_first(d); i < power_disk_count(d); i++)
        if (get_mark(d, i, &m) && strcmp(m.word, "made") == 0)
            snprintf(code, 2 * CODE_LEN + 1, "%.*s", (int)m.len, m.text);
}

unsigned power_expect_last(const struct power_disk *d)
{
    struct mark m;
    unsigned last = 0;
    for (size_t i = power_disk_first(d); i < power_disk_count(d); i++)
        if (get_mark(d, i, &m) && strcmp(m.word, "state") == 0)
            last = m.number;
    return last;
}
