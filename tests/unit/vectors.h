/*
 * vectors.h - reads the files of tests/vectors: cases are paragraphs of lines "name = value", '#' starts a comment.
 *
 * Values are bytes in hex, "text", or decimal numbers; the caller knows which. A value that is missing, malformed or of
 * another length aborts the test: a vector that is skipped would pass.
 */
#ifndef TESTS_UNIT_VECTORS_H
#define TESTS_UNIT_VECTORS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS_LINE   8192
#define VECTORS_VALUES 16

struct vectors {
    const char *name;
    FILE *file;
    unsigned cases;
    size_t count;
    char line[VECTORS_VALUES][VECTORS_LINE]; /* "name\0 = value\n" */
};

static inline void vectors_fail(const struct vectors *v, const char *what)
{
    fprintf(stderr, "%s, case %u: %s\n", v->name, v->cases, what);
    exit(1);
}

static inline void vectors_open(struct vectors *v, const char *name)
{
    char path[4096];
    memset(v, 0, sizeof(*v));
    v->name = name;
    snprintf(path, sizeof(path), "%s/%s", VECTORS_DIR, name);
    v->file = fopen(path, "r");
    if (!v->file)
        vectors_fail(v, "cannot be opened");
}

/* Reads the next case; false (and the file is closed) at the end. */
static inline bool vectors_next(struct vectors *v)
{
    v->count = 0;
    v->cases++;
    while (v->count < VECTORS_VALUES) {
        char *line = v->line[v->count];
        if (!fgets(line, VECTORS_LINE, v->file) || line[0] == '\n') {
            if (v->count)
                return true;
            if (!feof(v->file))
                continue;
            fclose(v->file);
            return false;
        }
        if (line[0] == '#')
            continue;
        char *sep = strstr(line, " = ");
        if (!sep || !strchr(sep, '\n'))
            vectors_fail(v, "not a line of the form \"name = value\"");
        *sep = 0;
        *strchr(sep + 3, '\n') = 0;
        v->count++;
    }
    vectors_fail(v, "too many values");
    return false;
}

/* The value as it stands in the file, or NULL. */
static inline const char *vectors_find(const struct vectors *v, const char *name)
{
    for (size_t i = 0; i < v->count; i++)
        if (strcmp(v->line[i], name) == 0)
            return v->line[i] + strlen(name) + 3;
    return NULL;
}

static inline const char *vectors_get(const struct vectors *v, const char *name)
{
    const char *value = vectors_find(v, name);
    if (!value)
        vectors_fail(v, name);
    return value;
}

static inline unsigned long long vectors_number(const struct vectors *v, const char *name)
{
    const char *value = vectors_get(v, name);
    char *end;
    unsigned long long n = strtoull(value, &end, 10);
    if (*end || end == value)
        vectors_fail(v, name);
    return n;
}

/* Bytes into ${out}, at most ${max}; returns their number. */
static inline size_t vectors_bytes(const struct vectors *v, const char *name, uint8_t *out,
                                   size_t max)
{
    const char *value = vectors_get(v, name);
    size_t len = strlen(value) / 2;
    if (len > max || strspn(value, "0123456789abcdef") != 2 * len)
        vectors_fail(v, name);
    for (size_t i = 0; i < len; i++) {
        const char byte[3] = {value[2 * i], value[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return len;
}

/* Exactly ${len} bytes. */
static inline void vectors_exact(const struct vectors *v, const char *name, uint8_t *out,
                                 size_t len)
{
    if (vectors_bytes(v, name, out, len) != len)
        vectors_fail(v, name);
}

/* The text without its quotes, in ${out}. */
static inline void vectors_text(const struct vectors *v, const char *name, char *out, size_t max)
{
    const char *value = vectors_get(v, name);
    size_t len = strlen(value);
    if (len < 2 || value[0] != '"' || value[len - 1] != '"' || len - 1 > max)
        vectors_fail(v, name);
    memcpy(out, value + 1, len - 2);
    out[len - 2] = 0;
}

#endif
