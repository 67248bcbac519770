/*
 * check_impl.h - what the parts of the check share.
 */
#ifndef FS_CHECK_IMPL_H
#define FS_CHECK_IMPL_H

#include "fs/check.h"

/* All names of all inodes, sorted by inode. Loaded when the first problem has to be named. */
struct check_name {
    uint64_t ino, parent;
    size_t at; /* in text */
    uint32_t len;
};

struct check {
    struct vault *v;
    struct index *ix;
    const struct check_options *options;
    struct check_result *result;
    bool names_loaded;
    struct check_name *names;
    size_t name_count;
    struct bytes_out text;
};

/* ---- check_report.c ---- Needs no lock. */
/* Reports ${what} for every name of ${ino} (0: for the index as a whole). ERR_NOMEM, ERR_IO. */
int check_report(struct check *c, uint64_t ino, const char *what);
/* The same for one entry, whose inode may be missing. */
int check_report_entry(struct check *c, uint64_t parent, const void *name, size_t len,
                       const char *what);
void check_report_free(struct check *c);

/* ---- check_refs.c ---- every reference in the index */
int check_refs(struct check *c);

/* ---- check_data.c ---- every sealed byte that is here */
int check_data(struct check *c);

#endif
