/*
 * rnd.h - the random-operation tester: its model of a tree, and what its parts give each other.
 *
 * A process (struct rnd_world) has a directory of its own and a model of everything in it: names, attributes, xattrs and every byte. It draws
 * operations from its seed, applies each to the model first and then to the directory, and compares whatever it reads. The first difference
 * ends it, with the operations that led there. Nothing here is shared between threads; worlds live in processes of their own.
 */
#ifndef TESTS_FS_RANDOM_RND_H
#define TESTS_FS_RANDOM_RND_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

enum {
    RND_NAMES = 14,  /* different names in one directory */
    RND_DEPTH = 4,   /* of directories below the top */
    RND_NODES = 200, /* files, folders and symlinks of a world */
    RND_XATTRS = 5,  /* different xattrs of a node */
    RND_HANDLES = 6, /* files that are open at a time */
    RND_LOG = 4096,  /* operations remembered */
    RND_PATH = 4096, /* room for a path */
    RND_STATES =
        32, /* of a file, and of the tree, remembered since the last sync, when the server is killed */
};

struct rnd_xattr {
    bool there;
    uint8_t *value;
    size_t len;
};

/* The bytes of a file at one time. */
struct rnd_bytes {
    uint8_t *data;
    size_t size;
};

/* An inode. */
struct rnd_node {
    uint64_t id;    /* of ours; in the log */
    ino_t ino;      /* 0: not known yet */
    mode_t mode;    /* with the type */
    unsigned links; /* names of it; for a directory 1 or 0 */
    unsigned handles;
    uid_t uid;
    gid_t gid;
    bool mtime_known;
    struct timespec mtime;
    struct rnd_xattr xattrs[RND_XATTRS];
    struct rnd_bytes now;              /* a file, or the target of a symlink */
    struct rnd_node *names[RND_NAMES]; /* a directory */
    struct rnd_node *parent;
    struct rnd_bytes past
        [RND_STATES]; /* a file: states since its last fsync, oldest first; only if the server is killed */
    unsigned past_count;
    struct rnd_node *next; /* all nodes of the world */
};

/* A file that stays open, perhaps without a name, perhaps mapped. */
struct rnd_handle {
    int fd; /* -1: free */
    struct rnd_node *node;
    uint8_t *map; /* rnd_options.max_size bytes, or NULL */
};

struct rnd_options {
    const char *base;
    uint64_t seed;
    unsigned processes;
    double seconds;      /* 0: until ops */
    uint64_t ops;        /* per process; 0: until seconds */
    size_t max_size;     /* of a file */
    const char *between; /* command: everything is closed, it runs, all is compared */
    uint64_t between_ops;
    unsigned rounds;     /* with "kill" */
    const char *kill;    /* command that kills the server; then "between" brings the mount back */
    unsigned kill_after; /* ms at the most */
    bool verbose;
};

struct rnd_lines; /* rnd_history.c */

struct rnd_world {
    const struct rnd_options *opt;
    unsigned number;
    uint64_t rng, next_id, ops, syncs;
    char top[RND_PATH]; /* the directory of this world */
    struct rnd_node *root, *nodes;
    unsigned node_count;
    struct rnd_handle handles[RND_HANDLES];
    uint8_t *buf; /* max_size + 64 KiB, page aligned */
    struct {
        uint64_t op, node, node2;
        char text[160];
    } log[RND_LOG];
    bool probed; /* what fallocate can do here */
    bool no_direct, no_punch, no_zero, no_falloc, no_xattr, no_exchange, no_copy, no_tmpfile,
        small_xattrs;
    uint8_t *view; /* a mapping that the operation under way has made */
    size_t view_len;
    /* when the server is killed */
    bool dying;               /* errors of a connection that broke end the round */
    sigjmp_buf gone;          /* where to */
    struct rnd_node *busy[2]; /* what the operation under way changes */
    struct rnd_lines *past;   /* rnd_history.c: states of the tree since the last sync */
};

