/* require.h - what a fuzz target must find true; stays on in every build, and stops the fuzzer at the input. */
#ifndef DLOCK_FUZZ_REQUIRE_H
#define DLOCK_FUZZ_REQUIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(truth)                                                                                                 \
    do {                                                                                                               \
        if (!(truth)) {                                                                                                \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #truth);                                      \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
