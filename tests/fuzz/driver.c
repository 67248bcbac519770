/*
 * driver.c - runs a fuzz target without libFuzzer: every file of a corpus, then mutations of them.
 *
 *     fuzz_NAME [-n MUTATIONS] [-s SEED] [-i NUMBER] [-o FILE] CORPUS...
 *
 * Mutation number i depends on SEED, i and the corpus alone (files in the order of their names). When the target
 * crashes the number is printed; -i runs just that one, -o writes its input to FILE. CORPUS: files or directories.
 */
#include "fuzz.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUTS_MAX 1024
#define INPUT_MAX  65536u

struct input {
    uint8_t *data;
    size_t len;
};

static struct input inputs[INPUTS_MAX];
static size_t input_count;
static volatile sig_atomic_t in_mutations;
static volatile uint64_t seed = 1, number;

static void die(const char *what, const char *name)
{
    fprintf(stderr, "%s: %s\n", name, what);
    exit(2);
}

static void add_file(const char *path)
{
    uint8_t *data = malloc(INPUT_MAX);
    FILE *f = fopen(path, "rb");
    if (!f || !data || input_count == INPUTS_MAX)
        die("cannot be added to the corpus", path);
    size_t len = fread(data, 1, INPUT_MAX, f);
    fclose(f);
    /* In memory of its exact length, so that a read past the end is one for sanitizers too. */
    uint8_t *exact = malloc(len ? len : 1);
    if (!exact)
        die("out of memory", path);
    memcpy(exact, data, len);
    free(data);
    inputs[input_count++] = (struct input){exact, len};
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static void add(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        die("is missing", path);
    if (!S_ISDIR(st.st_mode)) {
        add_file(path);
        return;
    }
    struct dirent **names;
    int n = scandir(path, &names, visible, alphasort);
    if (n < 0)
        die("cannot be read", path);
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
        add_file(file);
        free(names[i]);
    }
    free(names);
}

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t n)
{
    return n ? (size_t)(next(state) % n) : 0;
}

/* Puts ${n} bytes of ${from} at ${at}, as far as there is room; ${from} is outside the buffer. */
static void insert(uint8_t *p, size_t *len, size_t at, const uint8_t *from, size_t n)
{
    if (n > INPUT_MAX - *len)
        n = INPUT_MAX - *len;
    memmove(p + at + n, p + at, *len - at);
    memcpy(p + at, from, n);
    *len += n;
}

/* Numbers at which length checks break. */
static void put_number(uint8_t *p, size_t len, uint64_t *r)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       0x7f,
                                       0x80,
                                       0xff,
                                       0x7fff,
                                       0x8000,
                                       0xffff,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff,
                                       0x7fffffffffffffff,
                                       0x8000000000000000,
                                       0xffffffffffffffff};
    size_t width = (size_t)1 << below(r, 4);
    uint64_t v = numbers[below(r, sizeof(numbers) / sizeof(numbers[0]))] + below(r, 3) - 1;
    if (len < width)
        return;
    p += below(r, len - width + 1);
    for (size_t i = 0; i < width; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void mutate_once(uint8_t *p, size_t *len, uint64_t *r)
{
    size_t at = below(r, *len), n = 1 + below(r, below(r, 8) ? 8 : 300);
    const struct input *other = &inputs[below(r, input_count)];
    uint8_t copy[300];
    switch (below(r, 8)) {
    case 0:
    case 1: /* a bit */
        if (*len)
            p[at] ^= (uint8_t)(1u << below(r, 8));
        break;
    case 2: /* a byte */
        if (*len)
            p[at] = (uint8_t)next(r);
        break;
    case 3: /* bytes that go */
        if (n > *len - at)
            n = *len - at;
        memmove(p + at, p + at + n, *len - at - n);
        *len -= n;
        break;
    case 4: /* bytes that come twice */
        if (n > *len - at)
            n = *len - at;
        memcpy(copy, p + at, n);
        insert(p, len, below(r, *len + 1), copy, n);
        break;
    case 5: /* the end is cut off */
        *len = below(r, *len + 1);
        break;
    case 6: /* a piece of another input */
        at = below(r, other->len);
        if (n > other->len - at)
            n = other->len - at;
        insert(p, len, below(r, *len + 1), other->data + at, n);
        break;
    default:
        put_number(p, *len, r);
    }
}

static uint8_t scratch[INPUT_MAX];

/* Mutation number ${i}, in memory of its exact length. */
static struct input mutate(uint64_t i)
{
    uint64_t r = seed * UINT64_C(0x100000001b3) ^ i;
    next(&r);
    struct input from = inputs[below(&r, input_count)];
    size_t len = from.len;
    memcpy(scratch, from.data, len);
    for (size_t n = 1 + below(&r, 4) * below(&r, 3); n; n--)
        mutate_once(scratch, &len, &r);
    struct input made = {malloc(len ? len : 1), len};
    if (!made.data)
        die("out of memory", "mutation");
    memcpy(made.data, scratch, len);
    return made;
}

static void on_crash(int sig)
{
    char text[200];
    int n = snprintf(text, sizeof(text), "signal %d at %s %" PRIu64 ", seed %" PRIu64 "\n", sig,
                     in_mutations ? "mutation" : "corpus file", number, seed);
    if (write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(3);
    signal(sig, SIG_DFL);
    raise(sig);
}

static void write_file(const char *path, struct input in)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(in.data, 1, in.len, f) != in.len || fclose(f) != 0)
        die("cannot be written", path);
}

int main(int argc, char **argv)
{
    uint64_t mutations = 1000, only = UINT64_MAX;
    const char *save = NULL;
    int opt;
    while ((opt = getopt(argc, argv, "n:s:i:o:")) != -1) {
        if (opt == 'n')
            mutations = strtoull(optarg, NULL, 10);
        else if (opt == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (opt == 'i')
            only = strtoull(optarg, NULL, 10);
        else if (opt == 'o')
            save = optarg;
        else
            return 2;
    }
    for (int i = optind; i < argc; i++)
        add(argv[i]);
    if (!input_count)
        die("no corpus", argv[0]);
    signal(SIGABRT, on_crash);
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
    signal(SIGFPE, on_crash);
    for (number = 0; number < input_count && only == UINT64_MAX; number++)
        LLVMFuzzerTestOneInput(inputs[number].data, inputs[number].len);
    in_mutations = 1;
    for (number = only == UINT64_MAX ? 0 : only;
         number < (only == UINT64_MAX ? mutations : only + 1); number++) {
        struct input made = mutate(number);
        if (save && only != UINT64_MAX)
            write_file(save, made);
        LLVMFuzzerTestOneInput(made.data, made.len);
        free(made.data);
    }
    for (size_t i = 0; i < input_count; i++)
        free(inputs[i].data);
    printf("%zu corpus files, %" PRIu64 " mutations with seed %" PRIu64 "\n", input_count,
           mutations, seed);
    printf("1 passed, 0 failed\n");
    return 0;
}