/* rnd_world.c: numbers, nodes, names, the log */
uint64_t rnd_next(struct rnd_world *w);
/* 0 to n - 1. */
uint64_t rnd_below(struct rnd_world *w, uint64_t n);
bool rnd_one_in(struct rnd_world *w, unsigned n);
void rnd_fill(struct rnd_world *w, uint8_t *buf, size_t len);
void *rnd_alloc(size_t len);
struct rnd_node *rnd_world_new_node(struct rnd_world *w, mode_t mode);
/* Frees those that no name, handle or past refers to. */
void rnd_world_sweep(struct rnd_world *w);
void rnd_world_name(unsigned i, char *name);
/* A path of it (one of them by chance). False if it has none. */
bool rnd_world_path(struct rnd_world *w, const struct rnd_node *node, char *path);
void rnd_world_path_in(struct rnd_world *w, const struct rnd_node *dir, unsigned name, char *path);
unsigned rnd_world_depth(const struct rnd_node *dir);
struct rnd_node *rnd_world_pick_dir(struct rnd_world *w);
/* With a name. NULL if there is none. ${types}: bits 1 file, 2 directory, 4 symlink. */
struct rnd_node *rnd_world_pick(struct rnd_world *w, unsigned types);
/* A file with a name or a handle. */
struct rnd_node *rnd_world_pick_file(struct rnd_world *w);
/* A descriptor for reading and writing it: a handle's, or a new one, which *close_it says. ${flags} are added to a new one. */
int rnd_world_fd(struct rnd_world *w, struct rnd_node *node, bool *close_it);
void rnd_world_note(struct rnd_world *w, const struct rnd_node *node, const struct rnd_node *node2,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
_Noreturn void rnd_world_fail(struct rnd_world *w, const struct rnd_node *node, const char *format,
                              ...) __attribute__((format(printf, 3, 4)));
/* The call succeeded, or the world ends: with a report, or, if the server was killed, at w->gone. Returns the result. */
long rnd_world_must(struct rnd_world *w, const struct rnd_node *node, long result,
                    const char *what);
/* It failed with this error. */
void rnd_world_must_fail(struct rnd_world *w, const struct rnd_node *node, long result, int error,
                         const char *what);
/* errno says that this file system cannot do it. */
bool rnd_world_unsupported(void);
/* The server is gone: leaves by w->gone if that is expected and errno says so. */
void rnd_world_check_gone(struct rnd_world *w);
#define MUST(node, call)             rnd_world_must(w, node, (long)(call), #call)
#define MUST_FAIL(node, error, call) rnd_world_must_fail(w, node, (long)(call), error, #call)

/* rnd_content.c: bytes of files */
void rnd_content_set(struct rnd_world *w, struct rnd_node *node, size_t off, const uint8_t *data,
                     size_t len); /* data NULL: zeroes */
void rnd_content_resize(struct rnd_node *node, size_t size);
/* ${seen} is what ${node} holds at ${off}; ${how} says how it was read. */
void rnd_content_same(struct rnd_world *w, struct rnd_node *node, size_t off, const uint8_t *seen,
                      size_t len, const char *how);
void rnd_content_check(struct rnd_world *w, struct rnd_node *node, int fd);
void rnd_content_changed(struct rnd_node *node);
void rnd_content_read(struct rnd_world *w);
void rnd_content_write(struct rnd_world *w);
void rnd_content_append(struct rnd_world *w);
void rnd_content_direct(struct rnd_world *w);
void rnd_content_truncate(struct rnd_world *w);
void rnd_content_sync(struct rnd_world *w);
void rnd_content_open(struct rnd_world *w);
void rnd_content_close(struct rnd_world *w);
void rnd_content_close_all(struct rnd_world *w);

/* rnd_range.c: ranges of files */
void rnd_range_allocate(struct rnd_world *w);
void rnd_range_seek(struct rnd_world *w);
void rnd_range_copy(struct rnd_world *w);
void rnd_range_map_write(struct rnd_world *w);
void rnd_range_map_read(struct rnd_world *w);

/* rnd_names.c */
void rnd_names_create(struct rnd_world *w);
void rnd_names_mkdir(struct rnd_world *w);
void rnd_names_symlink(struct rnd_world *w);
void rnd_names_link(struct rnd_world *w);
void rnd_names_unlink(struct rnd_world *w);
void rnd_names_rmdir(struct rnd_world *w);
void rnd_names_rename(struct rnd_world *w);
void rnd_names_tmpfile(struct rnd_world *w);

/* rnd_meta.c */
void rnd_meta_chmod(struct rnd_world *w);
void rnd_meta_chown(struct rnd_world *w);
void rnd_meta_times(struct rnd_world *w);
void rnd_meta_xattr(struct rnd_world *w);
/* One of the xattrs a node may have; false: not for this node or user. */
bool rnd_meta_xattr_name(const struct rnd_node *node, unsigned i, char *name);

/* rnd_verify.c: the directory against the model */
void rnd_verify_attr(struct rnd_world *w, struct rnd_node *node, const char *path);
void rnd_verify_xattrs(struct rnd_world *w, struct rnd_node *node, const char *path);
void rnd_verify_dir(struct rnd_world *w, struct rnd_node *dir);
/* Attributes, xattrs, content or entries of one node. */
void rnd_verify_node(struct rnd_world *w, struct rnd_node *node);
void rnd_verify_one(struct rnd_world *w); /* one by chance */
void rnd_verify_all(struct rnd_world *w);

/* rnd_history.c: what may be there after the server was killed. Nothing happens here if options.kill is NULL. */
/* The state in which nothing has been done yet. */
void rnd_history_begin(struct rnd_world *w);
/* The operation on it is over: one more state that may be found. */
void rnd_history_bytes(struct rnd_world *w, struct rnd_node *node);
void rnd_history_tree(struct rnd_world *w);
/* The operation under way was cut off: it may have been done, or not. */
void rnd_history_cut(struct rnd_world *w);
/* An fsync of ${node} (a file: its bytes, too) returned: nothing older may be found. */
void rnd_history_synced(struct rnd_world *w, struct rnd_node *node);
/* No state but the present one may be found, so nodes without a name can go. */
bool rnd_history_settled(const struct rnd_world *w);
/* Compares what is there with what may be there, and takes it as the model. */
void rnd_history_verify(struct rnd_world *w);

/* rnd_shared.c: two processes on the same files. */
void rnd_shared_prepare(const struct rnd_options *opt);
/* One of them (${number}: 0 or 1) does ${count} operations. A difference ends the process. */
void rnd_shared_run(const struct rnd_options *opt, unsigned number, uint64_t *rng, unsigned count);
/* The whole files, while neither works. */
bool rnd_shared_check(const struct rnd_options *opt);
bool rnd_shared_remove(const struct rnd_options *opt);

#endif
