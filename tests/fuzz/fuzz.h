/*
 * fuzz.h - what a fuzz target is: one function that takes any bytes, and checks that hold for all of them.
 *
 * A target must be deterministic, leave no state behind, and abort (FUZZ_CHECK) when a property does not hold. It is
 * linked with driver.c, or with libFuzzer (option fuzz).
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(x)                                                                              \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #x);                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
